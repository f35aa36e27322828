# SPDX-License-Identifier: BSD-2-Clause
"""Rules, the policies' signatures, and what a hand-off let loose."""
