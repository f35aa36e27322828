# SPDX-License-Identifier: BSD-2-Clause
"""The writes to one function, in order: into configuration space and into BARs, by the register's name."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Mapping, Union

from witness import devices
from witness.devices import COMPARED, MEANING, VARIES
from witness.evidence.case import Case
from witness.evidence.interrupts import TABLE_CONTROL, TABLE_ENTRY, TABLE_MASK, TABLE_MASKED, TABLE_REGION
from witness.pci import names
from witness.pci.topology import Bdf, Function
from witness.trace.events import CONSOLES, ConfigRead, ConfigWrite, MmioWrite
from witness.trace.state import Change

NOTIFY_REGION = "virtio-pci-notify"

FunctionEvent = Union[ConfigRead, ConfigWrite, MmioWrite]

# Instead of addresses, vectors, and a driver's data.
ELIDED = "<- …"

ALL_ONES, ROM_FLAGS = 0xFFFFFFFF, 0x7FF  # a ROM BAR's low bits are no address
TABLE = {0: "address", 4: "address, upper half", 8: "data", TABLE_CONTROL: "control"}


@dataclass(frozen=True)
class Write:
    """One write, or consecutive equal notifications."""

    line: int
    register: str
    value: str
    meaning: str = ""  # of the value, to be compared
    compared: bool = False  # whether the value itself is compared, apart from its meaning
    varies: bool = False  # whether the value varies from run to run: an address, a vector
    times: int = 1

    @property
    def what(self) -> str:
        return f"{self.register} ({self.meaning})" if self.meaning else self.register

    def shown(self, exact: bool) -> str:
        """The write; exact: with values that vary from run to run."""
        meaning = f" ({self.meaning})" if self.meaning else ""
        times = f", {self.times} times" if exact and self.times > 1 else ""
        return f"{self.register} {ELIDED if self.varies and not exact else self.value}{meaning}{times}"


@lru_cache(maxsize=4)
def function_events(case: Case) -> Mapping[Bdf, list[FunctionEvent]]:
    """The writes to each function, and the reads of its configuration space."""
    found: dict[Bdf, list[FunctionEvent]] = defaultdict(list)
    for event in case.events:
        if isinstance(event, (ConfigRead, ConfigWrite)):
            found[event.bdf].append(event)
        elif isinstance(event, MmioWrite) and (event.region, event.address) not in CONSOLES:
            owner = case.bars.owner(event.address, event.line)
            if owner:
                found[owner].append(event)
    return found


def writes(case: Case, bdf: Bdf, lines: range) -> list[Write]:
    """The writes in these lines. Consecutive notifications are one: their number depends on the workload."""
    named = _Names(case, case.topology.functions[bdf])
    changes: dict[int, list[Change]] = defaultdict(list)
    for change in case.changes(lines):
        changes[change.line].append(change)
    found: list[Write] = []
    for event in (event for event in function_events(case)[bdf] if event.line in lines):
        if isinstance(event, ConfigWrite):
            found.append(named.config(event, changes[event.line]))
        elif isinstance(event, MmioWrite):
            write = named.memory(event)
            if found and event.region.startswith(NOTIFY_REGION) and found[-1].what == write.what:
                write = replace(found[-1], times=found.pop().times + 1)
            found.append(write)
    return found


class _Names:
    def __init__(self, case: Case, function: Function) -> None:
        reads = (access for access in function_events(case)[function.bdf] if isinstance(access, ConfigRead))
        self.bars, self.registers = names.bars(function), names.registers(function, {read.offset: read.value for read in reads})

    def config(self, write: ConfigWrite, changes: list[Change]) -> Write:
        value = f"<- 0x{write.value:0{2 * (write.size or 2)}x}"
        if len(changes) == 1 and write.size == 2:
            change = changes[0]
            value = f"0x{change.old:04x} -> 0x{change.new:04x}"
            return Write(write.line, change.register.value, value, _bits(change), compared=True)
        if write.offset in self.bars and write.size == 4:
            sizing = write.value | ROM_FLAGS == ALL_ONES
            return Write(write.line, self.bars[write.offset], value, "size?" if sizing else "address", varies=not sizing)
        if write.offset in self.registers:
            return Write(write.line, self.registers[write.offset], value, compared=True)
        return Write(write.line, f"configuration 0x{write.offset:02x}, {8 * write.size} bits", value, compared=True)

    def memory(self, write: MmioWrite) -> Write:
        value = f"<- 0x{write.value:0{2 * write.size}x}"
        if write.region == TABLE_REGION:
            entry, field = divmod(write.address & TABLE_MASK, TABLE_ENTRY)
            meaning = ("masked" if write.value & TABLE_MASKED else "unmasked") if field == TABLE_CONTROL else ""
            return Write(write.line, f"msix table[{entry}] {TABLE.get(field, field)}", value, meaning, varies=not meaning)
        if write.region.startswith(NOTIFY_REGION):
            return Write(write.line, "queue_notify", value)
        offset, named = devices.register(write)
        name, kind = named or (f"{write.region} 0x{offset:02x}", COMPARED)
        meaning = kind.get(write.value, value) if isinstance(kind, Mapping) else str(write.value) if kind == MEANING else ""
        return Write(write.line, name, value, meaning, compared=kind == COMPARED, varies=kind == VARIES)


def _bits(change: Change) -> str:
    named = names.BITS[change.register]
    words = [f"{name} {'on' if change.new & bit else 'off'}" for bit, name in named.items() if (change.old ^ change.new) & bit]
    rest = (change.old ^ change.new) & ~sum(named)
    return ", ".join([*words, *([f"0x{rest:04x} changed"] if rest else [])]) or "unchanged"
