# SPDX-License-Identifier: BSD-2-Clause
"""How far a run came, and whether what the guest says of it is what the trace shows."""

from __future__ import annotations

from itertools import zip_longest

from witness.evidence import guestlog
from witness.evidence.case import Case
from witness.judge.engine import Finding, Missing, keeps_master
from witness.machine.record import Outcome


def guest_reports_success(case: Case) -> Finding:
    said = case.run.detail
    return ([] if case.run.outcome is Outcome.PASS else [said]), said


def each_image_hands_over_once(case: Case) -> Finding:
    if keeps_master(case) and len(case.chain) > 1:
        raise Missing("where bus master stays on, a trace tells of no hand-off but the one that was stopped at")
    if not case.history.changes:
        raise Missing("the trace shows no register that changes")
    expected, found = len(case.chain), len(case.handed_over)
    looked = f"{found} out phases in {case.end} trace lines"
    return ([] if found == expected else [f"{found} out phases, the chain has {expected}"]), looked


def log_and_trace_agree(case: Case) -> Finding:
    if case.first is None:
        raise Missing("no image was entered")
    done = case.changes(range(case.entry_lines[case.first.name], case.end + 1))
    said = guestlog.changes(case.run.log)
    if not done and not said:
        raise Missing("neither log nor trace tells of a register that changes")
    for change, tale in zip_longest(done, said):
        if change is None or tale is None or not tale.is_of(change):
            return [f"the guest says {tale or 'nothing'}, the trace {change or 'nothing'}"], ""
    return [], f"{len(done)} changes"
