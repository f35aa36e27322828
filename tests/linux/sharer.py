# SPDX-License-Identifier: BSD-2-Clause
"""A disk that shares its line with a function that asserts it: tests/linux/guest/scripts/sharer, and what comes of the line."""

from __future__ import annotations

import re
import time
from functools import partial

from witness.lab.experiment import Value, at_least, exactly
from witness.lab.observation import at
from witness.lab.stage import Action, Stage
from witness.linux.trial import Seen
from witness.pci.registers import PCI_STATUS, PCI_STATUS_INTERRUPT
from witness.pci.topology import Bdf
from witness.trace.events import GsiLevel

GSI = 21

# kernel/irq/spurious.c: of 100000 interrupts more than so many unhandled, and the line is disabled. How often Linux counts that far
# is up to the host: it begins anew where a tenth of a second is between two of them.
NOBODY_CARED = 99900
SENTENCES = f"irq {GSI}: nobody cared", f"Disabling IRQ #{GSI}"

# It is masked when the next one comes, which Linux does not count.
MORE = 1

# Then the disk is served ten times a second (poll_spurious_irqs).
POLL_MS = 100

# Of a redirection table entry (82093AA data sheet, 3.2.4).
IOAPIC_VECTOR = 0xFF
IOAPIC_MASKED = 1 << 16

# How often QEMU is asked: the machine waits meanwhile, and so Linux may have to begin anew.
ASK_S = 0.5

# Of the script. In /sys/block/*/stat the number of them is first, the milliseconds that they took are fourth.
READS = 8
ENDED, TOOK_MS = 0, 3

# Of what the script tells twice.
BEFORE, AFTER = -2, -1


def actions(busy: Bdf, sharer: Bdf) -> dict[str, Action]:
    return {"rest": come_to_rest, "look": partial(look, (busy, sharer))}


def come_to_rest(stage: Stage) -> None:
    """Back when the line is down or masked, by QEMU's I/O APIC: the script goes on a little while it storms."""
    while True:
        told = stage.monitor("info pic")
        (entry,) = re.findall(rf"^ *pin {GSI} +0x(\w+)", told, re.MULTILINE)
        (up,) = re.findall(r"^ *IRR (.*)", told, re.MULTILINE)
        stage.note("vector", int(entry, 16) & IOAPIC_VECTOR)
        if int(entry, 16) & IOAPIC_MASKED or str(GSI) not in up.split():
            return
        time.sleep(ASK_S)


def look(functions: tuple[Bdf, ...], stage: Stage) -> None:
    """Who has an interrupt pending."""
    for bdf in functions:
        stage.note(f"{bdf} pending", bool(stage.config(bdf)[PCI_STATUS] & PCI_STATUS_INTERRUPT))


def pending(seen: Seen, *functions: Bdf) -> str:
    return ", ".join(str(bdf) for bdf in functions if seen.noted(f"{bdf} pending")) or "none"


def rises(seen: Seen, lines: range, gsi: int = GSI) -> list[GsiLevel]:
    """A function that asserts a line that is up already repeats its level."""
    return [edge for edge in seen.edges(lines) if edge.gsi == gsi and not seen.level(gsi, edge.line)]


def interrupts(seen: Seen, nth: int) -> int:
    """`21:  100001  IO-APIC  21-fasteoi  virtio1`, on one CPU."""
    return int(seen.told("interrupts", nth)[0].split()[1])


def given_up(seen: Seen, stormed: bool) -> list[Value]:
    """What Linux says of the line."""
    return [exactly(f'Linux says "{text}"', sum(text in line for line in seen.console), int(stormed)) for text in SENTENCES]


def storm(seen: Seen, lines: range, counted: int, stormed: bool, handled: int = 0) -> list[Value]:
    """What Linux says of the line, and has counted in these lines of the trace; what the I/O APIC sends there."""
    what, sent = "interrupts of the line that Linux counts", seen.messages(lines, seen.noted("vector"))
    sends = "interrupts of the line that the I/O APIC sends and Linux does not count"
    return [
        *given_up(seen, stormed),
        at_least(what, counted, NOBODY_CARED) if stormed else exactly(what, counted, handled),
        exactly(sends, len(sent) - counted, MORE if stormed else 0, at(sent)),
    ]


def reads(seen: Seen, stormed: bool, gsi: int = GSI) -> list[Value]:
    """Of the disk: all end, but where the line was given up none by interrupt."""
    before, after = stat(seen, BEFORE), stat(seen, AFTER)
    edges = rises(seen, seen.between("over", "look"), gsi)
    values = [
        exactly("then the sharer's reads that end", after[ENDED] - before[ENDED], READS),
        exactly("of these reads, ended by interrupt", interrupts(seen, AFTER) - interrupts(seen, BEFORE), 0 if stormed else READS),
        exactly("edges of the sharer's line meanwhile", len(edges), 0 if stormed else READS, at(edges)),
    ]
    if stormed:
        values.append(at_least("milliseconds that these reads take", after[TOOK_MS] - before[TOOK_MS], POLL_MS * (READS - 1)))
    return values


def stat(seen: Seen, nth: int) -> list[int]:
    return [int(number) for number in seen.told("reads", nth)[0].split()]
