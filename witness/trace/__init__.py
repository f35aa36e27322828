# SPDX-License-Identifier: BSD-2-Clause
"""QEMU's trace: its events, the registers that they add up to, and the phases of a hand-off."""
