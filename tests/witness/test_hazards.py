# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a line counts as disabled by a kernel if it was masked as irq/spurious.h does it: after that many interrupts, and while
it is still up.

It could be false of a line that was masked for another reason: as a driver does once its device has lowered it, or as whoever
masks all of them. Provoked by interrupts of one line and one write to the 8259 that has it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.witness.scene import gsi, memory_write

from witness.evidence.case import Case
from witness.judge.hazards import SPURIOUS_UNHANDLED, disabled_lines
from witness.machine.description import Machine
from witness.machine.record import Run
from witness.trace.events import parse

TAKEN = SPURIOUS_UNHANDLED + 1  # interrupts of IRQ 11, to which GSI 21 is routed
MASK = memory_write("pic", 0xA1, 0x08, 1)
OPEN = [memory_write("pic", 0x21, 0x00, 1), memory_write("pic", 0xA1, 0x00, 1)]


@pytest.mark.parametrize(
    "before, taken, level, mask, found",
    [
        pytest.param(OPEN, TAKEN, 1, MASK, [11], id="while_it_is_up"),
        pytest.param(OPEN, TAKEN, 0, MASK, [], id="when_it_is_down"),
        pytest.param(OPEN, TAKEN - 1, 1, MASK, [], id="too_early"),
        pytest.param(OPEN, TAKEN, 1, memory_write("pic", 0xA1, 0xF7, 1), [], id="another_line"),
        pytest.param(OPEN, TAKEN, 1, memory_write("pic", 0x21, 0x08, 1), [], id="the_other_8259"),
        pytest.param([], TAKEN, 1, MASK, [], id="as_it_was_already"),
    ],
)
def test_a_line_that_is_disabled(before: list[str], taken: int, level: int, mask: str, found: list[int]) -> None:
    interrupts = taken * ["pic_interrupt irq 11 intno 43"]
    lines = [*before, *gsi(21, 1), *interrupts, *gsi(21, level), mask]
    case = Case(Run(Path(), Machine(), {}, "", {}), parse(lines))
    assert [(line.irq, line.delivered) for line in disabled_lines(case, range(case.end + 1))] == [(irq, taken) for irq in found]
