# SPDX-License-Identifier: BSD-2-Clause
"""A handoff made of text: the files of a run, written by hand.

The machine: virtio-blk at 00:03.0 (MSI-X), edu at 00:05.0 (MSI), a bridge at 00:06.0, edu below it at 01:00.0 (MSI);
where a test asks for them, virtio-net at 00:07.0 and virtio-rng at 00:08.0 (MSI-X); or nvme at 00:0a.0 (MSI-X) and two
hot-plug capable ports, at 00:0b.0 (MSI-X) and at 00:0c.0 (MSI, two vectors); or e1000e at 00:0d.0 (MSI-X); or a SATA disk at
00:11.0 (MSI).
Trace lines have QEMU 7.2's exact form. Each step has a label by which a test drops, replaces or surrounds it.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Callable, Iterable

import pytest

from witness import devices
from witness.boot.protocol import E820_DMA, E820_TABLE
from witness.evidence.case import Case
from witness.judge import pattern
from witness.judge.engine import Result
from witness.judge.rules import judge
from witness.machine.description import E1000E, VIRTIO_NET, Content, Disk, Machine, Nic, Rng, Sata
from witness.machine.record import Entry, Outcome, Run, ram_file
from witness.pci.registers import PCI_CAPABILITY_LIST
from witness.pci.topology import Bdf

VIRTIO, EDU, BRIDGE, BELOW = (Bdf.parse(text) for text in ("00:03.0", "00:05.0", "00:06.0", "01:00.0"))
NET, RNG = Bdf.parse("00:07.0"), Bdf.parse("00:08.0")
ROUTER = Bdf.parse("00:1f.0")  # an ICH9 LPC, in which nothing is ever on
NAMES = {VIRTIO: "virtio-blk-pci", EDU: "edu", BRIDGE: "pcie-root-port", BELOW: "edu"}
NVME, PORT, OLD_PORT = Bdf.parse("00:0a.0"), Bdf.parse("00:0b.0"), Bdf.parse("00:0c.0")
MORE = {NET: "virtio-net-pci", RNG: "virtio-rng-pci"}
EXPRESS = {NVME: "nvme", PORT: "pcie-root-port", OLD_PORT: "ioh3420"}
CARD, HBA = Bdf.parse("00:0d.0"), Bdf.parse("00:11.0")
CARDS, HBAS = {CARD: "e1000e"}, {HBA: "ich9-ahci"}
ALL_NAMES = NAMES | MORE | EXPRESS | CARDS | HBAS
IDENTITIES = {VIRTIO: 0x10421AF4, NET: 0x10411AF4, RNG: 0x10441AF4, EDU: 0x11E81234, BELOW: 0x11E81234, NVME: 0x00101B36}
IDENTITIES |= {CARD: 0x10D38086, HBA: 0x29228086, BRIDGE: 0x000C1B36, PORT: 0x000C1B36, OLD_PORT: 0x000C1B36}
CLASSES = {NVME: 0x010802, HBA: 0x010601}
CONTROL = 0x42  # MSI and MSI-X control alike: the capability is at 0x40
COMMAND = 0x04
EXP = 0x60  # PCI Express capability
SLOT_CAPABILITIES, SLOT_CONTROL, SLOT_STATUS = EXP + 0x14, EXP + 0x18, EXP + 0x1A
CONTROL_OFF = {True: 0x0001, False: 0x0080}  # MSI-X with two entries, MSI of 64 bits
WORDS = {COMMAND: "command", CONTROL: "msi control"}
BARS = {VIRTIO: 0xE0000000, EDU: 0xC0100000, BELOW: 0xC0200000, NET: 0xE0100000, RNG: 0xE0200000, NVME: 0xE0300000}
BARS |= {CARD: 0xE0400000, HBA: 0xE1000000}
BAR_NUMBER = {HBA: 5}  # else 0
NOTIFY = 0x3000  # of a virtio BAR
MESSAGES = {EDU: 0x41, BELOW: 0x42, OLD_PORT: 0x60, HBA: 0x70}

RAM_SIZE = 0x40000
FIRST, SECOND, INIT_SIZE = 0x10000, 0x20000, 0x2000
PARAMS = 0x1000
DMA = range(0x4000, 0x8000)
DESC, AVAIL, USED, HEADER, STATUS, DATA = 0x4000, 0x4100, 0x4200, 0x4800, 0x4810, 0x5000
TAKEN = 0x400  # the offset of header, status and data of the second request from those of the first
EDU_TARGET = 0x7000
NEW_DESC, NEW_HEADER, NEW_STATUS, NEW_DATA = 0x30000, 0x30800, 0x30810, 0x31000  # second's own virtqueue
NEW_SOURCE, NEW_TARGET = 0x38000, 0x39000  # of its DMA out and back; those of the other edu follow each
DMA_SIZE = 0x100
LINES = {VIRTIO: (23, 11), EDU: (21, 11), BELOW: (22, 10), NET: (23, 11), RNG: (20, 10), NVME: (22, 10)}  # GSI, ISA IRQ
LINES |= {CARD: (21, 11), HBA: (21, 11)}
SATA = Sata("sata", HBA.device, Content.RANDOM, mib=1)
TABLE = 0xC0300000  # virtio-blk's MSI-X table
TABLES = {VIRTIO: TABLE, NET: 0xC0400000, RNG: 0xC0500000, NVME: 0xC0600000, PORT: 0xC0700000, CARD: 0xC0800000}
VECTOR = 0x40  # and its message
VECTORS = {VIRTIO: [VECTOR], NET: [0x50, 0x51], RNG: [0x52], NVME: [0x53], PORT: [0x54], CARD: [0x55]}  # of each queue
SEED = 0x1234

# virtio-net and virtio-rng: rings and buffers of first, and how far above them are those of second.
RX_DESC, TX_DESC, RNG_DESC = 0x5800, 0x5C00, 0x6000
RX_DATA, TX_DATA, RNG_DATA = 0x6400, 0x6800, 0x6C00
NEW = 0x32000 - RX_DESC
RX_SIZE, RNG_SIZE = 0x80, 0x40
# nvme: its admin queues and the page that Identify fills, likewise.
ADMIN_SUBMISSION, ADMIN_COMPLETION, IDENTIFIED = 0x7400, 0x7600, 0x7800
QEMU_VENDOR = 0x1B36
# e1000e: its rings, of three descriptors each, and buffers, likewise.
CARD_RX, CARD_TX, CARD_DATA = 0x5800, 0x5C00, 0x6000
CARD_BUFFER = 0x800
MAC, GATEWAY_MAC = bytes.fromhex("525400123456"), bytes.fromhex("02c0ffee0001")
GATEWAY = bytes((10, 0, 2, 2))


def config(bdf: Bdf, command: int, control: int) -> bytes:
    space = bytearray(256)
    struct.pack_into("<IHHI", space, 0, IDENTITIES[bdf], command, 0x0010, CLASSES.get(bdf, 0) << 8)
    space[0x34], space[0x3C], space[0x3D] = 0x40, LINES[bdf][1] if bdf in LINES else 0, 1
    if bdf == BRIDGE:
        space[0x0E], space[0x19], space[0x1A], space[0x34] = 1, 1, 1, 0
    if bdf in (PORT, OLD_PORT):
        space[0x0E], space[0x19], space[0x1A], space[0x41] = 1, bdf.device, bdf.device, EXP
        struct.pack_into("<BBH", space, EXP, 0x10, 0, 0x0042)  # a root port
        struct.pack_into("<I", space, SLOT_CAPABILITIES, 0x40)  # hot-plug capable
    elif bdf in TABLES:
        struct.pack_into("<IIIIQ", space, 0x10, 1, TABLES[bdf], 0, 0, BARS[bdf] | 4)  # I/O, 32 bits, none, none, 64 bits
    elif bdf in BARS:
        struct.pack_into("<I", space, 0x10 + 4 * BAR_NUMBER.get(bdf, 0), BARS[bdf])
    space[0x40] = 0x11 if bdf in TABLES else 0x05
    struct.pack_into("<H", space, CONTROL, control)
    if bdf in MESSAGES:
        struct.pack_into("<QH", space, 0x44, 0xFEE00000, MESSAGES[bdf])
    return bytes(space)


def image(preferred: int, letter: bytes) -> bytes:
    data = bytearray(0x400)
    data[0x1F1], data[0x202:0x206] = 1, b"HdrS"
    struct.pack_into("<QI", data, 0x258, preferred, INIT_SIZE)
    return bytes(data) + letter * 0x400


@dataclass
class Step:
    label: str
    lines: list[str]
    logged: list[str] = field(default_factory=list)  # the guest's log lines about it


@dataclass
class Scene:
    directory: Path
    cmdline: str = ""
    functions: dict[Bdf, str] = field(default_factory=lambda: dict(NAMES))
    steps: list[Step] = field(default_factory=list)
    values: dict[tuple[Bdf, int], int] = field(default_factory=dict)
    handed: dict[Bdf, tuple[int, int]] = field(default_factory=dict)
    registers: dict[str, int] = field(default_factory=dict)
    before: bytearray = field(default_factory=lambda: bytearray(RAM_SIZE))
    second: dict[int, bytes] = field(default_factory=dict)  # what second and its devices leave
    after: dict[int, bytes] = field(default_factory=dict)  # what else differs at the end
    router: int = 0x0A  # where its first wire goes
    frames: list[bytes] = field(default_factory=list)  # that passed between the machine and its peer
    other: bytes = b""  # the disk that is not written to; empty: as it was made
    disk: bytes = b""
    sata: bytes = b""  # the SATA disk in the end; empty: as it was made

    # --- steps ---

    def add(self, label: str, *lines: str) -> None:
        self.steps.append(Step(label, list(lines)))

    def register(self, label: str, bdf: Bdf, offset: int, value: int) -> None:
        """A 16-bit write that the guest logs."""
        old = self.values.get((bdf, offset), 0)
        self.values[bdf, offset] = value
        word = "msix control" if bdf in TABLES and offset == CONTROL else WORDS[offset]
        logged = f"first  pci 0000:{bdf} {word} 0x{old:04x} -> 0x{value:04x} (why)"
        self.steps.append(Step(label, config_write(bdf, offset, value), [logged]))

    def put(self, data: dict[int, bytes]) -> None:
        """Into RAM at the jump."""
        for address, part in data.items():
            self.before[address:address + len(part)] = part

    def step(self, label: str) -> Step:
        return next(step for step in self.steps if step.label == label)

    def drop(self, *labels: str) -> None:
        for label in labels:
            self.steps.remove(self.step(label))

    def replace(self, label: str, *lines: str) -> None:
        self.step(label).lines = list(lines)

    def before_step(self, label: str, *lines: str) -> None:
        self.steps.insert(self.steps.index(self.step(label)), Step("", list(lines)))

    def after_step(self, label: str, *lines: str, logged: str = "", name: str = "") -> None:
        self.steps.insert(self.steps.index(self.step(label)) + 1, Step(name, list(lines), [logged] if logged else []))

    def size_bar(self, bdf: Bdf, *registers: int) -> None:
        """Before the reset, a driver asks how large a BAR is."""
        on, off = self.handed[bdf][0], self.handed[bdf][0] & ~2
        word = f"second pci 0000:{bdf} command"
        steps = [Step("size-off", config_write(bdf, COMMAND, off), [f"{word} 0x{on:04x} -> 0x{off:04x} (why)"])]
        steps += [Step(f"size-ones-{r:x}", config_write(bdf, r, 0xFFFFFFFF, 4)) for r in registers]
        for r in registers:
            value = int.from_bytes(config(bdf, 0, 0)[r:r + 4], "little")
            steps.append(Step(f"size-back-{r:x}", config_write(bdf, r, value, 4)))
        steps.append(Step("size-on", config_write(bdf, COMMAND, on), [f"{word} 0x{off:04x} -> 0x{on:04x} (why)"]))
        at = self.steps.index(self.step("reset"))
        self.steps[at:at] = steps

    def move_after(self, label: str, other: str) -> None:
        step = self.step(label)
        self.steps.remove(step)
        self.steps.insert(self.steps.index(self.step(other)) + 1, step)

    # --- the result ---

    def run(self) -> Run:
        other = Disk("other", 4, Content.RANDOM, mib=1)
        lines = [line for step in self.steps for line in step.lines]
        logged = [line for step in self.steps for line in step.logged]
        (self.directory / "trace.log").write_text("\n".join(lines) + "\n")
        (self.directory / "guest.log").write_text("\n".join([*logged, "GUEST: pass"]) + "\n")
        (self.directory / "scratch.img").write_bytes(self.disk)
        other.create(self.directory)
        if self.other:
            other.file(self.directory).write_bytes(self.other)
        sata = (SATA,) if HBA in self.functions else ()
        for drive in sata:
            drive.file(self.directory).write_bytes(self.sata or SATA.original())
        models = {NET: VIRTIO_NET, CARD: E1000E}
        nics = tuple(Nic("nic", bdf.device, MAC.hex(":"), model=models[bdf]) for bdf in self.functions if bdf in models)
        for nic in nics:
            nic.record(self.directory).write_bytes(capture(self.frames))
        images = {}
        for name, preferred, letter in (("first", FIRST, b"1"), ("second", SECOND, b"2")):
            images[name] = self.directory / f"{name}.bin"
            images[name].write_bytes(image(preferred, letter))
        ram_file(self.directory, "second").write_bytes(self.before)
        end = bytearray(self.before)
        for address, data in [*self.second.items(), *self.after.items()]:
            end[address:address + len(data)] = data
        (self.directory / "ram").write_bytes(end)
        lpc = bytearray(256)
        struct.pack_into("<I", lpc, 0, 0x29188086)
        lpc[0x60] = self.router
        found = {bdf: config(bdf, 0x7, CONTROL_OFF[bdf in TABLES]) for bdf in self.functions}
        handed = {bdf: config(bdf, *values) for bdf, values in self.handed.items()}
        return Run(
            directory=self.directory,
            machine=Machine(
                disks=(Disk("scratch", 3, Content.ZEROS, mib=1), other),
                nics=nics,
                rngs=(Rng("rng", RNG.device),) if RNG in self.functions else (),
                sata=sata,
            ),
            images=images,
            cmdline=self.cmdline,
            versions={"QEMU": "7.2.22"},
            outcome=Outcome.PASS,
            detail="GUEST: pass",
            entries=[
                Entry("first", FIRST, 0, self.registers, found | {ROUTER: bytes(lpc)}),
                Entry("second", SECOND, 1, self.registers, handed | {ROUTER: bytes(lpc)}),
            ],
        )

    def results(self) -> dict[str, Result]:
        return {verdict.id: verdict.result for verdict in judge(self.run())}

    def failed(self) -> set[str]:
        return {id for id, result in self.results().items() if result is not Result.PASS}


# --- changes to a story, as tests have them in tables ---

Change = Callable[[Scene], object]


def cases(table: dict[str, dict[str, Change]]) -> list[object]:
    """For each set of rules, by their IDs, the changes that exactly these rules reject, by name."""
    return [
        pytest.param(change, set(rules.split()), id=what.replace(" ", "_"))
        for rules, changes in table.items()
        for what, change in changes.items()
    ]


def without(*labels: str) -> Change:
    return lambda s: s.drop(*labels)


def instead(label: str, *lines: str) -> Change:
    return lambda s: s.replace(label, *lines)


def before(label: str, *lines: str) -> Change:
    return lambda s: s.before_step(label, *lines)


def after(label: str, *lines: str, logged: str = "") -> Change:
    return lambda s: s.after_step(label, *lines, logged=logged)


def later(label: str, other: str) -> Change:
    """One step after another."""
    return lambda s: s.move_after(label, other)


def left_out(label: str, text: str) -> Change:
    """A step without its lines that contain a text."""
    return lambda s: s.replace(label, *(line for line in s.step(label).lines if text not in line))


def relogged(label: str, old: str, new: str) -> Change:
    """The guest's log has another text."""

    def change(s: Scene) -> None:
        s.step(label).logged = [line.replace(old, new) for line in s.step(label).logged]

    return change


