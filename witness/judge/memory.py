# SPDX-License-Identifier: BSD-2-Clause
"""Whether RAM of the old image changed under the new one, and whether a request that was in flight explains it.

A paused virtio-blk still writes the data of requests that it had taken: QEMU 7.2 does not gate them by bus master. That
may land, where the request says and with the bytes that the disk holds. So may frames and entropy in the buffers that
were there for them; which bytes, nobody can tell. Everything else that changes in what the old image owned is a device
out of control, or a new kernel that took what it was told not to take. An edu DMA and what comes into an
82574 are gated by bus master: they may not land at all, and excuse nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

from witness.boot.protocol import BOOT_PARAMS_SIZE, E820_DMA, e820, ramdisk
from witness.devices import ahci, e1000e, nvme
from witness.devices.virtio import BLK, NET, RNG, Landing, Queue, anything, in_flight, landings, last_batch, queues
from witness.evidence.case import Case
from witness.machine.record import Entry, Ram
from witness.pci.registers import Register
from witness.pci.topology import Bdf
from witness.trace.events import MmioWrite, Msi
from witness.trace.phases import Hop

PAGE = 4096

# edu (QEMU docs/specs/edu.txt).
EDU_REGION = "edu-mmio"
EDU_BAR_MASK = 0xFFFFF
EDU_IRQ_RAISE = 0x60
EDU_IRQ_ACK = 0x64
EDU_DMA_SOURCE = 0x80
EDU_DMA_TARGET = 0x88
EDU_DMA_COUNT = 0x90
EDU_DMA_COMMAND = 0x98
EDU_DMA_RUN = 0x1
EDU_DMA_TO_RAM = 0x2
EDU_DMA_IRQ = 0x4


@dataclass(frozen=True)
class Extent:
    """A named piece of RAM."""

    what: str
    addresses: range

    def __str__(self) -> str:
        return f"{self.what} 0x{self.addresses.start:x}-0x{self.addresses.stop:x}"

    def overlaps(self, other: Extent) -> bool:
        return self.addresses.start < other.addresses.stop and other.addresses.start < self.addresses.stop


@dataclass(frozen=True)
class EduDma:
    bdf: Bdf
    line: int
    to_ram: bool
    interrupts: bool
    source: range
    target: range


def edu_dmas(case: Case, lines: range) -> list[EduDma]:
    """The DMAs that were started in these lines."""
    registers: dict[tuple[Bdf, int], int] = {}
    found = []
    for write in case.within(MmioWrite, lines):
        owner = case.bars.owner(write.address, write.line) if write.region == EDU_REGION else None
        if owner is None:
            continue
        offset = write.address & EDU_BAR_MASK
        registers[owner, offset] = write.value
        if offset == EDU_DMA_COMMAND and write.value & EDU_DMA_RUN:
            size = registers.get((owner, EDU_DMA_COUNT), 0)
            starts = (registers.get((owner, register), 0) for register in (EDU_DMA_SOURCE, EDU_DMA_TARGET))
            source, target = (range(start, start + size) for start in starts)
            to_ram, interrupts = bool(write.value & EDU_DMA_TO_RAM), bool(write.value & EDU_DMA_IRQ)
            found.append(EduDma(owner, write.line, to_ram, interrupts, source, target))
    return found


def armed_edus(case: Case, hop: Hop) -> list[EduDma]:
    """DMAs in flight when their function's bus master was cleared: they had not yet sent their message.

    One that would send none is no load: nothing tells whether it had ended.
    """
    clears = {c.bdf: c.line for c in case.changes(hop.out) if c.master_cleared}
    last = {dma.bdf: dma for dma in edu_dmas(case, range(hop.out.start)) if dma.bdf in clears}
    found = []
    for bdf, dma in last.items():
        function = case.topology.functions[bdf]
        sent = [(m.address, m.data) for m in case.within(Msi, range(dma.line, clears[bdf]))]
        if dma.interrupts and Register.MSI in function.offsets and function.msi_message not in sent:
            found.append(dma)
    return found


@dataclass(frozen=True)
class InFlight:
    """A virtio request in flight, and what it may write."""

    queue: Queue
    landings: list[Landing]


def virtio_requests(case: Case, hop: Hop, ram: Ram) -> Iterator[InFlight]:
    """Those in flight at the jump."""
    disks = {Bdf(0, disk.slot, 0): disk.file(case.run.directory) for disk in case.run.machine.disks}
    for queue in queues(case.within(MmioWrite, range(hop.out.start)), case.bars):
        if queue.device == BLK and queue.bdf in disks:
            content = disks[queue.bdf].read_bytes()
            for chain in in_flight(queue, ram):
                yield InFlight(queue, landings(chain, ram, content))
        elif queue.device in (NET, RNG):
            for chain in in_flight(queue, ram):
                yield InFlight(queue, anything(chain))


def e1000e_rings(case: Case, hop: Hop) -> list[e1000e.Ring]:
    """Those that are enabled when bus master goes."""
    return e1000e.rings(case.within(MmioWrite, range(hop.out.start)), case.bars)


@dataclass(frozen=True)
class SataRead:
    """A read in flight when bus master went, and what it may write."""

    bdf: Bdf
    landings: list[Landing]
    taken: bool  # by the disk; else it still waits in its slot


def sata_reads(case: Case, hop: Hop, ram: Ram) -> Iterator[SataRead]:
    """Of those that were issued together at last, the ones of whose end no message told before the clear.

    A port works off its slots in order, and QEMU sends a message for each: as many as were sent, the first have ended.
    What the disk had taken, QEMU brings when it stops the machine, and counts; the others wait for good: without bus master
    the port reads zeros for a command.
    """
    clears = {c.bdf: c.line for c in case.changes(hop.out) if c.master_cleared}
    disks = {Bdf(0, disk.slot, 0): disk for disk in case.run.machine.sata}
    for port in ahci.ports(case.within(MmioWrite, range(hop.out.start)), case.bars):
        if port.bdf not in disks or not port.issued:
            continue
        lines = range(port.issued[-1].line, clears.get(port.bdf, hop.out.stop))
        message = case.topology.functions[port.bdf].msi_message
        ended = sum((m.address, m.data) == message for m in case.within(Msi, lines))
        content = disks[port.bdf].file(case.run.directory).read_bytes()
        for command in port.last_batch(ram)[ended:]:
            if command.kind == ahci.READ_DMA_EXT:
                yield SataRead(port.bdf, port.landings(command, content), command.done)


def landings_in_flight(case: Case, hop: Hop, ram: Ram) -> list[Landing]:
    """What virtio's and AHCI's requests in flight may write."""
    virtio = (landing for request in virtio_requests(case, hop, ram) for landing in request.landings)
    return [*virtio, *(landing for read in sata_reads(case, hop, ram) for landing in read.landings)]


def owned_by_first(case: Case, first: Entry, jump: Entry) -> list[Extent]:
    """Its image, and the buffers that it told its successor to leave alone."""
    start = first.load_address
    image = Extent("image of first", range(start, start + case.run.image(first.name).init_size))
    memory_map = e820(case.run.boot_params(jump))
    return [image, *(Extent("DMA memory", addresses) for addresses, kind in memory_map if kind == E820_DMA)]


def taken_by_next(case: Case, hop: Hop, jump: Entry) -> list[Extent]:
    """What the successor was given, and what it lets devices write to."""
    params, start = case.run.boot_params(jump), jump.load_address
    taken = [Extent(f"image of {jump.name}", range(start, start + case.run.image(jump.name).init_size))]
    taken.append(Extent("boot_params", range(jump.registers["RSI"], jump.registers["RSI"] + BOOT_PARAMS_SIZE)))
    if initrd := ramdisk(params):
        taken.append(Extent("initrd", initrd))
    lines = range(hop.window.start, hop.inward.stop)
    for queue in queues(case.within(MmioWrite, lines), case.bars):
        taken += [Extent(f"virtqueue of {queue.bdf}", part) for part in queue.addresses]
    for admin in nvme.admins(case.within(MmioWrite, lines), case.bars):
        taken += [Extent(f"admin queue of {admin.bdf}", part) for part in admin.addresses]
    for ring in e1000e.rings(case.within(MmioWrite, lines), case.bars):
        taken.append(Extent(f"ring of {ring.bdf}", ring.addresses))
    for port in ahci.ports(case.within(MmioWrite, lines), case.bars):
        taken += [Extent(f"command list of {port.bdf}", part) for part in port.addresses]
    for dma in edu_dmas(case, lines):
        if dma.to_ram:
            taken.append(Extent(f"DMA target of {dma.bdf}", dma.target))
    return taken


def landed(landing: Landing, ram: Ram) -> int:
    """Bytes that are there although their request was not returned when bus master went."""
    return len(landing.addresses) if ram.read(landing.addresses) == landing.content else 0


def armed_together(case: Case, hop: Hop, ram: Ram) -> int:
    """How many disk requests were submitted at last, those that had returned before the first clear among them."""
    disks = {Bdf(0, disk.slot, 0) for disk in case.run.machine.disks}
    found = queues(case.within(MmioWrite, range(hop.out.start)), case.bars)
    return sum(last_batch(queue, ram) for queue in found if queue.bdf in disks)


def fetched(request: InFlight, ram: Ram) -> bool:
    """Whether the disk had taken a request that it did not return: QEMU stops a machine only when its block I/O is
    done, so the data has landed by the time the jump is looked at. A request that merely lies in the ring brings none.
    """
    return all(landed(landing, ram) for landing in request.landings)


def unexplained(owned: list[Extent], before: Ram, after: Ram, allowed: list[Landing]) -> tuple[list[Extent], int]:
    """What changed without a reason, and how many bytes changed with one."""
    found: list[Extent] = []
    explained = 0
    for extent in owned:
        old, new = before.read(extent.addresses), after.read(extent.addresses)
        landed = _with_landings(extent.addresses, old, new, allowed)
        for page in range(0, len(old), PAGE):
            part = slice(page, page + PAGE)
            if old[part] == new[part]:
                continue
            for i, (was, now, may) in enumerate(zip(old[part], new[part], landed[part]), extent.addresses.start + page):
                if was == now:
                    continue
                if now == may:
                    explained += 1
                elif found and found[-1].what == extent.what and found[-1].addresses.stop == i:
                    found[-1] = Extent(extent.what, range(found[-1].addresses.start, i + 1))
                else:
                    found.append(Extent(extent.what, range(i, i + 1)))
    return found, explained


def _with_landings(addresses: range, old: bytes, new: bytes, allowed: list[Landing]) -> bytes:
    """RAM as it would be if everything in flight had landed; what may be anything, as it is."""
    landed = bytearray(old)
    for landing in allowed:
        start = max(landing.addresses.start, addresses.start)
        stop = min(landing.addresses.stop, addresses.stop)
        if start < stop:
            here = slice(start - addresses.start, stop - addresses.start)
            offset = start - landing.addresses.start
            landed[here] = new[here] if landing.content is None else landing.content[offset:][: stop - start]
    return bytes(landed)
