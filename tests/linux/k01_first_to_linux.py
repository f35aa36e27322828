# SPDX-License-Identifier: BSD-2-Clause
"""K1: first hands over to Debian's kernel by the loader that starts second, with MSI and MSI-X on and I/O in flight.

The patch leaves it to the next kernel to disable MSI where it finds it. The claim is that an unmodified Linux does, before it
enables messages or bus master of any function, and that nothing of first's load disturbs it. It is false if Linux does not reach
userspace, if it warns of something that it does not warn of when firmware starts it, if a message or an asserted line of first's
devices comes before Linux has disabled their messages, or if the disk lacks first's data.

first drives the reference machine's devices, leaves requests in flight on them and jumps; userspace reports what Linux found
(tests/linux/guest/scripts/look). The same kernel on the same machine, started by firmware, is the reference for its warnings. The
trial fails if any value below differs. In the controls first disables MSI, and lines of edu stay asserted until Linux powers off;
or it shuts nothing down, and Linux takes messages for vectors that it has not assigned.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from functools import partial
from typing import Iterable, Sequence

from tests.claims.measure import counted
from tests.linux.measure import TRACE_REQUESTS, last_line, messages_of, requests_in_flight
from witness.boot.protocol import E820_DMA
from witness.judge import pattern, ram
from witness.lab.experiment import Experiment, Role, Unshown, Value, exactly
from witness.lab.observation import at
from witness.lab.stage import Stage
from witness.linux.trial import FIRST, LINUX, Boot, Seen
from witness.machine.description import REFERENCE, Machine
from witness.pci.registers import Register
from witness.pci.topology import Bdf
from witness.trace.events import MmioWrite

# With room for Linux, and a trace that has the requests of the disks.
MACHINE = replace(REFERENCE, mib=512, extra=TRACE_REQUESTS)
TWO_CPUS = replace(MACHINE, extra=(*MACHINE.extra, "-smp", "2"))
SCREEN = replace(MACHINE, devices=(*MACHINE.devices, "bochs-display,addr=2"))

# Linux's messages about clocks depend on the host's speed: with tsc=unstable none is watched, and tracing may still use the TSC.
OPTIONS = "console=tty0 console=ttyS0 tsc=unstable trace_clock=local linux.script=look"
PACE = ("tsc: ", "clocksource: ", "hrtimer: ", "hpet: Lost ", "APIC calibration ")

# Of a message for a vector that is not assigned.
NO_HANDLER = "No irq handler for vector"

# The 8259s. An image of ours masks them at its end, when it takes no more interrupts.
PIC = "pic"

# The functions whose messages first leaves on; those of which Linux uses MSI-X.
NAMES = {Register.MSI: "MSI", Register.MSIX: "MSI-X"}
MESSAGES = "00:03.0 MSI-X, 00:04.0 MSI-X, 00:05.0 MSI, 00:06.0 MSI-X, 00:09.0 MSI, 01:00.0 MSI"
MSIX = "00:03.0, 00:04.0, 00:06.0"
EDUS = 3

# Until then Linux has enabled neither bus master nor messages.
SWITCHED_OFF = "messages that Linux disables before it enables messages or bus master of any function"

# Without these Linux finds neither CPUs nor interrupts nor ECAM of the machine.
TABLES = "APIC DSDT FACP MCFG"

# /proc/iomem, and its name for memory of a type that Linux does not know.
RESOURCE = re.compile(r" *([0-9a-f]+)-([0-9a-f]+) : (.*)")
UNKNOWN = "Unknown E820 type"

# What tests/linux/guest/scripts/look paints: eight characters of 8 by 16 pixels in the corner, in colours of Linux's palette.
PAPER, INK = b"\xaa\0\0", b"\0\xaa\0"
INK_WIDTH, INK_HEIGHT = 8 * 8, 16
PICTURE = "painted.ppm"


@dataclass(frozen=True)
class Left:
    """What is on at the jump, and what it causes before Linux has disabled it."""

    masters: int = 0
    messages: str = MESSAGES
    waiting: str = "none"
    asserted: str = "none"


@dataclass(frozen=True)
class World:
    """What Linux finds."""

    pattern: str = "there"
    dma: int = 1  # ranges of memory of the type of first's DMA memory
    efi: str = "absent"
    cpus: int = 1
    screen: str = "none"


def judge(left: Left, world: World, seen: Seen) -> list[Value]:
    """What is on at the jump, where first's last line is in the log; what arrives from there until Linux has disabled the last
    message, and which registers it has written by then; and what it reports."""
    seen.need()
    case, jump = seen.case, last_line(seen)
    masters = case.history.masters(jump)
    after = case.changes(range(jump, case.end + 1))
    taken = next(c.line for c in after if c.master_set or c.msi_enabled)
    off = [c for c in after if c.msi_disabled and c.line < taken]
    window = range(jump, off[-1].line if off else taken)
    functions = case.topology.functions
    waiting, arriving = (messages_of(seen, functions, jump, part) for part in (range(masked(seen, jump), jump), window))
    edges = seen.edges(window)
    asserted = {edge.gsi for edge in edges} | up(seen, jump)
    edus = {gsi for gsi in map(case.topology.gsi, seen.functions("edu")) if gsi is not None}
    return [
        exactly("bus masters on at the jump", len(masters), left.masters),
        exactly("messages on at the jump", listed(case.history.signalling(jump)), left.messages),
        exactly(SWITCHED_OFF, listed((c.bdf, c.register) for c in off), left.messages, at(off)),
        whether("messages of first's devices pending in the local APIC at the jump", len(waiting), left.waiting, at(waiting)),
        counted("messages of first's devices from the jump until Linux has disabled them", arriving, 0),
        exactly("edu's lines asserted at the jump, or until then", lines(asserted & edus), left.asserted, at(edges)),
        exactly("of these, asserted when Linux powers off", lines(up(seen, case.end) & asserted & edus), left.asserted),
        # Where messages were off, a disk's read may assert its line, too: that depends on the host's speed.
        *([] if left.asserted != "none" else [exactly("other lines asserted", lines(asserted - edus), "none")]),
        *([] if left.masters else in_flight(seen, jump)),
        *found(world, seen),
        *warned(left, seen),
    ]


def started_cold(world: World, seen: Seen) -> list[Value]:
    """By firmware: it disables no messages, as none are on."""
    seen.need()
    taken = next(c.line for c in seen.case.history.changes if c.msi_enabled)
    off = [c for c in seen.case.changes(range(taken)) if c.msi_disabled]
    return [exactly(SWITCHED_OFF, listed((c.bdf, c.register) for c in off), "none"), *found(world, seen)]


def masked(seen: Seen, jump: int) -> int:
    """From there on the image that hands over takes no interrupts: the local APIC keeps the messages that arrive."""
    return max(write.line for write in seen.case.within(MmioWrite, range(jump)) if write.region == PIC)


def up(seen: Seen, line: int) -> set[int]:
    """PCI lines that are asserted at this place of the trace."""
    return {gsi for gsi in {edge.gsi for edge in seen.edges(range(line))} if seen.level(gsi, line)}


def whether(what: str, count: int, expected: str, evidence: str = "") -> Value:
    """Their number depends on the host's speed, whether there are any does not."""
    return exactly(what, "some" if count else "none", expected, evidence)


