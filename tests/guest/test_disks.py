# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a disk that holds anything but our own pattern is not written to, and is still driven.

False if one byte of it differs after the run. Provoked by writable disks in the place of the reference machine's empty one: one
full of data, and one with a single byte at the end of the first MiB, the last that the driver reads. The twin is the empty disk,
which must have been written to.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from tests.guest.conftest import Boot, log_has

from witness.machine.description import Content, Disk, Machine
from witness.machine.record import Outcome


@dataclass(frozen=True)
class OneByte(Disk):
    def original(self) -> bytes:
        return bytes((1 << 20) - 1) + b"\x01" + bytes((self.mib - 1) << 20)


@pytest.mark.parametrize(
    "disk",
    [
        pytest.param(Disk("disk", 3, Content.RANDOM), id="all-of-it"),
        pytest.param(OneByte("disk", 3, Content.RANDOM), id="one-byte"),
    ],
)
def test_a_disk_that_holds_something_is_left_alone(boot: Boot, disk: Disk) -> None:
    record = boot(machine=Machine(disks=(disk,)))
    kept = disk.file(record.directory).read_bytes() == disk.original()
    assert kept, "the disk was written to"  # not compared in the assertion: pytest would explain 8 MiB byte by byte
    assert record.outcome is Outcome.PASS, record.detail
    assert log_has(record, "second 0000:00:03.0 virtio-blk: 8192 KiB, MSI-X")


def test_twin_an_empty_disk_is_written_to(boot: Boot) -> None:
    disk = Disk("disk", 3, Content.ZEROS)
    record = boot(machine=Machine(disks=(disk,)))
    kept = disk.file(record.directory).read_bytes() == disk.original()
    assert not kept, "the pattern is missing"
    assert record.outcome is Outcome.PASS, record.detail
