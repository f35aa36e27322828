# SPDX-License-Identifier: BSD-2-Clause
"""A hand-off of every device that has work in flight, which ends in one of the windows (windows.py): what arrives, and where.

On machines.LOADED that is a transfer of edu's, eight reads of a disk, three requests for entropy, and the buffers for frames, one
of which comes. The first and the third end by the machine's clock, the others at the image's point behind that. So RAM before and
after that point differs by nothing but what devices wrote, and in the image that waits there.
"""

from __future__ import annotations

import json
import struct
from functools import partial
from typing import NamedTuple

from tests.claims.dma import first_params, written
from tests.claims.windows import OUT, TO_JUMP, Window, edu_brought, let_loose, look, not_driven, words
from witness.boot.protocol import BOOT_PARAMS_SIZE, E820_DMA, e820
from witness.lab import disk, machines
from witness.lab.experiment import Role, Trial, Value, exactly
from witness.lab.observation import Observation
from witness.lab.stage import Stage
from witness.machine.peer import ARP_REQUEST, BROADCAST, GATEWAY, Arp
from witness.report.timeline import Landed

DISK = disk.virtio("vda")
READS = 8  # drivers/virtio/blk.c
NIC = "nic"

NEIGHBOUR = bytes.fromhex("0200000000fe")
FRAME = Arp(BROADCAST, NEIGHBOUR, ARP_REQUEST, NEIGHBOUR, GATEWAY, bytes(6), GATEWAY).frame


class Loaded(NamedTuple):
    """What comes in a window."""

    messages: int = 0
    edges: int = 0
    fetched: int = 0  # requests that a virtio device takes up
    used: int = 0  # requests that it returns
    edu: int = 0  # bytes that edu's transfer brings
    reserved: int = 0  # bytes that others write in the last kernel's DMA memory
    failing: int = 0  # devices under the next kernel


DATA = READS * (65536 + 1)  # with the status of each
RINGS_AND_FRAME = 50  # bytes that differ: nine used elements, two indices, and the frame behind its header

# Where nothing holds it back: eight reads, three requests for entropy and a frame with a message each, and edu's.
EVERYTHING = Loaded(messages=13, fetched=4, used=12, edu=2048, reserved=DATA + RINGS_AND_FRAME)


def loaded_trial(role: Role, shutdown: str, startup: str, window: Window, expected: Loaded, *more: str) -> Trial:
    name = ", ".join((f"{shutdown} out, {startup} in", str(window), *more))
    command_line = words(shutdown, startup, window, *more)
    actions = {"driven": _hold, "window": _end, "used": _frame_comes}
    return Trial(name, role, machines.LOADED, OUT, partial(_measured, window, expected), command_line, actions)


# --- what the harness does ---


def _hold(stage: Stage) -> None:
    disk.hold(stage, DISK)
    stage.kept["queues at first"] = _queues(stage)


def _end(stage: Stage) -> None:
    look(stage)
    disk.let_go(stage, DISK)
    _frame_comes(stage)
    stage.keep_ram("after")
    stage.kept["queues at last"] = _queues(stage)


def _frame_comes(stage: Stage) -> None:
    stage.session.peers[NIC].send(FRAME)
    stage.pass_through_main_loop()


def _queues(stage: Stage) -> bytes:
    """Of all virtio devices: requests fetched, by QEMU's account, and returned, by the rings in RAM. Neither wraps here."""
    fetched = used = 0
    for device in stage.session.qmp.command("x-query-virtio"):
        path = device["path"]
        for index in range(stage.session.qmp.command("x-query-virtio-status", path=path)["num-vqs"]):
            queue = stage.session.qmp.command("x-query-virtio-queue-status", path=path, queue=index)
            if queue["vring-used"]:
                fetched += queue["last-avail-idx"]
                used += struct.unpack("<H", stage.read(queue["vring-used"] + 2, 2))[0]
    return json.dumps([fetched, used]).encode()


# --- what it finds ---


def _measured(window: Window, expected: Loaded, seen: Observation) -> list[Value]:
    (fetched, used), (reserved, elsewhere) = _requests(seen), _written(seen, window)
    return [
        *let_loose(seen, window, expected.messages, expected.edges),
        exactly("requests fetched", fetched, expected.fetched),
        exactly("used-ring updates", used, expected.used),
        edu_brought(seen, expected.edu),
        exactly("other bytes written in the last kernel's DMA memory", reserved, expected.reserved),
        exactly("bytes written elsewhere", len(elsewhere), 0, f"from 0x{elsewhere[0]:x} on" if elsewhere else ""),
        not_driven(seen, expected.failing),
    ]


def _requests(seen: Observation) -> tuple[int, int]:
    """Fetched and returned behind the shutdown. Before it the disk has fetched its reads; what else was fetched was returned, with
    a message each.
    """
    (fetched, used), (fetched_at_last, used_at_last) = (json.loads(seen.kept[f"queues at {when}"]) for when in ("first", "last"))
    before = len(seen.messages(seen.between("driven", "shutdown")))
    return fetched_at_last - fetched - before - READS, used_at_last - used - before


def _written(seen: Observation, window: Window) -> tuple[int, list[int]]:
    """By devices while the image waited: bytes in what its memory map keeps from the next kernel, and the addresses of others."""
    given = seen.mark("window").value
    map_given = e820(seen.ram("window").read(range(given, given + BOOT_PARAMS_SIZE)))
    reserved = [addresses for addresses, kind in map_given if kind == E820_DMA]
    found = written(seen, first_params(seen) if window == TO_JUMP else given, "window", "after")
    elsewhere = [at for at in found if not any(at in addresses for addresses in reserved)]
    if inside := len(found) - len(elsewhere):
        seen.landed.append(Landed(seen.mark("window").line, f"{inside} bytes of virtio's"))
    return inside, elsewhere
