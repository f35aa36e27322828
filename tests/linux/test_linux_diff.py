# SPDX-License-Identifier: BSD-2-Clause
"""Claim: every difference between what Linux and our images write to a function has its reason, on every function of the machine.

False if a difference is without one, if a reason is given that is never needed, or if docs/linux-diff.md says otherwise.
Control: without the reasons every function shows differences, and a reason that is taken away is missed.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest

from witness.evidence.case import Case
from witness.linux import diff
from witness.linux.reasons import REASONS, Environment, Reason
from witness.linux.trial import Seen
from witness.machine.qemu import Settings
from witness.pci.topology import Bdf
from witness.report.document import made

BUILD = Path(os.environ.get("O") or diff.DOCUMENT.parent.parent / "build")


@cache
def handoffs(shutdown: str) -> tuple[Seen, Case]:
    return diff.handoffs(BUILD, f"handoff.shutdown={shutdown}", Settings.of(os.environ))


def writes(theirs: Seen, ours: Case, bdf: Bdf) -> tuple[diff.PhaseWrites, diff.PhaseWrites]:
    start, stop = theirs.mark("loaded").line, theirs.mark("userspace", 1).line
    return diff.phase_writes(theirs.case, bdf, start, stop), diff.phase_writes(ours, bdf, diff.loaded(ours), ours.end + 1)


def given(shutdown: str, bdf: Bdf) -> set[Reason]:
    """The reasons that one function needs."""
    theirs, ours = handoffs(shutdown)
    left, right = writes(theirs, ours, bdf)
    known = [reason for reason in REASONS if reason.applies(Environment(ours.name(bdf), shutdown))]
    rows = {phase: list(diff.paired(left.phases[phase], right.phases[phase])) for phase in diff.PHASES}
    return {reason for phase in diff.PHASES for _, reason in diff.explained(phase, rows[phase], known) if reason}


@pytest.mark.parametrize("shutdown", diff.KNOWN_OUT)
def test_every_difference_has_its_reason(shutdown: str) -> None:
    theirs, ours = handoffs(shutdown)
    assert sorted(ours.topology.functions) == sorted(theirs.case.topology.functions)
    found = {str(bdf): diff.compare(theirs, ours, bdf, exact=True).unknown for bdf in ours.topology.functions}
    assert found == {str(bdf): [] for bdf in ours.topology.functions}


def test_every_reason_is_needed() -> None:
    needed = {
        reason
        for shutdown in diff.KNOWN_OUT
        for bdf in handoffs(shutdown)[1].topology.functions
        for reason in given(shutdown, bdf)
    }
    assert [f"{reason.phases} {reason.where}" for reason in REASONS if reason not in needed] == []


def test_without_reasons_every_function_differs() -> None:
    theirs, ours = handoffs("keep-msi")
    for bdf in ours.topology.functions:
        environment = Environment(ours.name(bdf), "keep-msi")
        assert diff.difference(*writes(theirs, ours, bdf), environment, True, reasons=())[1]


def test_a_reason_that_is_taken_away_is_missed() -> None:
    """Unless two reasons apply to the same write."""
    theirs, ours = handoffs("keep-msi")
    disk = Bdf.parse(diff.FUNCTION)
    environment = Environment(ours.name(disk), "keep-msi")
    needed = given("keep-msi", disk)
    assert len(needed) > 10
    for reason in needed:
        others = [other for other in REASONS if other is not reason]
        assert diff.difference(*writes(theirs, ours, disk), environment, True, others)[1], reason.where


def test_the_document_is_what_comes_out() -> None:
    """But for the line of the versions."""
    theirs, ours = handoffs("keep-msi")
    found = diff.compare(theirs, ours, Bdf.parse(diff.FUNCTION), exact=False)
    assert made(diff.DOCUMENT.read_text(encoding="utf-8")).split("\n")[2:-1] == found.text.split("\n")[1:]
