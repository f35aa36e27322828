# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a serial port is judged by its interrupts, by what was written to it, and by the file that took it; it may speak in the
out phase until its bus master goes; its line is its own only while its interrupts are enabled.

False if a port that sent nothing, without an interrupt, or into nowhere, passes for driven; if a word after its clear does; if a
neighbour's interrupt hides behind it. Provoked by a hand-off in which all is well, and one step of it changed at a time.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Callable

import pytest
from tests.witness.scene import BEHIND, CONTROL, EDU, Scene, Step, config_write, gsi, memory_write

from witness.devices import serial as uart
from witness.evidence.case import Case
from witness.judge.engine import Result
from witness.judge.hazards import unhandled_intx
from witness.judge.rules import judge
from witness.machine.description import SerialPort
from witness.machine.record import Run
from witness.pci.topology import Bdf
from witness.trace.events import MmioWrite, parse

PORT, SERIAL, LINE, IRQ = Bdf(0, 13, 0), SerialPort("console", 13), 21, 11  # the line is edu's, too
BASE = 0xC040
COMMAND = 4


def out(register: int, value: int) -> str:
    return memory_write("serial", BASE + register, value, 1)


def sending(text: str) -> list[str]:
    """As the driver does it, with a load for all of it."""
    up = [*gsi(LINE, 1), f"pic_interrupt irq {IRQ} intno 43", *gsi(LINE, 0)]
    return [out(1, 2), *up, *(out(0, ord(c)) for c in text), *up, out(1, 0)]


def config(command: int) -> bytes:
    space = bytearray(256)
    struct.pack_into("<HHH", space, 0, 0x1B36, 0x0002, command)
    struct.pack_into("<I", space, 0x10, BASE | 1)
    space[0x3C], space[0x3D] = IRQ, 1
    return bytes(space)


RESET = [out(3, 3), out(1, 0), out(2, 7)]
UP = [out(3, 0x83), out(0, 1), out(1, 0), out(3, 3), out(4, 0x0B)]


@dataclass
class Console:
    """A hand-off of a machine that has a serial port as well."""

    scene: Scene
    arrived: bytes = b"one bye two"

    def add(self, after: str, label: str, *lines: str) -> None:
        self.scene.steps.insert(self.scene.steps.index(self.scene.step(after)) + 1, Step(label, list(lines)))

    def tell(self) -> Console:
        self.add("power-on", "map", f"pci_update_mappings_add pci-serial {PORT} 0,0x{BASE:x}+0x8", *config_write(PORT, COMMAND, 7))
        self.add("enter-first", "first", *RESET, *UP, *sending("one"))
        self.add(f"out-{BEHIND}", "bye", *sending(" bye "))
        self.add("bye", "clear", *config_write(PORT, COMMAND, 3))
        self.add("reset", "reset-port", *RESET)
        self.add("reset-port", "second", *config_write(PORT, COMMAND, 7), *UP, *sending("two"))
        return self

    def run(self) -> Run:
        run = self.scene.run()
        SERIAL.file(run.directory).write_bytes(b"firmware's own\r\n" + self.arrived)
        entries = [replace(e, configs=e.configs | {PORT: config(c)}) for e, c in zip(run.entries, (7, 3))]
        return replace(run, entries=entries, machine=replace(run.machine, serials=(SERIAL,)))

    def verdict(self, id: str) -> tuple[Result, str]:
        return next((v.result, v.evidence) for v in judge(self.run()) if v.id == id)


@pytest.fixture
def console(scene: Scene) -> Console:
    return Console(scene).tell()


RULES = ("out-device", "window-intx", "window-device", "startup", "reset", "upstream", "driven-first", "driven-next")


@pytest.mark.parametrize("id", RULES)
def test_a_console_that_works(console: Console, id: str) -> None:
    assert console.verdict(id)[0] is Result.PASS, console.verdict(id)


def first_is_silent(c: Console) -> None:
    c.scene.replace("first", *RESET, *UP)


def first_has_no_interrupt(c: Console) -> None:
    c.scene.replace("first", *(line for line in c.scene.step("first").lines if "pic_interrupt" not in line))


def first_sends_into_nowhere(c: Console) -> None:
    c.arrived = b"on bye two"


def second_is_silent(c: Console) -> None:
    c.scene.replace("second", *config_write(PORT, COMMAND, 7), *UP)


def second_sends_into_nowhere(c: Console) -> None:
    c.arrived = b"one bye "


def speaks_after_its_clear(c: Console) -> None:
    c.add("clear", "late", out(0, 0x21))


def writes_to_another(c: Console) -> None:
    c.add("bye", "other", memory_write("edu-mmio", 0xC0100000, 1, 4))


def speaks_in_the_window(c: Console) -> None:
    c.add("reset-port", "early", out(0, 0x21))


def is_not_reset(c: Console) -> None:
    c.scene.drop("reset-port")


def is_quieted_and_no_more(c: Console) -> None:
    c.scene.replace("reset-port", *RESET[:2])


def is_reset_too_late(c: Console) -> None:
    c.scene.replace("reset-port", *RESET[:2])
    c.scene.step("second").lines[2:2] = RESET


def speaks_before_its_reset(c: Console) -> None:
    c.add("reset", "early", out(0, 0x21))


@pytest.mark.parametrize(
    "change, id",
    [
        (first_is_silent, "driven-first"),
        (first_has_no_interrupt, "driven-first"),
        (first_sends_into_nowhere, "driven-first"),
        (second_is_silent, "driven-next"),
        (second_sends_into_nowhere, "driven-next"),
        (speaks_after_its_clear, "out-device"),
        (writes_to_another, "out-device"),
        (speaks_in_the_window, "window-device"),
        (is_not_reset, "reset"),
        (is_quieted_and_no_more, "reset"),
        (is_reset_too_late, "reset"),
        (speaks_before_its_reset, "reset"),
    ],
)
def test_one_that_does_not(console: Console, change: Callable[[Console], None], id: str) -> None:
    change(console)
    assert console.verdict(id)[0] is Result.FAIL


@pytest.mark.parametrize("enabled, hidden", [(False, False), (True, True)])
def test_a_line_that_a_neighbour_holds(console: Console, enabled: bool, hidden: bool) -> None:
    """It rises while the console has its owner again, and edu none yet. A console that may interrupt is one of those that could."""
    edu_may = [*config_write(EDU, CONTROL, 0x80), *config_write(EDU, COMMAND, 3)]
    console.scene.before_step(f"master-{EDU}", *edu_may, out(1, 2 * enabled), *gsi(LINE, 1))
    case = Case(console.run())
    assert bool(unhandled_intx(case, case.hops[0])) != hidden


def test_what_was_sent() -> None:
    writes = [event for event in parse([*UP, *sending("text")]) if isinstance(event, MmioWrite)]
    assert uart.sent(writes) == b"text"
    assert not uart.interrupt_enabled(writes)
    assert uart.interrupt_enabled(writes[:6])
    divisor = [event for event in parse([out(1, 0), out(3, 0x80), out(1, 2)]) if isinstance(event, MmioWrite)]
    assert not uart.interrupt_enabled(divisor)


def test_a_record_remembers_it(console: Console) -> None:
    run = console.run()
    run.save()
    assert Run.load(run.directory).machine.serials == (SERIAL,)
