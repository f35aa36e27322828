# SPDX-License-Identifier: BSD-2-Clause
"""What C3 and C4 share: their image, c03_nobody_cared.c, shuts down with one device's work in flight and a serial port on its line.

Here are its trials, what the harness does at its points, and what it keeps there. The expected results stand in the experiments.
"""

from __future__ import annotations

import re
from functools import partial

from tests.claims.devices import AHCI, BLK, BLK_2015, SHARED_EDU as EDU, Device
from witness.devices.edu import all_dmas
from witness.lab.experiment import Judge, Role, Trial
from witness.lab.machines import SHARED
from witness.lab.observation import Observation
from witness.lab.stage import Action, Stage
from witness.pci.registers import PCI_INTERRUPT_LINE, PCI_STATUS, PCI_STATUS_INTERRUPT

# irq/spurious.h, as kernel/irq/spurious.c: after so many interrupts, nearly none of them handled, the line is disabled.
NOBODY_CARED = 100000

DISABLE, KEEP = "handoff.shutdown=disable-msi", "handoff.shutdown=keep-msi"

# When work ends: before bus master is cleared, which is the last that a policy does to a function, or after it. A virtio device of
# today asserts nothing with bus master off.
BEFORE, AFTER = "before-clear", "after-clear"
ENDS = {EDU: AFTER, AHCI: AFTER, BLK: BEFORE, BLK_2015: AFTER}


def trial(name: str, role: Role, device: Device, judge: Judge, options: str, ends: str = "") -> Trial:
    """ends: the point at which the harness releases a disk's reads."""
    held: dict[str, Action] = {"driven": device.hold, ends or ENDS[device]: device.let_go} if device.disk else {}
    points = held | {"walk-on": partial(look, device)}
    return Trial(name, role, SHARED, "c03_nobody_cared", judge, f"{device.option} {options}", points)


def look(device: Device, stage: Stage) -> None:
    """At the point walk-on: Interrupt Status, the mask of the 8259, and how much of the work has ended."""
    now = stage.config(device.bdf)
    irq = now[PCI_INTERRUPT_LINE]
    (imr,) = re.findall(rf"pic{irq // 8}: irr=\w+ imr=(\w+)", stage.monitor("info pic"))
    stage.note("pending", now[PCI_STATUS] & PCI_STATUS_INTERRUPT != 0)
    stage.note("masked", int(imr, 16) >> irq % 8 & 1)
    if device.disk:
        device.count_ended(stage)
    else:
        stage.note("running", stage.busy())


def ended(device: Device, seen: Observation) -> int:
    """Requests between the points driven and walk-on."""
    if device.disk:
        return device.ended(seen)
    return len(all_dmas(seen.case, seen.between("driven", "walk-on"))) - seen.noted("running")
