# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a serial port is judged by its interrupts, by what was written to it, and by the file that took it; it may speak in the
out phase until its bus master goes; its line is its own only while its interrupts are enabled.

False if a port that sent nothing, without an interrupt, or into nowhere, passes for driven; if output after its clear does; if a
neighbour's interrupt is taken for its own. Provoked by a handoff in which all is well, and one step of it changed at a time.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.witness.scene import (
    BELOW, COMMAND, CONTROL, EDU, LINES,
    Change, Scene, after, all_of, cases, config_write, gsi, handoff, instead, left_out, memory_write, without,
)  # fmt: skip

from witness.devices import serial as uart
from witness.evidence.case import Case
from witness.judge.hazards import unhandled_intx
from witness.machine.description import SerialPort
from witness.machine.record import Run
from witness.pci.topology import Bdf
from witness.trace.events import MmioWrite, parse

PORT, SERIAL, (LINE, IRQ) = Bdf(0, 13, 0), SerialPort("console", 13), LINES[EDU]  # the line is edu's, too
BASE = 0xC040


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
class ConsoleScene(Scene):
    """The story of a machine that has a serial port as well."""

    arrived: bytes = b"one bye two"

    def run(self) -> Run:
        run = super().run()
        SERIAL.file(run.directory).write_bytes(b"firmware's own\r\n" + self.arrived)
        entries = [replace(e, configs=e.configs | {PORT: config(c)}) for e, c in zip(run.entries, (7, 3))]
        return replace(run, entries=entries, machine=replace(run.machine, serials=(SERIAL,)))


ON, OFF = config_write(PORT, COMMAND, 7), config_write(PORT, COMMAND, 3)


@pytest.fixture
def scene(tmp_path: Path) -> ConsoleScene:
    s = ConsoleScene(tmp_path)
    handoff(s)
    tells = f"pci 0000:{PORT} command"
    s.after_step("power-on", f"pci_update_mappings_add pci-serial {PORT} 0,0x{BASE:x}+0x8", *ON)
    s.after_step("enter-first", *RESET, *UP, *sending("one"), name="first")
    s.after_step(f"out-{BELOW}", *sending(" bye "), name="bye")
    s.after_step("bye", *OFF, name="clear", logged=f"first  {tells} 0x0007 -> 0x0003 (why)")
    s.after_step("reset", *RESET, name="reset-port")
    s.after_step("reset-port", *ON, *UP, *sending("two"), name="second", logged=f"second {tells} 0x0003 -> 0x0007 (why)")
    return s


def test_all_hold(scene: ConsoleScene) -> None:
    assert scene.failed() == set()


def arrived(text: bytes) -> Change:
    return lambda s: setattr(s, "arrived", text)


CHANGES: dict[str, dict[str, Change]] = {
    "driven-first": {
        "first is silent": instead("first", *RESET, *UP),
        "first has no interrupt": left_out("first", "pic_interrupt"),
        "first sends into nowhere": arrived(b"on bye two"),
    },
    "driven-next": {
        "second is silent": instead("second", *ON, *UP),
        "second sends into nowhere": arrived(b"one bye "),
    },
    "out-device": {
        "it speaks after its clear": after("clear", out(0, 0x21)),
        "another is written to": after("bye", memory_write("edu-mmio", 0xC0100000, 1, 4)),
    },
    "window-device": {"it speaks in the window": after("reset-port", out(0, 0x21))},
    "reset": {
        "it is not reset": without("reset-port"),
        "it is quieted and no more": instead("reset-port", *RESET[:2]),
        "it is reset too late": all_of(
            instead("reset-port", *RESET[:2]), instead("second", *ON, *RESET, *UP, *sending("two"))
        ),
    },
    "reset window-device": {"it speaks before its reset": after("reset", out(0, 0x21))},
}


@pytest.mark.parametrize("change, rules", cases(CHANGES))
def test_only_the_named_rules_object(scene: ConsoleScene, change: Change, rules: set[str]) -> None:
    change(scene)
    assert scene.failed() == rules


@pytest.mark.parametrize("enabled, hidden", [(False, False), (True, True)])
def test_a_line_that_a_neighbour_holds(scene: ConsoleScene, enabled: bool, hidden: bool) -> None:
    """It rises while the console has its owner again, and edu none yet. A console that may interrupt is one of those that could."""
    edu_may = [*config_write(EDU, CONTROL, 0x80), *config_write(EDU, COMMAND, 3)]
    scene.before_step(f"master-{EDU}", *edu_may, out(1, 2 * enabled), *gsi(LINE, 1))
    case = Case(scene.run())
    assert bool(unhandled_intx(case, case.hops[0])) != hidden


def test_what_was_sent() -> None:
    writes = [event for event in parse([*UP, *sending("text")]) if isinstance(event, MmioWrite)]
    assert uart.sent(writes) == b"text"
    assert not uart.interrupt_enabled(writes)
    assert uart.interrupt_enabled(writes[:6])
    divisor = [event for event in parse([out(1, 0), out(3, 0x80), out(1, 2)]) if isinstance(event, MmioWrite)]
    assert not uart.interrupt_enabled(divisor)


def test_a_record_remembers_it(scene: ConsoleScene) -> None:
    run = scene.run()
    run.save()
    assert Run.load(run.directory).machine.serials == (SERIAL,)
