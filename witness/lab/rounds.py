# SPDX-License-Identifier: BSD-2-Clause
"""Results of experiments and the matrix: printed, saved, compared between repetitions and with the known ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping

from witness.machine.qemu import Unusable
from witness.machine.record import Outcome
from witness.report.document import with_made
from witness.report.page import write_page
from witness.report.results import Facts, write_results
from witness.report.table import (
    VERSIONS, express, express_cell, known_cells, known_rows, markdown, ordered_versions, overview, place, rows, unlike, words,
)  # fmt: skip

REPEAT_MAX = 1000

Say = Callable[..., None]


@dataclass(frozen=True)
class Order:
    """The options of a command."""

    build: Path
    only: str  # names, separated by commas; empty: everything
    repeat: int
    environment: Mapping[str, str]
    say: Say
    document: bool = False  # the results become the known ones

    @property
    def names(self) -> list[str]:
        return [name for name in self.only.split(",") if name]


@dataclass
class Progress:
    """The experiments that have ended; prints a line for each."""

    expected: int
    say: Say
    found: dict[str, Facts] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def done(self, result: Facts, of: Mapping[str, str]) -> None:
        self.found[result["id"]] = result
        self.versions |= of
        self.say(f"{len(self.found):3} of {self.expected}  {result['id']}  {result['verdict']:13} {result['title']}")

    def results(self, ids: Iterable[str], matrix: Facts | None = None) -> Facts:
        """The results as in results.json."""
        return {"versions": self.versions, "experiments": [self.found[id] for id in ids], "matrix": matrix}


@dataclass(frozen=True)
class Rounds:
    """measure is called order.repeat times; the table and the page are those of the first."""

    measure: Callable[[], Facts]
    order: Order
    directory: Path  # of the data and the page
    document: Path  # with the known results, in addition to the experiments' own files

    def run(self) -> Outcome:
        repeat, say = self.order.repeat, self.order.say
        if self.order.document and self.order.only:
            raise Unusable(f"ONLY={self.order.only}: the document needs all results")
        first = self.measure()
        publish(first, self.directory, say)
        outcome = self._outcome(first)
        for number in range(1, repeat):
            if different := differences(first, self.measure()):
                say(f"RESULT: FAIL (run {number + 1} of {repeat} differs: {different[0]})")
                return Outcome.FAIL
        same = f"{repeat} times the same, " if repeat > 1 else ""
        say(f"RESULT: {outcome.name} ({same}{summary(first)})")
        return outcome

    def _outcome(self, results: Facts) -> Outcome:
        """Whether all results are the known ones."""
        document = self.document.read_text(encoding="utf-8")
        if self.order.document:
            document = with_made(document, markdown(results))
            self.document.write_text(document, encoding="utf-8")
        lines = unknown(results, document)
        if not self.order.only and known_rows(document) != rows(results):
            stale = self.document
            lines.append(f"{stale.name} and the experiments' files differ: make docs-{stale.stem}")
        if lines:
            self.order.say(*(f"not as known: {line}" for line in lines))
        return Outcome.FAIL if lines else Outcome.PASS


def publish(results: Facts, directory: Path, say: Say) -> None:
    write_results(results, directory)
    write_page(results, directory / "index.html")
    say("")
    cells = cells_of(results)
    if len(results["experiments"]) == 1 and not cells:
        say(*express(results["experiments"][0]))
    elif len(cells) == 1 and not results["experiments"]:
        say(*express_cell(cells[0]))
    else:
        say(*overview(results))
    say("", f"page: {directory}/index.html   data: {directory}/results.json")


def cells_of(results: Facts) -> list[Facts]:
    return list(results["matrix"]["cells"]) if results["matrix"] else []


def unknown(results: Facts, document: str) -> list[str]:
    """Results that differ from their file or from the document."""
    lines = [f"{e['id']}: {e['verdict']}, known is {e['known']}" for e in results["experiments"] if e["verdict"] != e["known"]]
    known = known_cells(document)
    for cell in cells_of(results):
        where, expected = "/".join(place(cell)), known.get(place(cell), "nothing")
        if unlike(cell):
            lines.append(f"{where}: config accesses: {cell['signature']}")
        if words(cell) != expected or cell["outcome"] == "could not run":
            lines.append(f"{where}: {words(cell)}{': ' + cell['why'] if cell['why'] else ''}; known is {expected}")
    return lines


def summary(results: Facts) -> str:
    counts: dict[str, int] = {}
    for e in results["experiments"]:
        counts[e["verdict"]] = counts.get(e["verdict"], 0) + 1
    for cell in cells_of(results):
        what = "cells ran" if cell["outcome"] == "ran" else f"cells: {cell['outcome']}"
        counts[what] = counts.get(what, 0) + 1
    counted = ", ".join(f"{n} {what}" for what, n in counts.items())
    known = dict.fromkeys(VERSIONS, "unknown") | ordered_versions(results)
    return f"{counted}; {', '.join(f'{name} {version}' for name, version in known.items())}"


def substance(results: Facts) -> dict[str, Any]:
    """The part that must be the same each time: all but trace lines, files, and by how much a value exceeds its minimum."""
    return {
        f"{e['id']} {case['name']}: {value['what']}": value["expected"] if value["agrees"] else value["measured"]
        for e in results["experiments"]
        for case in e["cases"]
        for value in case["values"]
    } | {f"{e['id']} verdict": e["verdict"] for e in results["experiments"]} | {
        f"{'/'.join(place(cell))}: {what}": str(cell[what])
        for cell in cells_of(results)
        for what in ("outcome", "hazards", "notes", "signature")
    }


def differences(one: Facts, other: Facts) -> list[str]:
    a, b = substance(one), substance(other)
    return [f"{what}: {a.get(what)} and {b.get(what)}" for what in sorted(a.keys() | b.keys()) if a.get(what) != b.get(what)]
