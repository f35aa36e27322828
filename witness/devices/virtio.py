# SPDX-License-Identifier: BSD-2-Clause
"""Virtio's block, network and entropy devices by their split virtqueues (virtio 1.2, 2.7), read from outside.

Where a driver put them comes from the trace, what is in them from guest RAM. What a device has taken lands although its bus master
is off: QEMU asks for it, if at all, when it maps a request's buffers.
"""

from __future__ import annotations

import struct
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Iterator, NamedTuple

from witness.devices.model import (
    COMPARED, MEANING, VARIES, DeviceModel, Drive, Effect, Extent, Landing, Load, NetworkModel, RegisterNames, Request,
    since_last_but_one, wide,
)  # fmt: skip
from witness.evidence.case import Case
from witness.evidence.interrupts import interrupted, msix_table
from witness.machine.peer import sent_by_peer
from witness.machine.record import Ram
from witness.pci.registers import Register
from witness.pci.topology import Bdf, Function
from witness.trace.events import MmioWrite

# QEMU names the region `virtio-pci-common-<device>`, and gives it a page of its own at the start of the BAR.
COMMON_REGION = "virtio-pci-common"
COMMON_MASK = 0xFFF
DEVICE_STATUS = 20
QUEUE_SELECT = 22
QUEUE_SIZE = 24
QUEUE_VECTOR = 26
NO_VECTOR = 0xFFFF
QUEUE_ENABLE = 28
DRIVER_OK = 0x04  # in the status
QUEUE_ADDRESSES = (32, 40, 48)  # descriptor table, available ring, used ring; low half, then high half

# The device's default (QEMU 7.2, queue-size of virtio-blk and virtio-net).
DEFAULT_SIZE = 256

# QEMU's names of the devices, and virtio-net's queues (5.1.2). A frame follows a header (5.1.6, num_buffers included).
BLK, NET, RNG = "virtio-blk", "virtio-net", "virtio-rng"
NET_RX, NET_TX = 0, 1
NET_HEADER = 12
NET_NOTIFY = "virtio-pci-notify-virtio-net"  # the region of the driver's notifications

# The driver's pattern in a buffer for entropy.
RNG_CANARY = 0x5C

DESC = struct.Struct("<QIHH")
DESC_NEXT, DESC_WRITE, DESC_INDIRECT = 1, 2, 4
USED_ELEMENT = struct.Struct("<II")
BLK_HEADER = struct.Struct("<IIQ")
BLK_IN = 0  # a read of the disk
BLK_OK = b"\0"
SECTOR = 512


class Descriptor(NamedTuple):
    address: int
    length: int
    flags: int
    next: int

    @property
    def addresses(self) -> range:
        return range(self.address, self.address + self.length)


Chain = list[Descriptor]


@dataclass(frozen=True)
class Queue:
    bdf: Bdf
    index: int
    vector: int  # its entry in the MSI-X table
    size: int
    descriptors: int
    available: int
    used: int

    @property
    def addresses(self) -> list[range]:
        """The three parts, without their optional last words."""
        sizes = (16 * self.size, 4 + 2 * self.size, 4 + 8 * self.size)
        starts = (self.descriptors, self.available, self.used)
        return [range(start, start + size) for start, size in zip(starts, sizes)]


@dataclass(frozen=True)
class DiskRequest:
    """A virtio-blk request as its descriptors describe it."""

    kind: int
    sector: int
    data: Chain  # written by the device
    status: Descriptor

    @classmethod
    def of(cls, chain: Chain, ram: Ram) -> DiskRequest:
        kind, _, sector = BLK_HEADER.unpack(ram.read(chain[0].addresses)[: BLK_HEADER.size])
        *data, status = (d for d in chain if d.flags & DESC_WRITE)
        return cls(kind, sector, data, status)

    def landings(self, disk: bytes | None) -> list[Landing]:
        """What it may change: its data, to the disk's content where that is known, and its status byte."""
        found, position = [Landing(self.status.addresses, BLK_OK)], self.sector * SECTOR
        for descriptor in self.data if self.kind == BLK_IN else []:
            content = None if disk is None else disk[position:][: descriptor.length]
            found.append(Landing(descriptor.addresses, content))
            position += descriptor.length
        return found

    def succeeded(self, ram: Ram, disk: bytes) -> bool:
        """Whether it is a read, its status is OK, and its buffer holds the disk's content."""
        data = [landing for landing in self.landings(disk) if len(landing.addresses) > 1]
        status = ram.read(self.status.addresses)
        return self.kind == BLK_IN and status == BLK_OK and bool(data) and all(landing.landed(ram) for landing in data)


