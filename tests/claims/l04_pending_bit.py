# SPDX-License-Identifier: BSD-2-Clause
"""L4: a pending bit outlives MSI-X, and is delivered to the next owner that enables it, masked or not.

A message that is masked sets a bit in the Pending Bit Array and is sent when it is unmasked (PCIe 6.1.4.5). No rule says that the
bit is cleared when MSI-X is disabled. The limit does not exist if the bit is clear after init has disabled MSI-X, or if no message
is sent when MSI-X is enabled again.

The image (l04_pending_bit.c) masks a device's MSI-X, triggers an event, disables MSI-X as init does, and enables it for another
owner: as it is, or masked with new entries as Linux does. The trial fails if the new owner gets no unexpected message. In the
control the device has no event. The cures are a reset that clears the bit, where the device has one, and to enable MSI-X for an
unused vector first.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from tests.claims.devices import BLK, NVME, PORT, Device
from tests.claims.dma import keep
from tests.claims.measure import counted, lacking, messages_on, switch
from witness.lab.experiment import Experiment, Role, Trial, Value, exactly
from witness.lab.observation import Observation
from witness.lab.stage import Action, Stage
from witness.pci.registers import PCI_MSIX_FLAGS, Register
from witness.pci.topology import Function

PCI_MSIX_PBA, PCI_MSIX_PBA_BIR = 8, 0x7

# Where the pending bits are read: after the masked event; at init; before and after MSI-X is enabled again.
ENDED, OFF, ENABLE, ENABLED = LOOKS = ("ended", "off", "enable", "enabled")


def points(device: Device, event: bool) -> dict[str, Action]:
    """A disk's reads end when they are masked; there are none without an event."""
    looks: dict[str, Action] = {name: partial(look, device, name) for name in LOOKS}
    held: dict[str, Action] = {"driven": device.hold, "masked": device.let_go} if device is BLK and event else {}
    return looks | held | {"end": keep("end")}


def look(device: Device, name: str, stage: Stage) -> None:
    """The Pending Bit Array, of no more than 32 vectors."""
    function = Function(device.bdf, stage.config(device.bdf))
    pba = function.u32(function.offsets[Register.MSIX] - PCI_MSIX_FLAGS + PCI_MSIX_PBA)
    stage.note(name, stage.register(device.bdf, pba & PCI_MSIX_PBA_BIR, pba & ~PCI_MSIX_PBA_BIR))


class Left(NamedTuple):
    """Pending bits when MSI-X is enabled again; messages before that, and then, to the old owner's vector and to the new one's."""

    pending: int = 0
    sunk: int = 0
    old: int = 0
    new: int = 0


STALE, MISPLACED = Left(pending=1, old=1), Left(pending=1, new=1)


def judge(device: Device, event: bool, left: Left, seen: Observation) -> list[Value]:
    """The bits at each look, and the messages from one to the next. A vector is the old owner's if its messages came before the
    point driven. At last a driver starts again, from the point enabled on."""
    old = {message.data for message in seen.messages(range(seen.mark("driven").line))}
    sent = seen.messages(seen.between(ENABLE, ENABLED))
    lacks = lacking(seen, device.bdf, seen.between(ENABLED, "end"), seen.ram("end"))
    return [
        counted("messages while it is masked", seen.messages(seen.between("driven", ENDED)), 0),
        pending(seen, "then", ENDED, int(event)),
        exactly("MSI-X at init", switch(messages_on(seen, device.bdf, Register.MSIX, seen.mark(OFF).line)), "off"),
        counted("messages from init until it is enabled", seen.messages(seen.between(OFF, ENABLE)), left.sunk),
        pending(seen, "when it is enabled", ENABLE, left.pending),
        counted("messages on enabling, for the old owner", [m for m in sent if m.data in old], left.old),
        counted("messages on enabling, for the new owner", [m for m in sent if m.data not in old], left.new),
        pending(seen, "afterwards", ENABLED, 0),
        exactly("what its restarted driver lacks", lacks or "nothing", "nothing"),
    ]


def pending(seen: Observation, where: str, name: str, count: int) -> Value:
    bits = seen.noted(name)
    return exactly(f"pending bits {where}", bits.bit_count(), count, f"PBA 0x{bits:x}" if bits else "")


def trial(what: str, role: Role, device: Device, left: Left, option: str = "", event: bool = True) -> Trial:
    options = " ".join(filter(None, (device.option, option, "" if event else "lab.no-event")))
    check = partial(judge, device, event, left)
    return Trial(f"{device.name}, {what}", role, device.machine, "l04_pending_bit", check, options, points(device, event))


DEVICES = BLK, NVME, PORT

UNMASKED, ENTRY = "lab.unmasked", "lab.mask=entry"

EXPERIMENT = Experiment(
    title="A pending bit outlives MSI-X; the next owner to enable it gets the message",
    source="what the patch leaves open; PCIe 6.1.4.5: a message that is masked is pending, and sent when it is unmasked",
    falsified_by="a pending bit that is cleared when MSI-X is disabled at init; no message when it is enabled again",
    provoked_by="a disk's reads, or a command of an NVMe controller or a port, end while function or entry is masked; then MSI-X "
    "is disabled, and enabled again",
    reading="Disabling MSI-X at init clears no pending bit. Enabled as it is found, it sends the old kernel's message, to the old "
    "kernel's address. Enabled masked, with every entry written before it is unmasked, it still sends it, but to the new driver's "
    "vector, and that driver has to tolerate an unexpected interrupt. A device's reset may clear the bit; where it does not, "
    "enable MSI-X for an unused vector first.",
    trials=(
        *(trial("enabled as it is", Role.CLAIM, device, STALE, UNMASKED) for device in DEVICES),
        *(trial("entry masked, enabled as it is", Role.CLAIM, device, STALE, f"{ENTRY} {UNMASKED}") for device in DEVICES),
        *(trial("enabled masked, entries written", Role.CLAIM, device, MISPLACED) for device in DEVICES),
        *(trial("reset by its driver, enabled masked", Role.CLAIM, device, MISPLACED, "lab.reset") for device in (NVME, PORT)),
        *(trial("no event, enabled as it is", Role.CONTROL, device, Left(), UNMASKED, event=False) for device in DEVICES),
        trial("reset by its driver, enabled as it is", Role.CURE, BLK, Left(), f"lab.reset {UNMASKED}"),
        trial("reset by its driver, enabled masked", Role.CURE, BLK, Left(), "lab.reset"),
        *(trial("enabled for an unused vector first", Role.CURE, device, Left(sunk=1), "lab.sink") for device in DEVICES),
    ),
)