def listed(messages: Iterable[tuple[Bdf, Register]]) -> str:
    return ", ".join(f"{bdf} {NAMES[register]}" for bdf, register in sorted(messages, key=lambda pair: pair[0])) or "none"


def lines(gsis: Iterable[int]) -> str:
    return ", ".join(f"GSI {gsi}" for gsi in sorted(gsis)) or "none"


def in_flight(seen: Seen, jump: int) -> list[Value]:
    """When the last bus master is cleared."""
    hops = [hop for hop in seen.case.hops if jump in hop.window]
    if not hops:
        raise Unshown("first clears bus master of no function before the jump")
    edus = sorted(ram.all_in_flight(seen.case, hops[0], None), key=lambda transfer: transfer.line)
    unused = resources(seen, UNKNOWN)
    targets = [landing.addresses for transfer in edus for landing in transfer.writes]
    kept = [target for target in targets if any(target.start in r and target[-1] in r for r in unused)]
    requests = requests_in_flight(seen, hops[0].window.start)
    return [
        counted("edu's transfers in flight", edus, EDUS),
        exactly("edu's transfers into memory that Linux does not use", len(kept), EDUS),
        whether("disk requests in flight", requests, "some", f"{requests} of them"),
    ]


def found(world: World, seen: Seen) -> list[Value]:
    """As Linux reports it, and by the content of its disks."""
    disks = [disk.file(seen.run.directory).read_bytes() for disk in seen.run.machine.disks]
    values = [
        exactly("first's pattern on the disk", "absent" if pattern.check(disks[0]) else "there", world.pattern),
        exactly("disks that Linux reads correctly", len({hashlib.sha256(disk).hexdigest() for disk in disks} & digests(seen)), 2),
        exactly("functions with MSI-X, as Linux reports", msix(seen), MSIX),
        exactly("disks that have interrupted Linux", interrupting(seen), 2),
        exactly("ranges of first's DMA memory", sum(f"type {E820_DMA}" in line for line in memory_map(seen)), world.dma),
        exactly("ranges of memory that Linux does not use", len(resources(seen, UNKNOWN)), world.dma),
        exactly("ACPI tables", " ".join(table for table in sorted(seen.reported("tables")) if table in TABLES.split()), TABLES),
        exactly("EFI", "there" if "efi" in seen.reported("firmware") else "absent", world.efi),
        exactly("CPUs", len(seen.reported("interrupts")[0].split()), world.cpus),
        exactly("screen", "; ".join(filter(None, seen.reported("screens"))) or "none", world.screen),
    ]
    if world.screen != "none":
        values.append(exactly("pixels that differ from Linux's console", wrong_pixels(seen), 0))
    return values


def digests(seen: Seen) -> set[str]:
    return {line.split()[-1] for line in seen.reported("disks") if line}


