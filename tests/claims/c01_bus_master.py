# SPDX-License-Identifier: BSD-2-Clause
"""C1: a cleared bus master suppresses MSI and MSI-X.

A message is a memory write, and a function whose Bus Master Enable is 0 must not write to memory. The claim is false if a message
arrives while the sender's bit is 0, or if QEMU only delays it and it arrives when the bit is 1 again.

The image (steps.c) triggers an event on one device with its bus master off, sets bus master, acknowledges the event, and triggers
another. The trial fails if a message arrives in a step that must have none, or if none arrives in the last step: a device that
never sends shows nothing. In the control bus master stays on, and the same event sends a message.
"""

from __future__ import annotations

from functools import partial
from typing import Sequence

from tests.claims.devices import AHCI, E1000E, EDU, PORT, Device
from tests.claims.measure import counted, master_on
from tests.claims.steps import ACK, CLEAR, MSI, MSIX, RAISE, SET, Step, events, parts, requests, trial
from witness.lab.experiment import Experiment, Role, Trial, Value, exactly
from witness.lab.observation import Observation

# Without virtio: QEMU's is off as a whole when its bus master is.
SENDERS = (EDU, MSI), (E1000E, MSI), (E1000E, MSIX), (PORT, MSIX)

# A step, and how many messages arrive from its point to the next.
Sends = tuple[Step, int]


def judge(device: Device, sends: Sequence[Sends], seen: Observation) -> list[Value]:
    """The messages of each step; first, that the step did to the device and its bus master what its name says."""
    found, master, values = parts(seen, [step for step, _ in sends]), True, []
    for (step, messages), part in zip(sends, found):
        master = {CLEAR: False, SET: True}.get(step, master)
        if step is RAISE:
            values.append(exactly(f"{part.text}: how often", events(seen, device, part.lines), requests(device, master)))
        if step in (CLEAR, SET, RAISE):
            values.append(exactly(f"{part.text}: bus master", int(master_on(seen, device.bdf, part.lines.stop)), int(master)))
        values.append(counted(f"{part.text}: messages", seen.messages(part.lines), messages))
    return [*values, counted("INTx edges in total", seen.edges(range(found[0].lines.start, found[-1].lines.stop)), 0)]


def in_steps(what: str, role: Role, device: Device, by: str, *expected: Sends) -> Trial:
    return trial(what, role, device, by, [step for step, _ in expected], partial(judge, device, expected))


def suppressed(device: Device, by: str) -> Trial:
    """And lost: the device had its event, and its handler never ran. The next message is sent."""
    return in_steps("bus master off", Role.CLAIM, device, by, (CLEAR, 0), (RAISE, 0), (SET, 0), (ACK, 0), (RAISE, 1))


EXPERIMENT = Experiment(
    title="A cleared bus master suppresses MSI and MSI-X",
    source="the patch: \"MSI is a memory write and so is suppressed when bus master is cleared\"; PCIe 6.1.4, 7.5.1.1.3",
    falsified_by="a message that arrives while the sender's bus master is off, or when it is on again",
    provoked_by="edu and e1000e raise an interrupt on request, a port completes a command, a disk's read ends",
    reading="Bus master is the switch for messages: a kernel that clears it needs no other. A suppressed message is lost in QEMU, "
    "not delayed: the device assumes that it was sent, and a driver that waits for it waits for ever.",
    trials=(
        *(suppressed(*sender) for sender in SENDERS),
        in_steps("bus master off", Role.CLAIM, AHCI, MSI, (CLEAR, 0), (RAISE, 0), (SET, 0)),
        *(in_steps("bus master on", Role.CONTROL, *sender, (RAISE, 1)) for sender in SENDERS),
        in_steps("bus master on", Role.CONTROL, AHCI, MSI, (RAISE, 8)),
    ),
)
