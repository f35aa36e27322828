# SPDX-License-Identifier: BSD-2-Clause
"""The real images on real (QEMU) machines. Firmware boots each machine once; a file's tests share a run where they only read it."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import tempfile
from fcntl import LOCK_EX, flock
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Callable, Collection, Iterator, Sequence

import pytest

from witness.evidence.case import Case
from witness.judge.engine import Result
from witness.judge.rules import RULES, judge
from witness.machine.description import REFERENCE, Machine
from witness.machine.firmware import Firmware
from witness.machine.qemu import AtEntry, Session, Settings, config_window, ecam, run
from witness.machine.record import Entry, Run
from witness.machine.snapshot import UNMIGRATABLE, Snapshot
from witness.pci.topology import Bdf

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("O") or ROOT / "build")
NM = os.environ.get("CROSS_COMPILE", "") + "nm"

# An environment variable, inherited by all processes of a session: where its snapshots are.
SNAPSHOTS = "TEST_SNAPSHOTS"

Boot = Callable[..., Run]


def pytest_configure(config: pytest.Config) -> None:
    if SNAPSHOTS not in os.environ:
        (BUILD / "test").mkdir(parents=True, exist_ok=True)
        os.environ[SNAPSHOTS] = tempfile.mkdtemp(prefix="snapshots-", dir=BUILD / "test")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(SNAPSHOTS)))


@cache
def settings() -> Settings:
    """As `make run` has them, but for a firmware that boots in half the time."""
    given = Settings.of(os.environ)
    return dataclasses.replace(given, firmware=given.firmware.without_tpm(BUILD / "test" / "firmware.fd"))


@cache
def snapshot(machine: Machine = REFERENCE) -> Snapshot:
    """The machine at first's entry: booted once in a session, by the process that needs it first. Machines are the same if QEMU's
    arguments are; first has not yet seen the other end of a cable, or the content of a disk."""
    arguments = " ".join(machine.arguments(Path(), Firmware(Path(), None)))
    directory = Path(os.environ[SNAPSHOTS], sha256(arguments.encode()).hexdigest()[:16])
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as lock:
        flock(lock, LOCK_EX)
        found = Snapshot.taken(machine, BUILD, directory, settings())
        return found or Snapshot.take(machine, BUILD, directory, settings())


def boot_into(directory: Path, machine: Machine = REFERENCE, cmdline: str = "", build: Path = BUILD,
              at_entry: AtEntry | None = None, stop_at_jump: bool = True, fds: Sequence[int] = (), fresh: bool = False) -> Run:
    if fresh or build is not BUILD or machine.models() & UNMIGRATABLE:
        return run(machine, build, directory, cmdline, settings(), at_entry, stop_at_jump, fds)
    return snapshot(machine).run(directory, cmdline, at_entry=at_entry, stop_at_jump=stop_at_jump)


# The names of tests that failed, and of their modules: what they ran on is kept.
FAILED: set[str] = set()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        path, _, name = report.nodeid.partition("::")
        FAILED.update((name, path.removesuffix(".py").replace("/", ".")))


def booted(request: pytest.FixtureRequest, name: str) -> Iterator[Boot]:
    directory = BUILD / "test" / name
    yield lambda **arguments: boot_into(directory, **arguments)
    if name not in FAILED:
        for ram in (directory / "ram", *directory.glob("*.ram")):
            ram.unlink(missing_ok=True)  # 50 MiB each


@pytest.fixture
def boot(request: pytest.FixtureRequest) -> Iterator[Boot]:
    """boot(machine=…, cmdline=…, at_entry=…) -> Run, in a directory that is named after the test.

    The machine begins at first's entry, from a snapshot where QEMU can make one. fresh: it boots, for the claim is about firmware's
    part, too, or no other test has this machine.
    """
    yield from booted(request, request.node.name)


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest) -> Iterator[Boot]:
    """The same for a boot that all tests of a file look at."""
    yield from booted(request, request.module.__name__)


def results(record: Run) -> dict[str, Result]:
    return {verdict.id: verdict.result for verdict in judge(record)}


def result(record: Run, id: str) -> Result | None:
    """Of one rule alone."""
    case = Case(record)
    return next((verdict.result for rule in RULES if rule.id == id and (verdict := rule.verdict(case))), None)


def failures(record: Run) -> list[str]:
    return [f"{v.id}: {v.result.value}: {v.evidence}" for v in judge(record) if v.result is not Result.PASS]


def as_if(record: Run, **otherwise: Any) -> Run:
    """The same run, had this been otherwise. What is in its trace is not read again."""
    other = dataclasses.replace(record, **otherwise)
    other.events = record.events
    return other


def without(record: Run, functions: Collection[Bdf]) -> Run:
    """The run as if these functions had not been on the machine when an image was entered: the others are judged."""
    entries = [
        dataclasses.replace(entry, configs={bdf: config for bdf, config in entry.configs.items() if bdf not in functions})
        for entry in record.entries
    ]
    return as_if(record, entries=entries)


def claims_that_fail(*views: Run) -> set[str]:
    """Those that hold in none of these views of a run: with a bad device its own interrupts have a sender; without it, its missing
    work is not required."""
    verdicts = [verdict for view in views for verdict in judge(view)]
    return {v.id for v in verdicts} - {v.id for v in verdicts if v.result is Result.PASS}


def log_has(record: Run, text: str) -> bool:
    return any(text in line for line in record.log)


@cache
def symbol(image: str, name: str) -> int:
    """A function's address relative to the image's load address: images are linked at 0 after their 4 KiB setup page.

    `FILE.c:NAME` is a static function, whose name others may have, too: each file's symbols follow its own.
    """
    file, _, function = name.rpartition(":")
    command = [NM, "--debug-syms", "--no-sort", str(BUILD / f"{image}.elf")]
    symbols = [line.split() for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()]
    begin = next(i for i, symbol in enumerate(symbols) if symbol[-1] == file) if file else 0
    return int(next(symbol[0] for symbol in symbols[begin:] if symbol[-1] == function), 16) - 0x1000


def run_to(session: Session, entry: Entry, name: str) -> None:
    """From an image's entry to one of its functions."""
    address = entry.load_address + symbol(entry.name, name)
    session.gdb.insert(address)
    session.gdb.resume()
    session.qmp.wait("STOP")
    session.gdb.remove(address)


def write_config(session: Session, bdf: Bdf, offset: int, data: bytes) -> None:
    """Not by the guest, while the machine is stopped."""
    session.gdb.write_physical(config_window(session.qmp) + ecam(bdf) + offset, data)
