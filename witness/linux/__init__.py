# SPDX-License-Identifier: BSD-2-Clause
"""`make linux`: Debian's unmodified Linux on either side of the handoff."""
