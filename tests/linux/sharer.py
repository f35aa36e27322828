# SPDX-License-Identifier: BSD-2-Clause
"""What K2 and K3 share: a disk on a line that another function asserts, and Linux's own count of that line.

The disk's work is tests/linux/guest/scripts/sharer. Here are what the harness does at its points, and what is measured. The
expected results stand in the experiments.
"""

from __future__ import annotations

import re
import time
from functools import partial

from witness.lab.stage import Action, Stage
from witness.linux.trial import Seen
from witness.pci.registers import PCI_STATUS, PCI_STATUS_INTERRUPT
from witness.pci.topology import Bdf
from witness.trace.events import GsiLevel, Msi

GSI = 21

# kernel/irq/spurious.c: the line is disabled if more than so many of 100000 interrupts are unhandled. How often Linux counts that
# far depends on the host: it starts again where a tenth of a second is between two of them.
NOBODY_CARED = 99900
SENTENCES = f"irq {GSI}: nobody cared", f"Disabling IRQ #{GSI}"

# The line is masked at the next one, which Linux does not count.
MORE = 1

# Then the disk is served ten times a second (poll_spurious_irqs).
POLL_MS = 100

# Of a redirection table entry (82093AA data sheet, 3.2.4).
IOAPIC_VECTOR = 0xFF
IOAPIC_MASKED = 1 << 16

# How often QEMU is asked: the machine waits meanwhile, and so Linux may have to start its count again.
ASK_S = 0.5

# Of the script. In /sys/block/*/stat the number of them is first, the milliseconds that they took are fourth.
READS = 8
ENDED, TOOK_MS = 0, 3

# Of the two reports of the script.
BEFORE, AFTER = -2, -1


def actions(busy: Bdf, sharer: Bdf) -> dict[str, Action]:
    return {"rest": come_to_rest, "look": partial(look, (busy, sharer))}


def come_to_rest(stage: Stage) -> None:
    """Returns when the line is low or masked, by QEMU's I/O APIC: a storm may outlast the script's step."""
    while True:
        pic = stage.monitor("info pic")
        (entry,) = re.findall(rf"^ *pin {GSI} +0x(\w+)", pic, re.MULTILINE)
        (up,) = re.findall(r"^ *IRR (.*)", pic, re.MULTILINE)
        stage.note("vector", int(entry, 16) & IOAPIC_VECTOR)
        if int(entry, 16) & IOAPIC_MASKED or str(GSI) not in up.split():
            return
        time.sleep(ASK_S)


def look(functions: tuple[Bdf, ...], stage: Stage) -> None:
    """Which of them have an interrupt pending."""
    for bdf in functions:
        stage.note(f"{bdf} pending", bool(stage.config(bdf)[PCI_STATUS] & PCI_STATUS_INTERRUPT))


def pending(seen: Seen, *functions: Bdf) -> str:
    return ", ".join(str(bdf) for bdf in functions if seen.noted(f"{bdf} pending")) or "none"


def rises(seen: Seen, lines: range, gsi: int = GSI) -> list[GsiLevel]:
    """Without repeated levels: a function that asserts a line that is high already repeats it."""
    return [edge for edge in seen.edges(lines) if edge.gsi == gsi and not seen.level(gsi, edge.line)]


def interrupts(seen: Seen, nth: int) -> int:
    """`21:  100001  IO-APIC  21-fasteoi  virtio1`, on one CPU."""
    return int(seen.reported("interrupts", nth)[0].split()[1])


def prints(seen: Seen, sentence: str) -> int:
    """How often Linux prints it."""
    return sum(sentence in line for line in seen.console)


def sent(seen: Seen, lines: range) -> list[Msi]:
    """What the I/O APIC sends for the line: messages with the vector that Linux has set."""
    return seen.messages(lines, seen.noted("vector"))


class Reads:
    """The disk's eight, after the line has come to rest."""

    def __init__(self, seen: Seen, gsi: int = GSI) -> None:
        before, after = stat(seen, BEFORE), stat(seen, AFTER)
        self.ended, self.took_ms = after[ENDED] - before[ENDED], after[TOOK_MS] - before[TOOK_MS]
        self.by_interrupt = interrupts(seen, AFTER) - interrupts(seen, BEFORE)
        self.edges = rises(seen, seen.between("over", "look"), gsi)


def stat(seen: Seen, nth: int) -> list[int]:
    return [int(number) for number in seen.reported("reads", nth)[0].split()]
