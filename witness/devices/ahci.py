# SPDX-License-Identifier: BSD-2-Clause
"""AHCI controllers by their ports (Serial ATA AHCI 1.3.1), without the guest's help.

The addresses of command lists and the issued slots come from the trace; their content comes from guest RAM.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Iterator, NamedTuple

from witness.devices.model import DeviceModel, Drive, Effect, Extent, Landing, RegisterNames, Request, is_register, wide
from witness.evidence.case import Case
from witness.evidence.interrupts import interrupted
from witness.machine.description import Sata
from witness.machine.record import Ram
from witness.pci.registers import Register
from witness.pci.topology import Bdf, Function
from witness.trace.events import MmioWrite, Msi

AHCI_CLASS = 0x010601  # mass storage, SATA, AHCI

# QEMU's name of the registers (3), which are at the start of their BAR, in a page of their own.
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
SECTOR = 512

# In the data of IDENTIFY DEVICE (ACS-3, 7.12.7).
ID_COMMANDS = range(2 * 83, 2 * 84)
ID_VALID, ID_VALID_MASK = 0x4000, 0xC000
ID_SECTORS = range(2 * 100, 2 * 104)


class AtaCommand(NamedTuple):
    kind: int
    sector: int
    data: list[range]
    transferred: range  # PRD Byte Count
    done: bool  # that is not 0


@dataclass(frozen=True)
class AhciPort:
    """A started port."""

    bdf: Bdf
    number: int
    issued: tuple[MmioWrite, ...]  # a bit for each slot
    commands: int  # the list
    received: int

    @property
    def addresses(self) -> list[range]:
        return [range(self.commands, self.commands + LIST_SIZE), range(self.received, self.received + RECEIVED_SIZE)]

    def last_batch(self, ram: Ram) -> list[AtaCommand]:
        """The commands that were issued together last, in the order of the slots."""
        slots = self.issued[-1].value if self.issued else 0
        return [self._command(slot, ram) for slot in range(32) if slots >> slot & 1]

    def _command(self, slot: int, ram: Ram) -> AtaCommand:
        header = self.commands + HEADER.size * slot
        flags, count, table = HEADER.unpack(ram.read(range(header, header + HEADER.size)))
        fis = FIS.unpack(ram.read(range(table, table + FIS.size)))
        data = []
        for at in range(table + PRDT, table + PRDT + PRD.size * (flags >> 16), PRD.size):
            start, size = PRD.unpack(ram.read(range(at, at + PRD.size)))
            data.append(range(start, start + (size & PRD_SIZE_MASK) + 1))
        sector = fis[1] & 0xFFFFFF | (fis[2] & 0xFFFFFF) << 24
        counted = range(header + HEADER_COUNT.start, header + HEADER_COUNT.stop)
        return AtaCommand(fis[0] >> 16 & 0xFF, sector, data, counted, count > 0)

    def landings(self, command: AtaCommand, disk: bytes) -> list[Landing]:
        """What a read may change: its data, to the disk's content, the byte count, and the received FIS."""
        found, position = [], command.sector * SECTOR
        for addresses in command.data:
            found.append(Landing(addresses, disk[position:][:len(addresses)]))
            position += len(addresses)
        size = sum(map(len, command.data))
        found.append(Landing(command.transferred, size.to_bytes(len(command.transferred), "little")))
        return [*found, Landing(range(self.received, self.received + RECEIVED_SIZE), None)]


def ports(case: Case, bdf: Bdf, lines: range) -> list[AhciPort]:
    """The ports that these lines start and that are running at their end."""
    registers: dict[int, int] = {}
    issued: dict[int, list[MmioWrite]] = {}  # by the offset of the port's registers
    for write in case.writes_to(bdf, lines, REGION):
        offset = write.address & BAR_MASK
        registers[offset] = write.value
        place = offset & ~PORT_MASK
        if offset == GHC and write.value & GHC_HR:
            issued = {}
        elif _of_port(write, PX_CMD):
            if not write.value & PX_CMD_ST:
                issued.pop(place, None)
            else:
                issued.setdefault(place, [])
        elif _of_port(write, PX_CI) and place in issued:
            issued[place].append(write)
    return [
        AhciPort(
            bdf, (base - PORTS) // (PORT_MASK + 1), tuple(writes), wide(registers, base + PX_CLB), wide(registers, base + PX_FB)
        )
        for base, writes in issued.items()
    ]


