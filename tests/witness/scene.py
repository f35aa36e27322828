# SPDX-License-Identifier: BSD-2-Clause
"""A hand-off made of text: the files that a run would leave, written by hand.

The machine: virtio-blk at 00:03.0 (MSI-X), edu at 00:05.0 (MSI), a bridge at 00:06.0, edu behind it at 01:00.0 (MSI).
Trace lines have QEMU 7.2's exact form. Each step has a label by which a test drops, replaces or surrounds it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

from witness import pattern
from witness.image import E820_DMA, E820_TABLE
from witness.judge import Result, judge
from witness.machine import Content, Disk, Machine
from witness.pci import Bdf
from witness.record import Entry, Outcome, Run, ram_file

VIRTIO, EDU, BRIDGE, BEHIND = (Bdf.parse(text) for text in ("00:03.0", "00:05.0", "00:06.0", "01:00.0"))
NAMES = {VIRTIO: "virtio-blk-pci", EDU: "edu", BRIDGE: "pcie-root-port", BEHIND: "edu"}
CONTROL = 0x42  # MSI and MSI-X control alike: the capability is at 0x40
COMMAND = 0x04
WORDS = {COMMAND: "command", CONTROL: "msi control"}
BARS = {VIRTIO: 0xE0000000, EDU: 0xC0100000, BEHIND: 0xC0200000}
MESSAGES = {EDU: 0x41, BEHIND: 0x42}

RAM_SIZE = 0x40000
FIRST, SECOND, INIT_SIZE = 0x10000, 0x20000, 0x2000
PARAMS = 0x1000
DMA = range(0x4000, 0x8000)
DESC, AVAIL, USED, HEADER, STATUS, DATA = 0x4000, 0x4100, 0x4200, 0x4800, 0x4810, 0x5000
EDU_TARGET = 0x7000
NEW_DESC = 0x30000  # second's own virtqueue
SEED = 0x1234


def config(bdf: Bdf, command: int, control: int) -> bytes:
    space = bytearray(256)
    vendor = {VIRTIO: 0x1AF4, BRIDGE: 0x1B36}.get(bdf, 0x1234)
    struct.pack_into("<HHHH", space, 0, vendor, 0x1042, command, 0x0010)
    space[0x34], space[0x3D] = 0x40, 1
    if bdf == BRIDGE:
        space[0x0E], space[0x19], space[0x1A], space[0x34] = 1, 1, 1, 0
    struct.pack_into("<BBH", space, 0x40, 0x11 if bdf == VIRTIO else 0x05, 0, control)
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
    told: list[str] = field(default_factory=list)  # what the guest's log says of it


@dataclass
class Scene:
    directory: Path
    cmdline: str = ""
    steps: list[Step] = field(default_factory=list)
    values: dict[tuple[Bdf, int], int] = field(default_factory=dict)
    handed: dict[Bdf, tuple[int, int]] = field(default_factory=dict)
    registers: dict[str, int] = field(default_factory=dict)
    before: bytearray = field(default_factory=lambda: bytearray(RAM_SIZE))
    after: dict[int, bytes] = field(default_factory=dict)  # what differs at the end
    disk: bytes = b""

    # --- steps ---

    def add(self, label: str, *lines: str) -> None:
        self.steps.append(Step(label, list(lines)))

    def register(self, label: str, bdf: Bdf, offset: int, value: int) -> None:
        """A 16-bit write that the guest tells of."""
        old = self.values.get((bdf, offset), 0)
        self.values[bdf, offset] = value
        word = "msix control" if (bdf, offset) == (VIRTIO, CONTROL) else WORDS[offset]
        told = f"first  pci 0000:{bdf} {word} 0x{old:04x} -> 0x{value:04x} (why)"
        self.steps.append(Step(label, config_write(bdf, offset, value), [told]))

    def step(self, label: str) -> Step:
        return next(step for step in self.steps if step.label == label)

    def drop(self, label: str) -> None:
        self.steps.remove(self.step(label))

    def replace(self, label: str, *lines: str) -> None:
        self.step(label).lines = list(lines)

    def before_step(self, label: str, *lines: str) -> None:
        self.steps.insert(self.steps.index(self.step(label)), Step("", list(lines)))

    def after_step(self, label: str, *lines: str, told: str = "") -> None:
        self.steps.insert(self.steps.index(self.step(label)) + 1, Step("", list(lines), [told] if told else []))

    def move_after(self, label: str, other: str) -> None:
        step = self.step(label)
        self.steps.remove(step)
        self.steps.insert(self.steps.index(self.step(other)) + 1, step)

    # --- the result ---

    def run(self) -> Run:
        lines = [line for step in self.steps for line in step.lines]
        told = [line for step in self.steps for line in step.told]
        (self.directory / "trace.log").write_text("\n".join(lines) + "\n")
        (self.directory / "guest.log").write_text("\n".join([*told, "GUEST: pass"]) + "\n")
        (self.directory / "scratch.img").write_bytes(self.disk)
        images = {}
        for name, preferred, letter in (("first", FIRST, b"1"), ("second", SECOND, b"2")):
            images[name] = self.directory / f"{name}.bin"
            images[name].write_bytes(image(preferred, letter))
        ram_file(self.directory, "second").write_bytes(self.before)
        end = bytearray(self.before)
        for address, data in self.after.items():
            end[address:address + len(data)] = data
        (self.directory / "ram").write_bytes(end)
        found = {bdf: config(bdf, 0x7, 0x80 if bdf in MESSAGES else 1) for bdf in NAMES}
        handed = {bdf: config(bdf, *values) for bdf, values in self.handed.items()}
        return Run(
            directory=self.directory,
            machine=Machine(disks=(Disk("scratch", 3, Content.ZEROS),)),
            images=images,
            cmdline=self.cmdline,
            versions={"QEMU": "7.2.22"},
            outcome=Outcome.PASS,
            detail="GUEST: pass",
            entries=[
                Entry("first", FIRST, 0, self.registers, found),
                Entry("second", SECOND, 1, self.registers, handed),
            ],
        )

    def results(self) -> dict[str, Result]:
        return {verdict.id: verdict.result for verdict in judge(self.run())}

    def failed(self) -> set[str]:
        return {id for id, result in self.results().items() if result is not Result.PASS}


def config_write(bdf: Bdf, offset: int, value: int, size: int = 2) -> list[str]:
    address = 0xB0000000 + (bdf.bus << 20 | bdf.device << 15 | bdf.function << 12 | offset)
    return [
        memory_write("pcie-mmcfg-mmio", address, value, size),
        f"pci_cfg_write {NAMES[bdf]} {bdf} @0x{offset:x} <- 0x{value:x}",
    ]


def memory_write(region: str, address: int, value: int, size: int) -> str:
    return f"memory_region_ops_write cpu 0 mr 0x55 addr 0x{address:x} value 0x{value:x} size {size} name '{region}'"


def virtio(offset: int, value: int, size: int = 4) -> str:
    return memory_write("virtio-pci-common-virtio-blk", BARS[VIRTIO] + offset, value, size)


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
    return [virtio(20, 0, 1), virtio(22, 0, 2), virtio(24, 8, 2)] + [
        virtio(offset, value) for offset, value in ((32, desc), (40, desc + 0x100), (48, desc + 0x200))
    ] + [virtio(36, 0), virtio(44, 0), virtio(52, 0), virtio(28, 1, 2), virtio(20, 15, 1)]  # fmt: skip


def edu_dma(bdf: Bdf, target: int) -> list[str]:
    return [edu(bdf, 0x80, 0x40000), edu(bdf, 0x88, target), edu(bdf, 0x90, 0x100), edu(bdf, 0x98, 7)]


def handoff(s: Scene, policy: str = "keep-msi") -> Scene:
    """The whole story."""
    s.cmdline = f"handoff.shutdown={policy}"
    s.add("power-on", "runstate_set current_run_state 6 (prelaunch) new_state 9 (running)")
    for bdf, bar in BARS.items():
        s.add("firmware", f"pci_update_mappings_add {NAMES[bdf]} {bdf} 0,0x{bar:x}+0x100000")
    for bdf in NAMES:
        s.add("firmware", *config_write(bdf, COMMAND, 0x7))
        s.values[bdf, COMMAND] = 0x7
    s.values |= {(VIRTIO, CONTROL): 1, (EDU, CONTROL): 0x80, (BEHIND, CONTROL): 0x80}
    s.add("enter-first", STOP, GO)

    s.add("drive", *virtqueue(DESC))
    _enable_messages(s, "drive")
    s.add("drive", msi(0x41))
    s.add("arm-edu", *edu_dma(EDU, EDU_TARGET), *edu_dma(BEHIND, EDU_TARGET + 0x100))

    for bdf in (BEHIND, BRIDGE, EDU, VIRTIO):
        _shut_down(s, bdf, policy)
    s.handed = {bdf: (s.values[bdf, COMMAND], s.values.get((bdf, CONTROL), 0)) for bdf in NAMES}
    s.add("jump", STOP, GO)

    for bdf, off in ((VIRTIO, 1), (EDU, 0x80), (BEHIND, 0x80)):
        if s.values[bdf, CONTROL] != off:
            s.register(f"startup-{bdf}", bdf, CONTROL, off)

    s.add("reset", virtio(20, 0, 1))
    for bdf in (VIRTIO, EDU, BRIDGE, BEHIND):
        s.register(f"master-{bdf}", bdf, COMMAND, s.values[bdf, COMMAND] | 4)
    s.add("drive-again", *virtqueue(NEW_DESC))
    _enable_messages(s, "drive-again")
    _fill(s)
    return s


def _enable_messages(s: Scene, label: str) -> None:
    for bdf, on in ((VIRTIO, 0x8001), (EDU, 0x81), (BEHIND, 0x81)):
        if not s.values[bdf, COMMAND] & 0x400:
            s.register(label, bdf, COMMAND, s.values[bdf, COMMAND] | 0x400)
        s.register(label, bdf, CONTROL, on)


def _shut_down(s: Scene, bdf: Bdf, policy: str) -> None:
    command = s.values[bdf, COMMAND]
    if policy == "disable-msi" and bdf != BRIDGE:
        s.register(f"msi-off-{bdf}", bdf, CONTROL, s.values[bdf, CONTROL] & ~0x8001 | (bdf == VIRTIO))
        command &= ~0x400
        s.register(f"intx-on-{bdf}", bdf, COMMAND, command)
    s.register(f"out-{bdf}", bdf, COMMAND, command & ~4)


def _fill(s: Scene) -> None:
    """RAM at the jump, registers and disk: one read of sector 0 is in flight, into DATA."""
    ram = s.before
    for base, letter in ((FIRST, b"1"), (SECOND, b"2")):
        payload = image(base, letter)[0x400:]
        ram[base:base + len(payload)] = payload
    ram[PARAMS + 0x202:PARAMS + 0x206] = b"HdrS"
    ram[PARAMS + 0x1E8] = 1
    struct.pack_into("<QQI", ram, PARAMS + E820_TABLE, DMA.start, len(DMA), E820_DMA)
    descriptors = ((HEADER, 16, 1, 1), (DATA, 0x400, 3, 2), (STATUS, 1, 2, 0))
    for i, descriptor in enumerate(descriptors):
        struct.pack_into("<QIHH", ram, DESC + 16 * i, *descriptor)
    struct.pack_into("<HHH", ram, AVAIL, 0, 1, 0)
    struct.pack_into("<IIQ", ram, HEADER, 0, 0, 0)
    ram[STATUS] = 0xFF
    s.registers = {"RIP": SECOND + 0x200, "RSI": PARAMS, "RFL": 2, "CS": 0x10, "DS": 0x18, "ES": 0x18, "SS": 0x18}
    s.registers |= {"CR0": 0x80000033, "EFER": 0xD00, "pic0": 0xFF, "pic1": 0xFF, "LVT0": 0x10000, "SPIV": 0xFF}
    s.disk = b"".join(pattern.sector(n, SEED) for n in range(pattern.SIZE // pattern.SECTOR))
