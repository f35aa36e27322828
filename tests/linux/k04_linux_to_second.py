# SPDX-License-Identifier: BSD-2-Clause
"""K4: Linux hands over to second by kexec, with both system calls, wherever it puts the image.

pci_device_shutdown (drivers/pci/pci-driver.c) calls the driver's shutdown and then clears bus master, where Linux knows the power
state. It knows that of functions that a driver has enabled, also where the driver has gone. It writes to no other function, and
leaves MSI, MSI-X and INTx to the drivers. Since 8bd2fa086a04 virtio's bus has a shutdown, which resets the device. The claim is
false if a function with a driver keeps bus master, if one that never had a driver is written to, if MSI-X is off at the jump, or if
second cannot drive a device.

Linux (tests/linux/guest/scripts/kexec) says who has a driver, and hands over with reads of every disk in flight; the machine is
stopped where second is entered. A failure is a function whose bits at the entry are not those of this rule. In the controls an edu
device is given a driver, and a disk loses its own: then it is edu's bus master that is off as well; or Linux powers off, and clears
none but that of ports.
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

# Beside these bits, a capability has what nobody writes, and the trace does not tell of.
SAYING = {Register.COMMAND: 0xFFFF, **ENABLE}


def judge(masters: str, way: Way, seen: Seen) -> list[Value]:
    """From the point loaded to the entry, what Linux does; there, what it leaves; from there on, what second says and does.
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
        exactly("second's word: bus master still on", names(still_on), names(handover.masters(handover.entry))),
        exactly("second's word: virtio with status 0", names(status_0), names(handover.found_reset)),
        drives(seen, "second", after, "all"),
        exactly("disk, SHA-256, as Linux left it", now[:16], seen.told("disk")[0][:16]),
    ]


def by_the_rule(h: Handover) -> list[Value]:
    """Every function, by whether it has, or had, a driver. That of a port removes itself, and all bits with it."""
    kept, had = h.bound - h.ports, h.masters(h.loaded)
    return [
        exactly("bus master cleared by one write of 16 bits", names(h.clears), names(h.bound & had), at(h.clears.values())),
        exactly("written to although no driver ever was there", names(h.free & h.written), NONE),
        exactly("bus master still on", names(h.masters(h.entry)), names(h.free & had)),
        exactly("MSI-X still on", names(h.msix(h.entry)), names(kept & h.msix(h.loaded))),
        exactly("INTx Disable still set", names(h.intx_disabled(h.entry)), names(kept & h.intx_disabled(h.loaded))),
        exactly("virtio reset before its bus master goes", names(h.reset_first), names(h.virtio), within([*h.resets.values()])),
        at_least("functions behind a bridge", len(below(h.seen, h.clears)), 1),
        exactly("of these cleared after their bridge", names(late(h.seen, h.clears)), NONE),
        counted("messages of functions with a driver, behind the last clear", h.messages, 0),
        at_least("disk requests in flight at the first reset", h.requests, 1),
    ]


def as_read_there(h: Handover) -> Value:
    """The trace's registers are those that the machine has."""
    read = found_there(h.seen).functions
    other = [
        f"{bdf} {register.value}" for bdf, function in read.items() for register, offset in function.offsets.items()
        if (function.u16(offset) ^ h.seen.register(bdf, register, h.entry)) & SAYING[register]
    ]  # fmt: skip
    return exactly("registers that are not as the trace tells", ", ".join(other) or NONE, NONE, f"{len(read)} functions read there")


def entered(e: Entry, way: Way) -> list[Value]:
    access = "ECAM" if way.acpi else "CF8/CFC"
    return [
        exactly("system call", e.call, CALLS[way.load]),
        exactly("place, as Linux says", e.place, PLACES[way.where], f"{e.address:#x}"),
        exactly("RIP at the entry", f"{e.rip:#x}", f"{e.address + ENTRY_64:#x}"),
        exactly("second's word: place", e.said_place, f"second@{e.address:#x}"),
        exactly("5-level paging in Linux", str(e.linux_la57), str(way.la57)),
        exactly("5-level paging at the entry", str(e.la57), str(way.la57)),
        exactly("RSDP, as Linux says", NONE if e.linux_rsdp == NONE else "there", "there" if way.acpi else NONE, e.linux_rsdp),
        exactly("RSDP in boot_params at the entry", e.rsdp, e.linux_rsdp),
        exactly("configuration accesses", e.access, access),
        exactly("second's word: configuration accesses", e.said_access, access),
    ]


def off(seen: Seen) -> list[Value]:
    """Linux goes, and no kernel comes: the drivers' shutdown alone, and only that of ports clears bus master."""
    seen.need()
    ports = [bdf for bdf, driver in drivers(seen).items() if driver == PORT_DRIVER]
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
    check, points = partial(judge, masters, way), {"loaded": stop_at_entry}
    return Boot(name, role, machine(cpus, way), LINUX, check, f"{WORDS}{way.load}{words}", points, files=FILES, ends_in="guest")


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
