# SPDX-License-Identifier: BSD-2-Clause
"""K2: the patch's own example, in the kernel that hands over: a disk's MSI-X is disabled under its driver, as d52877c7b1af did."""

from __future__ import annotations

from functools import partial

from tests.linux.sharer import BEFORE, actions, come_to_rest, interrupts, pending, reads, rises, storm
from witness.evidence.interrupts import own_messages
from witness.lab.disk import disk, throttle, unthrottle, virtio
from witness.lab.experiment import Experiment, Role, Value, exactly
from witness.lab.observation import at
from witness.lab.stage import Action, Stage
from witness.linux.trial import LINUX, Boot, Seen
from witness.machine.description import Machine
from witness.pci.registers import PCI_COMMAND_INTX_DISABLE
from witness.pci.topology import Bdf
from witness.trace.events import REQUEST_PATTERNS, BlockRequest
from witness.trace.state import Change

BUSY, SHARER = Bdf(0, 5, 0), Bdf(0, 9, 0)
DISK = virtio("busy")

# With MSI-X, and on its line a disk without. Since QEMU 5.0 a virtio device switches itself off with its bus master; of 2015 is one
# that does not. Without ioeventfd a disk has its requests when the guest's write that offers them has been done.
VIRTIO = "disable-legacy=on,ioeventfd=off"
TODAY = Machine(
    mib=512,
    devices=(
        f"virtio-blk-pci,id=busy,drive=busy0,addr={BUSY.device:#x},{VIRTIO}",
        f"virtio-blk-pci,id=sharer,drive=sharer0,addr={SHARER.device:#x},{VIRTIO},vectors=0",
    ),
    extra=(*disk("busy0"), *disk("sharer0"), *(word for name in REQUEST_PATTERNS for word in ("-trace", name))),
)
OF_2015 = Machine(mib=512, devices=(f"{TODAY.devices[0]},use-disabled-flag=off", TODAY.devices[1]), extra=TODAY.extra)

WORDS = f"console=ttyS0 linux.script=outgoing linux.busy=0000:{BUSY} linux.sharer=0000:{SHARER}"
MSIX_OFF, MASTER_OFF = "linux.msix=off", "linux.master=off"

# What is written from outside the kernel. Of Linux's own writes of COMMAND there is none in between.
MSIX_SHUTDOWN = "MSI-X Enable in 16 bits, INTx Disable in 16 bits"
CLEAR_MASTER = "bus master in 16 bits"

# The points behind these writes.
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


def in_flight(seen: Seen, line: int) -> int:
    """Requests that the disks have taken and not returned."""
    taken: set[int] = set()
    for event in seen.case.within(BlockRequest, range(line)):
        (taken.discard if event.done else taken.add)(event.id)
    return len(taken)


def outcome(writes: str, stormed: bool, seen: Seen) -> list[Value]:
    """Of the writes, and of the read that was in flight."""
    seen.need()
    driven, done = range(seen.mark("held").line), seen.between("held", "over")
    busy = seen.case.topology.functions[BUSY]
    changes = [change for change in seen.case.changes(done) if change.bdf == BUSY]
    given = own_messages(seen.case, busy, driven)
    messages = [message for message in seen.messages(done) if (message.address, message.data) in given]
    raised = rises(seen, done)
    return [
        exactly("bits cleared in the busy disk's registers", ", ".join(map(cleared, changes)), writes, at(changes)),
        exactly("reads of the busy disk in flight then", in_flight(seen, driven.stop), 1),
        exactly("reads in flight afterwards, by QEMU's word", in_flight(seen, done.stop), 0),
        exactly("reads in flight afterwards, by Linux's word", int(seen.told("inflight")[0].split()[0]), 1),
        exactly("messages of the busy disk", len(messages), 0, at(messages)),
        exactly("edges of the shared line", len(raised), int(stormed), at(raised)),
        exactly("functions with an interrupt pending", pending(seen, BUSY, SHARER), str(BUSY) if stormed else "none"),
        *storm(seen, done, interrupts(seen, BEFORE) - interrupts(seen, 0), stormed),
        *reads(seen, stormed),
    ]


def trial(name: str, role: Role, machine: Machine, ends: str, *words: str) -> Boot:
    """ends: the point at which the read does."""
    writes = ", ".join(text for word, text in ((MSIX_OFF, MSIX_SHUTDOWN), (MASTER_OFF, CLEAR_MASTER)) if word in words)
    points: dict[str, Action] = {"running": hold, ends: let_go, **actions(BUSY, SHARER)}
    judge = partial(outcome, writes, role is Role.CLAIM)
    return Boot(name, role, machine, LINUX, judge, " ".join((WORDS, *words)), points)


FROM_2008, FROM_2012, FROM_2017 = "2008: MSI-X off", "2012: MSI-X off, bus master off", "2017: bus master off"

EXPERIMENT = Experiment(
    title="Linux says that nobody cared when a disk's MSI-X is disabled under it",
    source="the patch: \"the device may assert INT#x [...] which causes an 'irq %d: nobody cared' message, with irq being "
    'subsequently disabled. This is actually not hard to observe with virtio devices"; d52877c7b1af, b566a22c2332, fda78d7a0ead',
    falsified_by="a Linux that says nothing when MSI-X goes off with a read in flight; one that says it when bus master goes",
    provoked_by="a read of a virtio disk is held; sysfs writes what pci_device_shutdown wrote then, and the read ends; another "
    "disk has the line",
    reading="An unmodified Linux gives the line up, and a disk that has nothing to do with it is polled ten times a second. A bus "
    "master that is cleared behind MSI-X helps only a device that is switched off with it, as QEMU's virtio is since 5.0; cleared "
    "instead, it helps every one. That the read's end is lost to Linux is the same in each.",
    trials=(
        trial(FROM_2008, Role.CLAIM, TODAY, CLEARED, MSIX_OFF),
        trial(f"{FROM_2012}; the read ends between", Role.CLAIM, TODAY, DISABLED, MSIX_OFF, MASTER_OFF),
        trial(f"{FROM_2012}; virtio of 2015", Role.CLAIM, OF_2015, CLEARED, MSIX_OFF, MASTER_OFF),
        trial(f"{FROM_2012}; virtio of today", Role.CONTROL, TODAY, CLEARED, MSIX_OFF, MASTER_OFF),
        trial(f"{FROM_2017}; virtio of 2015", Role.CONTROL, OF_2015, CLEARED, MASTER_OFF),
        trial(f"{FROM_2017}; virtio of today", Role.CONTROL, TODAY, CLEARED, MASTER_OFF),
    ),
)
