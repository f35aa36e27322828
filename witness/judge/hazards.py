# SPDX-License-Identifier: BSD-2-Clause
"""Hazards of a handoff: interrupts that come while no kernel owns the device that sends them.

They are counted in the same way for every policy, so that policies can be compared.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from witness import devices
from witness.evidence.case import Case
from witness.evidence.interrupts import own_messages
from witness.evidence.policies import KEEPING_MASTER
from witness.pci.registers import PCI_COMMAND_INTX_DISABLE, Register
from witness.pci.topology import Bdf
from witness.trace.events import ConfigWrite, GsiLevel, MmioWrite, Msi, PicInterrupt
from witness.trace.phases import Hop

# Below are the ISA IRQs. On q35 each PCI line (16 and above) also drives the IRQ that it is routed to; on pc there is
# only the IRQ.
PCI_GSI = 16

# The mask registers of the two 8259s, and the number of unhandled interrupts that disables a line (irq/spurious.h).
PIC_REGION, PIC_MASTER, PIC_SLAVE = "pic", 0x21, 0xA1
SPURIOUS_UNHANDLED = 99900


@dataclass(frozen=True)
class StrayMsi:
    line: int
    address: int
    data: int

    def __str__(self) -> str:
        return f"MSI 0x{self.data:x} to 0x{self.address:x} (trace {self.line})"


@dataclass(frozen=True)
class UnhandledIntx:
    """A PCI line that rose while no kernel had taken over a function that could have raised it."""

    line: int
    gsi: int
    suspects: tuple[str, ...]  # endpoints wired to the line with INTx enabled and MSI off
    fell: int | None  # trace line; None = never
    lowered_by: str
    delivered: int  # interrupts that the 8259 delivered while it was up

    def __str__(self) -> str:
        source = " or ".join(self.suspects) or "no known function"
        end = f"lowered by {self.lowered_by} ({self.fell})" if self.fell else "never lowered"
        return f"GSI {self.gsi} raised by {source} (trace {self.line}), {self.delivered} interrupts, {end}"


def stray_msis(case: Case, hop: Hop) -> list[StrayMsi]:
    """Messages of a function whose bus master is off: every one in the window, and in the out phase those whose sender's bus
    master was cleared already. The sender is known from the messages that the outgoing kernel programmed."""
    driven = range(case.begin(hop), hop.out.start)
    senders_off: dict[tuple[int, int], int] = {}
    for change in reversed(case.changes(hop.out)):
        if change.master_cleared and change.bdf in case.topology.functions:
            function = case.topology.functions[change.bdf]
            senders_off |= {message: change.line for message in own_messages(case, function, driven)}
    late = [e for e in case.within(Msi, hop.out) if senders_off.get((e.address, e.data), e.line) < e.line]
    return [StrayMsi(e.line, e.address, e.data) for e in [*late, *case.within(Msi, hop.window)]]


def unhandled_intx(case: Case, hop: Hop) -> list[UnhandledIntx]:
    """Lines that rose after the first clear, or were left up, while no function that could have raised them had its next
    owner.

    A function has its next owner once its own bus master is set, or, if that stayed on, once it is written to: a kernel that
    already drives its disk has no driver yet for other devices. Its previous owner may handle it until its own clear, and where
    bus master stays on, until the jump.
    """
    found = []
    cleared = {c.bdf: c.line for c in case.changes(hop.out) if c.master_cleared}
    owned_until = hop.window.start if case.shutdown in KEEPING_MASTER else hop.out.start
    owned = {c.bdf: c.line for c in reversed(case.changes(hop.inward)) if c.master_set}
    for write in case.device_writes(hop.inward) if case.shutdown in KEEPING_MASTER else ():
        owner = case.bars.owner(write.address, write.line)
        if owner in case.history.masters(hop.inward.start):
            owned.setdefault(owner, write.line)
    for rise, fall in _raised(case):
        wired = [bdf for bdf in case.topology.functions if case.topology.may_drive(bdf, rise.gsi)]
        suspects = [bdf for bdf in wired if _may_signal(case, bdf, rise.line)]
        handled = any(owned.get(bdf, rise.line) < rise.line for bdf in suspects)
        lowered = fall is not None and fall.line < hop.window.start
        handled = handled or lowered and any(rise.line < cleared.get(bdf, owned_until) for bdf in suspects)
        left_up = rise.line < hop.out.start and not lowered
        if handled or not (left_up or hop.out.start <= rise.line < hop.inward.stop):
            continue
        found.append(
            UnhandledIntx(
                line=rise.line,
                gsi=rise.gsi,
                suspects=tuple(map(case.name, suspects)),
                fell=fall.line if fall else None,
                lowered_by=_cause(case, fall) if fall else "",
                delivered=_delivered(case, rise, fall.line if fall else case.end + 1),
            )
        )
    return found


@dataclass(frozen=True)
class DisabledLine:
    """A line of the 8259 that a kernel masked because its interrupts were not handled: Linux's "nobody cared"."""

    line: int
    irq: int
    delivered: int

    def __str__(self) -> str:
        return f"irq {self.irq} masked after {self.delivered} interrupts (trace {self.line})"


