# SPDX-License-Identifier: BSD-2-Clause
"""Claim: what a machine has not got is not missed.

False if an image or the witness counts on a disk, on virtio, or on any device that has a driver. Provoked by leaving out
one after the other; what is left is driven and handed over, and every verdict holds. Where nothing is left, nothing is
ever armed, and no verdict can tell a hand-off from the rest: bus master is asked for in the writes and at the jump. The
twins: the functions that QEMU lists, so that what is left out is not there; and nothing is cleared where policy `none`
says so.
"""

from __future__ import annotations

import pytest
from tests.guest.conftest import Boot, failures

from witness.case import Case
from witness.driving import driven
from witness.machine import EVERYTHING, Machine
from witness.pci import PCI_COMMAND, PCI_COMMAND_MASTER, VIRTIO_VENDOR
from witness.record import Outcome
from witness.trace import ConfigWrite

EDUS = ("edu,addr=5", "edu,addr=9")

NO_DISK = Machine(nics=EVERYTHING.nics, rngs=EVERYTHING.rngs, devices=EDUS)
NO_VIRTIO = Machine(devices=EDUS)
NOTHING = Machine()


@pytest.mark.parametrize(
    "machine, virtio",
    [pytest.param(NO_DISK, 2, id="no-disk"), pytest.param(NO_VIRTIO, 0, id="no-virtio")],
)
def test_what_is_left_is_handed_over(boot: Boot, machine: Machine, virtio: int) -> None:
    record = boot(machine=machine)
    assert failures(record) == []
    found = driven(Case(record))
    assert (len(found), sum(f.vendor == VIRTIO_VENDOR for f in found)) == (virtio + len(EDUS), virtio)


@pytest.mark.parametrize("policy, cleared", [("keep-msi", True), ("none", False)])
def test_where_nothing_has_a_driver(boot: Boot, policy: str, cleared: bool) -> None:
    record = boot(machine=NOTHING, cmdline=f"handoff.shutdown={policy}")
    assert record.outcome is Outcome.PASS, record.log
    case = Case(record)
    assert not driven(case)
    functions = sorted(case.topology.functions.values(), key=lambda f: f.bdf, reverse=True)
    masters = [bool(f.u16(PCI_COMMAND) & PCI_COMMAND_MASTER) for f in functions]
    assert masters == [not cleared] * len(functions)
    written = [(w.bdf, w.offset, w.size) for w in case.within(ConfigWrite, range(case.entry_lines["first"], case.end + 1))]
    assert written == [(f.bdf, PCI_COMMAND, 2) for f in functions if cleared]
