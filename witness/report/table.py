# SPDX-License-Identifier: BSD-2-Clause
"""Results as plain text: for the terminal the overview and one experiment, for docs/lab.md and docs/linux.md tables with readings.

The input is a results.json, as for page.py.
"""

from __future__ import annotations

import textwrap
from itertools import product
from typing import Iterable, Iterator

from witness.report.document import made
from witness.report.results import Facts
from witness.report.timeline import Lane, Timeline

WIDTH = 100

NONE, PAID, NOT_RUN, DIED = ".", "o", "-", "!"

VERSIONS = ("git", "QEMU", "OVMF")

# The price of a cleared bus master under any policy. It harms only the owner of the lost work.
PRICE = ("DMA to reserved RAM", "work lost")

KINDS = {"claim": "Claims", "limit": "Limits", "linux": "Linux"}

# In a lane: the most characters a tick, and the signs.
COLUMNS_MAX = 8
LOW, HIGH, SPIKE, PULSE, SINCE = "_", "#", "|", "^", "|"

# --- also used by the page ---


def kinds(cell: Facts) -> list[str]:
    """The hazards of a cell of the matrix."""
    return [hazard for hazard, count in cell["hazards"].items() if count]


def harms(cell: Facts) -> list[str]:
    """The hazards that harm others."""
    return [hazard for hazard in kinds(cell) if hazard not in PRICE]


def symbol(cell: Facts) -> str:
    if cell["outcome"] == "could not run":
        return NOT_RUN
    if cell["outcome"] == "QEMU died":
        return DIED
    return str(len(harms(cell)) or (PAID if kinds(cell) else NONE))


def in_full(cell: Facts) -> str:
    """The meaning of the symbol."""
    found = [f"{hazard}: {cell['hazards'][hazard]}" for hazard in kinds(cell)]
    if cell["outcome"] != "ran":
        found.insert(0, f"{cell['outcome']}: {cell['why']}")
    found = found or ["no hazard"]
    if unlike(cell):
        found.append(f"config accesses: {cell['signature']}")
    return "; ".join([*found, *cell["notes"]])


def unlike(cell: Facts) -> bool:
    """Whether a policy's accesses differ from its signature; unknown for a cell that did not run."""
    return bool(cell["outcome"] == "ran" and cell["signature"] != "as expected")


def words(cell: Facts) -> str:
    """The part of a cell that is the same in every run, on every host."""
    return ", ".join(kinds(cell)) or "none" if cell["outcome"] == "ran" else str(cell["outcome"])


def place(cell: Facts) -> tuple[str, str, str]:
    return cell["out"], cell["in"], cell["device"]


def absent(out: str, inward: str, device: str) -> Facts:
    """A cell that is not in the results."""
    why = "not in the results"
    return {"out": out, "in": inward, "device": device, "outcome": "could not run", "why": why,
            "hazards": {}, "notes": [], "signature": ""}  # fmt: skip


def grid(matrix: Facts) -> Iterator[tuple[str, str, list[Facts]]]:
    """Each pair of policies, out and in, that has a cell, with its cell for each device."""
    cells = {place(cell): cell for cell in matrix["cells"]}
    for out, inward in product(matrix["out"], matrix["in"]):
        row = [(out["name"], inward["name"], device) for device in matrix["devices"]]
        if not cells.keys().isdisjoint(row):
            yield out["name"], inward["name"], [cells.get(where) or absent(*where) for where in row]


def state(case: Facts) -> str:
    """The state of a case; one without values did not run."""
    if not case["values"]:
        return "could not run"
    return "agrees" if case["agrees"] else "does not agree"


def agreeing(experiment: Facts) -> str:
    """The number of cases that agree."""
    return f"{sum(state(case) == 'agrees' for case in experiment['cases'])} of {len(experiment['cases'])}"


