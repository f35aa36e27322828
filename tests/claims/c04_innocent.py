# SPDX-License-Identifier: BSD-2-Clause
"""C4: a device that shares the line loses its interrupt, and what it had to say in its shutdown callback."""

from __future__ import annotations

from tests.claims.c03_nobody_cared import DISABLE, KEEP, NOBODY_CARED, trial
from tests.claims.devices import AHCI, BLK, SERIAL, SHARED_EDU as EDU
from witness.lab.experiment import Experiment, Judge, Role, Value, exactly
from witness.lab.machines import SHARED
from witness.lab.observation import Observation, at

LINE = "c03    0000:00:05.0 serial: shutdown\r\n"  # drivers/serial/serial.c

# PC16550D data sheet
UART_TX, UART_IER = 0, 1
UART_IER_THRI = 0x02


def last_line(seen: Observation) -> str:
    """At the other end of the wire: what came behind the line that the driver sent when it was brought up."""
    sent = SHARED.serials[0].file(seen.run.directory).read_bytes().decode("ascii")
    return sent.partition("\n")[2]


def says(line: str) -> Judge:
    """What comes of the serial port's shutdown callback."""

    def judge(seen: Observation) -> list[Value]:
        callback = seen.between("walk-on", "walked")
        writes = seen.writes_to(SERIAL.bdf, callback)
        asks = [w for w in writes if w.address & 7 == UART_IER and w.value & UART_IER_THRI]
        bytes_sent = [w for w in writes if w.address & 7 == UART_TX]
        taken = seen.taken(callback)
        return [
            exactly("its callback asks for an interrupt", len(asks), 1, at(asks)),
            exactly("interrupts of the line meanwhile", "some" if taken else "none", "some" if line else "none", at(taken)),
            exactly("bytes given to the UART", len(bytes_sent), len(line), at(bytes_sent)),
            exactly("last line at the other end", last_line(seen).rstrip() or "none", line.rstrip() or "none"),
        ]

    return judge


def interrupts(what: str, seen: Observation, start: str, stop: str, expected: int) -> Value:
    taken = seen.taken(seen.between(start, stop))
    return exactly(what, len(taken), expected, at(taken))


def lost(seen: Observation) -> list[Value]:
    return [interrupts("interrupts of the line before", seen, "armed", "walk-on", NOBODY_CARED), *says("")(seen)]


def kept(seen: Observation) -> list[Value]:
    return [interrupts("interrupts of the line before", seen, "armed", "walk-on", 0), *says(LINE)(seen)]


def just_in_time(seen: Observation) -> list[Value]:
    return [*kept(seen), interrupts("interrupts of the line afterwards", seen, "walked", "end", NOBODY_CARED)]


GUILTY = (EDU, AHCI, BLK)

EXPERIMENT = Experiment(
    title="The storm takes a neighbour's interrupt from its shutdown callback",
    source="the patch: \"might in theory cause other problems, e.g. if the irq being disabled is shared with another device that "
    "attempts to use it in its shutdown callback\"",
    falsified_by="the serial port's last line at the other end, although a neighbour's MSI was disabled with work in flight",
    provoked_by="the neighbour has the higher slot, so it is shut down first; its work ends before it is the serial port's turn",
    reading="Who disables a device's MSI takes the line from devices that have nothing to do with it. On one CPU there is no race: "
    "while the line storms hardly anything but its handlers runs, and what comes next finds it given up.",
    trials=(
        *(trial(f"serial, {load.name}'s MSI disabled", Role.CLAIM, load, lost, DISABLE) for load in GUILTY),
        *(trial(f"serial, {load.name}'s MSI kept", Role.CONTROL, load, kept, KEEP) for load in GUILTY),
        trial("serial, ich9-ahci's MSI disabled, but its work ends later", Role.CONTROL, AHCI, just_in_time, DISABLE, "walked"),
    ),
)
