# SPDX-License-Identifier: BSD-2-Clause
"""K6: Linux has crashed on any of its CPUs, with all devices running; second stops them, and drives them in its own memory.

A crash kernel runs on the CPU that panicked, in the memory that crashkernel= reserved, and no driver's shutdown has run. The claim
is that second, with startup/hardened.c, stops every function before its first driver starts, and uses nothing but its memory and
its CPU. It is false if a function is stopped already or still active when a driver starts, if a message is sent to another CPU, or
if a byte changes, or is given to a device, outside of what /proc/iomem calls Crash kernel.

Linux (tests/linux/guest/scripts/kdump) panics on a chosen CPU with reads of three disks in flight, and the machine is stopped where
second is entered. The trial fails if a register, address or CPU differs from the values below. In the controls the memory does not
suffice, and second must report that before it writes to a device; or Linux hands over by kexec -e, and no function of its drivers
has bus master on.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

from tests.claims.dma import changed_pages
from tests.claims.measure import counted, messages_on
from tests.linux.kdump import (
    CPUS, KERNEL_BEGINS, at_entry, destinations, entry_line, given_to_devices, inside, lacking, ram_at_entry, reservation,
    watch_entry, writers,
)  # fmt: skip
from tests.linux.measure import drivers, names as listed, registers
from witness import devices
from witness.boot.protocol import BOOT_PARAMS_SIZE, CMD_LINE_PTR, e820
from witness.lab.experiment import Experiment, Judge, Role, Value, at_least, exactly
from witness.lab.observation import at
from witness.lab.stage import Action
from witness.linux.trial import LINUX, Boot, Seen
from witness.machine.description import REFERENCE, Machine
from witness.machine.record import Outcome
from witness.pci.registers import ENABLE, PCI_COMMAND_INTX_DISABLE, PCI_COMMAND_MASTER, PCI_MSIX_FLAGS_MASKALL, Register
from witness.pci.topology import Bdf
from witness.trace.events import ConfigWrite, Msi
from witness.trace.state import Change

# So that the reservation is below 256 MiB wherever Linux puts it: edu reaches no further.
MIB = 256

CMD_LINE_MAX = 2048  # of second's

# In addition to its own options second gets all of Linux's.
LINUXS_OPTIONS = "-s,--reuse-cmdline,-p"

FILES = ("second.bin", "next.cpio")

names = partial(listed, separator=" ")


def machine(cpus: int) -> Machine:
    """The reference machine with more CPUs, and an NVMe disk, whose driver is in the kernel. Both virtio disks take a request
    as it is offered: on a busy host QEMU's own thread may take seconds to do it."""
    scratch, source = REFERENCE.disks
    disks = (replace(scratch, device="ioeventfd=off"), source)
    disk = ("-blockdev", "driver=null-co,node-name=nvme,size=8388608,read-zeroes=on")
    devices = (*REFERENCE.devices, "nvme,serial=1,addr=10,drive=nvme")
    return replace(REFERENCE, mib=MIB, disks=disks, devices=devices, extra=("-smp", str(cpus), *disk))


# --- what second finds ---


def bound(seen: Seen) -> set[Bdf]:
    """The functions that have a driver, as Linux reports."""
    return {bdf for bdf, driver in drivers(seen).items() if driver}


def left_on(seen: Seen, line: int) -> str:
    """Functions that Linux drove and that have bus master on."""
    return names(bound(seen).intersection(seen.case.history.masters(line)))


def found(seen: Seen, line: int) -> str:
    """How many functions have bus master, MSI, MSI-X on, by the trace."""
    signalling = [register for _, register in seen.case.history.signalling(line)]
    return f"{len(seen.case.history.masters(line))} {signalling.count(Register.MSI)} {signalling.count(Register.MSIX)}"


# The same as second reports it; and the predecessor, which tells a panic from kexec -e.
FOUND = re.compile(r"bus master on in (\d+), MSI in (\d+), MSI-X in (\d+)")
INHERITED = re.compile(r"inherited from (.+): bus master still on in ")


def said(seen: Seen, pattern: re.Pattern[str]) -> str:
    return next((" ".join(match.groups()) for match in map(pattern.search, seen.run.log) if match), "nothing")


# --- what it does to them ---


def drivers_begin(seen: Seen, lines: range) -> int:
    """The first write to a device, or that sets bus master."""
    masters = (change.line for change in seen.case.changes(lines) if change.master_set)
    return min((seen.case.device_writes(lines)[0].line, *masters))


