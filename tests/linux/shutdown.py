# SPDX-License-Identifier: BSD-2-Clause
"""What Linux does to each PCI function on its way to kexec, held against its own rule.

pci_device_shutdown (drivers/pci/pci-driver.c) calls the driver's shutdown and then clears bus master, where Linux knows the power
state. It does of functions that a driver has enabled, also where that one is gone. It writes to no other, and leaves MSI, MSI-X and
INTx to the drivers. Since 8bd2fa086a04 virtio's bus has a shutdown, which resets the device. Who has a driver, Linux says; the rest
is in the trace.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from threading import Thread
from typing import Iterable, Iterator

from witness import devices
from witness.boot.protocol import ENTRY_64
from witness.devices.virtio import DEVICE_STATUS, Virtio, common_writes
from witness.evidence.interrupts import Message, own_messages
from witness.lab.experiment import Unshown, Value, at_least, exactly
from witness.lab.observation import at, within
from witness.lab.stage import Stage
from witness.linux.trial import Seen
from witness.machine.description import REFERENCE, Machine
from witness.machine.qemu import configs
from witness.machine.qmp import Expired, Gone
from witness.machine.record import Ram, ram_layout
from witness.pci.registers import ENABLE, PCI_COMMAND, PCI_COMMAND_INTX_DISABLE, PCI_COMMAND_MASTER, PCI_VENDOR_ID, Register
from witness.pci.topology import Bdf, Function, Topology
from witness.trace.events import REQUEST_PATTERNS, BlockRequest, ConfigRead, ConfigWrite, MmioWrite, Msi
from witness.trace.state import Change

NONE = "none"

# Enough for Linux. A function that it has a driver for is behind a bridge, too, so that "children before parents" can be false; and
# the trace tells of the requests that the disks have in their hands.
BEHIND_BRIDGE = ("pcie-root-port,id=above,addr=0xa,chassis=2", "virtio-rng-pci,bus=above,disable-legacy=on")
REQUESTS = tuple(word for name in REQUEST_PATTERNS for word in ("-trace", name))
MACHINE = replace(REFERENCE, mib=512, devices=(*REFERENCE.devices, *BEHIND_BRIDGE), extra=REQUESTS)

# Its shutdown is its remove: MSI-X off, INTx on, bus master off, whatever the machine goes down for.
PORT_DRIVER = "pcieport"

CR4_LA57 = 1 << 12
RFLAGS_IF = 1 << 9

ACPI_RSDP_ADDR = 0x70  # in boot_params

# QEMU's name of port 0xCF8 in the trace. Each access by CF8/CFC, read or write, begins with a write there.
CONFIG_ADDRESS = "pci-conf-idx"

# Without tables of ACPI Linux drives the slots itself, and would take both for empty ("Card not present"). OVMF makes none itself.
NO_ACPI = ("-no-acpi", "-global", "pcie-root-port.hotplug=off")

MIB, GIB = 1 << 20, 1 << 30
LOW, ANYWHERE, HIGH = range(16 * MIB), range(16 * MIB, 4 * GIB), range(4 * GIB, 1 << 52)
PLACES = {LOW: "below 16 MiB", ANYWHERE: "below 4 GiB", HIGH: "above 4 GiB"}

# Options of `kexec -l`, and what tells of each system call: of the first kexec -d, of the second the kernel.
KEXEC_LOAD, KEXEC_FILE_LOAD = "-c+-l", "-s+-l"
CALLS = {KEXEC_LOAD: "kexec_load", KEXEC_FILE_LOAD: "kexec_file_load"}
TOLD_OF = {KEXEC_LOAD: "kexec_load: entry = ", KEXEC_FILE_LOAD: "kexec-bzImage64: Loaded 64bit kernel at "}

# Beside these bits, a capability has what nobody writes, and the trace does not tell of.
SAYING = {Register.COMMAND: 0xFFFF, **ENABLE}


@dataclass(frozen=True)
class Way:
    """How Linux hands over: by which system call, to where it puts the image, and what the machine has."""

    load: str = KEXEC_FILE_LOAD
    where: range = LOW
    la57: bool = False
    acpi: bool = True


def machine(cpus: int, way: Way = Way()) -> Machine:
    """With 5-level paging, RAM above 4 GiB as well."""
    extra = ("-smp", str(cpus), *(("-cpu", "max") if way.la57 else ()), *(() if way.acpi else NO_ACPI))
    return replace(MACHINE, mib=6144 if way.la57 else MACHINE.mib, extra=(*MACHINE.extra, *extra))


# --- at the point where the next image is loaded, with its address for a value ---


def stop_at_entry(stage: Stage) -> None:
    """Have the machine stand where Linux enters the image, and keep what is in the CPU and in configuration space there."""
    session = stage.session
    session.qmp.command("stop")
    session.qmp.wait("STOP")
    session.gdb.insert(stage.value + ENTRY_64)
    session.gdb.resume()
    Thread(target=partial(_keep_entry, stage, stage.value + ENTRY_64), daemon=True).start()


def _keep_entry(stage: Stage, entry: int) -> None:
    session = stage.session
    try:
        session.qmp.wait("STOP")
        stage.kept["registers"] = stage.monitor("info registers -a").encode()
        params = _register(stage.kept["registers"], "RSI")
        stage.note("RSDP", int(stage.monitor(f"xp /1gx {params + ACPI_RSDP_ADDR:#x}").split()[-1], 16))
        for bdf, config in configs(session.qmp):
            stage.kept[f"config {bdf}"] = config
        session.gdb.remove(entry)
        session.gdb.resume()
    except (Gone, Expired):
        pass  # the run has ended otherwise, and says how


def cpu(seen: Seen, name: str, nth: int = 0) -> int:
    """A register of a CPU at the entry."""
    return _register(seen.kept.get("registers", b""), name, nth)


def _register(told: bytes, name: str, nth: int = 0) -> int:
    found = re.findall(rf"\b{name} *=([0-9a-f]+)", told.decode())
    if nth >= len(found):
        raise Unshown("the machine did not stand at the image's entry")
    return int(found[nth], 16)


def halted(seen: Seen, cpus: int) -> Value:
    """The CPUs that Linux does not hand over with: an INIT wakes them, or an NMI, and nobody reads what they would execute."""
    asleep = [n for n in range(1, cpus) if cpu(seen, "HLT", n) and not cpu(seen, "RFL", n) & RFLAGS_IF]
    return exactly("other CPUs that are halted, interrupts off", len(asleep), cpus - 1)


def found_there(seen: Seen) -> Topology:
    """Configuration space at the entry, as it was read there."""
    spaces = ((name.partition(" "), space) for name, space in seen.kept.items())
    return Topology.of((Bdf.parse(bdf), space) for (kind, _, bdf), space in spaces if kind == "config")


# --- what Linux says ---


def drivers(seen: Seen, nth: int = -1) -> dict[Bdf, str]:
    """Of each function, at the end or as told the nth time; empty where it has none."""
    told = (line.partition(" ") for line in seen.told("drivers", nth))
    return {Bdf.parse(function): driver for function, _, driver in told}


# --- what the trace says ---


@dataclass(frozen=True)
class Handover:
    """From where the next image is loaded to where it shows that it is there, and on to the first bus master that it sets."""

    seen: Seen
    lines: range
    inward: int

    @classmethod
    def of(cls, seen: Seen, nth: int = 0) -> Handover:
        loaded = seen.mark("loaded", nth).line
        entry = next((line for line in sorted(seen.case.entry_lines.values()) if line > loaded), None)
        if entry is None:
            raise Unshown("no image of ours was entered")
        after = seen.case.changes(range(entry, seen.case.end + 1))
        return cls(seen, range(loaded, entry), next((change.line for change in after if change.master_set), seen.case.end))

    def changes(self, bdf: Bdf) -> list[Change]:
        return [change for change in self.seen.case.changes(self.lines) if change.bdf == bdf]

    def writes(self, bdf: Bdf) -> list[ConfigWrite]:
        return self.seen.config_writes(self.lines, bdf)

    def clear(self, bdf: Bdf) -> Change | None:
        """The one write that clears bus master, if it does nothing else, has 16 bits, and is the last to that register."""
        commands = [change for change in self.changes(bdf) if change.register is Register.COMMAND]
        last = commands[-1] if commands else None
        alone = last and last.old ^ last.new == PCI_COMMAND_MASTER and last.write.size == 2 and last.write.offset == PCI_COMMAND
        return last if last and alone and last.master_cleared else None

    def has(self, bdf: Bdf, register: Register, bit: int, line: int | None = None) -> bool:
        """At the entry, or at another line."""
        return bool(self.seen.register(bdf, register, self.lines.stop if line is None else line) & bit)

    def statuses(self, bdf: Bdf, lines: range) -> list[MmioWrite]:
        """What a virtio device's status was written to."""
        return [write for offset, write in common_writes(self.seen.case, bdf, lines) if offset == DEVICE_STATUS]

    def resets(self, bdf: Bdf) -> list[MmioWrite]:
        return [write for write in self.statuses(bdf, self.lines) if write.value == 0]

    def is_reset(self, bdf: Bdf) -> bool:
        """At the entry, whoever did it."""
        return not any(write.value for write in self.statuses(bdf, range(self.lines.stop))[-1:])

    def in_flight(self, line: int) -> int:
        """Requests that the disks have in their hands."""
        open_: set[int] = set()
        for event in self.seen.case.within(BlockRequest, range(line)):
            (open_.discard if event.done else open_.add)(event.id)
        return len(open_)

    def messages(self, functions: Iterable[Function]) -> list[Msi]:
        """Those of these functions, between the last clear and the first bus master that is set again."""
        case = self.seen.case
        own: set[Message] = set()
        for function in functions:
            own |= own_messages(case, function, range(self.lines.stop))
        last = max((change.line for change in case.changes(self.lines) if change.master_cleared), default=self.lines.start)
        return [e for e in case.within(Msi, range(last + 1, self.inward)) if (e.address, e.data) in own]


