# SPDX-License-Identifier: BSD-2-Clause
"""Every experiment of this folder, as `make lab` runs it: its verdict is the known one, and the one in docs/lab.md.

One trial of the claim and one control of each. `make lab`, which `make ci` runs, has them all, and the cures.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from witness.lab import performance
from witness.lab.experiment import Experiment, Role, experiments
from witness.lab.lab import DOCUMENT, Choice, measure
from witness.report.results import Facts
from witness.report.table import markdown

ROOT = Path(__file__).resolve().parent.parent.parent
CHECKLIST = ROOT / "docs" / "checklist.md"
BUILD = Path(os.environ.get("O") or ROOT / "build")
IDS = list(experiments())


def sampled(experiment: Experiment) -> Experiment:
    """The first trial of the claim, and the first control."""
    first = {trial.role: trial for trial in reversed(experiment.trials)}
    return replace(experiment, trials=(first[Role.CLAIM], first[Role.CONTROL]))


@pytest.fixture(scope="module")
def results() -> Facts:
    choice = Choice({id: sampled(experiment) for id, experiment in experiments().items()}, [])
    return measure(BUILD, BUILD / "test" / "lab", choice, performance.settings(), lambda *lines: None)


@pytest.fixture
def result(results: Facts, id: str) -> Facts:
    return next(e for e in results["experiments"] if e["id"] == id)


def disagreeing(result: Facts, roles: set[str]) -> list[str]:
    """The trials of these roles that do not agree, with the values that differ."""
    return [
        f"{case['name']}: {case['why'] or [value for value in case['values'] if not value['agrees']]}"
        for case in result["cases"]
        if case["role"] in roles and not case["agrees"]
    ]


@pytest.mark.parametrize("id", IDS)
def test_opposite_happens_in_each_control(result: Facts) -> None:
    assert any(case["role"] == "control" for case in result["cases"])
    assert disagreeing(result, {"control"}) == []


@pytest.mark.parametrize("id", IDS)
def test_verdict_is_the_known_one(result: Facts) -> None:
    assert result["verdict"] == result["known"], disagreeing(result, {"claim", "control", "cure"})


@pytest.mark.parametrize("id", IDS)
def test_each_trial_measured_something(result: Facts) -> None:
    assert all(case["values"] for case in result["cases"])


def test_document_has_every_verdict(results: Facts) -> None:
    """And no other: each experiment's line is there once, with its reading."""
    rows = [line for line in markdown(results).splitlines() if line.startswith("| **")]
    assert len(rows) == len(IDS)
    assert [line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("| **")] == rows


def test_checklist_names_every_experiment_and_no_other() -> None:
    assert set(re.findall(r"\b[cl]\d\d\b", CHECKLIST.read_text(encoding="utf-8"))) == set(IDS)
