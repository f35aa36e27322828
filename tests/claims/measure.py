# SPDX-License-Identifier: BSD-2-Clause
"""What several experiments measure: events of a trace, bits of a register, the work of a driver. What is expected of it stands in
each experiment."""

from __future__ import annotations

from typing import Sized

from witness.devices import not_driven
from witness.lab.experiment import Value, exactly
from witness.lab.observation import Observation, at
from witness.machine.record import Ram
from witness.pci.registers import ENABLE, PCI_COMMAND_MASTER, Register
from witness.pci.topology import Bdf
from witness.trace.state import Change


def counted(what: str, events: Sized, expected: int) -> Value:
    """How many events there are; the evidence is their trace lines."""
    return exactly(what, len(events), expected, at(events))


def master_on(seen: Observation, bdf: Bdf, line: int) -> bool:
    """Whether a function's bus master is on just before this line of the trace."""
    return bool(seen.register(bdf, Register.COMMAND, line) & PCI_COMMAND_MASTER)


def messages_on(seen: Observation, bdf: Bdf, register: Register, line: int) -> bool:
    """Whether MSI or MSI-X is."""
    return bool(seen.register(bdf, register, line) & ENABLE[register])


def switch(on: bool) -> str:
    return "on" if on else "off"


def changes(seen: Observation, bdf: Bdf, lines: range) -> list[Change]:
    """The writes to a function's command register and message controls."""
    return [change for change in seen.case.changes(lines) if change.bdf == bdf]


def lacking(seen: Observation, bdf: Bdf, lines: range, ram: Ram) -> str:
    """What these lines, and RAM, lack of the work of a device's driver."""
    return ", ".join(not_driven(seen.case, seen.case.topology.functions[bdf], lines, ram, last=True))
