# SPDX-License-Identifier: BSD-2-Clause
"""K5: the ring: Linux hands over to first, first to second, second to Linux, each by its own rule."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial

from tests.linux import shutdown
from tests.linux.shutdown import HIGH, KEXEC_LOAD, NONE, Handover, Way, names
from witness.judge import pattern
from witness.lab.experiment import Experiment, Role, Unshown, Value, exactly
from witness.lab.observation import at
from witness.linux.trial import FIRST_WORDS, LINUX, Boot, Seen
from witness.machine.record import Outcome
from witness.pci.registers import PCI_COMMAND, PCI_COMMAND_MASTER, Register
from witness.pci.topology import Bdf
from witness.trace.events import MmioWrite

DISK = Bdf(0, 3, 0)

# Our images' log by QEMU's name in the trace. Linux does not write there.
DEBUGCON = "isa-debugcon"


@dataclass(frozen=True)
class Rule:
    """What our images do to the functions that they hand on, and what comes of it."""

    policy: str
    master: bool  # is cleared
    msix: bool  # stays on
    broken: str = NONE  # functions that second cannot drive


# Transfers of edu end after their message was disabled: a line is asserted that has no driver yet, and second gives it up.
KEEP_MSI = Rule("keep-msi", master=True, msix=True)
DISABLE_MSI = Rule("disable-msi", master=True, msix=False, broken="00:05.0, 00:09.0")
NOTHING = Rule("none", master=False, msix=True)


def handed_on(seen: Seen, what: str, lines: range, rule: Rule) -> list[Value]:
    """One hand-off of an image of ours, up to its jump."""
    masters = [change for change in seen.case.changes(lines) if change.master_cleared]
    clears = {change.bdf: change for change in masters if change.old ^ change.new == PCI_COMMAND_MASTER}
    begin = min((change.line for change in clears.values()), default=lines.stop)
    had = seen.case.history.masters(begin)
    mute = [change for change in seen.case.changes(range(begin, lines.stop)) if change.msi_disabled]
    narrow = {bdf for bdf, change in clears.items() if (change.write.size, change.write.offset) == (2, PCI_COMMAND)}
    behind = [(bdf, bridge) for bdf in clears for bridge in seen.case.topology.upstream(bdf) if bridge in clears]
    late = [bdf for bdf, bridge in behind if clears[bdf].line > clears[bridge].line]
    msix = [bdf for bdf, register in seen.case.history.signalling(lines.stop) if register is Register.MSIX]
    cleared = names(had) if rule.master else NONE
    return [
        exactly(f"{what}: bus master cleared by 16 bits", names(narrow), cleared, at(clears.values())),
        exactly(f"{what}: bus master still on", len(seen.case.history.masters(lines.stop)), 0 if rule.master else len(had)),
        exactly(f"{what}: MSI, MSI-X switched off", "some" if mute else NONE, NONE if rule.msix else "some", at(mute)),
        exactly(f"{what}: MSI-X still on", "some" if msix else NONE, "some" if rule.msix else NONE, names(msix)),
        exactly(f"{what}: functions cleared after their bridge", names(late), NONE),
    ]


def jump_of(seen: Seen) -> int:
    """Our last image's last word."""
    words = [write.line for write in seen.case.within(MmioWrite, range(seen.case.end)) if write.region == DEBUGCON]
    if not words:
        raise Unshown("no image of ours has said a word")
    return words[-1]


def went_round(cpus: int, way: Way, rule: Rule, seen: Seen) -> list[Value]:
    seen.need()
    entries = sorted(seen.case.entry_lines.values())
    if len(entries) != 2:
        raise Unshown(f"{len(entries)} images of ours were entered, not 2")
    handover, jump = Handover.of(seen), jump_of(seen)
    between, behind = range(entries[0], entries[1]), range(entries[1], jump)
    return [
        *shutdown.by_the_rule(seen, handover),
        shutdown.halted(seen, cpus),
        *shutdown.entered(seen, "first", way, between),
        *shutdown.as_said(seen, "first", handover),
        *handed_on(seen, "first to second", between, rule),
        *handed_on(seen, "second to Linux", behind, rule),
        shutdown.drives(seen, "first", between, last=False),
        shutdown.drives(seen, "second", behind, last=False, broken=rule.broken),
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
ONWARD = f"+--+{FIRST_WORDS.replace(' ', '+')}+console=ttyS0+linux.script=look"
WORDS = "console=ttyS0 linux.script=kexec linux.next=first"


def words(way: Way, rule: Rule, last: str = "linux") -> str:
    return f"{WORDS} linux.load={way.load} linux.words=handoff.shutdown={rule.policy}+handoff.next=second,{last}{ONWARD}"


def ring(name: str, cpus: int, way: Way = Way(), role: Role = Role.CLAIM, rule: Rule = KEEP_MSI) -> Boot:
    judge, points = partial(went_round, cpus, way, rule), {"loaded": shutdown.stop_at_entry}
    return Boot(name, role, shutdown.machine(cpus, way), LINUX, judge, words(way, rule), points, files=FILES)


BROKEN = Boot(
    "a link is missing", Role.CONTROL, shutdown.machine(1), LINUX, refused, words(Way(), KEEP_MSI, "third"),
    files=FILES, ends_in="guest",
)  # fmt: skip

EXPERIMENT = Experiment(
    title="Linux, first, second and Linux again hand one machine on, and no device is worse for it",
    source="the boot protocol (Documentation/x86/boot.rst) and kexec: each of the three kernels is an image to the one before",
    falsified_by="a hand-off that is not its owner's rule, a device that one of the kernels cannot drive, a byte of first's on the "
    "disk that is not there at the end",
    provoked_by="kexec of first with an archive that has second and Linux in it; the disks are being read in each of the three",
    reading="A kernel that clears bus master, and disables MSI where it meets a function, fits before and behind any other that "
    "does. One that disables MSI where it leaves a function does not: a transfer that ends then asserts a line, and whatever is on "
    "that line is lost to the next kernel. Where nothing is shut down nothing is lost here, but every function is bus master when "
    "the next kernel begins. Linux parks its other CPUs in hlt, interrupts off and local APIC disabled, in code that the "
    "next kernel may overwrite: they do not read it, because what wakes them is an INIT, which begins elsewhere.",
    trials=(
        ring("1 CPU", 1),
        ring("2 CPUs", 2),
        ring("4 CPUs", 4),
        ring("kexec_load, above 4 GiB, 5-level paging, 2 CPUs", 2, Way(KEXEC_LOAD, HIGH, la57=True)),
        ring("1 CPU, no RSDP", 1, Way(acpi=False)),
        ring("1 CPU, nothing shut down by ours", 1, role=Role.CONTROL, rule=NOTHING),
        ring("1 CPU, MSI disabled by ours", 1, role=Role.CONTROL, rule=DISABLE_MSI),
        BROKEN,
    ),
)
