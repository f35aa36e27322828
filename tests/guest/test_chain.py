# SPDX-License-Identifier: BSD-2-Clause
"""Claim: every hop is the same hop: second hands over to second, and to second again, each time by all rules.

False if a hop writes other registers, leaves a message, or if the list is not taken head by head. The twin is an empty list:
first then hands over to no image.

Claim: the last image's verdict counts for all. False if the run passes although a device failed under first; provoked by moving one
edu's registers away while first runs, and back at second's entry. The twin is the first test.
"""

from __future__ import annotations

from tests.guest.conftest import Boot, failures, log_has, write_config

from witness.evidence.case import Case
from witness.machine.qemu import Session
from witness.machine.record import Entry, Outcome
from witness.pci.topology import Bdf

EDU = Bdf.parse("00:05.0")
BAR_0 = 0x10
NOWHERE = 0x08000000  # RAM


def test_three_hops(boot: Boot) -> None:
    record = boot(cmdline="handoff.next=second,second,second")
    assert record.outcome is Outcome.PASS, record.detail
    assert len(Case(record).hops) == 3
    assert not failures(record)


def test_twin_an_empty_list_ends_with_first(boot: Boot) -> None:
    record = boot(cmdline="handoff.next=")
    assert record.outcome is Outcome.PASS, record.detail
    assert not Case(record).hops
    assert not failures(record)
    assert not log_has(record, "second ")


def test_what_failed_in_first_fails_the_chain(boot: Boot) -> None:
    there: list[bytes] = []

    def move(session: Session, entry: Entry) -> None:
        there.append(entry.configs[EDU][BAR_0:][:4])
        back = entry.name == "second"
        write_config(session, EDU, BAR_0, there[0] if back else NOWHERE.to_bytes(4, "little"))

    record = boot(at_entry=move)
    assert log_has(record, "first  0000:00:05.0 edu: failed")
    assert not [line for line in record.log if line.startswith("second") and "failed" in line]
    assert log_has(record, "second 0000:00:05.0 edu: INTx on irq")
    assert record.outcome is Outcome.FAIL, record.detail
