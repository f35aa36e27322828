# SPDX-License-Identifier: BSD-2-Clause
"""What K6 and K7 share: Linux has crashed, and an image of ours is entered in the memory that was reserved for it.

Here are what the harness keeps where it is entered, and what is measured: where it is, which CPU runs it, what it gives to devices.
The expected results stand in the experiments.
"""

from __future__ import annotations

import re
from typing import Iterator

from tests.linux.measure import idle, registers
from witness import devices
from witness.boot.protocol import ENTRY_64, PAGE, Image
from witness.devices import edu, nvme
from witness.devices.virtio import DESC, queues
from witness.evidence.case import Case
from witness.lab.experiment import Unshown
from witness.lab.stage import Stage
from witness.linux.trial import FILES, Seen
from witness.machine.record import Ram
from witness.trace.events import Msi

# Of a message's address: the APIC ID of the CPU that it goes to (SDM Vol. 3, 11.11.1).
MSI_DEST_SHIFT, MSI_DEST_MASK = 12, 0xFF

# An image is recognized by so many bytes of its code.
CODE = 256

# Half of the address space is the kernel's.
KERNEL_BEGINS = 0xFFFF_8000_0000_0000

# The machine's state where the image is entered.
ENTRY, CPUS = "entry", "cpus"

_CRASH_KERNEL = re.compile(r"\s*([0-9a-f]+)-([0-9a-f]+) : Crash kernel")
_WRITER = re.compile(r"memory_region_ops_write cpu (\d+) ")


def watch_entry(stage: Stage, file: str) -> None:
    """At the point `loaded`, which names the start of the reservation: the machine will stop where the image is entered. A crash
    kernel is not copied at the jump, so it is in its place by now."""
    image = Image.load(file, stage.session.ram.parent / "files" / FILES / file)
    held = stage.read(stage.value, stage.session.ram.stat().st_size - stage.value)
    stage.session.qmp.command("stop")
    stage.session.qmp.wait("STOP")
    for position in positions(image, held):
        stage.session.gdb.insert(stage.value + position + ENTRY_64)
    stage.session.gdb.resume()


def positions(image: Image, held: bytes) -> list[int]:
    """Where in this memory an image is, by its code, as its header has been written to. What firmware had loaded there before, in
    an archive, is aligned to a page only by chance."""
    code = re.escape(image.payload[ENTRY_64:][:CODE])
    return [found.start() - ENTRY_64 for found in re.finditer(code, held) if (found.start() - ENTRY_64) % PAGE == 0]


def at_entry(stage: Stage) -> None:
    """At the point `dies`, after watch_entry: what the image finds. QEMU ends all block I/O where it stops a machine."""
    stage.session.qmp.wait("STOP")
    stage.kept[CPUS] = stage.monitor("info registers -a").encode()
    stage.keep_ram(ENTRY)
    for one in registers(stage.kept[CPUS]):
        if one["RIP"] < KERNEL_BEGINS:
            stage.session.gdb.remove(one["RIP"])
    stage.session.gdb.resume()


def ram_at_entry(seen: Seen) -> Ram:
    if CPUS not in seen.kept:
        raise Unshown("the machine did not stop where the image is entered")
    return seen.ram(ENTRY)


def entry_line(seen: Seen) -> int:
    """Where the image that Linux has jumped to shows that it runs."""
    if not seen.case.entry_lines:
        raise Unshown(f"no image of ours was entered: {seen.run.detail}")
    return max(seen.case.entry_lines.values())


def reservation(seen: Seen) -> range:
    """What crashkernel= reserves, as Linux reports."""
    found = [match for match in map(_CRASH_KERNEL.match, seen.reported("memory")) if match]
    if len(found) != 1:
        raise Unshown("Linux has reserved nothing for a crash kernel")
    return range(int(found[0][1], 16), int(found[0][2], 16) + 1)


def lacking(seen: Seen) -> str:
    """What the trace and RAM lack of the work of the image's drivers since it was entered."""
    since = range(entry_line(seen), seen.case.end + 1)
    return "; ".join(f"{bdf}: {what}" for bdf, what in idle(seen, since, seen.run.ram_after())) or "nothing"


# --- CPUs ---


def writers(seen: Seen, lines: range) -> list[int]:
    """The CPUs that write to any device in these lines."""
    with (seen.run.directory / "trace.log").open(encoding="utf-8", errors="replace") as text:
        found = (_WRITER.match(line) for number, line in enumerate(text, 1) if number in lines)
        return sorted({int(match[1]) for match in found if match})


def destinations(messages: list[Msi]) -> list[int]:
    """The APIC IDs that these messages went to."""
    return sorted({message.address >> MSI_DEST_SHIFT & MSI_DEST_MASK for message in messages})


# --- memory ---


def given_to_devices(case: Case, lines: range, ram: Ram) -> Iterator[range]:
    """All RAM that devices were given in these lines, to read and to write, as long as their rings are in use."""
    yield from (extent.addresses for extent in devices.structures(case, lines))
    for bdf in case.topology.functions:
        for queue in queues(case, bdf, lines):
            yield from descriptors(queue.descriptors, queue.size, ram)
        if admin := nvme.admin(case, bdf, lines):
            yield from (range(command.data, command.data + PAGE) for command in admin.commands(ram) if command.data)
    yield from (dma.source for dma in edu.all_dmas(case, lines) if not dma.to_ram)


def descriptors(table: int, size: int, ram: Ram) -> Iterator[range]:
    """Every buffer that a virtqueue's table names."""
    for at in range(table, table + DESC.size * size, DESC.size):
        address, length, _, _ = DESC.unpack(ram.read(range(at, at + DESC.size)))
        if length:
            yield range(address, address + length)


def inside(addresses: range, whole: range) -> bool:
    return whole.start <= addresses.start and addresses.stop <= whole.stop
