# SPDX-License-Identifier: BSD-2-Clause
"""Runs the experiments of tests/linux/, with results like the lab's."""

from __future__ import annotations

from concurrent.futures import Future, as_completed
from pathlib import Path
from typing import Callable, Mapping

from witness import ROOT
from witness.lab.experiment import Experiment, choose, experiments
from witness.lab.lab import check_devices
from witness.lab.pool import workers
from witness.lab.rounds import Order, Progress, Rounds, Say
from witness.lab.trials import Performed, Played, gather, judged
from witness.linux.trial import Boot, check_built, perform, version
from witness.machine.qemu import Settings
from witness.machine.record import Outcome
from witness.report.results import Facts

FOLDER = ROOT / "tests" / "linux"
DOCUMENT = ROOT / "docs" / "linux.md"


def linux(order: Order) -> Outcome:
    how = Settings.of(order.environment)
    chosen = choose(experiments(FOLDER), order.names)
    trials = [trial for experiment in chosen.values() for trial in experiment.trials]
    for trial in trials:
        assert isinstance(trial, Boot)
        check_built(order.build, trial)
    check_devices(how, [trial.machine for trial in trials])
    directory = order.build / "linux" / "runs"
    return Rounds(lambda: measure(order.build, directory, chosen, how, order.say), order, directory, DOCUMENT).run()


def measure(build: Path, directory: Path, chosen: Mapping[str, Experiment], how: Settings, say: Say) -> Facts:
    """Every trial once, one for each CPU at a time."""
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
    return progress.results(chosen)


def play(id: str, number: int, build: Path, directory: Path, how: Settings) -> Played:
    def run(trial: Boot, place: Path) -> Performed:
        seen = perform(trial, build, place, how)
        return seen.run, lambda: seen

    return judged(id, number, directory, run)
