# SPDX-License-Identifier: BSD-2-Clause
"""QEMU's trace as one typed list of events.

The trace holds what the device models did, in order, for whatever cause; its line numbers are the only clock.
Formats are those of QEMU 7.2's `log` backend; `PATTERNS` is the smallest set of trace points that the judge needs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Callable, Iterable, Union

from witness.pci.topology import Bdf

PATTERNS = (
    "pci_cfg_read",
    "pci_cfg_write",
    "memory_region_ops_write",
    "pci_update_mappings_add",
    "pci_update_mappings_del",
    "ioapic_set_irq",
    "pic_interrupt",
    "runstate_set",
)

# In addition, to count the requests that virtio-blk has taken and not completed.
REQUEST_PATTERNS = ("virtio_blk_handle_read", "virtio_blk_handle_write", "virtio_blk_req_complete")

# A guest writes its log here, character by character: half of all lines, and their text is in the log.
CONSOLES = (("serial", 0x3F8), ("isa-debugcon", 0xE9))

# An MSI is a write into the APIC page of a destination. Writes to 0x10-0xfff of the first page are the CPU's own
# accesses to its local APIC (EOI, ICR, ...), which QEMU traces under the same region name.
APIC_BASE = 0xFEE00000
APIC_REGISTERS = range(APIC_BASE + 0x10, APIC_BASE + 0x1000)


@dataclass(frozen=True, slots=True)
class ConfigRead:
    line: int
    bdf: Bdf
    device: str
    offset: int
    value: int


@dataclass(frozen=True, slots=True)
class ConfigWrite:
    line: int
    bdf: Bdf
    device: str
    offset: int
    value: int
    size: int  # bytes; 0 where the trace does not show the guest's access


@dataclass(frozen=True, slots=True)
class MmioWrite:
    """A write to a device model's memory or port, except for configuration space and MSI."""

    line: int
    address: int
    value: int
    size: int
    region: str


@dataclass(frozen=True, slots=True)
class Msi:
    line: int
    address: int
    data: int


@dataclass(frozen=True, slots=True)
class BarMap:
    line: int
    bdf: Bdf
    bar: int
    address: int
    size: int
    mapped: bool


@dataclass(frozen=True, slots=True)
class GsiLevel:
    """An I/O APIC input changed. 16 and above are PCI lines; each of their edges also shows on the ISA IRQ (10 or 11)
    that its PIRQ is routed to."""

    line: int
    gsi: int
    level: int


@dataclass(frozen=True, slots=True)
class PicInterrupt:
    """The 8259 delivered an interrupt."""

    line: int
    irq: int


@dataclass(frozen=True, slots=True)
class RunState:
    line: int
    state: str


@dataclass(frozen=True, slots=True)
class BlockRequest:
    """virtio-blk took a request, or has completed it."""

    line: int
    id: int  # QEMU's address of it, which is used again later
    done: bool


Event = Union[ConfigRead, ConfigWrite, MmioWrite, Msi, BarMap, GsiLevel, PicInterrupt, RunState, BlockRequest]

# What is taken of a line.
Fields = tuple[Any, ...]

_CONFIG = re.compile(r"pci_cfg_\w+ (\S+) ([0-9a-f:.]+) @0x([0-9a-f]+) (?:<-|->) 0x([0-9a-f]+)")
_WRITE = re.compile(r"\S+ cpu -?\d+ mr \S+ addr 0x([0-9a-f]+) value 0x([0-9a-f]+) size (\d+) name '(.*)'")
_BAR = re.compile(r"pci_update_mappings_(add|del) \S+ ([0-9a-f:.]+) (\d+),0x([0-9a-f]+)\+0x([0-9a-f]+)")
_GSI = re.compile(r"ioapic_set_irq vector: (\d+) level: (\d+)")
_PIC = re.compile(r"pic_interrupt irq (\d+) intno \d+")
_STATE = re.compile(r"runstate_set current_run_state \d+ \(\S+\) new_state \d+ \((\S+)\)")
_REQUEST = re.compile(r"virtio_blk_\w+_(\w+) vdev \S+ req 0x([0-9a-f]+)")


