# SPDX-License-Identifier: BSD-2-Clause
"""Second after second in one boot: the trace is judged as it comes, a hop at a time, up to the first that is not by the book.

A hop is judged once the window of the next one has ended, by the rules that judge a kept run and by what only many hops
can show: that each is like the one before. What is behind is forgotten: a thousand hops take no more memory than three.
The machine is never stopped, so what a device had taken when its bus master went lands under the next image.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from fcntl import F_SETPIPE_SZ, fcntl
from itertools import zip_longest
from pathlib import Path
from select import select
from threading import TIMEOUT_MAX
from typing import Callable, Iterator

from witness.boot.protocol import E820_ENTRIES, HEADER, HEADER_MAGIC, e820
from witness.devices import driving
from witness.evidence import guestlog
from witness.evidence.case import Before, Case
from witness.evidence.guestlog import Told
from witness.judge import memory
from witness.judge.engine import RULES, Finding, Missing, Result, Rule, Verdict
from witness.judge.policies import KEEPING_MASTER
from witness.machine.description import EVERYTHING, Machine
from witness.machine.qemu import Session, Settings, Unusable, built_in, run as run_qemu
from witness.machine.qmp import Deadline, Expired
from witness.machine.record import Entry, Outcome, Run, options
from witness.pci.topology import Topology
from witness.report import text as report
from witness.trace.events import REQUEST_PATTERNS, BlockRequest, ConfigWrite, Event, Msi, Parser, RunState
from witness.trace.phases import Clock, Edges, Hop
from witness.trace.state import History, mapped, written

COUNT_MAX = 999999  # boot/options.h: OPTIONS_COUNT_MAX
REPORTS = 10  # lines that tell how far it is

# Rules that look at what a run leaves. Those that are of no single hop need the machine as it was at a jump, and thus a stop.
AT_THE_END = ("disk", "disk-kept")

# A hop is one or two MB of trace: while one is judged, QEMU can write on without having to wait.
PIPE_SIZE = 1 << 20

# Two hops have some 30000 events, a storm of interrupts several 100000.
EVENTS_MAX = 1 << 18

SETUP_DATA = 0x250
E820_RAM = 1
PAGE = 4096


@dataclass
class Tally:
    hops: int = 0
    lines: int = 0
    events: int = 0
    messages: int = 0
    requests: int = 0
    transfers: int = 0


class Tale:
    """The guest's log as it grows: each image that is handed over to must say what the first of them said."""

    # What differs from hop to hop: where an image is, what others sent, how far requests were when they were counted.
    _VARYING = re.compile(r"(?<=@)0x[0-9a-f]+|(?<= for )0x[0-9a-f]+|(?<= frames out, )\d+|(?<=in flight: )\d+")
    _BEGIN = re.compile(r"(\w+) +image \1@")

    def __init__(self, path: Path) -> None:
        self.images = 0
        self.told: deque[Told] = deque()
        self._path = path
        self._position = 0
        self._lines: deque[str] = deque()
        self._model: list[str] = []
        self._said = 0  # lines of the image that speaks

    def problems(self, images: int) -> list[str]:
        """What is wrong with what has come since of so many images."""
        self._read()
        found = []
        while self._lines and not (self._BEGIN.match(self._lines[0]) and self.images == images):
            line = self._lines.popleft()
            self.told.extend(guestlog.changes([line]))
            if ": failed, " in line:
                found.append(line)
            found += self._unlike(self._VARYING.sub("#", line))
        return found

    def _unlike(self, line: str) -> Iterator[str]:
        if self._BEGIN.match(line):
            if self.images > 2 and self._said < len(self._model):
                yield f"image {self.images} does not say {self._model[self._said]!r}"
            self.images += 1
            self._said = 0
        if self.images == 2:
            self._model.append(line)
        elif self.images > 2:
            model = self._model[self._said] if self._said < len(self._model) else ""
            ends = " next image " in model and line.startswith("GUEST: ")  # the last has no next
            if line != model and not ends:
                yield f"image {self.images} says {line!r}, the second {model or 'nothing'!r}"
            self._said += 1

    def _read(self) -> None:
        with self._path.open("rb") as file:
            file.seek(self._position)
            lines, end, _ = file.read().rpartition(b"\n")
        self._position += len(lines + end)
        self._lines.extend(lines.decode(errors="replace").splitlines())


