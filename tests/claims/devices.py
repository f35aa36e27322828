# SPDX-License-Identifier: BSD-2-Clause
"""The devices that experiments are about, where they are on their machines, and what holds their work in flight."""

from __future__ import annotations

from dataclasses import dataclass

from witness.lab import disk
from witness.lab.machines import BRIDGED, LINES, SHARED
from witness.lab.stage import Stage
from witness.machine.description import Machine
from witness.pci.topology import Bdf


@dataclass(frozen=True)
class Device:
    """One that interrupts because it is written to; or because reads end that are in flight, when the harness lets them."""

    name: str
    word: str  # for the image: tests/claims/lab.h
    machine: Machine
    bdf: Bdf
    disk: str = ""

    @property
    def gsi(self) -> int:
        """Of its INTA, where it is in a slot of the root bus (machines.py)."""
        return 20 + self.bdf.device % 4

    def hold(self, stage: Stage) -> None:
        stage.note("ended before", disk.reads_ended(stage, self.disk))
        disk.hold(stage, self.disk)

    def let_go(self, stage: Stage) -> None:
        disk.let_go(stage, self.disk)


EDU = Device("edu", "lab.edu", LINES, Bdf(0, 5, 0))
E1000E = Device("e1000e", "lab.e1000e", LINES, Bdf(0, 6, 0))
PORT = Device("pcie-root-port", "lab.pcie-port", LINES, Bdf(0, 7, 0))

# All on one line.
SERIAL = Device("pci-serial", "lab.serial", SHARED, Bdf(0, 5, 0))
SHARED_EDU = Device("edu", "lab.edu", SHARED, Bdf(0, 9, 0))
AHCI = Device("ich9-ahci", "lab.ahci", SHARED, Bdf(0, 13, 0), "sata")
BLK = Device("virtio-blk", "lab.virtio-blk", SHARED, Bdf(0, 17, 0), disk.virtio("vda"))
BLK_2015 = Device("virtio-blk of 2015", "lab.virtio-blk.1", SHARED, Bdf(0, 21, 0), disk.virtio("vdb"))

NVME = Device("nvme", "lab.nvme", BRIDGED, Bdf(4, 0, 0), "nvme")
