# SPDX-License-Identifier: BSD-2-Clause
"""Claim: of a SATA disk as much is asked as of any other: its own message, what only IDENTIFY DEVICE brings, a reset before bus
master, a read that the disk has taken when bus master is cleared; afterwards only data of reads in flight lands.

It could be false if a rule is content with what another device did, takes a read that only waits for one that the disk has, or
excuses more than that read. Provoked by the whole story with such a disk at 00:11.0 in it, and one small change a rule; exactly
the named rules must object.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest
from tests.witness.scene import (
    BARS, COMMAND, DMA, EDU, HBA, HBAS, LINES, MESSAGES, NEW, SATA,
    Change, Others, Scene, after, all_of, at_end, at_jump, before, cases, complaints, config_write, gsi, handoff, instead, lands,
    later, memory_write, messages, msi, without, without_capabilities,
)  # fmt: skip

from witness import devices
from witness.devices import ahci
from witness.evidence.case import Case

BAR, MESSAGE, (LINE, IRQ) = BARS[HBA], MESSAGES[HBA], LINES[HBA]
CONTENT = SATA.original()

# first's command list, FISes, tables and buffers, each of a sector; second's are NEW above them.
LIST, RECEIVED, TABLES, DATA = 0x6000, 0x6400, 0x6800, 0x5800
SIZE, CANARY = 512, b"\x5c"
REPORTED, TAKEN, WAITING = range(3)  # the reads in these slots at the jump: its message came; its data; nothing


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


def drive(s: Scene, when: str, base: int) -> None:
    if not base:
        s.add("first-ahci-reset", *RESET)
    messages(s, f"{when}-ahci", HBA, 0x81, MESSAGE)
    s.add(f"{when}-ahci-addresses", *addresses(base))
    s.add(f"{when}-ahci-start", port(0x18, 0x16), port(0x14, 0x78000003), port(0x18, 0x17), host(0x04, 0x80000002))
    s.add(f"{when}-ahci-issue", port(0x38, 1))
    s.add(f"{when}-ahci-io", msi(MESSAGE), *ACKNOWLEDGED)


def fill(s: Scene) -> None:
    for slot in (REPORTED, TAKEN, WAITING):
        landed = slot != WAITING
        data = CONTENT[SIZE * slot:][:SIZE] if landed else SIZE * CANARY
        s.put({**command(0, slot, ahci.READ_DMA_EXT, slot, 1, SIZE * landed), DATA + SIZE * slot: data})
    s.second |= command(NEW, 0, ahci.IDENTIFY, 0, 0, SIZE) | {NEW + DATA: identity(len(CONTENT) // SIZE)}


OTHERS = Others(
    HBAS,
    drive,
    arm=lambda s: s.add("arm-ahci", port(0x38, 0b111), msi(MESSAGE), *ACKNOWLEDGED),
    reset=lambda s: s.add("reset-ahci", *RESET),
    fill=fill,
)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return handoff(Scene(tmp_path), others=OTHERS)


def counted(slot: int, size: int) -> dict[int, bytes]:
    """The bytes that a command's header says were transferred."""
    return {LIST + 32 * slot + 4: struct.pack("<I", size)}


def target(slot: int, address: int) -> dict[int, bytes]:
    """Where a command's data go."""
    return {TABLES + 0x100 * slot + 0x80: struct.pack("<Q", address)}


WRITE_DMA_EXT = b"\x35"
WAITS, NOT_TAKEN = DATA + SIZE * WAITING, counted(REPORTED, 0)

