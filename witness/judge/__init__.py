# SPDX-License-Identifier: BSD-2-Clause
"""Rules, the policies' signatures, and the hazards of a handoff."""
