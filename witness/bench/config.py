# SPDX-License-Identifier: BSD-2-Clause
"""Accesses to configuration space, counted from QEMU's trace with their width: by ECAM and by CF8/CFC."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Iterable, Iterator, Mapping, Sequence

from witness.evidence.case import Case, shows_entry
from witness.machine.qemu import Unusable
from witness.pci.names import Layout
from witness.pci.registers import PCI_COMMAND
from witness.pci.topology import Bdf
from witness.trace.events import ConfigRead, MmioWrite
from witness.trace.phases import Hop

# Only this trace point shows the width of a read.
READS = "memory_region_ops_read"


@dataclass(frozen=True)
class ConfigAccess:
    line: int
    bdf: Bdf
    offset: int
    size: int
    value: int
    write: bool
    hit: bool  # a function responded


# CONFIG_ADDRESS and CONFIG_DATA (PCI 3.0, 3.2.2.3.2), and QEMU's names of them and of the ECAM window.
CONFIG_ADDRESS, CONFIG_DATA, ECAM = "pci-conf-idx", "pci-conf-data", "pcie-mmcfg-mmio"
CONFIG_ENABLE = 1 << 31

_ACCESS = re.compile(
    r"memory_region_ops_(read|write) .* addr 0x([0-9a-f]+) value 0x([0-9a-f]+) size (\d+) "
    rf"name '({ECAM}|{CONFIG_ADDRESS}|{CONFIG_DATA})'"
)


def accesses(lines: Iterable[str]) -> Iterator[ConfigAccess]:
    """Accesses by ECAM and CF8/CFC. A function that responds has a trace line of its own: after a write, before a read."""
    held: ConfigAccess | None = None
    answered = False
    index = 0
    for number, text in enumerate(lines, 1):
        match = _ACCESS.match(text)
        if held:
            yield replace(held, hit=text.startswith("pci_cfg_write"))
            held = None
        if match:
            write, address, value, size = match[1] == "write", int(match[2], 16), int(match[3], 16), int(match[4])
            if match[5] == CONFIG_ADDRESS:
                index = value if write and size == 4 else index
            elif match[5] == ECAM or index & CONFIG_ENABLE:
                bdf, offset = _in_window(address) if match[5] == ECAM else _by_index(index, address)
                access = ConfigAccess(number, bdf, offset, size, value, write, answered)
                if write:
                    held = access
                else:
                    yield access
        answered = text.startswith("pci_cfg_read")
    if held:
        yield held


def _in_window(address: int) -> tuple[Bdf, int]:
    return Bdf(address >> 20 & 0xFF, address >> 15 & 0x1F, address >> 12 & 7), address & 0xFFF


def _by_index(index: int, address: int) -> tuple[Bdf, int]:
    return Bdf(index >> 16 & 0xFF, index >> 11 & 0x1F, index >> 8 & 7), index & 0xFC | address & 3


# --- phases ---


def only_hop(case: Case) -> Hop:
    if not case.hops:
        raise Unusable(f"{case.run.directory}: no handoff, {case.run.detail}")
    return case.hops[0]


def entry_line(case: Case, hop: Hop) -> int:
    """The first access of our next image."""
    for write in case.within(MmioWrite, range(hop.window.start, hop.inward.start)):
        if shows_entry(write):
            return write.line
    raise Unusable("the trace does not show the next image's first access")


def linux_line(case: Case, hop: Hop, outgoing_linux: bool) -> int:
    """The next Linux's first access to configuration space. An outgoing Linux makes none after it has masked its I/O APIC, which
    comes after the last function; an image of ours makes none after the last function.
    """
    begin = hop.window.start
    if outgoing_linux:
        writes = case.within(MmioWrite, range(begin, hop.inward.start))
        begin = next((write.line for write in writes if write.region == "ioapic"), hop.inward.start)
    lines = range(begin, hop.inward.start)
    looks = [write.line for write in case.within(MmioWrite, lines) if write.region == CONFIG_ADDRESS]
    looks += [read.line for read in case.within(ConfigRead, lines)]
    if not looks:
        raise Unusable("the trace does not show the next Linux's first access to configuration space")
    return min(looks)


def in_lines(found: Iterable[ConfigAccess], lines: range) -> list[ConfigAccess]:
    return [access for access in found if access.line in lines]


def out_accesses(case: Case, found: Iterable[ConfigAccess]) -> list[ConfigAccess]:
    """Accesses of an outgoing image of ours after its drivers' last."""
    hop = only_hop(case)
    return in_lines(found, range(case.shutdown_start(hop), entry_line(case, hop)))


def enumeration(reads: Sequence[ConfigAccess]) -> list[ConfigAccess]:
    """From the scan's first read to the last: only a scan reads vendor and device ID with one read."""
    looks = [access.line for access in reads if access.offset == 0 and access.size == 4 and not access.write]
    return [access for access in reads if looks[0] <= access.line <= looks[-1]] if looks else []


def by_function(found: Iterable[ConfigAccess]) -> dict[Bdf, list[ConfigAccess]]:
    functions: dict[Bdf, list[ConfigAccess]] = {}
    for access in found:
        if access.hit:
            functions.setdefault(access.bdf, []).append(access)
    return functions


# --- counts ---


@dataclass(frozen=True)
class Counts:
    reads: int = 0
    writes: int = 0
    widths: tuple[int, ...] = ()  # bits

    @property
    def all(self) -> int:
        return self.reads + self.writes


def grouped(found: Iterable[ConfigAccess], layouts: Mapping[Bdf, Layout]) -> dict[str, Counts]:
    """The number of reads and writes of each group of registers, of all functions."""
    reads, writes = Counter[str](), Counter[str]()
    widths: dict[str, set[int]] = {}
    for access in found:
        if access.hit and access.bdf in layouts:
            group = layouts[access.bdf].group(access.offset)
            (writes if access.write else reads)[group] += 1
            widths.setdefault(group, set()).add(8 * access.size)
    return {group: Counts(reads[group], writes[group], tuple(sorted(widths[group]))) for group in widths}


def command_only(found: Iterable[ConfigAccess]) -> bool:
    return all((access.offset, access.size) == (PCI_COMMAND, 2) for access in found)
