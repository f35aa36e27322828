# SPDX-License-Identifier: BSD-2-Clause
"""The witness: starts a QEMU machine, turns its trace into one list of events, and judges a hand-off by it.

    from witness import REFERENCE, judge, run
    record = run(REFERENCE, Path("build"), Path("build/run"), cmdline="handoff.next=second,second")
    verdicts = judge(record)

Nothing here believes the guest: its log is read only to be compared.
"""

from witness.judge import Result, Verdict, judge
from witness.machine import EVERYTHING, REFERENCE, Content, Disk, Machine, Nic, Rng
from witness.qemu import Session, Settings, Unusable, run
from witness.record import Entry, Outcome, Run

__all__ = [
    "EVERYTHING",
    "REFERENCE",
    "Content",
    "Disk",
    "Entry",
    "Machine",
    "Nic",
    "Outcome",
    "Result",
    "Rng",
    "Run",
    "Session",
    "Settings",
    "Unusable",
    "Verdict",
    "judge",
    "run",
]
