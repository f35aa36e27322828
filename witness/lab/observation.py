# SPDX-License-Identifier: BSD-2-Clause
"""The evidence of a trial for its judge: QEMU's trace between the image's points, and the RAM that the harness read there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Iterable, Iterator, Mapping, Sequence

from witness.evidence import guestlog
from witness.evidence.case import Case
from witness.judge.hazards import PCI_GSI
from witness.lab.experiment import Unshown
from witness.lab.stage import MARK, kept_ram
from witness.machine.record import Outcome, Ram, Run, ram_layout
from witness.pci.registers import Register
from witness.pci.topology import Bdf
from witness.report.timeline import Landed
from witness.trace.events import ConfigWrite, Event, GsiLevel, MmioWrite, Msi, PicInterrupt

# COM2: its data port, and the register whose bit 7 makes that port another (16550).
DATA, LINE_CONTROL, DIVISOR_LATCH = 0x2F8, 0x2FB, 0x80


@dataclass(frozen=True)
class Mark:
    """A point of the image. It labels a place in the trace, and is no evidence."""

    line: int
    name: str
    value: int


def com2_lines(events: Iterable[Event]) -> Iterator[tuple[int, str]]:
    """The guest's lines on COM2, each with the trace line of its end."""
    text, latched = "", False
    for event in events:
        if not isinstance(event, MmioWrite) or event.region != "serial":
            continue
        if event.address == LINE_CONTROL:
            latched = bool(event.value & DIVISOR_LATCH)
        elif event.address == DATA and not latched:
            text += chr(event.value & 0xFF)
            if text.endswith("\n"):
                yield event.line, text.rstrip()
                text = ""


class Observation:
    def __init__(self, run: Run, kept: Mapping[str, bytes], may_kill: bool = False) -> None:
        ended = (Outcome.PASS, Outcome.FAIL, Outcome.QEMU_DIED) if may_kill else (Outcome.PASS, Outcome.FAIL)
        if run.outcome not in ended:
            raise Unshown(f"{run.detail}; the guest's last line: {guestlog.last_line(run.log) or 'none'}")
        self.run, self.kept, self.case = run, kept, Case(run)
        self.landed: list[Landed] = []  # DMA that a judge found, for the timeline

    @cached_property
    def marks(self) -> list[Mark]:
        points = ((line, text.removeprefix(MARK).split(" ")) for line, text in com2_lines(self.run.events))
        return [Mark(line, name, int(value, 16)) for line, (name, value) in points]

    @property
    def phases(self) -> list[tuple[int, str]]:
        """The phases of its timeline: trace line and name."""
        return [(mark.line, mark.name) for mark in self.marks]

    def mark(self, name: str, nth: int = 0) -> Mark:
        found = [mark for mark in self.marks if mark.name == name]
        if nth >= len(found):
            raise Unshown(f"point {name} was not reached; the guest's last line: {guestlog.last_line(self.run.log) or 'none'}")
        return found[nth]

    def between(self, start: str | Mark, stop: str | Mark | None = None) -> range:
        """Trace lines from one point to another, or to the end."""
        first, last = (self.mark(point) if isinstance(point, str) else point for point in (start, stop or start))
        return range(first.line + 1, last.line if stop else self.case.end + 1)

    def ram(self, name: str) -> Ram:
        """RAM that an action kept."""
        return Ram(kept_ram(self.run.directory, name), ram_layout(self.run.machine))

    def noted(self, name: str) -> int:
        """A number that an action noted."""
        if name not in self.kept:
            raise Unshown(f"not noted: {name}")
        return int(self.kept[name])

    # --- events ---

    def messages(self, lines: range, vector: int | None = None) -> list[Msi]:
        """Messages that arrived, all or those with this vector."""
        return [e for e in self.case.within(Msi, lines) if vector is None or e.data & 0xFF == vector]

    def edges(self, lines: range, level: int = 1) -> list[GsiLevel]:
        """PCI lines that rose, or fell."""
        return [e for e in self.case.within(GsiLevel, lines) if e.gsi >= PCI_GSI and e.level == level]

    def level(self, gsi: int, line: int) -> int:
        """The level of a PCI line at this place of the trace."""
        return next((e.level for e in reversed(list(self.case.within(GsiLevel, range(line)))) if e.gsi == gsi), 0)

    def taken(self, lines: range) -> list[PicInterrupt]:
        """Interrupts that the 8259 delivered to the CPU, except for the timer's."""
        return [e for e in self.case.within(PicInterrupt, lines) if e.irq]

    def config_writes(self, lines: range, bdf: Bdf) -> list[ConfigWrite]:
        return [e for e in self.case.within(ConfigWrite, lines) if e.bdf == bdf]

    def writes_to(self, bdf: Bdf, lines: range) -> list[MmioWrite]:
        """Writes into a function's BARs."""
        return self.case.writes_to(bdf, lines)

    def register(self, bdf: Bdf, register: Register, line: int) -> int:
        """A register just before this line of the trace."""
        return self.case.history.value(bdf, register, line)

    def functions(self, device: str) -> list[Bdf]:
        """The functions of a device model, by QEMU's name in the trace, such as "edu"."""
        return [bdf for bdf in sorted(self.case.topology.functions) if self.case.name(bdf).partition(" ")[2] == device]

    def stderr(self) -> list[str]:
        """QEMU's error messages."""
        return (self.run.directory / "qemu.err").read_text(errors="replace").splitlines()


def at(events: object) -> str:
    """The trace lines of events, as evidence."""
    return within([event.line for event in events])  # type: ignore[attr-defined]


def within(lines: Sequence[int]) -> str:
    """These lines of the trace, as evidence."""
    first, last = min(lines, default=0), max(lines, default=0)
    if not last:
        return ""
    return f"trace {first}" if first == last else f"trace {first}-{last}"
