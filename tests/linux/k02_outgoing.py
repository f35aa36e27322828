# SPDX-License-Identifier: BSD-2-Clause
"""K2: the patch's own example, in the kernel that hands over: a disk's MSI-X is disabled under it, as d52877c7b1af did.

The kernel that ran pci_device_shutdown in 2008 disabled MSI-X of a disk that had a read in flight. The read then ends with INTx,
for which the disk's driver has no handler. The claim is false if Linux does not print "nobody cared" for that line, or if it prints
it when bus master is cleared instead, as it has been since 2017.

Linux (tests/linux/guest/scripts/outgoing) starts a read that a throttle holds, writes by sysfs the bits that were written then, and
lets another disk without MSI-X on the line read afterwards (scripts/sharer). The trial fails if the line is not disabled after
100000 interrupts, or if the neighbour is still served by interrupt. In the controls bus master is cleared, alone or as well, where
that switches the disk off: the line stays low, and all reads of the neighbour end by interrupt.
"""

from __future__ import annotations

from functools import partial

from tests.claims.measure import changes, counted
from tests.linux.measure import TRACE_REQUESTS, messages_of, requests_in_flight
from tests.linux.sharer import (
    BEFORE, MORE, NOBODY_CARED, POLL_MS, READS, SENTENCES, Reads, actions, come_to_rest, interrupts, pending, prints, rises, sent,
)  # fmt: skip
from witness.lab.disk import disk, throttle, unthrottle, virtio
from witness.lab.experiment import Experiment, Role, Value, at_least, exactly
from witness.lab.observation import at
from witness.lab.stage import Action, Stage
from witness.linux.trial import LINUX, Boot, Seen
from witness.machine.description import Machine
from witness.pci.registers import PCI_COMMAND_INTX_DISABLE
from witness.pci.topology import Bdf
from witness.trace.state import Change

BUSY, SHARER = Bdf(0, 5, 0), Bdf(0, 9, 0)
DISK = virtio("busy")

# With MSI-X, and on its line a disk without. Since QEMU 5.0 a virtio device switches itself off with its bus master; one "of 2015"
# does not. Without ioeventfd a disk has its requests as soon as the guest's write that offers them is done.
VIRTIO = "disable-legacy=on,ioeventfd=off"
TODAY = Machine(
    mib=512,
    devices=(
        f"virtio-blk-pci,id=busy,drive=busy0,addr={BUSY.device:#x},{VIRTIO}",
        f"virtio-blk-pci,id=sharer,drive=sharer0,addr={SHARER.device:#x},{VIRTIO},vectors=0",
    ),
    extra=(*disk("busy0"), *disk("sharer0"), *TRACE_REQUESTS),
)
OF_2015 = Machine(mib=512, devices=(f"{TODAY.devices[0]},use-disabled-flag=off", TODAY.devices[1]), extra=TODAY.extra)

OPTIONS = f"console=ttyS0 linux.script=outgoing linux.busy=0000:{BUSY} linux.sharer=0000:{SHARER}"
MSIX_OFF, MASTER_OFF = "linux.msix=off", "linux.master=off"

# What sysfs writes. Linux itself does not write COMMAND in between.
MSIX_SHUTDOWN = "MSI-X Enable in 16 bits, INTx Disable in 16 bits"
CLEAR_MASTER = "bus master in 16 bits"

# The points after these writes.
DISABLED, CLEARED = "disabled", "cleared"


def hold(stage: Stage) -> None:
    throttle(stage, DISK)


def let_go(stage: Stage) -> None:
    unthrottle(stage, DISK)
    come_to_rest(stage)


def cleared(change: Change) -> str:
    if change.msi_disabled:
        what = "MSI-X Enable"
    elif change.master_cleared:
        what = "bus master"
    else:
        what = "INTx Disable" if change.cleared == PCI_COMMAND_INTX_DISABLE else f"{change.cleared:#x}"
    return f"{what} in {8 * change.write.size} bits"