def unlogged(label: str) -> Change:
    return lambda s: s.step(label).logged.clear()


def handed(bdf: Bdf, command: int, control: int) -> Change:
    """What the next image finds in a function's registers."""
    return lambda s: s.handed.update({bdf: (command, control)})


def cpu(**registers: int) -> Change:
    """What it finds in the CPU's, and in the interrupt controllers'."""
    return lambda s: s.registers.update(registers)


def at_jump(data: dict[int, bytes]) -> Change:
    """RAM holds this when the next image is entered."""
    return lambda s: s.put(data)


def at_end(data: dict[int, bytes]) -> Change:
    """The next image and its devices leave this in RAM."""
    return lambda s: s.second.update(data)


def lands(data: dict[int, bytes]) -> Change:
    """This lands in RAM after the jump, unknown to the next image."""
    return lambda s: s.after.update(data)


def passed(*frames: bytes) -> Change:
    """No others between the machine and its peer."""
    return lambda s: setattr(s, "frames", [*frames])


def all_of(*changes: Change) -> Change:
    return lambda s: [change(s) for change in changes]


# --- one device of a story ---


def reconfigured(run: Run, bdf: Bdf, changes: dict[int, int]) -> Case:
    """The same run of a function with other bytes in its configuration."""
    entries = []
    for entry in run.entries:
        config = bytearray(entry.configs[bdf])
        for offset, value in changes.items():
            config[offset] = value
        entries.append(replace(entry, configs=entry.configs | {bdf: bytes(config)}))
    return Case(replace(run, entries=entries))


