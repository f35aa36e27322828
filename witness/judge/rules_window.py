# SPDX-License-Identifier: BSD-2-Clause
"""From the last bus-master clear to the first that is set again: nobody owns a device."""

from __future__ import annotations

from witness import devices
from witness.evidence.case import Case
from witness.judge import hazards
from witness.judge.engine import Finding, need_trace, span, started, told
from witness.trace.events import GsiLevel, MmioWrite, Msi
from witness.trace.phases import Hop


def no_msi(case: Case, hop: Hop) -> Finding | None:
    """Where a function has had messages on, the trace must have shown some: that there are none now is no silence of the trace."""
    if not any(change.msi_enabled for change in case.changes(range(hop.out.start))) and not case.history.signalling(hop.out.start):
        return None
    need_trace(case, Msi, "message", range(hop.out.start))
    return [str(msi) for msi in hazards.stray_msis(case, hop)], span("no message", hop.window)


def no_intx_without_owner(case: Case, hop: Hop) -> Finding:
    need_trace(case, GsiLevel, "interrupt line", range(hop.out.stop))
    return [str(line) for line in hazards.unhandled_intx(case, hop)], span("no edge", hop.window)


def devices_are_only_reset(case: Case, hop: Hop) -> Finding:
    """A reset is the next kernel's: after the jump, where that is known, and after the last write of startup."""
    need_trace(case, MmioWrite, "write to a device", range(hop.window.start))
    ready = started(case, hop)
    writes = case.device_writes(hop.window)
    problems = [told(write) for write in writes if write.line < ready or not devices.resets(write)]
    return problems, span(f"{len(writes)} resets, no other write to a BAR", hop.window)
