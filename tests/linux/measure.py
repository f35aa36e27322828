# SPDX-License-Identifier: BSD-2-Clause
"""What several experiments with Linux measure, in addition to those of the lab (tests/claims/measure.py)."""

from __future__ import annotations

import re
from typing import Iterable

from witness.devices import not_driven, working
from witness.evidence.interrupts import own_messages
from witness.lab.experiment import Unshown
from witness.linux.trial import Seen
from witness.machine.record import Ram
from witness.pci.topology import Bdf
from witness.report.timeline import last_lines
from witness.trace.events import REQUEST_PATTERNS, BlockRequest, Msi

NONE = "none"

# Puts the requests of a machine's disks into its trace.
TRACE_REQUESTS = tuple(option for name in REQUEST_PATTERNS for option in ("-trace", name))


def names(functions: Iterable[Bdf], separator: str = ", ") -> str:
    return separator.join(map(str, sorted(functions))) or NONE


def drivers(seen: Seen, nth: int = -1) -> dict[Bdf, str]:
    """Of each function, as Linux reports, the last time or the nth; empty where it has none."""
    lines = (line.partition(" ") for line in seen.reported("drivers", nth))
    return {Bdf.parse(function): driver for function, _, driver in lines}


def last_line(seen: Seen) -> int:
    """Where the last image of ours that hands over logs that."""
    lines = last_lines(seen.case)
    if not lines:
        raise Unshown("no image of ours has logged a line")
    return lines[-1]


def requests_in_flight(seen: Seen, line: int) -> int:
    """Those that the disks have taken and not returned."""
    taken: set[int] = set()
    for event in seen.case.within(BlockRequest, range(line)):
        (taken.discard if event.done else taken.add)(event.id)
    return len(taken)


def messages_of(seen: Seen, functions: Iterable[Bdf], given: int, lines: range) -> list[Msi]:
    """The messages in these lines that the functions were programmed with by then. Those of the I/O APIC and of the timer look
    alike in QEMU's trace."""
    case = seen.case
    own = set().union(*(own_messages(case, case.topology.functions[bdf], range(given)) for bdf in functions))
    return [message for message in seen.messages(lines) if (message.address, message.data) in own]


def registers(monitor: bytes) -> list[dict[str, int]]:
    """Of each CPU, in QEMU's `info registers -a`; HLT is whether it is halted."""
    texts = monitor.decode().split("CPU#")[1:]
    return [{name: int(value, 16) for name, value in re.findall(r"\b([A-Z][A-Z0-9]+) *= *([0-9a-f]+)", text)} for text in texts]


def idle(seen: Seen, lines: range, ram: Ram | None, last: bool = True) -> list[tuple[Bdf, str]]:
    """The devices that have a driver of ours, with what these lines and RAM lack of its work."""
    return [(one.bdf, what) for one, _ in working(seen.case) for what in not_driven(seen.case, one, lines, ram, last)]
