# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a VCD says what its timeline does, and viewers read that: each identifier is one variable's, time goes forward, each
value has the form of its variable.

It could be false where names hold white space, where there are more variables than characters, where a text holds what would end
it, or where a level changes twice at once. The parser here accepts nothing that IEEE 1364-2005, clause 18, does not; and strings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.witness.lab_results import stories

from witness.report.timeline import Lane, Point, Tick, Timeline
from witness.report.vcd import write_vcd

UNIT = re.compile(r"(?:1|10|100) ?(?:s|ms|us|ns|ps|fs)")
VALUES = {"wire": re.compile(r"([01xz])(\S+)"), "event": re.compile(r"(1)(\S+)"), "string": re.compile(r"s(\S*) (\S+)")}
OCTAL = re.compile(rb"\\([0-7]{3})")


@dataclass
class Variable:
    kind: str
    name: str
    changes: list[tuple[int, str]] = field(default_factory=list)


def unescaped(text: str) -> str:
    return OCTAL.sub(lambda m: bytes([int(m[1], 8)]), text.encode("ascii")).decode()


def parse(text: str) -> list[Variable]:
    """The variables in order, each with its changes."""
    head, separator, body = text.partition("$enddefinitions $end\n")
    assert separator and text.isascii()
    variables: dict[str, Variable] = {}
    scopes: list[str] = []
    timescales = 0
    for line in head.splitlines():
        keyword, *words, end = line.split(" ")
        assert end == "$end", line
        if keyword == "$timescale":
            assert UNIT.fullmatch(" ".join(words))
            timescales += 1
        elif keyword == "$scope":
            kind, name = words
            assert kind == "module"
            scopes.append(name)
        elif keyword == "$upscope":
            scopes.pop()
        elif keyword == "$var":
            kind, size, code, name = words
            assert size == "1" and kind in VALUES and code not in variables and all("!" <= c <= "~" for c in code)
            variables[code] = Variable(kind, f"{'.'.join(scopes)}.{name}")
        else:
            assert keyword == "$comment", line
    assert timescales == 1 and not scopes
    names = [variable.name for variable in variables.values()]
    assert len(set(names)) == len(names)
    now = -1
    for line in body.splitlines():
        if line.startswith("#"):
            assert int(line[1:]) > now
            now = int(line[1:])
            continue
        kinds = [(kind, match) for kind, pattern in VALUES.items() if (match := pattern.fullmatch(line))]
        kind, match = next((k, m) for k, m in kinds if m[2] in variables and variables[m[2]].kind == k)
        assert now >= 0 and match
        variables[match[2]].changes.append((now, match[1]))
    return list(variables.values())


def check(timeline: Timeline, path: Path) -> None:
    """Each lane against its variables."""
    write_vcd(timeline, path)
    ticks, *variables = parse(path.read_text(encoding="ascii"))
    assert [unescaped(value) for _, value in ticks.changes] == [f"{tick.line} {tick.text}" for tick in timeline.ticks]
    rest = iter(variables)
    for lane in timeline.lanes:
        variable = next(rest)
        expected = [(point.at, str(point.value)) for point in lane.points]
        if lane.kind == "pulse":
            assert variable.kind == "event" and [at for at, _ in variable.changes] == [at for at, _ in expected]
            variable = next(rest)
        changes = variable.changes if lane.kind == "level" else [(at, unescaped(value)) for at, value in variable.changes]
        assert variable.kind == ("wire" if lane.kind == "level" else "string") and changes == expected
    assert next(rest, None) is None


@pytest.mark.parametrize("policy", ["keep-msi", "disable-msi", "none"])
def test_stories(tmp_path: Path, policy: str) -> None:
    check(stories(tmp_path)[policy], tmp_path / "out.vcd")


def test_more_variables_than_characters(tmp_path: Path) -> None:
    """94 of one character, 8836 of two."""
    lanes = [Lane(f"00:{n >> 3:02x}.{n & 7}: BM", "level", [Point(0, n & 1)]) for n in range(9100)]
    check(Timeline([Tick(1, "one")], lanes), tmp_path / "out.vcd")


@pytest.mark.parametrize("text", ["", "two words", "$end", "#5", "\\040 \\", "tab\tand\nline", "×1000 ü", '"quoted"'])
def test_hostile_text(tmp_path: Path, text: str) -> None:
    lanes = [Lane("a b: c d", "text", [Point(0, text)]), Lane(f"x: {text or 'y'}", "pulse", [Point(0, text)])]
    check(Timeline([Tick(1, text)], lanes), tmp_path / "out.vcd")


def test_the_parser_says_no(tmp_path: Path) -> None:
    """The negative twin: of each kind of damage, one."""
    path = tmp_path / "out.vcd"
    write_vcd(stories(tmp_path)["keep-msi"], path)
    good = path.read_text(encoding="ascii")
    parse(good)
    damage = {"#2\n": "#1\n", "$upscope $end\n": "", "1 ns": "2 ns", "wire 1 $": "wire 1 !", "\\040": " ", "\n0": "\n2"}
    for old, new in damage.items():
        assert old in good
        with pytest.raises((AssertionError, StopIteration, ValueError)):
            parse(good.replace(old, new, 1))
