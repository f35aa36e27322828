# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a network card and a source of entropy are handed over as disks are: driven by first, left with requests in flight, reset
and driven by second.

False if a verdict about one of them fails. The content of the frames is known outside only: the station at 10.0.2.2 has another
address in every run. The twins judge the same run with another address of the card, and with another answer.

Claim: a frame that arrives while no driver owns the card does not land in first's memory. Provoked by one that is sent while the
machine is stopped at the jump. QEMU 7.2 keeps it, and drops it when second's driver is ready. The twin is policy `none`, under
which the card keeps receiving: there the frame must be in first's memory.

Claim: frames may arrive at any moment. False if a verdict fails on a network that never stops sending, with a card whose
notifications the trace shows. The twin is the first run: there, first returned no more frames than it had requested.

Claim: a network without an answer, a link that is down and a card without MSI-X are results, not failures. The twin of each is the
first run, in which the opposite is logged.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from threading import Event, Thread

import pytest
from tests.guest.conftest import Boot, as_if, failures, log_has, result, results

from witness.devices.virtio import NET_RX, queues
from witness.evidence.case import Case
from witness.judge.engine import Result
from witness.judge.ram import owned_by_first
from witness.machine.description import EVERYTHING, Machine
from witness.machine.peer import Peer, sent_by_guest, sent_by_peer
from witness.machine.qemu import Session
from witness.machine.record import Entry, Outcome, Run
from witness.pci.topology import Bdf

NIC, RNG = EVERYTHING.nics[0], EVERYTHING.rngs[0]
BDF = Bdf(0, NIC.slot, 0)

# Of no protocol (IEEE 802, local experimental Ethertype 1), a broadcast.
STRAY = bytes.fromhex("ffffffffffff 020000000001 88b5") + b"a frame between two kernels".ljust(46, b".")
EVERY_S = 0.0002  # a guest that is interrupted without a pause makes no progress

BUFFERS = 8  # of the driver


@pytest.fixture(scope="module")
def record(shared: Boot) -> Run:
    return shared(machine=EVERYTHING)


def test_the_run_passes(record: Run) -> None:
    assert record.outcome is Outcome.PASS, record.detail
    assert failures(record) == []


def test_twin_another_card_s_frames(record: Run) -> None:
    other = replace(EVERYTHING, nics=(replace(NIC, mac="52:54:00:12:34:57"),))
    assert result(as_if(record, machine=other), "frames") is Result.FAIL


def test_twin_another_answer(record: Run) -> None:
    forged = replace(NIC, name="forged")
    name = sent_by_peer(NIC, record.directory)[0][6:12]
    other = NIC.record(record.directory).read_bytes().replace(name, name[:-1] + bytes([name[-1] ^ 1]))
    forged.record(record.directory).write_bytes(other)
    assert result(as_if(record, machine=replace(EVERYTHING, nics=(forged,))), "frames") is Result.FAIL


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
    record = boot(machine=EVERYTHING, at_entry=at_the_jump)
    assert failures(record) == []
    assert STRAY in sent_by_peer(NIC, record.directory)
    assert not is_in_first(record)


def test_twin_where_nothing_is_shut_down_it_lands(boot: Boot) -> None:
    record = boot(machine=EVERYTHING, cmdline="handoff.shutdown=none", at_entry=at_the_jump)
    assert is_in_first(record)


def frames_that_came_to_first(record: Run) -> int:
    case = Case(record)
    assert case.next
    ring = next(queue for queue in queues(case, BDF, range(case.handed_over[0].out.start)) if queue.index == NET_RX)
    return record.ram_at(case.next).u16(ring.used + 2)


def test_frames_come_at_any_moment(boot: Boot) -> None:
    ended = Event()

    def flood(peer: Peer) -> None:
        with suppress(OSError, ValueError):  # QEMU has ended, and the peer with it
            while not ended.wait(EVERY_S):
                peer.send(STRAY)

    def begin(session: Session, entry: Entry) -> None:
        if entry.name == "first":
            Thread(target=flood, args=[session.peers[NIC.name]], daemon=True).start()

    record = boot(machine=replace(EVERYTHING, nics=(replace(NIC, device="ioeventfd=off"),)), at_entry=begin, fresh=True)
    ended.set()
    assert failures(record) == []
    assert frames_that_came_to_first(record) > BUFFERS


def test_twin_few_frames_arrive_without_a_flood(record: Run) -> None:
    assert frames_that_came_to_first(record) < BUFFERS


def test_no_peer_has_to_answer(boot: Boot) -> None:
    silent = replace(NIC, answered=False)
    record = boot(machine=replace(EVERYTHING, nics=(silent,)))
    assert failures(record) == []
    assert log_has(record, "second 0000:00:07.0 virtio-net: no answer to ARP within 1000 ms")
    assert not log_has(record, "10.0.2.2 is at")
    assert sent_by_guest(silent, record.directory)


def test_a_link_may_be_down(boot: Boot) -> None:
    """Under first: a frame that was not sent cannot have come out, and its verdicts fail. Under second the link is up again."""

    def link(session: Session, entry: Entry) -> None:
        session.qmp.monitor(f"set_link {NIC.name} {'off' if entry.name == 'first' else 'on'}")

    record = boot(machine=EVERYTHING, at_entry=link)
    assert record.outcome is Outcome.PASS, record.log
    assert log_has(record, f"first  0000:00:07.0 virtio-net: {NIC.mac} link down")
    assert log_has(record, f"second 0000:00:07.0 virtio-net: {NIC.mac} link up")
    assert {id for id, result in results(record).items() if result is not Result.PASS} == {"driven-first", "frames"}


WITHOUT_MSIX = replace(
    EVERYTHING,
    nics=(replace(NIC, device="vectors=0"),),
    rngs=(replace(RNG, device=f"{RNG.device},vectors=0"),),
)

TRANSITIONAL = replace(
    EVERYTHING,
    nics=(replace(NIC, device="disable-legacy=off"),),
    rngs=(replace(RNG, device=f"{RNG.device},disable-legacy=off"),),
)


@pytest.mark.parametrize(
    "machine, identity, logged",
    [
        pytest.param(WITHOUT_MSIX, 0x10411AF4, "link up, INTx irq 0x", id="without-msix"),
        pytest.param(TRANSITIONAL, 0x10001AF4, "link up, MSI-X vector 0x", id="transitional", marks=pytest.mark.exhaustive),
    ],
)
def test_kinds_of_cards(boot: Boot, machine: Machine, identity: int, logged: str) -> None:
    is_driven_as(boot(machine=machine, fresh=True), identity, logged)


def test_kind_of_card_of_the_others(record: Run) -> None:
    is_driven_as(record, 0x10411AF4, "link up, MSI-X vector 0x")


def is_driven_as(record: Run, identity: int, logged: str) -> None:
    assert Case(record).topology.functions[BDF].u32(0) == identity
    assert failures(record) == []
    assert log_has(record, f"second 0000:00:07.0 virtio-net: {NIC.mac} {logged}")
