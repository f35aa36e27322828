# SPDX-License-Identifier: BSD-2-Clause
"""16550 UARTs in I/O BARs (PC16550D data sheet, 8): QEMU's pci-serial, which has INTx only."""

from __future__ import annotations

from typing import Iterable, Iterator

from witness.devices.model import DeviceModel, Drive, Effect, Load, is_register
from witness.evidence.case import Case
from witness.pci.registers import PCI_COMMAND_MASTER, Register
from witness.pci.topology import Bdf, Function
from witness.trace.events import MmioWrite

PCI_SERIAL = 0x00021B36

# QEMU's name of the ports, also of COM1's; they are at the start of their BAR.
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


def _outside_divisor(writes: Iterable[MmioWrite]) -> Iterator[tuple[int, int]]:
    """Register and value of the writes to one UART that do not reach the divisor."""
    divisor = False
    for write in writes:
        register = write.address & BAR_MASK
        if register == LCR:
            divisor = bool(write.value & LCR_DLAB)
        if register > IER or not divisor:
            yield register, write.value


def sent(writes: Iterable[MmioWrite]) -> bytes:
    """The bytes that these writes to one UART send."""
    return bytes(value for register, value in _outside_divisor(writes) if register == TX)


def interrupt_enabled(writes: Iterable[MmioWrite]) -> bool:
    """Whether these writes to one UART leave any interrupt enabled."""
    written = [value for register, value in _outside_divisor(writes) if register == IER]
    return bool(written and written[-1])


class Serial(DeviceModel):
    kind = "serial"
    load = Load.NONE
    regions, mask = (REGION,), BAR_MASK

    def matches(self, function: Function) -> bool:
        return function.u32(0) == PCI_SERIAL

    def effect(self, write: MmioWrite) -> Effect:
        """A reset clears the FIFOs last, after DLAB is clear and no interrupt is enabled."""
        if not is_register(write, REGION, BAR_MASK, FCR, LCR, IER):
            return Effect.OTHER
        disabling = dict.fromkeys(((LCR, LCR_8N1), (IER, 0)), Effect.DISABLE)
        effects = disabling | {(FCR, FCR_CLEAR): Effect.RESET, (IER, IER_THRI): Effect.TRIGGER}
        return effects.get((write.address & BAR_MASK, write.value), Effect.OTHER)

    def may_interrupt(self, case: Case, function: Function, line: int) -> bool:
        return interrupt_enabled(case.writes_to(function.bdf, range(line), REGION))

    def allowed_while_leaving(self, case: Case, function: Function, write: MmioWrite) -> bool:
        """A console's last line, before the policy clears its bus master."""
        return bool(case.history.value(function.bdf, Register.COMMAND, write.line) & PCI_COMMAND_MASTER)

    def not_driven(self, drive: Drive) -> Iterator[str]:
        if drive.function.interrupt_line is None:
            return
        writes = drive.writes(REGION)
        if not drive.line_handled([write.line for write in writes if self.effect(write) is Effect.TRIGGER]):
            yield "no INTx raised, handled and lowered"
        text = sent(writes)
        if not text:
            yield "it got nothing to send"
        run = drive.case.run
        port = next((s for s in run.machine.serials if Bdf(0, s.slot, 0) == drive.function.bdf), None)
        if port and text not in port.file(run.directory).read_bytes():
            yield f"{port.name} does not hold the {len(text)} bytes that it got to send"
