# SPDX-License-Identifier: BSD-2-Clause
"""Hop after hop in one boot, judged as the trace comes, up to the first hop that violates a rule.

A hop is judged once the window of the next one has ended, by the rules for a kept run, and by rules that need many hops:
each must be like the one before. Earlier events are dropped: a thousand hops take no more memory than three.
The machine is never stopped, so requests that a device had taken when its bus master was cleared land under the next image.
"""

from __future__ import annotations

import re
import time
from collections import deque
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Iterator

from witness import devices
from witness.evidence import guestlog
from witness.evidence.case import Before, Case
from witness.evidence.interrupts import own_messages
from witness.judge import ram
from witness.judge.engine import Finding, HopRule, Missing, Result, Rule, Verdict
from witness.judge.rules import RULES
from witness.machine.record import Entry, Run
from witness.pci.topology import Topology
from witness.trace.events import BlockRequest, ConfigWrite, Event, Msi, Parser, RunState
from witness.trace.phases import Clock, Edges, Hop
from witness.trace.state import History, mapped, written

# Two hops have some 30000 events, a storm of interrupts several 100000.
EVENTS_MAX = 1 << 18


@dataclass
class SoakCounts:
    hops: int = 0
    lines: int = 0
    events: int = 0
    messages: int = 0
    requests: int = 0
    transfers: int = 0


class LogReader:
    """The guest's log as it grows: each image that is handed over to must log the same as the first of them."""

    # These differ from hop to hop: an image's address, frames of others, requests in flight when they were counted.
    _VARYING = re.compile(r"(?<=@)0x[0-9a-f]+|(?<= for )0x[0-9a-f]+|(?<= frames out, )\d+|(?<=in flight: )\d+")
    _BEGIN = re.compile(r"(\w+) +image \1@")

    def __init__(self, path: Path) -> None:
        self.images = 0
        self.changes: deque[guestlog.LoggedChange] = deque()
        self._path = path
        self._position = 0
        self._lines: deque[str] = deque()
        self._model: list[str] = []
        self._number = 0  # of the current image's lines

    def problems(self, images: int) -> list[str]:
        """What is wrong with the new lines, up to those of this many images."""
        self._read()
        found = []
        while self._lines and not (self._BEGIN.match(self._lines[0]) and self.images == images):
            line = self._lines.popleft()
            self.changes.extend(guestlog.changes([line]))
            if ": failed, " in line:
                found.append(line)
            found += self._unlike(self._VARYING.sub("#", line))
        return found

    def _unlike(self, line: str) -> Iterator[str]:
        if self._BEGIN.match(line):
            if self.images > 2 and self._number < len(self._model):
                yield f"image {self.images} does not log {self._model[self._number]!r}"
            self.images += 1
            self._number = 0
        if self.images == 2:
            self._model.append(line)
        elif self.images > 2:
            model = self._model[self._number] if self._number < len(self._model) else ""
            ends = " next image " in model and line.startswith("GUEST: ")  # the last has no next
            if line != model and not ends:
                yield f"image {self.images} logs {line!r}, the second {model or 'nothing'!r}"
            self._number += 1

    def _read(self) -> None:
        with self._path.open("rb") as file:
            file.seek(self._position)
            lines, end, _ = file.read().rpartition(b"\n")
        self._position += len(lines + end)
        self._lines.extend(lines.decode(errors="replace").splitlines())