def is_virtio(function: Function) -> bool:
    return isinstance(devices.model_of(function), Virtio)


def names(functions: Iterable[Bdf]) -> str:
    return ", ".join(map(str, sorted(functions))) or NONE


def by_the_rule(seen: Seen, handover: Handover) -> list[Value]:
    """Every function, by whether it has, or had, a driver."""
    told, before, line = drivers(seen), drivers(seen, 0), handover.lines.start
    bound = [bdf for bdf in told if told[bdf] or before[bdf]]
    free = [bdf for bdf in told if bdf not in bound]
    functions = seen.case.topology.functions
    masters = [bdf for bdf in told if handover.has(bdf, Register.COMMAND, PCI_COMMAND_MASTER, line)]
    clears = {bdf: clear for bdf in told if (clear := handover.clear(bdf))}
    kept = [bdf for bdf in bound if told[bdf] != PORT_DRIVER]
    msix = [bdf for bdf in kept if handover.has(bdf, Register.MSIX, ENABLE[Register.MSIX], line)]
    silent = [bdf for bdf in kept if handover.has(bdf, Register.COMMAND, PCI_COMMAND_INTX_DISABLE, line)]
    virtio = [bdf for bdf in bound if told[bdf] and is_virtio(functions[bdf])]
    first = {bdf: handover.resets(bdf)[0].line for bdf in virtio if handover.resets(bdf)}
    early = [bdf for bdf, reset in first.items() if bdf in clears and reset < clears[bdf].line]
    behind = [(bdf, bridge) for bdf in clears for bridge in seen.case.topology.upstream(bdf) if bridge in clears]
    late = [bdf for bdf, bridge in behind if clears[bdf].line > clears[bridge].line]
    muted = handover.messages(functions[bdf] for bdf in bound)
    on = [bdf for bdf in told if handover.has(bdf, Register.COMMAND, PCI_COMMAND_MASTER)]
    with_msix = [bdf for bdf in told if handover.has(bdf, Register.MSIX, ENABLE[Register.MSIX])]
    without_intx = [bdf for bdf in told if handover.has(bdf, Register.COMMAND, PCI_COMMAND_INTX_DISABLE)]
    had = [bdf for bdf in bound if bdf in masters]
    return [
        exactly("bus master cleared by one write of 16 bits", names(clears), names(had), at(clears.values())),
        exactly("written to although no driver ever was there", names(bdf for bdf in free if handover.writes(bdf)), NONE),
        exactly("bus master still on", names(on), names(bdf for bdf in free if bdf in masters)),
        exactly("MSI-X still on", names(with_msix), names(msix)),
        exactly("INTx Disable still set", names(without_intx), names(silent)),
        exactly("virtio reset before its bus master goes", names(early), names(virtio), within(list(first.values()))),
        at_least("functions behind a bridge", len(behind), 1),
        exactly("of these cleared after their bridge", names(late), NONE),
        exactly("messages of functions with a driver, behind the last clear", len(muted), 0, at(muted)),
        at_least("disk requests in flight at the first reset", handover.in_flight(min(first.values(), default=0)), 1),
    ]


