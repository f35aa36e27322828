# SPDX-License-Identifier: BSD-2-Clause
"""K3: the patch's own example, in the kernel that takes over: first's device asserts a line that Linux has another device on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from tests.linux.sharer import BEFORE, ENDED, GSI, actions, given_up, interrupts, pending, reads, rises, stat, storm
from witness.judge import ram
from witness.lab.experiment import Experiment, Role, Value, exactly
from witness.lab.observation import at
from witness.linux.trial import FIRST, Boot, Seen
from witness.machine.description import Content, Disk, Machine
from witness.pci.registers import ENABLE, PCI_COMMAND_INTX_DISABLE, Register
from witness.pci.topology import Bdf

# A DMA of 100 ms that ends in an interrupt, and Linux has no driver for it.
EDU = Bdf(0, 9, 0)

# A disk that has INTx only, on edu's line, or on one of its own.
DISK = Disk("sharer", 5, Content.ZEROS, device="vectors=0")
SHARED = Machine(mib=512, disks=(DISK,), devices=(f"edu,addr={EDU.device:#x}",))
APART = replace(SHARED, disks=(replace(DISK, slot=6),))


@dataclass(frozen=True)
class Left:
    """What comes of edu, whatever Linux does with the line."""

    in_flight: int  # transfers, when its bus master goes
    intx: str  # as Linux leaves it
    edges: int  # of its line before a driver of Linux's has that
    level: int  # then
    pending: bool


# Linux tries INTx Disable of every function that it meets (pci_intx_mask_broken): what is asserted falls and rises, and what was
# disabled shows.
ASSERTED = Left(1, "enabled", edges=2, level=1, pending=True)
LOST = Left(1, "disabled", edges=0, level=0, pending=False)
DISABLED = Left(1, "disabled", edges=1, level=0, pending=True)
AWAITED = Left(0, "disabled", edges=0, level=0, pending=False)


def outcome(left: Left, stormed: bool, seen: Seen) -> list[Value]:
    seen.need()
    slot = seen.run.machine.disks[0].slot
    sharer, gsi = Bdf(0, slot, 0), 20 + slot % 4
    hop = seen.case.hops[0]
    taken = next(c.line for c in seen.case.changes(range(hop.window.start, seen.case.end)) if c.bdf == sharer and c.master_set)
    armed, raised = ram.all_in_flight(seen.case, hop, None), rises(seen, range(hop.window.start, taken))
    command, msi = (seen.register(EDU, register, taken) for register in (Register.COMMAND, Register.MSI))
    # Nobody counts the interrupts of a line that Linux has nobody on.
    if gsi == GSI:
        said = storm(seen, range(taken, seen.mark("over").line), interrupts(seen, BEFORE), stormed, stat(seen, BEFORE)[ENDED])
    else:
        said = given_up(seen, stormed)
    return [
        exactly("edu's transfers in flight when its bus master goes", len(armed), left.in_flight, at(armed)),
        exactly("edu's MSI, as Linux leaves it", "on" if msi & ENABLE[Register.MSI] else "off", "off"),
        exactly("edu's INTx, as Linux leaves it", "disabled" if command & PCI_COMMAND_INTX_DISABLE else "enabled", left.intx),
        exactly("edges of edu's line before Linux has a driver for the disk", len(raised), left.edges, at(raised)),
        exactly("level of edu's line then", seen.level(GSI, taken), left.level),
        exactly("functions with an interrupt pending", pending(seen, EDU, sharer), str(EDU) if left.pending else "none"),
        *said,
        *reads(seen, stormed, gsi),
    ]


def trial(name: str, role: Role, policy: str, left: Left, machine: Machine = SHARED) -> Boot:
    sharer = Bdf(0, machine.disks[0].slot, 0)
    words = f"handoff.next=linux handoff.shutdown={policy} -- console=ttyS0 linux.script=sharer linux.sharer=0000:{sharer}"
    return Boot(name, role, machine, FIRST, partial(outcome, left, role is Role.CLAIM), words, actions(EDU, sharer))


EXPERIMENT = Experiment(
    title="Linux says that nobody cared when first has disabled MSI at shutdown",
    source="the patch: \"the device may assert INT#x [...] and if the driver hasn't registered an interrupt handler for it, the "
    "interrupt is never deasserted which causes an 'irq %d: nobody cared' message\"; Linux 6.1, pci_intx_mask_broken",
    falsified_by="a Linux that says nothing after disable-msi; one that says it after keep-msi",
    provoked_by="first leaves edu a DMA in flight that ends in an interrupt; Linux has no driver for it, but a disk on the line",
    reading="What the outgoing kernel lets loose falls on whoever asks for the line next: a disk of the next kernel has the storm "
    "as soon as it has a driver, then loses its interrupt, and is polled. Where nobody else is on the line it stays asserted, and "
    "nobody says so. With INTx disabled, too, Linux is as silent as with MSI kept, but the interrupt is pending: it shows for as "
    "long as Linux tries the bit, and would for the first driver that enables the device. A device that was waited for leaves "
    "nothing.",
    trials=(
        trial("disable-msi", Role.CLAIM, "disable-msi", ASSERTED),
        trial("keep-msi", Role.CONTROL, "keep-msi", LOST),
        trial("disable-msi, nobody else on the line", Role.CONTROL, "disable-msi", ASSERTED, APART),
        trial("intx-off", Role.CURE, "intx-off", DISABLED),
        trial("reset", Role.CURE, "reset", AWAITED),
    ),
)
