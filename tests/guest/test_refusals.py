# SPDX-License-Identifier: BSD-2-Clause
"""Claim: what cannot be started is refused with one line that names it, no device is touched, and the running kernel continues.

False if the line is missing or there are two, if the next image is entered, if first crashes, or if a single register of a device
changes between the request and the end. Provoked in the real guest: each case is a run from one snapshot of a machine at first's
entry, with another archive, command line or memory map given to it. A stop marks the request in the trace: after it there may be no
write to a device; and the devices' registers are read before and after. The twin is the same snapshot with the archive that it had,
and with one that was rebuilt but is valid: both hand over and pass.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass

import pytest
from tests.guest import newc
from tests.guest.conftest import BUILD, Boot, failures, log_has, run_to, snapshot

from witness.boot.protocol import (
    CMDLINE_SIZE, E820_ENTRIES, E820_TABLE, ENTRY_64, HEADER_MAGIC, INIT_SIZE, PAGE, SETUP_SECTS, Image,
)  # fmt: skip
from witness.evidence.case import Case
from witness.machine.description import Content, Disk, Machine
from witness.machine.qemu import AtEntry, Session, configs
from witness.machine.record import Entry, Outcome, Run
from witness.machine.snapshot import Snapshot, initrd, set_cmdline, set_initrd, write_params
from witness.pci.registers import PCI_COMMAND, PCI_COMMAND_MASTER
from witness.pci.topology import Bdf
from witness.trace.events import ConfigWrite, RunState

# Without ioeventfd the trace shows the disk being armed, and that all drivers had finished with configuration space by then.
MACHINE = Machine(
    disks=(Disk("scratch", 3, Content.ZEROS, device="ioeventfd=off"),),
    devices=("pcie-root-port,id=root,addr=6,chassis=1",),
)

# Each run replaces the one before, since its RAM alone is 50 MiB; each of pytest's workers has its own.
WHERE = BUILD / "test" / f"refusal{os.environ.get('PYTEST_XDIST_WORKER', '')}"

SECOND = (BUILD / "second.bin").read_bytes()
SECOND_AT = 0x3000000  # where it asks to be placed, and is

# Every length, instead of one for each kind of refusal.
EXHAUSTIVE = bool(os.environ.get("EXHAUSTIVE"))

# Of the setup header (boot.rst), what only an image check reads.
SYSSIZE, BOOT_FLAG, VERSION, LOADFLAGS, ALIGNMENT, RELOCATABLE, XLOADFLAGS = 0x1F4, 0x1FE, 0x206, 0x211, 0x230, 0x234, 0x236
HEADER_END = 0x268

REFUSED = "first  next image {} refused, no device was shut down; first continues"


@dataclass
class Attempt:
    """A run, and its state before first prepares the next image, and after that."""

    run: Run
    configs: list[dict[Bdf, bytes]]
    lines: list[int]  # in the log


def attempt(change: AtEntry | None = None, cmdline: str = "", origin: Snapshot | None = None) -> Attempt:
    seen: list[dict[Bdf, bytes]] = []
    lines: list[int] = []

    def watch(session: Session, entry: Entry) -> None:
        if change:
            change(session, entry)
        for function in ("kernel_prepare_next", "kernel_exit"):
            run_to(session, entry, function)
            seen.append(dict(configs(session.qmp)))
            lines.append((WHERE / "guest.log").read_bytes().count(b"\n"))

    return Attempt((origin or snapshot(MACHINE)).run(WHERE, cmdline, watch), seen, lines)


def assert_refused(tried: Attempt, *reason: str, image: str = "second") -> None:
    """The only line of the reason has all of these texts."""
    record, log = tried.run, tried.run.log
    assert record.outcome is Outcome.FAIL, record.detail
    answer = log[tried.lines[0]:]
    assert len(answer) == 3 and answer[1:] == [REFUSED.format(image), "GUEST: fail"], answer
    assert all(text in answer[0] for text in reason), answer[0]
    assert_no_device_was_touched(tried)


def assert_no_device_was_touched(tried: Attempt) -> None:
    case = Case(tried.run)
    assert not case.hops and not case.next
    assert not [change for change in case.changes(range(case.end + 1)) if change.master_cleared]
    requested = [event.line for event in case.events if isinstance(event, RunState) and event.state == "debug"][1]
    answer = range(requested, case.end + 1)
    assert not [str(write) for write in case.within(ConfigWrite, answer)]
    assert not [str(write) for write in case.device_writes(answer)]
    before, after = tried.configs
    assert after and not [str(bdf) for bdf in after if before[bdf] != after[bdf]]
    assert not [str(bdf) for bdf, config in after.items() if not config[PCI_COMMAND] & PCI_COMMAND_MASTER]


def gives(files: dict[str, bytes]) -> AtEntry:
    return lambda session, entry: set_initrd(session, entry, newc.checked(files))


def gives_raw(archive: bytes) -> AtEntry:
    return lambda session, entry: set_initrd(session, entry, archive)


def second(offset: int, *data: int) -> AtEntry:
    """An archive with an image in which these bytes differ, and a correct digest."""
    return gives({"second/image": SECOND[:offset] + bytes(data) + SECOND[offset + len(data):]})


def u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


# --- the twins ---


@pytest.mark.parametrize("rebuilt", [False, True], ids=["as-it-was", "rebuilt"])
def test_twin_a_valid_archive_hands_over(rebuilt: bool) -> None:
    change = gives({"readme": b"not for first", "second/image": SECOND}) if rebuilt else None
    record = snapshot(MACHINE).run(WHERE, change=change)
    assert record.outcome is Outcome.PASS, record.log
    # This machine has no throttled disk and no edu.
    assert not [failure for failure in failures(record) if not failure.startswith("load:")]


def test_twin_one_that_was_placed_is_the_one_that_was_given() -> None:
    """Its last byte, padding that is never executed, differs."""
    other = SECOND[:-1] + bytes([SECOND[-1] ^ 1])
    record = snapshot(MACHINE).run(WHERE, change=gives({"second/image": other}))
    assert record.outcome is Outcome.PASS, record.log
    assert log_has(record, f"for {SECOND_AT:#x}, SHA-256 {hashlib.sha256(other).hexdigest()[:16]}...")


# --- the image ---


HEADER_CASES: list[tuple[str, AtEntry, str]] = [
    ("boot-flag", second(BOOT_FLAG, 0), "image second refused: no 0xaa55 at 0x1fe: not a boot protocol image"),
    ("magic", second(HEADER_MAGIC, *b"HdrZ"), 'image second refused: no "HdrS" at 0x202: not a boot protocol image'),
    ("protocol", second(VERSION, 0x0B, 2), "image second refused: boot protocol 0x020b, the 64-bit entry needs 0x020c or later"),
    ("low", second(LOADFLAGS, 0), "image second refused: loadflags lacks LOADED_HIGH"),
    ("no-xloadflags", second(XLOADFLAGS, 0, 0), "image second refused: xloadflags lacks XLF_KERNEL_64: it has no 64-bit entry"),
    ("not-above-4g", second(XLOADFLAGS, 1, 0), "image second refused: xloadflags lacks XLF_CAN_BE_LOADED_ABOVE_4G"),
    ("fixed", second(RELOCATABLE, 0), "image second refused: it is not relocatable"),
    ("alignment-0", second(ALIGNMENT, *u32(0)), "image second refused: kernel_alignment is not a power of two"),
    ("alignment-3000", second(ALIGNMENT, *u32(0x3000)), "image second refused: kernel_alignment is not a power of two"),
    ("init-size-small", second(INIT_SIZE, *u32(PAGE)), "image second refused: init_size is smaller than what is loaded"),
    ("init-size-256m", second(INIT_SIZE, *u32(256 << 20)), "image second refused: no free memory for its image, 262144 KiB"),
    ("init-size-max", second(INIT_SIZE, *u32(0xFFFFFFFF)), "image second refused: no free memory for its image, 4194304 KiB"),
    ("alignment-huge", second(ALIGNMENT, *u32(1 << 31)), "image second refused: no free memory for its image, "),
    ("setup-sects", second(SETUP_SECTS, 0xFF), "image second refused: the file ends before its 64-bit entry"),
    ("syssize", second(SYSSIZE, *u32(0xFFFFFFFF)), f"image second refused: truncated, {len(SECOND)} bytes of "),
    ("cmdline-size", second(CMDLINE_SIZE, *u32(4)), "command line for second: 13 characters, 4 are allowed"),
    ("empty", gives({"second/image": b""}), "image second refused: the file ends inside its setup header"),
]  # fmt: skip


@pytest.mark.parametrize("change, line", [case[1:] for case in HEADER_CASES], ids=[case[0] for case in HEADER_CASES])
def test_an_image_that_cannot_be_entered(change: AtEntry, line: str) -> None:
    assert_refused(attempt(change), line)


def truncation(size: int) -> str:
    """What is wrong with so much of second: from the boot protocol, not from image_check."""
    setup = (SECOND[SETUP_SECTS] + 1) * 512
    (paragraphs,) = struct.unpack_from("<I", SECOND, SYSSIZE)
    if size < HEADER_END:
        return "the file ends inside its setup header"
    if size <= setup + ENTRY_64:
        return "the file ends before its 64-bit entry"
    return f"truncated, {size} bytes of {setup + 16 * paragraphs}"


def lengths() -> list[int]:
    """The last and the first of each kind of refusal; or every byte of the header, and every page after it."""
    pages = range(PAGE, len(SECOND), PAGE)
    entry = (SECOND[SETUP_SECTS] + 1) * 512 + ENTRY_64
    kinds = {0, 1, BOOT_FLAG, HEADER_MAGIC + 2, HEADER_END - 1, HEADER_END, entry, entry + 1, pages[0], pages[-1], len(SECOND) - 1}
    return sorted({*kinds, *range(HEADER_END), *pages} if EXHAUSTIVE else kinds)


@pytest.mark.parametrize("size", lengths())
def test_a_truncated_image(size: int) -> None:
    tried = attempt(gives({"second/image": SECOND[:size]}))
    assert_refused(tried, f"image second refused: {truncation(size)}")


def test_memory_in_pieces() -> None:
    """Enough in sum, nowhere enough in one piece: between 8 MiB and the top every other MiB is reserved."""
    size = 16 << 20

    def shred(session: Session, entry: Entry) -> None:
        second(INIT_SIZE, *u32(size))(session, entry)
        pieces = [(0, 0x9F000, 1), (1 << 20, 15 << 20, 1)]
        pieces += [(start << 20, 2 << 20, kind) for start, kind in zip(range(16, MACHINE.mib - 16, 2), [1, 2] * MACHINE.mib)]
        pieces += [(entry.load_address, 2 << 20, 1)]
        table = b"".join(struct.pack("<QQI", *piece) for piece in pieces)
        write_params(session, entry, E820_TABLE, table)
        write_params(session, entry, E820_ENTRIES, bytes([len(pieces)]))

    tried = attempt(shred)
    assert_refused(tried, f"image second refused: no free memory for its image, {size >> 10} KiB")
    (free,) = [int(line.split()[3]) for line in tried.run.log if line.startswith("first  machine: QEMU, ")]
    assert free << 20 > size


# --- the archive ---


def test_an_image_that_is_not_in_the_archive() -> None:
    assert_refused(attempt(gives({"third/image": SECOND})), "first  initrd: no second/image")


def test_a_successor_s_image_that_is_not_in_the_archive() -> None:
    assert_refused(attempt(cmdline="handoff.next=second,third"), "first  initrd: no third/image")


def test_an_image_that_was_damaged_in_the_archive() -> None:
    """SHA256SUMS stays as it was."""
    digests: list[str] = []

    def flip(session: Session, entry: Entry) -> None:
        archive = bytearray(initrd(session, entry))
        at = archive.index(SECOND)
        archive[at + len(SECOND) // 2] ^= 1
        digests.append(hashlib.sha256(archive[at:at + len(SECOND)]).hexdigest())
        set_initrd(session, entry, bytes(archive))

    tried = attempt(flip)
    reason = f"SHA-256 is {digests[0]}, SHA256SUMS says {hashlib.sha256(SECOND).hexdigest()}"
    assert_refused(tried, f"first  initrd: second/image refused: {reason}")


SUMS_CASES = {
    "none": newc.archive({"second/image": SECOND}),
    "other-file": newc.archive({"SHA256SUMS": newc.sums({"third/image": SECOND}), "second/image": SECOND}),
    "cut-line": newc.archive({"SHA256SUMS": newc.sums({"second/image": SECOND})[1:], "second/image": SECOND}),
}


@pytest.mark.parametrize("archive", SUMS_CASES.values(), ids=SUMS_CASES)
def test_an_image_without_a_digest(archive: bytes) -> None:
    assert_refused(attempt(gives_raw(archive)), "first  initrd: SHA256SUMS has no line for second/image")


FILES = {newc.SUMS: newc.sums({"second/image": SECOND}), "second/image": SECOND}
GOOD = newc.archive(FILES)
IMAGE = len(newc.member(newc.SUMS, FILES[newc.SUMS]))
TRAILER = len(GOOD) - len(newc.member("TRAILER!!!"))


def patched(at: int, data: bytes) -> bytes:
    return GOOD[:at] + data + GOOD[at + len(data):]


ARCHIVE_CASES: list[tuple[str, bytes, str]] = [
    ("absent", b"", "offset 0x0: it ends inside a header"),
    ("not-cpio", b"\x1f\x8b" + bytes(510), "offset 0x0: no newc header"),
    ("cut-in-first-header", GOOD[:newc.HEADER - 1], "offset 0x0: it ends inside a header"),
    ("cut-in-name", GOOD[:newc.HEADER + 3], "offset 0x0: a name reaches past the end"),
    ("cut-in-header", GOOD[:IMAGE + 20], f"offset 0x{IMAGE:x}: it ends inside a header"),
    ("cut-in-file", GOOD[:TRAILER - 64], f"offset 0x{IMAGE:x}: a file reaches past the end"),
    ("cut-before-trailer", newc.member("third/image", b"1234"), "offset 0x80: it ends inside a header"),
    ("cut-in-padding", newc.member("third/image", b"12345")[:-3], "offset 0x81: it ends without a trailer"),
    ("name-size-0", patched(IMAGE + newc.NAMESIZE, b"00000000"), f"offset 0x{IMAGE:x}: a name reaches past the end"),
    ("name-size-huge", patched(IMAGE + newc.NAMESIZE, b"FFFFFFFF"), f"offset 0x{IMAGE:x}: a name reaches past the end"),
    ("name-size-text", patched(IMAGE + newc.NAMESIZE, b"fifteen!"), f"offset 0x{IMAGE:x}: a size is not hexadecimal"),
    ("name-size-short", patched(IMAGE + newc.NAMESIZE, b"00000005"), f"offset 0x{IMAGE:x}: a name is not terminated"),
    ("file-size-huge", patched(IMAGE + newc.FILESIZE, b"ffffffff"), f"offset 0x{IMAGE:x}: a file reaches past the end"),
    ("file-size-text", patched(IMAGE + newc.FILESIZE, b"0x00d000"), f"offset 0x{IMAGE:x}: a size is not hexadecimal"),
    ("file-size-0", patched(newc.FILESIZE, b"00000000"), ": no newc header"),
    ("sums-size-huge", patched(newc.FILESIZE, b"7fffffff"), "offset 0x0: a file reaches past the end"),
]  # fmt: skip


@pytest.mark.parametrize("archive, line", [case[1:] for case in ARCHIVE_CASES], ids=[case[0] for case in ARCHIVE_CASES])
def test_an_archive_that_is_none(archive: bytes, line: str) -> None:
    assert_refused(attempt(gives_raw(archive)), "first  initrd: cpio archive, ", line)


def test_a_foreign_image_s_initrd_that_was_damaged() -> None:
    foreign = SECOND.replace(b"pci-handoff second", b"somebody's kernel!")
    files = {"second/image": foreign, "second/initrd": b"archive of a foreign kernel"}
    archive = newc.archive({"SHA256SUMS": newc.sums(files), **files, "second/initrd": b"another one"})
    assert_refused(attempt(gives_raw(archive)), "first  initrd: second/initrd refused: SHA-256 is ")


# --- the command line ---

OPTION_CASES: list[tuple[str, str, str]] = [
    ("name", "handoff.shutdwon=none", "option handoff.shutdwon=none: unknown, allowed: handoff.shutdown=, "),
    ("bare", "handoff.", "option handoff.: unknown, allowed: handoff.shutdown=, "),
    ("no-value", "handoff.next", "option handoff.next: unknown, allowed: handoff.shutdown=, "),
    ("shutdown", "handoff.shutdown=never", "option handoff.shutdown=never: unknown value, allowed: keep-msi, disable-msi, none"),
    ("startup", "handoff.startup=msi", "option handoff.startup=msi: unknown value, allowed: disable-msi, none"),
    ("scope", "handoff.scope=", "option handoff.scope=: unknown value, allowed: all, bound"),
    ("twice", "handoff.next=a handoff.next=b", "option handoff.next: given twice"),
    ("allow", "handoff.allow=00:40.0", 'option handoff.allow: "00:40.0" is not a list of [SSSS:]BB:DD.F'),
    ("empty-item", "handoff.next=a,,b", "option handoff.next=a,,b: an item has 0 characters, 1 to 63 are allowed"),
    ("no-count", "handoff.next=a*0", "option handoff.next=a*0: count after '*' must be 1 to "),
    ("long-item", f"handoff.next={64 * 'x'}", "an item has 64 characters, 1 to 63 are allowed"),
    ("long-value", f"handoff.allow={256 * 'x'}", "option handoff.allow: the value has 256 characters, 255 are allowed"),
    ("late", f"{2000 * 'x'} handoff.dry=1", "option handoff.dry=1: unknown, allowed: handoff.shutdown=, "),
]  # fmt: skip


@pytest.mark.parametrize("cmdline, line", [case[1:] for case in OPTION_CASES], ids=[case[0] for case in OPTION_CASES])
def test_an_unknown_option(cmdline: str, line: str) -> None:
    """first ends at once: it neither reads nor writes a device."""
    record = snapshot(MACHINE).run(WHERE, cmdline)
    assert record.outcome is Outcome.ERROR, record.detail
    assert [record.log[0], record.log[-1]] == [f"first  image first@{record.entries[0].load_address:#x}", "GUEST: error options"]
    assert len(record.log) == 3 and line in record.log[1], record.log
    case = Case(record)
    lines = range(case.entry_lines["first"], case.end + 1)
    assert not case.next
    assert not list(case.within(ConfigWrite, lines)) and not case.device_writes(lines)


FITS = 2047 - len(" handoff.next=")  # which first appends


@pytest.mark.parametrize("size", [FITS + 1, 2047])
def test_a_command_line_that_is_too_long_for_the_next_image(size: int) -> None:
    assert_refused(attempt(cmdline=size * "x"), "first  command line: ", " characters, 2047 are allowed")


def test_twin_a_command_line_that_just_fits() -> None:
    record = snapshot(MACHINE).run(WHERE, FITS * "x")
    assert record.outcome is Outcome.PASS, record.log


def test_a_command_line_that_is_too_long_for_a_foreign_image() -> None:
    """kexec may pass first a longer one than our loader would."""

    def change(session: Session, entry: Entry) -> None:
        gives({"second/image": SECOND.replace(b"pci-handoff second", b"somebody's kernel!")})(session, entry)
        set_cmdline(session, entry, f"quiet -- {2048 * 'x'}")

    assert_refused(attempt(change), "first  command line for second: more than 2047 characters")


# --- the loader ---


def test_load_options_that_are_too_long(boot: Boot) -> None:
    record = boot(machine=MACHINE, cmdline=2048 * "x", fresh=True)
    assert record.outcome is Outcome.ERROR, record.detail
    assert record.log == [
        "loader LoadOptions: character 2048 is not printable ASCII, or one too many (2047 are allowed)",
        "loader not started: invalid",
        "GUEST: error loader",
    ]
    assert not record.entries


def test_twin_load_options_that_just_fit(boot: Boot) -> None:
    record = boot(machine=MACHINE, cmdline=f"handoff.next= -- {2030 * 'x'}", fresh=True)
    assert record.outcome is Outcome.PASS, record.log
    assert record.entries


# --- after the point of no return ---


def test_an_image_that_was_damaged_where_it_was_placed() -> None:
    """A byte changes between the copy and the jump. Nothing is entered, both digests are logged."""
    last_byte = SECOND_AT + len(Image.load("second", BUILD / "second.bin").payload) - 1  # padding: never executed or read

    def damage(session: Session, entry: Entry) -> None:
        run_to(session, entry, "chain_verify")
        session.gdb.write_physical(last_byte, b"\xff")

    record = snapshot(MACHINE).run(WHERE, change=damage)
    assert log_has(record, "first  image second: image, placed at 0x3000000: SHA-256 is ")
    assert record.log[-1] == "GUEST: error digest"
    assert record.outcome is Outcome.ERROR
    assert not Case(record).next
