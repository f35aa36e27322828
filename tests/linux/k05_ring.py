# SPDX-License-Identifier: BSD-2-Clause
"""K5: the ring: Linux hands over to first, first to second, second to Linux, each by its own rule.

Each kernel is to its predecessor an image like any other, and must find the machine as its predecessor's rule leaves it: Linux's as
in K4, that of our images by their policy. The claim is false if one of the three handoffs violates its rule, if one of the kernels
cannot drive a device, or if a byte that first wrote to the disk is missing at the end.

Linux (tests/linux/guest/scripts/kexec) enters first by kexec with an archive of second and Linux, and the last Linux reports what
it finds (scripts/look). The trial fails if a bit at one of the handoffs violates its rule, or if a device lacks the interrupts and
the data of its work. In the controls our images disable MSI, so that edu's line is asserted and second fails to drive what is on
it; or they shut nothing down, and every function is bus master at the next entry; or an image of the chain is missing, and first
refuses.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial

from tests.claims.measure import counted
from tests.linux.kexec import (
    CALLS, HIGH, KEXEC_LOAD, PLACES, STATUS_0, STILL_ON, Entry, Handover, Way, below, clears_alone, cpu, drives, late, machine,
    said_of, stop_at_entry,
)  # fmt: skip
from tests.linux.measure import NONE, drivers, last_line, names
from witness.boot.protocol import ENTRY_64, RFLAGS_IF
from witness.judge import pattern
from witness.lab.experiment import Experiment, Role, Unshown, Value, at_least, exactly
from witness.lab.observation import at, within
from witness.linux.trial import FIRST_WORDS, LINUX, Boot, Seen
from witness.machine.record import Outcome
from witness.pci.registers import PCI_COMMAND_MASTER, Register
from witness.pci.topology import Bdf

DISK = Bdf(0, 3, 0)

# As Linux reads it there. The pattern contains the time, so the digest differs in each run.
THE_DISKS = "the disk's"


@dataclass(frozen=True)
class Rule:
    """What our images do to the functions that they hand over, and what second can drive then."""

    policy: str
    master: bool  # is cleared
    msix: bool  # stays on
    second: str = "all"  # that second drives


# Transfers of edu end after their message was disabled: a line is asserted that has no driver yet, and second disables it.
KEEP_MSI = Rule("keep-msi", master=True, msix=True)
DISABLE_MSI = Rule("disable-msi", master=True, msix=False, second="all but 00:05.0, 00:09.0")
NOTHING = Rule("none", master=False, msix=True)


def judge(cpus: int, way: Way, rule: Rule, seen: Seen) -> list[Value]:
    """Linux up to the entry of first; first from there to the entry of second; second from there to its last line in the log; and
    what the last Linux finds."""
    seen.need()
    entries = sorted(seen.case.entry_lines.values())
    if len(entries) != 2:
        raise Unshown(f"{len(entries)} images of ours were entered, not 2")
    handover = Handover.of(seen)
    first, second = range(*entries), range(entries[1], last_line(seen))
    still_on, status_0 = (said_of(seen, "first", pattern) for pattern in (STILL_ON, STATUS_0))
    return [
        *linux_hands_over(handover),
        *entered(Entry(seen, "first", first), way, cpus, seen),
        exactly("first reports: bus master still on", names(still_on), names(handover.masters(handover.entry))),
        exactly("first reports: virtio with status 0", names(status_0), names(handover.found_reset)),
        *our_handoff(seen, "first to second", first, rule),
        *our_handoff(seen, "second to Linux", second, rule),
        drives(seen, "first", first, "all", last=False),
        drives(seen, "second", second, rule.second, last=False),
        *found(seen, cpus),
    ]


def linux_hands_over(h: Handover) -> list[Value]:
    """By pci_device_shutdown and virtio's own shutdown, as in K4: of functions that have, or had, a driver. A port's driver
    removes itself, and clears all its bits."""
    kept, had = h.bound - h.ports, h.masters(h.loaded)
    return [
        exactly("bus master cleared by one write of 16 bits", names(h.clears), names(h.bound & had), at(h.clears.values())),
        exactly("written to, but never had a driver", names(h.free & h.written), NONE),
        exactly("bus master still on", names(h.masters(h.entry)), names(h.free & had)),
        exactly("MSI-X still on", names(h.msix(h.entry)), names(kept & h.msix(h.loaded))),
        exactly("INTx Disable still set", names(h.intx_disabled(h.entry)), names(kept & h.intx_disabled(h.loaded))),
        exactly("virtio reset before its bus master clear", names(h.reset_first), names(h.virtio), within([*h.resets.values()])),
        at_least("functions below a bridge", len(below(h.seen, h.clears)), 1),
        exactly("of these cleared after their bridge", names(late(h.seen, h.clears)), NONE),
        counted("messages of functions with a driver, after the last clear", h.messages, 0),
        at_least("disk requests in flight at the first reset", h.requests, 1),
    ]


def entered(e: Entry, way: Way, cpus: int, seen: Seen) -> list[Value]:
    """Linux's other CPUs: an INIT wakes them, or an NMI, and they do not read what they would execute."""
    access = "ECAM" if way.acpi else "CF8/CFC"
    asleep = [n for n in range(1, cpus) if cpu(seen, "HLT", n) and not cpu(seen, "RFL", n) & RFLAGS_IF]
    return [
        exactly("other CPUs that are halted, interrupts off", len(asleep), cpus - 1),
        exactly("system call", e.call, CALLS[way.load]),
        exactly("place, as Linux reports", e.place, PLACES[way.where], f"{e.address:#x}"),
        exactly("RIP at the entry", f"{e.rip:#x}", f"{e.address + ENTRY_64:#x}"),
        exactly("first reports: place", e.said_place, f"first@{e.address:#x}"),
        exactly("5-level paging in Linux", str(e.linux_la57), str(way.la57)),
        exactly("5-level paging at the entry", str(e.la57), str(way.la57)),
        exactly("RSDP, as Linux reports", NONE if e.linux_rsdp == NONE else "there", "there" if way.acpi else NONE, e.linux_rsdp),
        exactly("RSDP in boot_params at the entry", e.rsdp, e.linux_rsdp),
        exactly("configuration accesses", e.access, access),
        exactly("first reports: configuration accesses", e.said_access, access),
    ]


