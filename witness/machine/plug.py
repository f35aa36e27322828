# SPDX-License-Identifier: BSD-2-Clause
"""Devices that QEMU cannot migrate: plugged into a stopped machine, and set up as firmware would have done."""

from __future__ import annotations

from dataclasses import replace
from typing import Sequence

from witness.machine.qemu import Session, config_write, configs
from witness.machine.record import Entry
from witness.pci.registers import (
    PCI_BASE_ADDRESS_0, PCI_COMMAND, PCI_COMMAND_MASTER, PCI_COMMAND_MEMORY, PCI_INTERRUPT_LINE, PCI_MEMORY_BASE,
)  # fmt: skip
from witness.pci.topology import Bdf, Function, Topology


def plug(session: Session, entry: Entry, devices: Sequence[str]) -> Entry:
    """Each as for -device, below a port of its own. Returns the entry with their configuration spaces."""
    for device in devices:
        driver, *properties = device.split(",")
        session.qmp.command("device_add", driver=driver, **dict(property.split("=", 1) for property in properties))
    found = dict(configs(session.qmp)) if devices else {}
    topology = Topology.of(found.items())
    for bdf in found.keys() - entry.configs.keys():
        _set_up(session, bdf, topology.functions[topology.upstream(bdf)[0]])
    return replace(entry, configs=dict(configs(session.qmp))) if devices else entry


def _set_up(session: Session, bdf: Bdf, port: Function) -> None:
    """One memory BAR, at the start of the port's window; INTA of the only device below a port is the port's own."""
    window = (port.u16(PCI_MEMORY_BASE) & 0xFFF0) << 16
    for register, value in (
        (PCI_BASE_ADDRESS_0, window),
        (PCI_INTERRUPT_LINE, port.config[PCI_INTERRUPT_LINE]),
        (PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER),
    ):
        config_write(session.qmp, bdf, register, value)
