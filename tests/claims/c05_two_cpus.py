# SPDX-License-Identifier: BSD-2-Clause
"""C5: the MSI handler and the INTx handler of one device run at the same time."""

from __future__ import annotations

import re
from functools import partial
from typing import NamedTuple

from tests.claims.apic import IRR, ISR, vectors
from witness.lab.experiment import Experiment, Role, Trial, Value, exactly
from witness.lab.machines import TWO_CPUS
from witness.lab.observation import Observation, at
from witness.lab.stage import Stage
from witness.pci.registers import ENABLE, Register
from witness.pci.topology import Bdf

EDU, GSI = Bdf(0, 5, 0), 21

# Of the APIC ID that a message goes to.
DESTINATION_SHIFT, DESTINATION_MASK = 12, 0xFF
SECOND_CPU = 1

# docs/specs/edu.txt of QEMU; which event is which the image decides.
EDU_IRQ_ACK = 0x64
FIRST_EVENT = 0x1

CASCADE = 2  # the line of the first 8259 that the second one has


def look(stage: Stage) -> None:
    """From outside, while whoever has an interrupt in service is held there."""
    stage.kept["lapic"] = stage.monitor(f"info lapic {SECOND_CPU}").encode()
    stage.kept["pic"] = stage.monitor("info pic").encode()


class Expected(NamedTuple):
    """What comes of two events, and what is seen while the handler of the second is under way, or would be."""

    messages: int
    edges: int  # of the line, and interrupts of the 8259
    vectors: int  # in service in the second CPU's local APIC
    waiting: int  # there
    lines: int  # in service in the 8259
    first: int  # how often the first event is acknowledged


def judged(expected: Expected, seen: Observation) -> list[Value]:
    lines, second = seen.between("ready", "end"), seen.mark("handlers")
    sent, edges, taken = seen.messages(lines), seen.edges(lines), seen.taken(lines)
    there = [m for m in sent if m.address >> DESTINATION_SHIFT & DESTINATION_MASK == SECOND_CPU]
    acks = [w for w in seen.writes_to(EDU, lines) if w.address & 0xFFF == EDU_IRQ_ACK and w.value & FIRST_EVENT]
    lapic, pic = (seen.kept[name].decode() for name in ("lapic", "pic"))
    (lint0,) = re.findall(r"^LVT0\s.*$", lapic, re.MULTILINE)
    served = [int(text, 16) & ~(1 << CASCADE) for text in re.findall(r"pic0: .* isr=(\w+)", pic)]
    served += [int(text, 16) for text in re.findall(r"pic1: .* isr=(\w+)", pic)]
    on = seen.register(EDU, Register.MSI, second.line) & ENABLE[Register.MSI] != 0
    return [
        exactly("MSI on at the second event", int(on), int(not expected.edges)),
        exactly("messages to the second CPU", len(there), expected.messages, at(there)),
        exactly("messages elsewhere", len(sent) - len(there), 0, at(sent)),
        exactly("INTx edges", len(edges), expected.edges, at(edges)),
        exactly("interrupts of the 8259", len(taken), expected.edges, at(taken)),
        exactly("the second CPU hears the 8259", int("masked" not in lint0), 0),
        exactly("meanwhile: vectors in service on the second CPU", len(vectors(seen, "lapic", ISR)), expected.vectors),
        exactly("meanwhile: vectors waiting there", len(vectors(seen, "lapic", IRR)), expected.waiting),
        exactly("meanwhile: lines in service in the 8259", sum(isr.bit_count() for isr in served), expected.lines),
        exactly("the first event is acknowledged: how often", len(acks), expected.first, at(acks)),
        exactly("level of the line at the end", seen.level(GSI, lines.stop), 0),
    ]


def trial(what: str, role: Role, words: str, expected: Expected) -> Trial:
    return Trial(what, role, TWO_CPUS, "c05_two_cpus", partial(judged, expected), words, {"handlers": look})


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
