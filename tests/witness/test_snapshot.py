# SPDX-License-Identifier: BSD-2-Clause
"""Claim: what the harness gives to first lies in free RAM, wherever boot_params say that the rest is. tests/guest/test_snapshot.py
has the runs. False if it overlaps the image, the archive or boot_params; the twin of each case is the place that was free before.
"""

from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from witness.boot.protocol import CMD_LINE_PTR, E820_ENTRIES, E820_TABLE, INIT_SIZE, RAMDISK_IMAGE
from witness.machine.qemu import Session
from witness.machine.record import Entry
from witness.machine.snapshot import set_cmdline, set_initrd, initrd, params

MIB = 1 << 20
RAM = range(MIB, 33 * MIB)
MIDDLE = 17 * MIB
PARAMS = 2 * MIB
IMAGE = 4 * MIB
OLD = b"old archive"


@pytest.fixture
def session(tmp_path: Path) -> Session:
    path = tmp_path / "ram"
    with path.open("wb") as file:
        file.truncate(RAM.stop)
    return cast(Session, SimpleNamespace(ram=path))


def handed(session: Session, image: int = IMAGE, archive: int = 8 * MIB) -> Entry:
    """The machine at an entry: 32 MiB of RAM behind a small piece, an image of 1 MiB, an archive."""
    header = bytearray(4096)
    table = struct.pack("<QQI", 0, 0x9F000, 1) + struct.pack("<QQI", RAM.start, len(RAM), 1) + struct.pack("<QQI", RAM.stop, MIB, 2)
    header[E820_TABLE:E820_TABLE + len(table)] = table
    header[E820_ENTRIES] = 3
    struct.pack_into("<I", header, INIT_SIZE, MIB)
    struct.pack_into("<I", header, CMD_LINE_PTR, PARAMS + 4096)
    struct.pack_into("<II", header, RAMDISK_IMAGE, archive, len(OLD))
    with session.ram.open("r+b") as file:
        file.seek(PARAMS)
        file.write(header)
        file.seek(archive)
        file.write(OLD)
    return Entry("first", image, 0, {"RSI": PARAMS}, {})


def place(session: Session, entry: Entry) -> int:
    address: int = struct.unpack_from("<I", params(session, entry), RAMDISK_IMAGE)[0]
    return address


def test_an_archive_is_where_boot_params_say(session: Session) -> None:
    entry = handed(session)
    assert initrd(session, entry) == OLD
    set_initrd(session, entry, b"new archive, longer")
    assert initrd(session, entry) == b"new archive, longer"
    assert place(session, entry) == MIDDLE


@pytest.mark.parametrize(
    "image, archive, expected",
    [
        (MIDDLE - MIB // 2, 8 * MIB, MIDDLE + MIB // 2),
        (IMAGE, MIDDLE, MIDDLE + 4096),
        (MIDDLE, MIDDLE + MIB, MIDDLE + MIB + 4096),
        (MIDDLE - MIB, 8 * MIB, MIDDLE),
    ],
    ids=["image", "archive", "both", "twin"],
)
def test_what_is_in_use_is_stepped_over(session: Session, image: int, archive: int, expected: int) -> None:
    entry = handed(session, image, archive)
    set_initrd(session, entry, bytes(100))
    assert place(session, entry) == expected


def test_an_archive_that_fits_nowhere(session: Session) -> None:
    entry = handed(session)
    set_initrd(session, entry, bytes(RAM.stop - MIDDLE))  # to the last byte
    with pytest.raises(ValueError, match="no room for"):
        set_initrd(session, handed(session), bytes(RAM.stop - MIDDLE + 1))


@pytest.mark.parametrize("size, moved", [(0, False), (2047, False), (2048, True)])
def test_a_command_line_stays_where_it_fits(session: Session, size: int, moved: bool) -> None:
    entry = handed(session)
    set_cmdline(session, entry, size * "x")
    (address,) = struct.unpack_from("<I", params(session, entry), CMD_LINE_PTR)
    assert (address != PARAMS + 4096) == moved
    with session.ram.open("rb") as file:
        file.seek(address)
        assert file.read(size + 1).lstrip(b"x") == b"\0"
