# SPDX-License-Identifier: BSD-2-Clause
"""The parts of an experiment, and its conclusion.

A claim is a pair: trials in which it must hold, and controls in which the opposite must happen. If a control does not agree, the
experiment has shown nothing, whatever the other trials show.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping, Sequence

from witness import ROOT
from witness.lab.stage import Action
from witness.machine.description import Machine
from witness.machine.qemu import Unusable
from witness.report.text import fault

CLAIMS = ROOT / "tests" / "claims"
FILE = re.compile(r"([a-z]\d\d)_\w+\.py")


class Role(str, Enum):
    CLAIM = "claim"  # what is asserted, or the limit as it shows
    CONTROL = "control"  # the same with one thing changed: the opposite happens
    CURE = "cure"  # of a limit: the remedy in a kernel


class Conclusion(str, Enum):
    HOLDS = "holds"
    REFUTED = "refuted"
    NOT_SHOWN = "not shown"  # a control does not agree
    COULD_NOT_RUN = "could not run"


@dataclass(frozen=True)
class Value:
    """One measured value of a trial."""

    what: str
    measured: int | str
    expected: str
    agrees: bool
    evidence: str = ""  # trace lines, addresses


def exactly(what: str, measured: int | str, expected: int | str, evidence: str = "") -> Value:
    return Value(what, measured, str(expected), measured == expected, evidence)


def at_least(what: str, measured: int, expected: int, evidence: str = "") -> Value:
    return Value(what, measured, f"at least {expected}", measured >= expected, evidence)


class Unshown(Exception):
    """A trial ended before its subject was reached; the text is one line with the reason."""


# Exceptions of a judge when a run lacks what it reads.
STUMBLES = (Unshown, ValueError, LookupError, OSError)


def reason(error: Exception) -> str:
    """The reason why a trial could not be judged."""
    return str(error) if isinstance(error, Unshown) else fault(error)


# Its argument is the lab's Observation, or Linux's Seen.
Judge = Callable[[Any], Sequence[Value]]


@dataclass(frozen=True)
class Trial:
    """One run of one image on one machine."""

    name: str
    role: Role
    machine: Machine
    image: str  # in build/claims/, entered in place of first
    judge: Judge
    words: str = ""  # the command line
    points: Mapping[str, Action] = field(default_factory=dict)  # the harness's actions at the image's points
    may_kill: bool = False  # QEMU itself may abort, which the judge examines


@dataclass(frozen=True)
class Experiment:
    title: str  # the claim, as a sentence
    source: str  # where the claim is made
    falsified_by: str  # the observation that would refute it
    provoked_by: str  # how the device is brought into the situation
    reading: str  # its meaning for the author of a kernel
    trials: tuple[Trial, ...]
    verdict: Conclusion = Conclusion.HOLDS  # as known; tests compare
    id: str = ""  # of its file


@dataclass(frozen=True)
class Shown:
    """The result of a trial."""

    trial: Trial
    values: tuple[Value, ...] = ()
    why: str = ""  # where it could not run

    @property
    def agrees(self) -> bool:
        return not self.why and all(value.agrees for value in self.values)


def conclude(shown: Iterable[Shown]) -> Conclusion:
    shown = list(shown)
    if any(s.why for s in shown):
        return Conclusion.COULD_NOT_RUN
    if not all(s.agrees for s in shown if s.trial.role is Role.CONTROL):
        return Conclusion.NOT_SHOWN
    return Conclusion.HOLDS if all(s.agrees for s in shown) else Conclusion.REFUTED


def load(file: Path) -> Experiment:
    """The EXPERIMENT of a file; its id is the beginning of the file's name."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    experiment: Experiment = module.EXPERIMENT
    object.__setattr__(experiment, "id", file.stem[:3])
    return experiment


def choose(known: Mapping[str, Experiment], only: Sequence[str], beside: Sequence[str] = ()) -> dict[str, Experiment]:
    """The named experiments, or all if none is named. beside: other names that are allowed."""
    for name in only:
        if name not in known and name not in beside:
            raise Unusable(f"ONLY={','.join(only)}: no experiment {name}, there are {' '.join(known)}")
    return {id: known[id] for id in known if id in only or not only}


def experiments(folder: Path = CLAIMS) -> dict[str, Experiment]:
    """Every experiment by its id, claims before limits."""
    files = sorted(file for file in folder.glob("*.py") if FILE.fullmatch(file.name))
    return {file.stem[:3]: load(file) for file in files}
