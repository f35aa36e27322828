# SPDX-License-Identifier: BSD-2-Clause
"""Claim: the same handoff.efi tells the same truth on machines that it was not made for.

False if slots, counts, bridges, the configuration mechanism or the interrupt kind matter. The witness judges each as it judges the
reference. The twin of the CF8 machine is q35 itself: there the log must say ECAM.
"""

from __future__ import annotations

import pytest
from tests.guest.conftest import Boot, failures, log_has

from witness.machine import Content, Disk, Machine
from witness.record import Outcome

BRIDGES = Machine(
    mib=1024,
    disks=(Disk("one", 0x1B, Content.ZEROS, mib=3), Disk("two", 0x02, Content.RANDOM, mib=1)),
    devices=(
        "pcie-root-port,id=p1,addr=1c.0,chassis=1,multifunction=on",
        "pcie-root-port,id=p2,addr=1c.1,chassis=2",
        "pcie-pci-bridge,id=b1,bus=p1",
        "edu,bus=b1,addr=3",
        "edu,bus=b1,addr=8",
        "edu,addr=11",
        "qemu-xhci,bus=p2",
    ),
    extra=("-smp", "2"),
)

I440FX = Machine(
    kind="pc",
    disks=(Disk("scratch", 7, Content.ZEROS), Disk("lines", 8, Content.ZEROS, device="vectors=0")),
    devices=("edu,addr=5", "edu,addr=9", "pci-bridge,id=b1,chassis_nr=1,addr=a", "edu,bus=b1,addr=4"),
)

NOTHING = Machine()


@pytest.mark.parametrize(
    "machine, line",
    [
        pytest.param(BRIDGES, "buses 00-ff by ECAM", id="bridges"),
        pytest.param(I440FX, "buses 00-ff by CF8/CFC", id="i440fx"),
    ],
)
def test_machine(boot: Boot, machine: Machine, line: str) -> None:
    record = boot(machine=machine)
    assert record.outcome is Outcome.PASS, record.log
    assert log_has(record, line)
    # Without a throttled disk nobody can promise that a virtio request is still in flight.
    assert not [failure for failure in failures(record) if not failure.startswith("load:")]


def test_a_machine_without_a_device_to_drive_says_so(boot: Boot) -> None:
    record = boot(machine=NOTHING)
    assert record.outcome is Outcome.PASS, record.log
    assert log_has(record, "bus master on for 0, MSI on for 0, MSI-X on for 0")