def step(change: Change) -> str:
    """Which step of hardened.c a write is; empty: none."""
    if change.register is Register.COMMAND:
        if change.set & PCI_COMMAND_INTX_DISABLE:
            return "INTx"
        return "master" if change.master_cleared else ""
    masks = change.register is Register.MSI or change.new & PCI_MSIX_FLAGS_MASKALL
    return "messages" if change.msi_disabled and masks else ""


def stopped(seen: Seen, lines: range) -> dict[Bdf, str]:
    """What was done to each function, in order."""
    steps: dict[Bdf, list[str]] = {}
    for change in seen.case.changes(lines):
        steps.setdefault(change.bdf, []).append(step(change) or f"other write, trace {change.line}")
    return {bdf: ", ".join(done) for bdf, done in steps.items()}


def hardened(seen: Seen, bdf: Bdf, line: int) -> str:
    """The steps that a function inherited like this needs."""
    command = seen.register(bdf, Register.COMMAND, line)
    steps = {
        "INTx": not command & PCI_COMMAND_INTX_DISABLE,
        "master": command & PCI_COMMAND_MASTER,
        "messages": any(messages_on(seen, bdf, register, line) for register in ENABLE),
    }
    return ", ".join(name for name, needed in steps.items() if needed)


def unreset(seen: Seen, lines: range) -> list[Bdf]:
    """Functions with a driver here and a BAR that got bus master before they were reset, the driver's first write."""
    early = []
    for change in seen.case.changes(lines):
        one = seen.case.topology.functions[change.bdf]
        if change.master_set and one in [f for f, _ in devices.working(seen.case)] and not one.slot:
            if not any(map(devices.resets, seen.writes_to(change.bdf, range(lines.start, change.line))[:1])):
                early.append(change.bdf)
    return early


def inherited(seen: Seen, params: int) -> tuple[list[int], str]:
    """Where the entries of second's memory map begin, and its command line."""
    ram = ram_at_entry(seen)
    page = ram.read(range(params, params + BOOT_PARAMS_SIZE))
    pointer = int.from_bytes(page[CMD_LINE_PTR:][:4], "little")
    line = ram.read(range(pointer, pointer + CMD_LINE_MAX)).partition(b"\0")[0]
    return [addresses.start for addresses, _ in e820(page)], line.decode()


# --- judges ---


def crashed(cpu: int, order: str, seen: Seen) -> list[Value]:
    """At the entry, what second finds; from there to its first driver, what it writes to configuration space; from there to the
    end, messages and writers; and what differs in RAM between the entry and the end."""
    seen.need(Outcome.PASS, Outcome.FAIL)
    entry, area = entry_line(seen), reservation(seen)
    after = range(entry, seen.case.end + 1)
    first = drivers_begin(seen, after)
    steps_of = stopped(seen, range(entry, first))
    wanted = {bdf: hardened(seen, bdf, entry) for bdf in sorted(seen.case.topology.functions)}
    active = [bdf for bdf, steps in wanted.items() if steps_of.get(bdf, "") != steps]
    ram = seen.run.ram_after()
    given = list(given_to_devices(seen.case, after, ram))
    messages = list(seen.case.within(Msi, range(first, after.stop)))
    pages = changed_pages(ram_at_entry(seen), ram, MIB << 20)
    all_cpus = registers(seen.kept[CPUS])
    memory, command_line = inherited(seen, all_cpus[cpu]["RSI"])
    others = [one for number, one in enumerate(all_cpus) if number != cpu]
    return [
        exactly("functions of Linux's with bus master on", left_on(seen, entry), names(bound(seen)), f"trace {entry}"),
        exactly("handed over by, as second reports", said(seen, INHERITED), "a crash"),
        exactly("bus master, MSI, MSI-X on, as second reports", said(seen, FOUND), found(seen, entry)),
        exactly("functions with bus master on", len(seen.case.history.masters(entry)), len(wanted)),
        exactly("functions not stopped before the first driver starts", names(active), "none", f"trace {entry}-{first}"),
        exactly("functions given bus master before they are reset", names(unreset(seen, range(first, after.stop))), "none"),
        exactly("what the trace and RAM lack of second's drivers' work", lacking(seen), "nothing"),
        exactly("CPU that enters second", next(n for n, one in enumerate(all_cpus) if one["RIP"] < KERNEL_BEGINS), cpu),
        exactly("other CPUs, halted in Linux", sum(one["HLT"] and one["RIP"] >= KERNEL_BEGINS for one in others), len(others)),
        exactly("CPUs that write to devices from there on", str(writers(seen, after)), str([cpu])),
        exactly("APIC IDs that messages go to from there on", str(destinations(messages)), str([cpu]), at(messages)),
        exactly("second's memory map", "sorted" if memory == sorted(memory) else "unsorted", order),
        exactly("elfcorehdr= options on second's command line", command_line.count("elfcorehdr="), 1),
        at_least("pieces of RAM that second gives to devices", len(given), 20),
        exactly("of these pieces outside of the reservation", sum(not inside(piece, area) for piece in given), 0),
        exactly("pages changed outside of the reservation", sum(page not in area for page in pages), 0),
        at_least("pages changed in the reservation", sum(page in area for page in pages), 20),
    ]


