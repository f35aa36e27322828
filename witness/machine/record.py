# SPDX-License-Identifier: BSD-2-Clause
"""The record of one run: files in a directory, and the few facts that are in none of QEMU's own files.

A judge reads nothing else, so a kept directory can be judged again at any time.
"""

from __future__ import annotations

import json
import mmap
import re
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any, Iterator, Sequence

from witness.boot.protocol import BOOT_PARAMS_SIZE, Image
from witness.machine.description import PARTS, Machine
from witness.pci.topology import Bdf
from witness.trace import events as trace


class Outcome(IntEnum):
    """The end of a run; the values are the exit codes of tools/handoff."""

    PASS = 0
    FAIL = 1
    SETUP = 2
    ERROR = 3
    CRASH = 4
    TIMEOUT = 5
    QEMU_DIED = 6


# Of this project's options on the command line.
PREFIX = "handoff."

# An item of handoff.next: NAME, repeated (boot/options.h).
REPEATED = re.compile(r"([^*]+)\*([1-9][0-9]{0,5})")

# isa-debug-exit: QEMU exits with (value << 1) | 1. Names are those of the guest's last line.
GUEST_EXITS = {33: ("pass", Outcome.PASS), 65: ("fail", Outcome.FAIL), 97: ("error", Outcome.ERROR)}
GUEST_LINE = re.compile(r"GUEST: (pass|fail|error)\b")


def classify(status: int, log: list[str]) -> tuple[Outcome, str]:
    """The outcome of a QEMU that ended by itself, and one line about it."""
    last = next((line for line in reversed(log) if GUEST_LINE.match(line)), None)
    if status in GUEST_EXITS:
        name, outcome = GUEST_EXITS[status]
        if last and GUEST_LINE.match(last)[1] == name:  # type: ignore[index]
            return outcome, last
        return Outcome.CRASH, f"QEMU exited with {status} ({name}), but the guest's verdict is {last!r}"
    # A reset or triple fault ends QEMU with 0 under -no-reboot. A failed assertion of a device model aborts it, and an
    # unusable run-time state exits it with 1.
    if status == 0:
        return Outcome.CRASH, "the guest reset the machine without a verdict"
    how = f"signal {-status}" if status < 0 else f"status {status}"
    return Outcome.QEMU_DIED, f"QEMU itself ended with {how}"


# The size from which on a machine has a part of its RAM at 4 GiB, and the size of the part that stays below (info mtree, QEMU 7.2).
LOW_RAM = {"q35": (0xB000_0000, 0x8000_0000), "pc": (0xE000_0000, 0xC000_0000)}
LOW_RAM_EVERYWHERE = 0x8000_0000
HIGH_RAM = 0x1_0000_0000


def ram_layout(machine: Machine) -> list[range]:
    """The physical addresses of RAM, in the order of the file that holds it."""
    size = machine.mib << 20
    if size < LOW_RAM_EVERYWHERE:
        return [range(size)]
    if machine.kind not in LOW_RAM:
        raise ValueError(f"machine {machine.kind}: the addresses of {machine.mib} MiB of RAM are unknown")
    split, low = LOW_RAM[machine.kind]
    return [range(size)] if size < split else [range(low), range(HIGH_RAM, HIGH_RAM + size - low)]


class Ram:
    """Guest RAM in a file, by physical address. Without a layout: the part whose addresses are offsets of the file anywhere."""

    def __init__(self, path: Path, layout: Sequence[range] = (range(LOW_RAM_EVERYWHERE),)) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._layout = layout

    def read(self, addresses: range) -> bytes:
        begin = 0
        for piece in self._layout:
            start, stop = begin + addresses.start - piece.start, begin + addresses.stop - piece.start
            if piece.start <= addresses.start and addresses.stop <= piece.stop and stop <= len(self._map):
                return self._map[start:stop]
            begin += len(piece)
        raise ValueError(f"{addresses.start:#x}-{addresses.stop:#x} is no RAM")

    def u16(self, address: int) -> int:
        return int.from_bytes(self.read(range(address, address + 2)), "little")


