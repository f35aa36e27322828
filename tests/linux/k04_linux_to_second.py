# SPDX-License-Identifier: BSD-2-Clause
"""K4: Linux hands over to second by kexec, with both system calls, wherever it puts the image."""

from __future__ import annotations

import hashlib
from functools import partial

from tests.linux import shutdown
from tests.linux.shutdown import ANYWHERE, HIGH, KEXEC_FILE_LOAD, KEXEC_LOAD, PORT_DRIVER, Handover, Way, machine, names
from witness.lab.experiment import Experiment, Role, Value, exactly
from witness.lab.observation import at
from witness.linux.trial import LINUX, Boot, Seen
from witness.pci.registers import PCI_COMMAND_MASTER, Register
from witness.pci.topology import Bdf

DISK, EDU = Bdf(0, 3, 0), Bdf(0, 5, 0)


def judged(masters: str, way: Way, seen: Seen) -> list[Value]:
    """masters: of the disk 00:03.0 and of the edu device 00:05.0, at the entry."""
    seen.need()
    handover = Handover.of(seen)
    after = range(handover.lines.stop, seen.case.end + 1)
    on = [handover.has(bdf, Register.COMMAND, PCI_COMMAND_MASTER) for bdf in (DISK, EDU)]
    (scratch,) = (disk for disk in seen.run.machine.disks if disk.slot == DISK.device)
    now = hashlib.sha256(scratch.file(seen.run.directory).read_bytes()).hexdigest()
    return [
        exactly(f"bus master of {DISK} and {EDU}", ", ".join("on" if bit else "off" for bit in on), masters),
        *shutdown.by_the_rule(seen, handover),
        shutdown.as_read_there(seen, handover),
        *shutdown.entered(seen, "second", way, after),
        *shutdown.as_said(seen, "second", handover),
        shutdown.drives(seen, "second", after),
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


FILES = ("second.bin", "next.cpio")
WORDS = "console=ttyS0 linux.script=kexec linux.next=second linux.words=handoff.next= linux.load="


def trial(
    name: str, cpus: int, way: Way, role: Role = Role.CLAIM, masters: str = "off, on", words: str = "",
) -> Boot:  # fmt: skip
    judge, points = partial(judged, masters, way), {"loaded": shutdown.stop_at_entry}
    return Boot(name, role, machine(cpus, way), LINUX, judge, f"{WORDS}{way.load}{words}", points, files=FILES, ends_in="guest")


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
    "this kernel knows the power state still.",
    trials=(
        trial("kexec_load", 1, Way(KEXEC_LOAD, ANYWHERE)),
        trial("kexec_file_load, 2 CPUs", 2, Way(KEXEC_FILE_LOAD)),
        trial("kexec_file_load, 5-level paging, 4 CPUs", 4, Way(KEXEC_FILE_LOAD, la57=True)),
        trial("kexec_load, above 4 GiB, 5-level paging", 1, Way(KEXEC_LOAD, HIGH, la57=True)),
        trial("kexec_file_load, no RSDP", 1, Way(KEXEC_FILE_LOAD, acpi=False)),
        trial(
            "edu with a driver, the disk that had one", 1, Way(KEXEC_LOAD, ANYWHERE), Role.CONTROL, "off, off",
            " linux.before=kexec-swap",
        ),
        Boot("powered off instead", Role.CONTROL, machine(1), LINUX, off, "console=ttyS0 linux.script=look"),
    ),
)  # fmt: skip
