# SPDX-License-Identifier: BSD-2-Clause
"""Comparison with Linux: ratios, the time of each step, and the registers that Linux accesses more often, with the reason."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Iterable, Mapping, Sequence

from witness.bench.config import ConfigAccess, Counts, by_function, grouped
from witness.bench.handoff import Counted
from witness.bench.linux import PAIRS, STEPS, Columns, Pair
from witness.linux.trial import INITRD, LINUX
from witness.pci.names import Layout
from witness.pci.registers import PCI_CAPABILITY_LIST, PCI_HEADER_TYPE, PCI_HEADER_TYPE_BRIDGE
from witness.pci.topology import Bdf, Topology
from witness.report.budget import Row, ratio

# The blackout, ours against Linux's: budget and aim.
RATIO_MIN, RATIO_AIM = 300, 1000

Each = Mapping[Pair, Sequence[Mapping[str, float]]]  # milliseconds of each step, of each run


def total(steps: Mapping[str, float]) -> float:
    return sum(steps.values())


def to_msix_off(steps: Mapping[str, float]) -> float:
    return sum(steps[name] for name in STEPS[:2])


def ratio_row(each: Each) -> Row:
    """The budget is a ratio of two times on this host."""
    ours, theirs = (median(map(total, each[pair])) for pair in PAIRS[:2])
    return Row(
        "blackout: times shorter than Linux's by kexec",
        f"{theirs / ours:.0f} ({ours:.1f} ms, {theirs:.0f} ms)",
        f"at least {RATIO_MIN}",
        f"{RATIO_AIM}",
        theirs >= RATIO_MIN * ours,
    )


def beside(counted: Counted, columns: Columns, each: Each, instructions: Mapping[str, int], build: Path) -> list[list[str]]:
    """Ours, Linux's, and their ratio."""
    functions = counted.functions
    rows = [["compared with Linux", "ours", "Linux", "ratio"]]

    def accesses_row(what: str, ours: Iterable[ConfigAccess], theirs: Iterable[ConfigAccess], write: bool) -> None:
        a, b = (sum(access.hit and access.write is write for access in found) / functions for found in (ours, theirs))
        rows.append([what, f"{a:.3g}", f"{b:.3g}", ratio(a, b)])

    for name, write in (("reads", False), ("writes", True)):
        accesses_row(f"shutdown: config {name} a function", counted.out, columns.out, write)
    for name, write in (("reads", False), ("writes", True)):
        accesses_row(f"enumeration, before any driver: config {name} a function", counted.inward, columns.inward, write)
    unanswered = [sum(not access.hit for access in found) for found in (counted.inward, columns.inward)]
    rows.append(["enumeration: unanswered accesses", *map(str, unanswered), ratio(*unanswered)])
    for what, measure in (("blackout, to MSI-X off: ms", to_msix_off), ("blackout, to the first MSI-X I/O: ms", total)):
        a, b = (median(map(measure, each[pair])) for pair in PAIRS[:2])
        rows.append([what, f"{a:.1f}", f"{b:.0f}", ratio(a, b)])
    # The instructions of an I/O depend on the host: it is left out. Linux's end at the disk's bus master, ours at DRIVER_OK.
    a, b = sum(counted.steps().values()), sum(count for name, count in instructions.items() if name != STEPS[-1])
    rows.append(["blackout, without that I/O: k instructions", f"{a / 1000:.0f}", f"{b / 1000:.0f}", ratio(a, b)])
    image, kernel, archive = ((build / name).stat().st_size for name in ("first.bin", LINUX, INITRD))
    rows.append(["image: bytes", str(image), str(kernel), ratio(image, kernel)])
    whole = kernel + archive
    rows.append(["image, and what it needs to reach the disk: bytes", str(image), str(whole), ratio(image, whole)])
    return rows


def medians(each: Each, instructions: Mapping[str, int]) -> list[list[str]]:
    """Medians of milliseconds; instructions are those of Linux to Linux."""
    rows = [["blackout, ms: from the last bus-master clear", *map(str, each), f"{PAIRS[1]}, k instructions"]]
    for name in STEPS:
        ms = (f"{median(steps[name] for steps in runs):.1f}" for runs in each.values())
        rows.append([f"  {name}", *ms, f"{instructions[name] / 1000:.0f}"])
    totals = [[total(steps) for steps in runs] for runs in each.values()]
    rows.append(["all of it", *(f"{median(ms):.1f}" for ms in totals), f"{sum(instructions.values()) / 1000:.0f}"])
    return [*rows, ["least to most", *(f"{min(ms):.1f} to {max(ms):.1f}" for ms in totals), ""]]


# --- why Linux does more ---

