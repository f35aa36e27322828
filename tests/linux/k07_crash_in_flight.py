# SPDX-License-Identifier: BSD-2-Clause
"""K7: what was in flight when Linux crashed still lands, in its memory; what devices begin after that, only bus master stops.

The data of a read that a disk took before the panic arrives whenever the disk is ready, under the next kernel. The claim is that it
lands in the old kernel's buffers, not in the memory that crashkernel= reserved, and that hardened.c keeps devices from anything
more. It is false if a byte of an old read is in the reservation, or if under hardened.c a request is returned, a frame comes in, or
a message is sent.

Linux (tests/linux/guest/scripts/kdump) panics with two reads of a disk held. in.c waits where its policy has been applied and no
driver has started; there the harness releases the reads and sends a frame, and RAM is compared before and after. The trial fails if
data is somewhere else, or if a device did more than the values below allow. In the controls bus master is left on: the disk returns
its requests and the card takes the frame, and with MSI-X on, too, messages are sent to Linux's vectors.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

from tests.claims.dma import changed_pages
from tests.claims.measure import counted
from tests.linux.kdump import entry_line, lacking, positions, reservation
from witness.boot.protocol import PAGE, Image
from witness.devices import Landing
from witness.devices.virtio import NET_RX, DiskRequest, Queue, in_flight, queues
from witness.lab import disk
from witness.lab.dma import given, hits
from witness.lab.experiment import Experiment, Role, Value, exactly
from witness.lab.observation import at
from witness.lab.performance import IMAGES
from witness.lab.stage import Stage
from witness.linux.trial import FILES as FOLDER, LINUX, Boot, Seen
from witness.machine.description import Content, Disk, Machine, Nic
from witness.machine.record import Outcome, Ram
from witness.pci.topology import Bdf
from witness.trace.events import ConfigWrite

MIB = 256

# Its requests are in the ring itself, where they can be read from outside.
HELD = Disk("held", 3, Content.RANDOM, "read-only=on", "id=vda,indirect_desc=off,request-merging=off,ioeventfd=off")
CARD = Nic("nic", 7, "52:54:00:12:34:56", device="ioeventfd=off")
MACHINE = Machine(mib=MIB, disks=(HELD,), nics=(CARD,), extra=("-smp", "2"))

DISK, NETWORK = Bdf(0, HELD.slot, 0), Bdf(0, CARD.slot, 0)

# tests/linux/guest/scripts/kdump has so many processes read a disk.
READS = 2

# second's steps with the harness between them.
IMAGE = "in.bin"


# --- at the points ---


def hold(stage: Stage) -> None:
    """No read ends, and no peer answers, before the harness allows it."""
    disk.throttle(stage, disk.virtio("vda"))
    stage.session.peers[CARD.name].answering = False


def devices_continue(stage: Stage) -> None:
    """The policy has been applied, no driver has begun, and the image waits: only devices write to RAM, and it to its own stack."""
    stage.keep_ram("before")
    disk.unthrottle(stage, disk.virtio("vda"))
    stage.session.peers[CARD.name].announce()
    stage.pass_through_main_loop()
    stage.keep_ram("after")
    stage.session.peers[CARD.name].answering = True


# --- what is measured, and expected ---


def pause(seen: Seen) -> range:
    """While the image waits there: up to the CPU's next write to a device."""
    begin = seen.mark("init").line
    rest = range(begin + 1, seen.case.end + 1)
    return range(begin + 1, next((write.line for write in seen.case.within(ConfigWrite, rest)), rest.stop))


def of_linux(seen: Seen, bdf: Bdf) -> list[Queue]:
    return queues(seen.case, bdf, range(entry_line(seen)))


def used(queues: list[Queue], ram: Ram) -> int:
    """Requests that the device has returned."""
    return sum(ram.u16(queue.used + 2) for queue in queues)


def place(seen: Seen, ram: Ram) -> range:
    """The image's own memory."""
    area, image = reservation(seen), Image.load(IMAGE, seen.run.directory / "files" / FOLDER / IMAGE)
    begin = area.start + positions(image, ram.read(area))[-1]
    return range(begin, begin + image.init_size)


