# SPDX-License-Identifier: BSD-2-Clause
"""What a hand-off costs, and whether that is within the budgets."""
