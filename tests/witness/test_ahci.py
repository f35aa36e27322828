# SPDX-License-Identifier: BSD-2-Clause
"""Claim: of a SATA disk as much is asked as of any other: its own message, what only IDENTIFY DEVICE brings, a reset before bus
master, a read in the disk's hands when bus master goes; and what lands afterwards is the disk's, where a read in flight said.

It could be false if a rule is content with what another device did, takes a read that only waits for one that the disk has, or
excuses more than that read. Provoked by the whole story with such a disk at 00:11.0 in it, and one small change a rule; exactly
the named rules must object.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable

import pytest
from tests.witness.scene import (
    BEHIND, BRIDGE, COMMAND, CONTROL, CONTROL_OFF, DMA, EDU, LINES, MESSAGES, NEW, VIRTIO,
    Scene, config_write, gsi, handoff, memory_write, msi,
)  # fmt: skip

from witness import devices
from witness.devices import ahci
from witness.devices.ahci import AHCI_CLASS
from witness.evidence.case import Case
from witness.machine.description import Content, Sata
from witness.machine.record import Run
from witness.pci.topology import Bdf

AHCI = Bdf.parse("00:11.0")
BAR, MESSAGE, LINE = 0xE1000000, 0x70, 21
SATA = Sata("sata", AHCI.device, Content.RANDOM, mib=1)

# first's command list, FISes, tables and buffers, each of a sector; second's are NEW above them.
LIST, RECEIVED, TABLES, DATA = 0x6000, 0x6400, 0x6800, 0x5800
SIZE, CANARY = 512, b"\x5c"
TOLD, TAKEN, WAITING = range(3)  # at the jump, of the reads in these slots: its message came; its data; nothing


def port(register: int, value: int) -> str:
    return memory_write("ahci", BAR + 0x100 + register, value, 4)


def host(register: int, value: int) -> str:
    return memory_write("ahci", BAR + register, value, 4)


RESET = [host(0x04, 0x80000001), host(0x04, 0x80000000)]
ACKNOWLEDGED = [port(0x10, 1), host(0x08, 1)]


def addresses(base: int) -> list[str]:
    return [port(at + i, (base + address) * (not i)) for at, address in ((0x00, LIST), (0x08, RECEIVED)) for i in (0, 4)]


def command(base: int, slot: int, kind: int, sector: int, sectors: int, done: int) -> dict[int, bytes]:
    """Header and table."""
    table, data = base + TABLES + 0x100 * slot, base + DATA + SIZE * slot
    return {
        base + LIST + 32 * slot: struct.pack("<IIQ", 1 << 16 | 5, done, table),
        table: struct.pack("<5I", kind << 16 | 0x8027, 0x40000000 | sector, 0, sectors, 0),
        table + 0x80: struct.pack("<QII", data, 0, SIZE - 1),
    }


def identity(sectors: int, commands: int = 0x7400) -> bytes:
    words = [0] * 256
    words[83], words[100], words[101] = commands, sectors & 0xFFFF, sectors >> 16
    return struct.pack("<256H", *words)


@dataclass
class SataScene(Scene):
    """The story of another scene with a SATA disk in it."""

    sata: bytes = b""  # the disk in the end; empty: as it was made

    def function(self, command: int, control: int) -> bytes:
        space = bytearray(256)
        struct.pack_into("<HHHH", space, 0, 0x8086, 0x2922, command, 0x0010)
        struct.pack_into("<I", space, 0x08, AHCI_CLASS << 8)
        struct.pack_into("<I", space, 0x24, BAR)
        space[0x34], space[0x3C], space[0x3D], space[0x40] = 0x40, LINES[EDU][1], 1, 0x05
        struct.pack_into("<HQH", space, CONTROL, control, 0xFEE00000, MESSAGE)
        return bytes(space)

    def run(self) -> Run:
        run = super().run()
        SATA.create(self.directory)
        if self.sata:
            SATA.file(self.directory).write_bytes(self.sata)
        found, handed = run.entries
        found = replace(found, configs=found.configs | {AHCI: self.function(0x7, CONTROL_OFF[False])})
        handed = replace(handed, configs=handed.configs | {AHCI: self.function(0x403, 0x81)})
        return replace(run, machine=replace(run.machine, sata=(SATA,)), entries=[found, handed])


def drive(s: Scene, when: str, base: int) -> None:
    for offset, value, size in ((0x44, 0xFEE00000, 4), (0x48, 0, 4), (0x4C, MESSAGE, 2)):
        s.add(f"{when}-ahci-message-{offset:x}", *config_write(AHCI, offset, value, size))
    s.register(f"{when}-ahci-no-intx", AHCI, COMMAND, s.values[AHCI, COMMAND] | 0x400)
    s.register(f"{when}-ahci-on", AHCI, CONTROL, 0x81)
    s.add(f"{when}-ahci-addresses", *addresses(base))
    s.add(f"{when}-ahci-start", port(0x18, 0x16), port(0x14, 0x78000003), port(0x18, 0x17), host(0x04, 0x80000002))
    s.add(f"{when}-ahci-issue", port(0x38, 1))
    s.add(f"{when}-ahci-io", msi(MESSAGE), *ACKNOWLEDGED)


@pytest.fixture
def scene(tmp_path: Path) -> SataScene:
    s, part = SataScene(tmp_path), Scene(tmp_path)
    handoff(s)

    def insert(before: str) -> None:
        at = s.steps.index(s.step(before))
        s.steps[at:at] = part.steps
        part.steps.clear()

    part.values = {(AHCI, COMMAND): 0x7, (AHCI, CONTROL): CONTROL_OFF[False]}
    part.add("firmware", f"pci_update_mappings_add ich9-ahci {AHCI} 5,0x{BAR:x}+0x1000", *config_write(AHCI, COMMAND, 0x7))
    insert("enter-first")
    part.add("first-ahci-reset", *RESET)
    drive(part, "first", 0)
    insert("first-table")
    part.add("arm-ahci", port(0x38, 0b111), msi(MESSAGE), *ACKNOWLEDGED)
    insert("arm-edu")
    part.register("out-ahci", AHCI, COMMAND, 0x403)
    insert(f"out-{BRIDGE}")
    part.register("startup-ahci", AHCI, CONTROL, 0x80)
    insert("reset")
    part.add("reset-ahci", *RESET)
    insert(f"master-{VIRTIO}")
    part.register("master-ahci", AHCI, COMMAND, 0x407)
    insert(f"master-{BEHIND}")
    drive(part, "again", NEW)
    insert("again-table")
    disk = SATA.original()
    ram: dict[int, bytes] = {}
    for slot in (TOLD, TAKEN, WAITING):
        landed = slot != WAITING
        ram |= command(0, slot, ahci.READ_DMA_EXT, slot, 1, SIZE * landed)
        ram[DATA + SIZE * slot] = disk[SIZE * slot:][:SIZE] if landed else SIZE * CANARY
    for address, data in ram.items():
        s.before[address:address + len(data)] = data
    s.second |= command(NEW, 0, ahci.IDENTIFY, 0, 0, SIZE) | {NEW + DATA: identity(len(disk) // SIZE)}
    return s


def test_all_hold(scene: SataScene) -> None:
    assert scene.failed() == set()


def test_what_is_driven(scene: SataScene) -> None:
    run = scene.run()
    assert AHCI in {function.bdf for function, _ in devices.working(Case(run))}
    without = replace(run, machine=replace(run.machine, sata=()))
    assert AHCI not in {function.bdf for function, _ in devices.working(Case(without))}


Change = Callable[[SataScene], None]
CHANGES: list[object] = []


def change(*rules: str) -> Callable[[Change], Change]:
    def register(function: Change) -> Change:
        CHANGES.append(pytest.param(function, set(rules), id=function.__name__))
        return function

    return register


# --- it is driven ---


@change("driven-next")
def no_message(s: SataScene) -> None:
    s.replace("again-ahci-io", *ACKNOWLEDGED)


@change("driven-next")
def a_message_before_the_command(s: SataScene) -> None:
    s.move_after("again-ahci-issue", "again-ahci-io")


@change("driven-next")
def another_function_s_message(s: SataScene) -> None:
    s.replace("again-ahci-io", msi(MESSAGES[EDU]), *ACKNOWLEDGED)


@change("driven-first")
def first_has_no_message(s: SataScene) -> None:
    for label in ("first-ahci-io", "arm-ahci"):
        s.replace(label, *s.step(label).lines[:1] * (label == "arm-ahci"))
    s.before[LIST + 4:LIST + 8] = bytes(4)


@change("driven-next")
def its_message_is_not_programmed(s: SataScene) -> None:
    s.drop("again-ahci-message-4c")


@change("driven-next")
def the_port_is_not_started(s: SataScene) -> None:
    s.replace("again-ahci-start", port(0x18, 0x16))


@change("driven-next")
def the_port_is_stopped_before_the_command(s: SataScene) -> None:
    s.before_step("again-ahci-issue", port(0x18, 0x16))


@change("driven-next")
def the_controller_is_reset_in_the_end(s: SataScene) -> None:
    s.after_step("again-ahci-io", *RESET)


@change("driven-next")
def no_command_is_issued(s: SataScene) -> None:
    s.drop("again-ahci-issue")


@change("driven-next")
def a_disk_of_another_size(s: SataScene) -> None:
    s.second[NEW + DATA] = identity(2047)


@change("driven-next")
def a_page_that_is_no_identity(s: SataScene) -> None:
    s.second[NEW + DATA] = identity(2048, 0xFFFF)


@change("driven-next")
def its_identity_is_elsewhere(s: SataScene) -> None:
    s.second[NEW + TABLES + 0x80] = struct.pack("<QII", NEW + DATA + SIZE, 0, SIZE - 1)


@change("driven-next")
def another_command(s: SataScene) -> None:
    s.second |= command(NEW, 0, ahci.READ_DMA_EXT, 0, 1, SIZE)


@change("driven-next")
def another_slot(s: SataScene) -> None:
    s.replace("again-ahci-issue", port(0x38, 2))


# --- reset, load ---


@change("reset")
def it_is_not_reset(s: SataScene) -> None:
    s.drop("reset-ahci")


@change("reset")
def its_interrupts_are_off_and_no_more(s: SataScene) -> None:
    s.replace("reset-ahci", RESET[1])


@change("reset")
def it_is_reset_too_late(s: SataScene) -> None:
    s.move_after("reset-ahci", "master-ahci")


@change()
def it_is_made_to_speak_ahci_first(s: SataScene) -> None:
    s.replace("reset-ahci", RESET[1], *RESET)


@change("reset", "window-device")
def a_command_before_the_reset(s: SataScene) -> None:
    s.before_step("reset", port(0x38, 8))


@change("load")
def every_read_was_told_of(s: SataScene) -> None:
    s.after_step("arm-ahci", msi(MESSAGE), msi(MESSAGE))


@change("load")
def the_disk_has_taken_none(s: SataScene) -> None:
    s.before[LIST + 32 * TAKEN + 4:LIST + 32 * TAKEN + 8] = bytes(4)


@change("load")
def no_read_is_issued(s: SataScene) -> None:
    s.drop("arm-ahci")


@change("load")
def what_is_issued_is_no_read(s: SataScene) -> None:
    for slot in (TOLD, TAKEN, WAITING):
        s.before[TABLES + 0x100 * slot + 2] = 0x35  # WRITE DMA EXT


# --- the out phase, the window ---


@change()
def a_read_that_ends_meanwhile_is_acknowledged(s: SataScene) -> None:
    s.before_step("out-ahci", *ACKNOWLEDGED)


@change("out-device")
def a_read_is_acknowledged_that_nobody_told_of(s: SataScene) -> None:
    s.replace("arm-ahci", port(0x38, 0b111))
    s.before[LIST + 32 * TOLD + 4:LIST + 32 * TOLD + 8] = bytes(4)
    s.before_step("out-ahci", *ACKNOWLEDGED)


@change("out-device", "load")
def a_command_in_the_out_phase(s: SataScene) -> None:
    s.before_step("out-ahci", port(0x38, 8))


@change("window-msi")
def its_message_in_the_window(s: SataScene) -> None:
    s.before_step("jump", msi(MESSAGE))


# --- what lands ---


@change()
def the_read_that_waits_lands(s: SataScene) -> None:
    s.after = {
        DATA + SIZE * WAITING: SATA.original()[SIZE * WAITING:][:SIZE],
        LIST + 32 * WAITING + 4: struct.pack("<I", SIZE),
        RECEIVED + 0x40: b"\x34\x40",
    }


@change("ram")
def other_bytes_land(s: SataScene) -> None:
    s.after = {DATA + SIZE * WAITING: SATA.original()[:SIZE]}


@change("ram")
def more_bytes_are_counted(s: SataScene) -> None:
    s.after = {LIST + 32 * WAITING + 4: struct.pack("<I", SIZE + 1)}


@change("ram")
def a_read_that_had_ended_lands_again(s: SataScene) -> None:
    s.before[DATA:DATA + SIZE] = SIZE * CANARY
    s.after = {DATA: SATA.original()[:SIZE]}


@change("reserved")
def a_read_in_flight_goes_where_nobody_knows(s: SataScene) -> None:
    struct.pack_into("<Q", s.before, TABLES + 0x100 * WAITING + 0x80, DMA.stop - 1)


@change()
def a_read_that_had_ended_may_have_gone_there(s: SataScene) -> None:
    struct.pack_into("<Q", s.before, TABLES + 0x100 * TOLD + 0x80, DMA.stop)


@change("ram", "driven-next")
def second_takes_reserved_memory_for_its_commands(s: SataScene) -> None:
    s.replace("again-ahci-addresses", *addresses(0))


@change("disk-kept")
def the_disk_was_written_to(s: SataScene) -> None:
    s.sata = SATA.original()[:-1] + b"?"


@pytest.mark.parametrize("break_it, rules", CHANGES)
def test_only_the_named_rules_object(scene: SataScene, break_it: Change, rules: set[str]) -> None:
    break_it(scene)
    assert scene.failed() == rules


def test_without_msi_it_has_a_line(scene: SataScene) -> None:
    for label in ("message-44", "message-48", "message-4c", "on"):
        scene.drop(f"again-ahci-{label}")
    scene.replace("again-ahci-no-intx", *config_write(AHCI, COMMAND, 0x7))
    scene.replace("again-ahci-io", *ACKNOWLEDGED)
    assert complaints(scene) == ["no INTx raised, taken and lowered"]
    scene.replace("again-ahci-io", *gsi(LINE, 1), f"pic_interrupt irq {LINES[EDU][1]} intno 43", *ACKNOWLEDGED, *gsi(LINE, 0))
    assert complaints(scene) == []


def complaints(scene: SataScene) -> list[str]:
    run = scene.run()
    entries = []
    for entry in run.entries:
        config = bytearray(entry.configs[AHCI])
        config[0x34] = 0  # no capabilities
        entries.append(replace(entry, configs=entry.configs | {AHCI: bytes(config)}))
    case = Case(replace(run, entries=entries))
    return devices.not_driven(case, case.topology.functions[AHCI], case.hops[0].inward, case.run.ram_after(), last=True)
