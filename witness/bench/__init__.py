# SPDX-License-Identifier: BSD-2-Clause
"""The cost of a handoff, compared with the budgets."""
