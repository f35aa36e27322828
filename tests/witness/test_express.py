# SPDX-License-Identifier: BSD-2-Clause
"""Claim: of nvme and of PCIe ports as much is asked as of a disk: their own messages, a result in RAM or in the slot, a reset
before bus master, work in flight; and their last access is distinguished from a wrong write after it.

It could be false if a rule is content with what another device did, or if a driver's last writes are taken for the shutdown's.
Provoked by the whole story with an nvme and two ports in it, and one small change a rule; exactly the named rules must object.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest
from tests.witness.scene import (
    ADMIN_COMPLETION, ADMIN_SUBMISSION, BRIDGE, COMMAND, CONTROL, DMA, EDU, EDU_TARGET, EXPRESS_OTHERS, IDENTIFIED, MESSAGES, NEW,
    NVME, OLD_PORT, PORT, SLOT_CAPABILITIES, SLOT_CONTROL, VECTORS,
    Change, Scene, admin_queues, after, all_of, at_end, at_jump, before, cases, complaints, config_write, edu, edu_dma, gsi,
    handoff, instead, lands, later, msi, msix_table, nvme, reconfigured, without, without_capabilities,
)  # fmt: skip

from witness import devices
from witness.evidence.case import Case
from witness.evidence.interrupts import own_messages
from witness.judge.engine import Result
from witness.judge.rules import judge
from witness.machine.record import Run
from witness.pci.registers import PCI_HEADER_TYPE
from witness.pci.topology import Bdf

EXP_FLAGS = SLOT_CAPABILITIES - 0x14 + 2


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return handoff(Scene(tmp_path), others=EXPRESS_OTHERS)


@pytest.mark.parametrize(
    "bdf, changes",
    [
        pytest.param(NVME, {0x09: 0x01}, id="another programming interface"),
        pytest.param(NVME, {0x00: 0xFF, 0x01: 0xFF}, id="a virtual function"),
        pytest.param(PORT, {SLOT_CAPABILITIES: 0x00}, id="not hot-plug capable"),
        pytest.param(PORT, {SLOT_CAPABILITIES + 2: 0x04}, id="no command completed support"),
        pytest.param(PORT, {EXP_FLAGS: 0x52}, id="an upstream port"),
        pytest.param(PORT, {PCI_HEADER_TYPE: 0}, id="no bridge"),
        pytest.param(PORT, {0x41: 0}, id="no PCI Express capability"),
        pytest.param(PORT, {SLOT_CAPABILITIES + i: 0xFF for i in range(4)}, id="gone"),
        pytest.param(PORT, {0x41: 0xEC, 0xEC: 0x10, 0xEE: 0x42}, id="at the end of configuration space"),
    ],
)
def test_what_is_not(scene: Scene, bdf: Bdf, changes: dict[int, int]) -> None:
    assert bdf not in [function.bdf for function, _ in devices.working(reconfigured(scene.run(), bdf, changes))]


def test_a_downstream_port_is_driven(scene: Scene) -> None:
    assert PORT in [function.bdf for function, _ in devices.working(reconfigured(scene.run(), PORT, {EXP_FLAGS: 0x62}))]


def completed(id: int, status: int = 0) -> bytes:
    return struct.pack("<12xHH", id, status << 1 | 1)


def submitted(opcode: int, data: int) -> dict[int, bytes]:
    """The first command of second's queue."""
    return {NEW + ADMIN_SUBMISSION: struct.pack("<BxH20xQ32x", opcode, 1, data)}


def commanded(name: str, bdf: Bdf, *lines: str, value: int = 0x7F0) -> Change:
    """That is all that comes of a command to a port's slot."""
    return instead(name, *config_write(bdf, SLOT_CONTROL, value), *lines)


EVENT = ADMIN_COMPLETION + 16  # the second completion
PORT_MESSAGE, NVME_MESSAGE = msi(VECTORS[PORT][0]), msi(VECTORS[NVME][0])

