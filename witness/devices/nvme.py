# SPDX-License-Identifier: BSD-2-Clause
"""NVMe controllers by their admin queues (NVM Express Base Specification 2.0, 3.3), without the guest's help.

Their addresses come from the trace, their content from guest RAM.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Iterator, NamedTuple

from witness.devices.model import DeviceModel, Drive, Effect, Extent, Request, is_register, wide
from witness.evidence.case import Case
from witness.machine.record import Ram
from witness.pci.registers import Register
from witness.pci.topology import Bdf, Function
from witness.trace.events import MmioWrite

NVME_CLASS = 0x010802  # mass storage, non-volatile memory, NVM Express
VF_VENDOR = 0xFFFF  # of a virtual function

# QEMU's name of the registers and the doorbells (3.1.3), which are at the start of their BAR.
REGION = "nvme"
BAR_MASK = 0x1FFF
CC = 0x14
CC_EN = 0x1
AQA = 0x24
ASQ = 0x28
ACQ = 0x30
DOORBELL = 0x1000  # of the admin submission queue

IDENTIFY = 0x06
ASYNC_EVENT = 0x0C

COMMAND = struct.Struct("<BxH20xQ32x")
COMPLETION = struct.Struct("<12xHH")
PHASE = 1  # bit 0 of the status
SUCCESS = 0


class AdminCommand(NamedTuple):
    opcode: int
    id: int
    data: int  # its first PRP entry


@dataclass(frozen=True)
class Admin:
    """The admin queues of an enabled controller."""

    bdf: Bdf
    enabled: int  # trace line
    doorbells: tuple[MmioWrite, ...]
    sizes: tuple[int, ...]  # entries of the submission and of the completion queue
    submission: int
    completion: int

    @property
    def addresses(self) -> list[range]:
        sizes = (COMMAND.size * self.sizes[0], COMPLETION.size * self.sizes[1])
        return [range(start, start + size) for start, size in zip((self.submission, self.completion), sizes)]

    def commands(self, ram: Ram) -> list[AdminCommand]:
        """The commands that were submitted since the controller was enabled."""
        tails = [write.value for write in self.doorbells]
        if tails != sorted(tails):
            raise ValueError(f"{self.bdf}: its admin queue has wrapped, earlier commands are lost")
        starts = range(self.submission, self.submission + COMMAND.size * max(tails, default=0), COMMAND.size)
        return [AdminCommand(*COMMAND.unpack(ram.read(range(at, at + COMMAND.size)))) for at in starts]

    def completed(self, ram: Ram) -> dict[int, int]:
        """The status of each completed command, by command ID, of a queue that has not wrapped."""
        found = {}
        for at in range(self.completion, self.completion + COMPLETION.size * self.sizes[1], COMPLETION.size):
            id, status = COMPLETION.unpack(ram.read(range(at, at + COMPLETION.size)))
            if not status & PHASE:
                break
            found[id] = status >> 1
        return found

    def in_flight(self, ram: Ram) -> list[AdminCommand]:
        completed = self.completed(ram)
        return [command for command in self.commands(ram) if command.id not in completed]


def admin(case: Case, bdf: Bdf, lines: range) -> Admin | None:
    """The queues, if these lines enable the controller and it is enabled at their end. A write to CC while it is enabled does not
    enable it anew."""
    registers: dict[int, int] = {}
    enabled = 0
    doorbells: list[MmioWrite] = []
    for write in case.writes_to(bdf, lines, REGION):
        offset = write.address & BAR_MASK
        registers[offset] = write.value
        if offset == CC and not write.value & CC_EN:
            enabled = 0
        elif offset == CC and not enabled:
            enabled, doorbells = write.line, []
        elif offset == DOORBELL and enabled:
            doorbells.append(write)
    if not enabled:
        return None
    sizes = tuple((registers.get(AQA, 0) >> shift & 0xFFF) + 1 for shift in (0, 16))
    return Admin(bdf, enabled, tuple(doorbells), sizes, wide(registers, ASQ), wide(registers, ACQ))


class Nvme(DeviceModel):
    kind = "nvme"
    regions, mask = (REGION,), BAR_MASK

    def matches(self, function: Function) -> bool:
        return function.class_code == NVME_CLASS and function.vendor != VF_VENDOR

    def effect(self, write: MmioWrite) -> Effect:
        """Clearing CC.EN is a reset (3.7.2)."""
        if is_register(write, REGION, BAR_MASK, CC) and not write.value & CC_EN:
            return Effect.RESET
        return Effect.TRIGGER if is_register(write, REGION, BAR_MASK, DOORBELL) else Effect.OTHER

    def structures(self, case: Case, function: Function, lines: range) -> list[Extent]:
        found = admin(case, function.bdf, lines)
        return [Extent(f"admin queue of {function.bdf}", part) for part in found.addresses] if found else []

    def requests(self, case: Case, function: Function, lines: range, ram: Ram | None) -> list[Request]:
        """An Asynchronous Event Request waits for an event; then it writes nothing but its completion."""
        found = admin(case, function.bdf, lines)
        commands = found.in_flight(ram) if found and ram else []
        return [Request((), gated=True, taken=command.opcode == ASYNC_EVENT) for command in commands]

    def not_driven(self, drive: Drive) -> Iterator[str]:
        function = drive.function
        found = admin(drive.case, function.bdf, drive.lines)
        if found is None:
            yield "it was not enabled"
            return
        by_message = function.offsets.keys() & {Register.MSIX, Register.MSI}
        triggers = [found.enabled] if by_message else [write.line for write in found.doorbells]
        yield from drive.no_interrupt((Register.MSIX, Register.MSI), triggers)
        if drive.ram is None:
            return
        status = found.completed(drive.ram)
        identified = [c for c in found.commands(drive.ram) if c.opcode == IDENTIFY and status.get(c.id) == SUCCESS]
        if not identified:
            yield "no Identify was completed"
        elif drive.ram.u16(identified[-1].data) != function.vendor:
            yield f"Identify data at 0x{identified[-1].data:x} does not hold its vendor ID"
