# SPDX-License-Identifier: BSD-2-Clause
"""State from the trace: register values over time, and the function whose BAR an address belongs to."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from typing import Iterable, Mapping

from witness.pci.registers import ENABLE, PCI_COMMAND, PCI_COMMAND_MASTER, Register
from witness.pci.topology import Bdf, Function, Topology
from witness.trace.events import BarMap, ConfigWrite, Event


@dataclass(frozen=True, slots=True)
class Change:
    """A write that reached one of a function's three registers, whether or not it changed anything."""

    write: ConfigWrite
    register: Register
    old: int
    new: int

    @property
    def line(self) -> int:
        return self.write.line

    @property
    def bdf(self) -> Bdf:
        return self.write.bdf

    @property
    def cleared(self) -> int:
        return self.old & ~self.new

    @property
    def set(self) -> int:
        return self.new & ~self.old

    @property
    def master_cleared(self) -> bool:
        return self.register is Register.COMMAND and bool(self.cleared & PCI_COMMAND_MASTER)

    @property
    def master_set(self) -> bool:
        return self.register is Register.COMMAND and bool(self.set & PCI_COMMAND_MASTER)

    @property
    def msi_disabled(self) -> bool:
        return bool(self.cleared & ENABLE.get(self.register, 0))

    @property
    def msi_enabled(self) -> bool:
        return bool(self.set & ENABLE.get(self.register, 0))

    def __str__(self) -> str:
        return (
            f"{self.bdf} {self.register.value} 0x{self.old:04x} -> 0x{self.new:04x} "
            f"({8 * self.write.size}-bit write at 0x{self.write.offset:02x}, trace {self.line})"
        )


class History:
    """The registers of every function, from the writes since power-on.

    A function starts with zeros. A value is what was written, until a snapshot of the real register replaces it
    (`observe`); the bits that are queried exist in every function that has the register, so each write to them takes effect.
    `known` holds the values that earlier writes have left.
    """

    def __init__(self, functions: Mapping[Bdf, Function], known: Mapping[tuple[Bdf, Register], int] | None = None) -> None:
        self.changes: list[Change] = []
        self._offsets = {bdf: function.offsets for bdf, function in functions.items()}
        self._values: dict[tuple[Bdf, Register], list[tuple[int, int]]] = defaultdict(list)
        for place, value in (known or {}).items():
            self._values[place].append((0, value))

    def apply(self, write: ConfigWrite) -> list[Change]:
        """The registers that the write reached."""
        reached = []
        # Where the trace does not show the access, its width is unknown; two bytes reach the register that it hits.
        span = range(write.offset, write.offset + (write.size or 2))
        for register, offset in self._offsets.get(write.bdf, {Register.COMMAND: PCI_COMMAND}).items():
            if span.stop <= offset or span.start >= offset + 2:
                continue
            old = self.value(write.bdf, register, write.line)
            new = bytearray(old.to_bytes(2, "little"))
            for i in range(2):
                if offset + i in span:
                    new[i] = write.value >> 8 * (offset + i - span.start) & 0xFF
            value = int.from_bytes(new, "little")
            reached.append(Change(write, register, old, value))
            self._values[write.bdf, register].append((write.line, value))
        self.changes += reached
        return reached

    def observe(self, line: int, functions: Iterable[Function]) -> None:
        """Real register values, read at this point of the trace."""
        for function in functions:
            for register, offset in function.offsets.items():
                self._values[function.bdf, register].append((line, function.u16(offset)))

    def value(self, bdf: Bdf, register: Register, line: int) -> int:
        """The register just before this line."""
        values = self._values.get((bdf, register), [])
        index = bisect_left(values, (line, 0))
        return values[index - 1][1] if index else 0

    def values(self, line: int) -> dict[tuple[Bdf, Register], int]:
        """Every register just before this line."""
        return {place: self.value(*place, line) for place in self._values}

    def masters(self, line: int) -> list[Bdf]:
        """The functions whose bus master is on just before this line."""
        known = (bdf for bdf, register in self._values if register is Register.COMMAND)
        return sorted(bdf for bdf in known if self.value(bdf, Register.COMMAND, line) & PCI_COMMAND_MASTER)

    def signalling(self, line: int) -> list[tuple[Bdf, Register]]:
        """The functions with MSI or MSI-X on just before this line."""
        return sorted(
            ((bdf, r) for bdf, r in self._values if r in ENABLE and self.value(bdf, r, line) & ENABLE[r]),
            key=lambda pair: (pair[0], pair[1].value),
        )


def written(topology: Topology, writes: Iterable[ConfigWrite]) -> Topology:
    """Configuration space as these writes leave it, if every bit is writable."""
    spaces = {bdf: bytearray(function.config) for bdf, function in topology.functions.items()}
    for write in writes:
        space, size = spaces.get(write.bdf, bytearray()), write.size or 2
        if write.offset + size <= len(space):  # extended configuration space is unknown
            space[write.offset:write.offset + size] = write.value.to_bytes(8, "little")[:size]
    return Topology.of((bdf, bytes(space)) for bdf, space in spaces.items())


def mapped(events: Iterable[Event]) -> list[BarMap]:
    """The BARs that are mapped after these events."""
    opened: dict[tuple[Bdf, int], BarMap] = {}
    for event in events:
        if isinstance(event, BarMap):
            opened.pop((event.bdf, event.bar), None)
            if event.mapped:
                opened[event.bdf, event.bar] = event
    return list(opened.values())


class Bars:
    """The function that an address belongs to, at any point of the trace."""

    def __init__(self, maps: Iterable[BarMap], end: int) -> None:
        """end: the last line of the trace."""
        self._maps: list[tuple[range, range, Bdf, int]] = []  # lines, addresses, owner, BAR
        self._at: dict[int, list[tuple[range, Bdf]]] = {}  # a cache: few addresses are queried, often
        opened: dict[tuple[Bdf, int], BarMap] = {}
        for change in maps:
            before = opened.pop((change.bdf, change.bar), None)
            if before:
                self._close(before, change.line)
            if change.mapped:
                opened[change.bdf, change.bar] = change
        for bar in opened.values():
            self._close(bar, end + 1)

    def _close(self, bar: BarMap, line: int) -> None:
        addresses = range(bar.address, bar.address + bar.size)
        self._maps.append((range(bar.line, line), addresses, bar.bdf, bar.bar))

    def owner(self, address: int, line: int) -> Bdf | None:
        if address not in self._at:
            self._at[address] = [(lines, bdf) for lines, addresses, bdf, _ in self._maps if address in addresses]
        for lines, bdf in self._at[address]:
            if line in lines:
                return bdf
        return None
