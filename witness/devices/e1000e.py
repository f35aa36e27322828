# SPDX-License-Identifier: BSD-2-Clause
"""The rings of Intel's 82574 (its datasheet, 7.1 and 7.2), read from outside.

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

# QEMU's name of the registers (chapter 10), which are their whole BAR.
REGION = "e1000e-mmio"
BAR_MASK = 0x1FFFF
CTRL = 0x0000
CTRL_GIO_MASTER_DISABLE = 0x4
CTRL_RST = 0x04000000
ICR = 0x00C0
IMC = 0x00D8
RCTL, TCTL = 0x0100, 0x0400
ENABLE = 0x2  # in both
RX, TX = 0x2800, 0x3800  # where the registers of a ring begin: address, upper address, length, head, tail
LENGTH = 0x08
TAIL = 0x18

BUFFER_SIZE = 2048  # as RCTL says where it says nothing else

# The legacy formats: address, length, status.
DESCRIPTOR = struct.Struct("<QHxxBxxx")
DONE = 0x1


class Descriptor(NamedTuple):
    address: int
    length: int
    status: int


@dataclass(frozen=True)
class Ring:
    """A ring that is enabled."""

    bdf: Bdf
    kind: int  # RX or TX
    enabled: int  # trace line
    start: int
    size: int  # bytes
    tail: int
    wrapped: bool

    @property
    def addresses(self) -> range:
        return range(self.start, self.start + self.size)

    def descriptors(self, ram: Ram) -> list[Descriptor]:
        return [Descriptor(*fields) for fields in DESCRIPTOR.iter_unpack(ram.read(self.addresses))]

    def waiting(self, ram: Ram) -> list[range]:
        """The buffers that frames may come into: all but the one at the tail, which is the driver's."""
        posted = (d for i, d in enumerate(self.descriptors(ram)) if i != self.tail and not d.status & DONE)
        return [range(d.address, d.address + BUFFER_SIZE) for d in posted]

    def received(self, ram: Ram) -> list[bytes]:
        """The frames in the buffers that were written to; one that was posted again holds the last."""
        return [ram.read(range(d.address, d.address + d.length)) for d in self.descriptors(ram) if d.length]

    def sent(self, ram: Ram) -> int:
        """How many frames were written back as sent."""
        if self.wrapped:
            raise ValueError(f"{self.bdf}: its transmit ring has wrapped, and no longer tells how many frames were sent")
        return sum(bool(d.status & DONE) for d in self.descriptors(ram))


def register_writes(events: Iterable[Event], bars: Bars) -> Iterator[tuple[Bdf, int, MmioWrite]]:
    """Function, offset, write."""
    for event in events:
        if isinstance(event, MmioWrite) and event.region == REGION:
            owner = bars.owner(event.address, event.line)
            if owner:
                yield owner, event.address & BAR_MASK, event


def resets(write: MmioWrite) -> bool:
    """The reset proper (10.2.2.1)."""
    return write.region == REGION and write.address & BAR_MASK == CTRL and bool(write.value & CTRL_RST)


def quiets(write: MmioWrite) -> bool:
    """What comes before the reset proper, or behind it: interrupts are masked, rings and requests stopped."""
    if write.region != REGION or resets(write):
        return False
    offset, value = write.address & BAR_MASK, write.value
    stops = offset in (RCTL, TCTL) and not value & ENABLE or offset == CTRL and value & CTRL_GIO_MASTER_DISABLE
    return offset == IMC or bool(stops)


def offers(write: MmioWrite) -> bool:
    """What a handler writes: the causes that it has seen, and the buffers that frames may come into again."""
    return write.region == REGION and write.address & BAR_MASK in (ICR, RX + TAIL)


def submits(write: MmioWrite) -> bool:
    return write.region == REGION and write.address & BAR_MASK == TX + TAIL


def rings(events: Iterable[Event], bars: Bars) -> list[Ring]:
    """Those that are enabled at the end of these events, if they were so in them."""
    registers: dict[tuple[Bdf, int], int] = {}
    enabled: dict[tuple[Bdf, int], int] = {}
    wrapped: set[tuple[Bdf, int]] = set()
    for bdf, offset, write in register_writes(events, bars):
        before = registers.get((bdf, offset), 0)
        registers[bdf, offset] = write.value
        for control, kind in ((RCTL, RX), (TCTL, TX)):
            if resets(write) or offset == control and not write.value & ENABLE:
                enabled.pop((bdf, kind), None)
            elif offset == control and (bdf, kind) not in enabled:
                enabled[bdf, kind] = write.line
                wrapped.discard((bdf, kind))
            elif offset == kind + TAIL and write.value < before and (bdf, kind) in enabled:
                wrapped.add((bdf, kind))
    return [
        Ring(
            bdf,
            kind,
            line,
            registers.get((bdf, kind), 0) | registers.get((bdf, kind + 4), 0) << 32,
            registers.get((bdf, kind + LENGTH), 0),
            registers.get((bdf, kind + TAIL), 0),
            (bdf, kind) in wrapped,
        )
        for (bdf, kind), line in enabled.items()
    ]
