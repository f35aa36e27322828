# SPDX-License-Identifier: BSD-2-Clause
"""K5: the ring: Linux hands over to first, first to second, second to Linux, each by its own rule."""

from __future__ import annotations

import hashlib
from functools import partial

from witness import pattern
from witness.lab.experiment import Experiment, Role, Unshown, Value, at_least, exactly
from witness.lab.observation import at
from witness.linux import shutdown
from witness.linux.shutdown import CALM, NONE, Handover, names
from witness.linux.trial import LINUX, Boot, Seen
from witness.pci import PCI_COMMAND, PCI_COMMAND_MASTER, Bdf, Register
from witness.record import Outcome
from witness.trace import MmioWrite

DISK = Bdf(0, 3, 0)

# Our images' log by QEMU's name in the trace. Linux does not write there.
DEBUGCON = "isa-debugcon"

KEPT, CLEARED = "on", "off"


def handed_on(seen: Seen, what: str, lines: range, master: str) -> list[Value]:
    """One hand-off of an image of ours, up to its jump, by keep-msi; by none, bus master stays on."""
    masters = [change for change in seen.case.changes(lines) if change.master_cleared]
    clears = {change.bdf: change for change in masters if change.old ^ change.new == PCI_COMMAND_MASTER}
    begin = min((change.line for change in clears.values()), default=lines.stop)
    had = seen.case.history.masters(begin)
    mute = [change for change in seen.case.changes(range(begin, lines.stop)) if change.msi_disabled]
    narrow = {bdf for bdf, change in clears.items() if (change.write.size, change.write.offset) == (2, PCI_COMMAND)}
    behind = [(bdf, bridge) for bdf in clears for bridge in seen.case.topology.upstream(bdf) if bridge in clears]
    late = [bdf for bdf, bridge in behind if clears[bdf].line > clears[bridge].line]
    msix = [bdf for bdf, register in seen.case.history.signalling(lines.stop) if register is Register.MSIX]
    cleared = names(had) if master == CLEARED else NONE
    return [
        exactly(f"{what}: bus master cleared by 16 bits", names(narrow), cleared, at(clears.values())),
        exactly(f"{what}: bus master still on", len(seen.case.history.masters(lines.stop)), 0 if master == CLEARED else len(had)),
        exactly(f"{what}: MSI switched off", len(mute), 0, at(mute)),
        at_least(f"{what}: functions with MSI-X on", len(msix), 1, names(msix)),
        exactly(f"{what}: functions cleared after their bridge", names(late), NONE),
    ]


def jump_of(seen: Seen) -> int:
    """Our last image's last word."""
    words = [write.line for write in seen.case.within(MmioWrite, range(seen.case.end)) if write.region == DEBUGCON]
    if not words:
        raise Unshown("no image of ours has said a word")
    return words[-1]


def went_round(cpus: int, master: str, seen: Seen) -> list[Value]:
    seen.need()
    entries = sorted(seen.case.entry_lines.values())
    if len(entries) != 2:
        raise Unshown(f"{len(entries)} images of ours were entered, not 2")
    handover, jump = Handover.of(seen), jump_of(seen)
    between, behind = range(entries[0], entries[1]), range(entries[1], jump)
    return [
        *shutdown.by_the_rule(seen, handover),
        shutdown.halted(seen, cpus),
        *handed_on(seen, "first to second", between, master),
        *handed_on(seen, "second to Linux", behind, master),
        shutdown.drives(seen, "first", between, last=False),
        shutdown.drives(seen, "second", behind, last=False),
        *found(seen, cpus),
    ]


def found(seen: Seen, cpus: int) -> list[Value]:
    """What the last Linux has, by its own word, and by the disk."""
    (scratch,) = (disk for disk in seen.run.machine.disks if disk.slot == DISK.device)
    content = scratch.file(seen.run.directory).read_bytes()
    read = {Bdf.parse(line.split()[0]): line.split()[-1] for line in seen.told("disks")}
    vectors = {Bdf.parse(line.split()[0]) for line in seen.told("vectors") if line.endswith("msix")}
    bound = [bdf for bdf, driver in shutdown.drivers(seen).items() if driver]
    return [
        exactly("disk: first's pattern", "; ".join(pattern.check(content)) or "there", "there"),
        exactly("disk, SHA-256, as Linux read it", read[DISK][:16], hashlib.sha256(content).hexdigest()[:16]),
        exactly("functions with MSI-X in Linux", names(vectors), names(bound)),
        exactly("CPUs in Linux", len(seen.told("interrupts")[0].split()), cpus),
    ]


def refused(seen: Seen) -> list[Value]:
    """first is told of an image that is not there, and ends as it is."""
    seen.need(Outcome.FAIL)
    entries = sorted(seen.case.entry_lines.values())
    after = [c for c in seen.case.changes(range(entries[0], seen.case.end + 1)) if c.master_cleared]
    return [
        exactly("images of ours that were entered", len(entries), 1),
        exactly("bus masters cleared by it", len(after), 0, at(after)),
        *shutdown.by_the_rule(seen, Handover.of(seen)),
        shutdown.drives(seen, "first", range(entries[0], seen.case.end + 1)),
    ]


FILES = ("first.bin", "linux/next.cpio")
ONWARD = f"+--+panic=-1+{CALM.replace(' ', '+')}+linux.script=look"
WORDS = f"{CALM} linux.script=kexec linux.next=first linux.load=-s+-l linux.words="


def ring(cpus: int, role: Role = Role.CLAIM, master: str = CLEARED, words: str = "") -> Boot:
    name = f"{cpus} CPU{'s' * (cpus > 1)}{', nothing shut down by ours' if words else ''}"
    chain = f"{words}handoff.next=second,linux{ONWARD}"
    points = {"loaded": shutdown.stop_at_entry}
    return Boot(name, role, shutdown.machine(cpus), LINUX, partial(went_round, cpus, master), WORDS + chain, points, files=FILES)


BROKEN = Boot(
    "a link is missing", Role.CONTROL, shutdown.machine(1), LINUX, refused, WORDS + f"handoff.next=second,third{ONWARD}",
    files=FILES, ends_in="guest",
)  # fmt: skip

EXPERIMENT = Experiment(
    title="Linux, first, second and Linux again hand one machine on, and no device is worse for it",
    source="the boot protocol (Documentation/x86/boot.rst) and kexec: each of the three kernels is an image to the one before",
    falsified_by="a hand-off that is not its owner's rule, a device that one of the kernels cannot drive, a byte of first's on the "
    "disk that is not there at the end",
    provoked_by="kexec of first with an archive that has second and Linux in it; the disks are being read in each of the three",
    reading="A kernel that clears bus master, and disables MSI where it meets a function, fits before and behind any other that "
    "does. Linux parks its other CPUs in hlt, interrupts off and local APIC disabled, in code that the next kernel may overwrite: "
    "they do not read it, because what wakes them is an INIT, which begins elsewhere.",
    trials=(
        ring(1),
        ring(2),
        ring(4),
        ring(1, Role.CONTROL, KEPT, "handoff.shutdown=none+"),
        BROKEN,
    ),
)
