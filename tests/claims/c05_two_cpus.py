# SPDX-License-Identifier: BSD-2-Clause
"""C5: the MSI handler and the INTx handler of one device run at the same time.

A vector is never in service twice on a CPU, and the 8259 has a line in service once. No such rule orders a vector against a line,
so a kernel that disables MSI under a driver whose handler is running lets a second handler of that driver begin. The claim is false
if at no moment the vector is in service in one CPU's local APIC and the line in the 8259.

The image (c05_two_cpus.c) sends edu's messages to the second CPU and its line to the first. While the second CPU is in the handler
of a first event, MSI is disabled and edu has a second event. At that moment QEMU reports the state of the local APIC and of the
8259. The trial fails unless both have it in service. In the controls MSI is kept, so that the second message waits until the
handler returns; or the driver waits for its handler before MSI is disabled, so that only the line is in service.
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

# docs/specs/edu.txt of QEMU; the image decides which event is which.
EDU_IRQ_ACK = 0x64
FIRST_EVENT = 0x1

CASCADE = 2  # the line of the first 8259 to which the second is connected


def look_at_both(stage: Stage) -> None:
    """From outside, while the CPUs wait in their handlers."""
    look(stage, "lapic", str(SECOND_CPU))
    stage.kept["pic"] = stage.monitor("info pic").encode()


class Expected(NamedTuple):
    """The outcome of two events, and what is seen while the handler of the second runs, or would run."""

    messages: int
    edges: int  # of the line, and interrupts of the 8259
    vectors: int  # in service in the second CPU's local APIC
    waiting: int  # there
    lines: int  # in service in the 8259
    first: int  # how often the first event is acknowledged


def judge(expected: Expected, seen: Observation) -> list[Value]:
    """Between the points ready and end: messages, edges, interrupts, acknowledgements. At the point handlers, as QEMU reports it:
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
        exactly("LINT0 of the second CPU is unmasked", int("masked" not in lint0), 0),
        held("meanwhile: vectors in service on the second CPU", seen, "lapic", expected.vectors, ISR),
        held("meanwhile: vectors waiting there", seen, "lapic", expected.waiting),
        exactly("meanwhile: lines in service in the 8259", lines_in_service(kept(seen, "pic")), expected.lines),
        counted("acknowledgements of the first event", acks, expected.first),
        exactly("level of the line at the end", seen.level(GSI, lines.stop), 0),
    ]


def lines_in_service(pic: str) -> int:
    """Of both 8259s, without the cascade."""
    isr = dict(re.findall(r"(pic[01]): .* isr=(\w+)", pic))
    return (int(isr["pic0"], 16) & ~(1 << CASCADE)).bit_count() + int(isr["pic1"], 16).bit_count()


def trial(what: str, role: Role, options: str, expected: Expected) -> Trial:
    return Trial(what, role, TWO_CPUS, "c05_two_cpus", partial(judge, expected), options, {"handlers": look_at_both})


EXPERIMENT = Experiment(
    title="Disabling MSI under a driver lets its MSI and INTx handlers overlap",
    source='the patch: "if the driver does not flush MSI interrupts in the shutdown callback, MSI interrupt handler will run at '
    'the same time as the INT#x handler"',
    falsified_by="at no moment are both in service, the vector in a local APIC and the line in the 8259",
    provoked_by="a CPU is in the handler of edu's message; MSI is disabled, edu has another event, its line interrupts another CPU",
    reading="No driver is written for this: a vector is never in service twice, nor is a line, but nothing orders one against the "
    "other. Here both handlers claim the first event. A driver that first waits for its handler is safe; with MSI kept it need "
    "not.",
    trials=(
        trial("MSI disabled while its handler runs", Role.CLAIM, "lab.disable-msi", Expected(1, 1, 1, 0, 1, 2)),
        trial("MSI kept", Role.CONTROL, "", Expected(2, 0, 1, 1, 0, 1)),
        trial("MSI disabled after its handler", Role.CONTROL, "lab.flush lab.disable-msi", Expected(1, 1, 0, 0, 1, 1)),
    ),
)
