# SPDX-License-Identifier: BSD-2-Clause
"""What has to be known of a policy before anything is judged: whether it marks where a hand-off begins and ends."""

# Policies that leave bus master on, of some functions at least: it tells nothing of when they hand over. What each policy does, and
# whether this is all of them, judge/policies.py says.
KEEPING_MASTER = ("none", "disable-msi-only", "bridges-only")
