# SPDX-License-Identifier: BSD-2-Clause
"""One file for each kind of device, behind one protocol (model.py), and the table of them.

No code outside tests a function's kind: a new device is a file here, a row in the table, and its machine in lab/devices.py.
"""

from __future__ import annotations

from typing import Iterator, Mapping

from witness.devices.ahci import Ahci
from witness.devices.e1000e import E1000e
from witness.devices.edu import Edu
from witness.devices.model import (
    COMPARED, MEANING, VARIES, DeviceModel, Drive, Effect, Extent, Landing, Load, NetworkModel, RegisterNames, Request, Reset,
)  # fmt: skip
from witness.devices.nvme import Nvme
from witness.devices.port import Port
from witness.devices.serial import Serial
from witness.devices.virtio import VirtioBlk, VirtioNet, VirtioRng
from witness.evidence.case import Case
from witness.machine.record import Ram
from witness.pci.topology import Function
from witness.trace.events import MmioWrite

# For a region that no file here knows: the part of an address that is shown.
PAGE_MASK = 0xFFF

MODELS: list[DeviceModel] = [VirtioBlk(), VirtioNet(), VirtioRng(), Nvme(), Ahci(), E1000e(), Edu(), Serial(), Port()]


def model_of(function: Function) -> DeviceModel | None:
    """None: no image of this project has a driver for it."""
    return next((model for model in MODELS if model.matches(function)), None)


def bound(case: Case) -> list[tuple[Function, DeviceModel]]:
    """The functions for which an image of this project has a driver."""
    functions = (function for _, function in sorted(case.topology.functions.items()))
    return [(function, model) for function in functions if (model := model_of(function))]


def working(case: Case) -> list[tuple[Function, DeviceModel]]:
    """The bound functions that the driver can drive."""
    return [(function, model) for function, model in bound(case) if model.drivable(case, function)]


def effect(write: MmioWrite) -> Effect:
    """The effect of a write into a BAR, by the model that knows its register."""
    return next((effect for model in MODELS if (effect := model.effect(write)) is not Effect.OTHER), Effect.OTHER)


def register(write: MmioWrite) -> tuple[int, tuple[str, int | Mapping[int, str]] | None]:
    """The offset of the register that a write reaches; its name and the meaning of its values, where they are known."""
    model = next((model for model in MODELS if model.regions and write.region.startswith(model.regions)), None)
    offset = write.address & (model.mask if model else PAGE_MASK)
    return offset, model.registers.get(offset) if model else None


def triggers(write: MmioWrite) -> bool:
    """Whether a device may interrupt because of it."""
    return effect(write) is Effect.TRIGGER


def resets(write: MmioWrite) -> bool:
    """Whether it belongs to a reset, or to what replaces it for a device without one."""
    for model in MODELS:
        what = model.effect(write)
        if what in (Effect.RESET, Effect.DISABLE) or what is Effect.ACKNOWLEDGE and model.reset is Reset.ACKNOWLEDGE:
            return True
    return False


def not_driven(case: Case, function: Function, lines: range, ram: Ram | None, last: bool) -> list[str]:
    """The evidence of a function's driver that is missing in these lines, and in RAM where it was kept."""
    model = model_of(function)
    return list(model.not_driven(Drive(case, function, lines, ram, last, triggers))) if model else ["it has no driver"]


def requests(case: Case, function: Function, lines: range, ram: Ram | None) -> list[Request]:
    model = model_of(function)
    return model.requests(case, function, lines, ram) if model else []


def structures(case: Case, lines: range) -> Iterator[Extent]:
    """The structures of all functions."""
    for function, model in bound(case):
        yield from model.structures(case, function, lines)


__all__ = [
    "COMPARED", "MEANING", "MODELS", "VARIES", "DeviceModel", "Drive", "Effect", "Extent", "Landing", "Load", "NetworkModel",
    "RegisterNames", "Request", "Reset", "bound", "effect", "model_of", "not_driven", "register", "requests", "resets",
    "structures", "triggers", "working",
]  # fmt: skip