def common_writes(case: Case, bdf: Bdf, lines: range) -> Iterator[tuple[int, MmioWrite]]:
    """Writes to virtio's common configuration: offset, write."""
    return ((w.address & COMMON_MASK, w) for w in case.writes_to(bdf, lines) if w.region.startswith(COMMON_REGION))


def queues(case: Case, bdf: Bdf, lines: range) -> list[Queue]:
    """The queues that are enabled at the end of these lines. A reset (status 0) disables them."""
    selected = 0
    fields: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for offset, write in common_writes(case, bdf, lines):
        if offset == DEVICE_STATUS and write.value == 0:
            fields.clear()
        elif offset == QUEUE_SELECT:
            selected = write.value
        elif offset >= QUEUE_SIZE:
            fields[selected][offset] = write.value
    return [
        Queue(
            bdf, index, field.get(QUEUE_VECTOR, NO_VECTOR), field.get(QUEUE_SIZE, DEFAULT_SIZE),
            *(wide(field, at) for at in QUEUE_ADDRESSES),
        )
        for index, field in fields.items()
        if field[QUEUE_ENABLE]
    ]  # fmt: skip


def in_flight(queue: Queue, ram: Ram) -> list[Chain]:
    """The requests that are available and not used, each as its chain of descriptors.

    A ring holds its last `size` entries, and requests may complete out of order. Pairing the two rings is exact
    unless a request overtook more than a whole ring of others; that is refused, not guessed.
    """
    available, used = ram.u16(queue.available + 2), ram.u16(queue.used + 2)
    begin = max(0, available - queue.size)
    heads = Counter(ram.u16(queue.available + 4 + 2 * (i % queue.size)) for i in range(begin, available))
    heads.subtract(ram.u16(queue.used + 4 + 8 * (i % queue.size)) for i in range(begin, used))
    if any(count not in (0, 1) for count in heads.values()):
        raise ValueError(f"{queue.bdf}: the rings do not show which requests are in flight")
    return [list(_chain(queue, ram, head)) for head, count in heads.items() if count]


def anything(chain: Chain) -> list[Landing]:
    """What a device may change with data from outside: frames, entropy."""
    return [Landing(descriptor.addresses, None) for descriptor in chain if descriptor.flags & DESC_WRITE]


def returned(queue: Queue, ram: Ram) -> list[tuple[Chain, int]]:
    """The chains in the used ring, in order, and the number of bytes written to each. Old chains may be overwritten."""
    used = ram.u16(queue.used + 2)
    found = []
    for i in range(max(0, used - queue.size), used):
        at = queue.used + 4 + USED_ELEMENT.size * (i % queue.size)
        head, length = USED_ELEMENT.unpack(ram.read(range(at, at + USED_ELEMENT.size)))
        found.append((list(_chain(queue, ram, head)), length))
    return found


def written(chain: Chain, length: int, ram: Ram) -> bytes:
    """The data that the device wrote with a chain."""
    return b"".join(ram.read(landing.addresses) for landing in anything(chain))[:length]


def last_batch(queue: Queue, ram: Ram) -> int:
    """At most how many requests were made available together last: the newest entries that share no descriptor."""
    available = ram.u16(queue.available + 2)
    heads: set[int] = set()
    for i in reversed(range(max(0, available - queue.size), available)):
        head = ram.u16(queue.available + 4 + 2 * (i % queue.size))
        if head in heads:
            break
        heads.add(head)
    return len(heads)


