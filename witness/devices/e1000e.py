# SPDX-License-Identifier: BSD-2-Clause
"""Intel's 82574 by its rings (its datasheet, 7.1 and 7.2), without the guest's help.

Their addresses come from the trace, their content from guest RAM. QEMU writes nothing into them while bus master is off.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Iterator, NamedTuple

from witness.devices.model import Drive, Effect, Extent, Landing, NetworkModel, Request, is_register, since_last_but_one, wide
from witness.evidence.case import Case
from witness.evidence.interrupts import interrupted
from witness.machine.record import Ram
from witness.pci.registers import Register
from witness.pci.topology import Bdf, Function
from witness.trace.events import MmioWrite

E1000E = 0x10D38086

# QEMU's name of the registers (chapter 10), which fill their BAR.
REGION = "e1000e-mmio"
BAR_MASK = 0x1FFFF
CTRL = 0x0000
CTRL_GIO_MASTER_DISABLE = 0x4
CTRL_RST = 0x04000000
ICR = 0x00C0
IMC = 0x00D8
RCTL, TCTL = 0x0100, 0x0400
ENABLE = 0x2  # in both
RX, TX = 0x2800, 0x3800  # the registers of a ring: address, upper address, length, head, tail
LENGTH = 0x08
TAIL = 0x18

BUFFER_SIZE = 2048  # RCTL's default

# The legacy formats: address, length, status.
DESCRIPTOR = struct.Struct("<QHxxBxxx")
DONE = 0x1


class LegacyDescriptor(NamedTuple):
    address: int
    length: int
    status: int


@dataclass(frozen=True)
class Ring:
    """An enabled ring."""

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

    def descriptors(self, ram: Ram) -> list[LegacyDescriptor]:
        return [LegacyDescriptor(*fields) for fields in DESCRIPTOR.iter_unpack(ram.read(self.addresses))]

    def waiting(self, ram: Ram) -> list[range]:
        """The buffers for received frames: all but the one at the tail, which is the driver's."""
        posted = (d for i, d in enumerate(self.descriptors(ram)) if i != self.tail and not d.status & DONE)
        return [range(d.address, d.address + BUFFER_SIZE) for d in posted]

    def received(self, ram: Ram) -> list[bytes]:
        """The frames in the buffers that were written; a buffer that was posted again holds the last."""
        return [ram.read(range(d.address, d.address + d.length)) for d in self.descriptors(ram) if d.length]

    def sent(self, ram: Ram) -> int:
        """The number of frames that were written back as sent."""
        if self.wrapped:
            raise ValueError(f"{self.bdf}: its transmit ring has wrapped, the number of frames sent is lost")
        return sum(bool(d.status & DONE) for d in self.descriptors(ram))


def rings(case: Case, bdf: Bdf, lines: range) -> dict[int, Ring]:
    """The rings that these lines enable and that are enabled at their end, by kind."""
    registers: dict[int, int] = {}
    enabled: dict[int, int] = {}
    wrapped: set[int] = set()
    for write in case.writes_to(bdf, lines, REGION):
        offset = write.address & BAR_MASK
        before = registers.get(offset, 0)
        registers[offset] = write.value
        for control, kind in ((RCTL, RX), (TCTL, TX)):
            if _resets(write) or offset == control and not write.value & ENABLE:
                enabled.pop(kind, None)
            elif offset == control and kind not in enabled:
                enabled[kind] = write.line
                wrapped.discard(kind)
            elif offset == kind + TAIL and write.value < before and kind in enabled:
                wrapped.add(kind)
    return {
        kind: Ring(
            bdf, kind, line, wide(registers, kind), registers.get(kind + LENGTH, 0), registers.get(kind + TAIL, 0), kind in wrapped
        )
        for kind, line in enabled.items()
    }


def _resets(write: MmioWrite) -> bool:
    """The reset itself (10.2.2.1)."""
    return is_register(write, REGION, BAR_MASK, CTRL) and bool(write.value & CTRL_RST)


class E1000e(NetworkModel):
    kind = "e1000e"
    regions, mask = (REGION,), BAR_MASK

    def matches(self, function: Function) -> bool:
        return function.u32(0) == E1000E

    def effect(self, write: MmioWrite) -> Effect:
        """Before or after the reset itself a driver masks interrupts and stops rings and requests. A handler writes back the
        causes that it has seen, and offers buffers again."""
        if write.region != REGION:
            return Effect.OTHER
        offset, value = write.address & BAR_MASK, write.value
        if _resets(write):
            return Effect.RESET
        stops = offset in (RCTL, TCTL) and not value & ENABLE or offset == CTRL and value & CTRL_GIO_MASTER_DISABLE
        if offset == IMC or stops:
            return Effect.DISABLE
        return {ICR: Effect.OFFER, RX + TAIL: Effect.OFFER, TX + TAIL: Effect.TRIGGER}.get(offset, Effect.OTHER)

    def structures(self, case: Case, function: Function, lines: range) -> list[Extent]:
        return [Extent(f"ring of {ring.bdf}", ring.addresses) for ring in rings(case, function.bdf, lines).values()]

    def requests(self, case: Case, function: Function, lines: range, ram: Ram | None) -> list[Request]:
        """The buffers for received frames."""
        ring = rings(case, function.bdf, lines).get(RX)
        return [Request((Landing(buffer, None),), gated=True) for buffer in ring.waiting(ram)] if ring and ram else []

    def unfinished(self, case: Case, function: Function, lines: range, before: Ram, after: Ram) -> int:
        """The one frame that came since: free buffers always wait for frames."""
        ring = rings(case, function.bdf, lines).get(RX)
        return int(ring is not None and ring.received(before) == ring.received(after))

    def allowed_while_leaving(self, case: Case, function: Function, write: MmioWrite) -> bool:
        return self.effect(write) is Effect.OFFER and interrupted(case, function, since_last_but_one(case, function.bdf, write))

    def not_driven(self, drive: Drive) -> Iterator[str]:
        """Received frames are judged by the rule about frames."""
        found = rings(drive.case, drive.function.bdf, drive.lines)
        if not {RX, TX} <= found.keys():
            yield "its rings were not enabled"
            return
        yield from drive.no_interrupt((Register.MSIX, Register.MSI), [max(ring.enabled for ring in found.values())])
        if drive.ram and not found[TX].sent(drive.ram):
            yield "no frame was written back as sent"

    def frames(self, case: Case, bdf: Bdf, lines: range, ram: Ram) -> tuple[int, set[bytes]] | None:
        found = rings(case, bdf, lines)
        return (found[TX].sent(ram), set(found[RX].received(ram))) if {RX, TX} <= found.keys() else None