def msix(seen: Seen) -> str:
    vectors = [line.split() for line in seen.reported("vectors") if line]
    return ", ".join(sorted({str(Bdf.parse(function)) for function, _, kind in vectors if kind == "msix"}))


def interrupting(seen: Seen) -> int:
    """`26:  0  1  PCI-MSI 49153-edge  virtio0-req.0`: a count for each CPU."""
    cpus, *rows = seen.reported("interrupts")
    counts = [(row.split()[-1], sum(map(int, row.split()[1:1 + len(cpus.split())]))) for row in rows if "-req." in row]
    return len({name.partition("-")[0] for name, count in counts if count})


def memory_map(seen: Seen) -> list[str]:
    """As it was handed to Linux, from its first lines."""
    return [line for line in seen.console if "BIOS-e820: " in line]


def resources(seen: Seen, name: str) -> list[range]:
    rows = [match for match in map(RESOURCE.fullmatch, seen.reported("memory")) if match]
    return [range(int(row[1], 16), int(row[2], 16) + 1) for row in rows if row[3] == name]


def warned(left: Left, seen: Seen) -> list[Value]:
    if seen.beside:
        more = sorted(warnings(seen) - warnings(seen.beside))
        return [exactly("lines of warning level or worse that a cold boot lacks", "; ".join(more) or "none", "none")]
    stray = [line for line in seen.reported("warnings") if NO_HANDLER in line]
    return [whether(f'lines that say "{NO_HANDLER}"', len(stray), left.waiting, f"{len(stray)} of them" if stray else "")]


def warnings(seen: Seen) -> set[str]:
    """Of warning level or worse, without levels, times and numbers."""
    seen.need()
    texts = [line.partition("] ")[2] for line in seen.reported("warnings") if line]
    return {re.sub(r"0x[0-9a-f]+|\d+", "#", text) for text in texts if not text.startswith(PACE)}


def take_picture(stage: Stage) -> None:
    stage.monitor(f"screendump {stage.session.ram.parent / PICTURE}")


def wrong_pixels(seen: Seen) -> int | str:
    """The picture is a PPM: `P6`, width and height, 255, then three bytes a pixel."""
    picture = seen.run.directory / PICTURE
    if not picture.is_file():
        return "no screenshot"
    _, size, _, pixels = picture.read_bytes().split(b"\n", 3)
    width, height = map(int, size.split())
    rows: Sequence[bytes] = [INK * INK_WIDTH + PAPER * (width - INK_WIDTH)] * INK_HEIGHT + [PAPER * width] * (height - INK_HEIGHT)
    wanted = b"".join(rows)
    return sum(pixels[i:i + 3] != wanted[i:i + 3] for i in range(0, len(wanted), 3))


def cold_boot(machine: Machine, world: World) -> Boot:
    cold = replace(world, pattern="absent", dma=0, efi="there")
    return Boot("cold boot", Role.CONTROL, machine, LINUX, partial(started_cold, cold), OPTIONS, {"painted": take_picture})


def hand_over(name: str, machine: Machine, through: str = "linux", world: World = World()) -> Boot:
    options = f"handoff.next={through} -- {OPTIONS}"
    check, points = partial(judge, Left(), world), {"painted": take_picture}
    return Boot(name, Role.CLAIM, machine, FIRST, check, options, points, beside=cold_boot(machine, world))


def otherwise(policy: str, left: Left) -> Boot:
    options = f"handoff.next=linux handoff.shutdown={policy} -- {OPTIONS}"
    return Boot(policy, Role.CONTROL, MACHINE, FIRST, partial(judge, left, World()), options)


EXPERIMENT = Experiment(
    title="Linux takes over from first, with MSI on and I/O in flight",
    source="the patch: MSI need not be disabled at shutdown, for the next kernel disables it where it finds it (d5dea7d95c48)",
    falsified_by="Linux does not reach userspace, or warns of something that it does not when firmware starts it; a message or an "
    "asserted line before Linux has disabled messages; a disk without first's data",
    provoked_by="first drives disks, a port and three edu, leaves requests in flight on them and jumps to Debian's kernel; the "
    "same kernel is started by firmware, and handed over to by other policies",
    reading="Linux clears each enable bit where it finds it, long before it enables messages or bus master of any function: a "
    "kernel that hands over to it need not. If it does, devices assert INTx, for good. If it leaves bus master on, Linux takes "
    "messages for vectors that it has not assigned: they came before the jump, and the local APIC has kept them. Linux gets a "
    "memory map in which the old kernel's DMA memory is reserved, the RSDP and, where there is a screen, screen_info; it runs "
    "without EFI.",
    trials=(
        hand_over("keep-msi", MACHINE),
        hand_over("keep-msi, 2 CPUs", TWO_CPUS, world=World(cpus=2)),
        hand_over("keep-msi, a screen, second between", SCREEN, "second,linux", World(screen="0 EFI VGA")),
        otherwise("disable-msi", Left(messages="none", asserted="GSI 21, GSI 22")),
        otherwise("none", Left(masters=10, waiting="some")),
        cold_boot(MACHINE, World()),
    ),
)