def _config(m: re.Match[str]) -> Fields:
    return Bdf.parse(m[2]), m[1], int(m[3], 16), int(m[4], 16)


def _write(m: re.Match[str]) -> Fields:
    return int(m[1], 16), int(m[2], 16), int(m[3]), m[4]


def _bar(m: re.Match[str]) -> Fields:
    return Bdf.parse(m[2]), int(m[3]), int(m[4], 16), int(m[5], 16), m[1] == "add"


def _numbers(m: re.Match[str]) -> Fields:
    return tuple(map(int, m.groups()))


def _request(m: re.Match[str]) -> Fields:
    return int(m[2], 16), m[1] == "complete"


class Parser:
    """One pass over the lines. It keeps the access that causes the config write on the next line."""

    def __init__(self, consoles: bool = True) -> None:
        self.consoles = consoles  # whether writes to consoles are events
        self.access: tuple[int, int] | None = None  # low address bits, size
        self.running = True
        self.readers: dict[str, tuple[re.Pattern[str], Callable[[re.Match[str]], Fields], Callable[..., Event | None]]] = {
            "pci_cfg_read": (_CONFIG, _config, self.config_read),
            "pci_cfg_write": (_CONFIG, _config, self.config_write),
            "memory_region_ops_write": (_WRITE, _write, self.write),
            "pci_update_mappings_add": (_BAR, _bar, BarMap),
            "pci_update_mappings_del": (_BAR, _bar, BarMap),
            "ioapic_set_irq": (_GSI, _numbers, GsiLevel),
            "pic_interrupt": (_PIC, _numbers, PicInterrupt),
            "runstate_set": (_STATE, re.Match.groups, self.state),
            **dict.fromkeys(REQUEST_PATTERNS, (_REQUEST, _request, BlockRequest)),
        }
        # A line that storms and a guest that prints say the same again and again.
        self.fields = lru_cache(maxsize=1 << 12)(self._fields)

    def event(self, number: int, text: str) -> Event | None:
        found = self.fields(text)
        return found[0](number, *found[1]) if found else None

    def _fields(self, text: str) -> tuple[Callable[..., Event | None], Fields] | None:
        reader = self.readers.get(text.partition(" ")[0])
        if reader is None:
            return None
        pattern, fields, build = reader
        match = pattern.match(text)
        return (build, fields(match)) if match else None

    def state(self, number: int, state: str) -> Event:
        self.running = state == "running"
        return RunState(number, state)

    def config_read(self, number: int, bdf: Bdf, device: str, offset: int, value: int) -> Event | None:
        if not self.running:
            return None  # the harness reads configuration space of the stopped machine, not the guest
        return ConfigRead(number, bdf, device, offset, value)

    def config_write(self, number: int, bdf: Bdf, device: str, offset: int, value: int) -> Event | None:
        # pci_cfg_write has no width: a 16-bit and a 32-bit write look alike. The access itself is the line before.
        access, self.access = self.access, None
        if not self.running:
            return None  # the harness again; its snapshot of configuration space shows it
        size = access[1] if access and access[0] == offset & 3 else 0
        return ConfigWrite(number, bdf, device, offset, value, size)

    def write(self, number: int, address: int, value: int, size: int, region: str) -> Event | None:
        if not self.consoles and (region, address) in CONSOLES:
            return None
        if region in ("pcie-mmcfg-mmio", "pci-conf-data"):
            self.access = address & 3, size
            return None
        if region == "apic-msi":
            return None if address in APIC_REGISTERS else Msi(number, address, value)
        return MmioWrite(number, address, value, size, region)


def parse(lines: Iterable[str]) -> list[Event]:
    """Events in order. Lines of other trace points (QEMUFLAGS may add some) and QEMU's own messages are skipped."""
    parser = Parser()
    events = (parser.event(number, text) for number, text in enumerate(lines, 1))
    return [event for event in events if event is not None]