def as_read_there(seen: Seen, handover: Handover) -> Value:
    """The trace's registers are those that the machine has."""
    read = found_there(seen).functions
    other = [
        f"{bdf} {register.value}" for bdf, function in read.items() for register, offset in function.offsets.items()
        if (function.u16(offset) ^ seen.register(bdf, register, handover.lines.stop)) & SAYING[register]
    ]  # fmt: skip
    return exactly("registers that are not as the trace tells", ", ".join(other) or NONE, NONE, f"{len(read)} functions read there")


# --- where and how the image is entered ---

_RSDP = re.compile(r"ACPI: RSDP 0x([0-9A-F]+)")


def entered(seen: Seen, image: str, way: Way, lines: range) -> list[Value]:
    """By Linux's word, by the CPU's registers and boot_params at the entry, by the trace of the image, and by its word."""
    address = seen.mark("loaded").value
    calls = [CALLS[load] for load, text in TOLD_OF.items() if any(text in line for line in seen.told("kexec"))]
    rsdp = next((f"{int(match[1], 16):#x}" for match in map(_RSDP.search, seen.console) if match), NONE)
    access = "ECAM" if way.acpi else "CF8/CFC"
    by, evidence = accessed(seen, lines)
    return [
        exactly("system call", ", ".join(calls) or NONE, CALLS[way.load]),
        exactly("place, as Linux says", place(address), PLACES[way.where], f"{address:#x}"),
        exactly("RIP at the entry", f"{cpu(seen, 'RIP'):#x}", f"{address + ENTRY_64:#x}"),
        exactly(f"{image}'s word: place", next(_said(seen, image, _PLACE), NONE), f"{image}@{address:#x}"),
        exactly("5-level paging in Linux", str("la57" in seen.told("la57")), str(way.la57)),
        exactly("5-level paging at the entry", str(bool(cpu(seen, "CR4") & CR4_LA57)), str(way.la57)),
        exactly("RSDP, as Linux says", NONE if rsdp == NONE else "there", "there" if way.acpi else NONE, rsdp),
        exactly("RSDP in boot_params at the entry", f"{seen.noted('RSDP'):#x}" if seen.noted("RSDP") else NONE, rsdp),
        exactly("configuration accesses", by, access, evidence),
        exactly(f"{image}'s word: configuration accesses", next(_said(seen, image, _ACCESS), NONE), access),
    ]


