# SPDX-License-Identifier: BSD-2-Clause
"""`make lab`: all experiments and the matrix, one table, one page."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping

from witness.lab import matrix, stage
from witness.lab.devices import DEVICES
from witness.lab.experiment import Experiment, experiments
from witness.lab.page import write_page
from witness.lab.pool import Job, run_jobs
from witness.lab.table import express, express_cell, known_cells, place, table, unlike, words, written
from witness.lab.trials import jobs_of
from witness.machine import Machine
from witness.qemu import Settings, Unusable
from witness.record import Outcome

REPEAT_MAX = 1000

# What of the matrix is known stands there.
DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "lab.md"

MATRIX = "matrix"

# So many cells between two lines that tell how far it is.
PROGRESS = 24

Say = Callable[..., None]


@dataclass(frozen=True)
class Choice:
    """What of the lab is to run."""

    experiments: Mapping[str, Experiment]
    cells: list[matrix.Cell]

    @classmethod
    def of(cls, only: str) -> Choice:
        """only: a comma-separated list, such as "c06,l02", "matrix" or "keep-msi/*/edu"; empty: everything."""
        known = experiments()
        names = [name for name in only.split(",") if name]
        cells = {} if names else dict.fromkeys(matrix.cells())
        for name in names:
            if name == MATRIX or "/" in name:
                cells |= dict.fromkeys(matrix.cells() if name == MATRIX else matrix.cells(name))
            elif name not in known:
                raise Unusable(f"ONLY={only}: no experiment {name}, there are {' '.join(known)}, and {MATRIX}")
        return cls({id: known[id] for id in known if id in names or not names}, list(cells))


def lab(build: Path, only: str, repeat: int, environment: Mapping[str, str], say: Say, document: bool = False) -> Outcome:
    """Run what is chosen, so many times; the table and the page are those of the first. document: what it shows is what is known
    from now on."""
    if document and only:
        raise Unusable(f"ONLY={only}: the document holds everything")
    how = stage.settings(environment)
    choice = Choice.of(only)
    machines = [trial.machine for e in choice.experiments.values() for trial in e.trials]
    check_devices(how, [*machines, *(DEVICES[name].machine for name in {cell.device for cell in choice.cells})])
    directory = build / "lab"
    outcome = Outcome.PASS
    first: dict[str, Any] = {}
    for number in range(repeat):
        results = measure(build, directory, choice, how, say)
        if not first:
            first = results
            tell(results, directory, say)
            if document:
                DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8"), results), encoding="utf-8")
            outcome = verdict(results, say)
        elif different := differences(first, results):
            say(f"RESULT: FAIL (run {number + 1} of {repeat} differs: {different[0]})")
            return Outcome.FAIL
    same = f"{repeat} times the same, " if repeat > 1 else ""
    say(f"RESULT: {outcome.name} ({same}{summary(first)})")
    return outcome


def measure(build: Path, directory: Path, choice: Choice, how: Settings, say: Say) -> dict[str, Any]:
    """Everything once."""
    found: dict[str, dict[str, Any]] = {}
    cells: list[dict[str, Any]] = []
    versions: dict[str, str] = {}

    def done(result: dict[str, Any], of: Mapping[str, str]) -> None:
        found[result["id"]] = result
        versions.update(of)
        say(f"{len(found):3} of {len(choice.experiments)}  {result['id']}  {result['verdict']:13} {result['title']}")

    def cell_done(result: dict[str, Any], of: Mapping[str, str]) -> None:
        cells.append(result)
        versions.update(of)
        if result["outcome"] != "ran":
            say(f"matrix: {'/'.join(place(result))}: {result['outcome']}: {result['why']}")
        if len(cells) % PROGRESS == 0 or len(cells) == len(choice.cells):
            say(f"matrix: {len(cells):3} of {len(choice.cells)} cells")

    jobs: list[Job[Any]] = []
    for experiment in choice.experiments.values():
        jobs += jobs_of(experiment, directory, done)
    jobs += matrix.jobs_of(choice.cells, directory, cell_done)
    run_jobs(jobs, build, directory / "snapshots", how)
    experiments = [found[id] for id in choice.experiments]
    return {"versions": versions, "experiments": experiments, "matrix": matrix.described(cells) if cells else None}


def tell(results: dict[str, Any], directory: Path, say: Say) -> None:
    (directory / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    write_page(results, directory / "index.html")
    say("")
    cells = cells_of(results)
    if len(results["experiments"]) == 1 and not cells:
        say(*express(results["experiments"][0]))
    elif len(cells) == 1 and not results["experiments"]:
        say(*express_cell(cells[0]))
    else:
        say(*table(results))
    say("", f"page: {directory}/index.html   data: {directory}/results.json")


def cells_of(results: dict[str, Any]) -> list[dict[str, Any]]:
    return list(results["matrix"]["cells"]) if results["matrix"] else []


def verdict(results: dict[str, Any], say: Say) -> Outcome:
    """Whether everything came out as it is known to."""
    lines = unknown(results)
    if lines:
        say(*(f"not as known: {line}" for line in lines))
    return Outcome.FAIL if lines else Outcome.PASS


def unknown(results: dict[str, Any]) -> list[str]:
    """What did not come out as its file, or docs/lab.md, has it."""
    lines = [f"{e['id']}: {e['verdict']}, known is {e['known']}" for e in results["experiments"] if e["verdict"] != e["known"]]
    known = known_cells(DOCUMENT.read_text(encoding="utf-8")) if results["matrix"] else {}
    for cell in cells_of(results):
        where, expected = "/".join(place(cell)), known.get(place(cell), "nothing")
        if unlike(cell):
            lines.append(f"{where}: config accesses: {cell['signature']}")
        if words(cell) != expected or cell["outcome"] == "could not run":
            lines.append(f"{where}: {words(cell)}{': ' + cell['why'] if cell['why'] else ''}; known is {expected}")
    return lines


def summary(results: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {results['versions'].get(name, 'unknown')}" for name in ("git", "QEMU", "OVMF"))
    counts: dict[str, int] = {}
    for e in results["experiments"]:
        counts[e["verdict"]] = counts.get(e["verdict"], 0) + 1
    for cell in cells_of(results):
        what = "cells ran" if cell["outcome"] == "ran" else f"cells: {cell['outcome']}"
        counts[what] = counts.get(what, 0) + 1
    said = ", ".join(f"{n} {what}" for what, n in counts.items())
    return f"{said}; {versions}"


def substance(results: dict[str, Any]) -> dict[str, Any]:
    """What has to be the same each time: all but trace lines and files."""
    return {
        f"{e['id']} {case['name']}: {value['what']}": value["measured"]
        for e in results["experiments"]
        for case in e["cases"]
        for value in case["values"]
    } | {f"{e['id']} verdict": e["verdict"] for e in results["experiments"]} | {
        f"{'/'.join(place(cell))}: {what}": str(cell[what])
        for cell in cells_of(results)
        for what in ("outcome", "hazards", "notes", "signature")
    }


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    a, b = substance(one), substance(other)
    return [f"{what}: {a.get(what)} and {b.get(what)}" for what in sorted(a.keys() | b.keys()) if a.get(what) != b.get(what)]


def check_devices(how: Settings, machines: Iterable[Machine]) -> None:
    """Whether this QEMU has every device that the machines name."""
    wanted = {device for machine in machines for device in stage.models(machine)}
    try:
        told = subprocess.run([how.qemu, "-device", "help"], check=True, capture_output=True, text=True).stdout
    except OSError as error:
        raise Unusable(f"{how.qemu}: {error.strerror}") from None
    except subprocess.CalledProcessError as error:
        raise Unusable(f"{how.qemu} -device help: exit status {error.returncode}") from None
    missing = sorted(wanted - set(re.findall(r'^name "([^"]+)"', told, re.MULTILINE)))
    if missing:
        raise Unusable(f"{how.qemu} has no device {', '.join(missing)}")
