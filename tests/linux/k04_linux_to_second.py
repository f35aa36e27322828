# SPDX-License-Identifier: BSD-2-Clause
"""K4: Linux hands over to second by kexec, with both system calls, wherever it puts the image.

pci_device_shutdown (drivers/pci/pci-driver.c) calls the driver's shutdown and then clears bus master, where Linux knows the power
state. It knows that of functions that a driver has enabled, even if the driver is gone. It writes to no other function, and leaves
MSI, MSI-X and INTx to the drivers. Since 8bd2fa086a04 virtio's bus has a shutdown, which resets the device. The claim is false if a
function with a driver keeps bus master, if one that never had a driver is written to, if MSI-X is off at the jump, or if second
cannot drive a device.

Linux (tests/linux/guest/scripts/kexec) reports which functions have a driver, and hands over with reads of every disk in flight;
the machine is stopped where second is entered. The trial fails if a function's bits at the entry violate this rule. In the controls
an edu device gets a driver, and a disk loses its own: then edu's bus master is off as well; or Linux powers off, and clears bus
master of ports only.
"""

from __future__ import annotations

import hashlib
from functools import partial

from tests.claims.measure import counted, master_on, switch
from tests.linux.kexec import (
    ANYWHERE, CALLS, HIGH, KEXEC_FILE_LOAD, KEXEC_LOAD, PLACES, PORT_DRIVER, STATUS_0, STILL_ON, Entry, Handover, Way, below,
    drives, found_there, late, machine, said_of, stop_at_entry,
)  # fmt: skip
from tests.linux.measure import NONE, drivers, names
from witness.boot.protocol import ENTRY_64
from witness.lab.experiment import Experiment, Role, Value, at_least, exactly
from witness.lab.observation import at, within
from witness.linux.trial import LINUX, Boot, Seen
from witness.pci.registers import ENABLE, Register
from witness.pci.topology import Bdf

DISK, EDU = Bdf(0, 3, 0), Bdf(0, 5, 0)

# A capability's other bits are never written, and the trace does not show them.
WRITTEN = {Register.COMMAND: 0xFFFF, **ENABLE}


def judge(masters: str, way: Way, seen: Seen) -> list[Value]:
    """From the point loaded to the entry, what Linux does; there, what it leaves; from there on, what second reports and does.
    masters: of the disk 00:03.0 and of the edu device 00:05.0, at the entry."""
    seen.need()
    handover = Handover.of(seen)
    after = range(handover.entry, seen.case.end + 1)
    (scratch,) = (disk for disk in seen.run.machine.disks if disk.slot == DISK.device)
    now = hashlib.sha256(scratch.file(seen.run.directory).read_bytes()).hexdigest()
    still_on, status_0 = (said_of(seen, "second", pattern) for pattern in (STILL_ON, STATUS_0))
    on = ", ".join(switch(master_on(seen, bdf, handover.entry)) for bdf in (DISK, EDU))
    return [
        exactly(f"bus master of {DISK} and {EDU}", on, masters),
        *by_the_rule(handover),
        as_read_there(handover),
        *entered(Entry(seen, "second", after), way),
        exactly("second reports: bus master still on", names(still_on), names(handover.masters(handover.entry))),
        exactly("second reports: virtio with status 0", names(status_0), names(handover.found_reset)),
        drives(seen, "second", after, "all"),
        exactly("disk, SHA-256, as Linux left it", now[:16], seen.reported("disk")[0][:16]),
    ]


def by_the_rule(h: Handover) -> list[Value]:
    """Every function, by whether it has, or had, a driver. A port's driver removes itself, and clears all its bits."""
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


def as_read_there(h: Handover) -> Value:
    """The registers of the trace are those of the machine."""
    read = found_there(h.seen).functions
    other = [
        f"{bdf} {register.value}" for bdf, function in read.items() for register, offset in function.offsets.items()
        if (function.u16(offset) ^ h.seen.register(bdf, register, h.entry)) & WRITTEN[register]
    ]  # fmt: skip
    return exactly("registers that differ from the trace", ", ".join(other) or NONE, NONE, f"{len(read)} functions read there")


def entered(e: Entry, way: Way) -> list[Value]:
    access = "ECAM" if way.acpi else "CF8/CFC"
    return [
        exactly("system call", e.call, CALLS[way.load]),
        exactly("place, as Linux reports", e.place, PLACES[way.where], f"{e.address:#x}"),
        exactly("RIP at the entry", f"{e.rip:#x}", f"{e.address + ENTRY_64:#x}"),
        exactly("second reports: place", e.said_place, f"second@{e.address:#x}"),
        exactly("5-level paging in Linux", str(e.linux_la57), str(way.la57)),
        exactly("5-level paging at the entry", str(e.la57), str(way.la57)),
        exactly("RSDP, as Linux reports", NONE if e.linux_rsdp == NONE else "there", "there" if way.acpi else NONE, e.linux_rsdp),
        exactly("RSDP in boot_params at the entry", e.rsdp, e.linux_rsdp),
        exactly("configuration accesses", e.access, access),
        exactly("second reports: configuration accesses", e.said_access, access),
    ]


def off(seen: Seen) -> list[Value]:
    """Linux powers off: the drivers' shutdown alone, and only that of ports clears bus master."""
    seen.need()
    ports = [bdf for bdf, driver in drivers(seen).items() if driver == PORT_DRIVER]
    last = seen.marks[-1].line
    cleared = [change for change in seen.case.changes(range(last, seen.case.end + 1)) if change.master_cleared]
    return [
        exactly("verdict", seen.run.detail, "Linux: pass"),
        exactly("bus masters cleared", names({change.bdf for change in cleared}), names(ports), at(cleared)),
    ]


FILES = ("second.bin", "next.cpio")
OPTIONS = "console=ttyS0 linux.script=kexec linux.next=second linux.append=handoff.next= linux.load="


def trial(
    name: str, cpus: int, way: Way, role: Role = Role.CLAIM, masters: str = "off, on", options: str = "",
) -> Boot:  # fmt: skip
    check, points = partial(judge, masters, way), {"loaded": stop_at_entry}
    return Boot(name, role, machine(cpus, way), LINUX, check, f"{OPTIONS}{way.load}{options}", points, files=FILES, ends_in="guest")


EXPERIMENT = Experiment(
    title="Linux clears bus master for kexec only where a driver has been; second drives every device again",
    source="drivers/pci/pci-driver.c:pci_device_shutdown (b566a22c2332, 6e0eda3c3898, 4fc9bbf98fd6), drivers/virtio/virtio.c "
    "(8bd2fa086a04)",
    falsified_by="a function with a driver that keeps bus master, one that never had a driver and is written to, MSI-X off at the "
    "jump",
    provoked_by="kexec of second while the disks are being read; Linux reports each function's driver, the trace the rest",
    reading="The next kernel meets two kinds of functions: those with bus master off and MSI-X on, and those that were never "
    "touched. The second kind may still do what firmware or another previous owner had set up. An unbound function is not of that "
    "kind: this kernel still knows its power state.",
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
