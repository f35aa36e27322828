# SPDX-License-Identifier: BSD-2-Clause
"""What each policy of shutdown/ and startup/ does to one function, as the trace must show it.

A signature is computed from the function's registers just before: the bits that the policy clears, in order, one 16-bit
write each. What is already clear is not written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Mapping

from witness.pci import ENABLE, PCI_COMMAND_INTX_DISABLE, PCI_COMMAND_MASTER, Register

Registers = Mapping[Register, int]


@dataclass(frozen=True)
class Clear:
    register: Register
    bits: int

    def __str__(self) -> str:
        return f"{self.register.value} clear 0x{self.bits:04x}"


Signature = Callable[[Registers], list[Clear]]


def _where_set(registers: Registers, *steps: Clear) -> list[Clear]:
    return [step for step in steps if registers.get(step.register, 0) & step.bits]


MASTER_OFF = Clear(Register.COMMAND, PCI_COMMAND_MASTER)
INTX_ON = Clear(Register.COMMAND, PCI_COMMAND_INTX_DISABLE)
MESSAGES_OFF = tuple(Clear(register, bit) for register, bit in ENABLE.items())


def _keep_msi(registers: Registers) -> list[Clear]:
    return _where_set(registers, MASTER_OFF)


def _disable_msi_out(registers: Registers) -> list[Clear]:
    """d52877c7b1af with b566a22c2332: MSI and MSI-X off, INTx enabled again, bus master off."""
    off = _where_set(registers, *MESSAGES_OFF)
    return off + (_where_set(registers, INTX_ON) if off else []) + _where_set(registers, MASTER_OFF)


def _disable_msi_in(registers: Registers) -> list[Clear]:
    """d5dea7d95c48: the enable bits, and nothing but them."""
    return _where_set(registers, *MESSAGES_OFF)


def _none(registers: Registers) -> list[Clear]:
    return []


SHUTDOWN: dict[str, Signature] = {"keep-msi": _keep_msi, "disable-msi": _disable_msi_out, "none": _none}
# Policies that mask each vector in a function's MSI-X table before they clear its enable bit, as Linux does.
MASKING = ("disable-msi",)
STARTUP: dict[str, Signature] = {"disable-msi": _disable_msi_in, "none": _none}
