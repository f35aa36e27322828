# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a Linux that cannot be started is refused with one line that says why, no device is touched, and first continues.

False if the line is missing, if Linux is entered, or if a register of a device changes between the request and first's end.
Provoked with Debian's own kernel and initrd: files that are no kernel, fields of its setup header as other kernels have them,
command lines that are too long, memory maps that it does not fit.
The twin of each is a kernel that can be started on the same machine: it is entered, and prints its version.
"""

from __future__ import annotations

import struct

import pytest
from tests.guest import newc
from tests.guest.conftest import BUILD, log_has
from tests.guest.test_refusals import MACHINE, VERSION, WHERE, XLOADFLAGS, assert_refused, attempt, u32

from witness.boot.protocol import (
    CMDLINE_SIZE, E820_ENTRIES, E820_RAM, E820_TABLE, HEADER_MAGIC, INIT_SIZE, PAGE, e820,
)  # fmt: skip
from witness.evidence.case import Case
from witness.linux.trial import INITRD, LINUX, console
from witness.machine.qemu import AtEntry, Session
from witness.machine.record import Entry
from witness.machine.snapshot import Snapshot, set_cmdline, set_initrd, params, write_params

KERNEL = (BUILD / LINUX).read_bytes()
ARCHIVE = (BUILD / INITRD).read_bytes()

# Without COM2 Linux's init ends, and Linux panics: that resets the machine and ends the run.
CMDLINE = "handoff.next=linux -- console=ttyS0 panic=-1"

PAGES = -(-len(ARCHIVE) // PAGE) * PAGE >> 10  # KiB
NEEDED = struct.unpack_from("<I", KERNEL, INIT_SIZE)[0]
MIB = 1 << 20


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return Snapshot.take(MACHINE, BUILD, WHERE.with_name(f"{WHERE.name}-linux"))


def gives(kernel: bytes = KERNEL, initrd: bytes = ARCHIVE) -> AtEntry:
    return lambda session, entry: set_initrd(session, entry, newc.checked({"linux/image": kernel, "linux/initrd": initrd}))


def kernel(offset: int, *data: int) -> AtEntry:
    """With these bytes of its setup header, and a digest that is right."""
    return gives(KERNEL[:offset] + bytes(data) + KERNEL[offset + len(data):])


def leaves(mib: int) -> AtEntry:
    """Of the machine's memory: what first needs for itself, and so much in one piece after it."""

    def change(session: Session, entry: Entry) -> None:
        gives()(session, entry)
        ram = [(0, 0x9F000), (1 * MIB, 5 * MIB), (entry.load_address, 2 * MIB), (64 * MIB, mib * MIB)]
        pieces = [(start, size, E820_RAM) for start, size in ram]
        pieces += [(r.start, len(r), kind) for r, kind in e820(params(session, entry)) if kind != E820_RAM]
        write_params(session, entry, E820_TABLE, b"".join(struct.pack("<QQI", *piece) for piece in pieces))
        write_params(session, entry, E820_ENTRIES, bytes([len(pieces)]))

    return change


def with_cmdline(text: str, change: AtEntry = gives()) -> AtEntry:
    """Linux's part of the command line, which may be longer than our loader accepts."""

    def both(session: Session, entry: Entry) -> None:
        change(session, entry)
        set_cmdline(session, entry, f"handoff.next=linux -- {text}")

    return both


TAKES_255 = kernel(CMDLINE_SIZE, *u32(255))
NO_IMAGE = "image linux refused: no 0xaa55 at 0x1fe: not a boot protocol image"

CASES: dict[str, tuple[AtEntry, str]] = {
    "an-elf-file": (gives((BUILD / "first.elf").read_bytes()), NO_IMAGE),
    "an-initrd": (gives(ARCHIVE), NO_IMAGE),
    "a-boot-sector": (kernel(HEADER_MAGIC, *bytes(4)), 'image linux refused: no "HdrS" at 0x202: not a boot protocol image'),
    "half-of-it": (gives(KERNEL[:len(KERNEL) // 2]), f"image linux refused: truncated, {len(KERNEL) // 2} bytes of "),
    "linux-3.7": (kernel(VERSION, 0x0B, 2), "image linux refused: boot protocol 0x020b, the 64-bit entry needs 0x020c or later"),
    "32-bit": (kernel(XLOADFLAGS, 0x7C, 0), "image linux refused: xloadflags lacks XLF_KERNEL_64: it has no 64-bit entry"),
    "1-gib": (kernel(INIT_SIZE, *u32(1 << 30)), "image linux refused: no free memory for its image, 1048576 KiB"),
    "little-memory": (leaves((NEEDED >> 20) - 3), f"image linux refused: no free memory for its image, {NEEDED >> 10} KiB"),
    "none-for-its-initrd": (leaves((NEEDED >> 20) + 1), f"image linux refused: no free memory for its initrd, {PAGES} KiB"),
    "a-long-command-line": (with_cmdline(2048 * "x"), "command line for linux: more than 2047 characters"),
    "longer-than-it-takes": (with_cmdline(256 * "x", TAKES_255), "command line for linux: 256 characters, 255 are allowed"),
}  # fmt: skip


@pytest.mark.parametrize("change, line", CASES.values(), ids=CASES)
def test_a_linux_that_cannot_be_started(snapshot: Snapshot, change: AtEntry, line: str) -> None:
    assert_refused(attempt(change, CMDLINE, snapshot), f"first  {line}", image="linux")


TWINS: dict[str, AtEntry] = {
    "undamaged": gives(),
    "enough-memory": leaves((NEEDED >> 20) + 60),
    "a-command-line-that-just-fits": with_cmdline(f"console=ttyS0 panic=-1 {2024 * 'x'}"),
    "and-as-long-as-it-takes": with_cmdline(f"console=ttyS0 panic=-1 {232 * 'x'}", TAKES_255),
}


@pytest.mark.parametrize("change", TWINS.values(), ids=TWINS)
def test_twin_one_that_can_be_is_entered(snapshot: Snapshot, change: AtEntry) -> None:
    record = snapshot.run(WHERE, CMDLINE, change)
    assert not log_has(record, "refused") and record.log[-1].startswith("first  jump to linux@"), record.log
    assert Case(record).hops  # and Linux clears bus masters, too, as it resets the machine
    assert any("] Linux version " in line for line in console(record))
