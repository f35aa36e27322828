# SPDX-License-Identifier: BSD-2-Clause
"""The windows of a hand-off, in which a device has no owner, and what comes in them of work that was in flight.

tests/claims/out_windows.c and in_windows.c are the two kernels. edu's transfer, of 100 ms, and the generator's requests end by the
machine's clock; a disk's reads end, and a frame comes, when the harness says so.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from tests.claims import apic
from witness import devices
from witness.devices import edu
from witness.lab import machines
from witness.lab.experiment import Role, Trial, Unshown, Value, exactly
from witness.lab.observation import Observation, at
from witness.lab.stage import Stage
from witness.pci.registers import PCI_COMMAND_INTX_DISABLE, Register
from witness.report.timeline import Landed

OUT = "out_windows"  # the image


class Window(NamedTuple):
    """By the names of the places in the trace where it begins and ends; the first is its word, too."""

    start: str
    stop: str

    def __str__(self) -> str:
        return f"{self.start} to {self.stop}"


TO_JUMP, TO_INIT, TO_DRIVER = WINDOWS = Window("shutdown", "jump"), Window("jump", "init"), Window("init", "driver")


def words(shutdown: str, startup: str, window: Window, *more: str) -> str:
    return " ".join((f"handoff.shutdown={shutdown}", f"handoff.startup={startup}", f"lab.window={window.start}", *more))


def look(stage: Stage) -> None:
    """Behind the wait in the window: whether edu's transfer is over, what it brought, and what the local APIC has for whoever runs
    next.
    """
    stage.note("edu runs", stage.busy())
    apic.look(stage, "window")
    stage.keep_ram("window")


class Left(NamedTuple):
    """What edu, alone on a machine, does in a window, and whether the next kernel can use it."""

    messages: int = 0
    edges: int = 0
    size: int = 0  # bytes that its DMA brings
    failing: int = 0


INTX_DISABLE = {"set": "", "clear": "lab.intx=enabled"}


def edu_trial(what: str, role: Role, shutdown: str, startup: str, window: Window, intx_disable: str, left: Left) -> Trial:
    name = f"{what}, {window}, INTx Disable {intx_disable}"
    command_line = words(shutdown, startup, window, INTX_DISABLE[intx_disable])
    return Trial(name, role, machines.EDU, OUT, partial(_edu_left, window, intx_disable, left), command_line, {"window": look})


def _edu_left(window: Window, intx_disable: str, left: Left, seen: Observation) -> list[Value]:
    (edu,) = seen.functions("edu")
    command = seen.register(edu, Register.COMMAND, seen.mark("shutdown").line)
    return [
        exactly("INTx Disable", "set" if command & PCI_COMMAND_INTX_DISABLE else "clear", intx_disable, f"command 0x{command:04x}"),
        *let_loose(seen, window, left.messages, left.edges),
        *([_taken_along(seen, left.messages)] if window == TO_JUMP else []),
        edu_brought(seen, left.size),
        not_driven(seen, left.failing),
    ]


def let_loose(seen: Observation, window: Window, messages: int, edges: int) -> list[Value]:
    """Interrupts that came in the window that the trial is about."""
    if seen.noted("edu runs"):
        raise Unshown(f"edu's transfer does not end from {window}")
    lines, anywhere = seen.between(*window), seen.between("armed", "driver")
    sent, risen = seen.messages(lines), seen.edges(lines)
    if len(seen.messages(anywhere)) + len(seen.edges(anywhere)) > len(sent) + len(risen):
        raise Unshown(f"interrupts came that were not from {window}")
    return [exactly("messages", len(sent), messages, at(sent)), exactly("INTx edges", len(risen), edges, at(risen))]


def _taken_along(seen: Observation, vectors: int) -> Value:
    """A message that the local APIC has accepted outlives the jump."""
    found = apic.vectors(seen, "window", apic.IRR)
    return exactly("vectors that wait in the local APIC at the jump", len(found), vectors, " ".join(map(str, found)))


def edu_brought(seen: Observation, size: int, where: str = "window") -> Value:
    """By its last transfer before a point at which RAM was kept by the point's name: it brings what the one before took out."""
    lines, ram = range(seen.mark(where).line), seen.ram(where)
    out, back = ([dma for dma in edu.all_dmas(seen.case, lines) if dma.to_ram is to_ram][-1] for to_ram in (False, True))
    came = len(back.target) if ram.read(back.target) == ram.read(out.source) else 0
    if came:
        seen.landed.append(Landed(seen.mark(where).line, f"{came} bytes of {seen.case.name(back.bdf)}"))
    return exactly("bytes that edu's DMA brought", came, size, f"to 0x{back.target.start:x}" if came else "")


def not_driven(seen: Observation, count: int = 0) -> Value:
    """How many devices do not all under the next kernel that each did under the first."""
    lines, ram = seen.between("driver"), seen.run.ram_after()
    missing = {f.bdf: devices.not_driven(seen.case, f, lines, ram, last=True) for f, _ in devices.working(seen.case)}
    failing = [f"{seen.case.name(bdf)}: {', '.join(what)}" for bdf, what in missing.items() if what]
    return exactly("devices that fail the next kernel", len(failing), count, "; ".join(failing))
