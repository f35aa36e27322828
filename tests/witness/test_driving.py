# SPDX-License-Identifier: BSD-2-Clause
"""Claim: what a device must have done is asked only of one that can do it, and by the line that it really has.

False if a function without a usable line has to raise one, if a disk without MSI-X has to send messages or gets away
without an interrupt, or if a line below an expander is expected where the specification has it, and not where QEMU has it.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Mapping

import pytest
from tests.witness.scene import (
    ADMIN_COMPLETION, BELOW, CARD, CARD_OTHERS, CARD_RX, COMMAND, DMA_SIZE, EDU, EDU_TARGET, EXPRESS_OTHERS, HBA, LINES, NET,
    NO_OTHERS, NVME, OLD_PORT, PORT, RNG, RNG_DESC, RX_DESC, USED, VIRTIO, VIRTIO_OTHERS,
    Others, Scene, complaints, config_write, edu, gsi, handoff, reconfigured, without_capabilities,
)  # fmt: skip
from tests.witness.test_ahci import OTHERS as SATA_OTHERS
from tests.witness.test_ahci import WAITING, counted
from tests.witness.test_evidence import QUEUE

from witness import devices
from witness.devices.edu import Edu
from witness.devices.virtio import last_batch
from witness.evidence.case import Case
from witness.judge.engine import Result
from witness.judge.rules import judge
from witness.machine.record import Ram, Run
from witness.pci.topology import Bdf, Function, Topology
from witness.trace.events import MmioWrite


OF_EVERY_STORY = [VIRTIO, EDU, BELOW]


@pytest.mark.parametrize(
    "others, driven, rules",
    [
        pytest.param(NO_OTHERS, [], 23, id="no others"),
        pytest.param(VIRTIO_OTHERS, [NET, RNG], 24, id="virtio"),
        pytest.param(EXPRESS_OTHERS, [NVME, PORT, OLD_PORT], 23, id="express"),
        pytest.param(CARD_OTHERS, [CARD], 24, id="e1000e"),
        pytest.param(SATA_OTHERS, [HBA], 23, id="ahci"),
    ],
)
def test_a_story_in_which_all_holds(tmp_path: Path, others: Others, driven: list[Bdf], rules: int) -> None:
    """And a run that is kept is the same run."""
    scene = handoff(Scene(tmp_path), others=others)
    run = scene.run()
    assert {verdict.id: verdict.result for verdict in judge(run) if verdict.result is not Result.PASS} == {}
    assert len(judge(run)) == rules
    assert [function.bdf for function, _ in devices.working(Case(run))] == sorted([*OF_EVERY_STORY, *driven])
    run.save()
    assert Run.load(scene.directory) == run


@pytest.mark.parametrize("line", [0, 0xFF])
def test_without_a_line_there_is_no_intx(scene: Scene, line: int) -> None:
    scene.replace(f"again-{EDU}-intx")
    assert complaints(Case(scene.run()), EDU) == ["no INTx raised, handled and lowered"]
    assert complaints(reconfigured(scene.run(), EDU, {0x3C: line}), EDU) == []


def test_a_disk_without_msix_has_a_line(scene: Scene) -> None:
    number, irq = LINES[VIRTIO]
    scene.drop("again-table", "again-msix")
    scene.replace("again-no-intx", *config_write(VIRTIO, COMMAND, 0x7))
    assert complaints(without_capabilities(scene.run(), VIRTIO), VIRTIO) == ["no INTx raised, handled and lowered"]
    scene.replace("again-io", *gsi(number, 1), f"pic_interrupt irq {irq} intno 43", *gsi(number, 0))
    assert complaints(without_capabilities(scene.run(), VIRTIO), VIRTIO) == []


def test_intx_that_is_switched_off_is_another_device(scene: Scene) -> None:
    """The line rises, but this function's INTx Disable is set."""
    scene.drop(f"again-{EDU}-may-intx")
    assert complaints(Case(scene.run()), EDU) == ["no INTx raised, handled and lowered"]


def test_a_raise_without_an_answer(scene: Scene) -> None:
    scene.replace(f"again-{EDU}-msi", edu(EDU, 0x60, 1))
    assert complaints(Case(scene.run()), EDU) == ["no MSI of its own after a write that raises one"]


@pytest.mark.parametrize(
    "region, address, value, offset, words",
    [
        ("edu-mmio", 0xC0100064, 0x100, 0x64, ("interrupt acknowledge", "DMA")),
        ("ahci", 0xE1000298, 0x6, 0x298, ("P3CMD", "SUD, POD")),
        ("virtio-pci-common-virtio-net", 0xE0100014, 0xF, 0x14, ("device_status", "DRIVER_OK")),
        ("e1000e-mmio", 0xE0403818, 1, 0x3818, None),
        ("of-no-function", 0xE0403818, 1, 0x818, None),
    ],
)
def test_a_register_has_a_name_and_its_value_a_meaning(
    region: str, address: int, value: int, offset: int, words: tuple[str, str] | None
) -> None:
    found, named = devices.register(MmioWrite(1, address, value, 4, region))
    meaning = named[1] if named else None
    assert (found, named and (named[0], isinstance(meaning, Mapping) and meaning[value])) == (offset, words)


