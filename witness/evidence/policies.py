# SPDX-License-Identifier: BSD-2-Clause
"""The property of a policy that is needed before anything is judged: whether bus master marks where a handoff begins and ends."""

# Policies that leave bus master on for some functions at least, so that it does not mark their handoff. judge/policies.py has what
# each policy does, and a test that these are all.
KEEPING_MASTER = ("none", "disable-msi-only", "bridges-only")
