# SPDX-License-Identifier: BSD-2-Clause
"""Claim: the text says what the page does, in lines that fit a terminal; what goes into the document is the same from run to run.

It could be false where a title is long, where a cell did not run, or where a count slips into the document.
"""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

from tests.witness.lab_results import DEVICES, IN, OUT, Facts

from witness.report.table import WIDTH, express, kinds, lanes, markdown, overview, symbol
from witness.report.timeline import Lane, Point, Tick, Timeline


def test_a_line_for_each_experiment(results: Facts) -> None:
    lines = overview(results)
    for experiment in results["experiments"]:
        line = next(line for line in lines if line.startswith(experiment["id"]))
        assert len(line) <= WIDTH and experiment["verdict"] in line
        agree = sum(case["agrees"] and bool(case["values"]) for case in experiment["cases"])
        assert line.endswith(f"{agree} of {len(experiment['cases'])}")


def test_a_row_for_each_pair(results: Facts) -> None:
    rows = [line.split() for line in overview(results) if " -> " in line][1:]
    assert len(rows) == len(OUT) * len(IN)
    cells = iter(results["matrix"]["cells"])
    for row in rows:
        assert row[3:] == [symbol(next(cells)) for _ in DEVICES]


def test_signs(results: Facts) -> None:
    """What could not run is no dot, whatever it counted before."""
    cell = {**results["matrix"]["cells"][0], "hazards": {"stray MSI": 3, "work lost": 0}}
    assert [symbol({**cell, "outcome": outcome}) for outcome in ("ran", "QEMU died", "could not run")] == ["1", "!", "-"]
    assert symbol({**cell, "outcome": "ran", "hazards": {}}) == "."
    assert symbol({**cell, "outcome": "could not run", "hazards": {}}) == "-"
    # What bus master off costs by itself is no harm, and does not add to one.
    assert symbol({**cell, "outcome": "ran", "hazards": {"work lost": 8, "DMA to reserved RAM": 16}}) == "o"
    assert symbol({**cell, "outcome": "ran", "hazards": {"work lost": 8, "DMA to other RAM": 16}}) == "1"


def test_an_absent_cell_is_a_dash(results: Facts) -> None:
    results = copy.deepcopy(results)
    del results["matrix"]["cells"][0]
    rows = [line.split() for line in overview(results) if " -> " in line][1:]
    assert rows[0][3] == "-"


def test_one_experiment(results: Facts) -> None:
    for experiment in results["experiments"]:
        text = "\n".join(express(experiment))
        for case in experiment["cases"]:
            assert f"{case['role']} {case['name']}: " in text
            for value in case["values"]:
                expected = f"{value['what']}: {value['measured']}, expected {value['expected']}" in text
                assert f"{value['what']}: {value['measured']}" in text
                assert expected == (str(value["measured"]) != value["expected"])
            assert all(f"{tick['line']:>8}  {tick['text']}" in text for tick in (case["timeline"] or {"ticks": []})["ticks"])
        wrong = sum(not value["agrees"] for case in experiment["cases"] for value in case["values"])
        assert text.count("  NOT ") == wrong
        assert ("could not run" in text) == (experiment["verdict"] == "could not run")


def test_lanes() -> None:
    """Eight columns are a tick; what comes back within one is a stroke."""
    shown = lanes(Timeline(
        [Tick(line, f"at {line}") for line in range(10, 16)],
        [
            Lane("handoff: phase", "text", [Point(0, "driving"), Point(2, "out")]),
            Lane("f: BM", "level", [Point(0, 1), Point(3, 0)]),
            Lane("f: MSI", "level", [Point(0, 0), Point(2, 1), Point(2, 0), Point(5, 1)]),
            Lane("f: messages", "pulse", [Point(1, "0x41"), Point(4, "0x41 ×3")]),
        ],
    ))  # fmt: skip
    drawn = [line[2:].removeprefix(name).lstrip(" ") for line, name in zip(shown, ("handoff: phase", "f: BM", "f: MSI"))]
    assert drawn == [f"{'|driving':16}|out", 24 * "#" + 24 * "_", 16 * "_" + "|" + 23 * "_" + 8 * "#"]
    assert shown[3].endswith(f"  {'':8}^{'':23}^") and shown[4].endswith("0       1       2       3       4       5")
    assert sum(" at 1" in line for line in shown) == 6


def test_document(results: Facts) -> None:
    text = markdown(results)
    assert "<script" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 3 + len(results["experiments"]) + len(OUT) * len(IN)
    for experiment, row in zip(results["experiments"], (row for row in rows if row.startswith("| **"))):
        assert experiment["verdict"] in row and experiment["reading"] in row
    assert all(hazard in text for cell in results["matrix"]["cells"] for hazard in kinds(cell))


def other_run(value: Any, random: random.Random) -> Any:
    """The same with other numbers, where runs differ."""
    if isinstance(value, dict):
        return {key: other_run(one, random) for key, one in value.items() if key not in ("measured", "evidence", "timeline")}
    if isinstance(value, list):
        return [other_run(one, random) for one in value]
    return random.randrange(1, 1000) if type(value) is int and value else value


def test_the_document_of_another_run(results: Facts) -> None:
    again = other_run(results, random.Random(1))
    again["versions"]["git"] = "another"
    assert markdown(again) == markdown(results)


def test_the_document_of_another_finding(results: Facts) -> None:
    """The negative twin."""
    again = copy.deepcopy(results)
    next(cell for cell in again["matrix"]["cells"] if cell["outcome"] == "ran" and not kinds(cell))["hazards"]["work lost"] = 1
    assert markdown(again) != markdown(results)


def test_no_matrix(results: Facts, tmp_path: Path) -> None:
    assert not any(" -> " in line for line in overview({**results, "matrix": None}))
