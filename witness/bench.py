# SPDX-License-Identifier: BSD-2-Clause
"""The budgets that need no Linux, measured: `make bench`. How each is measured: docs/bench.md.

Counts come from QEMU's trace and from its instruction counter, and are the same in every run. Wall-clock time depends
on the host: milliseconds are told, only a ratio of two of them is held against a budget.
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Iterable, Iterator, Sequence

from witness import report, trace
from witness.case import Case, shows_entry
from witness.image import Image
from witness.machine import REFERENCE, Machine
from witness.pci import PCI_CAPABILITY_LIST, PCI_COMMAND, Bdf, Register
from witness.phases import Hop
from witness.qemu import AtEntry, Session, Settings, Unusable, run
from witness.record import Entry, Outcome, Run
from witness.trace import ConfigRead, MmioWrite, Msi

ROOT = Path(__file__).resolve().parent.parent

HAND_OFFS = 5  # runs by the host's clock; their median counts
BOOTS = 3
TMPFS = Path("/dev/shm")

IMAGE_MAX = 64 << 10
BOOT_RATIO_MAX = 1.5
SPREAD_MAX = 0.10

# Where the two lists of capabilities may begin: the header lies below.
PCI_CAP_FIRST = 0x40
PCI_EXT_CAP_START = 0x100

# Functions beside those of the machine itself, half without a capability and half with MSI, in bridges of 256.
CROWDS = (16, 128, 512, 1000)

# Virtual time and instruction counts that do not depend on the host; QEMU tells the count only while it records.
ICOUNT = ("-icount", "shift=6,sleep=off,rr=record,rrfile={}", "-rtc", "base=2020-01-01,clock=vm")


@dataclass(frozen=True)
class Row:
    """One line of the result. holds is None where there is no budget to hold."""

    what: str
    measured: str
    budget: str = ""
    limit: str = ""
    holds: bool | None = None


# --- configuration accesses, with their width, those that reach nobody included ---


@dataclass(frozen=True)
class Access:
    line: int
    bdf: Bdf
    offset: int
    size: int
    value: int
    write: bool
    hit: bool  # a function answered


_ACCESS = re.compile(r"memory_region_ops_(read|write) .* addr 0x([0-9a-f]+) value 0x([0-9a-f]+) size (\d+) name 'pcie-mmcfg-mmio'")


def accesses(lines: Iterable[str]) -> Iterator[Access]:
    """What went through the ECAM window. A function that answers says so: after a write's line, before a read's."""
    held: Access | None = None
    answered = False
    for number, text in enumerate(lines, 1):
        match = _ACCESS.match(text)
        if held:
            yield replace(held, hit=text.startswith("pci_cfg_write"))
            held = None
        if match:
            address, write = int(match[2], 16), match[1] == "write"
            bdf = Bdf(address >> 20 & 0xFF, address >> 15 & 0x1F, address >> 12 & 7)
            access = Access(number, bdf, address & 0xFFF, int(match[4]), int(match[3], 16), write, answered)
            if write:
                held = access
            else:
                yield access
        answered = text.startswith("pci_cfg_read")
    if held:
        yield held


def out_accesses(case: Case, found: Iterable[Access]) -> list[Access]:
    """What the outgoing kernel does to configuration space once it drives nothing any more."""
    hop = _hop(case)
    lines = range(case.quiet_from(hop), entry_line(case, hop))
    return [access for access in found if access.line in lines]


def enumeration(case: Case, found: Iterable[Access]) -> list[Access]:
    """From the next kernel's first look for a function to its last: only a scan reads the vendor ID."""
    hop = _hop(case)
    lines = range(entry_line(case, hop), hop.inward.start)
    reads = [access for access in found if access.line in lines]
    looks = [access.line for access in reads if access.offset == 0 and access.size == 4]
    return [access for access in reads if looks[0] <= access.line <= looks[-1]] if looks else []


