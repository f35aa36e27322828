# SPDX-License-Identifier: BSD-2-Clause
"""Split virtqueues (virtio 1.2, 2.7), read from outside.

Where a driver put them comes from the trace, what is in them from guest RAM.
"""

from __future__ import annotations

import struct
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Iterable, Iterator, NamedTuple

from witness.machine.record import Ram
from witness.pci.topology import Bdf
from witness.trace.events import Event, MmioWrite
from witness.trace.state import Bars

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

# What the device offers where the driver does not choose (QEMU 7.2, queue-size of virtio-blk and virtio-net).
DEFAULT_SIZE = 256

# QEMU's names of the devices, and virtio-net's queues (5.1.2). A frame follows a header (5.1.6, num_buffers included).
BLK, NET, RNG = "virtio-blk", "virtio-net", "virtio-rng"
NET_RX, NET_TX = 0, 1
NET_HEADER = 12
NET_NOTIFY = "virtio-pci-notify-virtio-net"  # the region that a driver tells of buffers in

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


@dataclass(frozen=True)
class Queue:
    bdf: Bdf
    device: str
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
class Landing:
    """RAM that a submitted request entitles the device to write, and what it may write there."""

    addresses: range
    content: bytes | None  # None: nobody can tell beforehand


@dataclass(frozen=True)
class Request:
    """A virtio-blk request as its descriptors describe it."""

    kind: int
    sector: int
    data: list[Descriptor]  # that the device writes
    status: Descriptor

    @classmethod
    def of(cls, chain: list[Descriptor], ram: Ram) -> Request:
        kind, _, sector = BLK_HEADER.unpack(ram.read(chain[0].addresses)[: BLK_HEADER.size])
        *data, status = (d for d in chain if d.flags & DESC_WRITE)
        return cls(kind, sector, data, status)

    def landings(self, disk: bytes) -> list[Landing]:
        """What it may change: its data, to what the disk holds, and its status byte."""
        found, position = [Landing(self.status.addresses, BLK_OK)], self.sector * SECTOR
        for descriptor in self.data if self.kind == BLK_IN else []:
            found.append(Landing(descriptor.addresses, disk[position:][: descriptor.length]))
            position += descriptor.length
        return found


def common_writes(events: Iterable[Event], bars: Bars) -> Iterator[tuple[Bdf, int, MmioWrite]]:
    """Writes to virtio's common configuration: function, offset, write."""
    for event in events:
        if isinstance(event, MmioWrite) and event.region.startswith(COMMON_REGION):
            owner = bars.owner(event.address, event.line)
            if owner:
                yield owner, event.address & COMMON_MASK, event


def queues(events: Iterable[Event], bars: Bars) -> list[Queue]:
    """The queues that are set up at the end of these events. A reset (status 0) forgets a function's queues."""
    selected: dict[Bdf, int] = defaultdict(int)
    devices: dict[Bdf, str] = {}
    fields: dict[tuple[Bdf, int], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for bdf, offset, write in common_writes(events, bars):
        devices[bdf] = write.region.removeprefix(f"{COMMON_REGION}-")
        if offset == DEVICE_STATUS and write.value == 0:
            for key in [key for key in fields if key[0] == bdf]:
                del fields[key]
        elif offset == QUEUE_SELECT:
            selected[bdf] = write.value
        elif offset >= QUEUE_SIZE:
            fields[bdf, selected[bdf]][offset] = write.value
    return [
        Queue(
            bdf,
            devices[bdf],
            index,
            field.get(QUEUE_VECTOR, NO_VECTOR),
            field.get(QUEUE_SIZE, DEFAULT_SIZE),
            *(field[at] | field[at + 4] << 32 for at in QUEUE_ADDRESSES),
        )
        for (bdf, index), field in fields.items()
        if field[QUEUE_ENABLE]
    ]


def in_flight(queue: Queue, ram: Ram) -> list[list[Descriptor]]:
    """The requests that were made available and are not used, each as its chain of descriptors.

    A ring shows its last `size` entries, and requests may complete out of order. Pairing the visible halves is exact
    unless a request overtook more than a whole ring of others; that is refused, not guessed.
    """
    available, used = ram.u16(queue.available + 2), ram.u16(queue.used + 2)
    begin = max(0, available - queue.size)
    heads = Counter(ram.u16(queue.available + 4 + 2 * (i % queue.size)) for i in range(begin, available))
    heads.subtract(ram.u16(queue.used + 4 + 8 * (i % queue.size)) for i in range(begin, used))
    if any(count not in (0, 1) for count in heads.values()):
        raise ValueError(f"{queue.bdf}: the rings do not tell which requests are in flight")
    return [list(_chain(queue, ram, head)) for head, count in heads.items() if count]


def landings(chain: list[Descriptor], ram: Ram, disk: bytes) -> list[Landing]:
    """What the disk request behind a chain may change."""
    return Request.of(chain, ram).landings(disk)


def anything(chain: list[Descriptor]) -> list[Landing]:
    """What a device may change whose data come from outside: frames, entropy."""
    return [Landing(descriptor.addresses, None) for descriptor in chain if descriptor.flags & DESC_WRITE]


def returned(queue: Queue, ram: Ram) -> list[tuple[list[Descriptor], int]]:
    """The chains that the used ring shows, in order, and the bytes written to each. Old chains may be overwritten."""
    used = ram.u16(queue.used + 2)
    found = []
    for i in range(max(0, used - queue.size), used):
        at = queue.used + 4 + USED_ELEMENT.size * (i % queue.size)
        head, length = USED_ELEMENT.unpack(ram.read(range(at, at + USED_ELEMENT.size)))
        found.append((list(_chain(queue, ram, head)), length))
    return found


def written(chain: list[Descriptor], length: int, ram: Ram) -> bytes:
    """What the device brought with a chain."""
    return b"".join(ram.read(landing.addresses) for landing in anything(chain))[:length]


def last_batch(queue: Queue, ram: Ram) -> int:
    """How many requests were made available together at last, at most: the newest entries that share no descriptor."""
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
    for _ in range(queue.size):  # a chain that loops is the guest's fault, not ours to follow
        at = table + DESC.size * index
        descriptor = Descriptor(*DESC.unpack(ram.read(range(at, at + DESC.size))))
        if descriptor.flags & DESC_INDIRECT:
            raise ValueError(f"{queue.bdf}: an indirect descriptor, which no image of this project uses")
        yield descriptor
        if not descriptor.flags & DESC_NEXT:
            return
        index = descriptor.next
