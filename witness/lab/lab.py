# SPDX-License-Identifier: BSD-2-Clause
"""`make lab`: all experiments and the matrix, one table, one page."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Iterable, Mapping, Sequence

from witness import ROOT
from witness.lab import matrix, performance
from witness.lab.devices import DEVICES
from witness.lab.experiment import Experiment, choose, experiments
from witness.lab.pool import Job, run_jobs
from witness.lab.rounds import Order, Progress, Rounds, Say
from witness.lab.trials import jobs_of
from witness.machine.description import Machine
from witness.machine.qemu import Settings, Unusable
from witness.machine.record import Outcome
from witness.report.results import Facts
from witness.report.table import place

# It has the known results of the matrix.
DOCUMENT = ROOT / "docs" / "lab.md"

MATRIX = "matrix"

# The number of cells between two lines of progress.
PROGRESS = 24


@dataclass(frozen=True)
class Choice:
    """The experiments and cells to run."""

    experiments: Mapping[str, Experiment]
    cells: list[matrix.Cell]

    @classmethod
    def of(cls, names: Sequence[str]) -> Choice:
        """Names such as c06, l02, matrix, keep-msi/*/edu; none: everything."""
        patterns = [name for name in names or (MATRIX,) if name == MATRIX or "/" in name]
        cells = (cell for name in patterns for cell in matrix.cells("*/*/*" if name == MATRIX else name))
        return cls(choose(experiments(), names, patterns), [*dict.fromkeys(cells)])


def lab(order: Order) -> Outcome:
    how = performance.settings(order.environment)
    choice = Choice.of(order.names)
    machines = [trial.machine for e in choice.experiments.values() for trial in e.trials]
    check_devices(how, [*machines, *(DEVICES[name].machine for name in {cell.device for cell in choice.cells})])
    directory = order.build / "lab"
    return Rounds(lambda: measure(order.build, directory, choice, how, order.say), order, directory, DOCUMENT).run()


def measure(build: Path, directory: Path, choice: Choice, how: Settings, say: Say) -> Facts:
    """One run of everything."""
    how = replace(how, firmware=how.firmware.without_tpm(directory / "firmware.fd"))
    progress = Progress(len(choice.experiments), say)
    cells: list[Facts] = []

    def cell_done(result: Facts, of: Mapping[str, str]) -> None:
        cells.append(result)
        progress.versions |= of
        if result["outcome"] != "ran":
            say(f"matrix: {'/'.join(place(result))}: {result['outcome']}: {result['why']}")
        if len(cells) % PROGRESS == 0 or len(cells) == len(choice.cells):
            say(f"matrix: {len(cells):3} of {len(choice.cells)} cells")

    jobs: list[Job[Any]] = []
    for experiment in choice.experiments.values():
        jobs += jobs_of(experiment, directory, progress.done)
    jobs += matrix.jobs_of(choice.cells, directory, cell_done)
    run_jobs(jobs, build, directory / "snapshots", how)
    return progress.results(choice.experiments, matrix.described(cells) if cells else None)


def check_devices(how: Settings, machines: Iterable[Machine]) -> None:
    """Refuse a QEMU that lacks a device of these machines."""
    wanted = {device for machine in machines for device in machine.models()}
    try:
        known = subprocess.run([how.qemu, "-device", "help"], check=True, capture_output=True, text=True).stdout
    except OSError as error:
        raise Unusable(f"{how.qemu}: {error.strerror}") from None
    except subprocess.CalledProcessError as error:
        raise Unusable(f"{how.qemu} -device help: exit status {error.returncode}") from None
    missing = sorted(wanted - set(re.findall(r'^name "([^"]+)"', known, re.MULTILINE)))
    if missing:
        raise Unusable(f"{how.qemu} has no device {', '.join(missing)}")
