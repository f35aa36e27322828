# SPDX-License-Identifier: BSD-2-Clause
"""Hot-plug capable PCI Express ports: each write to Slot Control is a command, whose completion the port reports (PCIe 6.7.3.2)."""

from __future__ import annotations

from itertools import pairwise
from typing import Iterator

from witness.devices.model import DeviceModel, Drive, Effect, Load, Reset
from witness.evidence.case import Case
from witness.evidence.interrupts import own_messages
from witness.pci.registers import PCI_EXP_SLTCTL_CCIE, PCI_EXP_SLTCTL_HPIE, Register
from witness.pci.topology import Function
from witness.trace.events import ConfigWrite, MmioWrite

# The bits that a driver which handles slot events sets with each command.
SLOT_EVENTS = PCI_EXP_SLTCTL_CCIE | PCI_EXP_SLTCTL_HPIE


class Port(DeviceModel):
    kind = "pcie-port"
    reset = Reset.NONE
    load = Load.NONE

    def matches(self, function: Function) -> bool:
        return bool(function.slot)

    def effect(self, write: MmioWrite) -> Effect:
        return Effect.OTHER

    def may_interrupt(self, case: Case, function: Function, line: int) -> bool:
        """Its events are enabled only while the port is driven, and then come by messages."""
        return False

    def not_driven(self, drive: Drive) -> Iterator[str]:
        case, function, lines = drive.case, drive.function, drive.lines
        by = Register.MSIX if Register.MSIX in function.offsets else Register.MSI
        writes = [w for w in case.within(ConfigWrite, lines) if (w.bdf, w.offset) == (function.bdf, function.slot.start)]
        commands = [w.line for w in writes if w.value & SLOT_EVENTS == SLOT_EVENTS]
        if not commands:
            yield "its slot got no command whose completion it reports"
        own = own_messages(case, function, lines)
        for line, until in pairwise([*commands, lines.stop]):
            if not drive.sent(by, own, range(line, until)):
                yield f"no message of its own after the command at trace {line}"
