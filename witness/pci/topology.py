# SPDX-License-Identifier: BSD-2-Clause
"""PCI functions as the host sees them: addresses, capabilities, and the bridge that each is below.

A topology is built from configuration space that is read through QEMU, never from what the guest reports.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Iterable, Iterator, NamedTuple

from witness.pci.registers import (
    PCI_BASE_ADDRESS_0, PCI_BASE_ADDRESS_MEM_TYPE_64, PCI_BASE_ADDRESS_SPACE_IO, PCI_CAPABILITY_LIST, PCI_CAP_ID_EXP,
    PCI_CAP_ID_MSI, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF, PCI_CLASS_REVISION, PCI_COMMAND, PCI_COMMAND_IO, PCI_COMMAND_MEMORY,
    PCI_EXP_DEVSTA, PCI_EXP_FLAGS, PCI_EXP_FLAGS_TYPE, PCI_EXP_SLTCAP, PCI_EXP_SLTCAP_HPC, PCI_EXP_SLTCAP_NCCS, PCI_EXP_SLTCTL,
    PCI_EXP_SLTSTA, PCI_EXP_TYPE_DOWNSTREAM, PCI_EXP_TYPE_ROOT_PORT, PCI_HEADER_TYPE, PCI_HEADER_TYPE_BRIDGE, PCI_INTERRUPT_LINE,
    PCI_INTERRUPT_PIN, PCI_MSIX_FLAGS, PCI_MSI_FLAGS, PCI_MSI_FLAGS_64BIT, PCI_MSI_FLAGS_MASKBIT, PCI_MSI_FLAGS_QMASK,
    PCI_SECONDARY_BUS, PCI_STATUS, PCI_STATUS_CAP_LIST, PCI_STD_HEADER_SIZEOF, PCI_SUBORDINATE_BUS, PIIX3, PIIX3_PIRQ, PIRQ_DISABLE,
    Register,
)  # fmt: skip

# Hosts of an extra root bus. Their configuration space does not hold its number (QEMU: pxb-pcie, pxb).
EXPANDERS = (0x000B1B36, 0x00091B36)

INPUTS = frozenset(range(24))  # of the I/O APIC


class Bdf(NamedTuple):
    """Bus, device, function. Segment 0 only: QEMU's q35 and pc have no other."""

    bus: int
    device: int
    function: int

    @classmethod
    def parse(cls, text: str) -> Bdf:
        """Read QEMU's `00:1f.0` or the guest's `0000:00:1f.0`."""
        bus, slot = text.split(":")[-2:]
        device, function = slot.split(".")
        return cls(int(bus, 16), int(device, 16), int(function, 16))

    def __str__(self) -> str:
        return f"{self.bus:02x}:{self.device:02x}.{self.function:x}"