class Endurance:
    """Reads a trace line by line and judges it hop by hop."""

    def __init__(self, run: Run) -> None:
        self.run = run  # its entries become known as it goes
        self.tally = Tally()
        self.text: deque[tuple[int, str]] = deque(maxlen=EVENTS_MAX)  # from the window before the hop that is judged next
        self._parser = Parser(consoles=False)
        self._stops = 0
        self._clock = Clock()
        self._events: list[Event] = []
        self._before: Before | None = None  # of the first of these events
        self._history: History | None = None
        self._open: Edges | None = None  # the hop whose end has not been seen
        self._taken: dict[int, int] = {}  # virtio-blk requests, and where they were
        self._writes: set[ConfigWrite] = set()  # of the first hop's drivers
        self._begun = time.monotonic()
        self._tale = Tale(run.directory / "guest.log")
        self._rules = [
            *(rule for rule in RULES if rule.per_hop),
            Rule("load", "out: work is in flight when bus master goes", self._load),
            Rule("messages", "every message is of a function that may send it", _messages),
            Rule("config", "driving: config writes are the same at every hop", self._config),
            Rule("log", "the guest says the same at every hop, nothing failed", self._log),
            Rule("agreement", "log and trace tell the same register changes", self._agreement),
        ]

    def read(self, text: str) -> list[Verdict]:
        """The verdicts about a hop that this line completes."""
        self.tally.lines += 1
        self.text.append((self.tally.lines, text))
        event = self._parser.event(self.tally.lines, text)
        if event is None:
            return []
        self._events.append(event)
        if len(self._events) > EVENTS_MAX:
            storm = Verdict("storm", "a hop ends", Result.FAIL, f"{EVENTS_MAX} events since trace {self._events[0].line}")
            return [*self.finish(), storm]
        if self._history is None:
            if isinstance(event, RunState):
                self._stops += event.state == "debug"
                stop = self.run.entries[0].stop if self.run.entries else None
                if event.state == "running" and stop is not None and self._stops > stop:
                    self._begin(self.run.entries[0])
            return []
        changes = self._history.apply(event) if isinstance(event, ConfigWrite) else []
        verdicts = []
        for edges in filter(None, map(self._clock.read, changes)):
            verdicts += self._judge(edges.out)
            self._open = edges
        return verdicts

    def finish(self) -> list[Verdict]:
        """The verdicts about the last hop, and about one that it breaks off in."""
        verdicts = []
        if begun := self._clock.unfinished(self.tally.lines):
            verdicts = self._judge(begun.out)
            if not broken(verdicts):
                self._open = begun
        return verdicts if broken(verdicts) else self._judge(self.tally.lines + 1)

    def pace(self) -> str:
        seconds = time.monotonic() - self._begun
        return f"{seconds:.0f} s, {self.tally.hops / seconds:.2f} hops a second"

    def kept(self) -> str:
        return "".join(f"{number} {text}\n" for number, text in self.text)

    def _begin(self, first: Entry) -> None:
        topology = Topology.of(first.configs.items())
        functions = topology.functions.values()
        registers = {(f.bdf, register): f.u16(offset) for f in functions for register, offset in f.offsets.items()}
        self._history = History(topology.functions, registers)
        self._before = Before(topology, registers, mapped(self._events))
        self._events = []
        self.text.clear()
        self._begun = time.monotonic()

    def _judge(self, stop: int) -> list[Verdict]:
        """The hop that ends before this line."""
        if self._before is None or self._open is None:
            return []
        out, window, _ = self._open
        events = [event for event in self._events if event.line < stop]
        topology = written(self._before.topology, _writes(events, range(out)))
        case = Case(self.run, events, replace(self._before, topology=topology))
        verdicts = [verdict for rule in self._rules if (verdict := rule.verdict(case))]
        self.tally.hops += 1
        self.tally.events += sum(event.line >= out for event in events)
        self.tally.messages += sum(isinstance(event, Msi) and event.line >= out for event in events)
        if not broken(verdicts):
            self._forget(case, window, written(topology, _writes(events, range(out, window))))
        return verdicts

    def _forget(self, case: Case, line: int, topology: Topology) -> None:
        """What comes before this line, but for what it has left."""
        assert self._before and self._history
        bars = mapped([*self._before.bars, *(event for event in self._events if event.line < line)])
        self._before = Before(topology, case.history.values(line), bars, self._before.hop + 1)
        self._history = History(topology.functions, self._history.values(self.tally.lines + 1))
        self._events = [event for event in self._events if event.line >= line]
        while self.text and self.text[0][0] < line:
            self.text.popleft()

    # --- what a kept run shows otherwise, or not at all ---

    def _load(self, case: Case) -> Finding:
        """By virtio-blk's own account: what it has taken and not completed. What it has at the one hop is done by the next."""
        hop = _hop(case)
        begin = case.events[0].line if hop.number > 1 else 0
        self._count(case, range(begin, hop.out.start))
        requests, lost = len(self._taken), [line for line in self._taken.values() if line < begin]
        self._count(case, range(hop.out.start, hop.window.start))
        transfers = memory.armed_edus(case, hop)
        self.tally.requests += requests
        self.tally.transfers += len(transfers)
        problems = [] if transfers else ["no edu DMA is in flight"]
        problems += [] if requests else ["no virtio-blk request is in flight"]
        problems += [f"the request taken at trace {line} was never completed" for line in lost]
        return problems, f"{requests} virtio-blk requests, {len(transfers)} edu DMAs"

    def _count(self, case: Case, lines: range) -> None:
        for request in case.within(BlockRequest, lines):
            if request.done:
                self._taken.pop(request.id, None)
            else:
                self._taken[request.id] = request.line

    def _config(self, case: Case) -> Finding:
        """Drivers write to their functions and to the bridges above; what they write, the first hop shows."""
        hop = _hop(case)
        bound = {function.bdf for function in driving.bound(case)}
        bound |= {bridge for bdf in bound for bridge in case.topology.upstream(bdf)}
        writes = list(case.within(ConfigWrite, hop.inward))
        if hop.number == 1:
            self._writes = {replace(write, line=0) for write in writes if write.bdf in bound}
        problems = [
            f"{write.bdf}: {8 * write.size}-bit write of 0x{write.value:x} at 0x{write.offset:02x} (trace {write.line})"
            for write in writes
            if replace(write, line=0) not in self._writes
        ]
        return problems, f"{len(writes)} writes"

    def _log(self, case: Case) -> Finding:
        images = _hop(case).number + 1
        problems = self._tale.problems(images)
        if self._tale.images < images:
            raise Missing(f"the log tells of {self._tale.images} images, the trace of {images}")
        return problems, f"{images} images"

    def _agreement(self, case: Case) -> Finding:
        hop = _hop(case)
        done = case.changes(range(hop.out.start if hop.number > 1 else 0, case.end + 1))
        told = [self._tale.told.popleft() for _ in range(min(len(done), len(self._tale.told)))]
        for change, tale in zip_longest(done, told):
            if tale is None or Told(change.bdf, change.register, change.old, change.new) != tale:
                return [f"the guest says {tale or 'nothing'}, the trace {change}"], ""
        return [], f"{len(done)} changes"


