# SPDX-License-Identifier: BSD-2-Clause
"""C1: a cleared bus master suppresses MSI and MSI-X."""

from __future__ import annotations

from tests.claims.devices import AHCI, E1000E, EDU, PORT, Device
from tests.claims.steps import ACK, CLEAR, MSI, MSIX, RAISE, SET, trial
from witness.lab.experiment import Experiment, Role, Trial

# virtio is not among them: QEMU's switches itself off as a whole.
SENDERS = (EDU, MSI), (E1000E, MSI), (E1000E, MSIX), (PORT, MSIX)
SENT = RAISE._replace(messages=1)


def suppressed(device: Device, by: str) -> Trial:
    """And lost: the device had its event, and its handler never ran. What comes next is sent."""
    return trial("bus master off", Role.CLAIM, device, by, CLEAR, RAISE, SET, ACK, SENT)


def sent(device: Device, by: str) -> Trial:
    return trial("bus master on", Role.CONTROL, device, by, SENT)


EXPERIMENT = Experiment(
    title="A cleared bus master suppresses MSI and MSI-X",
    source="the patch: \"MSI is a memory write and so is suppressed when bus master is cleared\"; PCIe 6.1.4, 7.5.1.1.3",
    falsified_by="a message that arrives although the sender's bus master is off, or when it is on again",
    provoked_by="edu and e1000e are told to interrupt, a port is given a command, a disk's read ends",
    reading="Bus master is the switch for messages: a kernel that clears it needs no other. What it suppresses is lost in QEMU, "
    "not late: the device believes that it has told, and who waits for the message waits for ever.",
    trials=(
        *(suppressed(*sender) for sender in SENDERS),
        trial("bus master off", Role.CLAIM, AHCI, MSI, CLEAR, RAISE, SET),
        *(sent(*sender) for sender in SENDERS),
        trial("bus master on", Role.CONTROL, AHCI, MSI, RAISE._replace(messages=8)),
    ),
)
