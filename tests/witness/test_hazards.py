# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a line counts as disabled by a kernel if it was masked as irq/spurious.h does it: after that many interrupts, and while
it is still up.

It could be false of a line that was masked for another reason: as a driver does once its device has lowered it, or as whoever
masks all of them. Provoked by interrupts of one line and one write to the 8259 that has it.

Claim: for a line that rose while its device had no owner, the functions that can have raised it are named, what lowered it, and how
often it interrupted.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.witness.scene import COMMAND, EDU, Scene, config_write, edu, gsi, memory_write

from witness.evidence.case import Case
from witness.judge.hazards import SPURIOUS_UNHANDLED, disabled_lines, unhandled_intx
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


ACKNOWLEDGED, INTX_OFF = edu(EDU, 0x64, 1), config_write(EDU, COMMAND, 0x403)


@pytest.mark.parametrize(
    "lines, lowered_by",
    [
        pytest.param([ACKNOWLEDGED], "a write to 00:05.0 edu", id="a_write"),
        pytest.param(INTX_OFF, "a write to config 0x04 of 00:05.0 edu", id="a_config_write"),
        pytest.param([ACKNOWLEDGED, *INTX_OFF], "a write to config 0x04 of 00:05.0 edu", id="the_last_of_two"),
        pytest.param([ACKNOWLEDGED, *8 * ["pic_interrupt irq 11 intno 43"]], "a read", id="long_ago"),
        pytest.param([*7 * ["-"], memory_write("pic", 0x20, 0x20, 1)], "a read", id="no_device"),
    ],
)
def test_who_lowered_a_line(scene: Scene, lines: list[str], lowered_by: str) -> None:
    """It rises in the window while edu has messages on: no known function can have raised it."""
    scene.before_step("jump", *gsi(21, 1), "pic_interrupt irq 11 intno 43", *lines, *gsi(21, 0))
    case = Case(scene.run())
    (found,) = unhandled_intx(case, case.hops[0])
    assert (found.gsi, found.suspects, found.lowered_by) == (21, (), lowered_by)
    assert found.delivered == 1 + "".join(lines).count("pic_interrupt")


def test_who_raised_it(scene: Scene) -> None:
    scene.drop(f"first-{EDU}-on")
    scene.replace(f"first-{EDU}-no-intx")
    scene.replace(f"out-{EDU}", *config_write(EDU, COMMAND, 0x3))
    scene.before_step("jump", *gsi(21, 1))
    case = Case(scene.run())
    (found,) = unhandled_intx(case, case.hops[0])
    assert (found.suspects, found.lowered_by) == (("00:05.0 edu",), "a write to 00:05.0 edu")