def ordered_versions(results: Facts) -> dict[str, str]:
    """The versions that the results belong to, in the order of every report."""
    known = results["versions"]
    return {name: known[name] for name in dict.fromkeys((*VERSIONS, *known)) if name in known}


# --- the terminal ---


def overview(results: Facts) -> list[str]:
    """A line for each experiment, then the matrix: a row for each pair of policies."""
    parts = [[", ".join(f"{name} {version}" for name, version in ordered_versions(results).items())]]
    parts += [[_row(e) for e in results["experiments"] if e["kind"] == kind] for kind in KINDS]
    parts += [_matrix(results["matrix"])] if results["matrix"] else []
    return "\n\n".join("\n".join(part) for part in parts if part).splitlines()


def _row(experiment: Facts) -> str:
    right = f"{experiment['verdict']:13} {agreeing(experiment):>8}"
    room = WIDTH - len(experiment["id"]) - len(right) - 4
    return f"{experiment['id']}  {textwrap.shorten(experiment['title'], room, placeholder=' …'):{room}}  {right}"


def _matrix(matrix: Facts) -> list[str]:
    rows = [("out -> in", matrix["devices"]), *((f"{out} -> {inward}", map(symbol, cells)) for out, inward, cells in grid(matrix))]
    wide, widths = max(len(pair) for pair, _ in rows) + 2, [len(device) for device in matrix["devices"]]
    lines = [f"{pair:{wide}}" + "  ".join(f"{text:{width}}" for text, width in zip(row, widths)).rstrip() for pair, row in rows]
    kinds_of_harm = [hazard for hazard in matrix["hazards"] if hazard not in PRICE]
    meaning = f"{PAID} only {' or '.join(PRICE)}, {NONE} nothing, {DIED} QEMU died, {NOT_RUN} could not run"
    lines += ["", f"kinds of harm of {len(kinds_of_harm)}: {', '.join(kinds_of_harm)}; {meaning}"]
    whys: dict[str, list[str]] = {}
    for cell in matrix["cells"]:
        if cell["outcome"] != "ran":
            whys.setdefault(f"{cell['outcome']}: {cell['why']}", []).append(cell["device"])
    return [*lines, *(f"  {why} ({', '.join(dict.fromkeys(devices))})" for why, devices in whys.items())]


def express(experiment: Facts) -> list[str]:
    """One experiment: the values of its cases, and their timelines."""
    lines = [f"{experiment['id']}  {experiment['title']}", ""]
    for word, key in (("from", "source"), ("false if", "falsified_by"), ("provoked by", "provoked_by"), ("reading", "reading")):
        head = f"{word:12}"
        lines += textwrap.wrap(experiment[key], WIDTH, initial_indent=head, subsequent_indent=" " * len(head))
    for case in experiment["cases"]:
        lines += ["", f"{case['role']} {case['name']}: {state(case)}" + (f": {case['why']}" if case["why"] else "")]
        lines += [_value(value) for value in case["values"]]
        if case["timeline"]:
            lines += ["", *lanes(Timeline.of(case["timeline"]))]
        lines += [f"  {case['directory']}/"] if case["directory"] else []
    return [*lines, "", f"{experiment['verdict']} ({agreeing(experiment)} cases agree)"]


def express_cell(cell: Facts) -> list[str]:
    """One cell of the matrix: its hazards, and its timeline."""
    lines = [f"{', '.join(place(cell))}: {cell['outcome']}" + (f": {cell['why']}" if cell["why"] else "")]
    lines += [f"  {hazard}: {count}" for hazard, count in cell["hazards"].items()]
    lines += [f"  {note}" for note in cell["notes"]]
    lines.append(f"  config accesses: {cell['signature']}")
    lines += ["", *lanes(Timeline.of(cell["timeline"]))] if cell["timeline"] else []
    return [*lines, f"  {cell['directory']}/"] if cell["directory"] else lines