@dataclass(frozen=True)
class Function:
    """One function, as its configuration space describes it."""

    bdf: Bdf
    config: bytes

    def u16(self, offset: int) -> int:
        return int(struct.unpack_from("<H", self.config, offset)[0])

    def u32(self, offset: int) -> int:
        return int(struct.unpack_from("<I", self.config, offset)[0])

    @property
    def vendor(self) -> int:
        return self.u16(0)

    @property
    def class_code(self) -> int:
        return self.u32(PCI_CLASS_REVISION) >> 8

    @property
    def pin(self) -> int:
        """0 = none, 1..4 = INTA..INTD."""
        return self.config[PCI_INTERRUPT_PIN]

    @property
    def interrupt_line(self) -> int | None:
        """The ISA IRQ of its INTx, as firmware reports it; None where there is none."""
        line = self.config[PCI_INTERRUPT_LINE]
        return line if self.pin and 0 < line < 16 else None

    @property
    def buses(self) -> range:
        """The buses below a bridge; empty for everything else."""
        if self.config[PCI_HEADER_TYPE] & 0x7F != PCI_HEADER_TYPE_BRIDGE:
            return range(0)
        return range(self.config[PCI_SECONDARY_BUS], self.config[PCI_SUBORDINATE_BUS] + 1)

    @property
    def bars(self) -> list[tuple[int, list[int]]]:
        """For each BAR the command register's bit that enables its decoding, and its registers, one or two."""
        end = PCI_BASE_ADDRESS_0 + (8 if self.buses else 24)
        found, offset = [], PCI_BASE_ADDRESS_0
        while offset < end:
            low = self.u32(offset)
            space = PCI_COMMAND_IO if low & PCI_BASE_ADDRESS_SPACE_IO else PCI_COMMAND_MEMORY
            wide = space == PCI_COMMAND_MEMORY and low & PCI_BASE_ADDRESS_MEM_TYPE_64
            found.append((space, [offset, offset + 4] if wide else [offset]))
            offset += 8 if wide else 4
        return found

    @property
    def offsets(self) -> dict[Register, int]:
        """The offset of each register. A capability that the function lacks is no key; of two, the first counts."""
        found = {Register.COMMAND: PCI_COMMAND}
        for cap, position in self.capabilities():
            if position + self._size(cap, position) > len(self.config):
                continue  # it reaches past the end of the space
            if cap == PCI_CAP_ID_MSI:
                found.setdefault(Register.MSI, position + PCI_MSI_FLAGS)
            elif cap == PCI_CAP_ID_MSIX:
                found.setdefault(Register.MSIX, position + PCI_MSIX_FLAGS)
        return found

    def _size(self, cap: int, position: int) -> int:
        if cap == PCI_CAP_ID_MSI:
            flags = self.u16(position + PCI_MSI_FLAGS)
            return (20 if flags & PCI_MSI_FLAGS_MASKBIT else 10) + (4 if flags & PCI_MSI_FLAGS_64BIT else 0)
        return PCI_CAP_MSIX_SIZEOF if cap == PCI_CAP_ID_MSIX else 2

    @property
    def msi_message(self) -> tuple[int, int]:
        """Address and data that the MSI capability holds. Only for a function that has one."""
        flags = self.offsets[Register.MSI]
        low = flags + 2
        if not self.u16(flags) & PCI_MSI_FLAGS_64BIT:
            return self.u32(low), self.u16(low + 4)
        return int(struct.unpack_from("<Q", self.config, low)[0]), self.u16(low + 8)

    @property
    def msi_mask(self) -> tuple[int, int] | None:
        """The offset of the per-vector mask bits, and the value that masks all; None where the function has none."""
        flags = self.offsets.get(Register.MSI)
        if flags is None or not self.u16(flags) & PCI_MSI_FLAGS_MASKBIT:
            return None
        vectors = min(1 << ((self.u16(flags) & PCI_MSI_FLAGS_QMASK) >> 1), 32)
        return flags + (14 if self.u16(flags) & PCI_MSI_FLAGS_64BIT else 10), (1 << vectors) - 1

    @property
    def device_status(self) -> int | None:
        """The offset of PCI Express Device Status; None where the function has none."""
        exp = next((position for cap, position in self.capabilities() if cap == PCI_CAP_ID_EXP), len(self.config))
        return exp + PCI_EXP_DEVSTA if exp + PCI_EXP_DEVSTA + 2 <= len(self.config) else None

    @property
    def slot(self) -> range:
        """Slot Control and Slot Status of a hot-plug capable root or downstream port with Command Completed Support (PCIe
        7.5.3.9); empty for everything else."""
        exp = next((position for cap, position in self.capabilities() if cap == PCI_CAP_ID_EXP), len(self.config))
        slot = range(exp + PCI_EXP_SLTCTL, exp + PCI_EXP_SLTSTA + 2)
        if slot.stop > len(self.config) or self.config[PCI_HEADER_TYPE] & 0x7F != PCI_HEADER_TYPE_BRIDGE:
            return range(0)
        kind, supported = (self.u16(exp + PCI_EXP_FLAGS) & PCI_EXP_FLAGS_TYPE) >> 4, self.u32(exp + PCI_EXP_SLTCAP)
        completes = supported & PCI_EXP_SLTCAP_HPC and not supported & PCI_EXP_SLTCAP_NCCS
        return slot if completes and kind in (PCI_EXP_TYPE_ROOT_PORT, PCI_EXP_TYPE_DOWNSTREAM) else range(0)

    def capabilities(self) -> Iterator[tuple[int, int]]:
        if not self.u16(PCI_STATUS) & PCI_STATUS_CAP_LIST:
            return
        position, seen = self.config[PCI_CAPABILITY_LIST] & ~3, set[int]()
        while position >= PCI_STD_HEADER_SIZEOF and position not in seen:  # it may loop or point outside
            seen.add(position)
            yield self.config[position], position
            position = self.config[position + 1] & ~3