def without_capabilities(run: Run, bdf: Bdf) -> Case:
    return reconfigured(run, bdf, {PCI_CAPABILITY_LIST: 0})


def complaints(case: Case, bdf: Bdf) -> list[str]:
    """What the next image has not shown of its driver."""
    return devices.not_driven(case, case.topology.functions[bdf], case.hops[0].inward, case.run.ram_after(), last=True)


# --- QEMU's lines ---


def config_write(bdf: Bdf, offset: int, value: int, size: int = 2) -> list[str]:
    address = 0xB0000000 + (bdf.bus << 20 | bdf.device << 15 | bdf.function << 12 | offset)
    return [
        memory_write("pcie-mmcfg-mmio", address, value, size),
        f"pci_cfg_write {ALL_NAMES.get(bdf, 'ICH9-LPC')} {bdf} @0x{offset:x} <- 0x{value:x}",
    ]


def config_read(bdf: Bdf, offset: int, value: int) -> str:
    return f"pci_cfg_read {ALL_NAMES.get(bdf, 'ICH9-LPC')} {bdf} @0x{offset:x} -> 0x{value:x}"


def enumeration(functions: Iterable[Bdf]) -> list[str]:
    """Each image looks for functions first."""
    return [config_read(bdf, 0, QEMU_VENDOR) for bdf in functions]


