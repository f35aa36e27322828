# SPDX-License-Identifier: BSD-2-Clause
"""`make lab`: all experiments and the matrix, one table, one page."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping

from witness.lab import stage
from witness.lab.experiment import Experiment, experiments
from witness.lab.page import write_page
from witness.lab.pool import Job, run_jobs
from witness.lab.table import express, table
from witness.lab.trials import jobs_of
from witness.machine import Machine
from witness.qemu import Settings, Unusable
from witness.record import Outcome

REPEAT_MAX = 1000

Say = Callable[..., None]


@dataclass(frozen=True)
class Choice:
    """What of the lab is to run."""

    experiments: Mapping[str, Experiment]

    @classmethod
    def of(cls, only: str) -> Choice:
        """only: a comma-separated list, such as "c06,l02"; empty: everything."""
        known = experiments()
        names = [name for name in only.split(",") if name]
        for name in names:
            if name not in known:
                raise Unusable(f"ONLY={only}: no experiment {name}, there are {' '.join(known)}")
        return cls({id: known[id] for id in known if id in names or not names})


def lab(build: Path, only: str, repeat: int, environment: Mapping[str, str], say: Say) -> Outcome:
    """Run what is chosen, so many times; the table and the page are those of the first."""
    how = stage.settings(environment)
    choice = Choice.of(only)
    check_devices(how, [trial.machine for e in choice.experiments.values() for trial in e.trials])
    directory = build / "lab"
    outcome = Outcome.PASS
    first: dict[str, Any] = {}
    for number in range(repeat):
        results = measure(build, directory, choice, how, say)
        if not first:
            first = results
            tell(results, directory, say)
            outcome = verdict(results)
        elif different := differences(first, results):
            say(f"RESULT: FAIL (run {number + 1} of {repeat} differs: {different[0]})")
            return Outcome.FAIL
    same = f"{repeat} times the same, " if repeat > 1 else ""
    say(f"RESULT: {outcome.name} ({same}{summary(first)})")
    return outcome


def measure(build: Path, directory: Path, choice: Choice, how: Settings, say: Say) -> dict[str, Any]:
    """Everything once."""
    found: dict[str, dict[str, Any]] = {}
    versions: dict[str, str] = {}

    def done(result: dict[str, Any], of: Mapping[str, str]) -> None:
        found[result["id"]] = result
        versions.update(of)
        say(f"{len(found):3} of {len(choice.experiments)}  {result['id']}  {result['verdict']:13} {result['title']}")

    jobs: list[Job[Any]] = []
    for experiment in choice.experiments.values():
        jobs += jobs_of(experiment, directory, done)
    run_jobs(jobs, build, directory / "snapshots", how)
    return {"versions": versions, "experiments": [found[id] for id in choice.experiments], "matrix": None}


def tell(results: dict[str, Any], directory: Path, say: Say) -> None:
    (directory / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    write_page(results, directory / "index.html")
    say("")
    if len(results["experiments"]) == 1 and not results["matrix"]:
        say(*express(results["experiments"][0]))
    else:
        say(*table(results))
    say("", f"page: {directory}/index.html   data: {directory}/results.json")


def verdict(results: dict[str, Any]) -> Outcome:
    """Whether everything came out as it is known to."""
    return Outcome.PASS if all(e["verdict"] == e["known"] for e in results["experiments"]) else Outcome.FAIL


def summary(results: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {results['versions'].get(name, 'unknown')}" for name in ("git", "QEMU", "OVMF"))
    counts: dict[str, int] = {}
    for e in results["experiments"]:
        counts[e["verdict"]] = counts.get(e["verdict"], 0) + 1
    said = ", ".join(f"{n} {what}" for what, n in counts.items())
    return f"{said}; {versions}"


def substance(results: dict[str, Any]) -> dict[str, Any]:
    """What has to be the same each time: all but trace lines and files."""
    return {
        f"{e['id']} {case['name']}: {value['what']}": value["measured"]
        for e in results["experiments"]
        for case in e["cases"]
        for value in case["values"]
    } | {f"{e['id']} verdict": e["verdict"] for e in results["experiments"]}


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    a, b = substance(one), substance(other)
    return [f"{what}: {a.get(what)} and {b.get(what)}" for what in sorted(a.keys() | b.keys()) if a.get(what) != b.get(what)]


def check_devices(how: Settings, machines: Iterable[Machine]) -> None:
    """Whether this QEMU has every device that the machines name."""
    wanted = {device for machine in machines for device in stage.models(machine)}
    try:
        told = subprocess.run([how.qemu, "-device", "help"], check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unusable(f"{how.qemu}: {error}") from None
    missing = sorted(wanted - set(re.findall(r'^name "([^"]+)"', told, re.MULTILINE)))
    if missing:
        raise Unusable(f"{how.qemu} has no device {', '.join(missing)}")

