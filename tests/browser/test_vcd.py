# SPDX-License-Identifier: BSD-2-Clause
"""Claim: GTKWave reads a timeline's VCD as it is meant. Its own readers turn it into FST, the format that it works on, and back.

It could be false where it takes a text's end for another's begin, drops a level that comes back at once, or knows no such variable.
"""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
from tests.witness.lab_results import stories

from witness.report.vcd import write_vcd

VARIABLE = re.compile(r"\$var (\w+) \d+ (\S+) (\S+) \$end")
CHANGE = re.compile(r"(?:s(\S*) |([01xz]))(\S+)")

Changes = dict[str, list[tuple[int, str]]]


def changes(text: str) -> Changes:
    """Of each variable, by scope and name; what a reader gives to those that have no value yet is none of ours."""
    names: dict[str, str] = {}
    scopes: list[str] = []
    found: Changes = defaultdict(list)
    now = 0
    for line in text.splitlines():
        if line.startswith("$scope"):
            scopes.append(line.split()[2])
        elif line.startswith("$upscope"):
            scopes.pop()
        elif variable := VARIABLE.fullmatch(line):
            names[variable[2]] = f"{variable[1]} {'.'.join(scopes)}.{variable[3]}"
        elif line.startswith("#"):
            now = int(line[1:])
        elif (change := CHANGE.fullmatch(line)) and change[3] in names and change[2] != "x" and change[1] != "":
            found[names[change[3]]].append((now, change[1] or change[2]))
    return found


def reread(vcd: Path) -> str:
    fst = vcd.with_suffix(".fst")
    subprocess.run(["vcd2fst", vcd, fst], check=True, capture_output=True, timeout=60)
    return subprocess.run(["fst2vcd", fst], check=True, capture_output=True, timeout=60, text=True).stdout


@pytest.mark.parametrize("policy", ["keep-msi", "disable-msi", "none"])
def test_gtkwave_reads_what_was_written(tmp_path: Path, policy: str) -> None:
    vcd = tmp_path / "out.vcd"
    write_vcd(stories(tmp_path)[policy], vcd)
    written = changes(vcd.read_text(encoding="ascii"))
    assert len(written) > 10 and changes(reread(vcd)) == written


def test_another_dump_is_read_otherwise(tmp_path: Path) -> None:
    """The negative twin: one change less."""
    vcd = tmp_path / "out.vcd"
    write_vcd(stories(tmp_path)["keep-msi"], vcd)
    text = vcd.read_text(encoding="ascii")
    vcd.write_text(re.sub(r"(?m)^0\S+\n", "", text, count=1), encoding="ascii")
    assert changes(reread(vcd)) != changes(text)
