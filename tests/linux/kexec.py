# SPDX-License-Identifier: BSD-2-Clause
"""What K4 and K5 share: Linux hands over to an image of ours by kexec, on a machine whose disks are being read.

Here are the machines, what the harness keeps where the image is entered, and what is measured: of each PCI function until then, of
the entry, and of what the image reports. The expected results stand in the experiments. Linux reports which functions have a
driver; the rest is in the trace.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property, partial
from threading import Thread

from tests.linux.measure import NONE, TRACE_REQUESTS, drivers, idle, messages_of, names, registers, requests_in_flight
from witness.boot.protocol import ACPI_RSDP_ADDR, ENTRY_64
from witness.devices import model_of, working
from witness.devices.virtio import DEVICE_STATUS, Virtio, common_writes
from witness.lab.experiment import Unshown, Value, exactly
from witness.lab.stage import Stage
from witness.linux.trial import Seen
from witness.machine.description import REFERENCE, Machine
from witness.machine.qemu import configs
from witness.machine.qmp import Expired, Gone
from witness.machine.record import Ram, ram_layout
from witness.pci.registers import ENABLE, PCI_COMMAND, PCI_COMMAND_INTX_DISABLE, PCI_COMMAND_MASTER, PCI_VENDOR_ID, Register
from witness.pci.topology import Bdf, Topology
from witness.trace.events import ConfigRead, ConfigWrite, MmioWrite, Msi
from witness.trace.state import Change

# Enough for Linux. A function that it has a driver for is below a bridge, too, so that "children before parents" can be false.
BELOW_BRIDGE = ("pcie-root-port,id=above,addr=0xa,chassis=2", "virtio-rng-pci,bus=above,disable-legacy=on")
MACHINE = replace(REFERENCE, mib=512, devices=(*REFERENCE.devices, *BELOW_BRIDGE), extra=TRACE_REQUESTS)

# Its shutdown is its remove: MSI-X off, INTx on, bus master off, at every kind of shutdown.
PORT_DRIVER = "pcieport"

CR4_LA57 = 1 << 12

# The trace's name of port 0xCF8. Each access by CF8/CFC, read or write, begins with a write there.
CONFIG_ADDRESS = "pci-conf-idx"

# Without ACPI tables Linux drives the slots itself, and would take both for empty ("Card not present"). OVMF makes none itself.
NO_ACPI = ("-no-acpi", "-global", "pcie-root-port.hotplug=off")

MIB, GIB = 1 << 20, 1 << 30
LOW, ANYWHERE, HIGH = range(16 * MIB), range(16 * MIB, 4 * GIB), range(4 * GIB, 1 << 52)
PLACES = {LOW: "below 16 MiB", ANYWHERE: "below 4 GiB", HIGH: "above 4 GiB"}

# Options of `kexec -l`, and what shows each system call: kexec -d prints the first, the kernel the second.
KEXEC_LOAD, KEXEC_FILE_LOAD = "-c+-l", "-s+-l"
CALLS = {KEXEC_LOAD: "kexec_load", KEXEC_FILE_LOAD: "kexec_file_load"}
SHOWN_BY = {KEXEC_LOAD: "kexec_load: entry = ", KEXEC_FILE_LOAD: "kexec-bzImage64: Loaded 64bit kernel at "}


@dataclass(frozen=True)
class Way:
    """How Linux hands over: the system call, where it puts the image, and what the machine has."""

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
    """Stops the machine where Linux enters the image, and keeps what is in the CPU and in configuration space there."""
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
        params = registers(stage.kept["registers"])[0]["RSI"]
        stage.note("RSDP", int(stage.monitor(f"xp /1gx {params + ACPI_RSDP_ADDR:#x}").split()[-1], 16))
        for bdf, config in configs(session.qmp):
            stage.kept[f"config {bdf}"] = config
        session.gdb.remove(entry)
        session.gdb.resume()
    except (Gone, Expired):
        pass  # the run has ended otherwise, and its outcome says how


def cpu(seen: Seen, name: str, nth: int = 0) -> int:
    """A register of a CPU at the entry."""
    found = registers(seen.kept.get("registers", b""))
    if nth >= len(found):
        raise Unshown("the machine did not stop at the image's entry")
    return found[nth][name]


def found_there(seen: Seen) -> Topology:
    """Configuration space at the entry, as it was read there."""
    spaces = ((name.partition(" "), space) for name, space in seen.kept.items())
    return Topology.of((Bdf.parse(bdf), space) for (kind, _, bdf), space in spaces if kind == "config")


# --- what happens to the functions ---


@dataclass(frozen=True)
class Handover:
    """From where the next image is loaded to where it shows that it runs, and on to the first bus master that it sets."""

    seen: Seen
    loaded: int
    entry: int
    inward: int

    @classmethod
    def of(cls, seen: Seen) -> Handover:
        loaded = seen.mark("loaded").line
        entry = next((line for line in sorted(seen.case.entry_lines.values()) if line > loaded), None)
        if entry is None:
            raise Unshown("no image of ours was entered")
        after = seen.case.changes(range(entry, seen.case.end + 1))
        return cls(seen, loaded, entry, next((change.line for change in after if change.master_set), seen.case.end))

    @property
    def lines(self) -> range:
        return range(self.loaded, self.entry)

    # --- as Linux reports ---

    @cached_property
    def functions(self) -> set[Bdf]:
        return {*drivers(self.seen)}

    @cached_property
    def bound(self) -> set[Bdf]:
        """Those that have a driver, or had one at the first report."""
        return {bdf for nth in (0, -1) for bdf, driver in drivers(self.seen, nth).items() if driver}

    @property
    def free(self) -> set[Bdf]:
        return self.functions - self.bound

    @property
    def ports(self) -> set[Bdf]:
        return {bdf for bdf, driver in drivers(self.seen).items() if driver == PORT_DRIVER}

    @cached_property
    def any_virtio(self) -> set[Bdf]:
        return {bdf for bdf in self.functions if isinstance(model_of(self.seen.case.topology.functions[bdf]), Virtio)}

    @property
    def virtio(self) -> set[Bdf]:
        """Those that still have a driver."""
        return {bdf for bdf in self.any_virtio if drivers(self.seen)[bdf]}

    # --- by the trace ---

    def having(self, register: Register, bit: int, line: int) -> set[Bdf]:
        """The functions with this bit at this line."""
        return {bdf for bdf in self.functions if self.seen.register(bdf, register, line) & bit}

    def masters(self, line: int) -> set[Bdf]:
        return self.having(Register.COMMAND, PCI_COMMAND_MASTER, line)

    def msix(self, line: int) -> set[Bdf]:
        return self.having(Register.MSIX, ENABLE[Register.MSIX], line)

    def intx_disabled(self, line: int) -> set[Bdf]:
        return self.having(Register.COMMAND, PCI_COMMAND_INTX_DISABLE, line)

    @property
    def written(self) -> set[Bdf]:
        return {write.bdf for write in self.seen.case.within(ConfigWrite, self.lines)}

    @cached_property
    def clears(self) -> dict[Bdf, Change]:
        """The one write that clears bus master, if it does nothing else, has 16 bits, and is the last to that register."""
        commands = {change.bdf: change for change in self.seen.case.changes(self.lines) if change.register is Register.COMMAND}
        return {bdf: last for bdf, last in commands.items() if bdf in self.functions and clears_alone(last)}

    @cached_property
    def statuses(self) -> dict[Bdf, list[MmioWrite]]:
        """What each virtio device's status was written to, up to the entry."""
        before = range(self.entry)
        return {
            bdf: [write for offset, write in common_writes(self.seen.case, bdf, before) if offset == DEVICE_STATUS]
            for bdf in self.any_virtio
        }

    @cached_property
    def resets(self) -> dict[Bdf, int]:
        """Where each virtio device with a driver is reset first."""
        lines = {bdf: [w.line for w in self.statuses[bdf] if w.line in self.lines and w.value == 0] for bdf in self.virtio}
        return {bdf: found[0] for bdf, found in lines.items() if found}

    @property
    def reset_first(self) -> set[Bdf]:
        """Those that are reset before their bus master is cleared."""
        return {bdf for bdf, line in self.resets.items() if bdf in self.clears and line < self.clears[bdf].line}

    @property
    def found_reset(self) -> set[Bdf]:
        """The virtio devices with status 0 at the entry, whatever wrote it."""
        return {bdf for bdf, writes in self.statuses.items() if not any(write.value for write in writes[-1:])}

    @property
    def messages(self) -> list[Msi]:
        """Those of functions with a driver, from the last clear to the first bus master that is set again."""
        last = max((change.line for change in self.seen.case.changes(self.lines) if change.master_cleared), default=self.loaded)
        return messages_of(self.seen, self.bound, self.entry, range(last + 1, self.inward))

    @property
    def requests(self) -> int:
        """That disks have in flight at the first reset."""
        return requests_in_flight(self.seen, min(self.resets.values(), default=0))