def place(address: int) -> str:
    return next((name for addresses, name in PLACES.items() if address in addresses), NONE)


def accessed(seen: Seen, lines: range) -> tuple[str, str]:
    """How configuration space is, in these lines; but for reads of vendor IDs, which an image compares."""
    ways: Counter[str] = Counter()
    way = "ECAM"
    for event in seen.case.within(object, lines):
        if isinstance(event, MmioWrite) and event.region == CONFIG_ADDRESS:
            way = "CF8/CFC"
        elif isinstance(event, (ConfigRead, ConfigWrite)):
            ways[way] += not (isinstance(event, ConfigRead) and event.offset == PCI_VENDOR_ID)
            way = "ECAM"
    return ", ".join(sorted(name for name, count in ways.items() if count)) or NONE, f"{ways.total()} accesses"


# --- what the image that was entered says and does ---

_STILL_ON = re.compile(
    r"handed by kexec: bus master still on in (.*) \(Linux leaves it on where no driver has enabled the function\)"
)
_STATUS = re.compile(r"pci (\S+) virtio status 0x00 before the reset")
_PLACE = re.compile(r"image (.*)")
_ACCESS = re.compile(r"PCI segment 0000 buses 00-ff by (.*)")


def _said(seen: Seen, image: str, pattern: re.Pattern[str]) -> Iterator[str]:
    for line in seen.run.log:
        tag, _, text = line.partition(" ")
        match = pattern.fullmatch(text.strip())
        if tag == image and match:
            yield match[1]


def as_said(seen: Seen, image: str, handover: Handover) -> list[Value]:
    """The image's own words, against the trace."""
    on = [bdf for bdf in drivers(seen) if handover.has(bdf, Register.COMMAND, PCI_COMMAND_MASTER)]
    reset = [bdf for bdf in drivers(seen) if is_virtio(seen.case.topology.functions[bdf]) and handover.is_reset(bdf)]
    still = [Bdf.parse(word) for text in _said(seen, image, _STILL_ON) for word in text.split(", ")]
    found = [Bdf.parse(word) for word in _said(seen, image, _STATUS)]
    return [
        exactly(f"{image}'s word: bus master still on", names(still), names(on)),
        exactly(f"{image}'s word: virtio with status 0", names(found), names(reset)),
    ]


def drives(seen: Seen, image: str, lines: range, last: bool = True, broken: str = NONE) -> Value:
    """Every device that has a driver of ours, for real; but for what is broken."""
    ram = Ram(seen.run.directory / "ram", ram_layout(seen.run.machine)) if last else None
    idle = [(f.bdf, what) for f, _ in devices.working(seen.case) for what in devices.not_driven(seen.case, f, lines, ram, last)]
    devices, which = names(f.bdf for f, _ in devices.working(seen.case)), names({bdf for bdf, _ in idle})
    evidence = "; ".join([f"trace {lines.start}-{lines.stop}", *(f"{bdf}: {what}" for bdf, what in idle)])
    measured, expected = ("all" if some == NONE else f"all but {some}" for some in (which, broken))
    return exactly(f"{image} drives {devices}", measured, expected, evidence)