@dataclass(frozen=True)
class Topology:
    """The functions of one machine at one moment."""

    functions: dict[Bdf, Function]

    @classmethod
    def of(cls, configs: Iterable[tuple[Bdf, bytes]]) -> Topology:
        return cls({bdf: Function(bdf, config) for bdf, config in configs})

    def upstream(self, bdf: Bdf) -> list[Bdf]:
        """The bridges above a function, nearest first."""
        above = [b for b, f in self.functions.items() if bdf.bus in f.buses]
        return sorted(above, key=lambda bridge: len(self.functions[bridge].buses))

    def gsi(self, bdf: Bdf) -> int | None:
        """The I/O APIC input that a function's INTx pin drives; None where there is none, or it is unknown."""
        inputs = self._inputs(bdf)
        return min(inputs) if len(inputs) == 1 else None

    def may_drive(self, bdf: Bdf, gsi: int) -> bool:
        """Whether a function's pin is wired to an input, or may be: the expander of a bus is unknown."""
        return gsi in self._inputs(bdf)

    def _inputs(self, bdf: Bdf) -> frozenset[int]:
        """A function's pin drives one of these; empty where it has no pin, or its line is not routed.

        Each bridge swizzles by device number. On q35's root bus devices 0-24 use PIRQE-H (GSI 20-23) rotated by device,
        25-31 PIRQA-D (16-19) by pin: measured on QEMU 7.2, INTA of slots 5 and 9 is GSI 21, of slot 6 is 22. On pc, PCI
        has no inputs of its own: PIIX3 routes four wires to ISA IRQs.
        """
        pin = self.functions[bdf].pin
        if pin == 0:
            return frozenset()
        pin -= 1
        for bridge in self.upstream(bdf):
            pin = (pin + bdf.device) % 4
            bdf = bridge
        if bdf.bus:
            hosts = [b for b, f in self.functions.items() if f.u32(0) in EXPANDERS]
            return frozenset().union(*(self._below_expander(host, (pin + bdf.device) % 4) for host in hosts)) or INPUTS
        if self._piix3:
            route = self._piix3.config[PIIX3_PIRQ + (bdf.device + pin - 1) % 4]
            return frozenset() if route & PIRQ_DISABLE else frozenset({route})
        return frozenset({20 + (bdf.device + pin) % 4 if bdf.device < 25 else 16 + pin})

    def _below_expander(self, host: Bdf, pin: int) -> frozenset[int]:
        """QEMU 7.2 subtracts the expander's slot from the pin and indexes its table by slot and pin with the result,
        which is in the row of another slot. Measured with pxb-pcie in slots 6 to 13; an unknown one may be any input.
        """
        if self._piix3 or host.device >= 25:
            return INPUTS
        row, column = divmod(4 * host.device + pin - host.device, 4)
        return frozenset({20 + (row + column) % 4})

    @cached_property
    def _piix3(self) -> Function | None:
        return next((f for f in self.functions.values() if f.u32(0) == PIIX3), None)

    @cached_property
    def lines(self) -> frozenset[int]:
        """Every input that a function is wired to."""
        return frozenset(gsi for gsi in map(self.gsi, self.functions) if gsi is not None)
