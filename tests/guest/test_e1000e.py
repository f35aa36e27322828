# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a network card with all three kinds of interrupts, Intel's 82574, is handed over as any other device: driven by first,
left with receive buffers and a frame under way, reset and driven by second.

False if a verdict fails with it on the machine. The twin judges the same run with another address of the card.

Claim: a frame that arrives while no driver owns the card does not land in first's memory. Provoked by one that is sent while the
machine is stopped at the jump: QEMU keeps it until bus master is on again. The twin is policy `none`: the card keeps receiving.

Claim: disabling MSI-X at shutdown makes the card assert INTx where keep-msi causes no interrupt. Provoked by a frame that arrives
between the two steps of disable-msi; the one that first leaves under way must cause no interrupt, or QEMU ends as below. The twin
is the same frame at the jump.

Claim: QEMU itself aborts if MSI-X is disabled while the card delays interrupts (EITR), as it does for at least 128 us after each.
Provoked by the longest such time, and MSI-X off where the driver takes an interrupt. The twin is the same stop without.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.guest.conftest import Boot, as_if, failures, log_has, result, run_to, write_config

from witness.devices import e1000e
from witness.evidence.case import Case
from witness.evidence.interrupts import own_messages
from witness.judge.engine import Result
from witness.judge.hazards import unhandled_intx
from witness.judge.ram import owned_by_first
from witness.machine.description import E1000E, REFERENCE, Machine, Nic
from witness.machine.peer import sent_by_peer
from witness.machine.qemu import Session, configs
from witness.machine.record import Entry, Outcome, Run
from witness.pci.registers import ENABLE, Register
from witness.pci.topology import Bdf, Function
from witness.trace.events import Msi

# The lowest slot: children and higher slots are shut down before it.
NIC = Nic("nic", 2, "52:54:00:12:34:56", model=E1000E)
BDF = Bdf(0, NIC.slot, 0)
MACHINE = replace(REFERENCE, nics=(NIC,))
ALONE = Machine(disks=REFERENCE.disks, nics=(NIC,))

MSIX = 0xA2  # its control word
MSIX_OFF = (4).to_bytes(2, "little")  # five entries

EITR, LONGEST = 0xE8, 0xFFFF  # of the first vector; in 256 ns
SENT = 0x400001  # the causes TXQ0 and TXDW

STRAY = bytes.fromhex("ffffffffffff 020000000001 88b5") + b"a frame between two kernels".ljust(46, b".")


@pytest.fixture(scope="module")
def record(shared: Boot) -> Run:
    return shared(machine=MACHINE)


def test_the_run_passes(record: Run) -> None:
    assert record.outcome is Outcome.PASS, record.detail
    assert failures(record) == []
    for image in ("first ", "second"):
        assert log_has(record, f"{image} 0000:{BDF} e1000e: {NIC.mac} link up, MSI-X vector 0x")


def test_it_has_every_kind_and_uses_msix(record: Run) -> None:
    case = Case(record)
    function = case.topology.functions[BDF]
    assert {Register.MSI, Register.MSIX} <= function.offsets.keys() and function.interrupt_line
    (hop,) = case.hops
    for lines in (range(case.entry_lines["first"], hop.out.start), hop.inward):
        assert own_messages(case, function, lines) & {(m.address, m.data) for m in case.within(Msi, lines)}


def test_work_is_in_flight(record: Run) -> None:
    case = Case(record)
    (hop,) = case.hops
    assert case.next
    rings = e1000e.rings(case, BDF, range(hop.out.start))
    assert len(rings[e1000e.RX].waiting(record.ram_at(case.next))) == 7


def test_twin_another_card_s_frames(record: Run) -> None:
    other = replace(MACHINE, nics=(replace(NIC, mac="52:54:00:12:34:57"),))
    assert result(as_if(record, machine=other), "frames") is Result.FAIL


def at_the_jump(session: Session, entry: Entry) -> None:
    if entry.name == "second":
        session.peers[NIC.name].send(STRAY)


def is_in_first(record: Run) -> bool:
    """Whether the frame is in what was first's memory."""
    case = Case(record)
    assert case.first and case.next
    owned = owned_by_first(case, case.first, case.next)
    return any(STRAY in record.ram_after().read(extent.addresses) for extent in owned)


def test_a_frame_between_two_kernels_lands_nowhere(boot: Boot) -> None:
    record = boot(machine=MACHINE, at_entry=at_the_jump)
    assert failures(record) == []
    assert STRAY in sent_by_peer(NIC, record.directory)
    assert not is_in_first(record)


def test_twin_where_nothing_is_shut_down_it_lands(boot: Boot) -> None:
    record = boot(machine=MACHINE, cmdline="handoff.shutdown=none", at_entry=at_the_jump)
    assert is_in_first(record)


def deliver(session: Session) -> None:
    """A frame that the card gets when the machine continues: the main loop that answers the monitor has read it before."""
    session.peers[NIC.name].send(STRAY)
    for _ in range(2):
        session.qmp.monitor("info status")


def is_off(session: Session) -> bool:
    return not Function(BDF, dict(configs(session.qmp))[BDF]).u16(MSIX) & ENABLE[Register.MSIX]


def write_register(session: Session, entry: Entry, offset: int, value: int) -> None:
    bar = int.from_bytes(entry.configs[BDF][0x10:0x14], "little")
    session.gdb.write_physical(bar + offset, value.to_bytes(4, "little"))


def between_the_steps(session: Session, entry: Entry) -> None:
    if entry.name != "first":
        return
    run_to(session, entry, "kernel_arm")
    write_register(session, entry, e1000e.IMC, SENT)
    while not is_off(session):
        run_to(session, entry, "pci_msix_shutdown")
        run_to(session, entry, "pci_clear_master")
    deliver(session)


def test_with_msix_off_the_frame_raises_intx(boot: Boot) -> None:
    record = boot(machine=replace(ALONE, nics=(replace(NIC, answered=False),)), cmdline="handoff.shutdown=disable-msi",
                  at_entry=between_the_steps)
    case = Case(record)
    (raised,) = [line for hop in case.handed_over for line in unhandled_intx(case, hop)]
    assert raised.suspects == (f"{BDF} e1000e",)
    assert raised.fell and raised.lowered_by == f"a write to {BDF} e1000e"
    assert result(record, "window-intx") is Result.FAIL


def takes_an_interrupt(session: Session, entry: Entry) -> bool:
    """Stops the machine where first's driver takes its first interrupt."""
    if entry.name == "first":
        write_register(session, entry, EITR, LONGEST)
        run_to(session, entry, "e1000e.c:interrupt")
    return entry.name == "first"


def switches_off(session: Session, entry: Entry) -> None:
    if takes_an_interrupt(session, entry):
        write_config(session, BDF, MSIX, MSIX_OFF)


def test_qemu_aborts_if_msix_is_disabled_after_an_interrupt(boot: Boot) -> None:
    record = boot(machine=ALONE, at_entry=switches_off)
    assert record.outcome is Outcome.QEMU_DIED
    stderr = (record.directory / "qemu.err").read_text(encoding="utf-8")
    assert "e1000e_intrmgr_on_msix_throttling_timer: Assertion `msix_enabled(timer->core->owner)' failed" in stderr


def test_twin_the_same_stop_alone_does_nothing(boot: Boot) -> None:
    def stops(session: Session, entry: Entry) -> None:
        if takes_an_interrupt(session, entry):
            write_register(session, entry, EITR, 0)  # or second's own MSI-X off comes within it, too

    assert failures(boot(machine=ALONE, at_entry=stops)) == []
