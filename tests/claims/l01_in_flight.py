# SPDX-License-Identifier: BSD-2-Clause
"""L1: a cleared bus master does not end a virtual disk's DMA that has begun; it lands later, wherever it was to go."""

from __future__ import annotations

from functools import partial
from typing import Mapping, NamedTuple

from tests.claims.devices import AHCI, BLK, NVME, SHARED_EDU as EDU, Device
from tests.claims.dma import written
from tests.claims.windows import edu_brought
from witness.boot.protocol import BOOT_PARAMS_SIZE, E820_RAM, e820
from witness.devices import edu
from witness.lab.disk import reads_ended, throttle, unthrottle
from witness.lab.experiment import Experiment, Judge, Role, Trial, Value, exactly
from witness.lab.observation import Mark, Observation, at
from witness.lab.stage import Action, Stage
from witness.pci.registers import PCI_COMMAND_MASTER, Register
from witness.pci.topology import Bdf
from witness.report.timeline import Landed

# Seconds that a read is held: longer than it takes to reset the disk's controller, and longer than any trial.
SOON, NEVER = 4, 512


class Lands(NamedTuple):
    """Of a disk's work in flight."""

    requests: int  # that it has taken up when its bus master goes
    size: int  # bytes that differ afterwards


# virtio-blk: the data of eight reads, and the status of each. AHCI: the data of the first, the others need bus master; a byte of
# its count, and one of the drive's answer.
DISKS = {BLK: Lands(8, 8 * (65536 + 1)), AHCI: Lands(1, 65536 + 2), NVME: Lands(8, 8 * 4096)}


def points(disk: Device, seconds: int) -> dict[str, Action]:
    """Its requests end under the next kernel, or after so many seconds."""
    return {"ready": partial(hold, disk, seconds), "armed": Stage.pass_through_main_loop, "entered": partial(entered, disk)}


def hold(disk: Device, seconds: int, stage: Stage) -> None:
    throttle(stage, disk.disk, seconds)
    stage.note("ended when ready", reads_ended(stage, disk.disk))


def entered(disk: Device, stage: Stage) -> None:
    stage.note("params", stage.value)
    stage.kept["boot_params"] = stage.read(stage.value, BOOT_PARAMS_SIZE)
    stage.note("ended when entered", reads_ended(stage, disk.disk))
    stage.keep_ram("before")
    unthrottle(stage, disk.disk)
    stage.keep_ram("after")
    stage.note("ended at last", reads_ended(stage, disk.disk))


def landed(disk: Device, early: int, late: int, size: int, free: int) -> Judge:
    """Requests that end before the shutdown is over, and after; bytes that come after, and how many of them where the next kernel's
    memory map has free memory."""

    def judge(seen: Observation) -> list[Value]:
        moment = seen.mark("entered")
        given = [extent for extent, kind in e820(seen.kept["boot_params"]) if kind == E820_RAM]
        came = written(seen, seen.noted("params"))
        hit = [address for address in came if any(address in extent for extent in given)]
        if came:
            seen.landed.append(Landed(moment.line, f"{len(came)} bytes"))
        return [
            *cleared(seen, disk.bdf, moment),
            exactly("requests that ended before", seen.noted("ended when entered") - seen.noted("ended when ready"), early),
            exactly("requests that ended then", seen.noted("ended at last") - seen.noted("ended when entered"), late),
            exactly("bytes that landed", len(came), size, extent_of(came)),
            exactly("of them in memory that the next kernel takes for free", len(hit), free, extent_of(hit)),
        ]

    return judge


def cleared(seen: Observation, bdf: Bdf, moment: Mark) -> list[Value]:
    clears = [c for c in seen.case.changes(seen.between("armed", moment)) if c.bdf == bdf and c.master_cleared]
    master = seen.register(bdf, Register.COMMAND, moment.line) & PCI_COMMAND_MASTER
    return [
        exactly("bus master cleared", len(clears), 1, at(clears)),
        exactly("bus master then", "on" if master else "off", "off", at([moment])),
    ]


def extent_of(addresses: list[int]) -> str:
    return f"0x{addresses[0]:x}-0x{addresses[-1]:x}" if addresses else ""


# --- a device that asks for bus master when it moves its data ---

def wait(stage: Stage) -> None:
    """Its transfer takes 100 ms of the machine's time, which passes while the image waits."""
    while stage.busy():
        pass
    stage.keep_ram("shutdown")


def dropped(seen: Observation) -> list[Value]:
    """What had ended before bus master went would be in RAM."""
    begun = edu.all_dmas(seen.case, seen.between("ready", "armed"))
    return [
        *cleared(seen, EDU.bdf, seen.mark("shutdown")),
        exactly("transfers begun before", len(begun), 1, at(begun)),
        edu_brought(seen, 0, "shutdown"),
    ]


# --- the trials ---


def trial(name: str, role: Role, device: Device, judge: Judge, words: str, points: Mapping[str, Action]) -> Trial:
    return Trial(f"{device.name}, {name}", role, device.machine, "l01_in_flight", judge, f"{device.word} {words}", points)


KEEP, RESET, BARE = "handoff.shutdown=keep-msi", "handoff.shutdown=reset", "lab.reserved=no"


def lands(disk: Device) -> Trial:
    requests, size = DISKS[disk]
    judge = landed(disk, 0, requests, size, free=size)
    return trial("bus master cleared", Role.CLAIM, disk, judge, f"{KEEP} {BARE}", points(disk, NEVER))


def reserved(disk: Device) -> Trial:
    requests, size = DISKS[disk]
    return trial("its memory reserved", Role.CURE, disk, landed(disk, 0, requests, size, free=0), KEEP, points(disk, NEVER))


def reset(disk: Device) -> Trial:
    """QEMU 7.2 drains what virtio and NVMe have in flight; for AHCI it waits until a read ends by itself (bdrv_aio_cancel)."""
    judge = landed(disk, DISKS[disk].requests, 0, 0, free=0)
    held = points(disk, SOON if disk is AHCI else NEVER)
    return trial("reset, then cleared", Role.CURE, disk, judge, f"{RESET} {BARE}", held)


EXPERIMENT = Experiment(
    title="DMA that a virtual disk has begun lands after bus master was cleared",
    source="what the patch leaves open: b566a22c23 clears bus master, and waits for nothing; 8bd2fa086a04 resets virtio devices",
    falsified_by="no byte of RAM that changes between the clear and the next kernel's first access to the device",
    provoked_by="reads that a throttle holds when bus master goes, and lets go when the next kernel has been entered",
    reading="QEMU asks for bus master, if at all, when it maps the buffers of a request, and not when the data comes: that is "
    "whenever the disk is ready, into whatever the memory is by then. On hardware only posted writes are late. Either the device "
    "ends its work before the jump, by a reset, or its memory is never the next kernel's.",
    trials=(
        *map(lands, DISKS),
        trial("bus master cleared", Role.CONTROL, EDU, dropped, f"{KEEP} {BARE}", {"shutdown": wait}),
        *map(reserved, DISKS),
        *map(reset, DISKS),
    ),
)
