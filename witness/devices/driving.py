# SPDX-License-Identifier: BSD-2-Clause
"""Whether an image really drove its devices: the interrupts, transfers and data that cannot be there otherwise.

A function that this project has a driver for is driven if each kind of its interrupts came where this image told it to
go, if its transfers were started and ended, and if what they brought is in RAM.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Iterator

from witness.devices import ahci, e1000e, nvme, serial as uart
from witness.devices.virtio import (
    BLK, BLK_IN, BLK_OK, COMMON_MASK, COMMON_REGION, DEVICE_STATUS, DRIVER_OK, NET, NET_RX, RNG, SECTOR, Queue, Request,
    common_writes, queues, returned, written,
)  # fmt: skip
from witness.evidence.case import Case
from witness.judge.memory import EDU_BAR_MASK, EDU_IRQ_RAISE, EDU_REGION, edu_dmas
from witness.machine.description import Sata
from witness.machine.peer import sent_by_peer
from witness.machine.record import Ram
from witness.pci.registers import (
    ENABLE, PCI_COMMAND_INTX_DISABLE, PCI_EXP_SLTCTL_CCIE, PCI_EXP_SLTCTL_HPIE, PCI_MSI_FLAGS_64BIT, PCI_MSI_FLAGS_QSIZE, Register,
)  # fmt: skip
from witness.pci.topology import Bdf, Function
from witness.trace.events import ConfigWrite, GsiLevel, MmioWrite, Msi, PicInterrupt

EDU = 0x11E81234
VIRTIO_NET = (0x10411AF4, 0x10001AF4)  # modern, transitional
VIRTIO_BLK = (0x10421AF4, 0x10011AF4)
VIRTIO_RNG = (0x10441AF4, 0x10051AF4)
E1000E = 0x10D38086
PCI_SERIAL = 0x00021B36
NVME_CLASS = 0x010802  # mass storage, non-volatile memory, NVM Express
AHCI_CLASS = 0x010601  # mass storage, SATA, AHCI
VF_VENDOR = 0xFFFF  # what a virtual function says

# A port that listens to its slot: each write to Slot Control is a command, and tells of its end.
SLOT_EVENTS = PCI_EXP_SLTCTL_CCIE | PCI_EXP_SLTCTL_HPIE

# What the driver leaves in a buffer that entropy is to come into.
RNG_CANARY = 0x5C

# An MSI-X table entry: address, upper address, data, vector control. QEMU's tables begin at a page.
TABLE_REGION = "msix-table"
TABLE_MASK = 0xFFF
TABLE_ENTRY = 16
TABLE_CONTROL = 12

Message = tuple[int, int]  # address, data


def is_edu(function: Function) -> bool:
    return function.u32(0) == EDU


def is_virtio(function: Function) -> bool:
    return function.u32(0) in VIRTIO_NET + VIRTIO_BLK + VIRTIO_RNG


def is_disk(function: Function) -> bool:
    return function.u32(0) in VIRTIO_BLK


def is_nvme(function: Function) -> bool:
    return function.class_code == NVME_CLASS and function.vendor != VF_VENDOR


def is_e1000e(function: Function) -> bool:
    return function.u32(0) == E1000E


def is_serial(function: Function) -> bool:
    return function.u32(0) == PCI_SERIAL


def is_ahci(function: Function) -> bool:
    return function.class_code == AHCI_CLASS


def is_port(function: Function) -> bool:
    return bool(function.slot)


def bound(case: Case) -> list[Function]:
    """The functions that an image of this project has a driver for."""
    functions = (function for _, function in sorted(case.topology.functions.items()))
    kinds = (is_edu, is_virtio, is_nvme, is_e1000e, is_serial, is_port, is_ahci)
    return [f for f in functions if any(is_one(f) for is_one in kinds)]


def driven(case: Case) -> list[Function]:
    """Those that it can drive: an AHCI controller has to have a disk."""
    return [f for f in bound(case) if not is_ahci(f) or _sata(case, f)]


def _sata(case: Case, function: Function) -> Sata | None:
    return next((disk for disk in case.run.machine.sata if Bdf(0, disk.slot, 0) == function.bdf), None)


def not_seen(case: Case, function: Function, lines: range, ram: Ram | None, last: bool) -> list[str]:
    """What must show in these lines, and in RAM where it is known, and does not.

    The last image leaves its buffers as its work left them; one that hands over has armed them anew.
    """
    if is_virtio(function):
        return list(_virtio(case, function, lines, ram, last))
    if is_nvme(function):
        return list(_nvme(case, function, lines, ram))
    if is_e1000e(function):
        return list(_e1000e(case, function, lines, ram))
    if is_serial(function):
        return list(_serial(case, function, lines))
    if is_ahci(function):
        return list(_ahci(case, function, lines, ram if last else None))
    if is_port(function):
        return list(_port(case, function, lines))
    return list(_edu(case, function, lines, ram if last else None))


def own_messages(case: Case, function: Function, lines: range) -> set[Message]:
    """Every message that these lines give a function to send."""
    return {*_table(case, function.bdf, lines).values(), *_msi_block(case, function, lines)}


def _edu(case: Case, function: Function, lines: range, ram: Ram | None) -> Iterator[str]:
    bdf = function.bdf
    message, since = _msi_message(case, function, lines)
    raised = [w.line for w in _writes(case, bdf, EDU_REGION, lines) if w.address & EDU_BAR_MASK == EDU_IRQ_RAISE]
    by_line = [line for line in raised if not case.history.value(bdf, Register.MSI, line) & ENABLE[Register.MSI]]
    if function.interrupt_line is not None and not _line_taken(case, function, by_line, lines.stop):
        yield "no INTx raised, taken and lowered"
    if message is None:
        yield "no MSI message was programmed"
        return
    dmas = [dma for dma in edu_dmas(case, lines) if dma.bdf == bdf]
    triggers = sorted([line for line in raised if line >= since] + [dma.line for dma in dmas])
    answered = {
        line
        for line, until in pairwise([*triggers, lines.stop])
        if _sent(case, bdf, Register.MSI, {message}, range(line, until))
    }
    if not answered.intersection(raised):
        yield "no MSI of its own after it was told to raise one"
    ended = [dma for dma in dmas if dma.line in answered]
    out = [dma for dma in ended if not dma.to_ram]
    back = [dma for dma in ended if dma.to_ram and out and dma.line > out[0].line]
    if not out or not back:
        yield f"no DMA {'back' if out else 'out'} that told of its end"
    elif ram:
        sent, came = ram.read(out[-1].source), ram.read(back[-1].target)
        if sent != came or len(set(sent)) < 2:
            yield f"the DMA back to 0x{back[-1].target.start:x} did not bring what went out"


def _virtio(case: Case, function: Function, lines: range, ram: Ram | None, last: bool) -> Iterator[str]:
    bdf = function.bdf
    ready = [
        write.line
        for owner, offset, write in common_writes(case.within(MmioWrite, lines), case.bars)
        if owner == bdf and offset == DEVICE_STATUS and write.value & DRIVER_OK
    ]
    if not ready:
        yield "its driver was never ready"
        return
    since = range(ready[0], lines.stop)
    busy = [q for q in queues(case.within(MmioWrite, lines), case.bars) if q.bdf == bdf and not _has_no_traffic(case, q)]
    if not busy:
        yield "no queue was set up"
    if Register.MSIX in function.offsets:
        table = _table(case, bdf, lines)
        for queue in busy:
            if queue.vector not in table or not _sent(case, bdf, Register.MSIX, {table[queue.vector]}, since):
                yield f"no MSI-X message of its own table for queue {queue.index}"
    elif function.interrupt_line is not None and not _line_taken(case, function, ready[:1], lines.stop):
        yield "no INTx raised, taken and lowered"
    for queue in busy:
        if ram and not returned(queue, ram):
            yield f"no request was returned in queue {queue.index}"
        elif ram and last and queue.device in BROUGHT:
            yield from BROUGHT[queue.device](case, queue, ram)


def _nvme(case: Case, function: Function, lines: range, ram: Ram | None) -> Iterator[str]:
    bdf = function.bdf
    admin = next((a for a in nvme.admins(case.within(MmioWrite, lines), case.bars) if a.bdf == bdf), None)
    if admin is None:
        yield "it was not enabled"
        return
    if Register.MSIX in function.offsets:
        table = _table(case, bdf, lines)
        if 0 not in table or not _sent(case, bdf, Register.MSIX, {table[0]}, range(admin.enabled, lines.stop)):
            yield "no MSI-X message of its own table for the admin queue"
    elif function.interrupt_line is not None:
        if not _line_taken(case, function, [write.line for write in admin.doorbells], lines.stop):
            yield "no INTx raised, taken and lowered"
    if ram is None:
        return
    status = admin.completed(ram)
    identified = [c for c in admin.commands(ram) if c.opcode == nvme.IDENTIFY and status.get(c.id) == nvme.SUCCESS]
    if not identified:
        yield "no Identify was completed"
    elif ram.u16(identified[-1].data) != function.vendor:
        yield f"Identify did not bring its vendor ID to 0x{identified[-1].data:x}"


def _e1000e(case: Case, function: Function, lines: range, ram: Ram | None) -> Iterator[str]:
    """What came in is for the net rule."""
    bdf = function.bdf
    rings = {r.kind: r for r in e1000e.rings(case.within(MmioWrite, lines), case.bars) if r.bdf == bdf}
    if not {e1000e.RX, e1000e.TX} <= rings.keys():
        yield "its rings were not enabled"
        return
    since = range(max(ring.enabled for ring in rings.values()), lines.stop)
    if by := next((register for register in (Register.MSIX, Register.MSI) if register in function.offsets), None):
        if not _sent(case, bdf, by, own_messages(case, function, lines), since):
            yield "no message of its own"
    elif function.interrupt_line is not None and not _line_taken(case, function, [since.start], since.stop):
        yield "no INTx raised, taken and lowered"
    if ram and not rings[e1000e.TX].sent(ram):
        yield "no frame was written back as sent"


def _serial(case: Case, function: Function, lines: range) -> Iterator[str]:
    if function.interrupt_line is None:
        return  # it has nothing but INTx
    writes = _writes(case, function.bdf, uart.REGION, lines)
    if not _line_taken(case, function, [write.line for write in writes if uart.begins(write)], lines.stop):
        yield "no INTx raised, taken and lowered"
    text = uart.sent(writes)
    if not text:
        yield "nothing was given to it to send"
    port = next((s for s in case.run.machine.serials if Bdf(0, s.slot, 0) == function.bdf), None)
    if port and text not in port.file(case.run.directory).read_bytes():
        yield f"{port.name} did not get the {len(text)} bytes that were given to it"


def _ahci(case: Case, function: Function, lines: range, ram: Ram | None) -> Iterator[str]:
    bdf = function.bdf
    port = next((p for p in ahci.ports(case.within(MmioWrite, lines), case.bars) if p.bdf == bdf and p.issued), None)
    if port is None:
        yield "none of its ports was given a command"
        return
    issued = [write.line for write in port.issued]
    if Register.MSI in function.offsets:
        message, _ = _msi_message(case, function, lines)
        if message is None or not _sent(case, bdf, Register.MSI, {message}, range(issued[0], lines.stop)):
            yield "no MSI of its own after it was given a command"
    elif function.interrupt_line is not None and not _line_taken(case, function, issued, lines.stop):
        yield "no INTx raised, taken and lowered"
    disk = _sata(case, function)
    if ram is None or disk is None:
        return
    identified = [command for command in port.last_batch(ram) if command.kind == ahci.IDENTIFY]
    if not identified:
        yield "it was not asked to identify its disk"
    elif not _identified(ram.read(identified[-1].data[0]), disk.mib << 20):
        yield f"IDENTIFY DEVICE did not bring a disk of {disk.mib} MiB to 0x{identified[-1].data[0].start:x}"


def _identified(data: bytes, size: int) -> bool:
    commands, sectors = (int.from_bytes(data[at.start:at.stop], "little") for at in (ahci.ID_COMMANDS, ahci.ID_SECTORS))
    return commands & ahci.ID_VALID_MASK == ahci.ID_VALID and sectors * SECTOR == size


def _port(case: Case, function: Function, lines: range) -> Iterator[str]:
    bdf, by = function.bdf, Register.MSIX if Register.MSIX in function.offsets else Register.MSI
    writes = [w for w in case.within(ConfigWrite, lines) if (w.bdf, w.offset) == (bdf, function.slot.start)]
    commands = [w.line for w in writes if w.value & SLOT_EVENTS == SLOT_EVENTS]
    if not commands:
        yield "its slot was given no command whose end it tells of"
    own = own_messages(case, function, lines)
    for line, until in pairwise([*commands, lines.stop]):
        if not _sent(case, bdf, by, own, range(line, until)):
            yield f"no message of its own after the command at trace {line}"


def _has_no_traffic(case: Case, queue: Queue) -> bool:
    """Where nobody answers, no frame comes in; where the network is none of ours, nobody knows."""
    if (queue.device, queue.index) != (NET, NET_RX):
        return False
    nic = next((n for n in case.run.machine.nics if Bdf(0, n.slot, 0) == queue.bdf), None)
    return nic is None or not sent_by_peer(nic, case.run.directory)


def _read(case: Case, queue: Queue, ram: Ram) -> Iterator[str]:
    disk = next((d for d in case.run.machine.disks if Bdf(0, d.slot, 0) == queue.bdf), None)
    if disk is None:
        return
    content = disk.file(case.run.directory).read_bytes()
    requests = (Request.of(chain, ram) for chain, _ in returned(queue, ram))
    if not any(_brought(request, ram, content) for request in requests):
        yield f"no returned read brought what disk {disk.name} holds"


def _entropy(case: Case, queue: Queue, ram: Ram) -> Iterator[str]:
    if not any(set(written(chain, length, ram)) - {RNG_CANARY} for chain, length in returned(queue, ram)):
        yield "no returned request brought anything"


# What the last image's requests must have left in RAM; the net rule looks into frames.
BROUGHT = {BLK: _read, RNG: _entropy}


def _brought(request: Request, ram: Ram, disk: bytes) -> bool:
    """Whether a read's buffer holds what the disk does, and its status says so."""
    data = [landing for landing in request.landings(disk) if len(landing.addresses) > 1]
    status = ram.read(request.status.addresses)
    return request.kind == BLK_IN and status == BLK_OK and bool(data) and all(
        ram.read(landing.addresses) == landing.content for landing in data
    )


