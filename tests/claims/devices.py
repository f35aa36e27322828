# SPDX-License-Identifier: BSD-2-Clause
"""The devices of the experiments: where they are on their machines, what they have in flight, and what holds it."""

from __future__ import annotations

from dataclasses import dataclass

from witness.lab import disk
from witness.lab.machines import BRIDGED, LINES, SHARED
from witness.lab.observation import Observation
from witness.lab.stage import Stage
from witness.machine.description import Machine
from witness.machine.peer import ARP_REQUEST, BROADCAST, GATEWAY, Arp
from witness.pci.topology import Bdf


@dataclass(frozen=True)
class Device:
    """One that interrupts when it is written to; or when reads in flight end, which the harness releases."""

    name: str
    option: str  # for the image: tests/claims/lab.h
    machine: Machine
    bdf: Bdf
    disk: str = ""
    requests: int = 1  # that its driver leaves in flight
    begun: int = 1  # of these, those that end even without bus master: the device has fetched them

    @property
    def gsi(self) -> int:
        """Of its INTA, where it is in a slot of the root bus (machines.py)."""
        return 20 + self.bdf.device % 4

    def hold(self, stage: Stage) -> None:
        stage.note("ended before", disk.reads_ended(stage, self.disk))
        disk.hold(stage, self.disk)

    def let_go(self, stage: Stage) -> None:
        disk.let_go(stage, self.disk)

    def count_ended(self, stage: Stage) -> int:
        """Keeps how many reads have ended."""
        stage.note("ended", disk.reads_ended(stage, self.disk))
        return int(stage.kept["ended"]) - int(stage.kept["ended before"])

    def ended(self, seen: Observation) -> int:
        """Reads, between hold and count_ended, by QEMU's statistics."""
        return seen.noted("ended") - seen.noted("ended before")


EDU = Device("edu", "lab.edu", LINES, Bdf(0, 5, 0))
E1000E = Device("e1000e", "lab.e1000e", LINES, Bdf(0, 6, 0))
PORT = Device("pcie-root-port", "lab.pcie-port", LINES, Bdf(0, 7, 0))

# All on one line. AHCI works on one command at a time.
SERIAL = Device("pci-serial", "lab.serial", SHARED, Bdf(0, 5, 0))
SHARED_EDU = Device("edu", "lab.edu", SHARED, Bdf(0, 9, 0))
AHCI = Device("ich9-ahci", "lab.ahci", SHARED, Bdf(0, 13, 0), "sata", 8, 1)
BLK = Device("virtio-blk", "lab.virtio-blk", SHARED, Bdf(0, 17, 0), disk.virtio("vda"), 8, 8)
BLK_2015 = Device("virtio-blk of 2015", "lab.virtio-blk.1", SHARED, Bdf(0, 21, 0), disk.virtio("vdb"), 8, 8)

NVME = Device("nvme", "lab.nvme", BRIDGED, Bdf(4, 0, 0), "nvme")

# The frame that the harness sends to a network card, and the name of its cable.
NIC = "nic"
STATION = bytes.fromhex("0200000000fe")
FRAME = Arp(BROADCAST, STATION, ARP_REQUEST, STATION, GATEWAY, bytes(6), GATEWAY).frame


def frame_comes(stage: Stage) -> None:
    stage.session.peers[NIC].send(FRAME)
    stage.pass_through_main_loop()