def memory_write(region: str, address: int, value: int, size: int) -> str:
    return f"memory_region_ops_write cpu 0 mr 0x55 addr 0x{address:x} value 0x{value:x} size {size} name '{region}'"


def virtio(offset: int, value: int, size: int = 4, bdf: Bdf = VIRTIO) -> str:
    name = ALL_NAMES[bdf].removesuffix("-pci")
    return memory_write(f"virtio-pci-common-{name}", BARS[bdf] + offset, value, size)


def notify(queue: int) -> str:
    """virtio-net is notified of buffers."""
    return memory_write("virtio-pci-notify-virtio-net", BARS[NET] + NOTIFY + 4 * queue, queue, 2)


def nvme(offset: int, value: int) -> str:
    return memory_write("nvme", BARS[NVME] + offset, value, 4)


def card(offset: int, value: int) -> str:
    return memory_write("e1000e-mmio", BARS[CARD] + offset, value, 4)


def edu(bdf: Bdf, offset: int, value: int) -> str:
    return memory_write("edu-mmio", BARS[bdf] + offset, value, 4)


def msi(data: int) -> str:
    return memory_write("apic-msi", 0xFEE00000, data, 4)


def gsi(number: int, level: int) -> list[str]:
    """Each edge shows on the ISA IRQ, too, that the line is routed to."""
    return [f"ioapic_set_irq vector: {n} level: {level}" for n in (number, 10 + number % 2)]


