# SPDX-License-Identifier: BSD-2-Clause
"""A judged run as lanes over the order of its events: bus master, MSI, INTx, messages, interrupts, DMA.

The trace's line numbers are the only clock, so the axis has no scale: one tick is one event, or several that belong together. It
begins where the first image is entered. In the out phase and in the window each change has a tick of its own. The driving phase
before is one tick, unless it is short. Any other phase with too many ticks becomes coarser, the largest first, until there are at
most TICKS_MAX: a tick for consecutive events of one function, then one for the whole phase.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import IntEnum
from itertools import groupby, pairwise
from typing import Any, Callable, Iterable, Iterator, Literal, Mapping, NamedTuple, Sequence

from witness.evidence.interrupts import Message, own_messages
from witness.evidence.case import Case
from witness.judge.hazards import PCI_GSI
from witness.pci.registers import ENABLE, PCI_COMMAND_INTX_DISABLE, PCI_COMMAND_MASTER, Register
from witness.pci.topology import Bdf
from witness.trace.events import GsiLevel, MmioWrite, Msi, PicInterrupt

# Senders of messages that are no PCI functions; and the I/O APIC's registers (82093AA, 3.1): the index at 0, the value at 0x10.
IO_APIC, UNKNOWN = "I/O APIC", "unknown sender"
IO_APIC_REGION, IO_APIC_WINDOW, IO_APIC_TABLE = "ioapic", 0x10, 0x10

# The console of our images, which Linux does not use.
DEBUGCON = "isa-debugcon"

TICKS_MAX = 60
LITTLE = 8

FIRMWARE, DRIVING, OUT, WINDOW, IN = "firmware", "driving", "out", "window", "in"

Kind = Literal["text", "level", "pulse"]


class Landed(NamedTuple):
    """A device's write into memory, where the experiment knows it."""

    line: int
    text: str


@dataclass(frozen=True)
class Tick:
    line: int
    text: str


@dataclass(frozen=True)
class Point:
    """A text or a level is valid from this tick on, a pulse is at it. A level that changes and changes back has two at one."""

    at: int
    value: int | str


@dataclass(frozen=True)
class Lane:
    """Its name is `group: signal`."""

    name: str
    kind: Kind
    points: list[Point]


@dataclass(frozen=True)
class Timeline:
    ticks: list[Tick]
    lanes: list[Lane]

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Timeline:
        """From the result of dataclasses.asdict()."""
        lanes = [Lane(lane["name"], lane["kind"], [Point(**point) for point in lane["points"]]) for lane in facts["lanes"]]
        return cls([Tick(**tick) for tick in facts["ticks"]], lanes)


@dataclass(frozen=True)
class Track:
    """A lane without points, with its rank on the page."""

    rank: tuple[int, ...]
    name: str
    kind: Kind


PHASE, IMAGE = Track((0, 0), "handoff: phase", "text"), Track((0, 1), "handoff: image", "text")
LANDED = Track((4,), "memory: DMA landed", "pulse")

# The bits of a function that have a lane, in this order, with its name.
BITS = (
    (Register.COMMAND, PCI_COMMAND_MASTER, "BM"),
    (Register.MSI, ENABLE[Register.MSI], "MSI"),
    (Register.MSIX, ENABLE[Register.MSIX], "MSI-X"),
    (Register.COMMAND, PCI_COMMAND_INTX_DISABLE, "INTx Disable"),
)


@dataclass(frozen=True)
class Signal:
    """One event of a lane."""

    line: int
    track: Track
    value: int | str
    text: str
    noun: str  # for a count of such signals
    function: str = ""  # its function; an interrupt line has none


class Detail(IntEnum):
    """The detail in which a phase is shown."""

    EACH, FUNCTION, WHOLE = range(3)


@dataclass
class Phase:
    """A phase with its signals."""

    line: int
    name: str
    signals: list[Signal]
    detail: Detail = Detail.EACH

    def groups(self) -> list[list[Signal]]:
        """The signals of each tick."""
        if self.detail is Detail.WHOLE:
            return [self.signals] if self.signals else []
        if self.detail is Detail.FUNCTION:
            return _by_function(self.signals)
        return _alike(self.signals)