class Endurance:
    """Reads a trace line by line and judges it hop by hop."""

    def __init__(self, run: Run) -> None:
        self.run = run  # entries are added during the run
        self.counts = SoakCounts()
        self.text: deque[tuple[int, str]] = deque(maxlen=EVENTS_MAX)  # from the window before the next hop to judge
        self._parser = Parser(consoles=False)
        self._stops = 0
        self._clock = Clock()
        self._events: list[Event] = []
        self._before: Before | None = None  # the first of these events
        self._history: History | None = None
        self._open: Edges | None = None  # the hop that has not ended
        self._taken: dict[int, int] = {}  # virtio-blk requests, and their lines
        self._writes: set[ConfigWrite] = set()  # of the first hop's drivers
        self._begun = time.monotonic()
        self._log_reader = LogReader(run.directory / "guest.log")
        self._rules: list[Rule | HopRule] = [
            *(rule for rule in RULES if isinstance(rule, HopRule)),
            Rule("load", "out: work is in flight when bus master is cleared", self._load),
            Rule("messages", "each message comes from a function that may send it", _messages),
            Rule("config", "driving: config writes are the same at every hop", self._config),
            Rule("log", "the guest's log is the same at every hop, nothing failed", self._log),
            Rule("agreement", "log and trace show the same register changes", self._agreement),
        ]

    def read(self, text: str) -> list[Verdict]:
        """The verdicts about a hop that this line completes."""
        self.counts.lines += 1
        self.text.append((self.counts.lines, text))
        event = self._parser.event(self.counts.lines, text)
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
        """The verdicts about the last hop, and about an unfinished one."""
        verdicts = []
        if begun := self._clock.unfinished(self.counts.lines):
            verdicts = self._judge(begun.out)
            if not broken(verdicts):
                self._open = begun
        return verdicts if broken(verdicts) else self._judge(self.counts.lines + 1)

    def pace(self) -> str:
        seconds = time.monotonic() - self._begun
        return f"{seconds:.0f} s, {self.counts.hops / seconds:.2f} hops a second"

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
        self.counts.hops += 1
        self.counts.events += sum(event.line >= out for event in events)
        self.counts.messages += sum(isinstance(event, Msi) and event.line >= out for event in events)
        if not broken(verdicts):
            self._forget(case, window, written(topology, _writes(events, range(out, window))))
        return verdicts

    def _forget(self, case: Case, line: int, topology: Topology) -> None:
        """Drop the events before this line, and keep the state that they leave."""
        assert self._before and self._history
        bars = mapped([*self._before.bars, *(event for event in self._events if event.line < line)])
        self._before = Before(topology, case.history.values(line), bars, self._before.hop + 1)
        self._history = History(topology.functions, self._history.values(self.counts.lines + 1))
        self._events = [event for event in self._events if event.line >= line]
        while self.text and self.text[0][0] < line:
            self.text.popleft()

    # --- rules that differ from those for a kept run ---

    def _load(self, case: Case) -> Finding:
        """By QEMU's trace of virtio-blk: the requests taken and not completed. They are completed by the next hop."""
        hop = _hop(case)
        begin = case.events[0].line if hop.number > 1 else 0
        self._count(case, range(begin, hop.out.start))
        requests, lost = len(self._taken), [line for line in self._taken.values() if line < begin]
        self._count(case, range(hop.out.start, hop.window.start))
        transfers = ram.all_in_flight(case, hop, None)
        self.counts.requests += requests
        self.counts.transfers += len(transfers)
        problems = [] if transfers else ["no transfer is in flight"]
        problems += [] if requests else ["no virtio-blk request is in flight"]
        problems += [f"the request taken at trace {line} was never completed" for line in lost]
        return problems, f"{requests} virtio-blk requests, {len(transfers)} transfers"

    def _count(self, case: Case, lines: range) -> None:
        for request in case.within(BlockRequest, lines):
            if request.done:
                self._taken.pop(request.id, None)
            else:
                self._taken[request.id] = request.line

    def _config(self, case: Case) -> Finding:
        """Drivers write to their functions and to the bridges above; the first hop shows what they write."""
        hop = _hop(case)
        bound = {function.bdf for function, _ in devices.bound(case)}
        bound |= {bridge for bdf in bound for bridge in case.topology.upstream(bdf)}
        writes = list(case.within(ConfigWrite, hop.inward))
        made = {replace(write, line=0) for write in writes}
        if hop.number == 1:
            self._writes = {write for write in made if write.bdf in bound}
        if not self._writes:
            raise Missing("the first hop shows no write to configuration space at all")
        problems = [f"{_told(write)} (trace {write.line})" for write in writes if replace(write, line=0) not in self._writes]
        problems += [f"{_told(write)} is missing" for write in self._writes - made]
        return problems, f"{len(writes)} writes"

    def _log(self, case: Case) -> Finding:
        images = _hop(case).number + 1
        problems = self._log_reader.problems(images)
        if self._log_reader.images < images:
            raise Missing(f"the log shows {self._log_reader.images} images, the trace {images}")
        return problems, f"{images} images"

    def _agreement(self, case: Case) -> Finding:
        hop = _hop(case)
        done = case.changes(range(hop.out.start if hop.number > 1 else 0, case.end + 1))
        unread = self._log_reader.changes
        logged = [unread.popleft() for _ in range(min(len(done), len(unread)))]
        for change, line in zip_longest(done, logged):
            if line is None or not line.is_of(change):
                return [f"the log shows {line or 'nothing'}, the trace {change}"], ""
        return [], f"{len(done)} changes"


def broken(verdicts: list[Verdict]) -> list[Verdict]:
    return [verdict for verdict in verdicts if verdict.result is not Result.PASS]


def _told(write: ConfigWrite) -> str:
    return f"{write.bdf}: {8 * write.size}-bit write of 0x{write.value:x} at 0x{write.offset:02x}"


def _hop(case: Case) -> Hop:
    if len(case.hops) != 1:
        raise Missing(f"{len(case.hops)} hops where one is expected")
    return case.hops[0]


def _writes(events: list[Event], lines: range) -> Iterator[ConfigWrite]:
    return (event for event in events if isinstance(event, ConfigWrite) and event.line in lines)


def _messages(case: Case) -> Finding:
    """A function may send a message that was programmed into it while it has MSI or MSI-X and bus master on."""
    hop = _hop(case)
    problems = []
    count = 0
    for lines in (range(hop.window.start), range(hop.window.start, case.end + 1)):
        own = {f.bdf: own_messages(case, f, lines) for f in case.topology.functions.values()}
        for message in case.within(Msi, lines):
            count += 1
            able = {bdf for bdf, _ in case.history.signalling(message.line)} & {*case.history.masters(message.line)}
            if not any((message.address, message.data) in own[bdf] for bdf in able):
                problems.append(f"no function may send 0x{message.data:x} to 0x{message.address:x} (trace {message.line})")
    if not count:
        raise Missing("the trace shows no message at all")
    return problems, f"{count} messages"
