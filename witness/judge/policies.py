# SPDX-License-Identifier: BSD-2-Clause
"""What each policy of shutdown/ and startup/ does to one function, as the trace must show it.

A signature is computed from the function as it stands just before: what the policy changes, in order, one 16-bit write each.
What is as it is to be already is not written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Mapping, Union

from witness.pci.registers import (
    ENABLE, PCI_COMMAND, PCI_COMMAND_INTX_DISABLE, PCI_COMMAND_MASTER, PCI_MSIX_FLAGS_MASKALL, Register,
)  # fmt: skip
from witness.pci.topology import Function

Registers = Mapping[Register, int]


@dataclass(frozen=True)
class Found:
    """A function as a policy meets it."""

    function: Function
    registers: Registers
    resets: bool  # its driver resets it by a write into a BAR


@dataclass(frozen=True)
class Update:
    """One 16-bit write."""

    register: Register
    clear: int = 0
    set: int = 0

    def __str__(self) -> str:
        bits = (f"{verb} 0x{bits:04x}" for verb, bits in (("clear", self.clear), ("set", self.set)) if bits)
        return " ".join((self.register.value, *bits))


@dataclass(frozen=True)
class Access:
    """Anything else."""

    text: str

    def __str__(self) -> str:
        return self.text


def config_read(offset: int) -> Access:
    return Access(f"read at 0x{offset:02x}")


def config_write(offset: int, value: int, size: int) -> Access:
    return Access(f"{8 * size}-bit write of 0x{value:x} at 0x{offset:02x}")


RESET = Access("reset")

Step = Union[Update, Access]
Signature = Callable[[Found], list[Step]]


def after(registers: Registers, steps: list[Step]) -> dict[Register, int]:
    """The registers that these steps leave."""
    left = dict(registers)
    for step in steps:
        if isinstance(step, Update):
            left[step.register] = left[step.register] & ~step.clear | step.set
    return left


def _update(found: Found, register: Register, clear: int = 0, set: int = 0) -> list[Step]:
    value = found.registers.get(register, 0)
    if register not in found.function.offsets or not (value & clear or set & ~value):
        return []
    return [Update(register, value & clear, set & ~value)]


def _master_off(found: Found) -> list[Step]:
    return _update(found, Register.COMMAND, clear=PCI_COMMAND_MASTER)


def _intx_off(found: Found) -> list[Step]:
    return _update(found, Register.COMMAND, set=PCI_COMMAND_INTX_DISABLE)


def _messages_off(found: Found) -> list[Step]:
    """d5dea7d95c48: the enable bits, and nothing but them."""
    return [step for register, bit in ENABLE.items() for step in _update(found, register, clear=bit)]


def _msi_shutdown(found: Found) -> list[Step]:
    """d52877c7b1af: MSI and MSI-X off, INTx enabled again."""
    off = _messages_off(found)
    return off + (_update(found, Register.COMMAND, clear=PCI_COMMAND_INTX_DISABLE) if off else [])


def _messages_masked(found: Found) -> list[Step]:
    off = _update(found, Register.MSI, clear=ENABLE[Register.MSI])
    mask: list[Step] = [config_write(*found.function.msi_mask, 4)] if found.function.msi_mask else []
    return off + mask + _update(found, Register.MSIX, clear=ENABLE[Register.MSIX], set=PCI_MSIX_FLAGS_MASKALL)


def _reset(found: Found) -> list[Step]:
    return [RESET] if found.resets else []


def _bridge_off(found: Found) -> list[Step]:
    return _master_off(found) if found.function.buses else []


def _drained(found: Found) -> list[Step]:
    """Reads tell of a function only once its bus master was cleared: before, they are its driver's, or belong to a write."""
    if not _master_off(found):
        return []
    offsets = (PCI_COMMAND, found.function.device_status)
    return [config_read(offset) for offset in offsets if offset is not None]


def _in_order(*parts: Signature) -> Signature:
    return lambda found: [step for part in parts for step in part(found)]


SHUTDOWN: dict[str, Signature] = {
    "keep-msi": _master_off,
    "disable-msi": _in_order(_msi_shutdown, _master_off),
    "none": _in_order(),
    "disable-msi-only": _msi_shutdown,
    "bridges-only": _bridge_off,
    "reset": _in_order(_reset, _master_off),
    "intx-off": _in_order(_intx_off, _messages_off, _master_off),
    "drain": _in_order(_master_off, _drained),
}
STARTUP: dict[str, Signature] = {
    "disable-msi": _messages_off,
    "none": _in_order(),
    "hardened": _in_order(_intx_off, _master_off, _messages_masked),
}

# Policies that leave bus master on, of some functions at least: it tells nothing of when they hand over.
KEEPING_MASTER = ("none", "disable-msi-only", "bridges-only")
# Policies that mask each vector in a function's MSI-X table before they clear its enable bit, as Linux does.
MASKING = ("disable-msi", "disable-msi-only")
# Policies that reset what has a driver.
RESETTING = ("reset",)