def timeline(case: Case, marks: Sequence[tuple[int, str]] = (), landed: Sequence[Landed] = ()) -> Timeline:
    """The timeline of a run. An experiment's own marks, trace line and name, are its phases."""
    begin = min((*case.entry_lines.values(), *(line for line, _ in marks)), default=0)
    if case.before:
        begin = 0  # the state before the first event is known
    starts = _phases(case, begin, marks)
    signals = sorted(_signals(case, begin, landed, {} if marks else case.entry_lines), key=lambda signal: signal.line)
    signals = _of_driven_functions(case, begin, signals)
    phases = []
    for (line, name), (until, _) in pairwise([*starts, (case.end + 1, "")]):
        phases.append(Phase(line, name, [signal for signal in signals if line <= signal.line < until]))
        if name in (FIRMWARE, DRIVING) and len(phases[-1].groups()) > LITTLE:
            phases[-1].detail = Detail.WHOLE
    _coarsen(phases)
    return _drawn(case, phases, begin)


def _phases(case: Case, begin: int, marks: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """The line and the name of each phase."""
    first = (begin, DRIVING if case.entry_lines else FIRMWARE)
    if marks:
        found = sorted(marks)
    else:
        found = [
            (lines.start, name)
            for hop in case.handed_over
            for lines, name in ((hop.out, OUT), (hop.window, WINDOW), (hop.inward, IN))
            if lines and lines.start <= case.end
        ]
    found = [(line, name) for line, name in found if line >= begin]
    return found if found and found[0][0] == begin else [first, *found]


def last_lines(case: Case) -> list[int]:
    """The last line of each image that was entered. Later lines may be those of a kernel whose entry is not shown."""
    edges = [*sorted(case.entry_lines.values()), case.end + 1]
    output = ([e.line for e in case.within(MmioWrite, range(*span)) if e.region == DEBUGCON] for span in pairwise(edges))
    return [lines[-1] for lines in output if lines]


# --- signals ---


def _signals(case: Case, begin: int, landed: Iterable[Landed], entries: Mapping[str, int]) -> Iterator[Signal]:
    """entries: the images' entries that the harness saw. An experiment's image is not first, and it sees one."""
    lines = range(begin, case.end + 1)
    for name, line in entries.items():
        yield Signal(line, IMAGE, name, f"{name} is entered", "entry")
    yield from _register_signals(case, begin)
    yield from _line_signals(case, begin)
    sender, inputs = _senders(case), _io_apic_vectors(case)
    for message in case.within(Msi, lines):
        bdf = sender(message)
        name = case.name(bdf) if bdf else IO_APIC if message.data & 0xFF in inputs else UNKNOWN
        track = Track((1, *(bdf or Bdf(256, 0, len(name))), len(BITS)), f"{name}: messages", "pulse")
        vector = f"0x{message.data & 0xFF:02x}"
        yield Signal(message.line, track, vector, f"{name}: message, vector {vector}", "message", name)
    for interrupt in case.within(PicInterrupt, lines):
        track = Track((3, interrupt.irq), f"8259: IRQ {interrupt.irq} taken", "pulse")
        yield Signal(interrupt.line, track, 1, f"IRQ {interrupt.irq} taken", "interrupt")
    for line, text in landed:
        yield Signal(line, LANDED, text, f"DMA landed: {text}", "landing")


def _register_signals(case: Case, begin: int) -> Iterator[Signal]:
    """Bits changed by writes; and bits that a snapshot of the registers shows changed, for example by a reset."""
    known = {bdf: function.offsets for bdf, function in case.topology.functions.items()}
    last = {(bdf, r, mask): _bit(case, bdf, r, mask, begin + 1) for bdf in known for r, mask, _ in BITS}
    found = [(change.line, change.bdf, {change.register: change.new}) for change in case.history.changes if change.line >= begin]
    found += [(line, bdf, case.registers(bdf, line + 1)) for line in case.entry_lines.values() for bdf in known]
    for line, bdf, values in sorted(found, key=lambda item: item[0]):
        for index, (register, mask, word) in enumerate(BITS):
            if bdf not in known or register not in values or register not in known[bdf]:
                continue
            value = int(bool(values[register] & mask))
            if last[bdf, register, mask] == value:
                continue
            last[bdf, register, mask] = value
            track = Track((1, *bdf, index), f"{case.name(bdf)}: {word}", "level")
            text = f"{case.name(bdf)}: {word} {'on' if value else 'off'}"
            yield Signal(line, track, value, text, "register change", case.name(bdf))


def _bit(case: Case, bdf: Bdf, register: Register, mask: int, line: int) -> int:
    return int(bool(case.history.value(bdf, register, line) & mask))


def _line_signals(case: Case, begin: int) -> Iterator[Signal]:
    """PCI's lines; ISA IRQs only on a machine where PCI has no other lines."""
    last: dict[int, int] = {}
    for event in case.within(GsiLevel, range(case.end + 1)):
        if event.gsi < PCI_GSI and event.gsi not in case.topology.lines or last.get(event.gsi, 0) == event.level:
            continue
        last[event.gsi] = event.level
        if event.line >= begin:
            name = f"{'GSI' if event.gsi >= PCI_GSI else 'IRQ'} {event.gsi}"
            track = Track((2, event.gsi), f"INTx: {name}", "level")
            yield Signal(event.line, track, event.level, f"{name} {'up' if event.level else 'down'}", "interrupt line edge")


def _senders(case: Case) -> Callable[[Msi], Bdf | None]:
    """The function that sent a message: by what the last kernel entered has programmed, else by what the one before it has."""
    edges = sorted({0, *case.entry_lines.values(), *(line + 1 for line in last_lines(case)), case.end + 1})
    enabled = {change.bdf for change in case.history.changes if change.register in ENABLE}
    able = [function for bdf, function in sorted(case.topology.functions.items()) if bdf in enabled]
    spans = [range(start, stop) for start, stop in pairwise(edges) if start < stop]
    programmed: list[tuple[range, dict[Message, list[Bdf]]]] = []
    for span in reversed(spans):
        owners: dict[Message, list[Bdf]] = {}
        for function in able:
            for message in own_messages(case, function, span):
                owners.setdefault(message, []).append(function.bdf)
        programmed.append((span, owners))

    def sender(message: Msi) -> Bdf | None:
        for span, owners in programmed:
            found = owners.get((message.address, message.data), [])
            if span.start <= message.line and found:
                on = {bdf for bdf, _ in case.history.signalling(message.line)}
                return next((bdf for bdf in found if bdf in on), found[0])
        return None

    return sender


def _io_apic_vectors(case: Case) -> set[int]:
    """All vectors ever written to the I/O APIC's redirection table (3.2.4): QEMU delivers its interrupts as messages, too."""
    vectors, selected = set[int](), 0
    for write in case.within(MmioWrite, range(case.end + 1)):
        if write.region == IO_APIC_REGION:
            if write.address & IO_APIC_WINDOW:
                vectors |= {write.value & 0xFF} if selected >= IO_APIC_TABLE and selected % 2 == 0 else set()
            else:
                selected = write.value
    return vectors


def _of_driven_functions(case: Case, begin: int, signals: list[Signal]) -> list[Signal]:
    """Without functions that no driver uses: only their bus master changes, and they are not written to."""
    writes = case.within(MmioWrite, range(begin, case.end + 1))
    owners = {case.bars.owner(write.address, write.line) for write in writes}
    driven = {signal.function for signal in signals if not signal.track.name.endswith(": BM")}
    driven |= {case.name(bdf) for bdf in owners if bdf}
    return [signal for signal in signals if not signal.function or signal.function in driven]


# --- ticks ---


def _coarsen(phases: list[Phase]) -> None:
    """The largest phase first, the out phase and the window last."""
    while sum(max(1, len(phase.groups())) for phase in phases) > TICKS_MAX:
        fine = [phase for phase in phases if phase.detail < Detail.WHOLE and len(phase.groups()) > 1]
        if not fine:
            return
        largest = max(fine, key=lambda phase: (phase.name not in (OUT, WINDOW), len(phase.groups())))
        largest.detail = Detail(largest.detail + 1)


def _alike(signals: list[Signal]) -> list[list[Signal]]:
    """Signals at one trace line; and consecutive pulses of one lane with the same value."""
    found: list[list[Signal]] = []
    for signal in signals:
        last = found[-1][-1] if found else None
        again = last and signal.track.kind == "pulse" and (last.track, last.value) == (signal.track, signal.value)
        if last and (again or last.line == signal.line):
            found[-1].append(signal)
        else:
            found.append([signal])
    return found


def _by_function(signals: list[Signal]) -> list[list[Signal]]:
    """Consecutive signals of one function. One without a function belongs to the group before it; an image's entry is alone."""
    found: list[list[Signal]] = []
    current = ""
    for signal in signals:
        entry = signal.track is IMAGE
        if not found or entry or found[-1][-1].track is IMAGE or current and signal.function not in ("", current):
            found.append([])
            current = ""
        found[-1].append(signal)
        current = signal.function or current
    return found


def _text(signals: list[Signal]) -> str:
    """The text of a tick; many signals are counted."""
    texts = Counter(signal.text for signal in signals)
    if len(texts) <= 4:
        return "; ".join(_times(text, count) for text, count in texts.items())
    entries = [signal.text for signal in signals if signal.track is IMAGE]
    nouns = Counter(signal.noun for signal in signals if signal.track is not IMAGE)
    functions = sorted({signal.function for signal in signals} - {""})
    owner = functions[0] if len(functions) == 1 else f"{len(functions)} functions"
    counted = ", ".join(_counted(noun, count) for noun, count in nouns.items())
    return "; ".join([*entries, f"{owner}: {counted} (trace {signals[0].line}-{signals[-1].line})"])


def _counted(noun: str, count: int) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _times(text: str, count: int) -> str:
    return text if count == 1 else f"{text} ×{count}"


def _drawn(case: Case, phases: list[Phase], begin: int) -> Timeline:
    ticks: list[Tick] = []
    points: dict[Track, list[Point]] = {PHASE: []}
    level: dict[Track, int] = {}
    for phase in phases:
        points[PHASE].append(Point(len(ticks), phase.name))
        groups = phase.groups()
        if not groups:
            ticks.append(Tick(phase.line, f"{phase.name} begins"))
        for group in groups:
            for track, signals in _by_track(group):
                points.setdefault(track, []).extend(_points(track, signals, len(ticks), level))
            ticks.append(Tick(group[0].line, _text(group)))
    ticks.append(Tick(case.end, "the trace ends"))
    lanes = []
    for track, found in sorted(points.items(), key=lambda item: item[0].rank):
        if track.kind == "level" and found[0].at > 0:
            found = [Point(0, 1 - int(found[0].value)), *found]  # the first point is a change
        lanes.append(Lane(track.name, track.kind, found))
    return Timeline(ticks, lanes)


def _by_track(signals: list[Signal]) -> Iterator[tuple[Track, list[Signal]]]:
    ordered = sorted(signals, key=lambda signal: signal.track.rank)
    return ((track, list(of_track)) for track, of_track in groupby(ordered, key=lambda signal: signal.track))


def _points(track: Track, signals: list[Signal], at: int, level: dict[Track, int]) -> list[Point]:
    """The points of a lane's signals at one tick."""
    values = [signal.value for signal in signals]
    if track.kind == "text":
        return [Point(at, values[-1])]
    if track.kind == "level":
        before, after = 1 - int(values[0]), int(values[-1])
        return [Point(at, 1 - before), Point(at, after)] if before == after else [Point(at, after)]
    if all(isinstance(value, int) for value in values):
        return [Point(at, sum(int(value) for value in values))]
    return [Point(at, ", ".join(_times(str(value), count) for value, count in Counter(values).items()))]
