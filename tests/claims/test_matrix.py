# SPDX-License-Identifier: BSD-2-Clause
"""A sample of the matrix: each policy at least once, and the two of 2015, on three devices that differ. `make lab`, which `make ci`
runs, has all.

A cell's hazards are those in docs/lab.md; its configuration accesses are those of its policies, and of no other
(tests/guest/test_policies.py exchanges any two).
"""

from __future__ import annotations

import os
from itertools import cycle
from pathlib import Path

import pytest

from witness.judge.policies import SHUTDOWN as OUT, STARTUP as IN
from witness.lab import performance
from witness.lab.devices import DEVICES
from witness.lab.lab import DOCUMENT, Choice, measure
from witness.lab.matrix import Cell
from witness.lab.rounds import unknown
from witness.report.results import Facts

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("O") or ROOT / "build")

REFERENCES = ("keep-msi", "disable-msi")
SAMPLED = ("virtio-blk", "edu", "ich9-ahci")
# Policies in and devices take turns.
OTHERS = [Cell(out, inward, device) for out, inward, device in zip(list(OUT)[2:], cycle(reversed(IN)), cycle(reversed(SAMPLED)))]
SAMPLE = [*(Cell(out, "disable-msi", device) for out in REFERENCES for device in SAMPLED), *OTHERS]


@pytest.fixture(scope="module")
def results() -> Facts:
    return measure(BUILD, BUILD / "test" / "matrix", Choice({}, SAMPLE), performance.settings(), lambda *lines: None)


def test_sample_has_everything() -> None:
    assert {cell.out for cell in SAMPLE} == set(OUT)
    assert {cell.inward for cell in SAMPLE} == set(IN)
    assert {cell.device for cell in SAMPLE} == set(SAMPLED) <= set(DEVICES)


@pytest.mark.parametrize("cell", SAMPLE, ids=str)
def test_cell_is_as_known(results: Facts, cell: Cell) -> None:
    found = [c for c in results["matrix"]["cells"] if (c["out"], c["in"], c["device"]) == (cell.out, cell.inward, cell.device)]
    assert len(found) == 1
    assert unknown({"experiments": [], "matrix": {"cells": found}}, DOCUMENT.read_text(encoding="utf-8")) == []


def test_the_two_of_2015_differ_where_the_patch_says(results: Facts) -> None:
    """With MSI off a device that is not switched off asserts INTx, and its neighbour loses the line; with MSI left on neither
    happens."""
    hazards = {(c["out"], c["device"]): c["hazards"] for c in results["matrix"]["cells"] if c["in"] == "disable-msi"}
    for device in ("edu", "ich9-ahci"):
        assert [hazards["disable-msi", device][hazard] for hazard in ("unhandled INTx", "IRQ disabled")] == [1, 1]
        assert [hazards["keep-msi", device][hazard] for hazard in ("unhandled INTx", "IRQ disabled")] == [0, 0]
