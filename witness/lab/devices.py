# SPDX-License-Identifier: BSD-2-Clause
"""The devices of the matrix, each on a machine of its own, and the work that each has in flight when a policy is applied.

The harness decides when that work ends: after the outgoing kernel's last access to a device, before the next kernel is entered.
A neighbour shares the device's line, a serial port whose driver needs its interrupt.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from functools import partial
from typing import Any

from witness.lab import disk
from witness.lab.stage import Action, Stage
from witness.machine.description import E1000E, Content, Disk, Machine, Nic, Sata, SerialPort
from witness.pci.topology import Bdf

MIB = 128
SLOT = 9  # of the device, or of the port above it; with the neighbour's, on GSI 21
NEIGHBOUR = Bdf(0, 5, 0)

# An option of out.c: wait until the device has taken its work before the policy is applied.
SETTLE = "lab.settle"


def _nothing(at: Stage) -> None:
    """No action at this point."""


@dataclass(frozen=True)
class Device:
    """The harness's actions at the images' points, in order."""

    machine: Machine
    bdf: Bdf = Bdf(0, SLOT, 0)
    words: str = SETTLE
    begin: Action = _nothing  # before the outgoing kernel drives it
    hold: Action = _nothing  # before the work is submitted: none of it ends after this
    hold_for_reset: Action | None = None  # the same, where the outgoing kernel resets it
    end: Action = _nothing  # after the outgoing kernel's last access
    resume: Action = _nothing  # in the next kernel, before it drives the device
    last: Action = _nothing  # and when it has


# --- disks ---


VIRTIO, SATA = disk.virtio("vda"), "sda"
SLOTS, READ = 8, 65536  # of drivers/ahci; bytes of each


def _slow_port(at: Stage) -> None:
    """A read ends after two seconds of the host's time: QEMU's AHCI waits within the write that resets it until its current read
    has ended, and QEMU takes no command meanwhile."""
    limits = {"bps": 0, "bps_rd": READ // 2, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0}
    at.session.qmp.command("block_set_io_throttle", id=SATA, **limits)
    at.monitor(f'qemu-io -d {SATA} "read 0 {READ}"')


def _release_port(at: Stage) -> None:
    """An AHCI port processes its slots one by one: the read that it has taken ends, then the next."""
    for _ in range(SLOTS):
        disk.unthrottle(at, SATA)
        at.pass_through_main_loop()


# --- network ---


def _mute_peer(at: Stage) -> None:
    """No answers, because the time of an answer depends on the host. Even one before the load matters: once an e1000e (QEMU 7.2)
    has delayed a message for its interrupt throttling, it sends each later message twice."""
    at.session.peers["nic"].answering = False


def _send_frame(at: Stage) -> None:
    at.session.peers["nic"].announce()
    at.pass_through_main_loop()


def _unmute_peer(at: Stage) -> None:
    """The answer may come too late for the kernel, whose second is a tenth of ours: a frame is sent at the end, too."""
    at.session.peers["nic"].answering = True


MAC = "52:54:00:12:34:56"

# --- entropy ---

# Its only source is the harness.
EGD = (
    "-chardev", "socket,id=entropy,host=127.0.0.1,port=0,server=on,wait=off",
    "-object", "rng-egd,id=egd,chardev=entropy",
)  # fmt: skip
REQUEST, REQUESTS = 64, 4  # bytes, and the number of requests that drivers/virtio/rng.c leaves in flight


def _give_entropy(at: Stage, requests: int) -> None:
    if "entropy" not in at.open:
        chardev = next(c for c in at.session.qmp.command("query-chardev") if c["label"] == "entropy")
        (port,) = re.findall(r"127\.0\.0\.1:(\d+)", chardev["filename"])
        at.open["entropy"] = socket.create_connection(("127.0.0.1", int(port)))
    at.open["entropy"].sendall(bytes(range(REQUEST)) * requests)
    at.pass_through_main_loop()


def _give_one(at: Stage) -> None:
    _give_entropy(at, 1)


def _give_all(at: Stage) -> None:
    _give_entropy(at, REQUESTS)


# --- edu, nvme ---


def _await_edu(at: Stage) -> None:
    """Its transfer takes 100 ms of the machine's time, which passes while the image waits for the harness."""
    while at.busy():
        pass


def _warn(at: Stage) -> None:
    """The event that completes nvme's Asynchronous Event Request."""
    at.session.qmp.command("qom-set", path="/machine/peripheral/nvme", property="smart_critical_warning", value=1)
    at.pass_through_main_loop()


def _machine(*devices: str, **parts: Any) -> Machine:
    # An empty port, for the policy bridges-only.
    port = "pcie-root-port,id=root,addr=6,chassis=1,hotplug=off"
    return Machine(mib=MIB, serials=(SerialPort("neighbour", NEIGHBOUR.device),), devices=(*devices, port), **parts)


DEVICES = {
    "virtio-blk": Device(
        _machine(disks=(Disk("disk", SLOT, Content.RANDOM, "read-only=on", "id=vda,request-merging=off,ioeventfd=off"),)),
        hold=partial(disk.throttle, device=VIRTIO), end=partial(disk.unthrottle, device=VIRTIO),
    ),
    "virtio-net": Device(
        _machine(nics=(Nic("nic", SLOT, MAC, device="ioeventfd=off"),)),
        begin=_mute_peer, end=_send_frame, resume=_unmute_peer, last=_send_frame,
    ),
    "virtio-rng": Device(
        _machine(f"virtio-rng-pci,rng=egd,addr={SLOT:#x},disable-legacy=on,ioeventfd=off", extra=EGD),
        begin=_give_one, end=_give_all, resume=_give_one,
    ),
    "edu": Device(_machine(f"edu,addr={SLOT:#x}"), words="", end=_await_edu),
    "ich9-ahci": Device(
        _machine(sata=(Sata("disk", SLOT, Content.RANDOM, device=f"id={SATA}"),)),
        hold=partial(disk.throttle, device=SATA), hold_for_reset=_slow_port, end=_release_port,
    ),
    "e1000e": Device(
        _machine(nics=(Nic("nic", SLOT, MAC, model=E1000E),)),
        begin=_mute_peer, end=_send_frame, resume=_unmute_peer, last=_send_frame,
    ),
    # Below a port, because it has to be plugged in: see performance.py.
    "nvme": Device(
        _machine(f"pcie-root-port,id=bay,addr={SLOT:#x},chassis=2", "nvme,id=nvme,serial=1,bus=bay"), Bdf(2, 0, 0), end=_warn
    ),
}  # fmt: skip
