# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a SATA disk behind AHCI is handed over like any other device. Its MSI stays on and sends nothing once bus master is off,
the read that the disk had begun still lands, in memory that stays reserved, and the next kernel's reset ends the rest.

False if a verdict of the reference machine does not hold with such a disk, if the disk had not begun a read, or if one lands that
it had not begun. Provoked on QEMU's ich9-ahci, whose data ignores bus master, with a disk that is throttled. The twin is the other
policy: with MSI off the same completion asserts INTx, and no handler serves it.

Claim: a controller without a disk is a result, not a failure. Provoked by the one that q35 has built in.
"""

from __future__ import annotations


import pytest
from tests.guest.conftest import Boot, as_if, failures, log_has, result, results

from witness import devices
from witness.devices import Effect, ahci
from witness.evidence.case import Case
from witness.evidence.interrupts import own_messages
from witness.judge.engine import Result
from witness.judge.hazards import unhandled_intx
from witness.judge.ram import in_flight
from witness.machine.description import Content, Machine, Sata
from witness.machine.record import Outcome, Run
from witness.pci.topology import Bdf
from witness.trace.events import Msi

# 256 KiB/s: one read of 64 KiB passes at once, the next takes 150 ms.
MACHINE = Machine(sata=(Sata("sata", 5, Content.RANDOM, "read-only=off,throttling.bps-read=262144"),))
DISK, BUILT_IN = Bdf.parse("00:05.0"), Bdf.parse("00:1f.2")
INTX = 21  # slot 5, INTA


@pytest.fixture(scope="module")
def record(shared: Boot) -> Run:
    return shared(machine=MACHINE)


def test_every_verdict_holds(record: Run) -> None:
    assert record.outcome is Outcome.PASS, record.detail
    assert not failures(record)
    assert DISK in {function.bdf for function, _ in devices.working(Case(record))}
    assert log_has(record, f"second 0000:{DISK} ahci: 8192 KiB, MSI vector")


def test_its_own_message_reports_each_command(record: Run) -> None:
    case = Case(record)
    (hop,) = case.hops
    for lines in (range(case.entry_lines["first"], hop.out.start), hop.inward):
        own = own_messages(case, case.topology.functions[DISK], lines)
        assert own & {(m.address, m.data) for m in case.within(Msi, lines)}


def test_a_controller_without_a_disk_is_a_result(record: Run) -> None:
    case = Case(record)
    for image in ("first ", "second"):
        assert log_has(record, f"{image} 0000:{BUILT_IN} ahci: no drive")
    assert BUILT_IN not in {function.bdf for function, _ in devices.working(case)}
    since = range(case.entry_lines["first"], case.end + 1)
    assert Effect.RESET in map(devices.effect, case.writes_to(BUILT_IN, since, ahci.REGION))
    assert not ahci.ports(case, BUILT_IN, since)


def test_what_the_disk_had_taken_lands_and_nothing_else(boot: Boot) -> None:
    """A machine that stops at the jump has finished its block requests there; this one keeps running, and second finds them."""
    record = boot(machine=MACHINE, stop_at_jump=False)
    assert record.outcome is Outcome.PASS, record.detail
    assert Result.FAIL not in results(record).values()
    case, ram = Case(record), record.ram_after()
    reads = in_flight(case, case.hops[0], case.topology.functions[DISK], ram)
    assert {read.taken for read in reads} == {True, False}
    for read in reads:
        data = read.writes[0]
        assert bool(data.landed(ram)) == read.taken
        assert read.taken or set(ram.read(data.addresses)) == {0x5C}


def test_twin_with_msi_off_the_same_completion_asserts_intx(boot: Boot) -> None:
    record = boot(machine=MACHINE, cmdline="handoff.shutdown=disable-msi")
    case = Case(record)
    (hop,) = case.hops
    (hazard,) = unhandled_intx(case, hop)
    assert hazard.gsi == INTX and str(DISK) in hazard.suspects[0]
    off = next(c.line for c in case.changes(hop.out) if c.bdf == DISK and c.msi_disabled)
    clear = next(c.line for c in case.changes(hop.out) if c.bdf == DISK and c.master_cleared)
    assert off < clear < hazard.line, "the line rises with bus master off"
    assert result(record, "window-intx") is Result.FAIL
    assert result(as_if(record, cmdline=""), "out-signature") is Result.FAIL
