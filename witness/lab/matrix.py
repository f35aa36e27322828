# SPDX-License-Identifier: BSD-2-Clause
"""Every policy out x every policy in x every device: the hazards of each.

All cells run the same two images under the same load (devices.py). Counted are a device's actions while no kernel owns it, from the
submission of its work to the next kernel's first access; and whether it works in the next kernel, and its neighbour.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

from witness import devices
from witness.boot.protocol import BOOT_PARAMS_SIZE, E820_DMA, E820_RAM, e820
from witness.evidence.interrupts import own_messages
from witness.judge import hazards, signature
from witness.judge.policies import SHUTDOWN, STARTUP
from witness.lab import performance
from witness.lab.devices import DEVICES, NEIGHBOUR, Device
from witness.lab.dma import given, hits
from witness.lab.experiment import STUMBLES, Unshown, reason
from witness.lab.observation import Observation
from witness.lab.pool import Job
from witness.lab.stage import Action, Stage
from witness.machine.qemu import Unusable
from witness.machine.record import Outcome, Ram
from witness.pci.topology import Bdf, Function
from witness.report.results import Facts
from witness.report.timeline import Landed, timeline
from witness.trace.events import ConfigRead, ConfigWrite, Event
from witness.trace.phases import Hop

HAZARDS = (
    "stray MSI", "unhandled INTx", "IRQ disabled", "DMA to reserved RAM", "DMA to other RAM", "work lost", "device unusable",
    "QEMU aborted",
)  # fmt: skip

# All of first's memory for DMA, which is more than any of these devices needs.
DMA_SIZE = 4 << 20

# Free RAM that nothing should write: images allocate from below (boot/memmap.c), firmware from above. Filled before the
# work ends.
CANARY = range(64 << 20, 96 << 20)
PATTERN = bytes.fromhex("c0 ff ee 5a 17 ca fe a5") * (len(CANARY) // 8)

EXPECTED = "as expected"  # of a cell's configuration accesses


@dataclass(frozen=True)
class Cell:
    out: str
    inward: str
    device: str

    def __str__(self) -> str:
        return f"{self.out}/{self.inward}/{self.device}"


def cells(pattern: str = "*/*/*") -> list[Cell]:
    """The cells of a pattern: OUT/IN/DEVICE, each a name or with * for any."""
    parts = pattern.split("/")
    if len(parts) != 3:
        raise Unusable(f"{pattern}: a cell is OUT/IN/DEVICE, such as keep-msi/disable-msi/edu or '*/none/nvme'")
    chosen = []
    known = {"policy out": list(SHUTDOWN), "policy in": list(STARTUP), "device": list(DEVICES)}
    for part, (what, names) in zip(parts, known.items()):
        chosen.append([name for name in names if fnmatchcase(name, part)])
        if not chosen[-1]:
            raise Unusable(f"{pattern}: no {what} {part}, there are {' '.join(names)}")
    return [Cell(*place) for place in product(*chosen)]


def blank(cell: Cell) -> dict[str, Any]:
    """A cell that ran without a hazard, as in results.json."""
    return {
        "out": cell.out, "in": cell.inward, "device": cell.device, "outcome": "ran", "why": "", "hazards": {}, "notes": [],
        "signature": EXPECTED, "timeline": None, "directory": None,
    }  # fmt: skip


def described(found: Sequence[Facts]) -> Facts:
    """The matrix as in results.json."""
    by = {key: {cell[key] for cell in found} for key in ("out", "in", "device")}
    order = {place: number for number, place in enumerate(map(str, cells()))}
    return {
        "out": [{"name": name, "history": policy.history} for name, policy in SHUTDOWN.items() if name in by["out"]],
        "in": [{"name": name, "history": policy.history} for name, policy in STARTUP.items() if name in by["in"]],
        "devices": [name for name in DEVICES if name in by["device"]],
        "hazards": list(HAZARDS),
        "cells": sorted(found, key=lambda cell: order[f"{cell['out']}/{cell['in']}/{cell['device']}"]),
    }


def jobs_of(chosen: list[Cell], directory: Path, done: Callable[[Facts, Mapping[str, str]], None]) -> list[Job[Any]]:
    """A job for each cell. The files of a cell are kept if it could not run, or is the only one."""

    def ended(result: tuple[Facts, Mapping[str, str]]) -> None:
        done(*result)

    alone = len(chosen) == 1
    return [Job(DEVICES[cell.device].machine, partial(play, cell, directory, alone), ended) for cell in chosen]


def play(cell: Cell, directory: Path, keep: bool, origin: performance.Origin) -> tuple[Facts, Mapping[str, str]]:
    place = directory / "matrix" / str(cell)
    shutil.rmtree(place, ignore_errors=True)
    device = DEVICES[cell.device]
    words = f"handoff.shutdown={cell.out} handoff.startup={cell.inward} {device.words}".strip()
    points: dict[str, Action] = {
        "begun": device.begin,
        "driven": partial(_driven, device, SHUTDOWN[cell.out].resets),
        "shutdown": partial(_shutdown, device),
        "entered": partial(_entered, device),
    }
    run, kept = performance.perform(origin, device.machine, "out", words, points, place)
    result = blank(cell)
    if run.outcome is Outcome.QEMU_DIED:
        errors = (place / "qemu.err").read_text(errors="replace").strip().splitlines()
        result |= {"outcome": "QEMU died", "why": errors[-1] if errors else run.detail, "hazards": {HAZARDS[-1]: 1}}
    else:
        try:
            found = CellJudge(Observation(run, kept), device.bdf)
            result |= {"hazards": found.hazards(), "notes": found.notes, "signature": found.signature(cell)}
            if keep:
                result["timeline"] = asdict(found.timeline())
        except STUMBLES as error:
            result |= {"outcome": "could not run", "why": reason(error)}
    if keep or result["outcome"] != "ran":
        result["directory"] = str(place.relative_to(directory))
    else:
        shutil.rmtree(place)
    return result, run.versions


def _driven(device: Device, resetting: bool, at: Stage) -> None:
    """First the outgoing kernel drives it, then the next."""
    hold = device.hold_for_reset if resetting and device.hold_for_reset else device.hold
    (device.last if "params" in at.kept else hold)(at)


def _shutdown(device: Device, at: Stage) -> None:
    """After the outgoing kernel's last access to a device."""
    at.kept["before"] = at.read(at.value, DMA_SIZE)
    at.write(CANARY.start, PATTERN)
    device.end(at)


