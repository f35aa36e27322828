# SPDX-License-Identifier: BSD-2-Clause
"""L6: what bus master suppressed is never said again: a kernel that only sets bus master waits for ever."""

from __future__ import annotations

from typing import Callable

from tests.claims.c03_nobody_cared import AHCI, BLK, BLK_2015, EDU, Load, keep, kept
from witness.driving import not_seen
from witness.lab.disk import let_go, reads_ended
from witness.lab.experiment import Action, Experiment, Judge, Role, Trial, Value, exactly
from witness.lab.machines import SHARED
from witness.lab.observation import Observation, at
from witness.lab.stage import Stage
from witness.memory import edu_dmas
from witness.pci import PCI_BASE_ADDRESS_0, PCI_COMMAND_MASTER, Register
from witness.qemu import configs
from witness.trace import MmioWrite
from witness.virtqueue import in_flight, last_batch, queues

# docs/specs/edu.txt of QEMU; AHCI 1.3.1, 3.3: port 0
EDU_IRQ_STATUS, EDU_IRQ_DMA = 0x24, 0x100
AHCI_BAR, AHCI_PXIS, AHCI_PXCI = 5, 0x110, 0x138

Left = Callable[[Observation, bool], list[Value]]


def points(load: Load) -> dict[str, Action]:
    def end_work(stage: Stage) -> None:
        if load.disk:
            let_go(stage, load.disk)

    def waited(stage: Stage) -> None:
        stage.keep_ram("waited")
        if load.disk:
            keep(stage, "ended", reads_ended(stage, load.disk))
        for name, bar, register in REGISTERS.get(load, ()):
            keep(stage, name, read_register(stage, load, bar, register))

    hold = {"driven": load.hold} if load.disk else {}
    return {**hold, "work-ends": end_work, "waited": waited, "end": lambda stage: stage.keep_ram("end")}


REGISTERS = {
    EDU: (("status", 0, EDU_IRQ_STATUS),),
    AHCI: (("status", AHCI_BAR, AHCI_PXIS), ("issued", AHCI_BAR, AHCI_PXCI)),
}


def read_register(stage: Stage, load: Load, bar: int, register: int) -> int:
    """One of 32 bits; to read those of REGISTERS changes nothing."""
    config = dict(configs(stage.session.qmp))[load.bdf]
    base = int.from_bytes(config[PCI_BASE_ADDRESS_0 + 4 * bar:][:4], "little")
    return int(stage.monitor(f"xp /1wx {base + register:#x}").split()[-1], 16)


# What the device and RAM say when the wait is over; came: whether the owner got its answer.


def edu_left(seen: Observation, came: bool) -> list[Value]:
    dma = edu_dmas(seen.case, seen.between("driven", "armed"))[-1]
    buffer = seen.ram("waited").read(dma.target)
    brought = 0 if buffer == bytes([buffer[0]]) * len(buffer) else len(buffer)
    return [
        exactly("its interrupt status: a transfer has ended", int(kept(seen, "status") & EDU_IRQ_DMA != 0), int(not came)),
        exactly("bytes that it brought", brought, len(buffer) if came else 0),
    ]


def blk_left(seen: Observation, came: bool) -> list[Value]:
    """Of a device that is off as a whole without bus master."""
    return ring(seen, BLK, 8 if came else 0)


def blk_2015_left(seen: Observation, came: bool) -> list[Value]:
    """Of one that goes on: the answers are in RAM, and nobody is told."""
    return ring(seen, BLK_2015, 8)


def ring(seen: Observation, load: Load, returned: int) -> list[Value]:
    writes, ram = seen.case.within(MmioWrite, range(seen.mark("waited").line)), seen.ram("waited")
    (queue,) = (queue for queue in queues(writes, seen.case.bars) if queue.bdf == load.bdf)
    batch = last_batch(queue, ram)
    return [
        exactly("reads that ended", load.ended(seen), load.requests),
        exactly("of them in the used ring", batch - len(in_flight(queue, ram)), returned, f"used.idx {ram.u16(queue.used + 2)}"),
    ]