def broken(verdicts: list[Verdict]) -> list[Verdict]:
    return [verdict for verdict in verdicts if verdict.result is not Result.PASS]


def _hop(case: Case) -> Hop:
    if len(case.hops) != 1:
        raise Missing(f"{len(case.hops)} hops where one is expected")
    return case.hops[0]


def _writes(events: list[Event], lines: range) -> Iterator[ConfigWrite]:
    return (event for event in events if isinstance(event, ConfigWrite) and event.line in lines)


def _messages(case: Case) -> Finding:
    """It was told to send this one, has messages on, and bus master."""
    hop = _hop(case)
    problems = []
    count = 0
    for lines in (range(hop.window.start), range(hop.window.start, case.end + 1)):
        own = {f.bdf: driving.own_messages(case, f, lines) for f in case.topology.functions.values()}
        for message in case.within(Msi, lines):
            count += 1
            able = {bdf for bdf, _ in case.history.signalling(message.line)} & {*case.history.masters(message.line)}
            if not any((message.address, message.data) in own[bdf] for bdf in able):
                problems.append(f"nobody may send 0x{message.data:x} to 0x{message.address:x} (trace {message.line})")
    return problems, f"{count} messages"


# --- a run ---


def soak(
    build: Path,
    directory: Path,
    count: int,
    cmdline: str,
    settings: Settings,
    tell: Callable[[str], None],
    machine: Machine = EVERYTHING,
) -> tuple[Outcome, list[str]]:
    """What came of so many hops, in lines for a human; tell() is given one now and then while they are made."""
    words = cmdline or built_in(build)
    if "next" in options(words):
        raise Unusable(f"soak chooses handoff.next= itself: leave it out of CMDLINE={words}")
    if (shutdown := options(words).get("shutdown")) in KEEPING_MASTER:
        raise Unusable(f"under handoff.shutdown={shutdown} bus master stays on, and a trace tells of no hop")
    words = f"handoff.next=second*{count} {words}".strip()  # in front: behind a lone `--` it would be another kernel's
    run = Run(directory, machine, {}, words, {})
    endurance = Endurance(run)

    reader, writer = os.pipe()
    pid = directory / "qemu.pid"
    pid.unlink(missing_ok=True)
    flags = ["-pidfile", str(pid), "-D", f"/dev/fd/{writer}"]
    for name in REQUEST_PATTERNS:
        flags += ["-trace", name]
    long = min(settings.timeout * (count + 1), TIMEOUT_MAX)
    flowing = replace(settings, timeout=long, flags=(*settings.flags, *flags))

    def entered(_: Session, entry: Entry) -> None:
        run.entries.append(entry)

    with ThreadPoolExecutor(1) as pool, os.fdopen(reader, "rb"):
        with suppress(OSError):  # where the host has none so large, QEMU waits
            fcntl(reader, F_SETPIPE_SZ, PIPE_SIZE)
        running = pool.submit(run_qemu, machine, build, directory, words, flowing, entered, False, [writer])
        running.add_done_callback(lambda _: os.close(writer))  # the trace ends when QEMU has
        try:
            verdicts, late = _watch(endurance, reader, settings.timeout, count, tell)
        finally:
            if not running.done():
                _kill(pid)
        ended = running.result()
    if late:
        ended.outcome, ended.detail = Outcome.TIMEOUT, f"no hop within {settings.timeout:g} s"
    elif not verdicts and ended.outcome in (Outcome.PASS, Outcome.FAIL):
        verdicts = _last(endurance, ended, count)
    outcome = Outcome.FAIL if broken(verdicts) else ended.outcome
    (directory / "hops.trace").write_text(endurance.kept(), encoding="utf-8")
    return outcome, _told(endurance, ended, verdicts, outcome)


