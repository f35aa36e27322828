# SPDX-License-Identifier: BSD-2-Clause
"""Whether RAM of the old image changed under the new one, and whether a request that was in flight explains it.

A paused virtio-blk still writes the data of requests that it had taken: QEMU 7.2 does not gate them by bus master. The
disk's content may land at the request's addresses. So may frames and entropy in the buffers for them; their content is
unknown. Any other change in the old image's memory is a device out of control, or a new kernel that used reserved memory.
Requests that bus master gates may not land at all, and explain nothing.
"""

from __future__ import annotations

from witness import devices
from witness.boot.protocol import BOOT_PARAMS_SIZE, E820_DMA, PAGE, e820, ramdisk
from witness.devices import Extent, Landing, Request
from witness.evidence.case import Case
from witness.machine.record import Entry, Ram
from witness.pci.topology import Function
from witness.trace.phases import Hop


def in_flight(case: Case, hop: Hop, function: Function, ram: Ram | None) -> list[Request]:
    """A function's requests in flight when its bus master was cleared; at the latest when the out phase was over."""
    clears = [change.line for change in case.changes(hop.out) if change.bdf == function.bdf and change.master_cleared]
    return devices.requests(case, function, range(clears[0] if clears else hop.out.stop), ram)


def all_in_flight(case: Case, hop: Hop, ram: Ram | None) -> list[Request]:
    return [request for function, _ in devices.bound(case) for request in in_flight(case, hop, function, ram)]


def owned_by_first(case: Case, first: Entry, jump: Entry) -> list[Extent]:
    """Its image, and the buffers that it reserved in the memory map."""
    start = first.load_address
    image = Extent("image of first", range(start, start + case.run.image(first.name).init_size))
    memory_map = e820(case.run.boot_params(jump))
    return [image, *(Extent("DMA memory", addresses) for addresses, kind in memory_map if kind == E820_DMA)]


def taken_by_next(case: Case, hop: Hop, jump: Entry) -> list[Extent]:
    """The next image's own memory, and the structures that it gave to devices."""
    params, start = case.run.boot_params(jump), jump.load_address
    taken = [Extent(f"image of {jump.name}", range(start, start + case.run.image(jump.name).init_size))]
    taken.append(Extent("boot_params", range(jump.registers["RSI"], jump.registers["RSI"] + BOOT_PARAMS_SIZE)))
    if initrd := ramdisk(params):
        taken.append(Extent("initrd", initrd))
    lines = range(hop.window.start, hop.inward.stop)
    taken += devices.structures(case, lines)
    return taken


def unexplained(owned: list[Extent], before: Ram, after: Ram, allowed: list[Landing]) -> tuple[list[Extent], int]:
    """The changes that nothing allowed, and the number of bytes changed that a request allowed."""
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
    """RAM as it would be if everything in flight had landed; where the content is unknown, as it is."""
    landed = bytearray(old)
    for landing in allowed:
        start = max(landing.addresses.start, addresses.start)
        stop = min(landing.addresses.stop, addresses.stop)
        if start < stop:
            here = slice(start - addresses.start, stop - addresses.start)
            offset = start - landing.addresses.start
            landed[here] = new[here] if landing.content is None else landing.content[offset:][: stop - start]
    return bytes(landed)
