# SPDX-License-Identifier: BSD-2-Clause
"""docs/linux.md agrees with the files of the experiments. `make linux`, which `make ci` runs, measures whether they are true."""

from __future__ import annotations

import pytest

from witness.lab.experiment import Role, experiments
from witness.linux.linux import DOCUMENT, FOLDER
from witness.linux.trial import Boot
from witness.report.table import known_rows, rows

EXPERIMENTS = experiments(FOLDER)


def test_document_has_every_experiment_and_no_other() -> None:
    expected = [
        {"id": e.id, "kind": "linux", "title": e.title, "verdict": e.verdict.value, "reading": e.reading}
        for e in EXPERIMENTS.values()
    ]
    assert known_rows(DOCUMENT.read_text(encoding="utf-8")) == rows({"versions": {}, "experiments": expected, "matrix": None})


@pytest.mark.parametrize("id", EXPERIMENTS)
def test_claim_is_a_pair(id: str) -> None:
    trials = EXPERIMENTS[id].trials
    assert {Role.CLAIM, Role.CONTROL} <= {trial.role for trial in trials} and all(isinstance(trial, Boot) for trial in trials)
    assert len({trial.name for trial in trials}) == len(trials)


@pytest.mark.parametrize("id", EXPERIMENTS)
def test_scripts_are_there(id: str) -> None:
    """Those that the command lines name; a Linux that is given none ends at once."""
    for trial in EXPERIMENTS[id].trials:
        for word in trial.words.replace(",", " ").split():
            if word.startswith("linux.script="):
                assert (FOLDER / "guest" / "scripts" / word.partition("=")[2]).is_file(), trial.name
