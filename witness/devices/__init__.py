# SPDX-License-Identifier: BSD-2-Clause
"""One file a kind of device, behind one protocol (model.py), and the table of them.

Nobody outside asks of which kind a function is: a new device is a file here, a row in the table, and its machine in lab/devices.py.
"""

from __future__ import annotations

from typing import Iterator, Mapping

from witness.devices.ahci import Ahci
from witness.devices.e1000e import E1000e
from witness.devices.edu import Edu
from witness.devices.model import (
    BESIDE, NOWHERE, TELLING, DeviceModel, Drive, Effect, Extent, Landing, Load, NetworkModel, RegisterNames, Request, Reset,
)  # fmt: skip
from witness.devices.nvme import Nvme
from witness.devices.port import Port
from witness.devices.serial import Serial
from witness.devices.virtio import VirtioBlk, VirtioNet, VirtioRng
from witness.evidence.case import Case
from witness.machine.record import Ram
from witness.pci.topology import Function
from witness.trace.events import MmioWrite

# Of an address in a region that no file here knows: the offset that is shown.
PAGE_MASK = 0xFFF

MODELS: list[DeviceModel] = [VirtioBlk(), VirtioNet(), VirtioRng(), Nvme(), Ahci(), E1000e(), Edu(), Serial(), Port()]


def model_of(function: Function) -> DeviceModel | None:
    """None: no image of this project has a driver for it."""
    return next((model for model in MODELS if model.matches(function)), None)


def bound(case: Case) -> list[tuple[Function, DeviceModel]]:
    """The functions that an image of this project has a driver for."""
    functions = (function for _, function in sorted(case.topology.functions.items()))
    return [(function, model) for function in functions if (model := model_of(function))]


def working(case: Case) -> list[tuple[Function, DeviceModel]]:
    """Those that it can drive."""
    return [(function, model) for function, model in bound(case) if model.drivable(case, function)]


def effect(write: MmioWrite) -> Effect:
    """What a write into a BAR does, by whoever knows its register."""
    return next((effect for model in MODELS if (effect := model.effect(write)) is not Effect.OTHER), Effect.OTHER)


def register(write: MmioWrite) -> tuple[int, tuple[str, int | Mapping[int, str]] | None]:
    """The register that a write reaches, and its name and what its values mean, where there is one."""
    model = next((model for model in MODELS if model.regions and write.region.startswith(model.regions)), None)
    offset = write.address & (model.mask if model else PAGE_MASK)
    return offset, model.registers.get(offset) if model else None


def begins(write: MmioWrite) -> bool:
    """Whether it tells a device to interrupt."""
    return effect(write) is Effect.START


def resets(write: MmioWrite) -> bool:
    """Whether it belongs to a reset; of a device without one, to what is done instead."""
    for model in MODELS:
        what = model.effect(write)
        if what in (Effect.RESET, Effect.QUIET) or what is Effect.ACKNOWLEDGE and model.reset is Reset.ACKNOWLEDGE:
            return True
    return False


def not_driven(case: Case, function: Function, lines: range, ram: Ram | None, last: bool) -> list[str]:
    """What must show of a function's driver in these lines, and in RAM where it is known, and does not."""
    model = model_of(function)
    return list(model.not_driven(Drive(case, function, lines, ram, last, begins))) if model else ["it has no driver"]


def requests(case: Case, function: Function, lines: range, ram: Ram | None) -> list[Request]:
    model = model_of(function)
    return model.requests(case, function, lines, ram) if model else []


def structures(case: Case, lines: range) -> Iterator[Extent]:
    """Of all functions."""
    for function, model in bound(case):
        yield from model.structures(case, function, lines)


__all__ = [
    "BESIDE", "MODELS", "NOWHERE", "TELLING", "DeviceModel", "Drive", "Effect", "Extent", "Landing", "Load", "NetworkModel",
    "RegisterNames", "Request", "Reset", "begins", "bound", "effect", "model_of", "not_driven", "register", "requests",
    "resets", "structures", "working",
]  # fmt: skip
