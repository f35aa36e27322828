# SPDX-License-Identifier: BSD-2-Clause
"""K3: the patch's own example, in the kernel that takes over: first's device asserts a line on which Linux has another device.

A kernel that disables MSI at shutdown leaves a device that asserts INTx when its work ends. The next kernel has no driver for it,
and the line is disabled when a driver of another device on it requests its interrupt. The claim is false if Linux prints nothing
after disable-msi, or if it prints "nobody cared" after keep-msi, too.

first leaves a DMA of edu in flight. Linux has no driver for edu, but one for a disk on its line (tests/linux/guest/scripts/sharer).
The trial fails if the line is not disabled after 100000 interrupts, or if the disk is still served by interrupt. In the controls
MSI is kept, or the disk is on another line: it is served, and in the second case edu's line stays asserted. The cures are a policy
that disables INTx as well, and one that waits for edu.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from tests.claims.measure import counted, messages_on, switch
from tests.linux.sharer import (
    BEFORE, ENDED, GSI, MORE, NOBODY_CARED, POLL_MS, READS, SENTENCES, Reads, actions, interrupts, pending, prints, rises, sent,
    stat,
)  # fmt: skip
from witness.judge import ram
from witness.lab.experiment import Experiment, Role, Value, at_least, exactly
from witness.lab.observation import at
from witness.linux.trial import FIRST, Boot, Seen
from witness.machine.description import Content, Disk, Machine
from witness.pci.registers import PCI_COMMAND_INTX_DISABLE, Register
from witness.pci.topology import Bdf

# A DMA of 100 ms that ends in an interrupt, and Linux has no driver for it.
EDU = Bdf(0, 9, 0)

# A disk that has INTx only, on edu's line, or on one of its own.
DISK = Disk("sharer", 5, Content.ZEROS, device="vectors=0")
SHARED = Machine(mib=512, disks=(DISK,), devices=(f"edu,addr={EDU.device:#x}",))
APART = replace(SHARED, disks=(replace(DISK, slot=6),))


@dataclass(frozen=True)
class Left:
    """How edu ends up, whatever Linux does with the line."""

    in_flight: int  # transfers, when its bus master is cleared
    intx: str  # as Linux leaves it
    edges: int  # of its line before a driver of Linux uses that
    level: int  # then
    pending: bool


# Linux tests INTx Disable of every function (pci_intx_mask_broken): an asserted line falls and rises, and a disabled interrupt
# shows.
ASSERTED = Left(1, "enabled", edges=2, level=1, pending=True)
LOST = Left(1, "disabled", edges=0, level=0, pending=False)
DISABLED = Left(1, "disabled", edges=1, level=0, pending=True)
AWAITED = Left(0, "disabled", edges=0, level=0, pending=False)


def judge(left: Left, stormed: bool, seen: Seen) -> list[Value]:
    """What edu has in flight when its bus master is cleared, and what its line does from there to where Linux gives the disk bus
    master, taken; from there to the point over, how often the line interrupts; and how the disk's reads end after that."""
    seen.need()
    slot = seen.run.machine.disks[0].slot
    sharer, gsi = Bdf(0, slot, 0), 20 + slot % 4
    hop, served = seen.case.hops[0], Reads(seen, gsi)
    taken = next(c.line for c in seen.case.changes(range(hop.window.start, seen.case.end)) if c.bdf == sharer and c.master_set)
    raised = rises(seen, range(hop.window.start, taken))
    intx = "disabled" if seen.register(EDU, Register.COMMAND, taken) & PCI_COMMAND_INTX_DISABLE else "enabled"
    return [
        counted("edu's transfers in flight at its bus master clear", ram.all_in_flight(seen.case, hop, None), left.in_flight),
        exactly("edu's MSI, as Linux leaves it", switch(messages_on(seen, EDU, Register.MSI, taken)), "off"),
        exactly("edu's INTx, as Linux leaves it", intx, left.intx),
        counted("edges of edu's line before Linux has a driver for the disk", raised, left.edges),
        exactly("level of edu's line then", seen.level(GSI, taken), left.level),
        exactly("functions with an interrupt pending", pending(seen, EDU, sharer), str(EDU) if left.pending else "none"),
        *(exactly(f'Linux prints "{sentence}"', prints(seen, sentence), int(stormed)) for sentence in SENTENCES),
        *(line_counted(seen, range(taken, seen.mark("over").line), stormed) if gsi == GSI else []),
        exactly("the sharer's reads that end after that", served.ended, READS),
        exactly("of these reads, ended by interrupt", served.by_interrupt, 0 if stormed else READS),
        counted("edges of the sharer's line meanwhile", served.edges, 0 if stormed else READS),
        *([at_least("milliseconds that these reads take", served.took_ms, POLL_MS * (READS - 1))] if stormed else []),
    ]


def line_counted(seen: Seen, lines: range, stormed: bool) -> list[Value]:
    """Where the disk is on edu's line. Without a storm Linux counts what the disk's own requests have raised; it does not count
    the interrupts of a line without a handler."""
    number, sends, own = interrupts(seen, BEFORE), sent(seen, lines), stat(seen, BEFORE)[ENDED]
    count = "interrupts on the line that Linux counts"
    more = "interrupts on the line that the I/O APIC sends and Linux does not count"
    return [
        at_least(count, number, NOBODY_CARED) if stormed else exactly(count, number, own),
        exactly(more, len(sends) - number, MORE if stormed else 0, at(sends)),
    ]


def trial(name: str, role: Role, policy: str, left: Left, machine: Machine = SHARED) -> Boot:
    sharer = Bdf(0, machine.disks[0].slot, 0)
    options = f"handoff.next=linux handoff.shutdown={policy} -- console=ttyS0 linux.script=sharer linux.sharer=0000:{sharer}"
    return Boot(name, role, machine, FIRST, partial(judge, left, role is Role.CLAIM), options, actions(EDU, sharer))


EXPERIMENT = Experiment(
    title='Linux prints "nobody cared" when first has disabled MSI at shutdown',
    source="the patch: \"the device may assert INT#x [...] and if the driver hasn't registered an interrupt handler for it, the "
    "interrupt is never deasserted which causes an 'irq %d: nobody cared' message\"; Linux 6.1, pci_intx_mask_broken",
    falsified_by="Linux prints nothing after disable-msi, or prints it after keep-msi",
    provoked_by="first leaves a DMA of edu in flight that ends in an interrupt; Linux has no driver for edu, but one for a disk "
    "on the line",
    reading="The line that the outgoing kernel leaves asserted hits its next user: a disk of the next kernel gets the storm as "
    "soon as it has a driver, then loses its interrupt, and is polled. With no other device on the line it stays asserted, and "
    "Linux prints nothing. With INTx disabled, too, Linux prints as little as with MSI kept, but the interrupt is pending: it "
    "shows while Linux tests the bit, and would for the first driver that enables the device. A device that was waited for leaves "
    "nothing.",
    trials=(
        trial("disable-msi", Role.CLAIM, "disable-msi", ASSERTED),
        trial("keep-msi", Role.CONTROL, "keep-msi", LOST),
        trial("disable-msi, no other device on the line", Role.CONTROL, "disable-msi", ASSERTED, APART),
        trial("intx-off", Role.CURE, "intx-off", DISABLED),
        trial("reset", Role.CURE, "reset", AWAITED),
    ),
)