def _chain(queue: Queue, ram: Ram, head: int) -> Iterator[Descriptor]:
    table, index = queue.descriptors, head
    for _ in range(queue.size):  # a chain may loop
        at = table + DESC.size * index
        descriptor = Descriptor(*DESC.unpack(ram.read(range(at, at + DESC.size))))
        if descriptor.flags & DESC_INDIRECT:
            raise ValueError(f"{queue.bdf}: an indirect descriptor, which no image of this project uses")
        yield descriptor
        if not descriptor.flags & DESC_NEXT:
            return
        index = descriptor.next


class Virtio(DeviceModel):
    """Common to the three."""

    regions, mask = (COMMON_REGION,), COMMON_MASK
    identities: tuple[int, int]  # modern, transitional
    registers: RegisterNames = {  # 4.1.4.3
        0x00: ("device_feature_select", MEANING), 0x08: ("driver_feature_select", MEANING), 0x0C: ("driver_feature", COMPARED),
        0x10: ("config_msix_vector", COMPARED),
        DEVICE_STATUS: (
            "device_status", {0x00: "reset", 0x01: "ACKNOWLEDGE", 0x03: "DRIVER", 0x0B: "FEATURES_OK", 0x0F: "DRIVER_OK"}
        ),
        QUEUE_SELECT: ("queue_select", MEANING), QUEUE_SIZE: ("queue_size", COMPARED),
        QUEUE_VECTOR: ("queue_msix_vector", COMPARED), QUEUE_ENABLE: ("queue_enable", MEANING),
        0x20: ("queue_desc", VARIES), 0x24: ("queue_desc, upper half", VARIES), 0x28: ("queue_driver", VARIES),
        0x2C: ("queue_driver, upper half", VARIES), 0x30: ("queue_device", VARIES), 0x34: ("queue_device, upper half", VARIES),
    }  # fmt: skip

    def matches(self, function: Function) -> bool:
        return function.u32(0) in self.identities

    def effect(self, write: MmioWrite) -> Effect:
        if not write.region.startswith(COMMON_REGION) or write.address & COMMON_MASK != DEVICE_STATUS:
            return Effect.OTHER
        return Effect.TRIGGER if write.value else Effect.RESET

    def structures(self, case: Case, function: Function, lines: range) -> list[Extent]:
        found = queues(case, function.bdf, lines)
        return [Extent(f"virtqueue of {function.bdf}", part) for queue in found for part in queue.addresses]

    def requests(self, case: Case, function: Function, lines: range, ram: Ram | None) -> list[Request]:
        if ram is None:
            return []
        found = queues(case, function.bdf, lines)
        return [self.request(case, function, chain, ram) for queue in found for chain in in_flight(queue, ram)]

    def request(self, case: Case, function: Function, chain: Chain, ram: Ram) -> Request:
        """A request without a buffer to write waits for nothing."""
        landings = tuple(anything(chain))
        return Request(landings, gated=False, taken=bool(landings))

    def has_traffic(self, drive: Drive, queue: Queue) -> bool:
        """Whether a request of this queue must have been returned."""
        return True

    def not_brought(self, drive: Drive, queue: Queue, ram: Ram) -> Iterator[str]:
        """The results of the last image's requests that are missing in RAM; frames are for the rule about frames."""
        yield from ()

    def not_driven(self, drive: Drive) -> Iterator[str]:
        case, bdf = drive.case, drive.function.bdf
        ready = [w.line for at, w in common_writes(case, bdf, drive.lines) if at == DEVICE_STATUS and w.value & DRIVER_OK]
        if not ready:
            yield "its driver never set DRIVER_OK"
            return
        busy = [queue for queue in queues(case, bdf, drive.lines) if self.has_traffic(drive, queue)]
        if not busy:
            yield "no queue was set up"
        table = msix_table(case, bdf, drive.lines)
        for queue in busy if Register.MSIX in drive.function.offsets else []:
            own = [table[queue.vector]] if queue.vector in table else []
            yield from (f"{problem} for queue {queue.index}" for problem in drive.no_interrupt((Register.MSIX,), ready[:1], own))
        if Register.MSIX not in drive.function.offsets:
            yield from drive.no_interrupt((), ready[:1])
        for queue in busy if drive.ram else []:
            assert drive.ram
            if not returned(queue, drive.ram):
                yield f"no request was returned in queue {queue.index}"
            elif drive.last:
                yield from self.not_brought(drive, queue, drive.ram)