def capabilities(answers: dict[int, int]) -> int:
    """How many headers the lists have that these answers (value by offset) lead through, extended ones included."""
    seen = set[int]()
    for position, shift in ((answers.get(PCI_CAPABILITY_LIST, 0), 8), (PCI_EXT_CAP_START, 20)):
        while position in answers and position not in seen and position >= PCI_CAP_FIRST:
            seen.add(position)
            position = answers[position] >> shift & 0xFFC
    return len(seen)


def by_function(found: Iterable[Access]) -> dict[Bdf, list[Access]]:
    functions: dict[Bdf, list[Access]] = {}
    for access in found:
        if access.hit:
            functions.setdefault(access.bdf, []).append(access)
    return functions


def shutdown_row(out: list[Access]) -> Row:
    functions = by_function(out)
    reads, writes = ([a for a in out if a.hit and a.write is write] for write in (False, True))
    widths = sorted({f"{8 * a.size} bits at 0x{a.offset:02x}" for a in out if a.hit})

    def modest(of_one: list[Access]) -> bool:
        in_place = all((a.offset, a.size) == (PCI_COMMAND, 2) for a in of_one)
        return in_place and sum(a.write for a in of_one) <= 1 and sum(not a.write for a in of_one) <= 1

    return Row(
        "shutdown: config accesses a function",
        f"{_each(reads, functions)} read, {_each(writes, functions)} write, {', '.join(widths)}",
        "1 read, 1 write, 16 bits at 0x04",
        "1 write",
        bool(functions) and all(map(modest, functions.values())),
    )


def enumeration_rows(found: list[Access]) -> Iterator[Row]:
    functions = by_function(found)
    caps = sum(capabilities({a.offset: a.value for a in of_one}) for of_one in functions.values())
    reads = sum(map(len, functions.values()))
    yield Row(
        "enumeration: config reads a function",
        f"{_each(range(reads), functions)} ({reads} for {len(functions)} functions with {caps} capabilities)",
        limit=f"4 + 2 a capability = {4 * len(functions) + 2 * caps}",
    )
    yield Row("enumeration: reads that nobody answers", f"{len(found) - reads} (the bus scan)")


def _each(things: Sequence[object], functions: dict[Bdf, list[Access]]) -> str:
    return f"{len(things) / max(1, len(functions)):.3g}"


# --- where a hand-off's time goes ---

Mark = tuple[str, str]

# A step of the blackout, and the function (image, symbol) whose entry ends it. The first begins where the walk over all
# functions is over.
BEGIN = ("first", "i8259_quiet")
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
LAST = "first I/O"  # polls until the host's disk has answered: its instructions say nothing
JUMP_PARTS = ("place", "verify", "enter")  # one step by the host's clock
JUMP = "jump"

WALK = ("first", "pci_apply_backward")

# Every read is traced between the walk and the drivers, who poll the time.
READS_TRACED = {WALK: "on", ("second", "kernel_drive"): "off"}


def entry_line(case: Case, hop: Hop) -> int:
    """Where the next image runs."""
    for write in case.within(MmioWrite, range(hop.window.start, hop.inward.start)):
        if shows_entry(write):
            return write.line
    raise Unusable("the trace does not show the next image's first access")


def steps_by_trace(case: Case) -> dict[str, range]:
    """Trace lines of each step, from the last bus-master clear to the first message after the window."""
    hop = _hop(case)
    controls = {
        (bdf, offset)
        for bdf, function in case.topology.functions.items()
        for register, offset in function.offsets.items()
        if register is not Register.COMMAND
    }
    entered = entry_line(case, hop)
    reads = list(case.within(ConfigRead, range(entered, hop.inward.start)))
    seen = set[tuple[Bdf, int]]()
    startup = []  # enumeration reads each MSI control word once, and what comes next reads it again
    for read in reads:
        where = read.bdf, read.offset
        if where in controls and where in seen:
            startup.append(read.line)
        seen.add(where)
    message = next(case.within(Msi, range(hop.inward.start, hop.inward.stop)), None)
    if not startup or not message:
        raise Unusable("the trace does not show the next image's startup and first I/O")
    reset = next(read.line for read in reads if read.line > startup[-1])
    ready = case.device_writes(range(hop.inward.start, message.line))[-1].line
    ends = [hop.window.start - 1, entered, reads[0].line, startup[0], reset, hop.inward.start, ready, message.line]
    names = (JUMP, *(name for name, _, _ in STEPS if name not in JUMP_PARTS), LAST)
    return {name: range(start, stop) for name, (start, stop) in zip(names, pairwise(ends))}


