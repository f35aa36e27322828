# SPDX-License-Identifier: BSD-2-Clause
"""The report of a run: one screen, or the whole. Plain text, the same in a pipe and on a terminal."""

from __future__ import annotations

import re
import shlex
import traceback
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Iterable, Sequence

from witness.evidence import guestlog
from witness.evidence.case import Case
from witness.judge import hazards
from witness.judge.engine import Result, Verdict
from witness.machine.record import Outcome, Run
from witness.report.story import brief

REPORT = "report.txt"  # the whole, beside the trace
SCREEN_WIDTH = 100
HANGING = 7 * " "  # below the text of `first  ...` and `pass   ...`
PIECE = re.compile(r".{1,93}$|.{40,92}[,;:](?= )|.{1,93}(?= |$)|.{1,93}")

CLAIM_WIDTH = 52
SUBJECT = re.compile(r"(\w+): ")  # of a claim: `window: no MSI`


def versions(run: Run) -> str:
    """The versions that the verdicts belong to."""
    return ", ".join(f"{name} {run.versions.get(name, 'unknown')}" for name in ("git", "QEMU", "OVMF"))


@dataclass
class Judged:
    run: Run
    verdicts: list[Verdict]

    @cached_property
    def hazards(self) -> dict[str, list[str]]:
        case = Case(self.run)
        return {
            "stray MSI": [str(msi) for hop in case.handed_over for msi in hazards.stray_msis(case, hop)],
            "INTx raised and unhandled": [str(line) for hop in case.handed_over for line in hazards.unhandled_intx(case, hop)],
            "IRQ lines disabled by the next kernel": guestlog.nobody_cared(self.run.log),
        }


def of_run(judged: Judged, verbose: bool = False) -> list[str]:
    """All that failed, and the rest in short; with verbose the whole, which is also saved next to the trace."""
    run, verdicts = judged.run, judged.verdicts
    hazards_found = [f"hazard {kind}: {what}" for kind, found in judged.hazards.items() for what in found]
    where = [shlex.join(run.command), "", f"log, trace, RAM: {run.directory}/", result(run, verdicts)]
    whole = [versions(run), "", *run.log, "", *ending(run), *table(verdicts), *hazards_found, "", *where]
    (run.directory / REPORT).write_text("\n".join([*whole, ""]), encoding="utf-8")
    if verbose:
        return whole
    where = [f"log and evidence: {run.directory}/{REPORT}, or V=1; trace, RAM: {run.directory}/", result(run, verdicts)]
    short = [*brief(run.log), "", *ending(run), *passed(verdicts), *failed(verdicts)]
    return folded([versions(run), *short, *hazards_found, *where])


def folded(lines: Iterable[str]) -> list[str]:
    """No line is wider than the screen. One is broken after a comma, if it has one."""
    found = []
    for line in lines:
        first, *rest = PIECE.findall(line) if len(line) > SCREEN_WIDTH else [line]
        found += [first, *(HANGING + part.strip() for part in rest)]
    return found


def passed(verdicts: Sequence[Verdict]) -> list[str]:
    """A line for each subject."""
    subjects: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        subject = SUBJECT.match(verdict.claim)
        subjects[subject[1] if subject else "run"].append(verdict)
    lines = []
    for name, claims in subjects.items():
        if ids := [v.id for v in claims if v.result is Result.PASS]:
            lines.append(f"pass   {name} {len(ids)} of {len(claims)}: {', '.join(ids)}")
    return lines


def failed(verdicts: Sequence[Verdict]) -> list[str]:
    """All that did not pass, each with its evidence."""
    found = [v for v in verdicts if v.result is Result.FAIL]
    return [line for v in found for line in (f"fail   {v.claim} ({v.id})", f"{HANGING}{v.evidence}")] + _unjudged(verdicts)


def table(verdicts: Sequence[Verdict]) -> list[str]:
    """A line for each verdict."""
    judged = [v for v in verdicts if v.result is not Result.UNJUDGED]
    return [f"{v.result.value:6} {v.claim:{CLAIM_WIDTH}} {v.evidence}" for v in judged] + _unjudged(verdicts)


def _unjudged(verdicts: Sequence[Verdict]) -> list[str]:
    """A run that ended early lacks the same evidence for many claims: a line for each reason."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.result is Result.UNJUDGED:
            reasons[verdict.evidence].append(verdict.id)
    return [f"cannot be judged: {', '.join(ids)}, because {why}" for why, ids in reasons.items()]


def ending(run: Run) -> list[str]:
    """The reason why a run has no verdict of the guest: its end, and the guest's last line."""
    if run.outcome in (Outcome.PASS, Outcome.FAIL):
        return []
    return [f"ended: {run.detail}; the guest's last line: {guestlog.last_line(run.log) or 'none'}"]


def holds(run: Run, verdicts: Sequence[Verdict]) -> bool:
    return run.outcome is Outcome.PASS and all(v.result is Result.PASS for v in verdicts)


def exit_code(run: Run, verdicts: Sequence[Verdict]) -> Outcome:
    """That of the run's outcome; a run that passed can still be judged a failure."""
    if run.outcome is Outcome.PASS and not holds(run, verdicts):
        return Outcome.FAIL
    return run.outcome


def fault(error: Exception) -> str:
    """One line about an error in our own code, with its place."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{what} ({Path(where.filename).name}:{where.lineno})"


def word(outcome: Outcome) -> str:
    return outcome.name.replace("_", " ")


def result(run: Run, verdicts: Sequence[Verdict]) -> str:
    passed = sum(v.result is Result.PASS for v in verdicts)
    why = "" if run.outcome in (Outcome.PASS, Outcome.FAIL) else f"{run.detail}; "
    return f"RESULT: {word(exit_code(run, verdicts))} ({why}{passed} of {len(verdicts)} verdicts, {versions(run)})"


def columns(runs: dict[str, Judged], verbose: bool = False) -> list[str]:
    """The claims under each policy, and its hazards. Claims that pass under all are only counted, unless verbose."""
    names = list(runs)
    width = max(map(len, names)) + 2
    claims = {v.id: v.claim for judged in runs.values() for v in judged.verdicts}
    results = {name: {v.id: v.result.value for v in judged.verdicts} for name, judged in runs.items()}
    cells = {claim: [results[name].get(id, "-") for name in names] for id, claim in claims.items()}
    same = [Result.PASS.value] * len(names)
    shown = {claim: found for claim, found in cells.items() if verbose or found != same}

    def row(head: str, cells: Iterable[object]) -> str:
        return (f"{head:{CLAIM_WIDTH}} " + "".join(f"{cell!s:{width}}" for cell in cells)).rstrip()

    lines = [row("claim", names), *(row(claim, found) for claim, found in shown.items())]
    if len(shown) < len(cells):
        lines.append(row(f"{len(cells) - len(shown)} other claims", same))
    lines += ["", row("hazards during the handoff", names)]
    for kind in runs[names[0]].hazards:
        lines.append(row(kind, (len(judged.hazards[kind]) for judged in runs.values())))
    lines += [f"  {name}: {what}" for name, judged in runs.items() for found in judged.hazards.values() for what in found]
    return lines
