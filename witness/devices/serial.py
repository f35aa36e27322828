# SPDX-License-Identifier: BSD-2-Clause
"""16550 UARTs in I/O BARs (PC16550D data sheet, 8), read from outside: what a driver wrote to their ports."""

from __future__ import annotations

from typing import Iterable

from witness.trace.events import MmioWrite

# QEMU's name of the ports, COM1's among them; they begin with their BAR.
REGION = "serial"
BAR_MASK = 0x7
TX = 0
IER = 1
IER_THRI = 0x02  # the transmitter's interrupt
FCR = 2
FCR_CLEAR = 0x07  # on, and both FIFOs cleared
LCR = 3
LCR_8N1 = 0x03
LCR_DLAB = 0x80  # TX and IER are the divisor


def resets(write: MmioWrite) -> bool:
    """Nothing is left in the FIFOs."""
    return _is(write, FCR, FCR_CLEAR)


def quiets(write: MmioWrite) -> bool:
    """What comes before: IER is where it belongs, and no interrupt enabled."""
    return _is(write, LCR, LCR_8N1) or _is(write, IER, 0)


def _is(write: MmioWrite, register: int, value: int) -> bool:
    return write.region == REGION and (write.address & BAR_MASK, write.value) == (register, value)


def begins(write: MmioWrite) -> bool:
    """It is told to interrupt as soon as it has nothing to send."""
    return write.region == REGION and write.address & BAR_MASK == IER and write.value == IER_THRI


def may_interrupt(writes: Iterable[MmioWrite]) -> bool:
    """Whether these writes to one UART leave any interrupt enabled."""
    enabled = divisor = False
    for write in writes:
        register = write.address & BAR_MASK
        if register == LCR:
            divisor = bool(write.value & LCR_DLAB)
        elif register == IER and not divisor:
            enabled = bool(write.value)
    return enabled


def sent(writes: Iterable[MmioWrite]) -> bytes:
    """What these writes to one UART have it send."""
    text, divisor = bytearray(), False
    for write in writes:
        register = write.address & BAR_MASK
        if register == LCR:
            divisor = bool(write.value & LCR_DLAB)
        elif register == TX and not divisor:
            text.append(write.value)
    return bytes(text)
