# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a console that has INTx and nothing else keeps its line through a handoff that leaves MSI on, and loses it through one
that does not: its neighbours on the line, with MSI disabled, assert INTx, which no handler serves; the next kernel disables the
line, and its console stops. (PCI serial consoles are what fda78d7a0ead was merged for.)

False if a line that an image sends by interrupt is missing under keep-msi, if every one arrives under disable-msi, or if it is not
the neighbours that hold the line there. Provoked where a serial port and two edu share GSI 21, over two hops: the line that is lost
on the first is missed at the end of the second image. What arrived is read from the file of the port, the sender of an interrupt
from QEMU's trace. Each policy is the other's twin.

The first image's last line arrives under both: QEMU's UART takes no time to send, and an edu takes 100 ms to assert.
"""

from __future__ import annotations

import re

import pytest
from tests.guest.conftest import Boot, failures, log_has, results

from witness import devices
from witness.evidence.case import Case
from witness.judge.engine import Result
from witness.judge.hazards import unhandled_intx
from witness.machine.description import Machine, SerialPort
from witness.machine.record import Outcome, Run
from witness.pci.topology import Bdf
from witness.trace.events import PicInterrupt

CONSOLE = SerialPort("console", 5)  # the last of the three that is shut down
# By the machine's own clock: neither the wait of the console's driver nor the length of a storm may depend on the host's load.
ICOUNT = ("-icount", "shift=3,sleep=off")
MACHINE = Machine(serials=(CONSOLE,), devices=("edu,addr=0x9", "edu,addr=0xd"), extra=ICOUNT)
CONSOLE_AT, *NEIGHBOURS = THREE = Bdf(0, 5, 0), Bdf(0, 9, 0), Bdf(0, 13, 0)
GSI = 21

# Every line that the images send; and those that are lost under each policy.
LOGGED = re.compile(r"(first|second) +0000:00:05\.0 serial: (working|shutdown)\r\n")
SENT = [("first", "working"), ("first", "shutdown"), ("second", "working"), ("second", "shutdown"), ("second", "working")]
LOST: dict[str, list[tuple[str, str]]] = {"keep-msi": [], "disable-msi": [("second", "shutdown")]}


@pytest.fixture(scope="module", params=LOST)
def record(request: pytest.FixtureRequest, shared: Boot) -> Run:
    return shared(machine=MACHINE, cmdline=f"handoff.shutdown={request.param} handoff.next=second*2")


def loses(record: Run) -> bool:
    return bool(LOST[Case(record).shutdown])


def test_the_three_share_a_line(record: Run) -> None:
    case = Case(record)
    assert {case.topology.gsi(bdf) for bdf in THREE} == {GSI}
    assert set(THREE) <= {function.bdf for function, _ in devices.working(case)}


def test_what_arrives(record: Run) -> None:
    """Firmware uses the port as a console, too."""
    arrived = LOGGED.findall(CONSOLE.file(record.directory).read_bytes().decode("ascii", "replace"))
    assert arrived == [line for line in SENT if line not in LOST[Case(record).shutdown]]


def test_interrupts_while_second_shuts_down(record: Run) -> None:
    """The console's, where it still has its line; none, where the line was disabled."""
    case = Case(record)
    irq = case.topology.functions[CONSOLE_AT].interrupt_line
    assert loses(record) != any(event.irq == irq for event in case.within(PicInterrupt, case.hops[1].out))


def test_neighbours_hold_the_line(record: Run) -> None:
    """A hundred thousand times, and never the console: its interrupts are only on while it sends."""
    case = Case(record)
    found = [hazard for hazard in unhandled_intx(case, case.hops[0]) if hazard.gsi == GSI]
    assert bool(found) == loses(record)
    for hazard in found:
        assert hazard.suspects == tuple(case.name(bdf) for bdf in NEIGHBOURS)
    assert not found or max(hazard.delivered for hazard in found) >= 100_000


def test_what_the_images_log(record: Run) -> None:
    lost = loses(record)
    assert record.outcome is (Outcome.FAIL if lost else Outcome.PASS), record.detail
    assert log_has(record, "second irq 10: nobody cared") == lost
    assert log_has(record, "second 0000:00:05.0 serial: no line sent by interrupt within 100 ms, 0 of 38") == lost
    assert not log_has(record, "first  0000:00:05.0 serial: no line")


def test_what_the_verdicts_are(record: Run) -> None:
    if not loses(record):
        assert not failures(record)
        return
    found = results(record)
    assert found["window-intx"] is found["driven-next"] is Result.FAIL
    assert found["driven-first"] is found["out-device"] is found["startup"] is found["window-device"] is Result.PASS
