# SPDX-License-Identifier: BSD-2-Clause
"""A rule, and the verdict from its finding. The rules themselves are in rules_*.py, their table in rules.py."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import Callable

from witness import devices
from witness.devices import DeviceModel, Reset
from witness.evidence.case import Case
from witness.evidence.policies import KEEPING_MASTER
from witness.machine.record import Entry
from witness.pci.topology import Function
from witness.trace.events import MmioWrite
from witness.trace.phases import Hop


class Result(Enum):
    PASS = "pass"
    FAIL = "fail"
    UNJUDGED = "cannot be judged"  # the evidence is absent from the run, so the claim is not shown: no pass


@dataclass(frozen=True)
class Verdict:
    id: str
    claim: str
    result: Result
    evidence: str


class Missing(Exception):
    """Evidence that a rule needs is not in the run; the text names it."""


# Unreadable evidence is treated as missing.
UNREADABLE = (Missing, ValueError, LookupError, OSError, struct.error, AssertionError)

Finding = tuple[list[str], str]  # contradictions; what was examined


@dataclass(frozen=True)
class Rule:
    """A rule gets the evidence and returns what contradicts the claim (nothing, if it holds) and one line about what was
    examined. None: the claim does not apply to this run."""

    id: str
    claim: str
    find: Callable[[Case], Finding | None]

    def verdict(self, case: Case) -> Verdict | None:
        try:
            finding = self.find(case)
        except UNREADABLE as error:
            text = str(error) if isinstance(error, (Missing, ValueError)) else f"{type(error).__name__}: {error}"
            return Verdict(self.id, self.claim, Result.UNJUDGED, text)
        if finding is None:
            return None
        problems, examined = finding
        if not problems:
            return Verdict(self.id, self.claim, Result.PASS, examined)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return Verdict(self.id, self.claim, Result.FAIL, problems[0] + more)


@dataclass(frozen=True)
class HopRule:
    """A rule for each handoff of the chain, from the trace of that handoff alone. Under policy `none` it applies only if it needs
    no clear."""

    id: str
    claim: str
    find: Callable[[Case, Hop], Finding | None]
    none: bool = False

    def verdict(self, case: Case) -> Verdict | None:
        return Rule(self.id, self.claim, self._all).verdict(case)

    def _all(self, case: Case) -> Finding | None:
        if case.shutdown == "none" and not self.none or not case.chain:
            return None
        if not case.handed_over:
            raise Missing(NO_HOP)
        if len(case.handed_over) == 1:
            return self.find(case, case.handed_over[0])
        findings: dict[int, Finding] = {}
        unjudged = []
        for hop in case.handed_over:
            try:
                if finding := self.find(case, hop):
                    findings[hop.number] = finding
            except UNREADABLE as error:
                unjudged.append(error)
        problems = [f"hop {number}: {problem}" for number, (found, _) in findings.items() for problem in found]
        if unjudged and not problems:
            raise unjudged[0]
        return (problems, f"{len(findings)} hops; the last: {[*findings.values()][-1][1]}") if findings else None


@dataclass(frozen=True)
class JumpRule:
    """A rule for the chain's first handoff, if it has one, and the machine at its jump."""

    id: str
    claim: str
    find: Callable[[Case, Hop, Entry], Finding | None]

    def verdict(self, case: Case) -> Verdict | None:
        return Rule(self.id, self.claim, lambda case: self.find(case, *jump(case)) if case.chain else None).verdict(case)


# --- what rules share ---

NO_HOP = "no bus master was cleared after MSI was on"


def jump(case: Case) -> tuple[Hop, Entry]:
    """The first handoff, and the machine at its jump."""
    if not case.handed_over:
        raise Missing(NO_HOP)
    if case.next is None:
        raise Missing("the next image was not entered at its preferred address")
    return case.handed_over[0], case.next


def entered_at(case: Case, hop: Hop) -> int:
    """Where the next image was entered; where that is unknown, where the window begins."""
    return next((line for line in case.entry_lines.values() if line in hop.window), hop.window.start)


def started(case: Case, hop: Hop) -> int:
    """Where the next image's startup is over; at least, where the image was entered."""
    return max([entered_at(case, hop), *(c.line for c in case.changes(hop.window) if c.msi_disabled)])


def keeps_master(case: Case) -> bool:
    return case.shutdown in KEEPING_MASTER


def span(what: str, lines: range) -> str:
    return f"{what} in trace {lines.start}-{lines.stop - 1}" if lines else "no such window"


def device_write(write: MmioWrite) -> str:
    return f"0x{write.value:x} to {write.region} 0x{write.address:x} (trace {write.line})"


# --- evidence that the trace shows what a rule reads; needed only where nothing contradicts the claim ---


def need_trace(case: Case, kind: type, what: str, lines: range) -> None:
    """The absence of an event counts only where the trace shows events of its kind in these lines."""
    if not any(True for _ in case.within(kind, lines)):
        raise Missing(f"the trace shows no {what} at all")


def need_functions(case: Case) -> None:
    if not case.topology.functions:
        raise Missing("configuration space was never read")


def need_working(case: Case) -> list[tuple[Function, DeviceModel]]:
    """The functions that an image can drive."""
    need_functions(case)
    return devices.working(case)


def need_writes(case: Case, lines: range) -> None:
    """A driver writes to its device: the absence of a write counts only where the trace shows writes to the device."""
    for function, model in need_working(case):
        if model.reset is not Reset.NONE and not case.writes_to(function.bdf, lines):
            raise Missing(f"the trace shows no write to {function.bdf} at all")