def judge(writes: str, stormed: bool, seen: Seen) -> list[Value]:
    """What the writes do between the points held and over, and what becomes of the read that was in flight; how often the line
    interrupts, by the I/O APIC and by Linux's count; and how the neighbour's reads end after that."""
    seen.need()
    driven, done = seen.mark("held").line, seen.between("held", "over")
    written, raised, sends, served = changes(seen, BUSY, done), rises(seen, done), sent(seen, done), Reads(seen)
    number, count = interrupts(seen, BEFORE) - interrupts(seen, 0), "interrupts on the line that Linux counts"
    more = "interrupts on the line that the I/O APIC sends and Linux does not count"
    return [
        exactly("bits cleared in the busy disk's registers", ", ".join(map(cleared, written)), writes, at(written)),
        exactly("reads of the busy disk in flight then", requests_in_flight(seen, driven), 1),
        exactly("reads in flight afterwards, as QEMU reports", requests_in_flight(seen, done.stop), 0),
        exactly("reads in flight afterwards, as Linux reports", int(seen.reported("inflight")[0].split()[0]), 1),
        counted("messages of the busy disk", messages_of(seen, [BUSY], driven, done), 0),
        counted("edges of the shared line", raised, int(stormed)),
        exactly("functions with an interrupt pending", pending(seen, BUSY, SHARER), str(BUSY) if stormed else "none"),
        *(exactly(f'Linux prints "{sentence}"', prints(seen, sentence), int(stormed)) for sentence in SENTENCES),
        at_least(count, number, NOBODY_CARED) if stormed else exactly(count, number, 0),
        exactly(more, len(sends) - number, MORE if stormed else 0, at(sends)),
        exactly("the sharer's reads that end after that", served.ended, READS),
        exactly("of these reads, ended by interrupt", served.by_interrupt, 0 if stormed else READS),
        counted("edges of the sharer's line meanwhile", served.edges, 0 if stormed else READS),
        *([at_least("milliseconds that these reads take", served.took_ms, POLL_MS * (READS - 1))] if stormed else []),
    ]


def trial(name: str, role: Role, machine: Machine, ends: str, *options: str) -> Boot:
    """ends: the point at which the read ends."""
    writes = ", ".join(text for option, text in ((MSIX_OFF, MSIX_SHUTDOWN), (MASTER_OFF, CLEAR_MASTER)) if option in options)
    points: dict[str, Action] = {"running": hold, ends: let_go, **actions(BUSY, SHARER)}
    check = partial(judge, writes, role is Role.CLAIM)
    return Boot(name, role, machine, LINUX, check, " ".join((OPTIONS, *options)), points)


FROM_2008, FROM_2012, FROM_2017 = "2008: MSI-X off", "2012: MSI-X off, bus master off", "2017: bus master off"

EXPERIMENT = Experiment(
    title="Linux prints \"nobody cared\" when a disk's MSI-X is disabled under it",
    source="the patch: \"the device may assert INT#x [...] which causes an 'irq %d: nobody cared' message, with irq being "
    'subsequently disabled. This is actually not hard to observe with virtio devices"; d52877c7b1af, b566a22c2332, fda78d7a0ead',
    falsified_by="Linux prints nothing when MSI-X is disabled with a read in flight, or prints it when bus master is cleared",
    provoked_by="a read of a virtio disk is held; sysfs writes what pci_device_shutdown wrote then, and the read ends; another "
    "disk is on the line",
    reading="An unmodified Linux disables the line, and polls an unrelated disk on it ten times a second. Clearing bus master "
    "after MSI-X helps only a device that is switched off with it, as QEMU's virtio is since 5.0; clearing it instead of MSI-X "
    "helps every device. In each case Linux loses the completion of the read.",
    trials=(
        trial(FROM_2008, Role.CLAIM, TODAY, CLEARED, MSIX_OFF),
        trial(f"{FROM_2012}; the read ends between", Role.CLAIM, TODAY, DISABLED, MSIX_OFF, MASTER_OFF),
        trial(f"{FROM_2012}; virtio of 2015", Role.CLAIM, OF_2015, CLEARED, MSIX_OFF, MASTER_OFF),
        trial(f"{FROM_2012}; virtio of today", Role.CONTROL, TODAY, CLEARED, MSIX_OFF, MASTER_OFF),
        trial(f"{FROM_2017}; virtio of 2015", Role.CONTROL, OF_2015, CLEARED, MASTER_OFF),
        trial(f"{FROM_2017}; virtio of today", Role.CONTROL, TODAY, CLEARED, MASTER_OFF),
    ),
)
