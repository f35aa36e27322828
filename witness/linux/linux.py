# SPDX-License-Identifier: BSD-2-Clause
"""Runs the experiments of tests/linux/, and tells what came of them as the lab tells of its own."""

from __future__ import annotations

from concurrent.futures import Future, as_completed
from pathlib import Path
from typing import Any, Callable, Mapping

from witness.lab.experiment import Experiment, experiments
from witness.lab.lab import check_devices
from witness.lab.pool import workers
from witness.lab.rounds import Progress, Rounds, Say
from witness.lab.trials import Performed, Played, gather, judged
from witness.linux.trial import Boot, check_built, perform, version
from witness.machine.qemu import Settings, Unusable
from witness.machine.record import Outcome

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "tests" / "linux"
DOCUMENT = ROOT / "docs" / "linux.md"


def linux(build: Path, only: str, repeat: int, environment: Mapping[str, str], say: Say, document: bool = False) -> Outcome:
    """Run what is chosen, so many times. document: what it shows is what is known from now on."""
    if document and only:
        raise Unusable(f"ONLY={only}: the document holds everything")
    how = Settings.of(environment)
    chosen = choose(only)
    trials = [trial for experiment in chosen.values() for trial in experiment.trials]
    for trial in trials:
        assert isinstance(trial, Boot)
        check_built(build, trial)
    check_devices(how, [trial.machine for trial in trials])
    directory = build / "linux" / "runs"
    rounds = Rounds(lambda: measure(build, directory, chosen, how, say), repeat, directory, DOCUMENT, not only, say)
    return rounds.run(document)


def choose(only: str) -> dict[str, Experiment]:
    """A comma-separated list, such as "k01,k03"; empty: everything."""
    known = experiments(FOLDER)
    names = [name for name in only.split(",") if name]
    for name in names:
        if name not in known:
            raise Unusable(f"ONLY={only}: no experiment {name}, there are {' '.join(known)}")
    return {id: known[id] for id in known if id in names or not names}


def measure(build: Path, directory: Path, chosen: Mapping[str, Experiment], how: Settings, say: Say) -> dict[str, Any]:
    """Every trial once, as many at a time as there are CPUs."""
    directory.mkdir(parents=True, exist_ok=True)
    progress = Progress(len(chosen), say, versions={"Linux": version(build)})
    ended: dict[str, Callable[[int, Played], None]] = {id: gather(experiment, progress.done) for id, experiment in chosen.items()}
    with workers() as pool:
        runs: dict[Future[Played], tuple[str, int]] = {
            pool.submit(play, id, number, build, directory, how): (id, number)
            for id, experiment in chosen.items()
            for number in range(len(experiment.trials))
        }
        for future in as_completed(runs):
            id, number = runs[future]
            ended[id](number, future.result())
    return {"versions": progress.versions, "experiments": [progress.found[id] for id in chosen], "matrix": None}


def play(id: str, number: int, build: Path, directory: Path, how: Settings) -> Played:
    def run(trial: Boot, place: Path) -> Performed:
        seen = perform(trial, build, place, how)
        return seen.run, lambda: seen

    return judged(id, number, directory, run)
