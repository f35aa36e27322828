# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a DMA that was armed under first never runs under second, although second sets bus master again.

Bus master off only pauses a device. False if second sets bus master before edu's engine is idle: the transfer then lands in memory
that was first's. Provoked by a machine that has nothing but edu, so that second reaches it well within the 100 ms that a transfer
takes (a disk's I/O in between would hide the hazard). The twin of the hazard itself, bus master set too early, is the mutant
edu-idle.
"""

from __future__ import annotations

from tests.guest.conftest import Boot, failures

from witness.evidence.case import Case
from witness.machine.description import Machine
from witness.machine.record import Outcome


def test_a_paused_transfer_does_not_land(boot: Boot) -> None:
    record = boot(machine=Machine(devices=("edu,addr=5", "edu,addr=9")))
    assert Case(record).hops, "first did not hand over"
    assert record.outcome is Outcome.PASS, record.log
    assert not [failure for failure in failures(record) if not failure.startswith(("load:", "disk:"))]