STOP = "runstate_set current_run_state 9 (running) new_state 0 (debug)"
GO = "runstate_set current_run_state 0 (debug) new_state 9 (running)"


def virtqueue(desc: int) -> list[str]:
    return virtqueues(VIRTIO, desc)


def virtqueues(bdf: Bdf, *descs: int) -> list[str]:
    """Reset, the queues, ready. After a descriptor table come the available and the used ring."""
    lines = [virtio(20, 0, 1, bdf)]
    for index, desc in enumerate(descs):
        lines += [virtio(offset, value, 2, bdf) for offset, value in ((22, index), (24, 8), (26, index))]
        addresses = ((32, desc), (40, desc + 0x100), (48, desc + 0x200), (36, 0), (44, 0), (52, 0))
        lines += [virtio(offset, value, 4, bdf) for offset, value in addresses]
        lines.append(virtio(28, 1, 2, bdf))
    return [*lines, virtio(20, 15, 1, bdf)]


def edu_dma(bdf: Bdf, target: int, source: int = 0x40000, command: int = 7) -> list[str]:
    return [edu(bdf, 0x80, source), edu(bdf, 0x88, target), edu(bdf, 0x90, DMA_SIZE), edu(bdf, 0x98, command)]


def intx(bdf: Bdf) -> list[str]:
    """edu raises its line; the interrupt is taken and acknowledged."""
    number, irq = LINES[bdf]
    taken = f"pic_interrupt irq {irq} intno {0x20 + irq}"
    return [edu(bdf, 0x60, 1), *gsi(number, 1), taken, edu(bdf, 0x64, 1), *gsi(number, 0)]


def msix_table(bdf: Bdf = VIRTIO) -> list[str]:
    words = [word for vector in VECTORS[bdf] for word in (0xFEE00000, 0, vector, 0)]
    return [memory_write("msix-table", TABLES[bdf] + 4 * i, word, 4) for i, word in enumerate(words)]


def arp(destination: bytes, source: bytes, operation: int, sender_ip: bytes, target: bytes, target_ip: bytes) -> bytes:
    fixed = bytes.fromhex("0806 0001 0800 06 04")
    return (destination + source + fixed + operation.to_bytes(2, "big") + source + sender_ip + target + target_ip).ljust(60, b"\0")


PROBE = arp(6 * b"\xff", MAC, 1, bytes(4), bytes(6), GATEWAY)
ANSWER = arp(MAC, GATEWAY_MAC, 2, GATEWAY, MAC, bytes(4))


def capture(frames: list[bytes]) -> bytes:
    """A pcap file."""
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65536, 1)
    return header + b"".join(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame for frame in frames)


def messages(s: Scene, name: str, bdf: Bdf, on: int, message: int | None = None, masked: bool = False) -> None:
    """MSI of this message, else MSI-X by its table, which may be masked until INTx is off."""
    if message is None:
        s.add(f"{name}-table", *msix_table(bdf))
        s.register(f"{name}-msix", bdf, CONTROL, on | 0x4000 * masked)
    else:
        for offset, value, size in ((0x44, 0xFEE00000, 4), (0x48, 0, 4), (0x4C, message, 2)):
            s.add(f"{name}-message-{offset:x}", *config_write(bdf, offset, value, size))
    s.register(f"{name}-no-intx", bdf, COMMAND, s.values[bdf, COMMAND] | 0x400)
    if s.values[bdf, CONTROL] != on:
        s.register(f"{name}-on", bdf, CONTROL, on)


def drive(s: Scene, when: str, desc: int, source: int, target: int) -> None:
    """Everything that a kernel has its devices do; each part has a label."""
    messages(s, when, VIRTIO, 0x8001)
    s.add(f"{when}-queue", *virtqueue(desc))
    s.add(f"{when}-io", msi(VECTOR))
    for i, bdf in enumerate((EDU, BELOW)):
        name = f"{when}-{bdf}"
        if s.values[bdf, COMMAND] & 0x400:
            s.register(f"{name}-may-intx", bdf, COMMAND, s.values[bdf, COMMAND] & ~0x400)
        s.add(f"{name}-intx", *intx(bdf))
        messages(s, name, bdf, 0x81, MESSAGES[bdf])
        s.add(f"{name}-msi", edu(bdf, 0x60, 1), msi(MESSAGES[bdf]), edu(bdf, 0x64, 1))
        s.add(f"{name}-out", *edu_dma(bdf, 0x40000, source + i * DMA_SIZE, 5), msi(MESSAGES[bdf]))
        s.add(f"{name}-back", *edu_dma(bdf, target + i * DMA_SIZE), msi(MESSAGES[bdf]))


