# SPDX-License-Identifier: BSD-2-Clause
"""What C9 and C10 share: a handoff of every device that has work in flight, which ends in one of the windows (windows.py).

On machines.LOADED that is a transfer of edu's, eight reads of a disk, three requests for entropy, and the buffers for frames, one
of which arrives. The first and the third end by the machine's clock, the others at the image's point after that. So RAM before and
after that point differs only by what devices wrote, and in the image that waits there. Here are the load, what the harness does
with it, and what is measured of it. The expected results stand in the experiments.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from tests.claims.devices import frame_comes
from tests.claims.dma import first_params, inside, memory, show, written
from tests.claims.windows import OUT, TO_JUMP, Window, look, options
from witness.boot.protocol import E820_DMA
from witness.lab import disk, machines
from witness.lab.experiment import Judge, Role, Trial
from witness.lab.observation import Observation
from witness.lab.stage import Stage

DISK = disk.virtio("vda")
READS = 8  # drivers/virtio/blk.c


class Load(NamedTuple):
    """How much of it ends in a window, and how many devices fail."""

    messages: int = 0
    edges: int = 0
    fetched: int = 0  # requests that a virtio device takes
    used: int = 0  # requests that it returns
    edu: int = 0  # bytes that edu's transfer writes
    reserved: int = 0  # bytes that others write in the old kernel's DMA memory
    failing: int = 0  # devices under the next kernel


DATA = READS * (65536 + 1)  # with the status of each
RINGS_AND_FRAME = 50  # bytes that differ: nine used elements, two indices, and the frame after its header

# All of it: eight reads, three requests for entropy and a frame with a message each, and edu's.
EVERYTHING = Load(messages=13, fetched=4, used=12, edu=2048, reserved=DATA + RINGS_AND_FRAME)


def loaded_trial(role: Role, shutdown: str, startup: str, window: Window, judge: Judge, *more: str) -> Trial:
    name = ", ".join((f"{shutdown} out, {startup} in", str(window), *more))
    points = {"driven": hold, "window": end, "used": frame_comes}
    return Trial(name, role, machines.LOADED, OUT, judge, options(shutdown, startup, window, *more), points)


# --- what the harness does ---


def hold(stage: Stage) -> None:
    disk.hold(stage, DISK)
    count_requests(stage, "first")


def end(stage: Stage) -> None:
    look(stage)
    disk.let_go(stage, DISK)
    frame_comes(stage)
    stage.keep_ram("after")
    count_requests(stage, "last")


def count_requests(stage: Stage, when: str) -> None:
    """Of all virtio devices: requests fetched, as QEMU reports, and returned, by the rings in RAM. Neither wraps here."""
    fetched = used = 0
    for device in stage.session.qmp.command("x-query-virtio"):
        path = device["path"]
        for index in range(stage.session.qmp.command("x-query-virtio-status", path=path)["num-vqs"]):
            queue = stage.session.qmp.command("x-query-virtio-queue-status", path=path, queue=index)
            if queue["vring-used"]:
                fetched += queue["last-avail-idx"]
                used += struct.unpack("<H", stage.read(queue["vring-used"] + 2, 2))[0]
    stage.note(f"fetched at {when}", fetched)
    stage.note(f"used at {when}", used)


# --- what is measured ---


def requests(seen: Observation) -> tuple[int, int]:
    """Fetched and returned after the shutdown. Before it the disk has fetched its reads; what else was fetched was returned, with a
    message each.
    """
    before = len(seen.messages(seen.between("driven", "shutdown")))
    fetched, used = (seen.noted(f"{what} at last") - seen.noted(f"{what} at first") - before for what in ("fetched", "used"))
    return fetched - READS, used


def written_to(seen: Observation, window: Window) -> tuple[list[int], list[int]]:
    """What devices but edu wrote while the image waited in the window: the bytes in memory that its map reserves for DMA, and the
    others."""
    params = first_params(seen) if window == TO_JUMP else seen.mark("window").value
    found = written(seen, params, "window")
    reserved = inside(found, memory(seen, "window", E820_DMA, "window"))
    show(seen, "window", reserved, " of virtio's")
    return reserved, sorted({*found} - {*reserved})
