# SPDX-License-Identifier: BSD-2-Clause
"""Names of configuration space registers in reports: of each register, where writes are listed, or of groups, where accesses are
counted. They are those of Linux's pci_regs.h, of lspci, and of the specifications.
"""

from __future__ import annotations

from typing import Iterator, Mapping

from witness.pci.registers import (
    PCI_CAPABILITY_LIST, PCI_CAP_ID_EXP, PCI_CAP_ID_MSI, PCI_CAP_ID_MSIX, PCI_EXT_CAP_START, PCI_MSI_FLAGS_64BIT,
    PCI_STD_HEADER_SIZEOF, PIRQ_ROUTERS, Register,
)  # fmt: skip
from witness.pci.topology import Function

Answers = Mapping[int, int]  # values read from configuration space, by offset

# --- each register ---

BITS = {
    Register.COMMAND: {0x001: "I/O", 0x002: "memory", 0x004: "bus master", 0x040: "PERR", 0x100: "SERR", 0x400: "INTx Disable"},
    Register.MSI: {0x0001: "MSI", 0x0070: "more messages"},
    Register.MSIX: {0x8000: "MSI-X", 0x4000: "mask all"},
}

HEADER = {0x06: "status", 0x0C: "cache line size", 0x0D: "latency timer", 0x3C: "interrupt line", 0x3E: "bridge control"}
BRIDGE = {
    0x18: "primary bus", 0x19: "secondary bus", 0x1A: "subordinate bus", 0x1B: "secondary latency timer", 0x1C: "I/O window",
    0x1E: "secondary status", 0x20: "memory window", 0x24: "prefetchable window", 0x28: "prefetchable base, upper half",
    0x2C: "prefetchable limit, upper half", 0x30: "I/O window, upper halves",
}  # fmt: skip
ROM = {False: 0x30, True: 0x38}  # of a bridge: True
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
EXTENDED: Mapping[int, Mapping[int, str]] = {
    0x0001: {
        0x04: "aer uncorrectable status", 0x08: "aer uncorrectable mask", 0x0C: "aer severity", 0x10: "aer correctable status",
        0x14: "aer correctable mask", 0x18: "aer control", 0x2C: "aer root command", 0x30: "aer root status",
    },
    0x000D: {0x06: "acs control"},
}  # fmt: skip


def bars(function: Function) -> dict[int, str]:
    """The registers that hold addresses."""
    halves = [(offsets[0], half, offset) for _, offsets in function.bars for half, offset in zip(("", ", upper half"), offsets)]
    named = {offset: f"BAR {(first - 0x10) // 4}{half}" for first, half, offset in halves}
    return named | {ROM[bool(function.buses)]: "ROM BAR"}


def registers(function: Function, answers: Answers) -> dict[int, str]:
    """The others. Of the extended space only what the guest has read is known."""
    routes = zip(PIRQ_ROUTERS.get(function.u32(0), ()), "ABCDEFGH")
    found = HEADER | (BRIDGE if function.buses else {}) | {offset: f"PIRQ{letter} route" for offset, letter in routes}
    for capability, position in function.capabilities():
        named = CAPABILITIES.get(capability, {})
        if capability == PCI_CAP_ID_MSI:
            named = MSI[bool(function.u16(position + 2) & PCI_MSI_FLAGS_64BIT)]
        found |= {position + offset: name for offset, name in named.items()}
    for capability, position in extended(answers):
        found |= {position + offset: name for offset, name in EXTENDED.get(capability, {}).items()}
    return found


def extended(answers: Answers) -> Iterator[tuple[int, int]]:
    """The extended capabilities: ID, position."""
    return _walk(answers, PCI_EXT_CAP_START, 0xFFFF, 20)


def _walk(answers: Answers, position: int, ids: int, next_shift: int) -> Iterator[tuple[int, int]]:
    """Walk a capability list. It ends where it loops or points outside; an extended list without a capability begins with zeros."""
    seen = set[int]()
    while answers.get(position) and position not in seen and position >= PCI_STD_HEADER_SIZEOF:
        seen.add(position)
        yield answers[position] & ids, position
        position = answers[position] >> next_shift & 0xFFC


# --- groups ---

# An ID without a name is shown as its number.
CAPABILITY = {
    1: "PM", 9: "vendor-specific", 0xD: "SSVID", 0x12: "SATA",
    PCI_CAP_ID_MSI: "MSI", PCI_CAP_ID_EXP: "PCI Express", PCI_CAP_ID_MSIX: "MSI-X",
}  # fmt: skip
EXTENDED_CAPABILITY = {1: "AER", 3: "serial number", 0xB: "vendor-specific", 0xD: "ACS", 0x1D: "DPC"}

# The end of each group of the header. Type 1 has bus numbers and windows where type 0 has further BARs.
GROUPS = (
    (0x04, "vendor and device ID"), (0x06, "command"), (0x08, "status"), (0x0C, "class, revision"),
    (0x10, "header type, cache line, latency"),
)  # fmt: skip
TYPE_0 = ((0x28, "BAR"), (0x30, "subsystem"), (0x34, "ROM BAR"), (0x38, "capability pointer"), (0x40, "INTx line and pin"))
TYPE_1 = (
    (0x18, "BAR"), (0x1C, "bus numbers"), (0x34, "bridge windows"), (0x38, "capability pointer"), (0x3C, "ROM BAR"),
    (0x3E, "INTx line and pin"), (0x40, "bridge control"),
)  # fmt: skip


def capability_list(answers: Answers) -> dict[int, str]:
    """The capabilities by position, extended ones included."""
    ordinary = _walk(answers, answers.get(PCI_CAPABILITY_LIST, 0) & 0xFC, 0xFF, 8)
    lists = ((ordinary, CAPABILITY), (extended(answers), EXTENDED_CAPABILITY))
    return {position: names.get(id, f"{id:#x}") for found, names in lists for id, position in found}


class Layout:
    """The layout of one function's configuration space."""

    def __init__(self, bridge: bool, answers: Answers) -> None:
        self.header = (*GROUPS, *(TYPE_1 if bridge else TYPE_0))
        self.capabilities = capability_list(answers)

    def group(self, offset: int) -> str:
        """A register outside of all capabilities is device-specific."""
        if offset < PCI_STD_HEADER_SIZEOF:
            return next(name for end, name in self.header if offset < end)
        begin = PCI_STD_HEADER_SIZEOF if offset < PCI_EXT_CAP_START else PCI_EXT_CAP_START
        position = max((p for p in self.capabilities if begin <= p <= offset), default=None)
        if position is None:
            return "extended space" if begin == PCI_EXT_CAP_START else "device-specific"
        return f"{self.capabilities[position]} capability"