_STAMP = re.compile(r"\d+@(\d+\.\d+):")


def stamped(lines: Iterable[str]) -> tuple[list[float], list[str]]:
    """Seconds and text of each line of a trace with -msg timestamp=on; a line without a stamp has that of the one before."""
    times: list[float] = []
    texts: list[str] = []
    for line in lines:
        match = _STAMP.match(line)
        times.append(float(match[1]) if match else times[-1] if times else 0.0)
        texts.append(line[match.end():] if match else line)
    return times, texts


def _hop(case: Case) -> Hop:
    if not case.hops:
        raise Unusable(f"{case.run.directory}: no hand-off, {case.run.detail}")
    return case.hops[0]


# --- runs ---


@dataclass(frozen=True)
class Bench:
    """What all runs of one measurement share."""

    build: Path
    cmdline: str
    settings: Settings

    @property
    def directory(self) -> Path:
        return self.build / "bench"

    def hand_off(self, directory: Path, machine: Machine, flags: Iterable[str], at_first: AtEntry) -> Run:
        """Without a look at the jump, which would end what is in flight."""
        settings = replace(self.settings, flags=(*self.settings.flags, *flags))
        record = run(machine, self.build, directory, self.cmdline, settings, at_first, stop_at_jump=False)
        if record.outcome is not Outcome.PASS:
            raise Unusable(f"{record.directory}: {record.detail}")
        return record

    def counted(self, name: str, machine: Machine) -> Counted:
        """One run under icount, stopped at each mark."""
        marks = [WALK, BEGIN, *((image, symbol) for _, image, symbol in STEPS)]
        addresses = {mark: address_of(self.build, *mark) for mark in marks}
        counts: dict[Mark, int] = {}

        def follow(session: Session, _: Entry) -> None:
            for mark, address in addresses.items():
                session.gdb.insert(address)
                session.gdb.resume()
                session.qmp.wait("STOP")
                session.gdb.remove(address)
                counts[mark] = session.qmp.command("query-replay")["icount"]
                if mark in READS_TRACED:
                    session.qmp.monitor(f"trace-event memory_region_ops_read {READS_TRACED[mark]}")

        self.directory.mkdir(parents=True, exist_ok=True)
        replay = self.directory / f"{name}.rr"
        flags = (flag.format(replay) for flag in ICOUNT)
        emulated = replace(self, settings=replace(self.settings, accel="tcg"))
        record = emulated.hand_off(self.directory / name, machine, flags, follow)
        replay.unlink()
        case = Case(record)
        with (record.directory / "trace.log").open(encoding="utf-8", errors="replace") as lines:
            found = list(accesses(lines))
        return Counted(case, counts, out_accesses(case, found), enumeration(case, found))

    def timed(self) -> dict[str, float]:
        """Milliseconds of each step by the host's clock. In memory: a first write to guest RAM in a file can wait for a disk."""

        def lighten(session: Session, _: Entry) -> None:
            session.qmp.monitor("trace-event ioapic_set_irq off")  # four lines for each character of the log

        with TemporaryDirectory(prefix="handoff-", dir=TMPFS if TMPFS.is_dir() else None) as directory:
            record = self.hand_off(Path(directory), REFERENCE, ("-msg", "timestamp=on"), lighten)
            with (record.directory / "trace.log").open(encoding="utf-8", errors="replace") as lines:
                times, texts = stamped(lines)
        record.events = trace.parse(texts)
        steps = steps_by_trace(Case(record))
        return {name: 1000 * (times[lines.stop - 1] - times[lines.start - 1]) for name, lines in steps.items()}

    def boots(self) -> tuple[float, float]:
        """Seconds of `make run`, built, and of firmware alone on the same machine; taken in turns."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        ours = ["make", "-s", f"O={self.build.resolve()}", "run"]
        alone = empty_boot(self.directory / "empty", self.settings)
        seconds: dict[str, list[float]] = {"run": [], "alone": []}
        for _ in range(BOOTS):
            for name, command in (("run", ours), ("alone", alone)):
                begin = time.monotonic()
                status = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=self.settings.timeout)
                seconds[name].append(time.monotonic() - begin)
                if status.returncode not in (0, GUEST_PASS):
                    raise Unusable(f"{command[0]}: exit {status.returncode}")
        return median(seconds["run"]), median(seconds["alone"])


@dataclass(frozen=True)
class Counted:
    case: Case
    counts: dict[Mark, int]  # instructions since power-on
    out: list[Access]
    enumerated: list[Access]

    def steps(self) -> dict[str, int]:
        """Instructions of each step of the blackout but the last."""
        marks = [BEGIN, *((image, symbol) for _, image, symbol in STEPS)]
        return {name: self.counts[b] - self.counts[a] for (name, _, _), (a, b) in zip(STEPS, pairwise(marks))}

    def costs(self) -> dict[str, int]:
        """What grows with the number of functions."""
        return {
            "shutdown accesses": sum(access.hit for access in self.out),
            "shutdown instructions": self.counts[BEGIN] - self.counts[WALK],
            "enumeration reads": sum(access.hit for access in self.enumerated),
            "enumeration instructions": self.steps()["enumerate"],
        }

    @property
    def functions(self) -> int:
        return len(by_function(self.enumerated))


def address_of(build: Path, name: str, symbol: str) -> int:
    """Where a function runs, in an image that lies where it wants to."""
    path = build / f"{name}.elf"
    try:
        listed = subprocess.run(["nm", str(path)], check=True, capture_output=True, text=True).stdout
        symbols = {line.split()[-1]: int(line.split()[0], 16) for line in listed.splitlines() if line[:1] != " "}
        return Image.load(name, build / f"{name}.bin").entry + symbols[symbol] - symbols["entry64"]
    except (subprocess.CalledProcessError, KeyError) as error:
        raise Unusable(f"{path}: no function {symbol} ({error})") from None


def crowd(count: int) -> Machine:
    """The disk that gets the first I/O, and so many functions: every other one can MSI."""
    devices = []
    for n in range(count):
        bridge, slot, function = n // 256, n // 8 % 32, n % 8
        if n % 256 == 0:
            devices.append(f"pci-bridge,id=crowd{bridge},chassis_nr={bridge + 1},shpc=off,addr=6.{bridge},multifunction=on")
        model = ("pvpanic-pci", "intel-hda")[n % 2]
        devices.append(f"{model},bus=crowd{bridge},addr={slot:x}.{function},multifunction=on")
    return Machine(disks=REFERENCE.disks[:1], devices=tuple(devices))


# mov $0xf4, %edx; mov $0x10, %eax; out %eax, %dx; hlt; jmp .-1
EXIT = bytes.fromhex("baf4000000 b810000000 ef f4 ebfd")
GUEST_PASS = 0x10 << 1 | 1


def empty_application() -> bytes:
    """The smallest thing that firmware starts: a PE32+ (PE Format, Microsoft) whose only code ends the machine."""
    headers, memory, entry = 0x400, 0x2000, 0x1000
    dos = b"MZ" + bytes(58) + struct.pack("<I", 64)
    coff = struct.pack("<4sHHIIIHH", b"PE", 0x8664, 1, 0, 0, 0, 240, 0x0022)  # executable, large addresses
    optional = struct.pack("<HBBIIIII", 0x20B, 0, 0, 0x1000, 0, 0, entry, entry)
    optional += struct.pack("<QIIHHHHHHIIIIHH", 0, 0x1000, 0x200, 0, 0, 0, 0, 0, 0, 0, memory, headers, 0, 10, 0)  # UEFI
    optional += struct.pack("<QQQQII", 0, 0, 0, 0, 0, 16) + bytes(16 * 8)
    section = struct.pack("<8sIIIIIIHHI", b".text", 0x1000, entry, 0x1000, headers, 0, 0, 0, 0, 0x60000020)
    # QEMU refuses a kernel that is smaller than a boot sector and setup can be.
    return (dos + coff + optional + section).ljust(headers, b"\0") + EXIT.ljust(0x1000, b"\xf4")


def empty_boot(directory: Path, settings: Settings) -> list[str]:
    """The reference machine without witness: no trace, no monitor."""
    directory.mkdir(parents=True, exist_ok=True)
    REFERENCE.prepare(directory)
    kernel = directory / "empty.efi"
    kernel.write_bytes(empty_application())
    arguments = REFERENCE.arguments(directory, settings.firmware)
    traces = {n for n, argument in enumerate(arguments) if argument == "-trace"}
    arguments = [argument for n, argument in enumerate(arguments) if not {n, n - 1} & traces]
    return [settings.qemu, *arguments, "-accel", settings.accel, "-kernel", str(kernel), *settings.flags]


# --- the result ---


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


def boot_row(ours: float, alone: float) -> Row:
    ratio = ours / alone
    return Row(
        "make run, built: times firmware's own boot",
        f"{ratio:.2f} ({ours:.1f} s, {alone:.1f} s)",
        f"{BOOT_RATIO_MAX:g}",
        "1.0",
        ratio <= BOOT_RATIO_MAX,
    )


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


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _judgement(row: Row) -> str:
    return {True: "ok", False: "OVER", None: ""}[row.holds]


def measure(build: Path, cmdline: str, settings: Settings) -> tuple[Outcome, list[str]]:
    """All of it; some minutes. The lines are for a human, build/bench/results.json is for a program."""
    bench = Bench(build, cmdline, settings)
    # What needs a quiet machine first, one after the other. Counts do not mind company.
    ours, alone = bench.boots()
    ms = [bench.timed() for _ in range(HAND_OFFS)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        reference = pool.submit(bench.counted, "reference", REFERENCE)
        crowds = list(pool.map(lambda n: bench.counted(f"crowd-{n}", crowd(n)), CROWDS))
    counted = reference.result()
    instructions = counted.steps()
    rows = [
        shutdown_row(counted.out),
        *enumeration_rows(counted.enumerated),
        blackout_row(ms, instructions),
        *(spread_row(what, [(one.functions, one.costs()[what]) for one in crowds]) for what in counted.costs()),
        *(size_row(build / f"{name}.bin") for name in ("first", "second")),
        boot_row(ours, alone),
    ]
    facts: dict[str, Any] = {
        "versions": counted.case.run.versions,
        "rows": [asdict(row) for row in rows],
        "blackout_ms": ms,
        "blackout_instructions": instructions,
        "growth": [{"functions": one.functions, **one.costs()} for one in crowds],
        "seconds": {"make run": ours, "firmware alone": alone},
    }
    (bench.directory / "results.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    table = [["", "what", "measured", "budget", "limit"]]
    table += [[_judgement(row), row.what, row.measured, row.budget, row.limit] for row in rows]
    over = [row.what for row in rows if row.holds is False]
    lines = [report.versions(counted.case.run), "", *aligned(table), "", *aligned(breakdown(ms, instructions)), ""]
    lines.append(f"RESULT: {'FAIL, over budget: ' + '; '.join(over) if over else 'PASS'} ({bench.directory}/results.json)")
    return (Outcome.FAIL if over else Outcome.PASS), lines
