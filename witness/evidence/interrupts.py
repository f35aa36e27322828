# SPDX-License-Identifier: BSD-2-Clause
"""Interrupts by their source: the messages programmed into a function, those that came, and whether its line was handled."""

from __future__ import annotations

from itertools import pairwise
from typing import Callable, Iterable

from witness.evidence.case import Case
from witness.pci.registers import ENABLE, PCI_COMMAND_INTX_DISABLE, PCI_MSI_FLAGS_64BIT, PCI_MSI_FLAGS_QSIZE, Register
from witness.pci.topology import Bdf, Function
from witness.trace.events import ConfigWrite, GsiLevel, MmioWrite, Msi, PicInterrupt

# An MSI-X table entry: address, upper address, data, vector control. QEMU's tables begin at a page.
TABLE_REGION = "msix-table"
TABLE_MASK = 0xFFF
TABLE_ENTRY = 16
TABLE_CONTROL = 12
TABLE_MASKED = 1  # in vector control

Message = tuple[int, int]  # address, data


def is_vector_control(write: MmioWrite) -> bool:
    return write.region == TABLE_REGION and write.address % TABLE_ENTRY == TABLE_CONTROL


def msix_table(case: Case, bdf: Bdf, lines: range) -> dict[int, Message]:
    """The messages that these lines write into the MSI-X table, by entry."""
    entries: dict[int, dict[int, int]] = {}
    for write in case.writes_to(bdf, lines, TABLE_REGION):
        entry, field = divmod(write.address & TABLE_MASK, TABLE_ENTRY)
        if field < TABLE_CONTROL:
            entries.setdefault(entry, {})[field] = write.value
    return {entry: (e[0] | e.get(4, 0) << 32, e[8]) for entry, e in entries.items() if {0, 8} <= e.keys()}


def msi_message(case: Case, function: Function, lines: range) -> tuple[Message | None, int]:
    """The message that these lines write into the MSI capability, and the line that completes it."""
    if Register.MSI not in function.offsets:
        return None, lines.stop
    flags = function.offsets[Register.MSI]
    low, high = flags + 2, flags + 6
    wide = function.u16(flags) & PCI_MSI_FLAGS_64BIT
    data = low + (8 if wide else 4)
    written = {w.offset: w for w in case.within(ConfigWrite, lines) if w.bdf == function.bdf}
    if low not in written or data not in written:
        return None, lines.stop
    upper = written[high].value << 32 if wide and high in written else 0
    return (written[low].value | upper, written[data].value), written[data].line


def own_messages(case: Case, function: Function, lines: range) -> set[Message]:
    """Every message that these lines program into a function. MSI's further vectors differ in the low bits of the data."""
    own = {*msix_table(case, function.bdf, lines).values()}
    message, _ = msi_message(case, function, lines)
    if message:
        address, data = message
        granted = case.history.value(function.bdf, Register.MSI, lines.stop) & PCI_MSI_FLAGS_QSIZE
        own |= {(address, data + vector) for vector in range(1 << (granted >> 4))}
    return own


def sent(case: Case, bdf: Bdf, by: Register, messages: Iterable[Message], lines: range) -> bool:
    """Whether one of these messages came while the function had MSI or MSI-X on."""
    found = (m.line for m in case.within(Msi, lines) if (m.address, m.data) in messages)
    return any(case.history.value(bdf, by, line) & ENABLE[by] for line in found)


def interrupted(case: Case, function: Function, since: range) -> bool:
    """Whether the function may have interrupted in these lines, by a message of its own or by a line that it is wired to."""
    own = own_messages(case, function, range(since.stop))
    line = any(e.level and case.topology.may_drive(function.bdf, e.gsi) for e in case.within(GsiLevel, since))
    return line or any((m.address, m.data) in own for m in case.within(Msi, since))


def line_handled(case: Case, function: Function, triggers: list[int], stop: int, starts: Callable[[MmioWrite], bool]) -> bool:
    """Whether the function's line rose after a trigger, was delivered, and fell again.

    It is seen on the ISA IRQ in Interrupt Line, to which the line is routed on every machine; the swizzle does not matter. An
    edge after a write that makes another function raise its line (starts) may be that function's.
    """
    own = {write.line for write in case.writes_to(function.bdf, range(min(triggers, default=stop), stop))}
    for start, limit in pairwise([*triggers, stop]):
        others = (w.line for w in case.device_writes(range(start, limit)) if starts(w) and w.line not in own)
        rose = delivered = False
        for event in case.within(object, range(start, next(others, limit))):
            if isinstance(event, GsiLevel) and event.gsi == function.interrupt_line:
                if delivered and not event.level:
                    return not case.history.value(function.bdf, Register.COMMAND, start) & PCI_COMMAND_INTX_DISABLE
                rose = rose or bool(event.level)
            elif isinstance(event, PicInterrupt) and event.irq == function.interrupt_line:
                delivered = rose
    return False