def _writes(case: Case, bdf: Bdf, region: str, lines: range) -> list[MmioWrite]:
    return [w for w in case.device_writes(lines) if w.region == region and case.bars.owner(w.address, w.line) == bdf]


def _line_taken(case: Case, function: Function, triggers: list[int], stop: int) -> bool:
    """Whether the function's line rose after a trigger, was delivered, and went down again.

    Seen on the ISA IRQ in Interrupt Line, to which the line is routed on every machine; the swizzle does not matter. What
    comes once another function is told to raise its line, or to begin, may be that one's.
    """
    for start, limit in pairwise([*triggers, stop]):
        others = (w.line for w in case.device_writes(range(start, limit)) if _begins(w) and not _is_of(case, w, function))
        until = next(others, limit)
        rose = taken = False
        for event in case.within(object, range(start, until)):
            if isinstance(event, GsiLevel) and event.gsi == function.interrupt_line:
                if taken and not event.level:
                    return not case.history.value(function.bdf, Register.COMMAND, start) & PCI_COMMAND_INTX_DISABLE
                rose = rose or bool(event.level)
            elif isinstance(event, PicInterrupt) and event.irq == function.interrupt_line:
                taken = rose
    return False


def _begins(write: MmioWrite) -> bool:
    if write.region.startswith(COMMON_REGION):
        return write.address & COMMON_MASK == DEVICE_STATUS
    if nvme.submits(write) or ahci.issues(write) or e1000e.submits(write) or uart.begins(write):
        return True
    return write.region == EDU_REGION and write.address & EDU_BAR_MASK == EDU_IRQ_RAISE


