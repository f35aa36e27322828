# SPDX-License-Identifier: BSD-2-Clause
"""A timeline as a Value Change Dump (IEEE 1364-2005, clause 18) for GTKWave: one time unit is one tick, a scope is a function.

Levels are wires of one bit, pulses are events. A text, and the value of a pulse, is a variable of type string. The standard does
not have it, but GTKWave shows it as text; it would show a register of eight bits a character as one long number.
"""

from __future__ import annotations

import re
from itertools import count, groupby
from pathlib import Path
from typing import Iterator, Sequence

from witness.report.timeline import Lane, Point, Timeline

# Identifier codes consist of printable characters.
FIRST_CODE, CODES = ord("!"), ord("~") - ord("!") + 1

IDENTIFIER = re.compile(r"[^0-9A-Za-z_]+")

# The variable with a pulse's value, next to its event.
CARRIED = "_value"


def write_vcd(timeline: Timeline, path: Path) -> None:
    path.write_text("\n".join([*_lines(timeline), ""]), encoding="ascii")


def _lines(timeline: Timeline) -> Iterator[str]:
    yield "$comment one time unit is one tick of trace lines: see the tick's own text $end"
    yield "$timescale 1 ns $end"
    codes = map(_code, count())
    changes: list[tuple[int, str]] = []  # tick, value change
    lanes = [Lane("trace: tick", "text", [Point(at, f"{tick.line} {tick.text}") for at, tick in enumerate(timeline.ticks)])]
    for scope, members in groupby([*lanes, *timeline.lanes], key=lambda lane: lane.name.partition(": ")[0]):
        yield f"$scope module {_identifier(scope)} $end"
        for lane in members:
            yield from _declare(lane, codes, changes)
        yield "$upscope $end"
    yield "$enddefinitions $end"
    changes.sort(key=lambda change: change[0])
    for at, at_once in groupby(changes, key=lambda change: change[0]):
        yield f"#{at}"
        yield from (change for _, change in at_once)


def _declare(lane: Lane, codes: Iterator[str], changes: list[tuple[int, str]]) -> Iterator[str]:
    name, code = _identifier(lane.name.partition(": ")[2]), next(codes)
    if lane.kind == "level":
        yield f"$var wire 1 {code} {name} $end"
        changes += [(point.at, f"{point.value}{code}") for point in lane.points]
    elif lane.kind == "text":
        yield f"$var string 1 {code} {name} $end"
        changes += _texts(lane.points, code)
    else:
        carried = next(codes)
        yield f"$var event 1 {code} {name} $end"
        yield f"$var string 1 {carried} {name}{CARRIED} $end"
        changes += [(point.at, f"1{code}") for point in lane.points] + _texts(lane.points, carried)


def _texts(points: Sequence[Point], code: str) -> list[tuple[int, str]]:
    return [(point.at, f"s{_escaped(str(point.value))} {code}") for point in points]


def _code(number: int) -> str:
    """The digits of a number to this base, the least significant first."""
    number, digit = divmod(number, CODES)
    return chr(FIRST_CODE + digit) + (_code(number - 1) if number else "")


def _identifier(text: str) -> str:
    return IDENTIFIER.sub("_", text).strip("_") or "_"


def _escaped(text: str) -> str:
    """As GTKWave reads it: white space ends a value, so white space, backslashes and all beyond ASCII are octal."""
    return "".join(chr(b) if 0x21 <= b <= 0x7E and b != 0x5C else f"\\{b:03o}" for b in text.encode())
