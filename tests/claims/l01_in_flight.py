# SPDX-License-Identifier: BSD-2-Clause
"""L1: a cleared bus master does not end a virtual disk's DMA that has begun; it lands later, wherever it was to go."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from witness.image import BOOT_PARAMS_SIZE, e820
from witness.lab import machines
from witness.lab.disk import reads_ended, throttle, unthrottle, virtio
from witness.lab.experiment import Action, Experiment, Judge, Role, Trial, Value, exactly
from witness.lab.observation import Observation, at
from witness.lab.stage import Stage
from witness.lab.timeline import Landed
from witness.lab.written import first_params, written
from witness.machine import Machine
from witness.memory import EDU_DMA_COMMAND, EDU_DMA_RUN
from witness.pci import PCI_COMMAND_MASTER, Bdf, Register
from witness.snapshot import E820_RAM

# Seconds that a read is held: longer than it takes to reset the disk's controller, and longer than any trial.
SOON, NEVER = 4, 512


@dataclass(frozen=True)
class Load:
    """A device, and what its work in flight brings."""

    name: str
    word: str  # for the image
    machine: Machine
    bdf: Bdf
    requests: int  # that it has taken up when its bus master goes
    size: int  # bytes that differ afterwards
    disk: str = ""

    def points(self, seconds: int) -> dict[str, Action]:
        """A disk's requests end under the next kernel, or after so many seconds; edu's transfer when its time has come."""
        if self.disk:
            return {"ready": partial(self.hold, seconds), "entered": self.entered}
        return {"shutdown": self.wait, "entered": keep_params}

    def hold(self, seconds: int, stage: Stage) -> None:
        throttle(stage, self.disk, seconds)
        keep(stage, "ended when ready", reads_ended(stage, self.disk))

    def entered(self, stage: Stage) -> None:
        keep_params(stage)
        keep(stage, "ended when entered", reads_ended(stage, self.disk))
        stage.keep_ram("before")
        unthrottle(stage, self.disk)
        stage.keep_ram("after")
        keep(stage, "ended at last", reads_ended(stage, self.disk))

    def wait(self, stage: Stage) -> None:
        functions = (function for bus in stage.session.qmp.command("query-pci") for function in bus["devices"])
        bar = next(f["regions"][0]["address"] for f in functions if f["slot"] == self.bdf.device)
        keep(stage, "ended when ready", 0)
        keep(stage, "ended when entered", 0)
        stage.keep_ram("before")
        while int(stage.monitor(f"xp /1wx {bar + EDU_DMA_COMMAND:#x}").split()[-1], 16) & EDU_DMA_RUN:
            pass  # 100 ms of the machine's; bounded by the trial's own time
        stage.keep_ram("after")
        keep(stage, "ended at last", 1)


def keep_params(stage: Stage) -> None:
    keep(stage, "params", stage.value)
    stage.kept["boot_params"] = stage.read(stage.value, BOOT_PARAMS_SIZE)


def keep(stage: Stage, name: str, value: int) -> None:
    stage.kept[name] = str(value).encode()


def kept(seen: Observation, name: str) -> int:
    return int(seen.kept[name])


VIRTIO_BLK = 8 * (65536 + 1)  # the data of eight reads, and the status of each
EDU = Load("edu", "lab.edu", machines.SHARED, Bdf(0, 9, 0), 1, 0)
SATA = 65536 + 2  # the data of the first read; the others need bus master. And a byte of its count, and one of the drive's answer
AHCI = Load("ich9-ahci", "lab.ahci", machines.SHARED, Bdf(0, 13, 0), 1, SATA, "sata")
BLK = Load("virtio-blk", "lab.virtio-blk", machines.SHARED, Bdf(0, 17, 0), 8, VIRTIO_BLK, virtio("vda"))
NVME = Load("nvme", "lab.nvme", machines.BRIDGED, Bdf(4, 0, 0), 8, 8 * 4096, "nvme")


def landed(load: Load, early: int, late: int, size: int, free: int) -> Judge:
    """Requests that end before the shutdown is over, and after; bytes that come after, and how many of them where the next kernel's
    memory map has free memory."""

    def judge(seen: Observation) -> list[Value]:
        moment = seen.mark("entered" if load.disk else "shutdown")
        clears = [c for c in seen.case.changes(seen.between("armed", moment)) if c.bdf == load.bdf and c.master_cleared]
        master = seen.register(load.bdf, Register.COMMAND, moment.line) & PCI_COMMAND_MASTER
        given = [extent for extent, kind in e820(seen.kept["boot_params"]) if kind == E820_RAM]
        came = written(seen, kept(seen, "params") if load.disk else first_params(seen))
        hit = [address for address in came if any(address in extent for extent in given)]
        if came:
            seen.landed.append(Landed(moment.line, f"{len(came)} bytes"))
        return [
            exactly("bus master cleared", len(clears), 1, at(clears)),
            exactly("bus master then", "on" if master else "off", "off", f"trace {moment.line}"),
            exactly("requests that ended before", kept(seen, "ended when entered") - kept(seen, "ended when ready"), early),
            exactly("requests that ended then", kept(seen, "ended at last") - kept(seen, "ended when entered"), late),
            exactly("bytes that landed", len(came), size, extent_of(came)),
            exactly("of them in memory that the next kernel takes for free", len(hit), free, extent_of(hit)),
        ]

    return judge


def extent_of(addresses: list[int]) -> str:
    return f"0x{addresses[0]:x}-0x{addresses[-1]:x}" if addresses else ""


def trial(name: str, role: Role, load: Load, judge: Judge, words: str, seconds: int = NEVER) -> Trial:
    return Trial(f"{load.name}, {name}", role, load.machine, "l01_in_flight", judge, f"{load.word} {words}", load.points(seconds))


KEEP, RESET, BARE = "handoff.shutdown=keep-msi", "handoff.shutdown=reset", "lab.reserved=no"
DISKS = (BLK, AHCI, NVME)


def lands(load: Load) -> Trial:
    judge = landed(load, 0, load.requests, load.size, load.size)
    return trial("bus master cleared", Role.CLAIM, load, judge, f"{KEEP} {BARE}")


def reserved(load: Load) -> Trial:
    return trial("its memory reserved", Role.CURE, load, landed(load, 0, load.requests, load.size, 0), KEEP)


def reset(load: Load) -> Trial:
    """QEMU 7.2 drains what virtio and NVMe have in flight; for AHCI it waits until a read ends by itself (bdrv_aio_cancel)."""
    judge = landed(load, load.requests, 0, 0, 0)
    return trial("reset, then cleared", Role.CURE, load, judge, f"{RESET} {BARE}", SOON if load is AHCI else NEVER)


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
        trial("bus master cleared", Role.CONTROL, EDU, landed(EDU, 0, 1, 0, 0), f"{KEEP} {BARE}"),
        *map(reserved, DISKS),
        *map(reset, DISKS),
    ),
)
