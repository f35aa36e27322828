# SPDX-License-Identifier: BSD-2-Clause
"""The clock of a handoff, from bus master and MSI alone; a Linux trace is read by the same rules.

    MSI on ... | out: first clear ... last bus-master clear | window | in: first bus-master set ... | out ...

Where no function ever has MSI on, because there is no device or none has MSI, each bus-master clear under an image of ours counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Sequence

from witness.trace.state import Change


@dataclass(frozen=True)
class Hop:
    """One handoff. Ranges are trace lines; each begins where the one before ends."""

    number: int
    out: range
    window: range
    inward: range


class Edges(NamedTuple):
    """The lines where a hop's phases begin."""

    out: int
    window: int
    inward: int


class Clock:
    """Reads changes in order. A hop counts only if a bus master was cleared in it: a kernel that clears MSI on functions
    whose bus master stayed on (policy `none`) hands over without an out phase.
    """

    def __init__(self, armed: bool = False) -> None:
        self._armed = self._always = armed  # whether a clear counts, with or without MSI
        self._first = self._last = 0  # lines of the out phase so far; 0 = none

    def read(self, change: Change) -> Edges | None:
        """The hop whose window this change ends: a bus master is set again."""
        if self._last:
            if change.master_cleared:
                self._last = change.line
            elif change.master_set:
                edges = Edges(self._first, self._last + 1, change.line)
                self._armed, self._first, self._last = self._always, 0, 0
                return edges
        elif change.msi_enabled:
            self._armed, self._first = True, 0
        elif self._armed and (change.master_cleared or change.msi_disabled):
            self._first = self._first or change.line
            self._last = change.line if change.master_cleared else 0
        return None

    def unfinished(self, end: int) -> Edges | None:
        """The hop that is not over where a trace of `end` lines ends."""
        return Edges(self._first, self._last + 1, end + 1) if self._last else None


def hops(changes: Sequence[Change], end: int, first: int = 1, entered: int | None = None) -> list[Hop]:
    """The handoffs in a trace of `end` lines, numbered from `first`. An image of ours is first entered at line `entered`."""
    without_msi = not any(change.msi_enabled for change in changes)
    if without_msi:
        changes = [change for change in changes if entered is not None and change.line >= entered]
    clock = Clock(armed=without_msi)
    found = [edges for edges in map(clock.read, changes) if edges]
    if last := clock.unfinished(end):
        found.append(last)
    stops = [edges.out for edges in found[1:]] + [end + 1]
    return [
        Hop(number, range(out, window), range(window, inward), range(inward, stop))
        for number, ((out, window, inward), stop) in enumerate(zip(found, stops), first)
    ]
