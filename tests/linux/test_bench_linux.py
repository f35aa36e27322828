# SPDX-License-Identifier: BSD-2-Clause
"""Claim: the Linux of `make bench` does what its column says: shut down, be entered, enumerate, drive the disk.

False if the trace of a real Linux has other marks than those that delimit the phases, or if it accesses registers without a known
reason. Provoked by one handoff of Linux to itself, with every access in the trace.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from witness.bench.beside import WHY_IN, WHY_OUT, layouts
from witness.bench.config import by_function, grouped
from witness.bench.handoff import DISKS, Bench
from witness.bench.linux import PAIRS, STEPS, Columns, blackout, followed
from witness.linux.trial import Seen
from witness.machine.qemu import Settings
from witness.pci.registers import PCI_COMMAND, PCI_COMMAND_MASTER

BUILD = Path(os.environ.get("O") or "build")


@pytest.fixture(scope="module")
def linux(tmp_path_factory: pytest.TempPathFactory) -> tuple[Seen, Columns]:
    return followed(Bench(BUILD, "", Settings.of(os.environ)), tmp_path_factory.mktemp("linux"))


def test_the_disks_lose_bus_master_and_nothing_else(linux: tuple[Seen, Columns]) -> None:
    """As pci_device_shutdown does it for kexec: one read and one write of 16 bits; MSI-X stays on."""
    functions = by_function(linux[1].out)
    for disk in DISKS:
        read, write = functions[disk]
        assert {(a.offset, a.size) for a in (read, write)} == {(PCI_COMMAND, 2)} and write.write
        assert read.value & ~write.value == PCI_COMMAND_MASTER


def test_every_function_is_enumerated_and_none_given_bus_master(linux: tuple[Seen, Columns]) -> None:
    seen, columns = linux
    assert set(by_function(columns.inward)) == set(seen.case.topology.functions)
    masters = [c for c in seen.case.changes(range(columns.inward[0].line, columns.inward[-1].line)) if c.master_set]
    assert not masters


def test_the_blackout_has_each_of_its_steps(linux: tuple[Seen, Columns]) -> None:
    steps = blackout(linux[0].case, PAIRS[1])
    assert list(steps) == list(STEPS) and all(map(len, steps.values()))


def test_every_group_of_registers_has_its_reason(linux: tuple[Seen, Columns]) -> None:
    seen, columns = linux
    where = layouts(seen.case.topology, [*columns.out, *columns.inward])
    assert set(grouped(columns.out, where)) <= set(WHY_OUT)
    assert set(grouped(columns.inward, where)) <= set(WHY_IN)
