# SPDX-License-Identifier: BSD-2-Clause
"""L6: what bus master suppressed is never said again: a kernel that only sets bus master waits for ever."""

from __future__ import annotations

from typing import Callable

from tests.claims.c03_nobody_cared import REQUESTS, ended
from tests.claims.devices import AHCI, BLK, BLK_2015, SHARED_EDU as EDU, Device
from tests.claims.windows import edu_brought
from witness import devices
from witness.devices.virtio import in_flight, last_batch, queues
from witness.lab.disk import reads_ended
from witness.lab.experiment import Experiment, Judge, Role, Trial, Value, exactly
from witness.lab.machines import SHARED
from witness.lab.observation import Observation, at
from witness.lab.stage import Action, Stage
from witness.pci.registers import PCI_COMMAND_MASTER, Register

# docs/specs/edu.txt of QEMU; AHCI 1.3.1, 3.3: port 0
EDU_IRQ_STATUS, EDU_IRQ_DMA = 0x24, 0x100
EDU_TRANSFER = 2048  # drivers/edu/edu.c
AHCI_BAR, AHCI_PXIS, AHCI_PXCI = 5, 0x110, 0x138

Left = Callable[[Observation, bool], list[Value]]


def points(device: Device) -> dict[str, Action]:
    def waited(stage: Stage) -> None:
        stage.keep_ram("waited")
        if device.disk:
            stage.note("ended", reads_ended(stage, device.disk))
        for name, bar, register in REGISTERS.get(device, ()):
            stage.note(name, stage.register(device.bdf, bar, register))

    held: dict[str, Action] = {"driven": device.hold, "work-ends": device.let_go} if device.disk else {}
    return held | {"waited": waited, "end": lambda stage: stage.keep_ram("end")}


REGISTERS = {
    EDU: (("status", 0, EDU_IRQ_STATUS),),
    AHCI: (("status", AHCI_BAR, AHCI_PXIS), ("issued", AHCI_BAR, AHCI_PXCI)),
}


# What the device and RAM say when the wait is over; came: whether the owner got its answer.


def edu_left(seen: Observation, came: bool) -> list[Value]:
    return [
        exactly("its interrupt status: a transfer has ended", int(seen.noted("status") & EDU_IRQ_DMA != 0), int(not came)),
        edu_brought(seen, EDU_TRANSFER if came else 0, "waited"),
    ]


def blk_left(seen: Observation, came: bool) -> list[Value]:
    """Of a device that is off as a whole without bus master."""
    return ring(seen, BLK, 8 if came else 0)


def blk_2015_left(seen: Observation, came: bool) -> list[Value]:
    """Of one that goes on: the answers are in RAM, and nobody is told."""
    return ring(seen, BLK_2015, 8)


def ring(seen: Observation, device: Device, returned: int) -> list[Value]:
    ram = seen.ram("waited")
    (queue,) = queues(seen.case, device.bdf, range(seen.mark("waited").line))
    batch = last_batch(queue, ram)
    return [
        exactly("reads that ended", ended(device, seen), REQUESTS[device]),
        exactly("of them in the used ring", batch - len(in_flight(queue, ram)), returned, f"used.idx {ram.u16(queue.used + 2)}"),
    ]


def ahci_left(seen: Observation, came: bool) -> list[Value]:
    return [
        exactly("reads that ended", ended(AHCI, seen), 8 if came else REQUESTS[AHCI]),
        exactly("its port's interrupt status", "set" if seen.noted("status") else "clear", "clear" if came else "set"),
        exactly("commands that are still issued", seen.noted("issued").bit_count(), 0 if came else 7),
    ]


def judge(device: Device, left: Left, came: bool, again: bool, messages: int | str) -> Judge:
    def seen_by(seen: Observation) -> list[Value]:
        clears = [c for c in seen.case.changes(seen.between("armed", "handed")) if c.bdf == device.bdf and c.master_cleared]
        sent = seen.messages(seen.between("armed", "waited"))
        rises = seen.edges(seen.between("armed", "waited"))
        master = seen.register(device.bdf, Register.COMMAND, seen.mark("waited").line) & PCI_COMMAND_MASTER
        number: int | str = len(sent) if isinstance(messages, int) else "some" if sent else "none"
        values = [
            exactly("bus master cleared", len(clears), 0 if came else 1, at(clears)),
            exactly("bus master while its owner waits", "on" if master else "off", "on"),
            *left(seen, came),
            exactly("messages, up to a second after bus master is set", number, messages, at(sent)),
            exactly("INTx edges", len(rises), 0, at(rises)),
        ]
        return values + ([driven_again(seen, device)] if again else [])

    return seen_by


def driven_again(seen: Observation, device: Device) -> Value:
    function = seen.case.topology.functions[device.bdf]
    missing = devices.not_driven(seen.case, function, seen.between("waited", "end"), seen.ram("end"), last=True)
    return exactly("what its driver lacks once it has reset it", ", ".join(missing) or "nothing", "nothing")


def trial(name: str, role: Role, device: Device, left: Left, messages: int | str, words: str = "") -> Trial:
    check = judge(device, left, came=role is Role.CONTROL, again=role is Role.CURE, messages=messages)
    said = f"{device.word} {words}".strip()
    return Trial(f"{device.name}, {name}", role, SHARED, "l06_lost_completion", check, said, points(device))


KEPT, RESET = "lab.master=kept", "lab.reset"

# What each leaves behind, and the messages of work that ends with bus master on; AHCI's of several commands may be one.
LOADS: tuple[tuple[Device, Left, int | str], ...] = (
    (EDU, edu_left, 1),
    (BLK, blk_left, 8),
    (BLK_2015, blk_2015_left, 8),
    (AHCI, ahci_left, "some"),
)


def none(messages: int | str) -> int | str:
    return 0 if isinstance(messages, int) else "none"


EXPERIMENT = Experiment(
    title="What bus master suppressed is lost in QEMU: who waits, waits for ever",
    source="what the patch leaves open; PCIe 7.5.1.1.3: the bit disables memory and I/O requests, and says nothing of what "
    "becomes of them",
    falsified_by="a message when bus master is set again, or within the second in which the owner waits",
    provoked_by="edu's transfer, or reads that blkdebug holds, end when bus master is off; then it is set, without a reset",
    reading="Who keeps a device's state keeps its belief that it has told: its status says that it is done, and nobody comes to "
    "read it. Some answers are in RAM, others never get there. A kernel that takes over resets the device and asks anew; "
    "one that wants its old requests back has to look for itself instead of waiting.",
    trials=(
        *(trial("bus master set again", Role.CLAIM, device, left, none(messages)) for device, left, messages in LOADS),
        *(trial("bus master kept", Role.CONTROL, device, left, messages, KEPT) for device, left, messages in LOADS),
        *(trial("reset, and asked anew", Role.CURE, device, left, none(messages), RESET) for device, left, messages in LOADS),
    ),
)
