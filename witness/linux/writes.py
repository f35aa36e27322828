# SPDX-License-Identifier: BSD-2-Clause
"""What one function was told, in order: each write to its configuration space and into its BARs, by the register's name."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Iterator, Mapping, Union

from witness import devices
from witness.devices import BESIDE, NOWHERE, TELLING
from witness.evidence.case import Case
from witness.evidence.interrupts import TABLE_CONTROL, TABLE_ENTRY, TABLE_MASK, TABLE_MASKED, TABLE_REGION
from witness.pci.registers import PCI_CAP_ID_EXP, PCI_CAP_ID_MSI, PCI_MSI_FLAGS_64BIT, Register
from witness.pci.topology import Bdf, Function
from witness.trace.events import CONSOLES, ConfigRead, ConfigWrite, MmioWrite
from witness.trace.state import Change

NOTIFY_REGION = "virtio-pci-notify"

FunctionEvent = Union[ConfigRead, ConfigWrite, MmioWrite]

# In the place of addresses, vectors, and a driver's data.
VARIES = "<- …"

# --- names, as in Linux's pci_regs.h and the specifications ---

HEADER = {0x06: "status", 0x0C: "cache line size", 0x0D: "latency timer", 0x3C: "interrupt line", 0x3E: "bridge control"}
BRIDGE = {
    0x18: "primary bus", 0x19: "secondary bus", 0x1A: "subordinate bus", 0x1B: "secondary latency timer", 0x1C: "I/O window",
    0x1E: "secondary status", 0x20: "memory window", 0x24: "prefetchable window", 0x28: "prefetchable base, upper half",
    0x2C: "prefetchable limit, upper half", 0x30: "I/O window, upper halves",
}  # fmt: skip
ROM = {0: 0x30, 1: 0x38}  # by header type
CAPABILITIES: Mapping[int, Mapping[int, str]] = {
    0x01: {4: "power management control"},
    PCI_CAP_ID_EXP: {
        0x08: "device control", 0x0A: "device status", 0x10: "link control", 0x12: "link status", 0x18: "slot control",
        0x1A: "slot status", 0x1C: "root control", 0x20: "root status", 0x28: "device control 2", 0x30: "link control 2",
    },
}  # fmt: skip
MSI = {
    False: {4: "msi address", 8: "msi data", 0x0C: "msi mask"},
    True: {4: "msi address", 8: "msi address, upper half", 0x0C: "msi data", 0x10: "msi mask"},
}
EXTENDED = {
    0x0001: {
        0x04: "aer uncorrectable status", 0x08: "aer uncorrectable mask", 0x0C: "aer severity", 0x10: "aer correctable status",
        0x14: "aer correctable mask", 0x18: "aer control", 0x2C: "aer root command", 0x30: "aer root status",
    },
    0x000D: {0x06: "acs control"},
}  # fmt: skip
EXTENDED_BEGIN = 0x100
ROUTES = {0x60 + wire: f"PIRQ{letter} route" for wire, letter in zip((0, 1, 2, 3, 8, 9, 10, 11), "ABCDEFGH")}
LPC = 0x29188086  # ICH9's, which q35 has

BITS = {
    Register.COMMAND: {0x001: "I/O", 0x002: "memory", 0x004: "bus master", 0x040: "PERR", 0x100: "SERR", 0x400: "INTx Disable"},
    Register.MSI: {0x0001: "MSI", 0x0070: "more messages"},
    Register.MSIX: {0x8000: "MSI-X", 0x4000: "mask all"},
}

ALL_ONES, ROM_FLAGS = 0xFFFFFFFF, 0x7FF  # a ROM BAR's low bits are no address
TABLE = {0: "address", 4: "address, upper half", 8: "data", TABLE_CONTROL: "control"}


@dataclass(frozen=True)
class Write:
    """One write, or a row of the same notifications."""

    line: int
    register: str
    value: str
    meaning: str = ""  # what the value does, where that is to be compared
    compared: bool = False  # the value itself, beside what it means
    varies: bool = False  # from run to run: an address, a vector
    times: int = 1

    @property
    def what(self) -> str:
        return f"{self.register} ({self.meaning})" if self.meaning else self.register

    def shown(self, exact: bool) -> str:
        """With what differs from run to run, or without."""
        meaning = f" ({self.meaning})" if self.meaning else ""
        times = f", {self.times} times" if exact and self.times > 1 else ""
        return f"{self.register} {VARIES if self.varies and not exact else self.value}{meaning}{times}"


@lru_cache(maxsize=4)
def accesses(case: Case) -> Mapping[Bdf, list[FunctionEvent]]:
    """What each function was told, and asked in its configuration space."""
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
    """Those of these lines. Notifications in a row are one: how many there are is the workload's."""
    names = _Names(case, case.topology.functions[bdf])
    changes: dict[int, list[Change]] = defaultdict(list)
    for change in case.changes(lines):
        changes[change.line].append(change)
    found: list[Write] = []
    for event in (event for event in accesses(case)[bdf] if event.line in lines):
        if isinstance(event, ConfigWrite):
            found.append(names.config(event, changes[event.line]))
        elif isinstance(event, MmioWrite):
            write = names.memory(event)
            if found and event.region.startswith(NOTIFY_REGION) and found[-1].what == write.what:
                write = replace(found[-1], times=found.pop().times + 1)
            found.append(write)
    return found


