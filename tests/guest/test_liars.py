# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a function that lies, or that vanishes, is named, and harms no other: every other device is driven, handed over and driven
again.

False if a lie is believed (a register is written that is none, a function is written to that was removed), if an image hangs or
faults, if a good device suffers, or if the liar is not named. Provoked by functions on one machine whose every register is answered
by this test: their failures are independent. The twins are the same functions, honest, on the same machine.
"""

from __future__ import annotations

from typing import Iterator

import pytest
from tests.guest.conftest import Boot, claims_that_fail, log_has, run_to, without
from tests.guest.remote import RemoteDevice, RemoteVirtioBlk, attached, msi, msix

from witness.evidence.case import Case
from witness.judge.engine import Result
from witness.judge.rules import judge
from witness.machine.description import REFERENCE
from witness.machine.qemu import Session
from witness.machine.record import Entry, Outcome, Run
from witness.pci.registers import (
    PCI_CAPABILITY_LIST, PCI_COMMAND, PCI_COMMAND_MASTER, PCI_HEADER_TYPE, PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE,
)  # fmt: skip
from witness.pci.topology import Bdf, Function
from witness.trace.events import ConfigWrite, MmioWrite

MULTIFUNCTION = 0x80
MSI_AT, MSIX_AT, VIRTIO_MSIX_AT = 0x40, 0x50, 0x40
MSI_FLAGS, MSIX_FLAGS = MSI_AT + PCI_MSI_FLAGS, VIRTIO_MSIX_AT + PCI_MSI_FLAGS


class Plain(RemoteDevice):
    """Honest."""

    def __init__(self, slot: int, function: int = 0, more: str = "") -> None:
        super().__init__(slot, function, more)
        self.link((MSI_AT, msi()), (MSIX_AT, msix(table=0)))
        self.let_write(MSI_FLAGS, b"\1")


class Loop(Plain):
    def lie(self) -> None:
        self.config[MSIX_AT + 1] = MSI_AT


class InTheHeader(Plain):
    """A list that points to what would be MSI, and enabled."""

    AT = 0x28

    def lie(self) -> None:
        self.put(self.AT, b"\x05\0\x81\0")
        self.config[PCI_CAPABILITY_LIST] = self.AT


class PastTheSpace(InTheHeader):
    """The rest of it would be in the next function's space."""

    AT = 0xFC


class AlwaysMaster(Plain):
    def read_config(self, offset: int, size: int) -> int:
        stuck = PCI_COMMAND_MASTER if self.lies and offset == PCI_COMMAND else 0
        return super().read_config(offset, size) | stuck


class Vanishing(Plain):
    gone = False

    def lie(self) -> None:
        self.gone = True

    def read_config(self, offset: int, size: int) -> int:
        return (1 << 8 * size) - 1 if self.gone else super().read_config(offset, size)


class VanishingOnceRead(Vanishing):
    """Between the read of the command register and the write to it."""

    def lie(self) -> None:
        self.lies = True

    def read_config(self, offset: int, size: int) -> int:
        value = super().read_config(offset, size)
        self.gone |= self.lies and offset == PCI_COMMAND
        return value


class TableInIoBar(RemoteVirtioBlk):
    io_bars = {1: 64}


class NoQueue(RemoteVirtioBlk):
    """Its MSI-X is valid, so it is enabled; the next step fails at once."""

    def __init__(self, slot: int) -> None:
        super().__init__(slot)
        self.write_bar(0, self.QUEUE_SIZE, 2, 0)


def bdf(text: str) -> Bdf:
    return Bdf.parse(text)


# A table after the end of the BAR, which may be another function's, in a place that this one never writes to itself.
AFTER_BAR = 0x1F00

PLAIN, NEVER_THERE, AFTER_A_HOLE, LEFT_ON = map(bdf, ("00:07.0", "00:08.1", "00:08.2", "00:12.0"))
MASTER, BEYOND, NO_QUEUE = map(bdf, ("00:0d.0", "00:16.0", "00:17.0"))
BEFORE, DURING, AFTER = map(bdf, ("00:0e.0", "00:0f.0", "00:10.0"))
HONEST = {PLAIN, bdf("00:08.0"), AFTER_A_HOLE, LEFT_ON}


def cast() -> dict[Bdf, RemoteDevice]:
    several, left_on = Plain(8, 0, "multifunction=on"), Plain(0x12)
    several.config[PCI_HEADER_TYPE] |= MULTIFUNCTION
    left_on.config[MSI_FLAGS] |= PCI_MSI_FLAGS_ENABLE
    devices = [
        Plain(7), several, Vanishing(8, 1), Plain(8, 2),
        Loop(0x0A), InTheHeader(0x0B), PastTheSpace(0x0C), AlwaysMaster(0x0D),
        Vanishing(0x0E), VanishingOnceRead(0x0F), Vanishing(0x10), left_on,
        RemoteVirtioBlk(0x13, 7), TableInIoBar(0x14, 1), RemoteVirtioBlk(0x15, 2), RemoteVirtioBlk(0x16, AFTER_BAR), NoQueue(0x17),
    ]  # fmt: skip
    return {device.bdf: device for device in devices}


