# SPDX-License-Identifier: BSD-2-Clause
"""The outcome of a run, and whether the guest's log agrees with the trace."""

from __future__ import annotations

from itertools import zip_longest

from witness.evidence import guestlog
from witness.evidence.case import Case
from witness.judge.engine import Finding, Missing, keeps_master
from witness.machine.record import Outcome


def guest_reports_success(case: Case) -> Finding:
    detail = case.run.detail
    return ([] if case.run.outcome is Outcome.PASS else [detail]), detail


def each_image_hands_over_once(case: Case) -> Finding:
    if keeps_master(case) and len(case.chain) > 1:
        raise Missing("where bus master stays on, only the handoff at which the machine was stopped is known")
    if not case.history.changes:
        raise Missing("the trace shows no register change")
    expected, found = len(case.chain), len(case.handed_over)
    examined = f"{found} out phases in {case.end} trace lines"
    return ([] if found == expected else [f"{found} out phases, the chain has {expected}"]), examined


def log_and_trace_agree(case: Case) -> Finding:
    if case.first is None:
        raise Missing("no image was entered")
    done = case.changes(range(case.entry_lines[case.first.name], case.end + 1))
    logged = guestlog.changes(case.run.log)
    if not done and not logged:
        raise Missing("neither log nor trace shows a register change")
    for change, line in zip_longest(done, logged):
        if change is None or line is None or not line.is_of(change):
            return [f"the log shows {line or 'nothing'}, the trace {change or 'nothing'}"], ""
    return [], f"{len(done)} changes"
