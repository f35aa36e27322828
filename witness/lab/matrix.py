# SPDX-License-Identifier: BSD-2-Clause
"""Every policy out x every policy in x every device: what each lets loose.

All cells run the same two images under the same load: the device's work is under way when the policy is applied, and ends behind the
last thing that the outgoing kernel does to a device. On the same line sits an innocent neighbour, a serial port whose driver needs
its interrupt: in the outgoing kernel up to the jump, in the incoming one before any other device is driven.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Callable, Mapping

from witness import ahci, driving, e1000e, hazards, memory, nvme
from witness.case import Case
from witness.driving import not_seen
from witness.image import BOOT_PARAMS_SIZE, E820_DMA, e820
from witness.judge import _last_resets as last_resets, _signature as signature
from witness.lab import stage
from witness.lab.experiment import Action, Unshown
from witness.lab.observation import Observation
from witness.lab.pool import Job
from witness.lab.stage import Stage
from witness.machine import E1000E, Content, Disk, Machine, Nic, Rng, Sata, Serial
from witness.pci import Bdf, Function
from witness.phases import Hop
from witness.policies import RESETTING, SHUTDOWN, STARTUP
from witness.record import Outcome, Ram
from witness.trace import ConfigRead, ConfigWrite, Event, MmioWrite
from witness.virtqueue import queues

HAZARDS = ("stray MSI", "INTx unhandled", "line disabled", "DMA bytes landed", "work lost", "device unusable", "QEMU aborted")

# What a policy stands for; the order of the rows and of the columns.
OUT = {
    "keep-msi": "the patch; Linux since 2017",
    "disable-msi": "Linux 2012 to 2017",
    "disable-msi-only": "Linux 2008 to 2012",
    "none": "kdump: nothing",
    "reset": "the device reset, then bus master off: virtio in Linux since 2025",
    "intx-off": "MSI off, INTx off, bus master off",
    "bridges-only": "what the EFI stub's disable_early_pci_dma leaves",
    "drain": "bus master off, and pending transactions awaited",
}
IN = {"disable-msi": "Linux since 2011", "none": "before 2011", "hardened": "INTx, bus master, MSI off, device reset, then a driver"}

SLOT = 9  # of the device; with the neighbour's, on GSI 21
NEIGHBOUR, DEVICE = Bdf(0, 5, 0), Bdf(int(__import__('sys').argv[1].endswith('nvme')), 0 if __import__('sys').argv[1].endswith('nvme') else SLOT, 0)
MIB = 128

# First's memory for DMA, all of it: more than any of these devices needs.
DMA_SIZE = 4 << 20

# Free RAM that nobody has a reason to write to: images take theirs from below (boot/memmap.c). Filled before the work ends.
CANARY = range(96 << 20, 100 << 20)
PATTERN = bytes.fromhex("c0 ff ee 5a 17 ca fe a5") * (len(CANARY) // 8)

# In these units: of random data a byte in 256 is the one that was there.
UNIT = 16


def _idle(at: Stage) -> None:
    """A device whose work takes a time of its own."""


def _hold_disk(at: Stage) -> None:
    """From here on no request ends: one byte a second, and the first second's is taken."""
    at.session.qmp.command("block_set_io_throttle", device="disk", bps=0, bps_rd=1, bps_wr=0, iops=0, iops_rd=0, iops_wr=0)
    at.monitor('qemu-io disk "read 0 512"')


def _let_disk_go(at: Stage) -> None:
    """All that the device has taken ends, before the machine's next instruction."""
    at.session.qmp.command("block_set_io_throttle", device="disk", bps=0, bps_rd=0, bps_wr=0, iops=0, iops_rd=0, iops_wr=0)
    at.monitor('qemu-io disk "aio_flush"')


def _unplug_peer(at: Stage) -> None:
    """Nobody answers what the device is armed with: an answer would come when the host likes."""
    at.session.peers["nic"].answering = False


def _send_frame(at: Stage) -> None:
    at.session.peers["nic"].announce()
    for _ in range(2):  # QEMU's main loop has looked at the cable when it answers the second time
        at.session.qmp.command("query-status")


def _plug_peer(at: Stage) -> None:
    at.session.peers["nic"].answering = True


@dataclass(frozen=True)
class Device:
    machine: Machine
    hold: Action = _idle  # before the load is armed
    end: Action = _idle  # behind the outgoing kernel's last access
    resume: Action = _idle  # in the next kernel


def _machine(**parts: Any) -> Machine:
    # An empty port, for the policy that is about bridges.
    port = "pcie-root-port,id=root,addr=6,chassis=1,hotplug=off"
    devices = (port, *parts.pop("devices", ()))
    return Machine(mib=MIB, serials=(Serial("neighbour", NEIGHBOUR.device),), devices=devices, **parts)


