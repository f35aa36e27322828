# SPDX-License-Identifier: BSD-2-Clause
"""Disks whose requests the harness controls: it decides when one in flight ends, and reads QEMU's statistics.

QEMU's blkdebug suspends the next read that reaches it. A machine that stops, and a device that is reset, wait for their requests:
a held read has to be released before. A throttle holds all reads, until QEMU drains the disk: when a machine stops, or a virtio or
NVMe device is reset; an AHCI controller's reset waits until its current read has ended by itself.
"""

from __future__ import annotations

from witness.lab.stage import Stage

DISK_SIZE = 8 << 20


def disk(name: str) -> tuple[str, ...]:
    """A disk of zeros: arguments for a machine with a device that has drive=NAME."""
    image = f"file.image.driver=null-co,file.image.size={DISK_SIZE},file.image.read-zeroes=on"
    return "-blockdev", f"driver=raw,node-name={name},file.driver=blkdebug,{image}"


def virtio(id: str) -> str:
    """QEMU's path of the disk's device, for a virtio-blk-pci."""
    return f"/machine/peripheral/{id}/virtio-backend"


def hold(stage: Stage, device: str) -> None:
    """The next read will wait in QEMU, and with it reads that the device merges with it or does in order."""
    _do(stage, device, "break read_aio held")


def let_go(stage: Stage, device: str) -> None:
    """When this returns the held read has ended, and those that waited for it."""
    _do(stage, device, "resume held")
    _do(stage, device, "aio_flush")


def throttle(stage: Stage, device: str, seconds: int = 512) -> None:
    """No read ends for so long of the host's time, unless QEMU drains them: one read has used up the limit."""
    _limit(stage, device, bps_rd=512 // seconds)
    _do(stage, device, "read 0 512")


def unthrottle(stage: Stage, device: str) -> None:
    """When this returns all reads that the device has taken have ended."""
    _limit(stage, device, bps_rd=0)
    _do(stage, device, "aio_flush")


def reads_ended(stage: Stage, device: str) -> int:
    disks = stage.session.qmp.command("query-blockstats")
    return next(int(disk["stats"]["rd_operations"]) for disk in disks if disk.get("qdev") == device)


def _do(stage: Stage, device: str, command: str) -> None:
    stage.monitor(f'qemu-io -d {device} "{command}"')


def _limit(stage: Stage, device: str, bps_rd: int) -> None:
    others = {"bps": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0}
    stage.session.qmp.command("block_set_io_throttle", id=device, bps_rd=bps_rd, **others)