def whole(landings: list[Landing], ram: Ram) -> str:
    filled = sum(landing.landed(ram) > 0 for landing in landings)
    return {0: "none", len(landings): "all"}.get(filled, f"{filled} of {len(landings)}")


def judge(master: int, messages: str, seen: Seen) -> list[Value]:
    """What is in flight at the point init; what differs in RAM after it, where, and its owner; the messages and edges of that
    moment; and what the next kernel's drivers do. master: whether it is on."""
    seen.need(Outcome.PASS, Outcome.FAIL)
    lines, area, entry = pause(seen), reservation(seen), entry_line(seen)
    before, after = seen.ram("before"), seen.ram("after")
    disks, cards = of_linux(seen, DISK), of_linux(seen, NETWORK)
    receiving = [queue for queue in cards if queue.index == NET_RX]
    reads = [DiskRequest.of(chain, before) for queue in disks for chain in in_flight(queue, before)]
    landings = [landing for read in reads for landing in read.landings(HELD.original())]
    data = [landing for landing in landings if len(landing.addresses) > 1]
    known = given(seen.case, range(entry), before)
    pages = changed_pages(before, after, MIB << 20)
    changed: Counter[Bdf | None] = Counter()
    for page in pages:
        if page not in area:
            addresses = range(page, page + PAGE)
            changed += hits(before.read(addresses), after.read(addresses), page, known)
    ours = place(seen, before)
    sent = seen.messages(lines)
    writers = f"{DISK} {NETWORK}" if master else f"{DISK}"
    return [
        exactly("reads in flight since before the panic", len(reads), READS),
        exactly("buffers of these reads in the reservation", sum(part.addresses.start in area for part in landings), 0),
        exactly("their data in RAM before", whole(data, before), "none"),
        exactly("their data in RAM after", whole(data, after), "all"),
        exactly("reads that the disk returns", used(disks, after) - used(disks, before), READS * master),
        exactly("frames that the card returns", used(receiving, after) - used(receiving, before), master),
        exactly("pages changed in the reservation, the image's apart", sum(p in area and p not in ours for p in pages), 0),
        exactly("bytes changed elsewhere that Linux gave to no device", changed[None], 0),
        exactly("devices that changed bytes that Linux gave them", " ".join(sorted(str(bdf) for bdf in changed if bdf)), writers),
        exactly("messages to Linux's vectors", "some" if sent else "none", messages, at(sent)),
        counted("INTx edges", seen.edges(lines), 0),
        exactly("what the trace and RAM lack of the next kernel's drivers' work", lacking(seen), "nothing"),
    ]


def boot(startup: str, role: Role, master: int, messages: str) -> Boot:
    options = "console=ttyS0 crashkernel=32M linux.script=kdump linux.next=in linux.cpu=1 linux.held=vda linux.load=-c,-p"
    options += f" linux.append=handoff.startup={startup}"
    points = {"ready": hold, "init": devices_continue}
    check = partial(judge, master, messages)
    return Boot(startup, role, MACHINE, LINUX, check, options, points, files=(f"{IMAGES}/{IMAGE}", "next.cpio"), ends_in="guest")


EXPERIMENT = Experiment(
    title="What was in flight at a panic still lands, in the old kernel's memory; clearing bus master ends the rest",
    source="Linux, Documentation/admin-guide/kdump/kdump.rst; startup/hardened.c",
    falsified_by="data of an old read in the memory that was reserved for the next kernel; under hardened, a frame in the old "
    "kernel's buffers, or a message",
    provoked_by="two reads of a disk are held from before the panic until the policy has been applied, and a frame arrives then; "
    "RAM is compared before and after that moment, in which the image only waits",
    reading="The reservation protects a crash kernel from old requests: their data lands, hardened or not (QEMU does not gate "
    "virtio's DMA by bus master). But with bus master left on, devices continue as under the old kernel: they return requests and "
    "write frames into its buffers, and with MSI-X on they send its vectors to a CPU that now runs another kernel, which does not "
    "expect them.",
    trials=(
        boot("hardened", Role.CLAIM, 0, "none"),
        boot("disable-msi", Role.CONTROL, 1, "none"),
        boot("none", Role.CONTROL, 1, "some"),
    ),
)
