# SPDX-License-Identifier: BSD-2-Clause
"""Claim: no image needs a device that a machine does not have.

False if an image or the witness depends on a disk, on virtio, on edu, on messages, or on any device that has a driver. Provoked by
leaving out one after the other; what is left is driven and handed over, and every verdict holds. Without edu, the last access to a
device is to a port's slot: QEMU's trace does not show how virtio is notified. The twins: the functions that QEMU lists, so that
what is left out is really absent; and nothing is cleared under policy `none`.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.guest.conftest import Boot, failures

from witness import devices
from witness.evidence.case import Case
from witness.machine.description import EVERYTHING, Machine
from witness.machine.record import Outcome
from witness.pci.registers import ENABLE, PCI_COMMAND, PCI_COMMAND_MASTER
from witness.pci.topology import Bdf

EDUS = ("edu,addr=5", "edu,addr=9")
PORT = ("pcie-root-port,addr=6,chassis=1",)

NO_DISK = Machine(nics=EVERYTHING.nics, rngs=EVERYTHING.rngs, devices=EDUS)
NO_EDU = Machine(nics=EVERYTHING.nics, rngs=EVERYTHING.rngs, devices=PORT)
NO_VIRTIO = Machine(devices=EDUS)
NO_MESSAGES = Machine(rngs=tuple(replace(rng, device=f"{rng.device},vectors=0") for rng in EVERYTHING.rngs))
NOTHING = Machine()


@pytest.mark.parametrize(
    "machine, slots",
    [
        pytest.param(NO_DISK, [5, 7, 8, 9], id="no-disk"),
        pytest.param(NO_EDU, [6, 7, 8], id="no-edu", marks=pytest.mark.exhaustive),
        pytest.param(NO_VIRTIO, [5, 9], id="no-virtio", marks=pytest.mark.exhaustive),
        pytest.param(NO_MESSAGES, [8], id="no-messages"),
    ],
)
def test_what_is_left_is_handed_over(boot: Boot, machine: Machine, slots: list[int]) -> None:
    record = boot(machine=machine, fresh=True)
    assert failures(record) == []
    found = [function for function, _ in devices.working(Case(record))]
    assert [f.bdf for f in found] == [Bdf(0, slot, 0) for slot in slots]
    assert any(f.offsets.keys() & ENABLE for f in found) == (machine is not NO_MESSAGES)


@pytest.mark.parametrize("policy, cleared", [("keep-msi", True), ("none", False)])
def test_where_nothing_has_a_driver(boot: Boot, policy: str, cleared: bool) -> None:
    record = boot(machine=NOTHING, cmdline=f"handoff.shutdown={policy}")
    assert record.outcome is Outcome.PASS, record.log
    assert failures(record) == []
    case = Case(record)
    assert not devices.working(case)
    masters = [bool(f.u16(PCI_COMMAND) & PCI_COMMAND_MASTER) for f in case.topology.functions.values()]
    assert masters == [not cleared] * len(masters)
    assert masters
