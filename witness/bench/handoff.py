# SPDX-License-Identifier: BSD-2-Clause
"""The cost of our handoff: in accesses, in the machine's instructions, and by the host's clock."""

from __future__ import annotations

import re
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Iterable, Iterator, Mapping, Sequence

from witness.bench.config import (
    READS, ConfigAccess, accesses, by_function, command_only, entry_line, enumeration, in_lines, only_hop, out_accesses,
)  # fmt: skip
from witness.boot.protocol import Image
from witness.evidence.case import Case
from witness.machine.description import REFERENCE, Machine
from witness.machine.qemu import AtEntry, Session, Settings, Unusable, run
from witness.machine.record import Entry, Outcome, Run
from witness.pci.names import capability_list
from witness.pci.registers import Register
from witness.pci.topology import Bdf
from witness.report.budget import Row
from witness.trace import events as trace
from witness.trace.events import ConfigRead, MmioWrite, Msi
from witness.trace.phases import Hop

TMPFS = Path("/dev/shm")

IMAGE_MAX = 64 << 10
SPREAD_MAX = 0.10

# As for the handoff, with memory for a Linux and its archive.
MACHINE = replace(REFERENCE, mib=512)

DISKS = tuple(Bdf(0, disk.slot, 0) for disk in MACHINE.disks)

# Functions in addition to the machine's own, half without a capability and half with MSI, in bridges of 256.
CROWDS = (16, 128, 512, 1000)

# Virtual time and instruction counts that do not depend on the host; QEMU reports the count only while it records.
ICOUNT = ("-icount", "shift=6,sleep=off,rr=record,rrfile={}", "-rtc", "base=2020-01-01,clock=vm")


# --- configuration accesses ---


def shutdown_row(out: list[ConfigAccess]) -> Row:
    functions = by_function(out)
    reads, writes = ([a for a in out if a.hit and a.write is write] for write in (False, True))
    widths = sorted({f"{8 * a.size} bits at 0x{a.offset:02x}" for a in out if a.hit})

    def modest(of_one: list[ConfigAccess]) -> bool:
        return command_only(of_one) and sum(a.write for a in of_one) <= 1 and sum(not a.write for a in of_one) <= 1

    return Row(
        "shutdown: config accesses a function",
        f"{_each(reads, functions)} read, {_each(writes, functions)} write, {', '.join(widths)}",
        "1 read, 1 write, 16 bits at 0x04",
        "1 write",
        bool(functions) and all(map(modest, functions.values())),
    )


def enumeration_rows(found: list[ConfigAccess]) -> Iterator[Row]:
    functions = by_function(found)
    caps = sum(len(capability_list({a.offset: a.value for a in of_one})) for of_one in functions.values())
    reads = sum(map(len, functions.values()))
    yield Row(
        "enumeration: config reads a function",
        f"{_each(range(reads), functions)} ({reads} for {len(functions)} functions with {caps} capabilities)",
        limit=f"4 + 2 a capability = {4 * len(functions) + 2 * caps}",
    )
    yield Row("enumeration: unanswered reads", f"{len(found) - reads} (the bus scan)")


def _each(things: Sequence[object], functions: dict[Bdf, list[ConfigAccess]]) -> str:
    return f"{len(things) / max(1, len(functions)):.3g}"


# --- the time of a handoff ---

ImageSymbol = tuple[str, str]

# A step of the blackout, and the function (image, symbol) whose entry ends it. The first begins after the walk over all
# functions.
WALKED = ("first", "i8259_mask_all")
STEPS = (
    ("place", "first", "chain_verify"),
    ("verify", "first", "image_enter"),
    ("enter", "second", "console_init"),
    ("start", "second", "pci_enumerate"),
    ("enumerate", "second", "kernel_startup"),
    ("startup", "second", "kernel_drive"),
    ("reset", "second", "pci_set_master"),
    ("probe", "second", "virtio_driver_ok"),
)
# Where the blackout begins, and where each step ends.
ENDS = [WALKED, *((image, symbol) for _, image, symbol in STEPS)]
LAST = "first I/O"  # polls until the host's disk has answered: its instructions are not counted
JUMP_PARTS = ("place", "verify", "enter")  # one step by the host's clock
JUMP = "jump"

WALK = ("first", "pci_apply_backward")

# Every read is traced between the walk and the first driver, which polls the time.
READS_TRACED = {WALK: "on", ("second", "pci_set_master"): "off"}


