# SPDX-License-Identifier: BSD-2-Clause
"""QEMU's trace: its events, the registers over time, and the phases of a handoff."""
