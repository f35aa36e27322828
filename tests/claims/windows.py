# SPDX-License-Identifier: BSD-2-Clause
"""What C7 to C10 and L5 share: out_windows.c hands over to in_windows.c, and what a device had in flight ends in one window.

A window is a part of the handoff in which a device has no driver. edu's transfer, of 100 ms, and the generator's requests end by
the machine's clock while the image waits in the window; a disk's reads end, and a frame arrives, when the harness releases them
there. Here are the windows, what the harness looks at, and what is measured. The expected results stand in the experiments.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.claims import apic
from tests.claims.dma import show
from tests.claims.measure import lacking
from witness.devices import working
from witness.devices.edu import all_dmas
from witness.lab import machines
from witness.lab.experiment import Judge, Role, Trial, Unshown, Value, exactly
from witness.lab.observation import Observation
from witness.lab.stage import Stage
from witness.pci.registers import PCI_COMMAND_INTX_DISABLE, Register

OUT = "out_windows"  # the image


class Window(NamedTuple):
    """By the names of the places in the trace where it begins and ends; the first is its option, too."""

    start: str
    stop: str

    def __str__(self) -> str:
        return f"{self.start} to {self.stop}"


TO_JUMP, TO_INIT, TO_DRIVER = WINDOWS = Window("shutdown", "jump"), Window("jump", "init"), Window("init", "driver")

# How the old kernel leaves edu's, and the option for that.
INTX_DISABLE = {"set": "", "clear": "lab.intx=enabled"}


def options(shutdown: str, startup: str, window: Window, *more: str) -> str:
    return " ".join((f"handoff.shutdown={shutdown}", f"handoff.startup={startup}", f"lab.window={window.start}", *more))


def edu_trial(what: str, role: Role, shutdown: str, startup: str, window: Window, intx: str, judge: Judge) -> Trial:
    """edu alone on a machine."""
    name = f"{what}, {window}, INTx Disable {intx}"
    return Trial(name, role, machines.EDU, OUT, judge, options(shutdown, startup, window, INTX_DISABLE[intx]), {"window": look})


def look(stage: Stage) -> None:
    """After the wait in the window: whether edu's transfer is over, what it wrote, and what is pending in the local APIC."""
    stage.note("edu runs", stage.busy())
    apic.look(stage, "window")
    stage.keep_ram("window")


# --- what is measured ---


def lines_of(window: Window, seen: Observation) -> range:
    """The trace of the window, if it all happened there: edu's transfer ends there, and no interrupt comes outside of it."""
    if seen.noted("edu runs"):
        raise Unshown(f"edu's transfer does not end from {window}")
    lines, anywhere = seen.between(*window), seen.between("armed", "driver")
    if len(seen.messages(lines)) + len(seen.edges(lines)) < len(seen.messages(anywhere)) + len(seen.edges(anywhere)):
        raise Unshown(f"interrupts came that were not from {window}")
    return lines


def intx_disable(seen: Observation) -> str:
    """Of edu, as the old kernel leaves it."""
    (edu,) = seen.functions("edu")
    command = seen.register(edu, Register.COMMAND, seen.mark("shutdown").line)
    return "set" if command & PCI_COMMAND_INTX_DISABLE else "clear"


def edu_wrote(seen: Observation, point: str = "window") -> range:
    """Of the RAM that was kept at a point, the bytes that edu's last transfer wrote: those that the transfer before had read."""
    dmas, ram = all_dmas(seen.case, range(seen.mark(point).line)), seen.ram(point)
    out, back = ([dma for dma in dmas if dma.to_ram is to_ram][-1] for to_ram in (False, True))
    if ram.read(back.target) != ram.read(out.source):
        return range(0)
    show(seen, point, back.target, f" of {seen.case.name(back.bdf)}")
    return back.target


def failing(seen: Observation, expected: int) -> Value:
    """How many devices do not work under the next kernel as they did under the first; the evidence is what they lack."""
    lines, ram = seen.between("driver"), seen.run.ram_after()
    missing = {f.bdf: lacking(seen, f.bdf, lines, ram) for f, _ in working(seen.case)}
    found = [f"{seen.case.name(bdf)}: {what}" for bdf, what in missing.items() if what]
    return exactly("devices that fail under the next kernel", len(found), expected, "; ".join(found))
