# SPDX-License-Identifier: BSD-2-Clause
"""C5: the MSI handler and the INTx handler of one device run at the same time.

A vector is never in service twice on a CPU, and the 8259 has a line in service once. No such rule orders a vector against a line,
so a kernel that disables MSI under a driver whose handler is running lets a second handler of that driver begin. The claim is false
if at no moment the vector is in service in one CPU's local APIC and the line in the 8259.

The image (c05_two_cpus.c) sends edu's messages to the second CPU and its line to the first. While the second CPU is in the handler
of a first event, MSI is disabled and edu has a second event. QEMU's account of the local APIC and of the 8259 is read at that
moment. A failure is a moment without both. In the controls MSI is kept, so that the second message waits until the handler returns;
or the driver waits for its handler before MSI is disabled, so that only the line is in service.
"""

from __future__ import annotations

import re
from functools import partial
from typing import NamedTuple

from tests.claims.apic import ISR, held, kept, look
from tests.claims.measure import counted, messages_on
from witness.lab.experiment import Experiment, Role, Trial, Value, exactly
from witness.lab.machines import TWO_CPUS
from witness.lab.observation import Observation, at
from witness.lab.stage import Stage
from witness.pci.registers import Register
from witness.pci.topology import Bdf

EDU, GSI = Bdf(0, 5, 0), 21

# Of the APIC ID that a message goes to.
DESTINATION_SHIFT, DESTINATION_MASK = 12, 0xFF
SECOND_CPU = 1

# docs/specs/edu.txt of QEMU; which event is which the image decides.
EDU_IRQ_ACK = 0x64
FIRST_EVENT = 0x1

CASCADE = 2  # the line of the first 8259 that the second one has


def look_at_both(stage: Stage) -> None:
    """From outside, while whoever has an interrupt in service is held there."""
    look(stage, "lapic", str(SECOND_CPU))
    stage.kept["pic"] = stage.monitor("info pic").encode()


class Expected(NamedTuple):
    """What comes of two events, and what is seen while the handler of the second is under way, or would be."""

    messages: int
    edges: int  # of the line, and interrupts of the 8259
    vectors: int  # in service in the second CPU's local APIC
    waiting: int  # there
    lines: int  # in service in the 8259
    first: int  # how often the first event is acknowledged


def judge(expected: Expected, seen: Observation) -> list[Value]:
    """Between the points ready and end: messages, edges, interrupts, acknowledgements. At the point handlers, by QEMU's account:
    what is in service, and where."""
    lines, second = seen.between("ready", "end"), seen.mark("handlers")
    sent, edges = seen.messages(lines), seen.edges(lines)
    there = [m for m in sent if m.address >> DESTINATION_SHIFT & DESTINATION_MASK == SECOND_CPU]
    acks = [w for w in seen.writes_to(EDU, lines) if w.address & 0xFFF == EDU_IRQ_ACK and w.value & FIRST_EVENT]
    (lint0,) = re.findall(r"^LVT0\s.*$", kept(seen, "lapic"), re.MULTILINE)
    return [
        exactly("MSI on at the second event", int(messages_on(seen, EDU, Register.MSI, second.line)), int(not expected.edges)),
        counted("messages to the second CPU", there, expected.messages),
        exactly("messages elsewhere", len(sent) - len(there), 0, at(sent)),
        counted("INTx edges", edges, expected.edges),
        counted("interrupts of the 8259", seen.taken(lines), expected.edges),
        exactly("the second CPU hears the 8259", int("masked" not in lint0), 0),
        held("meanwhile: vectors in service on the second CPU", seen, "lapic", expected.vectors, ISR),
        held("meanwhile: vectors waiting there", seen, "lapic", expected.waiting),
        exactly("meanwhile: lines in service in the 8259", lines_in_service(kept(seen, "pic")), expected.lines),
        counted("the first event is acknowledged: how often", acks, expected.first),
        exactly("level of the line at the end", seen.level(GSI, lines.stop), 0),
    ]


def lines_in_service(pic: str) -> int:
    """Of both 8259s, without the line of the first that stands for the second."""
    told = dict(re.findall(r"(pic[01]): .* isr=(\w+)", pic))
    return (int(told["pic0"], 16) & ~(1 << CASCADE)).bit_count() + int(told["pic1"], 16).bit_count()


def trial(what: str, role: Role, words: str, expected: Expected) -> Trial:
    return Trial(what, role, TWO_CPUS, "c05_two_cpus", partial(judge, expected), words, {"handlers": look_at_both})


EXPERIMENT = Experiment(
    title="Disabling MSI under a driver lets its MSI and INTx handlers overlap",
    source='the patch: "if the driver does not flush MSI interrupts in the shutdown callback, MSI interrupt handler will run at '
    'the same time as the INT#x handler"',
    falsified_by="at no moment both in service, the vector in a local APIC and the line in the 8259",
    provoked_by="edu's message has a CPU in the handler; MSI is disabled, edu has another event, its line goes to another CPU",
    reading="What no driver is written for: a vector is never in service twice, and a line neither, but nothing orders the one "
    "against the other. Here both handlers take the first event for theirs. A driver that waits for its handler first is safe, "
    "and with MSI kept nobody has to.",
    trials=(
        trial("MSI disabled while its handler runs", Role.CLAIM, "lab.disable-msi", Expected(1, 1, 1, 0, 1, 2)),
        trial("MSI kept", Role.CONTROL, "", Expected(2, 0, 1, 1, 0, 1)),
        trial("MSI disabled behind its handler", Role.CONTROL, "lab.flush lab.disable-msi", Expected(1, 1, 0, 0, 1, 1)),
    ),
)
