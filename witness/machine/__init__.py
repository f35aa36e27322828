# SPDX-License-Identifier: BSD-2-Clause
"""A QEMU machine: what it consists of, how it is started, controlled and stopped, and the record of a run."""
