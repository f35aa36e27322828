# SPDX-License-Identifier: BSD-2-Clause
"""The witness: starts a QEMU machine, turns its trace into one list of events, and judges a handoff by it.

Nothing here believes the guest: its log is read only to be compared. Each folder may import the folders above it, and none below:

    pci         register names, functions, topology
    boot        the Linux/x86 boot protocol
    trace       QEMU's trace as events; registers over time; phases
    machine     describe, start, control and stop a QEMU machine; the record of a run
    evidence    what a judge may query of one run
    devices     one file for each kind of device
    judge       rules, policies and their signatures, hazards
    report      tables, timelines, pages
    lab         experiments and the matrix
    linux       a real Linux on either side
    bench       the budgets, measured
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # of the tree