def _entered(device: Device, at: Stage) -> None:
    at.kept["params"] = at.read(at.value, BOOT_PARAMS_SIZE)
    device.resume(at)


class RamPiece(Ram):
    """A saved piece of RAM."""

    def __init__(self, start: int, content: bytes) -> None:
        self._start, self._content = start, content

    def read(self, addresses: range) -> bytes:
        start, stop = addresses.start - self._start, addresses.stop - self._start
        if start < 0 or stop > len(self._content):
            raise ValueError(f"{addresses.start:#x}-{addresses.stop:#x} was not kept")
        return self._content[start:stop]


class CellJudge:
    """The hazards of a cell."""

    def __init__(self, seen: Observation, bdf: Bdf, neighbour: Bdf = NEIGHBOUR) -> None:
        self.seen, self.case, self.bdf = seen, seen.case, bdf
        self.device, self.neighbour = (self.case.topology.functions[one] for one in (bdf, neighbour))
        self.notes: list[str] = []
        armed, shutdown, entered, self.init = (seen.mark(name).line for name in ("armed", "shutdown", "entered", "init"))
        end = self.case.end + 1
        # A function is driven once its bus master is set, or once it is written to.
        set = (change.line for change in self.case.changes(range(entered, end)) if change.master_set)
        driven = min([*set, *(write.line for write in self.case.device_writes(range(entered, end))), end])
        self.hop = Hop(1, range(armed, shutdown), range(shutdown, driven), range(driven, end))
        # The next kernel owns the device from its first write on.
        self.owned = min((write.line for write in seen.writes_to(bdf, range(entered, end))), default=end)
        self.entered, self.end = entered, end
        self.before = RamPiece(seen.mark("shutdown").value, seen.kept["before"])
        self.after = seen.run.ram_after()
        self.memory = e820(seen.kept["params"])
        if not any(kind == E820_RAM and CANARY[0] in extent and CANARY[-1] in extent for extent, kind in self.memory):
            raise Unshown(f"{CANARY.start:#x}-{CANARY.stop:#x} is not all free RAM")

    def hazards(self) -> dict[str, int]:
        reserved, elsewhere = self._landed()
        counts = (self._strays(), self._unhandled(), self._disabled_lines(), reserved, elsewhere, self._lost(), self._unusable(), 0)
        return dict(zip(HAZARDS, counts))

    def _strays(self) -> int:
        """Messages after the device's own clear, up to the next kernel's first access to it."""
        strays = {(stray.line, stray.data) for stray in hazards.stray_msis(self.case, self.hop)}
        own = own_messages(self.case, self.device, range(self.hop.out.start))
        late = self.seen.messages(range(self.hop.inward.start, self.owned))
        strays |= {(message.line, message.data) for message in late if (message.address, message.data) in own}
        self.notes += [f"MSI 0x{data:x}" for data in sorted({data for _, data in strays})]
        return len(strays)

    def _unhandled(self) -> int:
        """Lines that rose without a handler; how often depends on the handlers of the functions that share one."""
        found = {rise.gsi: rise for rise in reversed(hazards.unhandled_intx(self.case, self.hop))}
        for gsi, rise in sorted(found.items()):
            self.notes.append(f"GSI {gsi} raised by {' or '.join(rise.suspects) or 'no known function'}")
        return len(found)

    def _disabled_lines(self) -> int:
        found = hazards.disabled_lines(self.case, range(self.hop.out.start, self.end))
        for line in found:
            self.notes.append(f"irq {line.irq} disabled by the {'outgoing' if line.line < self.entered else 'next'} kernel")
        return len(found)

    def _landed(self) -> tuple[int, int]:
        """Bytes written since the outgoing kernel's last access: into memory that it reserved for the device, or elsewhere."""
        known = given(self.case, range(self.hop.out.start), self.before)
        pieces = [(extent.start, self.before.read(extent), "reserved") for extent, kind in self.memory if kind == E820_DMA]
        reserved = elsewhere = 0
        for start, old, what in [*pieces, (CANARY.start, PATTERN, "free")]:
            for bdf, size in hits(old, self.after.read(range(start, start + len(old))), start, known).items():
                source = f"by {self.case.name(bdf)}" if bdf else "by an unknown device"
                self.notes.append(f"{size} bytes in {what} memory {source}")
                self.seen.landed.append(Landed(self.end, f"{size} bytes {source}"))
                if bdf and what == "reserved":
                    reserved += size
                else:
                    elsewhere += size
        return reserved, elsewhere

    def _lost(self) -> int:
        """Requests in flight that are not completed in RAM; and the neighbour's last line, if it had one."""
        out = self.hop.out
        model = devices.model_of(self.device)
        assert model
        lost = model.unfinished(self.case, self.device, range(out.start), self.before, self.after)
        neighbour = self.neighbour.bdf
        if any(map(devices.triggers, self.case.writes_to(neighbour, out))) and self._fails(self.neighbour, out):
            self.notes.append(f"{self.case.name(neighbour)} did not send its last line")
            lost += 1
        return lost

    def _unusable(self) -> int:
        found = [function for function in (self.device, self.neighbour) if self._fails(function, range(self.init, self.end))]
        self.notes += [f"{self.case.name(function.bdf)} does not work in the next kernel" for function in found]
        return len(found)

    def _fails(self, function: Function, lines: range) -> bool:
        return bool(devices.not_driven(self.case, function, lines, self.after, last=True))

    def signature(self, cell: Cell) -> str:
        """Whether the configuration accesses are exactly those of the two policies."""
        out, inward = self.hop.out, range(self.entered, self.init)
        done: list[Event] = list(self.case.within(ConfigWrite, out))
        cleared = {change.bdf: change.line for change in self.case.changes(out) if change.master_cleared}
        done += [read for read in self.case.within(ConfigRead, out) if cleared.get(read.bdf, read.line) < read.line]
        if SHUTDOWN[cell.out].resets:
            done += signature.last_resets(self.case, out)
        problems = signature.contradictions(self.case, out, SHUTDOWN[cell.out], done)[0]
        writes = list(self.case.within(ConfigWrite, inward))
        problems += signature.contradictions(self.case, inward, STARTUP[cell.inward], writes)[0]
        return problems[0] if problems else EXPECTED

    def timeline(self) -> Any:
        return timeline(self.case, [(mark.line, mark.name) for mark in self.seen.marks], self.seen.landed)