CHANGES: dict[str, dict[str, Change]] = {
    "": {
        "CC is written again while it is enabled": after("again-nvme-submit", nvme(0x14, 0x460001)),
        "a port uses its second vector": commanded("again-old-port-command-1", OLD_PORT, msi(MESSAGES[OLD_PORT] + 1)),
    },
    "driven-first": {
        "first has identified nothing": at_jump({IDENTIFIED: bytes(2)}),
        "first hears of no command": all_of(*(commanded(f"first-old-port-command-{n}", OLD_PORT) for n in (1, 2))),
    },
    "driven-next": {
        "it is not enabled": without("again-nvme-enable"),
        "it is disabled in the end": after("again-nvme-io", nvme(0x14, 0x460000)),
        "no message of the admin queue": instead("again-nvme-io", nvme(0x1004, 1)),
        "a message before it is enabled": all_of(
            instead("again-nvme-io", nvme(0x1004, 1)), before("again-nvme-enable", NVME_MESSAGE)
        ),
        "another function's message": instead("again-nvme-io", PORT_MESSAGE, nvme(0x1004, 1)),
        "its table is not written": instead("again-nvme-table", *msix_table(NVME)[:2]),
        "what is identified is of another vendor": at_end({NEW + IDENTIFIED: struct.pack("<H", 0x8086)}),
        "what is identified is in another page": at_end(submitted(6, NEW + IDENTIFIED + 0x40)),
        "another command is submitted": at_end(submitted(2, NEW + IDENTIFIED)),
        "no command is submitted": without("again-nvme-submit"),
        "no command is completed": at_end({NEW + ADMIN_COMPLETION: bytes(16)}),
        "the command fails": at_end({NEW + ADMIN_COMPLETION: completed(1, status=1)}),
        "the queues are elsewhere": instead("again-nvme-queues", *admin_queues(NEW + 0x1000)),
        "a port is given no command": without("again-port-command-1", "again-port-command-2"),
        "a port does not report completion": all_of(
            *(commanded(f"again-port-command-{n}", PORT, PORT_MESSAGE, value=0x7D0) for n in (1, 2))
        ),
        "the second command's completion is not reported": commanded("again-port-command-2", PORT),
        "one port reports the other's command": commanded("again-port-command-1", PORT, msi(MESSAGES[OLD_PORT])),
        "a port's table is not written": without("again-port-table"),
        "a port's message is not programmed": without("again-old-port-message-4c"),
        "a vector that it was not granted": commanded("again-old-port-command-1", OLD_PORT, msi(MESSAGES[OLD_PORT] + 2)),
    },
    "driven-next agreement": {
        "a message while MSI-X is off": before("again-nvme-enable", *config_write(NVME, CONTROL, 0x0001)),
    },
    "reset": {
        "nvme is not reset": without(f"reset-{NVME}"),
        "nvme is reset too late": later(f"reset-{NVME}", f"master-{NVME}"),
    },
    "reset window-device": {"a doorbell is rung before the reset": before(f"reset-{NVME}", nvme(0x1000, 2))},
    "upstream agreement": {
        f"bus master of {name} does not come back": all_of(
            without(f"master-{bdf}"), instead(f"again-{name}-no-intx", *config_write(bdf, COMMAND, 0x403))
        )
        for bdf, name in ((NVME, "nvme"), (PORT, "port"))
    },
    "load": {
        "no event is asked for": without("arm-nvme"),
        "the event has come": at_jump({EVENT: completed(2)}),
        "another command is under way": at_jump({ADMIN_SUBMISSION + 64: b"\2"}),
    },
    "load driven-first reserved ram": {
        "more commands than the queue shows": instead("arm-nvme", nvme(0x1000, 7), nvme(0x1000, 0)),
    },
    "startup": {"a port is found listening": before("reset", *config_write(PORT, SLOT_CONTROL, 0x7C0))},
    "window-msi": {
        "the message of an event": after(f"out-{NVME}", NVME_MESSAGE),
        "the second vector of a port that is cleared": after(f"out-{OLD_PORT}", msi(MESSAGES[OLD_PORT] + 1)),
    },
    "ram": {"a completion lands": lands({EVENT: completed(2)})},
    "ram driven-next": {
        "second takes reserved memory for an admin queue":
            instead("again-nvme-queues", *admin_queues(DMA.start - ADMIN_SUBMISSION)),
    },
}


