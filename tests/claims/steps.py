# SPDX-License-Identifier: BSD-2-Clause
"""One device, and what is done to it and its interrupt step by step (steps.c): the vocabulary of C1 and C2."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Sequence

from witness.lab.disk import hold, let_go, reads_ended, virtio
from witness.lab.experiment import Action, Role, Trial, Unshown, Value, exactly
from witness.lab.machines import LINES, SHARED
from witness.lab.observation import Observation, at
from witness.lab.stage import Stage
from witness.machine import Machine
from witness.pci import PCI_COMMAND_MASTER, PCI_STATUS, PCI_STATUS_INTERRUPT, Bdf, Register
from witness.qemu import configs

MSI, MSIX, INTX = "MSI", "MSI-X", "INTx"
WORDS = {MSI: "lab.msi", MSIX: "lab.msix", INTX: "lab.intx"}


class Step(NamedTuple):
    """What is done, and what is expected of it: messages while it lasts; the line, and Interrupt Status, when it is over."""

    name: str  # of the image's point before it
    text: str
    messages: int = 0
    line: int = 0
    pending: int | None = None  # where it is the point


# The event, and what a handler does about it where none runs.
RAISE, ACK = Step("raise", "the event"), Step("ack", "acknowledged")
CLEAR, SET = Step("clear-master", "bus master off"), Step("set-master", "bus master on again")
DISABLE, ENABLE = Step("disable-intx", "INTx Disable set"), Step("enable-intx", "INTx Disable cleared")
TAKE = Step("take", "the CPU takes interrupts")
STEPS = (RAISE, ACK, CLEAR, SET, DISABLE, ENABLE, TAKE)


ROUNDS = 1000  # of QEMU's main loop, each of which takes a request further


@dataclass(frozen=True)
class Device:
    """One that interrupts because it is written to; or because requests end that are in flight, when the harness lets them."""

    name: str
    word: str  # for the image
    bdf: Bdf
    gsi: int
    machine: Machine = LINES
    disk: str = ""
    events: tuple[int, int] = (1, 1)  # how many a step brings, with bus master off and on

    def points(self, events: int) -> dict[str, Action]:
        points: dict[str, Action] = {step.name: self.look for step in STEPS} | {"end": self.look}
        return points | ({"driven": self.hold, RAISE.name: partial(self.let_go, events)} if self.disk else {})

    def look(self, stage: Stage) -> None:
        """Interrupt Status as each step begins, and at the end."""
        status = dict(configs(stage.session.qmp))[self.bdf][PCI_STATUS]
        stage.kept["pending"] = stage.kept.get("pending", b"") + bytes([status & PCI_STATUS_INTERRUPT != 0])

    def hold(self, stage: Stage) -> None:
        stage.kept["before"] = str(reads_ended(stage, self.disk)).encode()
        hold(stage, self.disk)

    def let_go(self, events: int, stage: Stage) -> None:
        """QEMU's AHCI begins a command when the one before it has ended, which its account shows in a later round."""
        self.look(stage)
        let_go(stage, self.disk)
        for _ in range(ROUNDS):
            if (ended := reads_ended(stage, self.disk)) >= int(stage.kept["before"]) + events:
                break
        stage.kept["after"] = str(ended).encode()

    def count(self, seen: Observation, lines: range) -> int:
        """Of a step: the writes that are to cause an event, or the requests that ended."""
        if self.disk:
            return int(seen.kept["after"]) - int(seen.kept["before"])
        slot = seen.case.topology.functions[self.bdf].slot
        return len(seen.writes_to(self.bdf, lines)) + len([w for w in seen.config_writes(lines, self.bdf) if w.offset in slot])


EDU = Device("edu", "lab.edu", Bdf(0, 5, 0), 21)
E1000E = Device("e1000e", "lab.e1000e", Bdf(0, 6, 0), 22)
PORT = Device("pcie-root-port", "lab.pcie-port", Bdf(0, 7, 0), 23)
SERIAL = Device("pci-serial", "lab.serial", Bdf(0, 5, 0), 21, SHARED)
AHCI = Device("ich9-ahci", "lab.ahci", Bdf(0, 13, 0), 21, SHARED, "sata", (1, 8))  # what it has not begun needs bus master
BLK = Device("virtio-blk", "lab.virtio-blk", Bdf(0, 17, 0), 21, SHARED, virtio("vda"), (8, 8))
BLK_2015 = Device("virtio-blk of 2015", "lab.virtio-blk.1", Bdf(0, 21, 0), 21, SHARED, virtio("vdb"), (8, 8))


def trial(what: str, role: Role, device: Device, by: str, *steps: Step) -> Trial:
    words = " ".join((device.word, WORDS[by], *(f"lab.{step.name}" for step in steps)))
    judge = partial(_judge, device, by, steps)
    names = [step.name for step in steps]
    points = device.points(device.events[CLEAR.name not in names[: names.index(RAISE.name)]])
    return Trial(f"{device.name}, {by}: {what}", role, device.machine, "steps", judge, words, points)


def _judge(device: Device, by: str, steps: Sequence[Step], seen: Observation) -> list[Value]:
    marks = [mark for mark in seen.marks if mark.name != "driven"]
    if [mark.name for mark in marks] != [*(step.name for step in steps), "end"]:
        raise Unshown(f"steps taken: {' '.join(mark.name for mark in marks)}")
    values: list[Value] = []
    master, line, rises = 1, 0, 0
    for number, (step, start, stop) in enumerate(zip(steps, marks, marks[1:])):
        text = step.text if step.name not in (s.name for s in steps[:number]) else f"{step.text}, again"
        lines = seen.between(start, stop)
        if step.name == RAISE.name:
            values += [exactly(f"{text}: how often", device.count(seen, lines), device.events[master])]
            values += [exactly(f"{text}: bus master", _master(seen, device.bdf, lines.start), master)]
        elif step.name in (CLEAR.name, SET.name):
            master = int(step.name == SET.name)
            values += [exactly(f"{text}: bus master", _master(seen, device.bdf, lines.stop), master)]
        if by == INTX:
            if step.name == TAKE.name:
                taken = seen.taken(lines)
                values += [exactly(f"{text}: how many", len(taken), line, at(taken))]
            values += [exactly(f"{text}: line", seen.level(device.gsi, lines.stop), step.line)]
            if step.pending is not None:
                values += [exactly(f"{text}: Interrupt Status", seen.kept["pending"][number + 1], step.pending)]
            rises += step.line > line
            line = step.line
        else:
            sent = seen.messages(lines)
            values += [exactly(f"{text}: messages", len(sent), step.messages, at(sent))]
    edges = seen.edges(seen.between(marks[0], marks[-1]))
    return [*values, exactly("INTx edges in all", len(edges), rises, at(edges))]


def _master(seen: Observation, bdf: Bdf, line: int) -> int:
    return int(seen.register(bdf, Register.COMMAND, line) & PCI_COMMAND_MASTER != 0)
