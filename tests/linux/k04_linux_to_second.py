# SPDX-License-Identifier: BSD-2-Clause
"""K4: Linux hands over to second by kexec, with both system calls, wherever it puts the image."""

from __future__ import annotations

import hashlib
from functools import partial

from witness.lab.experiment import Experiment, Role, Value, exactly
from witness.lab.observation import at
from witness.linux import shutdown
from witness.linux.shutdown import CALM, CR4_LA57, NONE, PORT_DRIVER, Handover, cpu, machine, names
from witness.linux.trial import LINUX, Boot, Seen
from witness.machine import Machine
from witness.pci import PCI_COMMAND_MASTER, Bdf, Register

# OVMF makes no tables of its own. Without ACPI Linux drives the slots itself, and would take both for empty ("Card not present").
NO_ACPI = ("-no-acpi", "-global", "pcie-root-port.hotplug=off")

DISK, EDU = Bdf(0, 3, 0), Bdf(0, 5, 0)
MIB, GIB = 1 << 20, 1 << 30
LOW, ANYWHERE, HIGH = range(16 * MIB), range(16 * MIB, 4 * GIB), range(4 * GIB, 1 << 52)
PLACES = {LOW: "below 16 MiB", ANYWHERE: "below 4 GiB", HIGH: "above 4 GiB"}

KEXEC_LOAD, KEXEC_FILE_LOAD = "-c+-l", "-s+-l"


def place(address: int) -> str:
    return next((name for addresses, name in PLACES.items() if address in addresses), NONE)


def line_of(seen: Seen, begin: str) -> str:
    """The image's own line that begins so, without that."""
    said = (line.partition(" ")[2].strip() for line in seen.run.log)
    return next((text.removeprefix(begin) for text in said if text.startswith(begin)), NONE)


def entered(seen: Seen, where: range, la57: bool, access: str) -> list[Value]:
    """Where and how, by Linux's word, by the CPU's registers, and by the image's."""
    address = seen.mark("loaded").value
    return [
        exactly("place, as Linux says", place(address), PLACES[where], f"{address:#x}"),
        exactly("RIP at the entry", f"{cpu(seen, 'RIP'):#x}", f"{address + 0x200:#x}"),
        exactly("place, as second says", line_of(seen, "image "), f"second@{address:#x}"),
        exactly("5-level paging in Linux", str("la57" in seen.told("la57")), str(la57)),
        exactly("5-level paging at the entry", str(bool(cpu(seen, "CR4") & CR4_LA57)), str(la57)),
        exactly("configuration space", line_of(seen, "PCI "), access),
    ]


def judged(masters: str, where: range, la57: bool, access: str, seen: Seen) -> list[Value]:
    """masters: of the disk 00:03.0 and of the edu device 00:05.0, at the entry."""
    seen.need()
    handover = Handover.of(seen)
    on = [handover.has(bdf, Register.COMMAND, PCI_COMMAND_MASTER) for bdf in (DISK, EDU)]
    (scratch,) = (disk for disk in seen.run.machine.disks if disk.slot == DISK.device)
    now = hashlib.sha256(scratch.file(seen.run.directory).read_bytes()).hexdigest()
    return [
        exactly(f"bus master of {DISK} and {EDU}", ", ".join("on" if bit else "off" for bit in on), masters),
        *shutdown.by_the_rule(seen, handover),
        shutdown.as_read_there(seen, handover),
        *entered(seen, where, la57, access),
        *shutdown.as_said(seen, "second", handover),
        shutdown.drives(seen, "second", range(handover.lines.stop, seen.case.end + 1)),
        exactly("disk, SHA-256, as Linux left it", now[:16], seen.told("disk")[0][:16]),
    ]


def off(seen: Seen) -> list[Value]:
    """Linux goes, and nobody comes: the drivers' shutdown alone, and only that of ports clears bus master."""
    seen.need()
    ports = [bdf for bdf, driver in shutdown.drivers(seen).items() if driver == PORT_DRIVER]
    last = seen.marks[-1].line
    cleared = [change for change in seen.case.changes(range(last, seen.case.end + 1)) if change.master_cleared]
    return [
        exactly("verdict", seen.run.detail, "Linux: pass"),
        exactly("bus masters cleared", names({change.bdf for change in cleared}), names(ports), at(cleared)),
    ]


ECAM, CF8 = "segment 0000 buses 00-ff by ECAM", "segment 0000 buses 00-ff by CF8/CFC"
FILES = ("second.bin", "next.cpio")
WORDS = f"{CALM} linux.script=kexec linux.next=second linux.words=handoff.next= linux.load="


def trial(
    name: str, on: Machine, load: str, where: range, role: Role = Role.CLAIM, masters: str = "off, on",
    la57: bool = False, access: str = ECAM, words: str = "",
) -> Boot:  # fmt: skip
    judge = partial(judged, masters, where, la57, access)
    points = {"loaded": shutdown.stop_at_entry}
    return Boot(name, role, on, LINUX, judge, f"{WORDS}{load}{words}", points, files=FILES, ends_in="guest")


EXPERIMENT = Experiment(
    title="Linux clears bus master for kexec where a driver has been, and nowhere else; second drives every device again",
    source="drivers/pci/pci-driver.c:pci_device_shutdown (b566a22c2332, 6e0eda3c3898, 4fc9bbf98fd6), drivers/virtio/virtio.c "
    "(8bd2fa086a04)",
    falsified_by="a function with a driver that keeps bus master, one that never had any and is written to, MSI-X that is off at "
    "the jump",
    provoked_by="kexec of second on a machine whose disks are being read; each function's driver is Linux's word, the rest the "
    "trace's",
    reading="The next kernel meets two kinds of functions: those of which bus master is off and MSI-X on, and those that nobody "
    "has touched. The second kind may do what firmware or whoever else last had them do. Who unbinds a driver does not get there: "
    "Linux knows the power state still.",
    trials=(
        trial("kexec_load", machine(1), KEXEC_LOAD, ANYWHERE),
        trial("kexec_file_load, 2 CPUs", machine(2), KEXEC_FILE_LOAD, LOW),
        trial("kexec_file_load, 5-level paging, 4 CPUs", machine(4, 6144, ("-cpu", "max")), KEXEC_FILE_LOAD, LOW, la57=True),
        trial("kexec_load, above 4 GiB, 5-level paging", machine(1, 6144, ("-cpu", "max")), KEXEC_LOAD, HIGH, la57=True),
        trial("kexec_file_load, no RSDP", machine(1, extra=NO_ACPI), KEXEC_FILE_LOAD, LOW, access=CF8),
        trial(
            "edu with a driver, the disk that had one", machine(1), KEXEC_LOAD, ANYWHERE, Role.CONTROL, "off, off",
            words=" linux.before=kexec-swap",
        ),
        Boot("powered off instead", Role.CONTROL, machine(1), LINUX, off, f"{CALM} linux.script=look"),
    ),
)  # fmt: skip
