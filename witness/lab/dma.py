# SPDX-License-Identifier: BSD-2-Clause
"""DMA into pieces of RAM during a handoff, by device.

A hit belongs to a device if the outgoing kernel had given it the address, as a ring, a buffer or a target. Else it is unknown.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from itertools import accumulate
from typing import NamedTuple

from witness import devices
from witness.evidence.case import Case
from witness.machine.record import Ram
from witness.pci.topology import Bdf

# Hits are counted in units of UNIT bytes: one in 256 random bytes equals the old one.
UNIT = 16


class Given(NamedTuple):
    start: int
    stop: int
    bdf: Bdf


def given(case: Case, lines: range, ram: Ram) -> list[Given]:
    """The addresses that devices had been given by the end of these lines, in order."""
    found = []
    for function, model in devices.bound(case):
        extents = [extent.addresses for extent in model.structures(case, function, lines)]
        extents += [landing.addresses for request in model.requests(case, function, lines, ram) for landing in request.writes]
        found += [Given(extent.start, extent.stop, function.bdf) for extent in extents]
    return sorted(found)


def hits(before: bytes, after: bytes, start: int, known: list[Given]) -> Counter[Bdf | None]:
    """Changed bytes, in whole units, in a piece of RAM that begins at start, by device; None: the address was given to none."""
    found: Counter[Bdf | None] = Counter()
    if before == after:
        return found
    reach: list[int] = list(accumulate((one.stop for one in known), max))
    for at in range(0, len(before), UNIT):
        if before[at:at + UNIT] != after[at:at + UNIT]:
            found[_owner(range(start + at, start + at + UNIT), known, reach)] += UNIT
    return found


def _owner(unit: range, known: list[Given], reach: list[int]) -> Bdf | None:
    """reach: for each extent the highest end up to it, so that extents that end before the unit are skipped."""
    last = bisect_right(known, unit.stop - 1, key=lambda one: one.start) - 1
    while last >= 0 and reach[last] > unit.start:
        if known[last].stop > unit.start:
            return known[last].bdf
        last -= 1
    return None