@pytest.mark.parametrize("command, busy", [(0x7, True), (0x6, False)])
def test_an_edu_is_busy_while_its_command_runs(command: int, busy: bool) -> None:
    assert Edu().busy(lambda bar, offset: command if (bar, offset) == (0, 0x98) else 0) is busy


@pytest.mark.parametrize(
    "others, bdf, data, left",
    [
        (NO_OTHERS, VIRTIO, {USED + 2: struct.pack("<HIIII", 2, 0, 0, 3, 0)}, (2, 1)),
        (NO_OTHERS, EDU, {EDU_TARGET: bytes(range(256))}, (1, 0)),
        (VIRTIO_OTHERS, NET, {RX_DESC + 0x202: struct.pack("<HIIII", 2, 0, 72, 1, 72)}, (1, 0)),
        (VIRTIO_OTHERS, RNG, {RNG_DESC + 0x202: struct.pack("<HIIII", 2, 0, 16, 1, 16)}, (1, 0)),
        (EXPRESS_OTHERS, NVME, {ADMIN_COMPLETION + 16: struct.pack("<12xHH", 2, 1)}, (1, 0)),
        (CARD_OTHERS, CARD, {CARD_RX + 16 + 8: b"\x3c"}, (1, 0)),
        (SATA_OTHERS, HBA, counted(WAITING, 512), (1, 0)),
    ],
)
def test_what_a_device_has_not_ended(
    tmp_path: Path, others: Others, bdf: Bdf, data: dict[int, bytes], left: tuple[int, int]
) -> None:
    """Of what was under way at the jump, as RAM is then, and once it has ended."""
    scene = handoff(Scene(tmp_path), others=others)
    scene.put({EDU_TARGET: DMA_SIZE * b"\xa5"})
    case = Case(scene.run())
    function = case.topology.functions[bdf]
    model, before, ended = devices.model_of(function), case.run.ram_at(case.run.entries[1]), tmp_path / "ended"
    scene.put(data)
    ended.write_bytes(scene.before)
    assert model
    lines = range(case.hops[0].out.start)
    assert tuple(model.unfinished(case, function, lines, before, after) for after in (before, Ram(ended))) == left


@pytest.mark.parametrize("ring, at_most", [([0, 0, 3, 0, 1, 2], 4), ([2], 1)])
def test_last_batch(scene: Scene, ring: list[int], at_most: int) -> None:
    """Slot 0 served one request at a time before three were submitted together; one alone."""
    for i, head in enumerate(ring):
        scene.put({QUEUE.available + 4 + 2 * (i % QUEUE.size): struct.pack("<H", head)})
    scene.put({QUEUE.available + 2: struct.pack("<H", len(ring))})
    path = scene.directory / "rings"
    path.write_bytes(scene.before)
    assert last_batch(QUEUE, Ram(path)) == at_most


@pytest.mark.parametrize("slot, port, gsi", [(7, 0, 22), (8, 0, 22), (7, 2, 20)])
def test_lines_below_an_expander_are_as_measured(slot: int, port: int, gsi: int) -> None:
    expander, root_port, device = Bdf(0, slot, 0), Bdf(0x20, port, 0), Bdf(0x21, 0, 0)
    topology = Topology({
        expander: function(expander, 0x000B1B36, pin=0),
        root_port: function(root_port, 0x000C1B36, pin=1, buses=(0x21, 0x21)),
        device: function(device, 0x11E81234, pin=1),
    })  # fmt: skip
    assert topology.gsi(device) == gsi
    assert [line for line in range(16, 24) if topology.may_drive(device, line)] == [gsi]


@pytest.mark.parametrize("slots, gsis", [((7, 8), [22]), ((7, 9), [21, 22]), ((7, 25), [*range(16, 24)]), ((), [*range(16, 24)])])
def test_below_several_expanders_the_line_of_any_may_be_meant(slots: tuple[int, ...], gsis: list[int]) -> None:
    hosts = {bdf: function(bdf, 0x000B1B36, pin=0) for bdf in (Bdf(0, slot, 0) for slot in slots)}
    device = Bdf(0x20, 0, 0)
    topology = Topology(hosts | {device: function(device, 0x11E81234, pin=1)})
    assert topology.gsi(device) == (gsis[0] if len(gsis) == 1 else None)
    assert [line for line in range(16, 24) if topology.may_drive(device, line)] == gsis
    assert not any(topology.may_drive(host, line) for host in hosts for line in range(24))


def function(bdf: Bdf, identity: int, pin: int, buses: tuple[int, int] | None = None) -> Function:
    config = bytearray(256)
    struct.pack_into("<I", config, 0, identity)
    config[0x3D] = pin
    if buses:
        config[0x0E] = 1
        config[0x19:0x1B] = bytes(buses)
    return Function(bdf, bytes(config))