# By the groups of witness/bench/config.py, from the trace of this machine. A group without a reason is shown as "not known".
WHY_OUT = {
    "command": "the port's INTx is restored; a function that no driver had enabled is not written",
    "PCI Express capability": "the port's driver disables PME, hot-plug, error reports",
    "AER capability": "the port's driver acknowledges pending errors, disables reports",
    "MSI-X capability": "the port's driver frees its interrupt",
}

WHY_IN = {
    "vendor and device ID": "early quirks scan by CF8/CFC, before memory for enumeration is available",
    "class, revision": "early quirks look for known chipsets",
    "header type, cache line, latency": "early quirks look for bridges; read again in the scan",
    "subsystem": "drivers match by it",
    "command": "decoding off and on for each BAR that is sized; INTx Disable toggled, to see whether it can be written",
    "status": "read before each walk of the capability list, one walk for each capability",
    "capability pointer": "the start of each walk",
    "BAR": "sized, by all ones, and restored: Linux may have to move it for a device plugged in later",
    "ROM BAR": "sized as well",
    "bus numbers": "early quirks follow bridges; checked, because firmware may have set none",
    "bridge windows": "written to see which exist, then resized for devices plugged in later",
    "bridge control": "master aborts are not reported during the scan; VGA routing; reset of the bus",
    "INTx line and pin": "saved for drivers; ours read it for a driver that uses INTx",
    "MSI capability": "its layout; read in walks to others",
    "MSI-X capability": "read in walks to others",
    "PM capability": "power states, and D0",
    "PCI Express capability": "type, link, payload and read sizes, error reports, slot; hot-plug interrupts off",
    "AER capability": "old errors acknowledged; read in walks to others",
    "ACS capability": "whether peers may reach each other; read in walks to others",
    "SSVID capability": "the port's subsystem; read in walks to others",
    "SATA capability": "read in walks to others",
    "vendor-specific capability": "read in walks to others: virtio has five",
    "extended space": "whether it exists, and is no alias of the first 256 bytes",
    "device-specific": "ICH9: ACPI reads and sets eight interrupt links; quirks read its port addresses",
}


def layouts(topology: Topology, found: Iterable[ConfigAccess]) -> dict[Bdf, Layout]:
    """The layout of each function, from its configuration space; of extended space from the reads in the trace."""
    answers: dict[Bdf, dict[int, int]] = {}
    for access in found:
        if access.hit and not access.write and access.size == 4 and access.offset >= 256:
            answers.setdefault(access.bdf, {}).setdefault(access.offset, access.value)
    places = {}
    for bdf, function in topology.functions.items():
        own = {offset: function.u16(offset) for offset in range(PCI_CAPABILITY_LIST, 255)}
        bridge = function.config[PCI_HEADER_TYPE] & 0x7F == PCI_HEADER_TYPE_BRIDGE
        places[bdf] = Layout(bridge, own | answers.get(bdf, {}))
    return places


def attributed(what: str, ours: Mapping[str, Counts], theirs: Mapping[str, Counts], why: Mapping[str, str]) -> list[list[str]]:
    """Each group of registers: the number of reads and writes, and why Linux makes more."""
    rows = [[what, "ours", "Linux", "bits", "why Linux does more"]]
    for group in sorted({*ours, *theirs}, key=lambda group: -theirs.get(group, Counts()).all):
        a, b = ours.get(group, Counts()), theirs.get(group, Counts())
        reason = why.get(group, "not known") if b.all > a.all else ""
        bits = "/".join(map(str, sorted({*a.widths, *b.widths})))
        rows.append([group, f"{a.reads} + {a.writes}", f"{b.reads} + {b.writes}", bits, reason])
    sums = [f"{sum(c.reads for c in side.values())} + {sum(c.writes for c in side.values())}" for side in (ours, theirs)]
    return [*rows, ["all", *sums, "", ""]]


def tables(
    counted: Counted, columns: Columns, each: Each, instructions: Mapping[str, int], build: Path
) -> list[list[list[str]]]:
    """The tables after the budgets."""
    where = layouts(counted.case.topology, [*columns.out, *columns.inward, *counted.inward])
    groups = {name: (grouped(a, where), grouped(b, where)) for name, a, b in (
        ("out", counted.out, columns.out), ("in", counted.inward, columns.inward),
    )}  # fmt: skip
    return [
        beside(counted, columns, each, instructions, build),
        medians(each, instructions),
        attributed("shutdown: all functions, reads + writes", *groups["out"], WHY_OUT),
        attributed("before any driver: all functions, reads + writes", *groups["in"], WHY_IN),
        [[f"Linux's built-in drivers, before the disk's module: {drivers(columns)}"]],
    ]


def drivers(columns: Columns) -> str:
    """The accesses of the built-in drivers."""
    functions = by_function(columns.drivers)
    reads, writes = (sum(a.hit and a.write is write for a in columns.drivers) for write in (False, True))
    return f"{reads} reads, {writes} writes, all of them to {' '.join(map(str, sorted(functions))) or 'no function'}"
