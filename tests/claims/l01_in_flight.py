# SPDX-License-Identifier: BSD-2-Clause
"""L1: a cleared bus master does not end a virtual disk's DMA that has begun; it lands later, at its old target.

QEMU checks Bus Master Enable, if at all, when it maps the buffers of a request. A disk that has fetched a request delivers the data
when its image has it, and the next kernel may run by then. The limit does not exist if no byte of RAM changes between the clear and
the next kernel's first access to the disk.

The image (l01_in_flight.c) hands over with reads in flight, to a kernel that was not told which memory they go to. A throttle holds
the reads until the next kernel has been entered. The trial fails if fewer bytes land than the reads have, or if any land outside of
what that kernel regards as free. The control is edu, which checks bus master when it moves its data: nothing lands. There are two
cures: the memory is reserved in the map that the next kernel gets, or the device is reset before bus master is cleared, which ends
its reads.
"""

from __future__ import annotations

from functools import partial
from typing import Mapping, NamedTuple

from tests.claims.devices import AHCI, BLK, NVME, SHARED_EDU as EDU, Device
from tests.claims.dma import inside, landed, memory, show, written
from tests.claims.measure import changes, counted, master_on, switch
from tests.claims.windows import edu_wrote
from witness.boot.protocol import E820_RAM
from witness.devices.edu import all_dmas
from witness.lab.disk import reads_ended, throttle, unthrottle
from witness.lab.experiment import Experiment, Judge, Role, Trial, Value, exactly
from witness.lab.observation import Observation, at
from witness.lab.stage import Action, Stage
from witness.pci.topology import Bdf

# Seconds that a read is held: longer than a reset of the disk's controller takes, and longer than any trial.
SOON, NEVER = 4, 512


class Lands(NamedTuple):
    """Of a disk's work in flight."""

    requests: int  # that it has fetched when its bus master is cleared
    size: int  # bytes that differ afterwards


# virtio-blk: the data of eight reads, and the status of each. AHCI: the data of the first, the others need bus master; a byte of
# its count, and one of the drive's answer.
DISKS = {BLK: Lands(8, 8 * (65536 + 1)), AHCI: Lands(1, 65536 + 2), NVME: Lands(8, 8 * 4096)}


# --- what the harness does ---


def points(disk: Device, seconds: int) -> dict[str, Action]:
    """Its requests end under the next kernel, or after so many seconds."""
    return {"ready": partial(hold, disk, seconds), "armed": Stage.pass_through_main_loop, "entered": partial(entered, disk)}


def hold(disk: Device, seconds: int, stage: Stage) -> None:
    throttle(stage, disk.disk, seconds)
    stage.note("ended when ready", reads_ended(stage, disk.disk))


def entered(disk: Device, stage: Stage) -> None:
    stage.note("ended when entered", reads_ended(stage, disk.disk))
    stage.keep_ram("before")
    unthrottle(stage, disk.disk)
    stage.keep_ram("after")
    stage.note("ended at last", reads_ended(stage, disk.disk))


def await_edu(stage: Stage) -> None:
    """Its transfer takes 100 ms of the machine's time, which passes while the image waits."""
    while stage.busy():
        pass
    stage.keep_ram("shutdown")


# --- what is expected ---


def lands(disk: Device, early: int, late: int, size: int, free: int) -> Judge:
    """Requests that end before the shutdown is over, and after; bytes that land after, while the next kernel waits at its point
    entered, and how many of them where its memory map has free memory."""

    def judge(seen: Observation) -> list[Value]:
        came = written(seen, seen.mark("entered").value)
        show(seen, "entered", came)
        ready, then, last = (seen.noted(f"ended {when}") for when in ("when ready", "when entered", "at last"))
        return [
            *cleared(seen, disk.bdf, "entered"),
            exactly("requests that ended before", then - ready, early),
            exactly("requests that ended after", last - then, late),
            landed("bytes that landed", came, size),
            landed("of these in the next kernel's free memory", inside(came, memory(seen, "entered", E820_RAM)), free),
        ]

    return judge


def dropped(seen: Observation) -> list[Value]:
    """Of a device that checks bus master when it moves its data. A transfer that had ended before the clear would be in RAM."""
    return [
        *cleared(seen, EDU.bdf, "shutdown"),
        counted("transfers begun before", all_dmas(seen.case, seen.between("ready", "armed")), 1),
        landed("bytes that edu's DMA wrote", edu_wrote(seen, "shutdown"), 0),
    ]


def cleared(seen: Observation, bdf: Bdf, point: str) -> list[Value]:
    """With the work in flight, and not set again by this point."""
    moment = seen.mark(point)
    clears = [change for change in changes(seen, bdf, seen.between("armed", moment)) if change.master_cleared]
    return [
        counted("bus master cleared", clears, 1),
        exactly("bus master at that point", switch(master_on(seen, bdf, moment.line)), "off", at([moment])),
    ]


# --- the trials ---


def trial(name: str, role: Role, device: Device, judge: Judge, options: str, points: Mapping[str, Action]) -> Trial:
    return Trial(f"{device.name}, {name}", role, device.machine, "l01_in_flight", judge, f"{device.option} {options}", points)


KEEP, RESET, BARE = "handoff.shutdown=keep-msi", "handoff.shutdown=reset", "lab.reserved=no"


def bare(disk: Device) -> Trial:
    requests, size = DISKS[disk]
    judge = lands(disk, 0, requests, size, free=size)
    return trial("bus master cleared", Role.CLAIM, disk, judge, f"{KEEP} {BARE}", points(disk, NEVER))


def reserved(disk: Device) -> Trial:
    requests, size = DISKS[disk]
    return trial("its memory reserved", Role.CURE, disk, lands(disk, 0, requests, size, free=0), KEEP, points(disk, NEVER))


def reset(disk: Device) -> Trial:
    """QEMU 7.2 drains what virtio and NVMe have in flight; for AHCI it waits until a read ends by itself (bdrv_aio_cancel)."""
    judge = lands(disk, DISKS[disk].requests, 0, 0, free=0)
    held = points(disk, SOON if disk is AHCI else NEVER)
    return trial("reset, then cleared", Role.CURE, disk, judge, f"{RESET} {BARE}", held)


EXPERIMENT = Experiment(
    title="DMA that a virtual disk has begun lands after bus master is cleared",
    source="what the patch leaves open: b566a22c23 clears bus master, and waits for nothing; 8bd2fa086a04 resets virtio devices",
    falsified_by="no byte of RAM that changes between the clear and the next kernel's first access to the device",
    provoked_by="a throttle holds reads while bus master is cleared, and releases them when the next kernel has been entered",
    reading="QEMU checks bus master, if at all, when it maps the buffers of a request, not when the data arrives: it arrives when "
    "the disk is ready, whatever the memory is used for by then. On hardware only posted writes are late. Either a reset ends the "
    "device's work before the jump, or the next kernel never uses its memory.",
    trials=(
        *map(bare, DISKS),
        trial("bus master cleared", Role.CONTROL, EDU, dropped, f"{KEEP} {BARE}", {"shutdown": await_edu}),
        *map(reserved, DISKS),
        *map(reset, DISKS),
    ),
)
