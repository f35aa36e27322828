# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a message that the local APIC had accepted for the old kernel is taken by second's drain and harms nobody.

False if it is delivered to a driver of second, or stays. It outlives bus master, MSI disable and the jump (facts of
the local APIC, not of PCI), so it is provoked by writing a message to 0xfee00000 from outside while the machine
stands at second's first instruction, IF=0. The twin: without one, the drain says 0.
"""

from __future__ import annotations

from tests.guest.conftest import Boot, log_has

from witness.qemu import Session
from witness.record import Entry, Outcome

VECTOR = 0x40  # the first that second gives to a driver


def test_a_stale_message_is_drained(boot: Boot) -> None:
    def send(session: Session, entry: Entry) -> None:
        if entry.name == "second":
            session.gdb.write_physical(0xFEE00000, VECTOR.to_bytes(4, "little"))

    record = boot(at_entry=send)
    assert log_has(record, "second irq: local APIC ID 0, 1 stale interrupts taken")
    assert record.outcome is Outcome.PASS, record.detail


def test_twin_without_one_there_is_none(boot: Boot) -> None:
    record = boot()
    assert log_has(record, "second irq: local APIC ID 0, 0 stale interrupts taken")
