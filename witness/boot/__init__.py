# SPDX-License-Identifier: BSD-2-Clause
"""The Linux/x86 boot protocol, as the host reads and writes it."""
