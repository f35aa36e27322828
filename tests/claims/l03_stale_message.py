# SPDX-License-Identifier: BSD-2-Clause
"""L3: a message that the local APIC has accepted is delivered to the next kernel, whatever became of its sender."""

from __future__ import annotations

from functools import partial

from tests.claims.apic import IRR, ISR, Taken, log_interrupts, look, taken, vectors
from tests.claims.windows import not_driven
from witness.judge.hazards import PIC_REGION
from witness.lab.experiment import Experiment, Judge, Role, Trial, Value, exactly
from witness.lab.machines import EDU
from witness.lab.observation import Observation, at
from witness.lab.stage import Stage
from witness.pci.registers import ENABLE, PCI_COMMAND_MASTER, Register
from witness.pci.topology import Bdf
from witness.trace.events import ConfigRead, ConfigWrite, MmioWrite

DEVICE = Bdf(0, 5, 0)

# Intel 8259A data sheet: the first word of its set-up, which gives it its vectors.
PIC_COMMAND, ICW1 = (PIC_REGION, 0x20), 0x10


def shutdown(stage: Stage) -> None:
    look(stage, "jump")
    log_interrupts(stage)


def enabled(stage: Stage) -> None:
    look(stage, "enabled")
    stage.kept["counted"] = stage.read(stage.value, 4)


POINTS = {
    "sent": lambda stage: look(stage, "sent"),
    "shutdown": shutdown,
    "entered": lambda stage: look(stage, "entered"),
    "taken": lambda stage: look(stage, "taken"),
    "enabled": enabled,
    "window": lambda stage: look(stage, "window"),
}


def waits(seen: Observation, where: str, name: str, count: int, register: str = IRR) -> Value:
    found = vectors(seen, name, register)
    return exactly(f"vectors in {register} {where}", len(found), count, " ".join(f"0x{vector:02x}" for vector in found))


def handed(seen: Observation, msi: str, left: int, until: str) -> list[Value]:
    """The message, what is left of it and its sender at the jump, and that nothing more comes up to that point."""
    sent, late = seen.messages(seen.between("disabled", "sent")), seen.messages(seen.between("sent", until))
    jump = seen.mark("shutdown")
    master = seen.register(DEVICE, Register.COMMAND, jump.line) & PCI_COMMAND_MASTER
    flags = seen.register(DEVICE, Register.MSI, jump.line)
    return [
        exactly("messages while interrupts are disabled", len(sent), 1, at(sent)),
        waits(seen, "then", "sent", 1),
        exactly("bus master of the sender at the jump", "on" if master else "off", "off", at([jump])),
        exactly("MSI of the sender at the jump", "on" if flags & ENABLE[Register.MSI] else "off", msi, at([jump])),
        waits(seen, "at the jump", "jump", left),
        exactly("messages behind that one", len(late), 0, at(late)),
    ]


def interrupts(what: str, found: list[Taken], count: int) -> Value:
    return exactly(what, len(found), count, ", ".join(f"vector 0x{one.vector:02x} (trace {one.line})" for one in found))


def accesses(seen: Observation, lines: range) -> list[ConfigRead | ConfigWrite | MmioWrite]:
    """To the sender, but for reads of its memory, which QEMU does not tell of."""
    reads = [read for read in seen.case.within(ConfigRead, lines) if read.bdf == DEVICE]
    return [*reads, *seen.config_writes(lines, DEVICE), *seen.writes_to(DEVICE, lines)]


def undrained(msi: str, left: int, seen: Observation) -> list[Value]:
    lines = seen.between("shutdown", "enabled")
    touched = accesses(seen, lines)
    return [
        *handed(seen, msi, left, "enabled"),
        waits(seen, "where the next kernel has set it up", "entered", left),
        exactly("its accesses to the sender before", len(touched), 0, at(touched)),
        interrupts("interrupts that the CPU takes when they are enabled", taken(seen, lines), left),
        *([waits(seen, "in the handler", "taken", left, ISR)] if left else []),
        exactly("interrupts counted by the handler, in RAM", int.from_bytes(seen.kept["counted"], "little"), left),
    ]


def drained(seen: Observation) -> list[Value]:
    """As long as no vector is anybody's, a line's of the 8259 neither; behind that nothing is left."""
    lines = seen.between("shutdown", "window")
    writes = (write for write in seen.case.within(MmioWrite, lines) if (write.region, write.address) == PIC_COMMAND)
    first = next((write.line for write in writes if write.value & ICW1), lines.start)
    found = taken(seen, lines)
    return [
        *handed(seen, "on", 1, "init"),
        interrupts("interrupts that the next kernel takes before it sets up the 8259", [t for t in found if t.line < first], 1),
        interrupts("interrupts from there to init", [t for t in found if t.line > first], 0),
        waits(seen, "before init", "window", 0),
        waits(seen, "before init", "window", 0, ISR),
        not_driven(seen),
    ]


# The production start, with a point behind the search for devices (tests/claims/in_windows.c).
DRAINED = "handoff.next=in_windows lab.window=jump"


def trial(name: str, role: Role, judge: Judge, words: str) -> Trial:
    return Trial(name, role, EDU, "l03_stale_message", judge, words, POINTS)


EXPERIMENT = Experiment(
    title="A message that the local APIC has accepted reaches the next kernel",
    source="what the patch leaves open; Intel SDM Vol. 3, 10.4.7.2, 10.8.4: IRR keeps it until the CPU takes it, also while "
    "the APIC is disabled by software",
    falsified_by="IRR empty at the jump, or when the next kernel has set up the local APIC; no interrupt when it sets IF",
    provoked_by="edu sends a message while its kernel has interrupts disabled, which then shuts down and jumps",
    reading="No policy for devices reaches a message that has arrived: bus master, MSI and the device itself may be off, and the "
    "local APIC set up anew. It is delivered when the next kernel first enables interrupts, and vectors are handed out in "
    "the same order by every kernel: a driver's handler runs for a device that has done nothing. So interrupts are opened "
    "once, into a counting sink, before any driver has a vector.",
    trials=(
        trial("bus master cleared at shutdown", Role.CLAIM, partial(undrained, "on", 1), "handoff.shutdown=keep-msi"),
        trial("MSI disabled, too", Role.CLAIM, partial(undrained, "off", 1), "handoff.shutdown=disable-msi"),
        trial("device reset, too", Role.CLAIM, partial(undrained, "on", 1), "handoff.shutdown=reset"),
        trial("taken before shutdown", Role.CONTROL, partial(undrained, "on", 0), "handoff.shutdown=keep-msi lab.taken"),
        trial("drained", Role.CURE, drained, f"handoff.shutdown=keep-msi {DRAINED}"),
    ),
)