def clears_alone(change: Change) -> bool:
    narrow = change.write.size == 2 and change.write.offset == PCI_COMMAND
    return change.master_cleared and change.old ^ change.new == PCI_COMMAND_MASTER and narrow


def below(seen: Seen, clears: dict[Bdf, Change]) -> list[tuple[Bdf, Bdf]]:
    """The functions among these that are below a bridge among these, with it."""
    return [(bdf, bridge) for bdf in clears for bridge in seen.case.topology.upstream(bdf) if bridge in clears]


def late(seen: Seen, clears: dict[Bdf, Change]) -> set[Bdf]:
    """Those of them that are cleared after their bridge."""
    return {bdf for bdf, bridge in below(seen, clears) if clears[bdf].line > clears[bridge].line}


# --- where and how the image is entered ---

_RSDP = re.compile(r"ACPI: RSDP 0x([0-9A-F]+)")
_PLACE = re.compile(r"image (.*)")
_ACCESS = re.compile(r"PCI segment 0000 buses 00-ff by (.*)")


class Entry:
    """As Linux reports it, by the CPU's registers and boot_params there, by the image's trace from there on, and as it reports."""

    def __init__(self, seen: Seen, image: str, lines: range) -> None:
        self.address = seen.mark("loaded").value
        self.place = next((name for addresses, name in PLACES.items() if self.address in addresses), NONE)
        calls = [CALLS[load] for load, text in SHOWN_BY.items() if any(text in line for line in seen.reported("kexec"))]
        self.call = ", ".join(calls) or NONE
        self.linux_la57 = "la57" in seen.reported("la57")
        self.linux_rsdp = next((f"{int(match[1], 16):#x}" for match in map(_RSDP.search, seen.console) if match), NONE)
        self.rip = cpu(seen, "RIP")
        self.la57 = bool(cpu(seen, "CR4") & CR4_LA57)
        self.rsdp = f"{seen.noted('RSDP'):#x}" if seen.noted("RSDP") else NONE
        self.access = ", ".join(sorted(accessed(seen, lines))) or NONE
        self.said_place, self.said_access = (next(iter(said(seen, image, pattern)), NONE) for pattern in (_PLACE, _ACCESS))


