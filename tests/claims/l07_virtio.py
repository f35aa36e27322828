# SPDX-License-Identifier: BSD-2-Clause
"""L7: bus master does not gate a virtio device's DMA; clearing it switches the device off, and a reset on again.

QEMU 7.2 lets a virtio device without ACCESS_PLATFORM reach memory directly, whatever its Bus Master Enable. A write of the command
register with the bit clear disables the device as a whole, and a reset undoes that. The limit does not exist if a disk that was
reset and set up with its bus master off writes nothing and asserts nothing.

The image (l07_virtio.c) takes a disk through these steps up to one that the command line names, and submits eight reads. The trial
fails if a read does not complete although bus master is off. In the controls the disk has not been reset since the clear, or its
command register is written once more, or it has ACCESS_PLATFORM: it does nothing. With bus master on it works. The cure is a reset
without a driver after it: a device that has no queues does nothing.
"""

from __future__ import annotations

from functools import partial

from tests.claims.devices import Device
from tests.claims.dma import first_params, landed, show, written
from tests.claims.measure import counted, master_on, switch
from witness.devices.virtio import queues
from witness.lab.disk import throttle, unthrottle, virtio
from witness.lab.experiment import Experiment, Judge, Role, Trial, Value, exactly
from witness.lab.machines import VIRTIO
from witness.lab.observation import Observation
from witness.lab.stage import Action, Stage
from witness.pci.topology import Bdf

INTX = Device("INTx", "lab.virtio-blk", VIRTIO, Bdf(0, 5, 0), virtio("vda"))
MSIX = Device("MSI-X", "lab.virtio-blk.1", VIRTIO, Bdf(0, 6, 0), virtio("vdb"))
PLATFORM = Device("INTx, iommu_platform=on", "lab.virtio-blk.2", VIRTIO, Bdf(0, 7, 0), virtio("vdc"))

REQUESTS = 8  # drivers/virtio/blk.c

# Bytes that differ: data and status of each read, and in the used ring its length (of three bytes two are not 0), the number of its
# first descriptor (of the first 0), and the index.
SIZE = REQUESTS * (65536 + 1) + 2 * REQUESTS + REQUESTS - 1 + 1


def release(disk: Device, stage: Stage) -> None:
    stage.keep_ram("before")
    unthrottle(stage, disk.disk)
    stage.keep_ram("after")


def does(disk: Device, master: str, size: int, returned: int, messages: int, edges: int) -> Judge:
    """The outcome of eight reads: interrupts from the point ready on; RAM and rings before and after their release, at armed."""

    def judge(seen: Observation) -> list[Value]:
        lines, came = seen.between("ready"), written(seen, first_params(seen))
        show(seen, "armed", came)
        return [
            exactly("bus master", switch(master_on(seen, disk.bdf, seen.mark("armed").line)), master),
            landed("bytes that the device wrote", came, size),
            exactly("requests that it returned", _returned(seen, disk), returned),
            counted("messages", seen.messages(lines), messages),
            counted("INTx edges", seen.edges(lines), edges),
        ]

    return judge


def _returned(seen: Observation, disk: Device) -> int:
    """By the used rings of the queues that it has; after a reset it has none."""
    before, after = seen.ram("before"), seen.ram("after")
    found = queues(seen.case, disk.bdf, range(seen.mark("ready").line))
    return sum(after.u16(queue.used + 2) - before.u16(queue.used + 2) for queue in found)


def trial(name: str, role: Role, disk: Device, last: str, judge: Judge, *more: str) -> Trial:
    points: dict[str, Action] = {"ready": lambda stage: throttle(stage, disk.disk), "armed": partial(release, disk)}
    options = " ".join((disk.option, f"lab.last={last}", *more))
    return Trial(f"virtio-blk, {disk.name}, {name}", role, VIRTIO, "l07_virtio", judge, options, points)


def silent(name: str, role: Role, disk: Device, last: str) -> Trial:
    return trial(name, role, disk, last, does(disk, "off", 0, 0, 0, 0))


CLEARED, RESET = "bus master cleared", "bus master cleared, reset"
SET = "bus master set"
AGAIN = f"{RESET}, set up again"
WRITTEN = f"{AGAIN}, command register written"

EXPERIMENT = Experiment(
    title="A virtio device with bus master off works again after a reset and set-up",
    source="QEMU 7.2: a virtio device without ACCESS_PLATFORM (virtio 1.2, 6) reaches memory directly. A write of its command "
    "register with bus master off switches it off as a whole; a reset undoes that",
    falsified_by="a device that was reset and set up with its bus master off, and writes nothing and asserts nothing",
    provoked_by="a disk has its bus master cleared, is reset and set up, as by a driver that forgot pci_set_master; eight reads",
    reading="Clearing bus master switches a virtio device off, and the next reset switches it on: then its DMA and its INTx work, "
    "its messages do not. A device that was reset and has no queues yet does nothing, whatever its bus master. With "
    "ACCESS_PLATFORM virtio behaves as any other device.",
    trials=(
        trial(AGAIN, Role.CLAIM, INTX, "again", does(INTX, "off", SIZE, REQUESTS, 0, 1)),
        trial(AGAIN, Role.CLAIM, MSIX, "again", does(MSIX, "off", SIZE, REQUESTS, 0, 0)),
        *(silent(CLEARED, Role.CONTROL, disk, "clear") for disk in (INTX, MSIX)),
        *(silent(WRITTEN, Role.CONTROL, disk, "write") for disk in (INTX, MSIX)),
        silent(AGAIN, Role.CONTROL, PLATFORM, "again"),
        trial(SET, Role.CONTROL, PLATFORM, "setup", does(PLATFORM, "on", SIZE, REQUESTS, 0, 1)),
        trial(SET, Role.CONTROL, MSIX, "setup", does(MSIX, "on", SIZE, REQUESTS, REQUESTS, 0)),
        trial(f"{CLEARED}, {SET}", Role.CONTROL, INTX, "clear", does(INTX, "on", SIZE, REQUESTS, 0, 1), "lab.master=set"),
        trial(f"{CLEARED}, {SET}", Role.CONTROL, MSIX, "clear", does(MSIX, "on", SIZE, REQUESTS, REQUESTS, 0), "lab.master=set"),
        *(
            trial(f"{RESET}, {SET}", Role.CURE, disk, "reset", does(disk, "on", 0, 0, 0, 0), "lab.master=set")
            for disk in (INTX, MSIX)
        ),
    ),
)
