# SPDX-License-Identifier: BSD-2-Clause
"""One device, and what is done to it and its interrupt step by step (steps.c): the vocabulary of C1 and C2."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple, Sequence

from tests.claims.devices import AHCI, BLK, BLK_2015, Device
from witness.lab.disk import reads_ended
from witness.lab.experiment import Role, Trial, Unshown, Value, exactly
from witness.lab.observation import Observation, at
from witness.lab.stage import Action, Stage
from witness.pci.registers import PCI_COMMAND_MASTER, PCI_STATUS, PCI_STATUS_INTERRUPT, Register
from witness.pci.topology import Bdf

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


# How many events a step brings, where it is not one: with bus master off, and on. What AHCI has not begun needs bus master.
EVENTS = {AHCI: (1, 8), BLK: (8, 8), BLK_2015: (8, 8)}
ONE = 1, 1


def points(device: Device, events: int) -> dict[str, Action]:
    found: dict[str, Action] = {name: partial(look, device) for name in (*(step.name for step in STEPS), "end")}
    return found | ({"driven": device.hold, RAISE.name: partial(let_go, device, events)} if device.disk else {})


def look(device: Device, stage: Stage) -> None:
    """Interrupt Status as each step begins, and at the end."""
    status = stage.config(device.bdf)[PCI_STATUS]
    stage.kept["pending"] = stage.kept.get("pending", b"") + bytes([status & PCI_STATUS_INTERRUPT != 0])


def let_go(device: Device, events: int, stage: Stage) -> None:
    """QEMU's AHCI begins a command when the one before it has ended, which its account shows in a later round."""
    look(device, stage)
    device.let_go(stage)
    for _ in range(ROUNDS):
        if (ended := reads_ended(stage, device.disk)) >= int(stage.kept["ended before"]) + events:
            break
    stage.note("ended", ended)


def count(device: Device, seen: Observation, lines: range) -> int:
    """Of a step: the writes that are to cause an event, or the requests that ended."""
    if device.disk:
        return seen.noted("ended") - seen.noted("ended before")
    slot = seen.case.topology.functions[device.bdf].slot
    return len(seen.writes_to(device.bdf, lines)) + len([w for w in seen.config_writes(lines, device.bdf) if w.offset in slot])


def trial(what: str, role: Role, device: Device, by: str, *steps: Step) -> Trial:
    words = " ".join((device.word, WORDS[by], *(f"lab.{step.name}" for step in steps)))
    judge = partial(_judge, device, by, steps)
    names = [step.name for step in steps]
    events = EVENTS.get(device, ONE)[CLEAR.name not in names[: names.index(RAISE.name)]]
    return Trial(f"{device.name}, {by}: {what}", role, device.machine, "steps", judge, words, points(device, events))


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
            values += [exactly(f"{text}: how often", count(device, seen, lines), EVENTS.get(device, ONE)[master])]
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