def steps_by_trace(case: Case) -> dict[str, range]:
    """Trace lines of each step, from the last bus-master clear to the first request that a disk has reported as done."""
    hop = only_hop(case)
    controls = {
        (bdf, offset)
        for bdf, function in case.topology.functions.items()
        for register, offset in function.offsets.items()
        if register is not Register.COMMAND
    }
    entered = entry_line(case, hop)
    reads = list(case.within(ConfigRead, range(entered, hop.inward.start)))
    seen = set[tuple[Bdf, int]]()
    startup = []  # enumeration reads each MSI control word once, startup reads it again
    for read in reads:
        where = read.bdf, read.offset
        if where in controls and where in seen:
            startup.append(read.line)
        seen.add(where)
    done = first_done(case, hop)
    if not startup or not done:
        raise Unusable("the trace does not show the next image's startup and first I/O")
    reset = next(read.line for read in reads if read.line > startup[-1])
    ready = case.device_writes(range(hop.inward.start, done))[-1].line
    ends = [hop.window.start - 1, entered, reads[0].line, startup[0], reset, hop.inward.start, ready, done]
    names = (JUMP, *(name for name, _, _ in STEPS if name not in JUMP_PARTS), LAST)
    return {name: range(start, stop) for name, (start, stop) in zip(names, pairwise(ends))}


def first_done(case: Case, hop: Hop) -> int | None:
    """The first message programmed into a disk after the last clear. Its table is at the start of its BAR (QEMU's virtio)."""
    given: dict[int, dict[int, int]] = {}
    for event in case.events:
        if event.line < hop.window.start:
            continue
        if isinstance(event, MmioWrite) and event.region == "msix-table" and case.bars.owner(event.address, event.line) in DISKS:
            given.setdefault(event.address & ~0xF, {})[event.address & 0xF] = event.value
        elif isinstance(event, Msi) and any((e.get(0), e.get(8)) == (event.address, event.data) for e in given.values()):
            return event.line
    return None


# Stamps of the host's clock, without the lines of the I/O APIC's inputs for the timer and each character of a log.
STAMPS = ("-msg", "timestamp=on", "-trace", "enable=-ioapic_set_irq")

_STAMP = re.compile(r"\d+@(\d+\.\d+):")


def stamped(lines: Iterable[str]) -> tuple[list[float], list[str]]:
    """Seconds and text of each line of a trace with -msg timestamp=on; a line without a stamp has the one before."""
    times: list[float] = []
    texts: list[str] = []
    for line in lines:
        match = _STAMP.match(line)
        times.append(float(match[1]) if match else times[-1] if times else 0.0)
        texts.append(line[match.end():] if match else line)
    return times, texts


def stamp(record: Run) -> list[float]:
    """The time of each line of a stamped trace, from which the run takes its events."""
    times, texts = stamped(record.lines())
    record.events = trace.parse(texts)
    return times


@dataclass(frozen=True)
class Timed:
    case: Case
    times: list[float]  # of each line of the trace

    def ms(self, steps: Mapping[str, range]) -> dict[str, float]:
        return {name: 1000 * (self.times[lines.stop - 1] - self.times[lines.start - 1]) for name, lines in steps.items()}


# --- runs ---


def in_memory() -> TemporaryDirectory[str]:
    """In tmpfs, because the first write to guest RAM in a file can wait for a disk."""
    return TemporaryDirectory(prefix="handoff-", dir=TMPFS if TMPFS.is_dir() else None)


def passed(record: Run) -> Run:
    """A run that did not pass is no measurement."""
    if record.outcome is not Outcome.PASS:
        raise Unusable(f"{record.directory}: {record.detail}")
    return record


@dataclass(frozen=True)
class Bench:
    """Common to all runs of one measurement."""

    build: Path
    cmdline: str
    settings: Settings

    @property
    def directory(self) -> Path:
        return self.build / "bench"

    def flagged(self, flags: Iterable[str]) -> Settings:
        return replace(self.settings, flags=(*self.settings.flags, *flags))

    @contextmanager
    def recording(self, name: str) -> Iterator[Settings]:
        """Settings with which QEMU counts the instructions."""
        self.directory.mkdir(parents=True, exist_ok=True)
        replay = self.directory / f"{name}.rr"
        try:
            yield replace(self.flagged(flag.format(replay) for flag in ICOUNT), accel="tcg")
        finally:
            replay.unlink(missing_ok=True)

    def hand_off(self, directory: Path, machine: Machine, settings: Settings, at_first: AtEntry | None = None) -> Run:
        """Without a stop at the jump, which would complete what is in flight."""
        return passed(run(machine, self.build, directory, self.cmdline, settings, at_first, stop_at_jump=False))

    def counted(self, name: str, machine: Machine) -> Counted:
        """One run under icount, stopped at each mark."""
        addresses = {mark: address_of(self.build, *mark) for mark in (WALK, *ENDS)}
        counts: dict[ImageSymbol, int] = {}

        def follow(session: Session, _: Entry) -> None:
            for mark, address in addresses.items():
                session.gdb.insert(address)
                session.gdb.resume()
                session.qmp.wait("STOP")
                session.gdb.remove(address)
                counts[mark] = session.qmp.command("query-replay")["icount"]
                if mark in READS_TRACED:
                    session.qmp.monitor(f"trace-event {READS} {READS_TRACED[mark]}")

        with self.recording(name) as settings:
            record = self.hand_off(self.directory / name, machine, settings, follow)
        case = Case(record)
        found = list(accesses(record.lines()))
        hop = only_hop(case)
        return Counted(case, counts, out_accesses(case, found), in_lines(found, range(entry_line(case, hop), hop.inward.start)))

    def timed(self) -> Timed:
        """One run by the host's clock."""
        with in_memory() as directory:
            record = self.hand_off(Path(directory), MACHINE, self.flagged(STAMPS))
            times = stamp(record)
        return Timed(Case(record), times)