DISK = ("disk", SLOT, Content.RANDOM)
MAC = "52:54:00:12:34:56"
DEVICES = {
    "virtio-blk": Device(
        _machine(disks=(Disk(*DISK, "request-merging=off,ioeventfd=off"),)), hold=_hold_disk, end=_let_disk_go
    ),
    "virtio-net": Device(_machine(nics=(Nic("nic", SLOT, MAC, device="ioeventfd=off"),)), _unplug_peer, _send_frame, _plug_peer),
    "virtio-rng": Device(_machine(rngs=(Rng("rng", SLOT, "max-bytes=16,period=500,ioeventfd=off"),))),
    "edu": Device(_machine(devices=(f"edu,addr={SLOT:#x}",))),
    "ich9-ahci": Device(_machine(sata=(Sata(*DISK),)), hold=_hold_disk, end=_let_disk_go),
    "e1000e": Device(_machine(nics=(Nic("nic", SLOT, MAC, model=E1000E),)), _unplug_peer, _send_frame, _plug_peer),
    "nvme": Device(_machine(devices=(f"pcie-root-port,id=bay,addr={SLOT:#x},chassis=2", "nvme,id=nvme,serial=1,bus=bay"))),
}


@dataclass(frozen=True)
class Cell:
    out: str
    inward: str
    device: str

    def __str__(self) -> str:
        return f"{self.out}/{self.inward}/{self.device}"


def cells() -> list[Cell]:
    return [Cell(*place) for place in product(OUT, IN, DEVICES)]


def jobs_of(chosen: list[Cell], directory: Path, done: Callable[[dict[str, Any], Mapping[str, str]], None]) -> list[Job[Any]]:
    def ended(result: tuple[dict[str, Any], Mapping[str, str]]) -> None:
        done(*result)

    return [Job(DEVICES[cell.device].machine, partial(play, cell, directory), ended) for cell in chosen]


def play(cell: Cell, directory: Path, origin: stage.Origin) -> tuple[dict[str, Any], Mapping[str, str]]:
    place = directory / "matrix" / str(cell)
    shutil.rmtree(place, ignore_errors=True)
    device = DEVICES[cell.device]
    words = f"handoff.shutdown={cell.out} handoff.startup={cell.inward}"
    points = {"driven": device.hold, "shutdown": partial(_shutdown, device), "entered": partial(_entered, device)}
    run, kept = stage.perform(origin, device.machine, "out", words, points, place)
    result: dict[str, Any] = {"out": cell.out, "in": cell.inward, "device": cell.device, "hazards": {}, "notes": [], "signature": ""}
    if run.outcome is Outcome.QEMU_DIED:
        words_of_qemu = (place / "qemu.err").read_text(errors="replace").strip().splitlines()
        return result | {"outcome": "QEMU died", "why": words_of_qemu[-1] if words_of_qemu else run.detail,
                         "hazards": {"QEMU aborted": 1}}, run.versions
    try:
        seen = Observation(run, kept)
        found = Found(seen)
        result |= {"outcome": "ran", "why": "", "hazards": found.hazards(), "notes": found.notes, "signature": found.signature(cell)}
    except Unshown as why:
        result |= {"outcome": "could not run", "why": str(why)}
    return result, run.versions


def _shutdown(device: Device, at: Stage) -> None:
    """The outgoing kernel touches no device any more."""
    at.kept["before"] = at.read(at.value, DMA_SIZE)
    at.write(CANARY.start, PATTERN)
    device.end(at)


def _entered(device: Device, at: Stage) -> None:
    at.kept["params"] = at.read(at.value, BOOT_PARAMS_SIZE)
    device.resume(at)


class Part(Ram):
    """A piece of RAM as it was."""

    def __init__(self, start: int, content: bytes) -> None:
        self._start, self._content = start, content

    def read(self, addresses: range) -> bytes:
        start, stop = addresses.start - self._start, addresses.stop - self._start
        if start < 0 or stop > len(self._content):
            raise ValueError(f"{addresses.start:#x}-{addresses.stop:#x} was not kept")
        return self._content[start:stop]


