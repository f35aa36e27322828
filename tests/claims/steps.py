# SPDX-License-Identifier: BSD-2-Clause
"""What C1 and C2 share: their image, steps.c, takes one device and its interrupt through the steps that its command line names.

Here are the steps, what the harness does at each, and what is measured. The expected results stand in the experiments.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple, Sequence

from tests.claims.devices import Device
from witness.lab.experiment import Judge, Role, Trial, Unshown
from witness.lab.observation import Observation
from witness.lab.stage import Action, Stage
from witness.pci.registers import PCI_STATUS, PCI_STATUS_INTERRUPT

MSI, MSIX, INTX = "MSI", "MSI-X", "INTx"
OPTIONS = {MSI: "lab.msi", MSIX: "lab.msix", INTX: "lab.intx"}


class Step(NamedTuple):
    name: str  # of the image's point before the step
    text: str


# The event, and its acknowledgement where no handler runs.
RAISE, ACK = Step("raise", "the event"), Step("ack", "acknowledged")
CLEAR, SET = Step("clear-master", "bus master off"), Step("set-master", "bus master on again")
DISABLE, ENABLE = Step("disable-intx", "INTx Disable set"), Step("enable-intx", "INTx Disable cleared")
TAKE = Step("take", "the CPU takes interrupts")

END = "end"  # the point after the last step

ROUNDS = 1000  # of QEMU's main loop, each of which advances a request


def trial(what: str, role: Role, device: Device, by: str, steps: Sequence[Step], judge: Judge) -> Trial:
    names = [step.name for step in steps]
    points: dict[str, Action] = {name: partial(look, device) for name in (*names, END)}
    if device.disk:
        master = CLEAR.name not in names[:names.index(RAISE.name)]
        points |= {"driven": device.hold, RAISE.name: partial(let_go, device, requests(device, master))}
    options = " ".join((device.option, OPTIONS[by], *(f"lab.{name}" for name in names)))
    return Trial(f"{device.name}, {by}: {what}", role, device.machine, "steps", judge, options, points)


def requests(device: Device, master: bool) -> int:
    """How many events one step can cause: a disk's reads; those that it has not begun need bus master."""
    return device.requests if master else device.begun


# --- what the harness does ---


def look(device: Device, stage: Stage) -> None:
    """Keeps Interrupt Status as each step begins, and at the end."""
    status = stage.config(device.bdf)[PCI_STATUS]
    stage.kept["pending"] = stage.kept.get("pending", b"") + bytes([status & PCI_STATUS_INTERRUPT != 0])


def let_go(device: Device, reads: int, stage: Stage) -> None:
    """QEMU's AHCI begins a command when the one before it has ended, which its statistics show in a later round."""
    look(device, stage)
    device.let_go(stage)
    for _ in range(ROUNDS):
        if device.count_ended(stage) >= reads:
            break


# --- what is measured ---


class Part(NamedTuple):
    """A step in the trace, from its own point to the next."""

    text: str  # for the values that are measured of it
    lines: range
    pending: int  # Interrupt Status at its end


def parts(seen: Observation, steps: Sequence[Step]) -> list[Part]:
    marks = [mark for mark in seen.marks if mark.name != "driven"]
    if [mark.name for mark in marks] != [*(step.name for step in steps), END]:
        raise Unshown(f"steps taken: {' '.join(mark.name for mark in marks)}")
    texts = [step.text if step not in steps[:number] else f"{step.text}, again" for number, step in enumerate(steps)]
    return [Part(*part) for part in zip(texts, map(seen.between, marks, marks[1:]), seen.kept["pending"][1:])]


def events(seen: Observation, device: Device, lines: range) -> int:
    """What must cause an interrupt: the writes to the device in these lines; the reads that ended."""
    if device.disk:
        return device.ended(seen)
    slot = seen.case.topology.functions[device.bdf].slot
    return len(seen.writes_to(device.bdf, lines)) + sum(write.offset in slot for write in seen.config_writes(lines, device.bdf))
