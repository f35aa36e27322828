# SPDX-License-Identifier: BSD-2-Clause
"""Whether what was done to a machine's functions is what a policy does, and nothing else. What that is, policies.py says."""

from __future__ import annotations

from itertools import zip_longest
from typing import Sequence

from witness.devices import ahci, driving, e1000e, nvme, serial as uart
from witness.devices.virtio import COMMON_MASK, COMMON_REGION, DEVICE_STATUS
from witness.evidence.case import Case
from witness.judge import memory
from witness.judge.policies import RESET, Found, Signature, Step, Update, config_read, config_write
from witness.pci.registers import PCI_STD_HEADER_SIZEOF
from witness.pci.topology import Bdf, Function
from witness.trace.events import ConfigRead, ConfigWrite, Event, MmioWrite
from witness.trace.state import Change


def last_resets(case: Case, lines: range) -> list[MmioWrite]:
    """Each function's last write into a BAR, where that is what its reset is known by."""
    last = {case.bars.owner(write.address, write.line): write for write in case.device_writes(lines)}
    return [write for write in last.values() if resets(write)]


def contradictions(case: Case, lines: range, policy: Signature, done: Sequence[Event]) -> tuple[list[str], int, int]:
    """16-bit writes, each changing exactly the bits of its step, in order; no other config write to anything.

    What contradicts that, how many writes were expected, and how many functions something was done to.
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


def expected_steps(case: Case, bdf: Bdf, line: int, policy: Signature) -> list[Step]:
    """Of a function that nobody knows, there is its command register."""
    function = case.topology.functions.get(bdf, Function(bdf, bytes(PCI_STD_HEADER_SIZEOF)))
    ours = (driving.is_edu, driving.is_virtio, driving.is_nvme, driving.is_ahci, driving.is_e1000e, driving.is_serial)
    resets = any(is_one(function) for is_one in ours)
    return policy(Found(function, case.registers(bdf, line), resets))


def step(case: Case, event: Event, change: Change | None) -> tuple[Bdf, str]:
    """Whose it is, and an access in the words of a policy's step, with its place in brackets; what is no step is described as it
    is."""
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


def resets(write: MmioWrite) -> bool:
    """Virtio: status 0. NVMe: CC.EN off. AHCI: GHC.HR, and no interrupt behind it. 82574: CTRL.RST, and what stops it before. A
    UART: no interrupt, empty FIFOs. edu has no reset; what can be done is to acknowledge an interrupt that nobody took."""
    if write.region.startswith(COMMON_REGION):
        return write.address & COMMON_MASK == DEVICE_STATUS and write.value == 0
    if any(module.resets(write) or module.quiets(write) for module in (ahci, e1000e, uart)):
        return True
    return nvme.disables(write) or is_edu_write(write, memory.EDU_IRQ_ACK)


def is_edu_write(write: MmioWrite, register: int) -> bool:
    return write.region == memory.EDU_REGION and write.address & memory.EDU_BAR_MASK == register