def disabled_lines(case: Case, lines: range) -> list[DisabledLine]:
    """Lines that were masked during a storm: after more than SPURIOUS_UNHANDLED interrupts, and with the line still up."""
    found = []
    delivered: Counter[int] = Counter()
    level: dict[int, int] = {}
    masks = {PIC_MASTER: 0xFF, PIC_SLAVE: 0xFF}
    for event in case.within(object, lines):
        if isinstance(event, PicInterrupt):
            delivered[event.irq] += 1
        elif isinstance(event, GsiLevel):
            level[event.gsi] = event.level
        elif isinstance(event, MmioWrite) and event.region == PIC_REGION and event.address in masks:
            first = 8 if event.address == PIC_SLAVE else 0
            masked = event.value & ~masks[event.address]
            masks[event.address] = event.value
            for irq in (first + bit for bit in range(8) if masked >> bit & 1):
                if delivered[irq] > SPURIOUS_UNHANDLED and level.get(irq):
                    found.append(DisabledLine(event.line, irq, delivered[irq]))
                delivered[irq] = 0
    return found


def is_pci_line(case: Case, gsi: int) -> bool:
    return gsi >= PCI_GSI or gsi in case.topology.lines


def _raised(case: Case) -> list[tuple[GsiLevel, GsiLevel | None]]:
    """Each time a PCI line was up: rise and fall. A second function that asserts a shared line repeats its level."""
    found: list[tuple[GsiLevel, GsiLevel | None]] = []
    up: dict[int, GsiLevel] = {}
    for event in case.within(GsiLevel, range(case.end + 1)):
        if not is_pci_line(case, event.gsi):
            continue
        if event.level:
            up.setdefault(event.gsi, event)
        elif event.gsi in up:
            found.append((up.pop(event.gsi), event))
    found += [(rise, None) for rise in up.values()]
    return sorted(found, key=lambda pair: pair[0].line)


def _may_signal(case: Case, bdf: Bdf, line: int) -> bool:
    if case.topology.functions[bdf].buses:
        return False  # a bridge's own interrupts, hot-plug and errors, are enabled only while it is driven, as messages
    model = devices.model_of(case.topology.functions[bdf])
    if model and not model.may_interrupt(case, case.topology.functions[bdf], line):
        return False
    disabled = case.history.value(bdf, Register.COMMAND, line) & PCI_COMMAND_INTX_DISABLE
    return not disabled and bdf not in [sender for sender, _ in case.history.signalling(line)]


def _delivered(case: Case, rise: GsiLevel, until: int) -> int:
    """Counted on the ISA IRQ that the line is or is routed to; that one's level is the next line of the trace."""
    irqs = {e.gsi for e in case.within(GsiLevel, range(rise.line, rise.line + 2)) if e.gsi < PCI_GSI}
    return sum(e.irq in irqs for e in case.within(PicInterrupt, range(rise.line, until)))


def _cause(case: Case, fall: GsiLevel) -> str:
    """The last access of a CPU before the line fell."""
    for event in reversed(list(case.within(object, range(max(0, fall.line - 8), fall.line)))):
        if isinstance(event, ConfigWrite):
            return f"a write to config 0x{event.offset:02x} of {case.name(event.bdf)}"
        if isinstance(event, MmioWrite) and (owner := case.bars.owner(event.address, event.line)):
            return f"a write to {case.name(owner)}"
    return "a read"
