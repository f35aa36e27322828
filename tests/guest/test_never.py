# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a device that never answers costs a bounded wait and one line that names device and wait, in first and in second; every
other device is driven, handed over and driven again; and what it may still do harms none of them.

False if an image hangs, if the line is missing, if a good device suffers, or if the interrupt line or the memory that it may still
use gets another owner. Provoked by devices, all on one machine: their reset does not complete, their features are never accepted,
their requests never return, their DMA stays busy (always, or once bus master is off: then second meets it), their interrupt status
cannot be acknowledged. The twins are those of the same make that answer where the other does not: they get to the next wait.
"""

from __future__ import annotations

from typing import Iterator

import pytest
from tests.guest.conftest import Boot, claims_that_fail, without
from tests.guest.remote import RemoteDevice, RemoteEdu, RemoteVirtioBlk, attached

from witness.boot.protocol import E820_DMA, e820
from witness.evidence.case import Case
from witness.lab.soak import passed_maps
from witness.machine.description import REFERENCE, Machine
from witness.machine.record import Outcome, Run
from witness.pci.registers import PCI_COMMAND, PCI_COMMAND_INTX_DISABLE, PCI_COMMAND_MASTER
from witness.pci.topology import Bdf

FEATURES_OK = 0x08


class NeverReset(RemoteVirtioBlk):
    def read_bar(self, number: int, offset: int, size: int) -> int:
        return super().read_bar(number, offset, size) | (offset == self.STATUS)


class NeverAgreed(RemoteVirtioBlk):
    def read_bar(self, number: int, offset: int, size: int) -> int:
        value = super().read_bar(number, offset, size)
        return value & ~FEATURES_OK if offset == self.STATUS else value


class AlwaysBusy(RemoteEdu):
    def is_busy(self) -> bool:
        return True

    def read_bar(self, number: int, offset: int, size: int) -> int:
        return super().read_bar(number, offset, size) | (offset == self.DMA_COMMAND and self.is_busy())


class BusyWhilePaused(AlwaysBusy):
    def is_busy(self) -> bool:
        return not self.read_config(PCI_COMMAND, 2) & PCI_COMMAND_MASTER


class NeverAcknowledged(RemoteEdu):
    def read_bar(self, number: int, offset: int, size: int) -> int:
        return super().read_bar(number, offset, size) | (offset == self.IRQ_STATUS)


DEVICES = {
    "00:0a.0": RemoteVirtioBlk, "00:0b.0": NeverReset, "00:0c.0": NeverAgreed,
    "00:0d.0": RemoteEdu, "00:0e.0": AlwaysBusy, "00:0f.0": BusyWhilePaused, "00:10.0": NeverAcknowledged,
}  # fmt: skip


@pytest.fixture(scope="module")
def devices() -> list[RemoteDevice]:
    return [make(Bdf.parse(bdf).device) for bdf, make in DEVICES.items()]


@pytest.fixture(scope="module")
def record(shared: Boot, devices: list[RemoteDevice]) -> Iterator[Run]:
    with attached(REFERENCE, *devices) as machine:
        yield shared(machine=machine, fds=[device.fd for device in devices])


def test_all_others_are_driven_handed_over_and_driven_again(record: Run) -> None:
    assert record.outcome is Outcome.FAIL, record.detail
    assert claims_that_fail(record, without(record, set(map(Bdf.parse, DEVICES)))) == {"guest"}


@pytest.mark.parametrize(
    "function, waits",
    [
        ("00:0a.0", ["virtio-blk: no completed request within 5000 ms, 0 of 1"]),
        ("00:0b.0", ["virtio-blk: reset not done after 5000 ms, status 0x01"]),
        ("00:0c.0", ["virtio-blk: features 0x100000000 refused, 0x100000000 offered"]),
        ("00:0d.0", ["edu: no MSI within 1000 ms, 0 of 1"]),
        ("00:0e.0", ["edu: DMA still runs after 1000 ms, command 0x1"]),
        ("00:0f.0", ["edu: no MSI within 1000 ms, 0 of 1", "edu: DMA still runs after 1000 ms, command 0x1"]),
        ("00:10.0", ["edu: interrupt status 0x1 stays set after it was acknowledged"]),
    ],
    ids=["request", "reset", "features", "message", "dma", "paused dma", "status"],
)
def test_both_images_name_it_and_what_they_waited_for(record: Run, function: str, waits: list[str]) -> None:
    """Where there are two, the last is second's wait."""
    lines = [line for line in record.log if any(f" 0000:{function} {wait}" in line for wait in waits)]
    assert lines == [f"first  0000:{function} {waits[0]}", f"second 0000:{function} {waits[-1]}"]


def test_what_was_not_reset_does_not_get_bus_master_again(record: Run) -> None:
    """It may still hold addresses of first's. The twins are those that were reset."""
    case = Case(record)
    masters = set(map(str, case.history.masters(case.end + 1))) & DEVICES.keys()
    assert masters == {"00:0a.0", "00:0c.0", "00:0d.0"}


def test_what_was_not_reset_has_intx_disabled(record: Run, devices: list[RemoteDevice]) -> None:
    """A line that it asserts would be lost to its neighbours. The twins are the same functions as first inherited them."""
    stuck = [device for device in devices if isinstance(device, (NeverReset, AlwaysBusy, NeverAcknowledged))]
    first = record.entries[0].configs
    assert not [str(d.bdf) for d in stuck if int.from_bytes(first[d.bdf][PCI_COMMAND:][:2], "little") & PCI_COMMAND_INTX_DISABLE]
    assert not [str(d.bdf) for d in stuck if not d.read_config(PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE]


@pytest.mark.parametrize("make, kept", [(BusyWhilePaused, True), (RemoteEdu, False)], ids=["paused", "twin"])
def test_what_it_may_still_write_to_stays_reserved(boot: Boot, make: type[RemoteEdu], kept: bool) -> None:
    """In the map that second hands over: first's DMA memory. The twin is an edu that second could reset."""
    edu = make(0x0F)
    with attached(Machine(), edu) as machine:
        record = boot(machine=machine, fds=[edu.fd], cmdline="handoff.next=second*2")
    second = Case(record).next
    assert second, record.detail
    [firsts] = dma(e820(record.boot_params(second)))
    [last] = [map for page, map in passed_maps(record).items() if page != second.registers["RSI"]]
    assert any(firsts.start in reserved and firsts.stop - 1 in reserved for reserved in dma(last)) == kept


def dma(map: list[tuple[range, int]]) -> list[range]:
    return [addresses for addresses, kind in map if kind == E820_DMA]
