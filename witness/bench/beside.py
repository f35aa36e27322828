# SPDX-License-Identifier: BSD-2-Clause
"""Ours beside Linux's: ratios, where the time goes, and which registers Linux asks more about than we do, and why."""

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

# The blackout, ours against Linux's: what is asked for, and what is aimed at.
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
    """Ours, Linux's, and how many times ours Linux's is."""
    functions = counted.functions
    rows = [["beside Linux", "ours", "Linux", "ratio"]]

    def accesses_row(what: str, ours: Iterable[ConfigAccess], theirs: Iterable[ConfigAccess], write: bool) -> None:
        a, b = (sum(access.hit and access.write is write for access in found) / functions for found in (ours, theirs))
        rows.append([what, f"{a:.3g}", f"{b:.3g}", ratio(a, b)])

    for name, write in (("reads", False), ("writes", True)):
        accesses_row(f"shutdown: config {name} a function", counted.out, columns.out, write)
    for name, write in (("reads", False), ("writes", True)):
        accesses_row(f"enumeration, before any driver: config {name} a function", counted.inward, columns.inward, write)
    nobody = [sum(not access.hit for access in found) for found in (counted.inward, columns.inward)]
    rows.append(["enumeration: accesses that nobody answers", *map(str, nobody), ratio(*nobody)])
    for what, measure in (("blackout, to MSI-X off: ms", to_msix_off), ("blackout, to the first MSI-X I/O: ms", total)):
        a, b = (median(map(measure, each[pair])) for pair in PAIRS[:2])
        rows.append([what, f"{a:.1f}", f"{b:.0f}", ratio(a, b)])
    # An I/O takes as many as its host lets pass: it is left out. Linux's end at the disk's bus master, ours at DRIVER_OK.
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

# By the groups of witness/bench/config.py, as seen in the trace of this machine. A group without a reason is told as such.
WHY_OUT = {
    "command": "the port's INTx is put back; it is left alone where no driver had enabled the function",
    "PCI Express capability": "the port's driver stops listening: PME, hot-plug, errors",
    "AER capability": "the port's driver stops listening: pending errors acknowledged, reports off",
    "MSI-X capability": "the port's driver gives its interrupt back",
}

WHY_IN = {
    "vendor and device ID": "early quirks look by CF8/CFC first, before there is memory to enumerate with",
    "class, revision": "early quirks look for known chipsets",
    "header type, cache line, latency": "early quirks look for bridges; asked again in the scan",
    "subsystem": "drivers match by it",
    "command": "decoding off and on for each BAR that is sized; INTx Disable flipped and put back, to see if it can be",
    "status": "asked before each walk along the capabilities, which are looked for one by one",
    "capability pointer": "where each walk begins",
    "BAR": "sized, by all ones, and put back: Linux may have to move it for what is plugged in later",
    "ROM BAR": "sized as well",
    "bus numbers": "early quirks follow bridges; checked, should firmware have left none",
    "bridge windows": "written to see which there are, then given room for what is plugged in behind",
    "bridge control": "master aborts are not reported during the scan; VGA routing; reset of the bus",
    "INTx line and pin": "kept for drivers, for whom ours ask when one interrupts by it",
    "MSI capability": "its layout; passed on walks to others",
    "MSI-X capability": "passed on walks to others",
    "PM capability": "power states, and D0",
    "PCI Express capability": "type, link, payload and read sizes, error reports, slot; hot-plug interrupts off",
    "AER capability": "errors of before acknowledged; passed on walks to others",
    "ACS capability": "whether peers may reach each other; passed on walks to others",
    "SSVID capability": "the port's subsystem; passed on walks to others",
    "SATA capability": "passed on walks to others",
    "vendor-specific capability": "passed on walks to others: virtio has five",
    "extended space": "whether there is any, and it is not the first 256 bytes again",
    "device-specific": "ICH9: ACPI asks for eight interrupt links and sets them; quirks ask where its ports lie",
}


def layouts(topology: Topology, found: Iterable[ConfigAccess]) -> dict[Bdf, Layout]:
    """Of each function, from its own configuration space; the extended one from what it answered to whoever asked."""
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
    """Each group of registers: how often it is read and written, and why Linux does it more often than we do."""
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
    """What is printed behind the budgets."""
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
    """What the built-in drivers add, which ours do not drive so."""
    functions = by_function(columns.drivers)
    reads, writes = (sum(a.hit and a.write is write for a in columns.drivers) for write in (False, True))
    return f"{reads} reads, {writes} writes, all of them to {' '.join(map(str, sorted(functions))) or 'nobody'}"
