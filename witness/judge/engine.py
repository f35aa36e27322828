# SPDX-License-Identifier: BSD-2-Clause
"""What a rule is, and what becomes of its finding. The rules themselves are in rules_*.py, their table in rules.py."""

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
    """What a rule needs is not in the run; the text says what."""


# Evidence that is there but makes no sense is no evidence either.
UNREADABLE = (Missing, ValueError, LookupError, OSError, struct.error, AssertionError)

Finding = tuple[list[str], str]  # contradictions; what was looked at


@dataclass(frozen=True)
class Rule:
    """A rule gets the evidence and returns what contradicts the claim (nothing, if it holds) and one line that says what was
    looked at. None: the claim says nothing about this run."""

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
        problems, looked = finding
        if not problems:
            return Verdict(self.id, self.claim, Result.PASS, looked)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return Verdict(self.id, self.claim, Result.FAIL, problems[0] + more)


@dataclass(frozen=True)
class HopRule:
    """Of each hand-off of the chain, from no more than the trace of one. Under policy `none` only those hold that ask for no
    clear."""

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
        findings = {hop.number: finding for hop in case.handed_over if (finding := self.find(case, hop))}
        if len(findings) < 2:
            return next(iter(findings.values()), None)
        problems = [f"hop {number}: {problem}" for number, (found, _) in findings.items() for problem in found]
        return problems, f"{len(findings)} hops; the last: {[*findings.values()][-1][1]}"


@dataclass(frozen=True)
class JumpRule:
    """Of the chain's first hand-off, where it has one, and of the machine at its jump."""

    id: str
    claim: str
    find: Callable[[Case, Hop, Entry], Finding | None]

    def verdict(self, case: Case) -> Verdict | None:
        return Rule(self.id, self.claim, lambda case: self.find(case, *jump(case)) if case.chain else None).verdict(case)


# --- what rules share ---

NO_HOP = "no bus master was cleared after MSI was on"


def jump(case: Case) -> tuple[Hop, Entry]:
    """The first hand-off, and the machine at its jump."""
    if not case.handed_over:
        raise Missing(NO_HOP)
    if case.next is None:
        raise Missing("the next image was not entered where it asks to be")
    return case.handed_over[0], case.next


def entered_at(case: Case, hop: Hop) -> int:
    """Where the next image begins; where that is not known, where the window does."""
    return next((line for line in case.entry_lines.values() if line in hop.window), hop.window.start)


def started(case: Case, hop: Hop) -> int:
    """Where the next image's startup is over; at least, where the image begins."""
    return max([entered_at(case, hop), *(c.line for c in case.changes(hop.window) if c.msi_disabled)])


def keeps_master(case: Case) -> bool:
    return case.shutdown in KEEPING_MASTER


def span(what: str, lines: range) -> str:
    return f"{what} in trace {lines.start}-{lines.stop - 1}" if lines else "no such window"


def told(write: MmioWrite) -> str:
    return f"0x{write.value:x} to {write.region} 0x{write.address:x} (trace {write.line})"


# --- evidence that a rule's source speaks: asked for where nothing contradicts, since what was seen was seen ---


def need_trace(case: Case, kind: type, what: str, lines: range) -> None:
    """That nothing was seen says something only where the trace shows such events in these lines."""
    if not any(True for _ in case.within(kind, lines)):
        raise Missing(f"the trace shows no {what} at all")


def need_functions(case: Case) -> None:
    if not case.topology.functions:
        raise Missing("configuration space was read nowhere")


def working(case: Case) -> list[tuple[Function, DeviceModel]]:
    """The functions that an image can drive."""
    need_functions(case)
    return devices.working(case)


def need_writes(case: Case, lines: range) -> None:
    """Whoever drives a device writes to it: that nothing was written says something only where the trace has shown such writes."""
    for function, model in working(case):
        if model.reset is not Reset.NONE and not case.writes_to(function.bdf, lines):
            raise Missing(f"the trace shows no write to {function.bdf} at all")