def ahci_left(seen: Observation, came: bool) -> list[Value]:
    return [
        exactly("reads that ended", AHCI.ended(seen), 8 if came else AHCI.requests),
        exactly("its port's interrupt status", "set" if kept(seen, "status") else "clear", "clear" if came else "set"),
        exactly("commands that are still issued", kept(seen, "issued").bit_count(), 0 if came else 7),
    ]


def judge(load: Load, left: Left, came: bool, again: bool, messages: int | str) -> Judge:
    def seen_by(seen: Observation) -> list[Value]:
        clears = [c for c in seen.case.changes(seen.between("armed", "handed")) if c.bdf == load.bdf and c.master_cleared]
        sent = seen.messages(seen.between("armed", "waited"))
        rises = seen.edges(seen.between("armed", "waited"))
        master = seen.register(load.bdf, Register.COMMAND, seen.mark("waited").line) & PCI_COMMAND_MASTER
        number: int | str = len(sent) if isinstance(messages, int) else "some" if sent else "none"
        values = [
            exactly("bus master cleared", len(clears), 0 if came else 1, at(clears)),
            exactly("bus master while its owner waits", "on" if master else "off", "on"),
            *left(seen, came),
            exactly("messages, up to a second after bus master is set", number, messages, at(sent)),
            exactly("INTx edges", len(rises), 0, at(rises)),
        ]
        return values + ([driven_again(seen, load)] if again else [])

    return seen_by


def driven_again(seen: Observation, load: Load) -> Value:
    function = seen.case.topology.functions[load.bdf]
    missing = not_seen(seen.case, function, seen.between("waited", "end"), seen.ram("end"), last=True)
    return exactly("what its driver lacks once it has reset it", ", ".join(missing) or "nothing", "nothing")


def trial(name: str, role: Role, load: Load, left: Left, messages: int | str, words: str = "") -> Trial:
    check = judge(load, left, came=role is Role.CONTROL, again=role is Role.CURE, messages=messages)
    return Trial(f"{load.name}, {name}", role, SHARED, "l06_lost_completion", check, f"{load.word} {words}".strip(), points(load))


KEPT, RESET = "lab.master=kept", "lab.reset"

# What each leaves behind, and the messages of work that ends with bus master on; AHCI's of several commands may be one.
LOADS: tuple[tuple[Load, Left, int | str], ...] = (
    (EDU, edu_left, 1),
    (BLK, blk_left, 8),
    (BLK_2015, blk_2015_left, 8),
    (AHCI, ahci_left, "some"),
)


def none(messages: int | str) -> int | str:
    return 0 if isinstance(messages, int) else "none"


EXPERIMENT = Experiment(
    title="What bus master suppressed is never sent again: who only sets bus master waits for ever",
    source="what the patch leaves open; PCIe 7.5.1.1.3: the bit disables requests, and says nothing of what becomes of them",
    falsified_by="a message when bus master is set again, or within the second in which the owner waits",
    provoked_by="edu's transfer, or reads that blkdebug holds, end when bus master is off; then it is set, without a reset",
    reading="Who keeps a device's state keeps its belief that it has told: its status says that it is done, and nobody comes to "
    "read it. Some answers are in RAM, others never get there. A kernel that takes over resets the device and asks anew; "
    "one that wants its old requests back has to look for itself instead of waiting.",
    trials=(
        *(trial("bus master set again", Role.CLAIM, load, left, none(messages)) for load, left, messages in LOADS),
        *(trial("bus master kept", Role.CONTROL, load, left, messages, KEPT) for load, left, messages in LOADS),
        *(trial("reset, and asked anew", Role.CURE, load, left, none(messages), RESET) for load, left, messages in LOADS),
    ),
)