def _is_of(case: Case, write: MmioWrite, function: Function) -> bool:
    return case.bars.owner(write.address, write.line) == function.bdf


def _msi_message(case: Case, function: Function, lines: range) -> tuple[Message | None, int]:
    """What these lines write into the MSI capability, and where they have done so."""
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


def _msi_block(case: Case, function: Function, lines: range) -> list[Message]:
    """With those of its further vectors: they differ in the low bits of the data."""
    message, _ = _msi_message(case, function, lines)
    if message is None:
        return []
    address, data = message
    granted = case.history.value(function.bdf, Register.MSI, lines.stop) & PCI_MSI_FLAGS_QSIZE
    return [(address, data + vector) for vector in range(1 << (granted >> 4))]


def _sent(case: Case, bdf: Bdf, by: Register, messages: set[Message], lines: range) -> bool:
    """Whether one of these messages came while the function could send it."""
    found = (m.line for m in case.within(Msi, lines) if (m.address, m.data) in messages)
    return any(case.history.value(bdf, by, line) & ENABLE[by] for line in found)


def is_vector_control(write: MmioWrite) -> bool:
    return write.region == TABLE_REGION and write.address % TABLE_ENTRY == TABLE_CONTROL


def _table(case: Case, bdf: Bdf, lines: range) -> dict[int, Message]:
    """The messages that these lines write into the MSI-X table, by entry."""
    entries: dict[int, dict[int, int]] = {}
    for write in _writes(case, bdf, TABLE_REGION, lines):
        entry, field = divmod(write.address & TABLE_MASK, TABLE_ENTRY)
        if field < TABLE_CONTROL:
            entries.setdefault(entry, {})[field] = write.value
    return {entry: (e[0] | e.get(4, 0) << 32, e[8]) for entry, e in entries.items() if {0, 8} <= e.keys()}