def refused(seen: Seen) -> list[Value]:
    """It takes no other memory. What it prints is part of the claim; that it does nothing is shown by the trace and RAM."""
    seen.need(Outcome.ERROR)
    entry = entry_line(seen)
    after = range(entry, seen.case.end + 1)
    pages = changed_pages(ram_at_entry(seen), seen.run.ram_after(), MIB << 20)
    return [
        exactly("memory, as second reports", re.sub(r"\d+", "N", seen.run.log[-2].partition(": ")[2]), "no N KiB free for DMA"),
        counted("configuration writes", list(seen.case.within(ConfigWrite, after)), 0),
        counted("writes to devices", seen.case.device_writes(after), 0),
        exactly("pages changed outside of the reservation", sum(page not in reservation(seen) for page in pages), 0),
    ]


def kexec(seen: Seen) -> list[Value]:
    """The drivers' shutdown has run, and second is not in the reservation."""
    seen.need()
    entry, area = entry_line(seen), reservation(seen)
    given = list(given_to_devices(seen.case, range(entry, seen.case.end + 1), seen.run.ram_after()))
    return [
        exactly("functions of Linux's with bus master on", left_on(seen, entry), "none", f"trace {entry}"),
        exactly("handed over by, as second reports", said(seen, INHERITED), "kexec"),
        exactly("bus master, MSI, MSI-X on, as second reports", said(seen, FOUND), found(seen, entry)),
        exactly("pieces of RAM given to devices that are in the reservation", sum(inside(piece, area) for piece in given), 0),
    ]


def boot(name: str, role: Role, judge: Judge, cpus: int, cpu: int, crashkernel: str, load: str) -> Boot:
    options = f"console=ttyS0 crashkernel={crashkernel} linux.script=kdump linux.next=second linux.cpu={cpu} linux.load={load}"
    options += " linux.append=handoff.startup=hardened"
    # kexec -e copies its image into place at the jump only.
    points: dict[str, Action] = {"loaded": partial(watch_entry, file="second.bin"), "dies": at_entry} if load.endswith("p") else {}
    return Boot(name, role, machine(cpus), LINUX, judge, options, points, files=FILES, ends_in="guest")


EXPERIMENT = Experiment(
    title="After a panic second drives every device, on the CPU that panicked and in the memory reserved for it",
    source="Linux, Documentation/admin-guide/kdump/kdump.rst; kernel/kexec_core.c:__crash_kexec calls no device_shutdown",
    falsified_by="a function that is stopped already, or still active when a driver starts; a message to another CPU; a byte that "
    "changes, or that is given to a device, outside of what /proc/iomem calls Crash kernel",
    provoked_by="echo c >/proc/sysrq-trigger on a chosen CPU, with reads of two virtio disks and an NVMe disk in flight; the "
    "machine is stopped where second is entered",
    reading="A crash kernel is entered with bus master on in every function, MSI-X on wherever a driver had it, on any CPU, with "
    "the others halted in the old kernel. It takes memory for itself and for devices only from its own map, which need not be "
    "sorted and may be 5 MiB, sends messages to the CPU that it runs on, and reports too little memory before it writes to a "
    "device. It ignores the other kernel's options on its command line.",
    trials=(
        boot("CPU 0 of 2, kexec_load", Role.CLAIM, partial(crashed, 0, "sorted"), 2, 0, "32M", "-c,-p"),
        boot("CPU 2 of 4, kexec_file_load, 5 MiB", Role.CLAIM, partial(crashed, 2, "unsorted"), 4, 2, "5M", LINUXS_OPTIONS),
        boot("4 MiB", Role.CONTROL, refused, 2, 1, "4M", "-c,-p"),
        boot("kexec -e instead of a panic", Role.CONTROL, kexec, 2, 0, "32M", "-c,-l"),
    ),
)