@pytest.fixture(scope="module")
def record(shared: Boot) -> Iterator[Run]:
    devices = cast()
    vanishing = {BEFORE, DURING, AFTER}

    def at_entry(session: Session, entry: Entry) -> None:
        if entry.name != "first":
            return
        for device in devices.values():
            if device.bdf not in vanishing:
                device.lie()
        run_to(session, entry, "kernel_shutdown")
        devices[BEFORE].lie()
        devices[DURING].lie()
        run_to(session, entry, "chain_place")
        devices[AFTER].lie()

    with attached(REFERENCE, *devices.values()) as machine:
        yield shared(machine=machine, at_entry=at_entry, fds=[device.fd for device in devices.values()])


def written(record: Run, function: Bdf) -> list[int]:
    """The offsets in its configuration space that the images wrote to."""
    case = Case(record)
    lines = range(case.entry_lines["first"], case.end + 1)
    return [write.offset for write in case.within(ConfigWrite, lines) if write.bdf == function]


def test_all_others_are_driven_handed_over_and_driven_again(record: Run) -> None:
    assert record.outcome is Outcome.FAIL, record.detail
    liars = cast().keys() - HONEST
    # QEMU completes requests when it stops a machine, and devices report them before the walk.
    assert claims_that_fail(without(record, liars), without(record, liars - {NO_QUEUE})) == {"guest", "load"}


@pytest.mark.parametrize(
    "line",
    [
        "pci 0000:00:0a.0 capability list loops, 48 entries seen",
        "pci 0000:00:13.0 msix table is in BAR 7, which is not an assigned memory BAR",
        "pci 0000:00:14.0 msix table is in BAR 1, which is not an assigned memory BAR",
        "pci 0000:00:15.0 msix table is in BAR 2, which is not an assigned memory BAR",
        "pci 0000:00:16.0 msix table is at 0x1f00 of BAR 0, 32 bytes: the BAR has 4096",
        "0000:00:17.0 virtio-blk: queue 0 has 0 entries",
    ],
    ids=["loop", "none", "io", "unassigned", "beyond", "twin"],
)
def test_both_images_name_it_once(record: Run, line: str) -> None:
    assert [entry for entry in record.log if line in entry] == [f"first  {line}", f"second {line}"]


@pytest.mark.parametrize("function", ["00:0a.0", "00:0b.0", "00:0c.0"], ids=["loop", "header", "past"])
def test_a_list_is_not_followed_where_no_capability_can_be(record: Run, function: str) -> None:
    assert written(record, bdf(function)) == [PCI_COMMAND]


def test_twin_an_honest_one_is(record: Run) -> None:
    assert written(record, LEFT_ON) == [MSI_FLAGS, PCI_COMMAND]


@pytest.mark.parametrize("function", ["00:13.0", "00:14.0", "00:15.0", "00:16.0"], ids=["none", "io", "unassigned", "beyond"])
def test_msix_is_not_enabled_without_a_table(record: Run, function: str) -> None:
    assert MSIX_FLAGS not in written(record, bdf(function))


def test_twin_with_one_it_is(record: Run) -> None:
    assert MSIX_FLAGS in written(record, NO_QUEUE)


def test_what_is_after_a_bar_is_not_written_to(record: Run) -> None:
    """It may be another function's. The twin's table, in its own BAR, is: its MSI-X is enabled."""
    function = Function(BEYOND, record.entries[0].configs[BEYOND])
    after = (function.u32(0x10) & ~0xF) + AFTER_BAR
    case = Case(record)
    writes = case.within(MmioWrite, range(case.entry_lines["first"], case.end + 1))
    assert not [write for write in writes if write.address in range(after, after + 32)]


def test_a_bus_master_that_cannot_be_cleared_is_named(record: Run) -> None:
    assert [line for line in record.log if "still on" in line] == [
        f"second inherited from an image that cleared it: bus master still on in 0000:{MASTER}"
    ]
    verdicts = {verdict.id: verdict for verdict in judge(without(record, cast().keys() - {MASTER}))}
    assert verdicts["handed"].result is Result.FAIL
    assert verdicts["handed"].evidence.startswith(f"{MASTER} command ")


@pytest.mark.parametrize(
    "function, writes",
    [(NEVER_THERE, 0), (BEFORE, 0), (DURING, 1), (AFTER, 1), (PLAIN, 1), (AFTER_A_HOLE, 1)],
    ids=["never there", "before the walk", "in the walk", "after the walk", "twin", "after the hole"],
)
def test_nothing_is_written_to_what_was_removed(record: Run, function: Bdf, writes: int) -> None:
    """The one write is that of the walk; to what vanishes in the walk it is already under way."""
    assert written(record, function) == [PCI_COMMAND] * writes


def test_what_was_removed_is_not_listed(record: Run) -> None:
    present = len(record.entries[0].configs) - 1
    assert log_has(record, f"first  inherited {present} functions: ")
    assert log_has(record, f"second inherited {present - 3} functions: ")
