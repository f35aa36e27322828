# SPDX-License-Identifier: BSD-2-Clause
"""Runs the trials of experiments, with results as in results.json."""

from __future__ import annotations

import re
import shutil
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Callable, Mapping, NamedTuple, Sequence

from witness.lab import performance
from witness.lab.experiment import STUMBLES, Experiment, Shown, Trial, Value, conclude, reason
from witness.lab.observation import Observation
from witness.lab.pool import Job
from witness.machine.record import Run
from witness.report.results import Facts
from witness.report.timeline import timeline
from witness.report.vcd import write_vcd

# By the first letter of the id; c and l are in tests/claims/, k in tests/linux/.
KIND_OF = {"c": "claim", "l": "limit", "k": "linux"}

HEAVY = ("ram", "initrd", "files", "*.img", "*.bin")

Done = Callable[[Facts, Mapping[str, str]], None]

# A run, and the evidence for its judge, which may raise.
Performed = tuple[Run, Callable[[], Observation]]


class Played(NamedTuple):
    """The result of a trial's process."""

    values: tuple[Value, ...]
    why: str
    versions: Mapping[str, str]
    pictures: Mapping[str, Any]  # its timeline, and the paths of its VCD and its trace


# Functions cannot be pickled: the processes of a pool inherit them, and are passed numbers.
_experiments: dict[str, Experiment] = {}


def gather(experiment: Experiment, done: Done) -> Callable[[int, Played], None]:
    """A callback for the result of each trial, by its number; it calls done with the experiment's result after the last."""
    _experiments[experiment.id] = experiment
    played: dict[int, Played] = {}

    def ended(number: int, result: Played) -> None:
        played[number] = result
        if len(played) == len(experiment.trials):
            results = [played[n] for n in range(len(played))]
            done(described(experiment, results), {name: v for result in results for name, v in result.versions.items()})

    return ended


def jobs_of(experiment: Experiment, directory: Path, done: Done) -> list[Job[Played]]:
    """A job for each trial."""
    ended = gather(experiment, done)
    return [
        Job(trial.machine, partial(play, experiment.id, number, directory), partial(ended, number))
        for number, trial in enumerate(experiment.trials)
    ]


def play(id: str, number: int, directory: Path, origin: performance.Origin) -> Played:
    def perform(trial: Trial, place: Path) -> Performed:
        run, kept = performance.perform(origin, trial.machine, trial.image, trial.words, trial.points, place)
        return run, partial(Observation, run, kept, trial.may_kill)

    return judged(id, number, directory, perform)


def judged(id: str, number: int, directory: Path, perform: Callable[[Any, Path], Performed]) -> Played:
    """A trial's run, in a directory of its own, and its judge's values."""
    trial = _experiments[id].trials[number]
    place = directory / id / slug(trial.name)
    shutil.rmtree(place, ignore_errors=True)
    values: tuple[Value, ...] = ()
    versions: Mapping[str, str] = {}
    pictures: dict[str, Any] = {"directory": str(place.relative_to(directory)), "timeline": None, "vcd": None}
    why = ""
    try:
        run, look = perform(trial, place)
        versions = run.versions
        seen = look()
        values = tuple(trial.judge(seen))
        lanes = timeline(seen.case, seen.phases, seen.landed)
        vcd = place.with_suffix(".vcd")
        write_vcd(lanes, vcd)
        pictures |= {"timeline": asdict(lanes), "vcd": str(vcd.relative_to(directory))}
    except STUMBLES as error:
        why = reason(error)
    lighten(place)
    return Played(values, why, versions, pictures)


def lighten(place: Path, *more: str) -> None:
    """After the verdict only the trace is kept."""
    for pattern in (*HEAVY, *more):
        for path in [*place.rglob(pattern)]:  # a folder takes what is in it along
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def described(experiment: Experiment, played: Sequence[Played]) -> Facts:
    shown = [Shown(trial, result.values, result.why) for trial, result in zip(experiment.trials, played)]
    verdict = conclude(shown)
    return {
        "id": experiment.id,
        "kind": KIND_OF[experiment.id[0]],
        "title": experiment.title,
        "source": experiment.source,
        "falsified_by": experiment.falsified_by,
        "provoked_by": experiment.provoked_by,
        "reading": experiment.reading,
        "verdict": verdict.value,
        "known": experiment.verdict.value,
        "cases": [
            {
                "name": s.trial.name,
                "role": s.trial.role.value,
                "agrees": s.agrees,
                "why": s.why,
                "values": [asdict(value) for value in s.values],
                **result.pictures,
            }
            for s, result in zip(shown, played)
        ],
    }


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
