# SPDX-License-Identifier: BSD-2-Clause
"""The signature of each policy of shutdown/ and startup/: what the trace must show for one function.

A signature is computed from the function's registers just before: the changes of the policy, in order, one 16-bit write each.
A register that has its value already is not written.
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
class Subject:
    """A function before the policy."""

    function: Function
    registers: Registers
    resets: bool  # whether its driver resets it by a write into a BAR


@dataclass(frozen=True)
class Update:
    """One 16-bit write."""

    register: Register
    clear: int
    set: int

    def __str__(self) -> str:
        bits = (f"{verb} 0x{bits:04x}" for verb, bits in (("clear", self.clear), ("set", self.set)) if bits)
        return " ".join((self.register.value, *bits))


@dataclass(frozen=True)
class OtherStep:
    """Anything else."""

    text: str

    def __str__(self) -> str:
        return self.text


def config_read(offset: int) -> OtherStep:
    return OtherStep(f"read at 0x{offset:02x}")


def config_write(offset: int, value: int, size: int) -> OtherStep:
    return OtherStep(f"{8 * size}-bit write of 0x{value:x} at 0x{offset:02x}")


RESET = OtherStep("reset")

Step = Union[Update, OtherStep]
Signature = Callable[[Subject], list[Step]]


def after(registers: Registers, steps: list[Step]) -> dict[Register, int]:
    """The registers after these steps."""
    left = dict(registers)
    for step in steps:
        if isinstance(step, Update):
            left[step.register] = left[step.register] & ~step.clear | step.set
    return left


def _update(subject: Subject, register: Register, clear: int = 0, set: int = 0) -> list[Step]:
    value = subject.registers.get(register, 0)
    if register not in subject.function.offsets or not (value & clear or set & ~value):
        return []
    return [Update(register, value & clear, set & ~value)]


def _master_off(subject: Subject) -> list[Step]:
    return _update(subject, Register.COMMAND, clear=PCI_COMMAND_MASTER)


def _intx_off(subject: Subject) -> list[Step]:
    return _update(subject, Register.COMMAND, set=PCI_COMMAND_INTX_DISABLE)


def _messages_off(subject: Subject) -> list[Step]:
    """d5dea7d95c48: the enable bits only."""
    return [step for register, bit in ENABLE.items() for step in _update(subject, register, clear=bit)]


def _msi_shutdown(subject: Subject) -> list[Step]:
    """d52877c7b1af: MSI and MSI-X off, INTx enabled again."""
    off = _messages_off(subject)
    return off + (_update(subject, Register.COMMAND, clear=PCI_COMMAND_INTX_DISABLE) if off else [])


def _messages_masked(subject: Subject) -> list[Step]:
    off = _update(subject, Register.MSI, clear=ENABLE[Register.MSI])
    mask: list[Step] = [config_write(*subject.function.msi_mask, 4)] if subject.function.msi_mask else []
    return off + mask + _update(subject, Register.MSIX, clear=ENABLE[Register.MSIX], set=PCI_MSIX_FLAGS_MASKALL)


def _reset(subject: Subject) -> list[Step]:
    return [RESET] if subject.resets else []


def _bridge_off(subject: Subject) -> list[Step]:
    return _master_off(subject) if subject.function.buses else []


def _drained(subject: Subject) -> list[Step]:
    """Reads count only after the function's bus master was cleared: before, they are its driver's, or belong to a write."""
    if not _master_off(subject):
        return []
    offsets = (PCI_COMMAND, subject.function.device_status)
    return [config_read(offset) for offset in offsets if offset is not None]


def _in_order(*parts: Signature) -> Signature:
    return lambda subject: [step for part in parts for step in part(subject)]


@dataclass(frozen=True)
class Policy:
    history: str
    signature: Signature
    masks: bool = False  # each vector in a function's MSI-X table, before its enable bit is cleared, as Linux does
    resets: bool = False  # every function whose driver has a reset


# In the order of the lab's rows and columns.
SHUTDOWN = {
    "keep-msi": Policy("the patch; Linux since 2017", _master_off),
    "disable-msi": Policy("Linux 2012 to 2017", _in_order(_msi_shutdown, _master_off), masks=True),
    "disable-msi-only": Policy("Linux 2008 to 2012", _msi_shutdown, masks=True),
    "none": Policy("kdump: nothing", _in_order()),
    "reset": Policy(
        "the device reset, then bus master off: virtio in Linux since 2025", _in_order(_reset, _master_off), resets=True
    ),
    "intx-off": Policy("INTx off, MSI off, bus master off", _in_order(_intx_off, _messages_off, _master_off)),
    "bridges-only": Policy("what the EFI stub's disable_early_pci_dma leaves", _bridge_off),
    "drain": Policy("bus master off, then a wait for pending transactions", _in_order(_master_off, _drained)),
}
STARTUP = {
    "disable-msi": Policy("Linux since 2011", _messages_off),
    "none": Policy("before 2011", _in_order()),
    "hardened": Policy(
        "INTx, bus master and MSI off, messages masked, before any driver", _in_order(_intx_off, _master_off, _messages_masked)
    ),
}