def _value(value: Facts) -> str:
    """The expected value is shown only where it differs from the measured one."""
    sign = "ok " if value["agrees"] else "NOT"
    expected = "" if str(value["measured"]) == value["expected"] else f", expected {value['expected']}"
    return f"  {sign} {value['what']}: {value['measured']}{expected}  {value['evidence']}".rstrip()


def lanes(timeline: Timeline) -> list[str]:
    """As many columns for each tick as fit; below, the text of each."""
    wide = max(len(lane.name) for lane in timeline.lanes) + 2
    size = len(timeline.ticks)
    columns = max(1, min((WIDTH - wide) // size, COLUMNS_MAX))
    lines = [f"  {lane.name:{wide}}{_drawn(lane, size, columns)}" for lane in timeline.lanes]
    lines += [f"  {'tick':{wide}}" + "".join(str(tick)[-columns:].ljust(columns) for tick in range(size)).rstrip(), ""]
    phases = {point.at: point.value for lane in timeline.lanes[:1] for point in lane.points}
    for number, tick in enumerate(timeline.ticks):
        lines += [f"  {phases[number]}"] if number in phases else []
        lines.append(f"  {number:4} {tick.line:>8}  {tick.text}")
    return lines


def _drawn(lane: Lane, size: int, columns: int) -> str:
    drawn = ""
    for point, stop in zip(lane.points, [*(point.at * columns for point in lane.points[1:]), size * columns]):
        if lane.kind == "pulse":
            drawn = drawn.ljust(point.at * columns) + PULSE
        elif lane.kind == "text":
            drawn += f"{SINCE}{point.value}".ljust(stop - len(drawn))[:stop - len(drawn)]
        elif stop == point.at * columns:  # it changes back within this tick
            drawn += SPIKE
        else:
            drawn += (HIGH if point.value else LOW) * (stop - len(drawn))
    return drawn.rstrip()


# --- the document ---


def markdown(results: Facts) -> str:
    """For a document: verdicts, readings, kinds of hazards; no number that differs from run to run."""
    lines = [", ".join(f"{name} {version}" for name, version in ordered_versions(results).items() if name != "git"), ""]
    for kind, word in KINDS.items():
        found = [e for e in results["experiments"] if e["kind"] == kind]
        if found:
            lines += [f"### {word}", "", *_markdown_table((kind, "verdict", "reading"), map(_markdown_row, found)), ""]
    if results["matrix"]:
        lines += _markdown_matrix(results["matrix"])
    return "\n".join(lines)


def _markdown_row(experiment: Facts) -> Iterator[str]:
    yield from (f"**{experiment['id']}** {experiment['title']}", experiment["verdict"], experiment["reading"])


def _markdown_matrix(matrix: Facts) -> list[str]:
    rows = ([out, inward, *map(words, cells)] for out, inward, cells in grid(matrix))
    return ["### Every policy against every other", "", *_markdown_table(("out", "in", *matrix["devices"]), rows), ""]


def rows(results: Facts) -> list[str]:
    """The row of each experiment."""
    return _rows(markdown(results))


def known_rows(document: str) -> list[str]:
    """The rows of experiments in a document."""
    return _rows(made(document))


def _rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| **")]


def known_cells(document: str) -> dict[tuple[str, str, str], str]:
    """The text of each cell in a document."""
    lines = made(document).splitlines()
    rows = [[field.strip() for field in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    head = next((number for number, row in enumerate(rows) if row[:2] == ["out", "in"]), len(rows))
    cells: dict[tuple[str, str, str], str] = {}
    for row in rows[head + 2:]:
        cells |= {(row[0], row[1], device): text for device, text in zip(rows[head][2:], row[2:])}
    return cells


def _markdown_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    escaped = [[" ".join(text.split()).replace("|", "\\|").replace("<", "&lt;") for text in row] for row in (head, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in escaped]
    return [lines[0], "|" + "---|" * len(escaped[0]), *lines[1:]]