@pytest.mark.parametrize("change, rules", cases(CHANGES))
def test_only_the_named_rules_object(scene: Scene, change: Change, rules: set[str]) -> None:
    change(scene)
    assert scene.failed() == rules


# --- where driving ends ---


@pytest.fixture
def port_last(scene: Scene) -> Scene:
    """A machine in which no device is written to after the ports are driven: no edu is armed, notifications are not traced."""
    steps = [step for step in scene.steps if step.label.startswith("first-port")]
    scene.drop("arm-edu", *(step.label for step in steps))
    at = scene.steps.index(scene.step("arm-nvme")) + 1
    scene.steps[at:at] = steps
    return scene


def test_what_drives_a_port_is_no_shutdown(port_last: Scene) -> None:
    assert port_last.failed() == {"load"}


@pytest.mark.parametrize("offset", [0x3E, 0x6C])
def test_a_write_behind_it_is(port_last: Scene, offset: int) -> None:
    port_last.after_step("first-port-completed", *config_write(BRIDGE, offset, 0x40))
    assert port_last.failed() == {"load", "out-signature"}


def test_unmasking_is_the_last_of_driving(port_last: Scene) -> None:
    port_last.drop(*(f"first-port-{label}" for label in ("errors", "command-1", "command-2", "deaf", "completed")))
    assert port_last.failed() == {"load", "driven-first"}


def test_masking_is_not(port_last: Scene) -> None:
    port_last.after_step("first-port-completed", *config_write(PORT, CONTROL, 0xC001))
    assert "out-signature" in port_last.failed()


# --- without MSI-X ---


def test_without_msix_nvme_has_a_line(scene: Scene) -> None:
    scene.drop("again-nvme-table", "again-nvme-msix", "again-nvme-on")
    scene.replace("again-nvme-no-intx", *config_write(NVME, COMMAND, 0x7))
    taken = [*gsi(22, 1), "pic_interrupt irq 10 intno 42", nvme(0x1004, 1), *gsi(22, 0)]
    nothing = ["no INTx raised, handled and lowered"]
    for lines, found in (([nvme(0x1004, 1)], nothing), (taken, []), ([edu(EDU, 0x60, 1), *taken], nothing)):
        scene.replace("again-nvme-io", *lines)
        assert complaints(without_capabilities(scene.run(), NVME), NVME) == found


def test_the_messages_of_a_block(scene: Scene) -> None:
    case = Case(scene.run())
    block = own_messages(case, case.topology.functions[OLD_PORT], case.hops[0].inward)
    assert block == {(0xFEE00000, MESSAGES[OLD_PORT]), (0xFEE00000, MESSAGES[OLD_PORT] + 1)}


# --- gone ---


def test_an_edu_that_is_gone_when_the_next_image_begins(scene: Scene) -> None:
    """Its transfer in flight is known even so; the missing accesses to it are noticed."""
    run = unplugged(scene.run())
    found = {verdict.id: verdict.result for verdict in judge(run)}
    assert {found[id] for id in ("out-signature", "load", "reserved")} == {Result.PASS}
    assert Case(run).topology.functions[EDU].msi_message == (0xFEE00000, MESSAGES[EDU])


def test_twin_it_was_not_under_way(scene: Scene) -> None:
    scene.replace("arm-edu", *edu_dma(EDU, EDU_TARGET), msi(MESSAGES[EDU]))
    assert next(verdict.result for verdict in judge(unplugged(scene.run())) if verdict.id == "load") is Result.FAIL


def unplugged(run: Run) -> Run:
    left = {bdf: config for bdf, config in run.entries[1].configs.items() if bdf != EDU}
    return replace(run, entries=[run.entries[0], replace(run.entries[1], configs=left)])