def drive_more(s: Scene, when: str, base: int) -> None:
    """The same of virtio-net and virtio-rng."""
    for bdf, name, descs in ((RNG, f"{when}-rng", [RNG_DESC]), (NET, f"{when}-net", [RX_DESC, TX_DESC])):
        messages(s, name, bdf, 0x8001)
        s.add(f"{name}-queues", *virtqueues(bdf, *(base + desc for desc in descs)))
        for index, vector in enumerate(VECTORS[bdf]):
            s.add(f"{name}-io-{index}", msi(vector))
    image = "second" if base else "first "
    s.steps.append(Step(f"{when}-net-log", [], [f"{image} 0000:{NET} virtio-net: 10.0.2.2 is at {GATEWAY_MAC.hex(':')}"]))
    s.frames += [PROBE, ANSWER]


def admin_queues(base: int) -> list[str]:
    """Of eight entries each."""
    addresses = ((0x28, ADMIN_SUBMISSION), (0x30, ADMIN_COMPLETION))
    return [nvme(0x24, 0x70007), *(nvme(at + i, (base + address) * (not i)) for at, address in addresses for i in (0, 4))]


def slot_command(bdf: Bdf) -> list[str]:
    """Reported by an interrupt, which is taken."""
    message = VECTORS[PORT][0] if bdf == PORT else MESSAGES[bdf]
    return [*config_write(bdf, SLOT_CONTROL, 0x7F0), msi(message), *config_write(bdf, SLOT_STATUS, 0x10)]


def drive_express(s: Scene, when: str, base: int) -> None:
    """The same of nvme and the ports."""
    for bdf, name in ((NVME, f"{when}-nvme"), (PORT, f"{when}-port"), (OLD_PORT, f"{when}-old-port")):
        if bdf in TABLES:
            messages(s, name, bdf, 0x8001, masked=True)
        else:
            messages(s, name, bdf, 0x91, MESSAGES[bdf])
        if bdf == NVME:
            s.add(f"{name}-queues", *admin_queues(base))
            s.add(f"{name}-enable", nvme(0x14, 0x460001))
            s.add(f"{name}-submit", nvme(0x1000, 1))
            s.add(f"{name}-io", msi(VECTORS[NVME][0]), nvme(0x1004, 1))
        else:
            s.add(f"{name}-errors", *config_write(bdf, 0x12C, 7, 4))
            s.add(f"{name}-command-1", *slot_command(bdf))
            s.add(f"{name}-command-2", *slot_command(bdf))
            s.add(f"{name}-deaf", *config_write(bdf, 0x12C, 0, 4), *config_write(bdf, SLOT_CONTROL, 0x7C0))
            s.add(f"{name}-completed", *config_write(bdf, SLOT_STATUS, 0x10))


def card_rings(base: int) -> list[str]:
    """Of three descriptors each; two buffers are posted."""
    return [card(at + i, value) for at, start in ((0x2800, CARD_RX), (0x3800, CARD_TX))
            for i, value in ((0, base + start), (4, 0), (8, 48), (0x10, 0), (0x18, 0))]


def drive_card(s: Scene, when: str, base: int) -> None:
    """The same of e1000e."""
    name = f"{when}-card"
    messages(s, name, CARD, 0x8001)
    s.add(f"{name}-rings", *card_rings(base))
    s.add(f"{name}-enable", card(0x100, 0x04008002), card(0x400, 0x3F0FA), card(0x2818, 2))
    s.add(f"{name}-send", card(0x3818, 1))
    s.add(f"{name}-io", msi(VECTORS[CARD][0]), card(0xC0, 0x80500000), card(0x2818, 2))
    image = "second" if base else "first "
    s.steps.append(Step(f"{name}-log", [], [f"{image} 0000:{CARD} e1000e: 10.0.2.2 is at {GATEWAY_MAC.hex(':')}"]))
    s.frames += [PROBE, ANSWER]


def _firmware(s: Scene) -> None:
    s.add("power-on", "runstate_set current_run_state 6 (prelaunch) new_state 9 (running)")
    for bdf, name in s.functions.items():
        if bdf in TABLES:
            s.add("firmware", f"pci_update_mappings_add {name} {bdf} 1,0x{TABLES[bdf]:x}+0x1000")
        if bdf in BARS:
            s.add("firmware", f"pci_update_mappings_add {name} {bdf} {BAR_NUMBER.get(bdf, 0)},0x{BARS[bdf]:x}+0x100000")
    for bdf in s.functions:
        s.add("firmware", *config_write(bdf, COMMAND, 0x7))
        s.values[bdf, COMMAND] = 0x7


