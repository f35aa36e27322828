# SPDX-License-Identifier: BSD-2-Clause
"""Claim: of nvme and of PCIe ports as much is asked as of a disk: their own messages, a result in RAM or in the slot, a reset
before bus master, work in flight; and what they do last is told from a write that hides behind it.

It could be false if a rule is content with what another device did, or if a driver's last writes are taken for the shutdown's.
Provoked by the whole story with an nvme and two ports in it, and one small change a rule; exactly the named rules must object.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Callable

import pytest
from tests.witness.scene import (
    ADMIN_COMPLETION, ADMIN_SUBMISSION, BRIDGE, COMMAND, CONTROL, DMA, EDU, EDU_TARGET, EXPRESS_OTHERS, IDENTIFIED, MESSAGES, NEW,
    NVME, OLD_PORT, PORT, SLOT_CAPABILITIES, SLOT_CONTROL, VECTORS, Scene, admin_queues, config_write, edu, edu_dma, gsi, handoff,
    msi, msix_table, nvme,
)  # fmt: skip
from tests.witness.test_driving import reconfigured

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


def test_all_hold(scene: Scene) -> None:
    assert scene.failed() == set()


def test_what_is_driven(scene: Scene) -> None:
    assert {NVME, PORT, OLD_PORT} <= {function.bdf for function, _ in devices.working(Case(scene.run()))}
    assert BRIDGE not in {function.bdf for function, _ in devices.working(Case(scene.run()))}


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
    run = scene.run()
    for offset, value in changes.items():
        run = reconfigured(run, bdf, offset, value).run
    assert bdf not in [function.bdf for function, _ in devices.working(Case(run))]


def test_a_downstream_port_is_driven(scene: Scene) -> None:
    assert PORT in [function.bdf for function, _ in devices.working(reconfigured(scene.run(), PORT, EXP_FLAGS, 0x62))]


Change = Callable[[Scene], None]
CHANGES: list[object] = []


def change(*rules: str) -> Callable[[Change], Change]:
    def register(function: Change) -> Change:
        CHANGES.append(pytest.param(function, set(rules), id=function.__name__))
        return function

    return register


# --- nvme is driven ---


@change("driven-next")
def it_is_not_enabled(s: Scene) -> None:
    s.drop("again-nvme-enable")


@change("driven-next")
def it_is_disabled_in_the_end(s: Scene) -> None:
    s.after_step("again-nvme-io", nvme(0x14, 0x460000))


@change()
def cc_is_written_again_while_it_is_enabled(s: Scene) -> None:
    s.after_step("again-nvme-submit", nvme(0x14, 0x460001))


@change("driven-next")
def no_message_of_the_admin_queue(s: Scene) -> None:
    s.replace("again-nvme-io", nvme(0x1004, 1))


@change("driven-next")
def a_message_before_it_is_enabled(s: Scene) -> None:
    s.replace("again-nvme-io", nvme(0x1004, 1))
    s.before_step("again-nvme-enable", msi(VECTORS[NVME][0]))


@change("driven-next")
def another_function_s_message(s: Scene) -> None:
    s.replace("again-nvme-io", msi(VECTORS[PORT][0]), nvme(0x1004, 1))


@change("driven-next")
def its_table_is_not_written(s: Scene) -> None:
    s.replace("again-nvme-table", *msix_table(NVME)[:2])


@change("driven-next", "agreement")
def a_message_while_msix_is_off(s: Scene) -> None:
    s.before_step("again-nvme-enable", *config_write(NVME, CONTROL, 0x0001))


@change("driven-first")
def first_has_identified_nothing(s: Scene) -> None:
    s.before[IDENTIFIED:IDENTIFIED + 2] = bytes(2)


@change("driven-next")
def what_is_identified_is_of_another_vendor(s: Scene) -> None:
    s.second[NEW + IDENTIFIED] = struct.pack("<H", 0x8086)


@change("driven-next")
def what_is_identified_is_in_another_page(s: Scene) -> None:
    s.second[NEW + ADMIN_SUBMISSION] = struct.pack("<BxH20xQ32x", 6, 1, NEW + IDENTIFIED + 0x40)


@change("driven-next")
def another_command_is_submitted(s: Scene) -> None:
    s.second[NEW + ADMIN_SUBMISSION] = struct.pack("<BxH20xQ32x", 2, 1, NEW + IDENTIFIED)


@change("driven-next")
def no_command_is_submitted(s: Scene) -> None:
    s.drop("again-nvme-submit")


@change("driven-next")
def no_command_is_completed(s: Scene) -> None:
    s.second[NEW + ADMIN_COMPLETION] = bytes(16)


@change("driven-next")
def the_command_fails(s: Scene) -> None:
    s.second[NEW + ADMIN_COMPLETION] = struct.pack("<12xHH", 1, 2 << 1 | 1)


@change("driven-next")
def the_queues_are_elsewhere(s: Scene) -> None:
    s.replace("again-nvme-queues", *admin_queues(NEW + 0x1000))


# --- ports are driven ---


@change("driven-next")
def a_port_is_given_no_command(s: Scene) -> None:
    s.drop("again-port-command-1")
    s.drop("again-port-command-2")


@change("driven-next")
def a_port_is_not_to_tell_of_the_end(s: Scene) -> None:
    for n in (1, 2):
        s.replace(f"again-port-command-{n}", *config_write(PORT, SLOT_CONTROL, 0x7D0), msi(VECTORS[PORT][0]))


@change("driven-next")
def the_second_command_is_not_told_of(s: Scene) -> None:
    s.replace("again-port-command-2", *config_write(PORT, SLOT_CONTROL, 0x7F0))


@change("driven-first")
def first_hears_of_no_command(s: Scene) -> None:
    for n in (1, 2):
        s.replace(f"first-old-port-command-{n}", *config_write(OLD_PORT, SLOT_CONTROL, 0x7F0))


@change("driven-next")
def one_port_tells_of_the_other_s_command(s: Scene) -> None:
    s.replace("again-port-command-1", *config_write(PORT, SLOT_CONTROL, 0x7F0), msi(MESSAGES[OLD_PORT]))


@change("driven-next")
def a_port_s_table_is_not_written(s: Scene) -> None:
    s.drop("again-port-table")


@change("driven-next")
def a_port_s_message_is_not_programmed(s: Scene) -> None:
    s.drop("again-old-port-message-4c")


@change()
def a_port_tells_by_its_second_vector(s: Scene) -> None:
    s.replace("again-old-port-command-1", *config_write(OLD_PORT, SLOT_CONTROL, 0x7F0), msi(MESSAGES[OLD_PORT] + 1))


@change("driven-next")
def a_vector_that_it_was_not_granted(s: Scene) -> None:
    s.replace("again-old-port-command-1", *config_write(OLD_PORT, SLOT_CONTROL, 0x7F0), msi(MESSAGES[OLD_PORT] + 2))


# --- reset, upstream, load ---


@change("reset")
def nvme_is_not_reset(s: Scene) -> None:
    s.drop(f"reset-{NVME}")


@change("reset")
def nvme_is_reset_too_late(s: Scene) -> None:
    s.move_after(f"reset-{NVME}", f"master-{NVME}")


@change("reset", "window-device")
def a_doorbell_is_rung_before_the_reset(s: Scene) -> None:
    s.before_step(f"reset-{NVME}", nvme(0x1000, 2))


@pytest.mark.parametrize("bdf, name", [(NVME, "nvme"), (PORT, "port")])
def test_bus_master_has_to_come_back(scene: Scene, bdf: Bdf, name: str) -> None:
    scene.drop(f"master-{bdf}")
    scene.replace(f"again-{name}-no-intx", *config_write(bdf, COMMAND, 0x403))
    assert scene.failed() == {"upstream", "agreement"}


@change("load")
def no_event_is_asked_for(s: Scene) -> None:
    s.drop("arm-nvme")


@change("load")
def the_event_has_come(s: Scene) -> None:
    s.before[ADMIN_COMPLETION + 16:ADMIN_COMPLETION + 32] = struct.pack("<12xHH", 2, 1)


@change("load")
def another_command_is_under_way(s: Scene) -> None:
    s.before[ADMIN_SUBMISSION + 64] = 2


@change("load", "driven-first", "reserved", "ram")
def more_commands_than_the_queue_shows(s: Scene) -> None:
    s.replace("arm-nvme", nvme(0x1000, 7), nvme(0x1000, 0))


# --- the window ---


@change("startup")
def a_port_is_found_listening(s: Scene) -> None:
    s.before_step("reset", *config_write(PORT, SLOT_CONTROL, 0x7C0))


@change("window-msi")
def the_message_of_an_event(s: Scene) -> None:
    s.after_step(f"out-{NVME}", msi(VECTORS[NVME][0]))


@change("window-msi")
def the_second_vector_of_a_port_that_is_cleared(s: Scene) -> None:
    s.after_step(f"out-{OLD_PORT}", msi(MESSAGES[OLD_PORT] + 1))


@change("ram", "driven-next")
def second_takes_reserved_memory_for_an_admin_queue(s: Scene) -> None:
    s.replace("again-nvme-queues", *admin_queues(DMA.start - ADMIN_SUBMISSION))


@change("ram")
def a_completion_lands(s: Scene) -> None:
    s.after = {ADMIN_COMPLETION + 16: struct.pack("<12xHH", 2, 1)}


@pytest.mark.parametrize("break_it, rules", CHANGES)
def test_only_the_named_rules_object(scene: Scene, break_it: Change, rules: set[str]) -> None:
    break_it(scene)
    assert scene.failed() == rules


# --- where driving ends ---


@pytest.fixture
def port_last(scene: Scene) -> Scene:
    """A machine in which nothing is told to a device once the ports are driven: no edu is armed, notifications are not seen."""
    steps = [step for step in scene.steps if step.label.startswith("first-port")]
    scene.drop("arm-edu")
    for step in steps:
        scene.steps.remove(step)
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
    for label in ("errors", "command-1", "command-2", "deaf", "completed"):
        port_last.drop(f"first-port-{label}")
    assert port_last.failed() == {"load", "driven-first"}


def test_masking_is_not(port_last: Scene) -> None:
    port_last.after_step("first-port-completed", *config_write(PORT, CONTROL, 0xC001))
    assert "out-signature" in port_last.failed()


# --- without MSI-X ---


def test_without_msix_nvme_has_a_line(scene: Scene) -> None:
    for label in ("again-nvme-table", "again-nvme-masked", "again-nvme-on"):
        scene.drop(label)
    scene.replace("again-nvme-no-intx", *config_write(NVME, COMMAND, 0x7))
    scene.replace("again-nvme-io", nvme(0x1004, 1))
    absent = 0x34, 0  # no capabilities
    assert complaints(reconfigured(scene.run(), NVME, *absent), NVME) == ["no INTx raised, taken and lowered"]
    taken = [*gsi(22, 1), "pic_interrupt irq 10 intno 42", nvme(0x1004, 1), *gsi(22, 0)]
    scene.replace("again-nvme-io", *taken)
    assert complaints(reconfigured(scene.run(), NVME, *absent), NVME) == []
    scene.replace("again-nvme-io", edu(EDU, 0x60, 1), *taken)
    assert complaints(reconfigured(scene.run(), NVME, *absent), NVME) == ["no INTx raised, taken and lowered"]


def complaints(case: Case, bdf: Bdf) -> list[str]:
    return devices.not_driven(case, case.topology.functions[bdf], case.hops[0].inward, case.run.ram_after(), last=True)


def test_the_messages_of_a_block(scene: Scene) -> None:
    case = Case(scene.run())
    block = own_messages(case, case.topology.functions[OLD_PORT], case.hops[0].inward)
    assert block == {(0xFEE00000, MESSAGES[OLD_PORT]), (0xFEE00000, MESSAGES[OLD_PORT] + 1)}


# --- gone ---


def test_an_edu_that_is_gone_when_the_next_image_begins(scene: Scene) -> None:
    """That its transfer was under way is known even so; what nobody does to it any more is missed."""
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
