# SPDX-License-Identifier: BSD-2-Clause
"""The clock of a hand-off, from bus master and MSI alone; it reads a Linux trace by the same rules.

    MSI on ... | out: first clear ... last bus-master clear | window | in: first bus-master set ... | out ...
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable

from witness.state import Change


@dataclass(frozen=True)
class Hop:
    """One hand-off. Ranges are trace lines; each begins where the one before ends."""

    number: int
    out: range
    window: range
    inward: range


def hops(changes: Iterable[Change], end: int) -> list[Hop]:
    """The hand-offs in a trace of `end` lines.

    A hop is one only if a bus master was cleared in it: a kernel that clears MSI on functions whose bus master stayed
    on (policy `none`) hands over without an out phase.
    """
    found: list[tuple[int, int, int]] = []  # first line of out, of window, of in
    armed = False
    first = last = 0  # lines of the out phase so far; 0 = none
    for change in changes:
        if last:
            if change.master_cleared:
                last = change.line
            elif change.master_set:
                found.append((first, last + 1, change.line))
                armed, first, last = False, 0, 0
        elif change.msi_enabled:
            armed, first = True, 0
        elif armed and (change.master_cleared or change.msi_disabled):
            first = first or change.line
            last = change.line if change.master_cleared else 0
    if last:
        found.append((first, last + 1, end + 1))
    starts = [first for first, _, _ in found[1:]] + [end + 1]
    return [
        Hop(number, range(out, window), range(window, inward), range(inward, stop))
        for number, ((out, window, inward), stop) in enumerate(zip(found, starts), 1)
    ]
