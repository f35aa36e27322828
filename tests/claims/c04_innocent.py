# SPDX-License-Identifier: BSD-2-Clause
"""C4: a device that shares the line loses its interrupt, and with it the last text of its shutdown callback.

A kernel that disables a line disables it for every device on it. The claim is false if a serial port, on the line of a device whose
MSI was disabled with work in flight, can still send its text by interrupt in its shutdown callback.

The image is that of C3 (c03_nobody_cared.c): the device with the work has the higher slot, so that the walk shuts it down first,
and its storm is over before the serial port's callback. The callback enables the transmitter's interrupt (IER.THRI), and its
handler fills the UART. The trial fails if the text arrives at the other end of the cable. In the controls MSI is kept, or the work
ends after the serial port was shut down, and the text arrives.
"""

from __future__ import annotations

from functools import partial

from tests.claims.devices import AHCI, BLK, SERIAL, SHARED_EDU as EDU
from tests.claims.measure import counted
from tests.claims.shared_line import DISABLE, KEEP, NOBODY_CARED, trial
from witness.lab.experiment import Experiment, Role, Value, exactly
from witness.lab.machines import SHARED
from witness.lab.observation import Observation, at

LINE = "c03    0000:00:05.0 serial: shutdown\r\n"  # drivers/serial/serial.c

# PC16550D data sheet
UART_TX, UART_IER = 0, 1
UART_IER_THRI = 0x02


def last_line(seen: Observation) -> str:
    """At the other end of the cable: what came after the line that the driver sent at its probe."""
    sent = SHARED.serials[0].file(seen.run.directory).read_bytes().decode("ascii")
    return sent.partition("\n")[2]


def judge(before: int, line: str, after: int | None, seen: Observation) -> list[Value]:
    """Interrupts on the line before the serial port's callback, between the points walk-on and walked; what the callback sends; and
    with after, the interrupts after it."""
    callback = seen.between("walk-on", "walked")
    writes, taken = seen.writes_to(SERIAL.bdf, callback), seen.taken(callback)
    enables = [write for write in writes if write.address & 7 == UART_IER and write.value & UART_IER_THRI]
    values = [
        counted("interrupts on the line before", seen.taken(seen.between("armed", "walk-on")), before),
        counted("the callback enables its interrupt", enables, 1),
        exactly("interrupts on the line meanwhile", "some" if taken else "none", "some" if line else "none", at(taken)),
        counted("bytes written to the UART", [write for write in writes if write.address & 7 == UART_TX], len(line)),
        exactly("last line at the other end", last_line(seen).rstrip() or "none", line.rstrip() or "none"),
    ]
    if after is not None:
        values.append(counted("interrupts on the line afterwards", seen.taken(seen.between("walked", "end")), after))
    return values


LOST, KEPT = partial(judge, NOBODY_CARED, "", None), partial(judge, 0, LINE, None)
JUST_IN_TIME = partial(judge, 0, LINE, NOBODY_CARED)

CULPRITS = (EDU, AHCI, BLK)

EXPERIMENT = Experiment(
    title="The storm takes a neighbour's interrupt from its shutdown callback",
    source="the patch: \"might in theory cause other problems, e.g. if the irq being disabled is shared with another device that "
    "attempts to use it in its shutdown callback\"",
    falsified_by="the serial port's last line arrives, although a neighbour's MSI was disabled with work in flight",
    provoked_by="the neighbour has the higher slot, so it is shut down first; its work ends before the serial port's callback",
    reading="Disabling a device's MSI takes the line from unrelated devices. On one CPU there is no race: while the line storms "
    "hardly anything but its handlers runs, and what runs next finds it disabled.",
    trials=(
        *(trial(f"serial, {load.name}'s MSI disabled", Role.CLAIM, load, LOST, DISABLE) for load in CULPRITS),
        *(trial(f"serial, {load.name}'s MSI kept", Role.CONTROL, load, KEPT, KEEP) for load in CULPRITS),
        trial("serial, ich9-ahci's MSI disabled, but its work ends later", Role.CONTROL, AHCI, JUST_IN_TIME, DISABLE, "walked"),
    ),
)