def _watch(endurance: Endurance, trace: int, timeout: float, count: int, tell: Callable[[str], None]) -> tuple[list[Verdict], bool]:
    """Up to the first hop that is not by the book, to the trace's end, or until a hop takes too long."""
    deadline = Deadline.after(timeout)
    told = 0
    try:
        for line in _lines(trace, lambda: deadline.left()):
            verdicts = endurance.read(line)
            if broken(verdicts):
                return verdicts, False
            if verdicts:
                deadline = Deadline.after(timeout)
            if endurance.tally.hops * REPORTS // count > told:
                told = endurance.tally.hops * REPORTS // count
                tell(f"{endurance.tally.hops} of {count} hops, {endurance.pace()}")
    except Expired:
        return [], True
    return [], False


def _lines(trace: int, patience: Callable[[], float]) -> Iterator[str]:
    """Each wait for QEMU's next words is bounded by patience()."""
    rest = b""
    while select([trace], [], [], patience())[0]:
        chunk = os.read(trace, PIPE_SIZE)
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)
    raise Expired


def _kill(pid: Path) -> None:
    with suppress(OSError, ValueError):  # it has ended by itself, or never began
        os.kill(int(pid.read_text(encoding="ascii")), signal.SIGKILL)


def _last(endurance: Endurance, ended: Run, count: int) -> list[Verdict]:
    """About the last hop, and about what all of them leave."""
    case = Case(ended, [])
    verdicts = endurance.finish()
    hops = endurance.tally.hops
    guest = _unless(ended.outcome is Outcome.PASS, ended.detail), ended.detail
    all_of_them = _unless(hops == count, f"{hops} of {count} hops"), f"{hops} hops"
    rules = [
        Rule("guest", "the guest itself is content", lambda _: guest),
        Rule("hops", "every image of the chain hands over, once", lambda _: all_of_them),
        Rule("memory", "the memory map does not grow", lambda _: _memory_maps(ended)),
        *(rule for rule in RULES if rule.id in AT_THE_END),
    ]
    return verdicts + [verdict for rule in rules if (verdict := rule.verdict(case))]