def our_handoff(seen: Seen, what: str, lines: range, rule: Rule) -> list[Value]:
    """One handoff of an image of ours, up to its jump."""
    masters = [change for change in seen.case.changes(lines) if change.master_cleared]
    clears = {change.bdf: change for change in masters if change.old ^ change.new == PCI_COMMAND_MASTER}
    begin = min((change.line for change in clears.values()), default=lines.stop)
    had, still = seen.case.history.masters(begin), seen.case.history.masters(lines.stop)
    disabled = [change for change in seen.case.changes(range(begin, lines.stop)) if change.msi_disabled]
    narrow = {bdf for bdf, change in clears.items() if clears_alone(change)}
    msix = [bdf for bdf, register in seen.case.history.signalling(lines.stop) if register is Register.MSIX]
    return [
        exactly(f"{what}: bus master cleared by 16 bits", names(narrow), names(had) if rule.master else NONE, at(clears.values())),
        exactly(f"{what}: bus master still on", len(still), 0 if rule.master else len(had)),
        exactly(f"{what}: MSI, MSI-X disabled", "some" if disabled else NONE, NONE if rule.msix else "some", at(disabled)),
        exactly(f"{what}: MSI-X still on", "some" if msix else NONE, "some" if rule.msix else NONE, names(msix)),
        exactly(f"{what}: functions cleared after their bridge", names(late(seen, clears)), NONE),
    ]


def found(seen: Seen, cpus: int) -> list[Value]:
    """What the last Linux has, as it reports, and by the disk."""
    (scratch,) = (disk for disk in seen.run.machine.disks if disk.slot == DISK.device)
    content = scratch.file(seen.run.directory).read_bytes()
    now = hashlib.sha256(content).hexdigest()
    read = {Bdf.parse(line.split()[0]): line.split()[-1] for line in seen.reported("disks")}
    vectors = {Bdf.parse(line.split()[0]) for line in seen.reported("vectors") if line.endswith("msix")}
    bound = [bdf for bdf, driver in drivers(seen).items() if driver]
    return [
        exactly("disk: first's pattern", "; ".join(pattern.check(content)) or "there", "there"),
        exactly("disk, SHA-256, as Linux read it", THE_DISKS if read[DISK] == now else read[DISK], THE_DISKS, now),
        exactly("functions with MSI-X in Linux", names(vectors), names(bound)),
        exactly("CPUs in Linux", len(seen.reported("interrupts")[0].split()), cpus),
    ]


def refused(seen: Seen) -> list[Value]:
    """first is told to start an image that is missing, and ends before any shutdown."""
    seen.need(Outcome.FAIL)
    entries = sorted(seen.case.entry_lines.values())
    first = range(entries[0], seen.case.end + 1)
    return [
        exactly("images of ours that were entered", len(entries), 1),
        counted("bus masters cleared by it", [change for change in seen.case.changes(first) if change.master_cleared], 0),
        *linux_hands_over(Handover.of(seen)),
        drives(seen, "first", first, "all"),
    ]


FILES = ("first.bin", "linux/next.cpio")
ONWARD = f"+--+{FIRST_WORDS.replace(' ', '+')}+console=ttyS0+linux.script=look"
OPTIONS = "console=ttyS0 linux.script=kexec linux.next=first"


def options(way: Way, rule: Rule, last: str = "linux") -> str:
    return f"{OPTIONS} linux.load={way.load} linux.append=handoff.shutdown={rule.policy}+handoff.next=second,{last}{ONWARD}"


def ring(name: str, cpus: int, way: Way = Way(), role: Role = Role.CLAIM, rule: Rule = KEEP_MSI) -> Boot:
    check, points = partial(judge, cpus, way, rule), {"loaded": stop_at_entry}
    return Boot(name, role, machine(cpus, way), LINUX, check, options(way, rule), points, files=FILES)


BROKEN = Boot(
    "a link is missing", Role.CONTROL, machine(1), LINUX, refused, options(Way(), KEEP_MSI, "third"),
    files=FILES, ends_in="guest",
)  # fmt: skip

EXPERIMENT = Experiment(
    title="Linux hands over to first, first to second, second to Linux, and every device still works",
    source="the boot protocol (Documentation/x86/boot.rst) and kexec: each of the three kernels is an image to the one before",
    falsified_by="a handoff that violates its owner's rule, a device that one of the kernels cannot drive, a byte of first's that "
    "is missing on the disk at the end",
    provoked_by="kexec of first with an archive that has second and Linux in it; the disks are being read in each of the three",
    reading="A kernel that clears bus master, and disables MSI where it finds it, works before and after any other that does. One "
    "that disables MSI at shutdown does not: a transfer that ends then asserts a line, and the next kernel loses every device on "
    "that line. Where nothing is shut down nothing is lost here, but every function is bus master when the next kernel begins. "
    "Linux parks its other CPUs in hlt, interrupts off and local APIC disabled, in code that the next kernel may overwrite: they "
    "do not read it, because an INIT wakes them, and they start elsewhere.",
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
