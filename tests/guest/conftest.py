# SPDX-License-Identifier: BSD-2-Clause
"""The real images on real (QEMU) machines. A test boots what it needs; a file's tests share a boot where they only read it."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Callable, Collection, Iterator, Sequence

import pytest

from witness.judge.engine import Result
from witness.judge.rules import judge
from witness.machine.description import REFERENCE, Machine
from witness.machine.qemu import AtEntry, Session, config_window, ecam, run
from witness.machine.record import Entry, Run
from witness.machine.snapshot import Snapshot
from witness.pci.topology import Bdf

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("O") or ROOT / "build")
NM = os.environ.get("CROSS_COMPILE", "") + "nm"

Boot = Callable[..., Run]


@cache
def reference() -> Snapshot:
    """The reference machine at first's entry, booted once by each process that runs tests."""
    return Snapshot.take(REFERENCE, BUILD, BUILD / "test" / f"reference{os.environ.get('PYTEST_XDIST_WORKER', '')}")


def boot_into(directory: Path, machine: Machine = REFERENCE, cmdline: str = "", build: Path = BUILD,
              at_entry: AtEntry | None = None, stop_at_jump: bool = True, fds: Sequence[int] = (), fresh: bool = False) -> Run:
    if machine is REFERENCE and build is BUILD and not fresh:
        return reference().run(directory, cmdline, at_entry=at_entry, stop_at_jump=stop_at_jump)
    return run(machine, build, directory, cmdline, at_entry=at_entry, stop_at_jump=stop_at_jump, fds=fds)


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

    The reference machine begins at first's entry, from a snapshot, unless the test wants the firmware's part afresh, too.
    """
    yield from booted(request, request.node.name)


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest) -> Iterator[Boot]:
    """The same for a boot that all tests of a file look at."""
    yield from booted(request, request.module.__name__)


@pytest.fixture(scope="session", autouse=True)
def no_snapshot_is_left() -> Iterator[None]:
    yield
    if reference.cache_info().currsize:
        shutil.rmtree(reference().directory)


def results(record: Run) -> dict[str, Result]:
    return {verdict.id: verdict.result for verdict in judge(record)}


def failures(record: Run) -> list[str]:
    return [f"{v.id}: {v.result.value}: {v.evidence}" for v in judge(record) if v.result is not Result.PASS]


def as_if(record: Run, **otherwise: Any) -> Run:
    """The same run, had this been otherwise. What is in its trace is not read again."""
    other = dataclasses.replace(record, **otherwise)
    other.events = record.events
    return other


def without(record: Run, functions: Collection[Bdf]) -> Run:
    """The run as if these functions had not been on the machine when an image was entered: what is judged are the others."""
    entries = [
        dataclasses.replace(entry, configs={bdf: config for bdf, config in entry.configs.items() if bdf not in functions})
        for entry in record.entries
    ]
    return as_if(record, entries=entries)


def claims_that_fail(*views: Run) -> set[str]:
    """Those that hold in none of these views of a run: with a device that is no good, its rightful interrupts have a sender;
    without it, nobody asks for what it does not do."""
    verdicts = [verdict for view in views for verdict in judge(view)]
    return {v.id for v in verdicts} - {v.id for v in verdicts if v.result is Result.PASS}


def log_has(record: Run, text: str) -> bool:
    return any(text in line for line in record.log)


def symbol(image: str, name: str) -> int:
    """A function's address relative to the image's load address: images are linked at 0 behind their 4 KiB setup page."""
    listing = subprocess.run([NM, str(BUILD / f"{image}.elf")], check=True, capture_output=True, text=True).stdout
    address = next(line.split()[0] for line in listing.splitlines() if line.endswith(f" {name}"))
    return int(address, 16) - 0x1000


def run_to(session: Session, entry: Entry, name: str) -> None:
    """From an image's entry on to one of its functions."""
    address = entry.load_address + symbol(entry.name, name)
    session.gdb.insert(address)
    session.gdb.resume()
    session.qmp.wait("STOP")
    session.gdb.remove(address)


def write_config(session: Session, bdf: Bdf, offset: int, data: bytes) -> None:
    """Past the guest, while the machine stands."""
    session.gdb.write_physical(config_window(session.qmp) + ecam(bdf) + offset, data)
