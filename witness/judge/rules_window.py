# SPDX-License-Identifier: BSD-2-Clause
"""The window: from the last bus-master clear until one is set again. No device has an owner."""

from __future__ import annotations

from witness import devices
from witness.evidence.case import Case
from witness.evidence.interrupts import own_messages
from witness.judge import hazards
from witness.judge.engine import (
    Finding, Missing, device_write, entered_at, need_functions, need_trace, need_writes, span, started,
)  # fmt: skip
from witness.trace.events import GsiLevel, Msi, PicInterrupt
from witness.trace.phases import Hop


def no_msi(case: Case, hop: Hop) -> Finding | None:
    """For functions that had MSI or MSI-X on. In the out phase some may still send: the sender of each message must be known."""
    strays, senders = hazards.stray_msis(case, hop), case.history.signalling(hop.out.start)
    if senders and not strays:
        need_trace(case, Msi, "message", range(hop.out.start))
        for bdf, register in senders:
            if not own_messages(case, case.topology.functions[bdf], range(case.begin(hop), hop.out.start)):
                raise Missing(f"the trace does not show the messages of {bdf}, whose {register.value} is on")
    elif not strays:
        need_functions(case)
        for bdf, register in case.history.signalling(entered_at(case, hop) + 1):
            raise Missing(f"{register.value} of {bdf} is on at the jump, but the trace does not show that it was enabled")
    return (list(map(str, strays)), span("no message", hop.window)) if senders or strays else None


def no_intx_without_owner(case: Case, hop: Hop) -> Finding:
    unhandled = hazards.unhandled_intx(case, hop)
    if not unhandled:
        _need_pci_lines(case, range(hop.out.stop))
    return list(map(str, unhandled)), span("no edge", hop.window)


def _need_pci_lines(case: Case, lines: range) -> None:
    """A PCI line and the ISA IRQ that it is routed to change together: where only the IRQ shows, the trace lacks the line."""
    need_trace(case, GsiLevel, "interrupt line", lines)
    inputs = {event.gsi for event in case.within(GsiLevel, lines)}
    irqs = inputs | {event.irq for event in case.within(PicInterrupt, lines)}
    routed = [f for f in case.topology.functions.values() if f.interrupt_line in irqs]
    if routed and not any(hazards.is_pci_line(case, gsi) for gsi in inputs):
        raise Missing(f"the trace shows IRQ {routed[0].interrupt_line}, but not the PCI line that is routed to it")


def devices_are_only_reset(case: Case, hop: Hop) -> Finding:
    """A reset is the next kernel's: after the jump, if that is known, and after the last write of startup."""
    ready = started(case, hop)
    writes = case.device_writes(hop.window)
    problems = [device_write(write) for write in writes if write.line < ready or not devices.resets(write)]
    if not problems:
        need_writes(case, range(hop.window.start))
    return problems, span(f"{len(writes)} resets, no other write to a BAR", hop.window)
