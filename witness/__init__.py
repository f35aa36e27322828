# SPDX-License-Identifier: BSD-2-Clause
"""The witness: starts a QEMU machine, turns its trace into one list of events, and judges a hand-off by it.

Nothing here believes the guest: its log is read only to be compared. Each folder sees the folders above it, and none below:

    pci         register names, functions, who is behind whom
    boot        the Linux/x86 boot protocol
    trace       QEMU's trace as events; registers over time; phases
    machine     describe, start, talk to and stop a QEMU machine; what a run leaves behind
    evidence    what a judge may ask of one run
    devices     one file a kind of device
    judge       rules, policies and their signatures, hazards
    report      tables, timelines, pages
    lab         experiments and the matrix
    linux       a real Linux on either side
    bench       the budgets, measured
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # of the tree