def _of_port(write: MmioWrite, register: int) -> bool:
    offset = write.address & BAR_MASK
    return write.region == REGION and offset >= PORTS and offset & PORT_MASK == register


def disk_of(case: Case, function: Function) -> Sata | None:
    return next((disk for disk in case.run.machine.sata if Bdf(0, disk.slot, 0) == function.bdf), None)


class Ahci(DeviceModel):
    kind = "ahci"
    regions, mask = (REGION,), BAR_MASK
    registers: RegisterNames = {
        GHC: ("GHC", {0x80000000: "AE", 0x80000001: "AE, HR"}),
        **{PORTS + (PORT_MASK + 1) * n + PX_CMD: (f"P{n}CMD", {0x6: "SUD, POD"}) for n in range(32)},
    }

    def matches(self, function: Function) -> bool:
        return function.class_code == AHCI_CLASS

    def drivable(self, case: Case, function: Function) -> bool:
        return disk_of(case, function) is not None

    def effect(self, write: MmioWrite) -> Effect:
        """GHC.HR resets the whole controller (10.4.3). Without it and IE no interrupt leaves the controller."""
        if is_register(write, REGION, BAR_MASK, GHC):
            return Effect.RESET if write.value & GHC_HR else Effect.OTHER if write.value & GHC_IE else Effect.DISABLE
        if is_register(write, REGION, BAR_MASK, IS) or _of_port(write, PX_IS):
            return Effect.ACKNOWLEDGE
        return Effect.TRIGGER if _of_port(write, PX_CI) else Effect.OTHER

    def structures(self, case: Case, function: Function, lines: range) -> list[Extent]:
        found = ports(case, function.bdf, lines)
        return [Extent(f"command list of {function.bdf}", part) for port in found for part in port.addresses]

    def requests(self, case: Case, function: Function, lines: range, ram: Ram | None) -> list[Request]:
        """The reads that were issued together last and whose end no message has reported.

        A port processes its slots in order, and QEMU sends a message for each: the number of messages is the number of completed
        reads. QEMU completes a read that the disk had taken when it stops the machine, and counts its bytes; the others wait:
        without bus master the port reads zeros for a command.
        """
        disk = disk_of(case, function)
        if disk is None or ram is None:
            return []
        content = disk.file(case.run.directory).read_bytes()
        found = []
        for port in ports(case, function.bdf, lines):
            if not port.issued:
                continue
            since = range(port.issued[-1].line, lines.stop)
            completed = sum((m.address, m.data) == function.msi_message for m in case.within(Msi, since))
            reads = [command for command in port.last_batch(ram)[completed:] if command.kind == READ_DMA_EXT]
            found += [Request(tuple(port.landings(read, content)), gated=False, taken=read.done) for read in reads]
        return found

    def unfinished(self, case: Case, function: Function, lines: range, before: Ram, after: Ram) -> int:
        found = ports(case, function.bdf, lines)
        return sum(not command.done for port in found for command in port.last_batch(after))

    def allowed_while_leaving(self, case: Case, function: Function, write: MmioWrite) -> bool:
        """An acknowledgement, if it interrupted since the last command."""
        if self.effect(write) is not Effect.ACKNOWLEDGE:
            return False
        issued = [w.line for w in case.writes_to(function.bdf, range(write.line), REGION) if _of_port(w, PX_CI)]
        return interrupted(case, function, range(max(issued, default=write.line), write.line))

    def not_driven(self, drive: Drive) -> Iterator[str]:
        function = drive.function
        port = next((port for port in ports(drive.case, function.bdf, drive.lines) if port.issued), None)
        if port is None:
            yield "no port got a command"
            return
        yield from drive.no_interrupt((Register.MSIX, Register.MSI), [write.line for write in port.issued])
        disk = disk_of(drive.case, function)
        if drive.ram is None or not drive.last or disk is None:
            return
        identified = [command for command in port.last_batch(drive.ram) if command.kind == IDENTIFY]
        if not identified:
            yield "no IDENTIFY DEVICE was issued"
        elif not _identified(drive.ram.read(identified[-1].data[0]), disk.mib << 20):
            yield f"IDENTIFY DEVICE data at 0x{identified[-1].data[0].start:x} is not that of a disk of {disk.mib} MiB"


def _identified(data: bytes, size: int) -> bool:
    commands, sectors = (int.from_bytes(data[at.start:at.stop], "little") for at in (ID_COMMANDS, ID_SECTORS))
    return commands & ID_VALID_MASK == ID_VALID and sectors * SECTOR == size
