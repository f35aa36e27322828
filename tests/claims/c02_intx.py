# SPDX-License-Identifier: BSD-2-Clause
"""C2: clearing bus master neither suppresses INTx nor lowers a line that is asserted.

INTx is no memory write, so Bus Master Enable does not apply to it. The claim is false if a device that has an event with its bus
master off leaves its line low, or if a line that is high falls when bus master is cleared.

The image (steps.c) tries both orders with one device: bus master off and then the event, the event and then bus master off. The
trial fails if the line is low after either step, or if the CPU gets no interrupt from it at the end. In the control INTx Disable
takes the place of bus master: it does hold the line low, Interrupt Status keeps the event, and the line rises when the bit is
cleared.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple, Sequence

from tests.claims.devices import AHCI, BLK, BLK_2015, E1000E, EDU, SERIAL, Device
from tests.claims.measure import counted, master_on
from tests.claims.steps import CLEAR, DISABLE, ENABLE, INTX, RAISE, TAKE, Step, events, parts, requests, trial
from witness.lab.experiment import Experiment, Role, Trial, Value, exactly
from witness.lab.observation import Observation


class Then(NamedTuple):
    """The state after a step: the level of the line and, where it matters, Interrupt Status."""

    step: Step
    line: int = 0
    pending: int | None = None


RISES, STAYS_LOW, STAYS_UP = Then(RAISE, line=1), Then(RAISE), Then(CLEAR, line=1)
HIDDEN, LOWERED, RISES_AGAIN = Then(RAISE, pending=1), Then(DISABLE, pending=1), Then(ENABLE, line=1, pending=1)
CLEARED, DISABLED, SERVED = Then(CLEAR), Then(DISABLE), Then(TAKE)

DEVICES = (EDU, E1000E, SERIAL, AHCI, BLK_2015)


def judge(device: Device, expected: Sequence[Then], seen: Observation) -> list[Value]:
    """The line after each step; first, that the step did to the device and its bus master what its name says. When the CPU takes
    interrupts it takes one if the line was high, and its handler acknowledges the event."""
    found, master, line, rises, values = parts(seen, [then.step for then in expected]), True, 0, 0, []
    for then, part in zip(expected, found):
        master = master and then.step is not CLEAR
        if then.step is RAISE:
            values.append(exactly(f"{part.text}: how often", events(seen, device, part.lines), requests(device, master)))
        if then.step in (CLEAR, RAISE):
            values.append(exactly(f"{part.text}: bus master", int(master_on(seen, device.bdf, part.lines.stop)), int(master)))
        if then.step is TAKE:
            values.append(counted(f"{part.text}: how many", seen.taken(part.lines), line))
        values.append(exactly(f"{part.text}: line", seen.level(device.gsi, part.lines.stop), then.line))
        if then.pending is not None:
            values.append(exactly(f"{part.text}: Interrupt Status", part.pending, then.pending))
        rises += then.line > line
        line = then.line
    return [*values, counted("INTx edges in total", seen.edges(range(found[0].lines.start, found[-1].lines.stop)), rises)]


def in_steps(what: str, role: Role, device: Device, *expected: Then) -> Trial:
    return trial(what, role, device, INTX, [then.step for then in expected], partial(judge, device, expected))


EXPERIMENT = Experiment(
    title="Clearing bus master neither suppresses INTx nor lowers an asserted line",
    source="the patch: \"unlike MSI, INT#x interrupts are not suppressed by clearing bus mastering\"; PCIe 6.1.2, 7.5.1.1.3",
    falsified_by="a line that does not rise although its device has an event, or that falls when bus master is cleared",
    provoked_by="edu, e1000e and a UART raise an interrupt on request, a disk's reads end, each before and after bus master is "
    "cleared",
    reading="INTx is no memory request (on PCIe it is a message of its own kind), so bus master does not gate it. INTx Disable "
    "does, but only hides the event: Interrupt Status keeps it, and the line rises again when the bit is cleared. virtio is "
    "QEMU's exception since 5.0: without bus master the device is off as a whole and asserts nothing new; a line that was "
    "asserted stays so.",
    trials=(
        *(in_steps("bus master off, then raised", Role.CLAIM, device, CLEARED, RISES, SERVED) for device in DEVICES),
        *(in_steps("raised, then bus master off", Role.CLAIM, device, RISES, STAYS_UP, SERVED) for device in (*DEVICES, BLK)),
        *(in_steps("INTx Disable, then raised", Role.CONTROL, device, DISABLED, HIDDEN, RISES_AGAIN, SERVED) for device in DEVICES),
        *(in_steps("raised, then INTx Disable", Role.CONTROL, device, RISES, LOWERED, RISES_AGAIN, SERVED) for device in DEVICES),
        in_steps("bus master off, then raised", Role.CONTROL, BLK, CLEARED, STAYS_LOW, SERVED),
    ),
)
