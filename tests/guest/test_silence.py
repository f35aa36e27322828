# SPDX-License-Identifier: BSD-2-Clause
"""Claim: nothing is printed from the first register that shutdown writes to second's first interrupt.

A character takes a trap and a line takes longer than what a policy does to a function, so a log in the window would make the race
that the patch is about easier to win, or hide it. False if a character is sent in between, on either console; what was held must
still be in the log. The twins are the same trace before and after: there both consoles are in use.
"""

from __future__ import annotations

import pytest
from tests.guest.conftest import Boot, log_has

from witness.evidence.case import Case
from witness.machine.record import Run
from witness.trace.events import MmioWrite, Msi

CONSOLES = {0xE9, 0x3F8}  # QEMU's debug console; of COM1's ports the one that takes a character


@pytest.fixture(scope="module")
def record(shared: Boot) -> Run:
    return shared()


def window(case: Case) -> range:
    start = case.hops[0].out.start
    entered = case.entry_lines["second"]
    return range(start, next(case.within(Msi, range(entered, case.end + 1))).line)


def printed(case: Case, lines: range) -> set[int]:
    return CONSOLES & {write.address for write in case.within(MmioWrite, lines)}


def test_nothing_is_printed_in_the_window(record: Run) -> None:
    case = Case(record)
    assert not printed(case, window(case))
    assert log_has(record, "first  jump to second@")
    assert log_has(record, "second image second@")


def test_twin_the_consoles_are_in_use_before_and_after(record: Run) -> None:
    case = Case(record)
    silent = window(case)
    assert printed(case, range(case.entry_lines["first"], silent.start)) == CONSOLES
    assert printed(case, range(silent.stop, case.end + 1)) == CONSOLES
