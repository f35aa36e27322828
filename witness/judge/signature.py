# SPDX-License-Identifier: BSD-2-Clause
"""Whether the accesses to a machine's functions are exactly those of a policy's signature (policies.py)."""

from __future__ import annotations

from itertools import zip_longest
from typing import Sequence

from witness import devices
from witness.evidence.case import Case
from witness.judge.policies import RESET, Policy, Step, Subject, Update, config_read, config_write
from witness.pci.registers import PCI_STD_HEADER_SIZEOF
from witness.pci.topology import Bdf, Function
from witness.trace.events import ConfigRead, ConfigWrite, Event, MmioWrite
from witness.trace.state import Change


def last_resets(case: Case, lines: range) -> list[MmioWrite]:
    """Each function's last write into a BAR, if it belongs to a reset."""
    last = {case.bars.owner(write.address, write.line): write for write in case.device_writes(lines)}
    return [write for write in last.values() if devices.resets(write)]


def contradictions(case: Case, lines: range, policy: Policy, done: Sequence[Event]) -> tuple[list[str], int, int]:
    """There may be only 16-bit writes, each changing exactly the bits of its step, in order.

    Returns the contradictions, the number of expected writes, and the number of functions accessed.
    """
    changes = {change.line: change for change in case.changes(lines)}
    seen: dict[Bdf, list[str]] = {}
    for event in sorted(done, key=lambda event: event.line):
        bdf, done_step = step(case, event, changes.get(event.line))
        seen.setdefault(bdf, []).append(done_step)
    problems = []
    updates = 0
    for bdf in sorted({*case.topology.functions, *seen}):
        expected = list(map(str, steps := expected_steps(case, bdf, lines.start, policy)))
        updates += sum(isinstance(step, Update) for step in steps)
        for got, want in zip_longest(seen.get(bdf, []), expected):
            if got is None or want is None or got.partition(" [")[0] != want:
                problems.append(f"{bdf}: {got or 'nothing'} instead of {want or 'nothing'}")
                break
    return problems, updates, len(seen)


def expected_steps(case: Case, bdf: Bdf, line: int, policy: Policy) -> list[Step]:
    """An unknown function has a command register only."""
    function = case.topology.functions.get(bdf, Function(bdf, bytes(PCI_STD_HEADER_SIZEOF)))
    model = devices.model_of(function)
    resets = model is not None and model.reset is not devices.Reset.NONE
    return policy.signature(Subject(function, case.registers(bdf, line), resets))


def step(case: Case, event: Event, change: Change | None) -> tuple[Bdf, str]:
    """The function, and the access as a policy's step, with its place in brackets; any other access is printed as it is."""
    where = f" [trace {event.line}]"
    if isinstance(event, ConfigRead):
        return event.bdf, str(config_read(event.offset)) + where
    if isinstance(event, MmioWrite):
        owner = case.bars.owner(event.address, event.line)
        assert owner
        return owner, str(RESET) + where
    assert isinstance(event, ConfigWrite)
    if change is None or event.size != 2:
        return event.bdf, str(config_write(event.offset, event.value, event.size)) + where
    return event.bdf, str(Update(change.register, change.cleared, change.set)) + where
