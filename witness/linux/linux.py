# SPDX-License-Identifier: BSD-2-Clause
"""Runs the experiments of tests/linux/, and tells what came of them as the lab tells of its own."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Callable, Mapping

from witness.lab.experiment import STUMBLES, Experiment, Value, experiments, reason
from witness.lab.lab import check_devices, summary, unknown
from witness.lab.pool import cpus
from witness.lab.table import express, table
from witness.lab.trials import Played, described, slug
from witness.linux.trial import Boot, perform
from witness.qemu import Settings, Unusable, die_with_parent
from witness.record import Outcome

FOLDER = Path(__file__).resolve().parent.parent.parent / "tests" / "linux"

# What a run leaves beside its trace and its texts is of no more use when it has been judged.
HEAVY = ("ram", "initrd", "files", "*.img", "*.bin")

Say = Callable[..., None]

# Functions cannot be pickled: the processes of a pool have them from their parent.
_experiments: dict[str, Experiment] = {}


def linux(build: Path, only: str, environment: Mapping[str, str], say: Say) -> Outcome:
    """Run what is chosen, the table of it, and whether everything came out as it is known to."""
    how = Settings.of(environment)
    chosen = choose(only)
    check_devices(how, [trial.machine for e in chosen.values() for trial in e.trials])
    directory = build / "linux" / "runs"
    results = measure(build, directory, chosen, how, say)
    (directory / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    say("")
    say(*(express(results["experiments"][0]) if len(results["experiments"]) == 1 else table(results)))
    say("", f"data: {directory}/results.json")
    lines = unknown(results)
    say(*(f"not as known: {line}" for line in lines))
    outcome = Outcome.FAIL if lines else Outcome.PASS
    say(f"RESULT: {outcome.name} ({summary(results)}, Linux {results['versions'].get('Linux', 'unknown')})")
    return outcome


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
    _experiments.update(chosen)
    directory.mkdir(parents=True, exist_ok=True)
    played: dict[str, dict[int, Played]] = {id: {} for id in chosen}
    found: dict[str, dict[str, Any]] = {}
    versions: dict[str, str] = {}
    with ProcessPoolExecutor(cpus(), mp_context=get_context("fork"), initializer=die_with_parent) as pool:
        runs: dict[Future[Played], tuple[str, int]] = {
            pool.submit(play, id, number, build, directory, how): (id, number)
            for id, experiment in chosen.items()
            for number in range(len(experiment.trials))
        }
        for future in as_completed(runs):
            id, number = runs[future]
            played[id][number] = future.result()
            versions.update(future.result().versions)
            if len(played[id]) == len(chosen[id].trials):
                found[id] = described(chosen[id], [played[id][n] for n in range(len(played[id]))])
                say(f"{len(found):3} of {len(chosen)}  {id}  {found[id]['verdict']:13} {found[id]['title']}")
    return {"versions": versions, "experiments": [found[id] for id in chosen], "matrix": None}


def play(id: str, number: int, build: Path, directory: Path, how: Settings) -> Played:
    trial = _experiments[id].trials[number]
    assert isinstance(trial, Boot)
    place = directory / id / slug(trial.name)
    shutil.rmtree(place, ignore_errors=True)
    values: tuple[Value, ...] = ()
    why, versions = "", dict[str, str]()
    try:
        seen = perform(trial, build, place, how)
        versions = seen.run.versions
        values = tuple(trial.judge(seen))
    except STUMBLES as error:
        why = reason(error)
    for pattern in HEAVY:
        for path in place.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return Played(values, why, versions, {"directory": str(place.relative_to(directory)), "timeline": None, "vcd": None})
