# SPDX-License-Identifier: BSD-2-Clause
"""L6: what bus master suppressed is never sent again: a kernel that only sets bus master waits for ever.

A device that has an event with its bus master off sends no message, and assumes that it has. PCIe 7.5.1.1.3 does not say what
becomes of it. The limit does not exist if the message comes when bus master is set again, or within the second in which the driver
waits.

The image (l06_lost_completion.c) is both kernels: it clears bus master with work in flight, lets the work end, sets bus master
without a reset, and waits. The trial fails if a message comes in that time. What is left of the work is read from the device's
registers, its rings and RAM: a status that reports completion, answers in RAM without an interrupt, or answers that never came. In
the control bus master stays on, and the driver gets its answer. The cure is a reset and the driver's start.
"""

from __future__ import annotations

from functools import partial
from typing import Callable

from tests.claims.devices import AHCI, BLK, BLK_2015, SHARED_EDU as EDU, Device
from tests.claims.dma import keep, landed
from tests.claims.measure import changes, counted, lacking, master_on, switch
from tests.claims.windows import edu_wrote
from witness.devices.virtio import in_flight, last_batch, queues
from witness.lab.experiment import Experiment, Role, Trial, Value, exactly
from witness.lab.machines import SHARED
from witness.lab.observation import Observation, at
from witness.lab.stage import Action, Stage

# docs/specs/edu.txt of QEMU; AHCI 1.3.1, 3.3: port 0
EDU_IRQ_STATUS, EDU_IRQ_DMA = 0x24, 0x100
EDU_TRANSFER = 2048  # drivers/edu/edu.c
AHCI_BAR, AHCI_PXIS, AHCI_PXCI = 5, 0x110, 0x138

# Registers that are read when the wait is over: by name, the BAR and the offset.
REGISTERS = {
    EDU: (("status", 0, EDU_IRQ_STATUS),),
    AHCI: (("status", AHCI_BAR, AHCI_PXIS), ("issued", AHCI_BAR, AHCI_PXCI)),
}


# --- what the harness does ---


def points(device: Device) -> dict[str, Action]:
    held: dict[str, Action] = {"driven": device.hold, "work-ends": device.let_go} if device.disk else {}
    return held | {"waited": partial(waited, device), "end": keep("end")}


def waited(device: Device, stage: Stage) -> None:
    stage.keep_ram("waited")
    if device.disk:
        device.count_ended(stage)
    for name, bar, register in REGISTERS.get(device, ()):
        stage.note(name, stage.register(device.bdf, bar, register))


# --- what the device and RAM hold when the wait is over; came: whether the driver got its answer ---


def edu_left(seen: Observation, came: bool) -> list[Value]:
    return [
        exactly("its interrupt status: a transfer has ended", int(seen.noted("status") & EDU_IRQ_DMA != 0), int(not came)),
        landed("bytes that edu's DMA wrote", edu_wrote(seen, "waited"), EDU_TRANSFER if came else 0),
    ]


def virtio_left(device: Device, seen: Observation, came: bool) -> list[Value]:
    """virtio of today is off as a whole without bus master. That of 2015 continues: answers are in RAM, without an interrupt."""
    ram = seen.ram("waited")
    (queue,) = queues(seen.case, device.bdf, range(seen.mark("waited").line))
    used = last_batch(queue, ram) - len(in_flight(queue, ram))
    return [
        exactly("reads that ended", device.ended(seen), 8),
        exactly("of these in the used ring", used, 8 if came or device is BLK_2015 else 0, f"used.idx {ram.u16(queue.used + 2)}"),
    ]


def ahci_left(seen: Observation, came: bool) -> list[Value]:
    """It has fetched one command of eight."""
    return [
        exactly("reads that ended", AHCI.ended(seen), 8 if came else 1),
        exactly("its port's interrupt status", "set" if seen.noted("status") else "clear", "clear" if came else "set"),
        exactly("commands that are still issued", seen.noted("issued").bit_count(), 0 if came else 7),
    ]


# --- the judge ---

Left = Callable[[Observation, bool], list[Value]]


def judge(device: Device, left: Left, role: Role, messages: int | str, seen: Observation) -> list[Value]:
    """From the point armed to the point waited, a second after bus master is set again; in the cure a driver's work after that."""
    lines, came = seen.between("armed", "waited"), role is Role.CONTROL
    clears = [change for change in changes(seen, device.bdf, seen.between("armed", "shutdown")) if change.master_cleared]
    sent = seen.messages(lines)
    number: int | str = len(sent) if isinstance(messages, int) else "some" if sent else "none"
    values = [
        counted("bus master cleared", clears, 0 if came else 1),
        exactly("bus master while its driver waits", switch(master_on(seen, device.bdf, lines.stop)), "on"),
        *left(seen, came),
        exactly("messages, up to a second after bus master is set", number, messages, at(sent)),
        counted("INTx edges", seen.edges(lines), 0),
    ]
    if role is Role.CURE:
        lacks = lacking(seen, device.bdf, seen.between("waited", "end"), seen.ram("end"))
        values.append(exactly("what its driver lacks after the reset", lacks or "nothing", "nothing"))
    return values


def trial(name: str, role: Role, device: Device, left: Left, messages: int | str, option: str = "") -> Trial:
    check = partial(judge, device, left, role, messages)
    options = f"{device.option} {option}".strip()
    return Trial(f"{device.name}, {name}", role, SHARED, "l06_lost_completion", check, options, points(device))


KEPT, RESET = "lab.master=kept", "lab.reset"

# What each leaves, and the messages of work that ends with bus master on, and off; AHCI may send one for several commands.
LOADS: tuple[tuple[Device, Left, int | str, int | str], ...] = (
    (EDU, edu_left, 1, 0),
    (BLK, partial(virtio_left, BLK), 8, 0),
    (BLK_2015, partial(virtio_left, BLK_2015), 8, 0),
    (AHCI, ahci_left, "some", "none"),
)

EXPERIMENT = Experiment(
    title="What bus master suppressed is lost in QEMU: a driver that waits for it waits for ever",
    source="what the patch leaves open; PCIe 7.5.1.1.3: the bit disables memory and I/O requests, and says nothing of what "
    "becomes of them",
    falsified_by="a message when bus master is set again, or within the second in which the driver waits",
    provoked_by="edu's transfer, or reads that blkdebug holds, end when bus master is off; then it is set, without a reset",
    reading="A kernel that keeps a device's state keeps its assumption that the message was sent: the status reports completion, "
    "and no handler reads it. Some answers are in RAM, others never get there. A kernel that takes over has to reset the device "
    "and repeat the requests; one that wants its old requests back has to poll instead of waiting.",
    trials=(
        *(trial("bus master set again", Role.CLAIM, device, left, none) for device, left, _, none in LOADS),
        *(trial("bus master kept", Role.CONTROL, device, left, some, KEPT) for device, left, some, _ in LOADS),
        *(trial("reset, requests repeated", Role.CURE, device, left, none, RESET) for device, left, _, none in LOADS),
    ),
)