@dataclass(frozen=True)
class Entry:
    """The machine at an image's first instruction."""

    name: str
    load_address: int
    stop: int | None  # its number among the stops at breakpoints, from 0, to find it in the trace; None: not stopped there
    registers: dict[str, int]  # QEMU's names: RIP, RFL, CS, ...; pic0, pic1, LVT0, SPIV
    configs: dict[Bdf, bytes]  # 256 bytes of each function


@dataclass
class Run:
    directory: Path
    machine: Machine
    images: dict[str, Path]  # copies: the build may change
    cmdline: str
    versions: dict[str, str]
    command: list[str] = field(default_factory=list)
    outcome: Outcome = Outcome.SETUP
    detail: str = ""
    entries: list[Entry] = field(default_factory=list)
    built_in: str = ""  # the options inside the kernel, for an empty cmdline

    @cached_property
    def events(self) -> list[trace.Event]:
        return trace.parse(self.lines())

    def lines(self) -> Iterator[str]:
        """QEMU's trace, as it is."""
        with (self.directory / "trace.log").open(encoding="utf-8", errors="replace") as lines:
            yield from lines

    @cached_property
    def log(self) -> list[str]:
        path = self.directory / "guest.log"
        return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []

    def entry(self, name: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.name == name), None)

    def image(self, name: str) -> Image:
        return Image.load(name, self.images[name])

    def ram_at(self, entry: Entry) -> Ram:
        """RAM as it was when the image was entered."""
        return Ram(ram_file(self.directory, entry.name), ram_layout(self.machine))

    def ram_after(self) -> Ram:
        return Ram(self.directory / "ram", ram_layout(self.machine))

    def boot_params(self, entry: Entry) -> bytes:
        address = entry.registers["RSI"]
        return self.ram_at(entry).read(range(address, address + BOOT_PARAMS_SIZE))

    def option(self, name: str, default: str) -> str:
        """The value of the option handoff.NAME."""
        return options(self.cmdline or self.built_in).get(name, default)

    @cached_property
    def chain(self) -> list[str]:
        """The images to hand over to, in order."""
        items = [item for item in self.option("next", "second").split(",") if item]
        repeated = ((item, REPEATED.fullmatch(item)) for item in items)
        return [name for item, match in repeated for name in ([match[1]] * int(match[2]) if match else [item])]

    def save(self) -> None:
        """Bytes and addresses become text. File names are relative to the directory, which may be moved."""
        facts = asdict(self)
        del facts["directory"]
        facts["images"] = {name: path.name for name, path in self.images.items()}
        for entry in facts["entries"]:
            entry["configs"] = {str(bdf): config.hex() for bdf, config in entry["configs"].items()}
        (self.directory / "run.json").write_text(json.dumps(facts, default=str, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Run:
        facts = json.loads((directory / "run.json").read_text(encoding="utf-8"))
        return cls(
            directory=directory,
            machine=_machine(facts["machine"]),
            images={name: directory / file for name, file in facts["images"].items()},
            cmdline=facts["cmdline"],
            versions=facts["versions"],
            command=facts["command"],
            outcome=Outcome(facts["outcome"]),
            detail=facts["detail"],
            entries=[_entry(entry) for entry in facts["entries"]],
            built_in=facts["built_in"],
        )


def options(cmdline: str) -> dict[str, str]:
    """The handoff.NAME=VALUE options up to a lone `--`; what follows is for another kernel."""
    words = takewhile(lambda word: word != "--", cmdline.split())
    pairs = [word.removeprefix(PREFIX).split("=", 1) for word in words if word.startswith(PREFIX) and "=" in word]
    return {name: value for name, value in pairs}


def ram_file(directory: Path, name: str) -> Path:
    return directory / f"{name}.ram"


def _machine(facts: dict[str, Any]) -> Machine:
    facts |= {key: tuple(value) for key, value in facts.items() if isinstance(value, list)}
    facts |= {name: tuple(kind(**part) for part in facts[name]) for name, kind in PARTS.items()}
    return Machine(**facts)


def _entry(facts: dict[str, Any]) -> Entry:
    configs = {Bdf.parse(bdf): bytes.fromhex(config) for bdf, config in facts.pop("configs").items()}
    return Entry(configs=configs, **facts)
