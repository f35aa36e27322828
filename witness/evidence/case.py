# SPDX-License-Identifier: BSD-2-Clause
"""All evidence of one run, derived once from its record."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter, itemgetter
from typing import Any, Iterator, Sequence, TypeVar

from witness.evidence.policies import KEEPING_MASTER
from witness.machine.record import Entry, Run
from witness.pci.registers import ENABLE, PCI_MSIX_FLAGS_MASKALL, Register
from witness.pci.topology import Bdf, Topology
from witness.trace.events import BarMap, ConfigRead, ConfigWrite, Event, MmioWrite, RunState
from witness.trace.phases import Hop, hops
from witness.trace.state import Bars, Change, History, written

E = TypeVar("E")


# The UART's scratch register: the first device access of an image of ours (lib/console.c).
SCRATCH, SCRATCH_VALUE = 0x3FF, 0x5A


def shows_entry(write: MmioWrite) -> bool:
    return write.region == "serial" and (write.address, write.value) == (SCRATCH, SCRATCH_VALUE)


def enables_messages(change: Change) -> bool:
    unmasked = change.register is Register.MSIX and change.cleared & PCI_MSIX_FLAGS_MASKALL and change.new & ENABLE[Register.MSIX]
    return change.msi_enabled or bool(unmasked)


@dataclass(frozen=True)
class Before:
    """State before a part of a trace, and the number of the first handoff in that part."""

    topology: Topology
    registers: dict[tuple[Bdf, Register], int]
    bars: list[BarMap]
    hop: int = 1


class Case:
    """A run; or a part of its events, with the state before them."""

    def __init__(self, run: Run, events: Sequence[Event] | None = None, before: Before | None = None) -> None:
        self.run = run
        self.events = run.events if events is None else events
        self.before = before
        self.shutdown = run.option("shutdown", "keep-msi")
        self.startup = run.option("startup", "disable-msi")
        self.chain = run.chain
        self._by_kind: dict[type, list[Any]] = defaultdict(list)
        for event in self.events:
            self._by_kind[type(event)].append(event)
        shown = [write.line for write in self._by_kind[MmioWrite] if shows_entry(write)]
        stops = [state.line for state in self._by_kind[RunState] if state.state == "debug"]
        if before:
            self.entry_lines: dict[str, int] = {f"trace {line}": line for line in shown}
        else:
            self.entry_lines = dict(self._entries(stops, shown))

    def _entries(self, stops: Sequence[int], shown: Sequence[int]) -> Iterator[tuple[str, int]]:
        """Where each image was entered: the stop at its breakpoint, or its write to the scratch register."""
        for number, entry in enumerate(self.run.entries):
            lines, index = (shown, number) if entry.stop is None else (stops, entry.stop)
            if index < len(lines):
                yield entry.name, lines[index]

    @cached_property
    def end(self) -> int:
        return self.events[-1].line if self.events else 0

    @cached_property
    def topology(self) -> Topology:
        """As it was when the last image was entered: bus numbers do not change after firmware. A function that did not respond any
        more is as first found it and later writes have left it."""
        if self.before:
            return self.before.topology
        if not self.run.entries:
            return Topology.of(())
        first, last = (Topology.of(self.run.entries[i].configs.items()) for i in (0, -1))
        since = range(self.entry_lines.get(self.run.entries[0].name, 0), self.end + 1)
        return Topology(written(first, self.within(ConfigWrite, since)).functions | last.functions)

    @cached_property
    def history(self) -> History:
        history = History(self.topology.functions, self.before.registers if self.before else None)
        snapshots = [(self.entry_lines[e.name], e) for e in self.run.entries if e.name in self.entry_lines]
        since = 0
        for line, entry in [*sorted(snapshots, key=itemgetter(0)), (self.end + 1, None)]:
            for write in self.within(ConfigWrite, range(since, line)):
                history.apply(write)
            if entry:
                history.observe(line, Topology.of(entry.configs.items()).functions.values())
            since = line
        return history

    @cached_property
    def _devices(self) -> dict[Bdf, str]:
        return {e.bdf: e.device for kind in (ConfigRead, ConfigWrite) for e in self._by_kind[kind]}

    def name(self, bdf: Bdf) -> str:
        """With QEMU's name for the device model."""
        return f"{bdf} {self._devices.get(bdf, '')}".strip()

    @cached_property
    def bars(self) -> Bars:
        return Bars([*(self.before.bars if self.before else ()), *self._by_kind[BarMap]], self.end)

    @cached_property
    def hops(self) -> list[Hop]:
        entered = min(self.entry_lines.values(), default=None)
        return hops(self.history.changes, self.end, self.before.hop if self.before else 1, entered)

    @cached_property
    def handed_over(self) -> list[Hop]:
        """The handoffs. A policy that leaves bus master on does not mark them; its first is known by the stop at the jump.

        Its window ends where a device is written to again, or its bus master or messages are enabled: startup is over, a
        driver resets a device that was running.
        """
        jump = self.entry_lines.get(self.next.name) if self.next else None
        if self.shutdown not in KEEPING_MASTER or jump is None:
            return self.hops
        rest = range(jump, self.end + 1)
        given = (c.line for c in self.changes(rest) if c.master_set or c.new & ENABLE.get(c.register, 0))
        driven = min([*given, *(write.line for write in self.device_writes(rest)), rest.stop])
        return [Hop(1, range(self._first_clear(jump), jump), range(jump, driven), range(driven, rest.stop))]

    def _first_clear(self, jump: int) -> int:
        """The first clear after which nothing was set again before the jump."""
        first = jump
        for change in reversed(self.changes(range(jump))):
            if change.master_set or enables_messages(change):
                break
            if change.master_cleared or change.msi_disabled:
                first = change.line
        return first

    @property
    def first(self) -> Entry | None:
        """The head of the chain, where it begins."""
        return self.run.entries[0] if self.run.entries else None

    @property
    def next(self) -> Entry | None:
        """The image after the head of the chain, at the jump."""
        return self.run.entries[1] if len(self.run.entries) > 1 else None

    def within(self, kind: type[E], lines: range) -> Iterator[E]:
        """The events of a kind in these lines, found by bisection."""
        events = self.events if kind is object else self._by_kind[kind]
        start, stop = (bisect_left(events, line, key=attrgetter("line")) for line in (lines.start, lines.stop))
        return iter(events[start:stop])

    def changes(self, lines: range) -> list[Change]:
        return [change for change in self.history.changes if change.line in lines]

    def registers(self, bdf: Bdf, line: int) -> dict[Register, int]:
        return {register: self.history.value(bdf, register, line) for register in Register}

    def begin(self, hop: Hop) -> int:
        """Where the image that hands over was entered; if that is unknown, where the window before it begins; 0 for the first."""
        entered = [*self.entry_lines.values(), *(earlier.window.start for earlier in self.hops)]
        return max((line for line in entered if line < hop.out.start), default=0)

    def shutdown_start(self, hop: Hop) -> int:
        """Where the out phase really begins: after a driver's last access before the first clear.

        That is a write into a BAR or to a port's slot, or one that enables or unmasks messages. After it the outgoing
        kernel may do to a function only what the policy does: a wrong write one line before the clear must be seen, too.
        """
        begin = self.begin(hop)
        enabled = max((c.line for c in self.changes(range(begin, hop.out.start)) if enables_messages(c)), default=begin)
        before = bisect_left(self.events, hop.out.start, key=lambda event: event.line)
        for event in reversed(self.events[:before]):
            if event.line < enabled:
                break
            if self._drives(event):
                return event.line + 1
        return enabled + 1

    def _drives(self, event: Event) -> bool:
        if isinstance(event, MmioWrite):
            return self.bars.owner(event.address, event.line) is not None
        if not isinstance(event, ConfigWrite) or event.bdf not in self.topology.functions:
            return False
        return event.offset in self.topology.functions[event.bdf].slot

    @cached_property
    def _device_writes(self) -> list[tuple[int, Bdf, MmioWrite]]:
        owned = ((write, self.owner(write)) for write in self._by_kind[MmioWrite])
        return [(write.line, owner, write) for write, owner in owned if owner]

    @cached_property
    def _writes_by_owner(self) -> dict[Bdf, list[tuple[int, Bdf, MmioWrite]]]:
        found: dict[Bdf, list[tuple[int, Bdf, MmioWrite]]] = {}
        for item in self._device_writes:
            found.setdefault(item[1], []).append(item)
        return found

    def device_writes(self, lines: range) -> list[MmioWrite]:
        """Writes into any function's BAR. The owner of an address is looked up once for all verdicts."""
        return _part(self._device_writes, lines)

    def owner(self, write: MmioWrite) -> Bdf | None:
        """The function whose BAR it reaches."""
        return self.bars.owner(write.address, write.line)

    def writes_to(self, bdf: Bdf, lines: range, region: str = "") -> list[MmioWrite]:
        """Writes into one function's BARs; only those to QEMU's region of this name, where one is given."""
        return [write for write in _part(self._writes_by_owner.get(bdf, []), lines) if region in ("", write.region)]


def _part(writes: list[tuple[int, Bdf, MmioWrite]], lines: range) -> list[MmioWrite]:
    start, stop = (bisect_left(writes, (line,)) for line in (lines.start, lines.stop))
    return [write for _, _, write in writes[start:stop]]
