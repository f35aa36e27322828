# SPDX-License-Identifier: BSD-2-Clause
"""NVMe admin queues (NVM Express Base Specification 2.0, 3.3), read from outside.

Where a driver put them comes from the trace, what is in them from guest RAM.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Iterable, Iterator, NamedTuple

from witness.machine.record import Ram
from witness.pci.topology import Bdf
from witness.trace.events import Event, MmioWrite
from witness.trace.state import Bars

# QEMU's name of the registers and the doorbells (3.1.3), which begin with their BAR.
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


class Command(NamedTuple):
    opcode: int
    id: int
    data: int  # its first PRP entry


@dataclass(frozen=True)
class Admin:
    """The admin queues of a controller that is enabled."""

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

    def commands(self, ram: Ram) -> list[Command]:
        """Those that were submitted since it was enabled."""
        tails = [write.value for write in self.doorbells]
        if tails != sorted(tails):
            raise ValueError(f"{self.bdf}: its admin queue has wrapped, and no longer holds every command")
        starts = range(self.submission, self.submission + COMMAND.size * max(tails, default=0), COMMAND.size)
        return [Command(*COMMAND.unpack(ram.read(range(at, at + COMMAND.size)))) for at in starts]

    def completed(self, ram: Ram) -> dict[int, int]:
        """The status of each completed command, by its number. Of a queue that has not wrapped."""
        found = {}
        for at in range(self.completion, self.completion + COMPLETION.size * self.sizes[1], COMPLETION.size):
            id, status = COMPLETION.unpack(ram.read(range(at, at + COMPLETION.size)))
            if not status & PHASE:
                break
            found[id] = status >> 1
        return found

    def in_flight(self, ram: Ram) -> list[Command]:
        completed = self.completed(ram)
        return [command for command in self.commands(ram) if command.id not in completed]


def register_writes(events: Iterable[Event], bars: Bars) -> Iterator[tuple[Bdf, int, MmioWrite]]:
    """Function, offset, write."""
    for event in events:
        if isinstance(event, MmioWrite) and event.region == REGION:
            owner = bars.owner(event.address, event.line)
            if owner:
                yield owner, event.address & BAR_MASK, event


def disables(write: MmioWrite) -> bool:
    """A reset (3.7.2)."""
    return write.region == REGION and write.address & BAR_MASK == CC and not write.value & CC_EN


def submits(write: MmioWrite) -> bool:
    return write.region == REGION and write.address & BAR_MASK == DOORBELL


def admins(events: Iterable[Event], bars: Bars) -> list[Admin]:
    """The controllers that are enabled at the end of these events, if they were so in them."""
    registers: dict[tuple[Bdf, int], int] = {}
    enabled: dict[Bdf, int] = {}
    doorbells: dict[Bdf, list[MmioWrite]] = {}
    for bdf, offset, write in register_writes(events, bars):
        registers[bdf, offset] = write.value
        if disables(write):
            enabled.pop(bdf, None)
        elif offset == CC and bdf not in enabled:
            enabled[bdf], doorbells[bdf] = write.line, []
        elif submits(write) and bdf in enabled:
            doorbells[bdf].append(write)
    return [
        Admin(
            bdf,
            line,
            tuple(doorbells[bdf]),
            tuple((registers.get((bdf, AQA), 0) >> shift & 0xFFF) + 1 for shift in (0, 16)),
            *(registers.get((bdf, at), 0) | registers.get((bdf, at + 4), 0) << 32 for at in (ASQ, ACQ)),
        )
        for bdf, line in enabled.items()
    ]