class Found:
    """What happened in a cell, from where the load was armed to the end."""

    def __init__(self, seen: Observation) -> None:
        self.seen, self.case = seen, seen.case
        self.notes: list[str] = []
        armed, shutdown, entered, self.init = (seen.mark(name).line for name in ("armed", "shutdown", "entered", "init"))
        end = self.case.end + 1
        # The next kernel owns the device from its first access to it on: its driver's reset, or that of the policy.
        owned = min((write.line for write in seen.writes_to(DEVICE, range(entered, end))), default=end)
        self.alone = range(shutdown, owned)
        # A function is driven when its bus master is set, where it was off, or else when it is written to.
        given = (change.line for change in self.case.changes(range(entered, end)) if change.master_set)
        driven = min([*given, *(write.line for write in self.case.device_writes(range(entered, end))), end])
        self.hop = Hop(1, range(armed, shutdown), range(shutdown, driven), range(driven, end))
        self.entered = entered
        self.before = Part(seen.mark("shutdown").value, seen.kept["before"])
        self.after = seen.run.ram_after()
        self.reserved = [extent for extent, kind in e820(seen.kept["params"]) if kind == E820_DMA]

    @property
    def device(self) -> Function:
        return self.case.topology.functions[DEVICE]

    def hazards(self) -> dict[str, int]:
        strays = self.seen.messages(self.alone)
        unhandled = hazards.unhandled_intx(self.case, self.hop)
        given_up = hazards.given_up(self.case, range(self.hop.out.start, self.case.end + 1))
        inside, outside = self._landed()
        unusable = [f.bdf for f in (self.device, self.case.topology.functions[NEIGHBOUR]) if self._unusable(f)]
        self.notes += [f"MSI 0x{e.data:x}" for e in strays[:1]]
        self.notes += [f"{bdf} does not work in the next kernel" for bdf in unusable]
        if inside:
            self.notes.append(f"{inside} bytes in what first had reserved for it")
        if outside:
            self.notes.append(f"{outside} bytes in free memory")
        counts = (len(strays), len(unhandled), len(given_up), inside + outside, self._lost(), len(unusable), 0)
        return dict(zip(HAZARDS, counts))

    def _landed(self) -> tuple[int, int]:
        """Bytes that a device wrote behind the outgoing kernel's back: into its buffers, and elsewhere."""
        inside = sum(_changed(self.before.read(extent), self.after.read(extent)) for extent in self.reserved)
        return inside, _changed(PATTERN, self.after.read(CANARY))

    def _lost(self) -> int:
        """Whether nothing of the work under way has been brought to its end."""
        before, after = (progress(self.case, self.device, range(self.hop.out.stop), ram) for ram in (self.before, self.after))
        return int(before == after)

    def _unusable(self, function: Function) -> bool:
        return any(not_seen(self.case, function, range(self.init, self.case.end + 1), self.after, last=True))

    def signature(self, cell: Cell) -> str:
        """Whether the trace shows of each policy the configuration accesses that are its own, and no other."""
        out, inward = self.hop.out, range(self.entered, self.init)
        done: list[Event] = list(self.case.within(ConfigWrite, out))
        cleared = {change.bdf: change.line for change in self.case.changes(out) if change.master_cleared}
        done += [read for read in self.case.within(ConfigRead, out) if cleared.get(read.bdf, read.line) < read.line]
        if cell.out in RESETTING:
            done += last_resets(self.case, out)
        problems = signature(self.case, out, SHUTDOWN[cell.out], done)[0]
        problems += signature(self.case, inward, STARTUP[cell.inward], list(self.case.within(ConfigWrite, inward)))[0]
        return problems[0] if problems else "as expected"


def progress(case: Case, function: Function, lines: range, ram: Ram) -> object:
    """How far the device has come with the work that it was given in these lines, by what it has written into RAM."""
    writes, bdf = list(case.within(MmioWrite, lines)), function.bdf
    if driving.is_edu(function):
        return [ram.read(dma.target) for dma in memory.edu_dmas(case, lines) if dma.bdf == bdf and dma.to_ram][-1]
    if driving.is_nvme(function):
        return [admin.completed(ram) for admin in nvme.admins(writes, case.bars) if admin.bdf == bdf]
    if driving.is_ahci(function):
        return [[command.done for command in port.last_batch(ram)] for port in ahci.ports(writes, case.bars) if port.bdf == bdf]
    if driving.is_e1000e(function):
        return [ring.received(ram) for ring in e1000e.rings(writes, case.bars) if (ring.bdf, ring.kind) == (bdf, e1000e.RX)]
    return [ram.u16(queue.used + 2) for queue in queues(writes, case.bars) if queue.bdf == bdf]


def _changed(before: bytes, after: bytes) -> int:
    """Bytes, in whole units."""
    if before == after:
        return 0
    units = range(0, len(before), UNIT)
    return UNIT * sum(before[unit:unit + UNIT] != after[unit:unit + UNIT] for unit in units)
