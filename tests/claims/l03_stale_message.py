# SPDX-License-Identifier: BSD-2-Clause
"""L3: a message that the local APIC has accepted is delivered to the next kernel, whatever became of its sender.

A message that has arrived is a bit in the local APIC's IRR (Intel SDM Vol. 3, 10.8.4), and no register of the device takes it back.
The limit does not exist if IRR is empty at the jump or when the next kernel has set up the local APIC, or if the CPU takes no
interrupt when that kernel enables interrupts.

The image (l03_stale_message.c) has edu send a message while its kernel has interrupts disabled, shuts down and jumps; the next
kernel (in_undrained.c) touches no device and enables interrupts with a handler for its first vector. The trial fails if the handler
does not run. In the control the first kernel takes the message before it shuts down. The cure is a kernel that enables interrupts
once with a handler that only counts, before any driver has a vector (in_windows.c).
"""

from __future__ import annotations

from functools import partial

from tests.claims import apic
from tests.claims.apic import ISR, held, taken
from tests.claims.measure import counted, master_on, messages_on, switch
from tests.claims.windows import failing
from witness.judge.hazards import PIC_REGION
from witness.lab.experiment import Experiment, Judge, Role, Trial, Value, exactly
from witness.lab.machines import EDU
from witness.lab.observation import Observation, at
from witness.lab.stage import Action, Stage
from witness.pci.registers import Register
from witness.pci.topology import Bdf
from witness.trace.events import ConfigRead, ConfigWrite, MmioWrite

DEVICE = Bdf(0, 5, 0)

# Intel 8259A data sheet: the first initialization command word; those after it set its vectors.
PIC_COMMAND, ICW1 = (PIC_REGION, 0x20), 0x10


# --- what the harness does ---


def shutdown(stage: Stage) -> None:
    apic.look(stage, "jump")
    apic.log_interrupts(stage)


def enabled(stage: Stage) -> None:
    apic.look(stage, "enabled")
    stage.kept["counted"] = stage.read(stage.value, 4)


POINTS: dict[str, Action] = {
    **{name: partial(apic.look, name=name) for name in ("sent", "entered", "taken", "window")},
    "shutdown": shutdown,
    "enabled": enabled,
}


# --- what is expected ---


def left_at_jump(seen: Observation, msi: str, left: int, until: str) -> list[Value]:
    """The message, what is left of it and its sender at the jump, and that no other comes up to that point."""
    sent, jump = seen.messages(seen.between("disabled", "sent")), seen.mark("shutdown")
    return [
        counted("messages while interrupts are disabled", sent, 1),
        held("vectors in IRR after that", seen, "sent", 1),
        exactly("bus master of the sender at the jump", switch(master_on(seen, DEVICE, jump.line)), "off", at([jump])),
        exactly("MSI of the sender at the jump", switch(messages_on(seen, DEVICE, Register.MSI, jump.line)), msi, at([jump])),
        held("vectors in IRR at the jump", seen, "jump", left),
        counted("messages after that one", seen.messages(seen.between("sent", until)), 0),
    ]


def undrained(msi: str, left: int, seen: Observation) -> list[Value]:
    """The next kernel touches no device, and still its handler runs when it enables interrupts."""
    lines = seen.between("shutdown", "enabled")
    return [
        *left_at_jump(seen, msi, left, "enabled"),
        held("vectors in IRR when the next kernel has set it up", seen, "entered", left),
        counted("its accesses to the sender before that", accesses(seen, lines), 0),
        counted("interrupts that the CPU takes when they are enabled", taken(seen, lines), left),
        *([held("vectors in ISR in the handler", seen, "taken", left, ISR)] if left else []),
        exactly("interrupts counted by the handler, in RAM", int.from_bytes(seen.kept["counted"], "little"), left),
    ]


def drained(seen: Observation) -> list[Value]:
    """It is taken while no vector has a handler yet, not even that of an 8259 line; after that nothing is left."""
    lines = seen.between("shutdown", "window")
    writes = (write for write in seen.case.within(MmioWrite, lines) if (write.region, write.address) == PIC_COMMAND)
    first = next((write.line for write in writes if write.value & ICW1), lines.start)
    found = taken(seen, lines)
    return [
        *left_at_jump(seen, "on", 1, "init"),
        counted("interrupts that the next kernel takes before it sets up the 8259", [t for t in found if t.line < first], 1),
        counted("interrupts from there to init", [t for t in found if t.line > first], 0),
        held("vectors in IRR before init", seen, "window", 0),
        held("vectors in ISR before init", seen, "window", 0, ISR),
        failing(seen, 0),
    ]


def accesses(seen: Observation, lines: range) -> list[ConfigRead | ConfigWrite | MmioWrite]:
    """To the sender, but for reads of its memory, which QEMU does not trace."""
    reads = [read for read in seen.case.within(ConfigRead, lines) if read.bdf == DEVICE]
    return [*reads, *seen.config_writes(lines, DEVICE), *seen.writes_to(DEVICE, lines)]


# The production start, with a point after the search for devices.
DRAINED = "handoff.next=in_windows lab.window=jump"


def trial(name: str, role: Role, judge: Judge, options: str) -> Trial:
    return Trial(name, role, EDU, "l03_stale_message", judge, options, POINTS)


EXPERIMENT = Experiment(
    title="A message that the local APIC has accepted reaches the next kernel",
    source="what the patch leaves open; Intel SDM Vol. 3, 10.4.7.2, 10.8.4: IRR keeps it until the CPU takes it, also while "
    "the APIC is disabled by software",
    falsified_by="IRR empty at the jump, or when the next kernel has set up the local APIC; no interrupt when it sets IF",
    provoked_by="edu sends a message while its kernel has interrupts disabled, which then shuts down and jumps",
    reading="No device policy reaches a message that has arrived: bus master, MSI and the device itself may be off, and the local "
    "APIC set up again. It is delivered when the next kernel first enables interrupts. Kernels allocate vectors in the same "
    "order, so a driver's handler runs for a device that has done nothing. So enable interrupts once, with a handler that only "
    "counts, before any driver has a vector.",
    trials=(
        trial("bus master cleared at shutdown", Role.CLAIM, partial(undrained, "on", 1), "handoff.shutdown=keep-msi"),
        trial("MSI disabled, too", Role.CLAIM, partial(undrained, "off", 1), "handoff.shutdown=disable-msi"),
        trial("device reset, too", Role.CLAIM, partial(undrained, "on", 1), "handoff.shutdown=reset"),
        trial("taken before shutdown", Role.CONTROL, partial(undrained, "on", 0), "handoff.shutdown=keep-msi lab.taken"),
        trial("drained", Role.CURE, drained, f"handoff.shutdown=keep-msi {DRAINED}"),
    ),
)
