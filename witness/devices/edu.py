# SPDX-License-Identifier: BSD-2-Clause
"""QEMU's edu (its docs/specs/edu.txt): interrupts at a write, DMA that takes 100 ms of the machine's time. It has no reset.

QEMU tests bus master when the transfer ends: with it off, nothing lands.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Callable, Iterator

from witness.devices.model import (
    COMPARED, VARIES, DeviceModel, Drive, Effect, Extent, Landing, Load, RegisterNames, Request, Reset, is_register,
)  # fmt: skip
from witness.evidence.case import Case
from witness.evidence.interrupts import msi_message
from witness.machine.record import Ram
from witness.pci.registers import ENABLE, Register
from witness.pci.topology import Bdf, Function
from witness.trace.events import MmioWrite, Msi

EDU = 0x11E81234

REGION = "edu-mmio"
BAR_MASK = 0xFFFFF
IRQ_RAISE = 0x60
IRQ_ACK = 0x64
DMA_SOURCE = 0x80
DMA_TARGET = 0x88
DMA_COUNT = 0x90
DMA_COMMAND = 0x98
DMA_RUN = 0x1
DMA_TO_RAM = 0x2
DMA_IRQ = 0x4

# The driver's pattern in the target of a transfer.
ARMED = 0xA5


@dataclass(frozen=True)
class Dma:
    bdf: Bdf
    line: int
    to_ram: bool
    interrupts: bool
    source: range
    target: range


def dmas(case: Case, bdf: Bdf, lines: range) -> list[Dma]:
    """The transfers that were started in these lines."""
    registers: dict[int, int] = {}
    found = []
    for write in case.writes_to(bdf, lines, REGION):
        offset = write.address & BAR_MASK
        registers[offset] = write.value
        if offset == DMA_COMMAND and write.value & DMA_RUN:
            size = registers.get(DMA_COUNT, 0)
            source, target = (range(start, start + size) for start in (registers.get(r, 0) for r in (DMA_SOURCE, DMA_TARGET)))
            to_ram, interrupts = bool(write.value & DMA_TO_RAM), bool(write.value & DMA_IRQ)
            found.append(Dma(bdf, write.line, to_ram, interrupts, source, target))
    return found


def all_dmas(case: Case, lines: range) -> list[Dma]:
    """Those of every edu, in order."""
    edus = (bdf for bdf, function in case.topology.functions.items() if function.u32(0) == EDU)
    return sorted((dma for bdf in edus for dma in dmas(case, bdf, lines)), key=lambda dma: dma.line)


def in_flight(case: Case, function: Function, lines: range) -> list[Dma]:
    """The last transfer, if it has not sent its message. One without a message is not counted: nothing shows whether it has
    ended."""
    last = dmas(case, function.bdf, lines)[-1:]
    message = function.msi_message if Register.MSI in function.offsets else None
    return [
        dma for dma in last
        if dma.interrupts and message
        and message not in [(m.address, m.data) for m in case.within(Msi, range(dma.line, lines.stop))]
    ]  # fmt: skip


class Edu(DeviceModel):
    kind = "edu"
    reset = Reset.ACKNOWLEDGE
    load = Load.ANY
    regions, mask = (REGION,), BAR_MASK
    registers: RegisterNames = {
        IRQ_RAISE: ("interrupt raise", {0x001: "driver"}),
        IRQ_ACK: ("interrupt acknowledge", {0x001: "driver", 0x100: "DMA"}),
        DMA_SOURCE: ("DMA source", VARIES), DMA_TARGET: ("DMA destination", VARIES),
        DMA_COUNT: ("DMA count", COMPARED), DMA_COMMAND: ("DMA command", {0x5: "to edu", 0x7: "to RAM"}),
    }  # fmt: skip

    def matches(self, function: Function) -> bool:
        return function.u32(0) == EDU

    def effect(self, write: MmioWrite) -> Effect:
        if is_register(write, REGION, BAR_MASK, IRQ_RAISE):
            return Effect.TRIGGER
        return Effect.ACKNOWLEDGE if is_register(write, REGION, BAR_MASK, IRQ_ACK) else Effect.OTHER

    def busy(self, register: Callable[[int, int], int]) -> bool:
        return bool(register(0, DMA_COMMAND) & DMA_RUN)

    def structures(self, case: Case, function: Function, lines: range) -> list[Extent]:
        return [Extent(f"DMA target of {dma.bdf}", dma.target) for dma in dmas(case, function.bdf, lines) if dma.to_ram]

    def requests(self, case: Case, function: Function, lines: range, ram: Ram | None) -> list[Request]:
        def writes(dma: Dma) -> tuple[Landing, ...]:
            return (Landing(dma.target, None),) if dma.to_ram else ()

        return [Request(writes(dma), gated=True, line=dma.line) for dma in in_flight(case, function, lines)]

    def unfinished(self, case: Case, function: Function, lines: range, before: Ram, after: Ram) -> int:
        last = [dma.target for dma in dmas(case, function.bdf, lines) if dma.to_ram][-1:]
        return sum(set(after.read(target)) == {ARMED} for target in last)

    def allowed_while_leaving(self, case: Case, function: Function, write: MmioWrite) -> bool:
        """An acknowledgement, if a message of its own came since its transfer began."""
        if self.effect(write) is not Effect.ACKNOWLEDGE:
            return False
        started = dmas(case, function.bdf, range(write.line))
        since = range(started[-1].line if started else write.line, write.line)
        return any((m.address, m.data) == function.msi_message for m in case.within(Msi, since))

    def not_driven(self, drive: Drive) -> Iterator[str]:
        case, function, lines, bdf = drive.case, drive.function, drive.lines, drive.function.bdf
        message, since = msi_message(case, function, lines)
        raised = [write.line for write in drive.writes(REGION) if self.effect(write) is Effect.TRIGGER]
        by_line = [line for line in raised if not case.history.value(bdf, Register.MSI, line) & ENABLE[Register.MSI]]
        if function.interrupt_line is not None and not drive.line_handled(by_line):
            yield "no INTx raised, handled and lowered"
        if message is None:
            yield "no MSI message was programmed"
            return
        started = dmas(case, bdf, lines)
        triggers = sorted([line for line in raised if line >= since] + [dma.line for dma in started])
        answered = {
            line for line, until in pairwise([*triggers, lines.stop]) if drive.sent(Register.MSI, {message}, range(line, until))
        }
        if not answered.intersection(raised):
            yield "no MSI of its own after a write that raises one"
        yield from self._out_and_back([dma for dma in started if dma.line in answered], drive.ram if drive.last else None)

    def _out_and_back(self, ended: list[Dma], ram: Ram | None) -> Iterator[str]:
        out = [dma for dma in ended if not dma.to_ram]
        back = [dma for dma in ended if dma.to_ram and out and dma.line > out[0].line]
        if not out or not back:
            yield f"no DMA {'back' if out else 'out'} that reported its end"
        elif ram:
            sent, received = ram.read(out[-1].source), ram.read(back[-1].target)
            if sent != received or len(set(sent)) < 2:
                yield f"the data of the DMA back to 0x{back[-1].target.start:x} differs from what went out"
