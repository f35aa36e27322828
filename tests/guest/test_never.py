# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a device that never answers costs a bounded wait and one line that names device and wait, in first and in second; every
other device is driven, handed over and driven again.

False if an image hangs, if the line is missing, or if a good device suffers. Provoked by devices, all on one machine, whose reset
does not complete, whose features are never accepted, whose requests never return, whose DMA stays busy (always, or once its bus
master is off: then it is second that meets it), whose interrupt status cannot be acknowledged. The twins are those of the same
make that answer where the other does not: they come as far as the next wait.
"""

from __future__ import annotations

from typing import Iterator

import pytest
from tests.guest.conftest import Boot, claims_that_fail, without
from tests.guest.remote import RemoteDevice, RemoteEdu, RemoteVirtioBlk, attached

from witness.case import Case
from witness.machine import REFERENCE
from witness.pci import PCI_COMMAND, PCI_COMMAND_MASTER, Bdf
from witness.record import Outcome, Run

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


class NeverQuiet(RemoteEdu):
    def read_bar(self, number: int, offset: int, size: int) -> int:
        return super().read_bar(number, offset, size) | (offset == self.IRQ_STATUS)


DEVICES = {
    "00:0a.0": RemoteVirtioBlk, "00:0b.0": NeverReset, "00:0c.0": NeverAgreed,
    "00:0d.0": RemoteEdu, "00:0e.0": AlwaysBusy, "00:0f.0": BusyWhilePaused, "00:10.0": NeverQuiet,
}  # fmt: skip


@pytest.fixture(scope="module")
def record(shared: Boot) -> Iterator[Run]:
    devices: list[RemoteDevice] = [make(Bdf.parse(bdf).device) for bdf, make in DEVICES.items()]
    with attached(REFERENCE, *devices) as machine:
        yield shared(machine=machine, fds=[device.fd for device in devices])


def test_all_others_are_driven_handed_over_and_driven_again(record: Run) -> None:
    assert record.outcome is Outcome.FAIL, record.detail
    assert claims_that_fail(record, without(record, set(map(Bdf.parse, DEVICES)))) == {"guest"}


@pytest.mark.parametrize(
    "function, waits",
    [
        ("00:0a.0", ["virtio-blk: no completed request within 5000 ms, 0 of 1"]),
        ("00:0b.0", ["virtio: reset not done after 5000 ms, status 0x01"]),
        ("00:0c.0", ["virtio: features 0x100000000 refused, 0x100000000 offered"]),
        ("00:0d.0", ["edu: no MSI within 1000 ms, 0 of 1"]),
        ("00:0e.0", ["edu: DMA still runs after 1000 ms, command 0x1"]),
        ("00:0f.0", ["edu: no MSI within 1000 ms, 0 of 1", "edu: DMA still runs after 1000 ms, command 0x1"]),
        ("00:10.0", ["edu: interrupt status 0x1 stays set after it was acknowledged"]),
    ],
    ids=["request", "reset", "features", "message", "dma", "paused dma", "status"],
)
def test_both_images_name_it_and_what_they_waited_for(record: Run, function: str, waits: list[str]) -> None:
    """Where there are two, the second is what second waited for."""
    told = [line for line in record.log if any(f" 0000:{function} {wait}" in line for wait in waits)]
    assert told == [f"first  0000:{function} {waits[0]}", f"second 0000:{function} {waits[-1]}"]


def test_what_was_not_reset_does_not_get_bus_master_back(record: Run) -> None:
    """It may still hold addresses of first's. The twins are those whose reset answers."""
    case = Case(record)
    masters = set(map(str, case.history.masters(case.end + 1))) & DEVICES.keys()
    assert masters == {"00:0a.0", "00:0c.0", "00:0d.0"}
