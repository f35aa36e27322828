# SPDX-License-Identifier: BSD-2-Clause
"""C2: clearing bus master neither suppresses INTx nor lowers a line that is asserted."""

from __future__ import annotations

from tests.claims.devices import AHCI, BLK, BLK_2015, E1000E, EDU, SERIAL, Device
from tests.claims.steps import CLEAR, DISABLE, ENABLE, INTX, RAISE, TAKE, trial
from witness.lab.experiment import Experiment, Role, Trial

UP = RAISE._replace(line=1)
STAYS_UP = CLEAR._replace(line=1)
HIDDEN = RAISE._replace(pending=1)
LOWERED = DISABLE._replace(pending=1)
UP_AGAIN = ENABLE._replace(line=1, pending=1)

DEVICES = (EDU, E1000E, SERIAL, AHCI, BLK_2015)


def rises(device: Device) -> Trial:
    return trial("bus master off, then raised", Role.CLAIM, device, INTX, CLEAR, UP, TAKE)


def stays(device: Device) -> Trial:
    return trial("raised, then bus master off", Role.CLAIM, device, INTX, UP, STAYS_UP, TAKE)


def suppressed(device: Device) -> Trial:
    return trial("INTx Disable, then raised", Role.CONTROL, device, INTX, DISABLE, HIDDEN, UP_AGAIN, TAKE)


def lowered(device: Device) -> Trial:
    return trial("raised, then INTx Disable", Role.CONTROL, device, INTX, UP, LOWERED, UP_AGAIN, TAKE)


EXPERIMENT = Experiment(
    title="Clearing bus master neither suppresses INTx nor lowers an asserted line",
    source="the patch: \"unlike MSI, INT#x interrupts are not suppressed by clearing bus mastering\"; PCIe 6.1.2, 7.5.1.1.3",
    falsified_by="a line that does not rise although its device has an event, or that falls when bus master is cleared",
    provoked_by="edu, e1000e and a UART are told to interrupt, a disk's reads end, each before and after bus master is cleared",
    reading="INTx is no memory request (on PCIe it is a message of its own kind), so bus master says nothing about it. What "
    "silences it is INTx Disable, and that only hides the event: Interrupt Status keeps it, and the line rises again when the bit "
    "goes. virtio is QEMU's exception since 5.0: without bus master the device is off as a whole and asserts nothing new; a line "
    "that was up stays up there, too.",
    trials=(
        *(rises(device) for device in DEVICES),
        *(stays(device) for device in (*DEVICES, BLK)),
        *(suppressed(device) for device in DEVICES),
        *(lowered(device) for device in DEVICES),
        trial("bus master off, then raised", Role.CONTROL, BLK, INTX, CLEAR, RAISE, TAKE),
    ),
)
