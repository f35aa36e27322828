# SPDX-License-Identifier: BSD-2-Clause
"""Claim: what cannot be started is refused with one line that names it, before any device is shut down.

False if a bus master goes although the handoff is refused, if the line is missing, or if the next image is entered.
Each test has its twin in the tests that hand over with good input; here the trace must show no out phase at all.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.guest.conftest import BUILD, Boot, log_has, run_to

from witness.case import Case
from witness.image import Image
from witness.qemu import Session
from witness.record import Entry, Outcome, Run


SECOND = 0x3000000  # where it asks to be placed, and is


def assert_nothing_was_shut_down(record: Run) -> None:
    case = Case(record)
    assert not case.hops
    assert not case.next


@pytest.mark.parametrize(
    "cmdline, line",
    [
        ("handoff.shutdwon=none", "first  option handoff.shutdwon=none: unknown, allowed: handoff.shutdown=, "),
        ("handoff.shutdown=never", "first  option handoff.shutdown=never: unknown value, allowed: keep-msi, disable-msi, none"),
        ("handoff.startup=msi", "first  option handoff.startup=msi: unknown value, allowed: disable-msi, none"),
        ("handoff.next=a handoff.next=b", "first  option handoff.next: given twice"),
        ("handoff.allow=00:40.0", 'first  option handoff.allow: "00:40.0" is not a list of [SSSS:]BB:DD.F'),
    ],
    ids=["word", "shutdown", "startup", "twice", "allow"],
)
def test_an_option_that_nobody_knows(boot: Boot, cmdline: str, line: str) -> None:
    record = boot(cmdline=cmdline)
    assert any(entry.startswith(line) for entry in record.log), record.log
    assert record.outcome is Outcome.ERROR
    assert_nothing_was_shut_down(record)


def test_an_image_that_is_not_in_the_archive(boot: Boot) -> None:
    record = boot(cmdline="handoff.next=third")
    assert log_has(record, "first  initrd: no third/image")
    assert log_has(record, "first  next image third refused, no device was shut down; first goes on")
    assert record.outcome is Outcome.FAIL
    assert_nothing_was_shut_down(record)


def flip_a_byte_of_second(build: Path) -> None:
    """In the archive inside handoff.efi; SHA256SUMS stays as it is."""
    build.mkdir(parents=True, exist_ok=True)
    for name in ("first.bin", "second.bin"):
        shutil.copy(BUILD / name, build)
    data = bytearray((BUILD / "handoff.efi").read_bytes())
    image = (BUILD / "second.bin").read_bytes()
    data[data.index(image) + len(image) // 2] ^= 1
    (build / "handoff.efi").write_bytes(data)


def test_an_image_that_was_damaged_in_the_archive(boot: Boot, tmp_path: Path) -> None:
    flip_a_byte_of_second(tmp_path)
    record = boot(build=tmp_path)
    assert log_has(record, "first  initrd: second/image refused: SHA-256 is ")
    assert record.outcome is Outcome.FAIL
    assert_nothing_was_shut_down(record)


def test_an_image_that_was_damaged_where_it_was_placed(boot: Boot) -> None:
    """Behind the point of no return: a byte changes between the copy and the jump. Nothing is entered, both digests are told."""

    last_byte = SECOND + len(Image.load("second", BUILD / "second.bin").payload) - 1  # padding: nobody executes or reads it

    def damage(session: Session, entry: Entry) -> None:
        run_to(session, entry, "chain_verify")
        session.gdb.write_physical(last_byte, b"\xff")

    record = boot(at_entry=lambda session, entry: damage(session, entry) if entry.name == "first" else None)
    assert log_has(record, "first  image second: image at 0x3000000: SHA-256 is ")
    assert record.log[-1] == "GUEST: error digest"
    assert record.outcome is Outcome.ERROR
    assert not Case(record).next
