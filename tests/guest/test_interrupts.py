# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a message that the local APIC had accepted for the old kernel is taken by second's drain and reaches no driver.

False if it is delivered to a driver of second, or stays. It outlives bus master, MSI disable and the jump (facts of the local APIC,
not of PCI), so it is provoked by writing a message to 0xfee00000 from outside while the machine is stopped at second's first
instruction, IF=0. The twin: without one, the drain reports 0.

Claim: an unexpected interrupt after the drain is a failure. False if the run passes; provoked by a message for an unassigned
vector, after second has driven its devices.

Claim: a wire that the PIRQ router disables interrupts again under second. False if a device's INTx is missing; provoked by setting
the disable bit of every wire at second's entry. In both, the twin is the undisturbed run.
"""

from __future__ import annotations

from tests.guest.conftest import Boot, log_has, run_to, write_config

from witness.machine.qemu import Session
from witness.machine.record import Entry, Outcome
from witness.pci.topology import Bdf

MESSAGES = 0xFEE00000
VECTOR = 0x40  # the first that second gives to a driver
STRAY = 0xE0  # unassigned

ROUTER = Bdf(0, 0x1F, 0)
WIRES = (*range(0x60, 0x64), *range(0x68, 0x6C))
PIRQ_DISABLE = 0x80


def test_a_stale_message_is_drained(boot: Boot) -> None:
    def send(session: Session, entry: Entry) -> None:
        if entry.name == "second":
            session.gdb.write_physical(MESSAGES, VECTOR.to_bytes(4, "little"))

    record = boot(at_entry=send)
    assert log_has(record, "second irq: local APIC ID 0 (xAPIC), 1 stale interrupts taken")
    assert record.outcome is Outcome.PASS, record.detail


def test_twin_without_one_there_is_none(boot: Boot) -> None:
    record = boot()
    assert log_has(record, "second irq: local APIC ID 0 (xAPIC), 0 stale interrupts taken")
    assert not log_has(record, "unexpected interrupts")
    assert not log_has(record, " pirq ")


def test_a_stray_message_is_a_failure(boot: Boot) -> None:
    def send(session: Session, entry: Entry) -> None:
        if entry.name == "second":
            run_to(session, entry, "kernel_prepare_next")
            session.gdb.write_physical(MESSAGES, STRAY.to_bytes(4, "little"))

    record = boot(at_entry=send)
    assert record.outcome is Outcome.FAIL, record.detail
    assert log_has(record, "second irq: 1 unexpected interrupts")


def test_wires_that_the_router_disables_are_enabled(boot: Boot) -> None:
    def disable(session: Session, entry: Entry) -> None:
        if entry.name == "second":
            for wire in WIRES:
                routed = entry.configs[ROUTER][wire]
                write_config(session, ROUTER, wire, bytes([routed | PIRQ_DISABLE]))

    record = boot(at_entry=disable)
    assert record.outcome is Outcome.PASS, record.log
    assert log_has(record, "second pci 0000:00:1f.0 pirq 0x60 0x8")