def _unless(holds: bool, problem: str) -> list[str]:
    return [] if holds else [problem]


def maps_handed_on(ended: Run) -> dict[int, list[tuple[range, int]]]:
    """The maps that the last images were handed lie where these had their boot_params; a second has none but from us."""
    found = {}
    ram = ended.ram_after()
    for page in range(0, (ended.directory / "ram").stat().st_size, PAGE):
        if ram.read(range(page + HEADER_MAGIC, page + HEADER_MAGIC + len(HEADER))) != HEADER:
            continue
        params = ram.read(range(page, page + PAGE))
        if any(params[SETUP_DATA:][:8]) and params[E820_ENTRIES]:
            found[page] = e820(params)
    return found


def _memory_maps(ended: Run) -> Finding:
    maps = maps_handed_on(ended).values()
    if not maps:
        raise Missing("RAM holds no boot_params that an image of ours made")
    sizes = [(len(map), sum(len(addresses) for addresses, kind in map if kind == E820_RAM)) for map in maps]
    looked = dict.fromkeys(f"{entries} entries, {size >> 10} KiB free" for entries, size in sizes)
    return _unless(len(looked) == 1, "; ".join(looked)), f"{len(maps)} of {'; '.join(looked)}"


def _told(endurance: Endurance, ended: Run, verdicts: list[Verdict], outcome: Outcome) -> list[str]:
    tally = endurance.tally
    lines = []
    if tally.hops:
        lines += [
            f"{tally.hops} hops, {endurance.pace()}",
            f"{tally.lines} trace lines, {tally.events} events judged, {tally.messages} messages taken",
            f"in flight when bus master went: {tally.requests} virtio-blk requests, {tally.transfers} edu DMAs",
        ]
    if verdicts:
        lines += [f"hop {tally.hops}:" if tally.hops else "no hop:", *report.table(verdicts)]
    else:
        lines.append(f"ended: {ended.detail}; the guest's last line: {guestlog.last_words(ended.log) or 'none'}")
    lines.append(f"log, trace of the last hops: {ended.directory}/guest.log, {ended.directory}/hops.trace")
    return [*lines, f"RESULT: {report.word(outcome)} ({tally.hops} hops, {report.versions(ended)})"]