class VirtioBlk(Virtio):
    kind = BLK
    load = Load.ANY
    identities = 0x10421AF4, 0x10011AF4

    def request(self, case: Case, function: Function, chain: Chain, ram: Ram) -> Request:
        """QEMU stops a machine only when its block I/O is done: at the jump, what the disk had taken has landed. A request that is
        only in the ring changes nothing."""
        landings = tuple(DiskRequest.of(chain, ram).landings(_content(case, function.bdf)))
        return Request(landings, gated=False, taken=all(landing.landed(ram) for landing in landings))

    def not_brought(self, drive: Drive, queue: Queue, ram: Ram) -> Iterator[str]:
        content = _content(drive.case, queue.bdf)
        requests = (DiskRequest.of(chain, ram) for chain, _ in returned(queue, ram))
        if content and not any(request.succeeded(ram, content) for request in requests):
            yield "no returned read holds its disk's content"


class VirtioNet(Virtio, NetworkModel):
    kind = NET
    identities = 0x10411AF4, 0x10001AF4

    def effect(self, write: MmioWrite) -> Effect:
        return Effect.OFFER if write.region == NET_NOTIFY else super().effect(write)

    def unfinished(self, case: Case, function: Function, lines: range, before: Ram, after: Ram) -> int:
        """The one frame that came since: free buffers always wait for frames."""
        receiving = [queue for queue in queues(case, function.bdf, lines) if queue.index == NET_RX]
        return sum(before.u16(queue.used + 2) == after.u16(queue.used + 2) for queue in receiving)

    def allowed_while_leaving(self, case: Case, function: Function, write: MmioWrite) -> bool:
        return self.effect(write) is Effect.OFFER and interrupted(case, function, since_last_but_one(case, function.bdf, write))

    def has_traffic(self, drive: Drive, queue: Queue) -> bool:
        """Frames are received only where the peer of this run has sent some."""
        nic = next((n for n in drive.case.run.machine.nics if Bdf(0, n.slot, 0) == queue.bdf), None)
        return queue.index != NET_RX or nic is not None and bool(sent_by_peer(nic, drive.case.run.directory))

    def frames(self, case: Case, bdf: Bdf, lines: range, ram: Ram) -> tuple[int, set[bytes]] | None:
        rings = {queue.index: queue for queue in queues(case, bdf, lines)}
        if not {NET_RX, NET_TX} <= rings.keys():
            return None
        # A buffer that was offered again holds the last frame.
        chains = {chain[0].address: (chain, length) for chain, length in returned(rings[NET_RX], ram)}
        received = {written(chain, length, ram)[NET_HEADER:] for chain, length in chains.values()}
        return len(returned(rings[NET_TX], ram)), received


class VirtioRng(Virtio):
    kind = RNG
    identities = 0x10441AF4, 0x10051AF4

    def not_brought(self, drive: Drive, queue: Queue, ram: Ram) -> Iterator[str]:
        if not any(set(written(chain, length, ram)) - {RNG_CANARY} for chain, length in returned(queue, ram)):
            yield "no returned request holds entropy"


def _content(case: Case, bdf: Bdf) -> bytes | None:
    """The content of the machine's disk at this address."""
    disk = next((d for d in case.run.machine.disks if Bdf(0, d.slot, 0) == bdf), None)
    return disk.file(case.run.directory).read_bytes() if disk else None