def handoff(s: Scene, policy: str = "keep-msi", others: Others | None = None) -> Scene:
    """The whole story."""
    others = others or NO_OTHERS
    s.cmdline = f"handoff.shutdown={policy}"
    s.functions |= others.functions
    _firmware(s)
    messengers = [bdf for bdf in s.functions if bdf != BRIDGE]
    s.values |= {(bdf, CONTROL): CONTROL_OFF[bdf in TABLES] for bdf in messengers}
    s.add("enter-first", STOP, GO)
    s.add("first-enumerates", *enumeration(s.functions))

    others.drive(s, "first", 0)
    drive(s, "first", DESC, EDU_TARGET + 0x200, EDU_TARGET)
    others.arm(s)
    s.add("arm-edu", *edu_dma(EDU, EDU_TARGET), *edu_dma(BELOW, EDU_TARGET + DMA_SIZE))

    for bdf in (BELOW, *reversed(others.functions), BRIDGE, EDU, VIRTIO) if policy != "none" else ():
        _shut_down(s, bdf, policy)
    s.handed = {bdf: (s.values[bdf, COMMAND], s.values.get((bdf, CONTROL), 0)) for bdf in s.functions}
    s.add("jump", STOP, GO)
    s.add("second-enumerates", *enumeration(s.functions))

    for bdf in messengers:
        off = s.values[bdf, CONTROL] & (0x7FFF if bdf in TABLES else 0xFFFE)
        if s.values[bdf, CONTROL] != off:
            s.register(f"startup-{bdf}", bdf, CONTROL, off)

    s.add("reset", virtio(20, 0, 1))
    others.reset(s)
    for bdf in (VIRTIO, EDU, BRIDGE, BELOW, *others.functions) if policy != "none" else ():
        s.register(f"master-{bdf}", bdf, COMMAND, s.values[bdf, COMMAND] | 4)
    others.drive(s, "again", NEW)
    drive(s, "again", NEW_DESC, NEW_SOURCE, NEW_TARGET)
    _fill(s)
    others.fill(s)
    return s


# --- further devices ---


@dataclass(frozen=True)
class Others:
    """What they do in it."""

    functions: dict[Bdf, str]
    drive: Callable[[Scene, str, int], None]
    arm: Callable[[Scene], None]  # work that is in flight at the jump
    reset: Callable[[Scene], None]
    fill: Callable[[Scene], None]  # RAM


def _nothing(*_: object) -> None:
    pass


def _arm_net(s: Scene) -> None:
    s.add("arm-net", notify(1))
    s.frames.append(PROBE)


def _reset_more(s: Scene) -> None:
    for bdf in MORE:
        s.add(f"reset-{bdf}", virtio(20, 0, 1, bdf))


def _arm_nvme(s: Scene) -> None:
    s.add("arm-nvme", nvme(0x1000, 2))


def _reset_nvme(s: Scene) -> None:
    s.add(f"reset-{NVME}", nvme(0x14, 0x460000))


def _arm_card(s: Scene) -> None:
    s.add("arm-card", card(0x3818, 2))
    s.frames.append(PROBE)


def _reset_card(s: Scene) -> None:
    s.add("reset-card-stop", card(0xD8, 0xFFFFFFFF), card(0x100, 0), card(0x400, 0), card(0, 0x44))
    s.add("reset-card", card(0, 0x04000040))
    s.add("reset-card-mask", card(0xD8, 0xFFFFFFFF))


def _shut_down(s: Scene, bdf: Bdf, policy: str) -> None:
    command = s.values[bdf, COMMAND]
    if policy == "disable-msi" and bdf != BRIDGE:
        s.register(f"msi-off-{bdf}", bdf, CONTROL, s.values[bdf, CONTROL] & ~0x8001 | (bdf == VIRTIO))
        command &= ~0x400
        s.register(f"intx-on-{bdf}", bdf, COMMAND, command)
    s.register(f"out-{bdf}", bdf, COMMAND, command & ~4)


