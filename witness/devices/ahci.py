# SPDX-License-Identifier: BSD-2-Clause
"""AHCI ports (Serial ATA AHCI 1.3.1), read from outside.

Where a driver put their command lists, and which slots it issued, comes from the trace; what is in them from guest RAM.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Iterable, Iterator, NamedTuple

from witness.devices.virtio import SECTOR, Landing
from witness.machine.record import Ram
from witness.pci.topology import Bdf
from witness.trace.events import Event, MmioWrite
from witness.trace.state import Bars

# QEMU's name of the registers (3), which begin with their BAR and have a page of their own.
REGION = "ahci"
BAR_MASK = 0xFFF
GHC = 0x04
GHC_HR = 0x1
GHC_IE = 0x2
IS = 0x08
PORTS = 0x100
PORT_MASK = 0x7F
PX_CLB = 0x00
PX_FB = 0x08
PX_IS = 0x10
PX_CMD = 0x18
PX_CMD_ST = 0x1
PX_CI = 0x38

# 4.2: a command list, its headers, a command table and an entry of its PRDT; the area for received FISes.
LIST_SIZE = 1024
HEADER = struct.Struct("<IIQ16x")
HEADER_COUNT = range(4, 8)  # PRDBC
FIS = struct.Struct("<5I")
PRDT = 0x80
PRD = struct.Struct("<QxxxxI")
PRD_SIZE_MASK = 0x3FFFFF
RECEIVED_SIZE = 256

READ_DMA_EXT = 0x25
IDENTIFY = 0xEC

# Of what IDENTIFY DEVICE brings (ACS-3, 7.12.7).
ID_COMMANDS = range(2 * 83, 2 * 84)
ID_VALID, ID_VALID_MASK = 0x4000, 0xC000
ID_SECTORS = range(2 * 100, 2 * 104)


class Command(NamedTuple):
    kind: int
    sector: int
    data: list[range]
    transferred: range  # where the bytes are counted that were
    done: bool  # there were any


@dataclass(frozen=True)
class Port:
    """One that is started."""

    bdf: Bdf
    number: int
    issued: tuple[MmioWrite, ...]  # a bit for each slot
    commands: int  # the list
    received: int

    @property
    def addresses(self) -> list[range]:
        return [range(self.commands, self.commands + LIST_SIZE), range(self.received, self.received + RECEIVED_SIZE)]

    def last_batch(self, ram: Ram) -> list[Command]:
        """What was issued together at last, in the order of the slots."""
        slots = self.issued[-1].value if self.issued else 0
        return [self._command(slot, ram) for slot in range(32) if slots >> slot & 1]

    def _command(self, slot: int, ram: Ram) -> Command:
        header = self.commands + HEADER.size * slot
        flags, count, table = HEADER.unpack(ram.read(range(header, header + HEADER.size)))
        fis = FIS.unpack(ram.read(range(table, table + FIS.size)))
        data = []
        for at in range(table + PRDT, table + PRDT + PRD.size * (flags >> 16), PRD.size):
            start, size = PRD.unpack(ram.read(range(at, at + PRD.size)))
            data.append(range(start, start + (size & PRD_SIZE_MASK) + 1))
        sector = fis[1] & 0xFFFFFF | (fis[2] & 0xFFFFFF) << 24
        return Command(fis[0] >> 16 & 0xFF, sector, data, range(header + HEADER_COUNT.start, header + HEADER_COUNT.stop), count > 0)

    def landings(self, command: Command, disk: bytes) -> list[Landing]:
        """What a read may change: its data, to what the disk holds, the bytes counted, and the device's answer."""
        found, position = [], command.sector * SECTOR
        for addresses in command.data:
            found.append(Landing(addresses, disk[position:][:len(addresses)]))
            position += len(addresses)
        size = sum(map(len, command.data))
        found.append(Landing(command.transferred, size.to_bytes(len(command.transferred), "little")))
        return [*found, Landing(range(self.received, self.received + RECEIVED_SIZE), None)]


def register_writes(events: Iterable[Event], bars: Bars) -> Iterator[tuple[Bdf, int, MmioWrite]]:
    """Function, offset, write."""
    for event in events:
        if isinstance(event, MmioWrite) and event.region == REGION:
            owner = bars.owner(event.address, event.line)
            if owner:
                yield owner, event.address & BAR_MASK, event


def resets(write: MmioWrite) -> bool:
    """Of the whole controller (10.4.3)."""
    return _is(write, GHC) and bool(write.value & GHC_HR)


def quiets(write: MmioWrite) -> bool:
    """No interrupt leaves the controller."""
    return _is(write, GHC) and not write.value & (GHC_HR | GHC_IE)


def issues(write: MmioWrite) -> bool:
    return _is_port(write, PX_CI)


def acknowledges(write: MmioWrite) -> bool:
    return _is(write, IS) or _is_port(write, PX_IS)


def _is(write: MmioWrite, register: int) -> bool:
    return write.region == REGION and write.address & BAR_MASK == register


def _is_port(write: MmioWrite, register: int) -> bool:
    offset = write.address & BAR_MASK
    return write.region == REGION and offset >= PORTS and offset & PORT_MASK == register


def ports(events: Iterable[Event], bars: Bars) -> list[Port]:
    """Those that are started at the end of these events, if they were so in them."""
    registers: dict[tuple[Bdf, int], int] = {}
    issued: dict[tuple[Bdf, int], list[MmioWrite]] = {}  # by the offset of the port's registers
    for bdf, offset, write in register_writes(events, bars):
        registers[bdf, offset] = write.value
        place = bdf, offset & ~PORT_MASK
        if resets(write):
            issued = {key: writes for key, writes in issued.items() if key[0] != bdf}
        elif _is_port(write, PX_CMD):
            if not write.value & PX_CMD_ST:
                issued.pop(place, None)
            else:
                issued.setdefault(place, [])
        elif issues(write) and place in issued:
            issued[place].append(write)
    return [
        Port(
            bdf,
            (base - PORTS) // (PORT_MASK + 1),
            tuple(writes),
            *(registers.get((bdf, base + at), 0) | registers.get((bdf, base + at + 4), 0) << 32 for at in (PX_CLB, PX_FB)),
        )
        for (bdf, base), writes in issued.items()
    ]