def accessed(seen: Seen, lines: range) -> set[str]:
    """How configuration space is accessed in these lines; but for reads of vendor IDs, by which an image compares both ways."""
    ways, way = set(), "ECAM"
    for event in seen.case.within(object, lines):
        if isinstance(event, MmioWrite) and event.region == CONFIG_ADDRESS:
            way = "CF8/CFC"
        elif isinstance(event, (ConfigRead, ConfigWrite)):
            if isinstance(event, ConfigWrite) or event.offset != PCI_VENDOR_ID:
                ways.add(way)
            way = "ECAM"
    return ways


# --- what the image reports and does ---

STILL_ON = re.compile(
    r"inherited from kexec: bus master still on in (.*) \(Linux leaves it on where no driver has enabled the function\)"
)
STATUS_0 = re.compile(r"pci (\S+) virtio status 0x00 before the reset")


def said(seen: Seen, image: str, pattern: re.Pattern[str]) -> list[str]:
    """The text of an image's lines of this form."""
    lines = (line.partition(" ") for line in seen.run.log)
    found = (pattern.fullmatch(text.strip()) for tag, _, text in lines if tag == image)
    return [match[1] for match in found if match]


def said_of(seen: Seen, image: str, pattern: re.Pattern[str]) -> set[Bdf]:
    """The functions that they name."""
    return {Bdf.parse(name) for text in said(seen, image, pattern) for name in text.split(", ")}


def drives(seen: Seen, image: str, lines: range, expected: str, last: bool = True) -> Value:
    """Every device that has a driver of ours, by its work. last: what the image leaves in RAM is still there at the end."""
    ram = Ram(seen.run.directory / "ram", ram_layout(seen.run.machine)) if last else None
    missing = idle(seen, lines, ram, last)
    which = names({bdf for bdf, _ in missing})
    evidence = "; ".join([f"trace {lines.start}-{lines.stop}", *(f"{bdf}: {what}" for bdf, what in missing)])
    what = f"{image} drives {names(f.bdf for f, _ in working(seen.case))}"
    return exactly(what, "all" if which == NONE else f"all but {which}", expected, evidence)