def _fill(s: Scene) -> None:
    """RAM at the jump and at the end, registers, disk.

    At the jump two reads of sector 0 are in flight: one that no device has come to, one whose data is there. At the end
    second has read the same.
    """
    s.disk = b"".join(pattern.sector(n, SEED) for n in range(pattern.SIZE // pattern.SECTOR)).ljust(1 << 20, b"\0")
    ram = s.before
    for base, letter in ((FIRST, b"1"), (SECOND, b"2")):
        payload = image(base, letter)[0x400:]
        ram[base:base + len(payload)] = payload
    ram[PARAMS + 0x202:PARAMS + 0x206] = b"HdrS"
    ram[PARAMS + 0x1E8] = 1
    struct.pack_into("<QQI", ram, PARAMS + E820_TABLE, DMA.start, len(DMA), E820_DMA)
    # A third has been returned: only then does the ring show that there is a device at all.
    ram[DESC:DESC + 96] = _request(0, HEADER, DATA, STATUS) + _request(3, HEADER, DATA + TAKEN, STATUS + 1)
    struct.pack_into("<HHHHH", ram, AVAIL, 0, 3, 0, 0, 3)
    struct.pack_into("<HHI", ram, USED, 0, 1, 0)
    struct.pack_into("<IIQ", ram, HEADER, 0, 0, 0)
    ram[STATUS] = 0xFF
    ram[DATA + TAKEN:DATA + 2 * TAKEN] = s.disk[:TAKEN]
    s.second = {
        NEW_DESC: _request(0, NEW_HEADER, NEW_DATA, NEW_STATUS),
        NEW_DESC + 0x200: struct.pack("<HHII", 0, 1, 0, TAKEN + 1),
        NEW_HEADER: bytes(16),
        NEW_STATUS: b"\0",
        NEW_DATA: s.disk[:TAKEN],
        NEW_SOURCE: bytes(range(256)) * 2,
        NEW_TARGET: bytes(range(256)) * 2,
    }
    s.registers = {"RIP": SECOND + 0x200, "RSI": PARAMS, "RFL": 2, "CS": 0x10, "DS": 0x18, "ES": 0x18, "SS": 0x18}
    s.registers |= {"CR0": 0x80000033, "EFER": 0xD00, "pic0": 0xFF, "pic1": 0xFF, "LVT0": 0x10000, "SPIV": 0xFF}


def _fill_more(s: Scene) -> None:
    """At the jump a receive buffer, a frame to be sent and an entropy request are in flight; one of each has returned."""
    frame = bytes(12) + ANSWER
    for address, data in {
        **ring(RX_DESC, [(RX_DATA + i * RX_SIZE, RX_SIZE, 2) for i in range(2)], [0, 1], [(0, len(frame))]),
        **ring(TX_DESC, [(TX_DATA, 12 + len(PROBE), 0)], [0, 0], [(0, 0)]),
        **ring(RNG_DESC, [(RNG_DATA + i * RNG_SIZE, RNG_SIZE, 2) for i in range(2)], [0, 1], [(0, 16)]),
        RX_DATA: frame,
        TX_DATA: bytes(12) + PROBE,
        RNG_DATA: b"\x5c" * 2 * RNG_SIZE,
    }.items():
        s.before[address:address + len(data)] = data
    s.second |= {
        **ring(NEW + RX_DESC, [(NEW + RX_DATA, RX_SIZE, 2)], [0], [(0, len(frame))]),
        **ring(NEW + TX_DESC, [(NEW + TX_DATA, 12 + len(PROBE), 0)], [0], [(0, 0)]),
        **ring(NEW + RNG_DESC, [(NEW + RNG_DATA, RNG_SIZE, 2)], [0], [(0, 16)]),
        NEW + RX_DATA: frame,
        NEW + RNG_DATA: random.Random(SEED).randbytes(16) + b"\x5c" * (RNG_SIZE - 16),
    }


def _fill_express(s: Scene) -> None:
    """Identify has been completed; at the jump an Asynchronous Event Request has not."""
    identify, event = (struct.pack("<BxH20xQ32x", *command) for command in ((6, 1, IDENTIFIED), (12, 2, 0)))
    completion, vendor = struct.pack("<12xHH", 1, 1), struct.pack("<H", QEMU_VENDOR)
    for address, data in ((ADMIN_SUBMISSION, identify + event), (ADMIN_COMPLETION, completion), (IDENTIFIED, vendor)):
        s.before[address:address + len(data)] = data
    s.second |= {
        NEW + ADMIN_SUBMISSION: struct.pack("<BxH20xQ32x", 6, 1, NEW + IDENTIFIED),
        NEW + ADMIN_COMPLETION: completion,
        NEW + IDENTIFIED: vendor,
    }


def _fill_card(s: Scene) -> None:
    """The answer came into the first buffer, which is posted again; one frame was sent, and at the jump another."""
    for base, end in ((0, s.before), (NEW, None)):
        buffers = [base + CARD_DATA + i * CARD_BUFFER for i in range(3)]
        data = {
            base + CARD_RX: b"".join(struct.pack("<QHxxBxxx", b, len(ANSWER) * (not i), 0) for i, b in enumerate(buffers)),
            base + CARD_TX: struct.pack("<QHxxBxxx", base, len(PROBE), 1) * (1 if base else 2),
            base + CARD_DATA: ANSWER,
        }
        if end is None:
            s.second |= data
        else:
            for address, part in data.items():
                end[address:address + len(part)] = part


def ring(desc: int, parts: list[tuple[int, int, int]], available: list[int], used: list[tuple[int, int]]) -> dict[int, bytes]:
    """A queue of requests that are one descriptor each."""
    return {
        desc: b"".join(struct.pack("<QIHH", *part, 0) for part in parts),
        desc + 0x100: struct.pack(f"<HH{len(available)}H", 0, len(available), *available),
        desc + 0x200: struct.pack("<HH", 0, len(used)) + b"".join(struct.pack("<II", *element) for element in used),
    }


def _request(head: int, header: int, data: int, status: int) -> bytes:
    """A read as its three descriptors."""
    parts = ((header, 16, 1, head + 1), (data, TAKEN, 3, head + 2), (status, 1, 2, 0))
    return b"".join(struct.pack("<QIHH", *part) for part in parts)


NO_OTHERS = Others({}, _nothing, _nothing, _nothing, _nothing)
VIRTIO_OTHERS = Others(MORE, drive_more, _arm_net, _reset_more, _fill_more)
EXPRESS_OTHERS = Others(EXPRESS, drive_express, _arm_nvme, _reset_nvme, _fill_express)
CARD_OTHERS = Others(CARDS, drive_card, _arm_card, _reset_card, _fill_card)
