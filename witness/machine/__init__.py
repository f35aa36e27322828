# SPDX-License-Identifier: BSD-2-Clause
"""A QEMU machine: what it consists of, how it is started, talked to and stopped, and what a run leaves behind."""