CHANGES: dict[str, dict[str, Change]] = {
    "": {
        "it is made to speak AHCI first": instead("reset-ahci", RESET[1], *RESET),
        "a read that ends meanwhile is acknowledged": before(f"out-{HBA}", *ACKNOWLEDGED),
        "the read that waits lands": lands({
            WAITS: CONTENT[SIZE * WAITING:][:SIZE], **counted(WAITING, SIZE), RECEIVED + 0x40: b"\x34\x40",
        }),
        "a read that had ended may have gone there": at_jump(target(REPORTED, DMA.stop)),
    },
    "driven-first": {
        "first has no message": all_of(
            instead("first-ahci-io"), instead("arm-ahci", port(0x38, 0b111)), at_jump(NOT_TAKEN)
        ),
    },
    "driven-next": {
        "no message": instead("again-ahci-io", *ACKNOWLEDGED),
        "a message before the command": later("again-ahci-issue", "again-ahci-io"),
        "another function's message": instead("again-ahci-io", msi(MESSAGES[EDU]), *ACKNOWLEDGED),
        "its message is not programmed": without("again-ahci-message-4c"),
        "the port is not started": instead("again-ahci-start", port(0x18, 0x16)),
        "the port is stopped before the command": before("again-ahci-issue", port(0x18, 0x16)),
        "the controller is reset in the end": after("again-ahci-io", *RESET),
        "no command is issued": without("again-ahci-issue"),
        "a disk of another size": at_end({NEW + DATA: identity(2047)}),
        "a page that is no identity": at_end({NEW + DATA: identity(2048, 0xFFFF)}),
        "its identity is elsewhere": at_end({NEW + TABLES + 0x80: struct.pack("<QII", NEW + DATA + SIZE, 0, SIZE - 1)}),
        "another command": at_end(command(NEW, 0, ahci.READ_DMA_EXT, 0, 1, SIZE)),
        "another slot": instead("again-ahci-issue", port(0x38, 2)),
    },
    "reset": {
        "it is not reset": without("reset-ahci"),
        "its interrupts are off and no more": instead("reset-ahci", RESET[1]),
        "it is reset too late": later("reset-ahci", f"master-{HBA}"),
    },
    "reset window-device": {"a command before the reset": before("reset", port(0x38, 8))},
    "load": {
        "every read was reported": after("arm-ahci", msi(MESSAGE), msi(MESSAGE)),
        "the disk has taken none": at_jump(counted(TAKEN, 0)),
        "no read is issued": without("arm-ahci"),
        "what is issued is no read": at_jump({TABLES + 0x100 * slot + 2: WRITE_DMA_EXT for slot in (REPORTED, TAKEN, WAITING)}),
    },
    "out-device": {
        "a read is acknowledged that was not reported": all_of(
            instead("arm-ahci", port(0x38, 0b111)), at_jump(NOT_TAKEN), before(f"out-{HBA}", *ACKNOWLEDGED)
        ),
    },
    "out-device load": {"a command in the out phase": before(f"out-{HBA}", port(0x38, 8))},
    "window-msi": {"its message in the window": before("jump", msi(MESSAGE))},
    "ram": {
        "other bytes land": lands({WAITS: CONTENT[:SIZE]}),
        "more bytes are counted": lands(counted(WAITING, SIZE + 1)),
        "a read that had ended lands again": all_of(at_jump({DATA: SIZE * CANARY}), lands({DATA: CONTENT[:SIZE]})),
    },
    "reserved": {"a read in flight goes to unreserved memory": at_jump(target(WAITING, DMA.stop - 1))},
    "ram driven-next": {"second takes reserved memory for its commands": instead("again-ahci-addresses", *addresses(0))},
    "disk-kept": {"the disk was written to": lambda s: setattr(s, "sata", CONTENT[:-1] + b"?")},
}


@pytest.mark.parametrize("change, rules", cases(CHANGES))
def test_only_the_named_rules_object(scene: Scene, change: Change, rules: set[str]) -> None:
    change(scene)
    assert scene.failed() == rules


def test_without_its_disk_it_is_not_driven(scene: Scene) -> None:
    run = scene.run()
    case = Case(replace(run, machine=replace(run.machine, sata=())))
    assert HBA not in [function.bdf for function, _ in devices.working(case)]


def test_without_msi_it_has_a_line(scene: Scene) -> None:
    scene.drop(*(f"again-ahci-{label}" for label in ("message-44", "message-48", "message-4c", "on")))
    scene.replace("again-ahci-no-intx", *config_write(HBA, COMMAND, 0x7))
    taken = [*gsi(LINE, 1), f"pic_interrupt irq {IRQ} intno 43", *ACKNOWLEDGED, *gsi(LINE, 0)]
    for lines, found in ((ACKNOWLEDGED, ["no INTx raised, handled and lowered"]), (taken, [])):
        scene.replace("again-ahci-io", *lines)
        assert complaints(without_capabilities(scene.run(), HBA), HBA) == found