class _Names:
    def __init__(self, case: Case, function: Function) -> None:
        self.function, self.registers = function, dict(HEADER)
        self.bars: dict[int, str] = {}
        if function.buses:
            self.registers |= BRIDGE
        if function.u32(0) == LPC:
            self.registers |= ROUTES
        for number, (_, offsets) in enumerate(function.bars):
            for half, offset in zip(("", ", upper half"), offsets):
                self.bars[offset] = f"BAR {(offsets[0] - 0x10) // 4}{half}"
        self.bars[ROM[bool(function.buses)]] = "ROM BAR"
        for capability, position in function.capabilities():
            named = CAPABILITIES.get(capability, {})
            if capability == PCI_CAP_ID_MSI:
                named = MSI[bool(function.u16(position + 2) & PCI_MSI_FLAGS_64BIT)]
            self.registers |= {position + offset: name for offset, name in named.items()}
        for capability, position in _extended(case, function.bdf):
            self.registers |= {position + offset: name for offset, name in EXTENDED.get(capability, {}).items()}

    def config(self, write: ConfigWrite, changes: list[Change]) -> Write:
        value = f"<- 0x{write.value:0{2 * (write.size or 2)}x}"
        if len(changes) == 1 and write.size == 2:
            change = changes[0]
            value = f"0x{change.old:04x} -> 0x{change.new:04x}"
            return Write(write.line, change.register.value, value, _bits(change), compared=True)
        if write.offset in self.bars and write.size == 4:
            asked = write.value | ROM_FLAGS == ALL_ONES
            return Write(write.line, self.bars[write.offset], value, "size?" if asked else "address", varies=not asked)
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
        name, kind = named or (f"{write.region} 0x{offset:02x}", BESIDE)
        meaning = kind.get(write.value, value) if isinstance(kind, Mapping) else str(write.value) if kind == TELLING else ""
        return Write(write.line, name, value, meaning, compared=kind == BESIDE, varies=kind == NOWHERE)


def _bits(change: Change) -> str:
    named = BITS[change.register]
    words = [f"{name} {'on' if change.new & bit else 'off'}" for bit, name in named.items() if (change.old ^ change.new) & bit]
    rest = (change.old ^ change.new) & ~sum(named)
    return ", ".join([*words, *([f"0x{rest:04x} changed"] if rest else [])]) or "as it was"


def _extended(case: Case, bdf: Bdf) -> Iterator[tuple[int, int]]:
    """The extended capabilities: their headers as a kernel read them; the witness reads the first 256 bytes alone."""
    reads = (access for access in accesses(case)[bdf] if isinstance(access, ConfigRead))
    heads = {read.offset: read.value for read in reads if read.offset >= EXTENDED_BEGIN}
    position, seen = EXTENDED_BEGIN, set[int]()
    while position in heads and position not in seen:
        seen.add(position)
        yield heads[position] & 0xFFFF, position
        position = heads[position] >> 20 & ~3
