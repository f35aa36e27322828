# SPDX-License-Identifier: BSD-2-Clause
"""What a human reads. Plain text, the same into a pipe as onto a terminal."""

from __future__ import annotations

import shlex
import traceback
from pathlib import Path
from typing import Iterable, Sequence

from witness.evidence import guestlog
from witness.evidence.case import Case
from witness.judge import hazards
from witness.judge.engine import Result, Verdict
from witness.machine.record import Outcome, Run

CLAIM_WIDTH = 52


def versions(run: Run) -> str:
    """Verdicts are facts about these."""
    return ", ".join(f"{name} {run.versions.get(name, 'unknown')}" for name in ("git", "QEMU", "OVMF"))


def table(verdicts: Sequence[Verdict]) -> list[str]:
    """A line for each; where a run did not come far, one line for all that cannot be judged."""
    open = [v for v in verdicts if v.result is Result.UNJUDGED]
    lines = [f"{v.result.value:6} {v.claim:{CLAIM_WIDTH}} {v.evidence}" for v in verdicts if v not in open]
    if open:
        why = "; ".join(dict.fromkeys(v.evidence for v in open))
        lines.append(f"cannot be judged: {', '.join(v.id for v in open)}, because {why}")
    return lines


def ending(run: Run) -> list[str]:
    """Why a run has no verdict of the guest: how it ended, and what the guest said last."""
    if run.outcome in (Outcome.PASS, Outcome.FAIL):
        return []
    return [f"ended: {run.detail}; the guest's last line: {guestlog.last_words(run.log) or 'none'}"]


def command(run: Run) -> str:
    return shlex.join(run.command)


def holds(run: Run, verdicts: Sequence[Verdict]) -> bool:
    return run.outcome is Outcome.PASS and all(v.result is Result.PASS for v in verdicts)


def exit_code(run: Run, verdicts: Sequence[Verdict]) -> Outcome:
    """How the run ended decides; a run that ended well can still be judged a failure."""
    if run.outcome is Outcome.PASS and not holds(run, verdicts):
        return Outcome.FAIL
    return run.outcome


def fault(error: Exception) -> str:
    """One line about what went wrong in our own code, and where."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{what} ({Path(where.filename).name}:{where.lineno})"


def word(outcome: Outcome) -> str:
    return outcome.name.replace("_", " ")


def result(run: Run, verdicts: Sequence[Verdict]) -> str:
    passed = sum(v.result is Result.PASS for v in verdicts)
    why = "" if run.outcome in (Outcome.PASS, Outcome.FAIL) else f"{run.detail}; "
    return f"RESULT: {word(exit_code(run, verdicts))} ({why}{passed} of {len(verdicts)} verdicts, {versions(run)})"


def columns(runs: dict[str, tuple[Run, list[Verdict]]]) -> list[str]:
    """The same claims under each policy, and what each let loose."""
    names = list(runs)
    width = max(map(len, names)) + 2
    claims = {v.id: v.claim for _, verdicts in runs.values() for v in verdicts}
    results = {name: {v.id: v.result.value for v in verdicts} for name, (_, verdicts) in runs.items()}

    def row(head: str, cells: Iterable[object]) -> str:
        return (f"{head:{CLAIM_WIDTH}} " + "".join(f"{cell!s:{width}}" for cell in cells)).rstrip()

    lines = [row("claim", names)]
    lines += [row(claim, (results[name].get(id, "-") for name in names)) for id, claim in claims.items()]
    found = {name: _hazards(run) for name, (run, _) in runs.items()}
    lines += ["", row("hazards during the handoff", names)]
    for kind in next(iter(found.values())):
        lines.append(row(kind, (len(found[name][kind]) for name in names)))
    for name in names:
        lines += [f"  {name}: {what}" for kinds in found[name].values() for what in kinds]
    return lines


def _hazards(run: Run) -> dict[str, list[str]]:
    case = Case(run)
    return {
        "stray MSI": [str(msi) for hop in case.hops for msi in hazards.stray_msis(case, hop)],
        "INTx raised and unhandled": [str(line) for hop in case.hops for line in hazards.unhandled_intx(case, hop)],
        "IRQ lines disabled by the next kernel": guestlog.nobody_cared(run.log),
    }