@dataclass(frozen=True)
class Counted:
    case: Case
    counts: dict[ImageSymbol, int]  # instructions since power-on
    out: list[ConfigAccess]
    inward: list[ConfigAccess]  # before the first driver

    @property
    def enumerated(self) -> list[ConfigAccess]:
        return enumeration(self.inward)

    def steps(self) -> dict[str, int]:
        """Instructions of each step of the blackout but the last."""
        return {name: self.counts[b] - self.counts[a] for (name, _, _), (a, b) in zip(STEPS, pairwise(ENDS))}

    def costs(self) -> dict[str, int]:
        """The costs that grow with the number of functions."""
        return {
            "shutdown accesses": sum(access.hit for access in self.out),
            "shutdown instructions": self.counts[WALKED] - self.counts[WALK],
            "enumeration reads": sum(access.hit for access in self.enumerated),
            "enumeration instructions": self.steps()["enumerate"],
        }

    @property
    def functions(self) -> int:
        return len(by_function(self.enumerated))


def address_of(build: Path, name: str, symbol: str) -> int:
    """A function's address in an image at its preferred address."""
    path = build / f"{name}.elf"
    try:
        listed = subprocess.run(["nm", str(path)], check=True, capture_output=True, text=True).stdout
        symbols = {line.split()[-1]: int(line.split()[0], 16) for line in listed.splitlines() if line[:1] != " "}
        return Image.load(name, build / f"{name}.bin").entry + symbols[symbol] - symbols["entry64"]
    except (subprocess.CalledProcessError, KeyError) as error:
        raise Unusable(f"{path}: no function {symbol} ({error})") from None


def crowd(count: int) -> Machine:
    """The disk of the first I/O, and `count` functions, every other one with MSI."""
    devices = []
    for n in range(count):
        bridge, slot, function = n // 256, n // 8 % 32, n % 8
        if n % 256 == 0:
            devices.append(f"pci-bridge,id=crowd{bridge},chassis_nr={bridge + 1},shpc=off,addr=6.{bridge},multifunction=on")
        model = ("pvpanic-pci", "intel-hda")[n % 2]
        devices.append(f"{model},bus=crowd{bridge},addr={slot:x}.{function},multifunction=on")
    return Machine(disks=REFERENCE.disks[:1], devices=tuple(devices))


# --- rows ---


def spread_row(what: str, points: Sequence[tuple[int, int]]) -> Row:
    """Cost a function, between one size of machine and the next; points are (functions, cost)."""
    slopes = [(b - a) / (m - n) for (n, a), (m, b) in pairwise(points)]
    spread = (max(slopes) - min(slopes)) / slopes[0] if slopes[0] else float(max(slopes) > min(slopes))
    sizes = " -> ".join(str(functions) for functions, _ in points)
    return Row(
        f"growth: {what} a function",
        f"{', '.join(f'{slope:.4g}' for slope in slopes)} ({sizes} functions), spread {spread:.1%}",
        f"spread at most {SPREAD_MAX:.0%}",
        "linear",
        spread <= SPREAD_MAX,
    )


def size_row(path: Path) -> Row:
    size = path.stat().st_size
    return Row(f"{path.name}: bytes", str(size), str(IMAGE_MAX), holds=size <= IMAGE_MAX)


def blackout_row(ms: Sequence[dict[str, float]], instructions: dict[str, int]) -> Row:
    totals = [sum(steps.values()) for steps in ms]
    return Row(
        "blackout: last clear to first MSI-X I/O",
        f"{sum(instructions.values()) / 1000:.0f} k instructions and that I/O; "
        f"{median(totals):.1f} ms, {min(totals):.1f} to {max(totals):.1f}",
        limit="copy of the image + config cycles",
    )


def breakdown(ms: Sequence[dict[str, float]], instructions: dict[str, int]) -> list[list[str]]:
    """Step, median of its milliseconds, instructions. The host's clock sees the jump as one step."""
    rows = [["blackout, step by step", "ms", "k instructions"]]
    total = sum(instructions[name] for name in JUMP_PARTS)
    for name in ms[0]:
        count = total if name == JUMP else instructions.get(name)
        rows.append([name, f"{median(steps[name] for steps in ms):.2f}", "" if count is None else f"{count / 1000:.1f}"])
        if name == JUMP:
            rows += [[f"  {part}", "", f"{instructions[part] / 1000:.1f}"] for part in JUMP_PARTS]
    return rows
