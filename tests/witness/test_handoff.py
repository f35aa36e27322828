# SPDX-License-Identifier: BSD-2-Clause
"""Claim: each rule says yes to a hand-off as the policy promises it, and no to one that breaks this one promise.

It could be false in two ways: a rule that never says no, and a rule that says no to what is not its business.
Provoked by one story in which all holds, and one small change a rule; exactly the named rules must object.
"""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Callable

import pytest
from tests.witness.scene import (
    AVAIL, BARS, BEHIND, BRIDGE, COMMAND, CONTROL, DATA, DMA, EDU, EDU_TARGET, FIRST, NEW_DATA, NEW_DESC, NEW_STATUS, NEW_TARGET,
    PARAMS, ROUTER, SECOND, STATUS, TABLE, TAKEN, USED, VECTOR, VIRTIO,
    Scene, config_write, edu, edu_dma, gsi, handoff, memory_write, msi, virtio, virtqueue,
)  # fmt: skip

from witness.boot.protocol import E820_DMA, E820_TABLE
from witness.judge import pattern
from witness.judge.engine import Result
from witness.judge.rules import judge
from witness.pci.topology import Bdf


def test_all_hold(scene: Scene) -> None:
    assert scene.failed() == set()
    assert len(scene.results()) == 23


def test_disable_msi_has_a_signature_of_its_own(tmp_path: Path) -> None:
    assert handoff(Scene(tmp_path), "disable-msi").failed() == set()


KEEP, DISABLE = "keep-msi", "disable-msi"


@pytest.mark.parametrize("done, claimed", [(KEEP, DISABLE), (DISABLE, KEEP), (KEEP, "none")])
def test_one_policy_is_not_the_other(tmp_path: Path, done: str, claimed: str) -> None:
    scene = handoff(Scene(tmp_path), done)
    scene.cmdline = f"handoff.shutdown={claimed}"
    assert scene.failed() & {"out-signature", "hops"}


# What is asked of a chain that ends with its head.
WITHOUT_A_HANDOFF = {"guest", "hops", "driven-first", "disk", "disk-kept", "agreement"}


def ends_with_first(scene: Scene, words: str) -> dict[str, Result]:
    del scene.steps[scene.steps.index(scene.step("arm-edu")):]
    scene.cmdline += words
    run = scene.run()
    del run.entries[1:]
    return {verdict.id: verdict.result for verdict in judge(run)}


def test_an_empty_chain_asks_nothing_of_a_handoff(scene: Scene) -> None:
    assert ends_with_first(scene, " handoff.next=") == dict.fromkeys(WITHOUT_A_HANDOFF, Result.PASS)


def test_twin_a_handoff_that_was_wanted_did_not_come(scene: Scene) -> None:
    results = ends_with_first(scene, "")
    assert {id for id, result in results.items() if result is Result.PASS} == WITHOUT_A_HANDOFF - {"hops"}
    assert {"load", "handed", "entry-state", "entry-quiet", "reserved", "entry-image", "ram"} <= results.keys()


# What is asked of a hand-off in which nothing is cleared.
WITHOUT_A_CLEAR = {
    "guest", "hops", "out-signature", "handed", "entry-state", "entry-quiet", "entry-image", "startup", "reset",
    "driven-first", "driven-next", "disk", "disk-kept", "agreement",
}  # fmt: skip


@pytest.fixture
def crash(tmp_path: Path) -> Scene:
    """A hand-off under policy `none`, in which every claim holds that is made about it."""
    return handoff(Scene(tmp_path), "none")


def test_none_hands_over_without_an_out_phase(crash: Scene) -> None:
    assert crash.failed() == set()
    assert crash.results().keys() == WITHOUT_A_CLEAR


def none_clears_msi_first(s: Scene) -> None:
    s.before_step("jump", *config_write(EDU, CONTROL, 0x80))
    s.handed[EDU] = (0x407, 0x80)


def none_resets_a_bus(s: Scene) -> None:
    s.before_step("jump", *config_write(BRIDGE, 0x3E, 0x40))


def none_finds_msi_off(s: Scene) -> None:
    s.handed[EDU] = (0x407, 0x80)


def none_is_followed_by_another_write(s: Scene) -> None:
    s.after_step("jump", *config_write(BRIDGE, 0x3E, 0x40))


def none_is_followed_by_no_startup(s: Scene) -> None:
    s.drop(f"startup-{EDU}")


def none_is_followed_by_no_reset(s: Scene) -> None:
    s.drop("reset")
    s.replace("again-queue", *virtqueue(NEW_DESC)[1:])


@pytest.mark.parametrize(
    "break_it, rules",
    [
        (none_clears_msi_first, {"out-signature", "handed", "startup", "agreement"}),
        (none_resets_a_bus, {"out-signature"}),
        (none_finds_msi_off, {"handed", "startup", "agreement"}),
        (none_is_followed_by_another_write, {"startup"}),
        (none_is_followed_by_no_startup, {"startup", "driven-next", "agreement"}),
        (none_is_followed_by_no_reset, {"reset"}),
    ],
)
def test_what_is_no_crash(crash: Scene, break_it: Callable[[Scene], None], rules: set[str]) -> None:
    break_it(crash)
    assert crash.failed() == rules


Change = Callable[[Scene], None]


def change(*rules: str) -> Callable[[Change], Change]:
    def register(function: Change) -> Change:
        CHANGES.append(pytest.param(function, set(rules), id=function.__name__))
        return function

    return register


CHANGES: list[object] = []

# --- out ---


@change("out-signature")
def command_written_as_32_bits(s: Scene) -> None:
    s.replace(f"out-{EDU}", *config_write(EDU, COMMAND, 0x403, 4))


@change("out-signature", "handed", "agreement")
def another_bit_cleared_too(s: Scene) -> None:
    s.replace(f"out-{EDU}", *config_write(EDU, COMMAND, 0x401))
    s.handed[EDU] = (0x401, 0x81)


@change("out-signature", "handed", "window-intx", "upstream", "agreement")
def bus_master_left_on(s: Scene) -> None:
    s.drop(f"out-{EDU}")
    s.handed[EDU] = (0x407, 0x81)


@change("out-signature", "agreement")
def cleared_twice(s: Scene) -> None:
    s.after_step(f"out-{EDU}", *config_write(EDU, COMMAND, 0x403))


def is_found_on_and_left(s: Scene, bdf: Bdf, command: int) -> None:
    """A function that is in no snapshot."""
    told = f"first  pci 0000:{bdf} command 0x0007 -> 0x{command:04x} (why)"
    s.before_step("enter-first", *config_write(bdf, COMMAND, 0x7))
    s.after_step(f"out-{EDU}", *config_write(bdf, COMMAND, command), told=told)


@change()
def one_that_goes_meanwhile_is_shut_down_as_well(s: Scene) -> None:
    is_found_on_and_left(s, Bdf.parse("00:0e.0"), 0x3)


@change("out-signature")
def one_that_goes_meanwhile_loses_another_bit(s: Scene) -> None:
    is_found_on_and_left(s, Bdf.parse("00:0e.0"), 0x1)


@change("out-signature")
def status_written(s: Scene) -> None:
    s.after_step(f"out-{EDU}", *config_write(EDU, 0x06, 0xF900))


@change("out-signature")
def unrelated_register_written(s: Scene) -> None:
    s.after_step(f"out-{EDU}", *config_write(BRIDGE, 0x3E, 0x40))


@change("out-signature", "agreement")
def msix_masked_just_before_the_first_clear(s: Scene) -> None:
    s.before_step(f"out-{BEHIND}", *config_write(VIRTIO, CONTROL, 0xC001))


@change("out-signature")
def bus_reset_between_two_transfers_that_are_left_under_way(s: Scene) -> None:
    lines = edu_dma(EDU, EDU_TARGET) + config_write(BRIDGE, 0x3E, 0x40)
    s.replace("arm-edu", *lines, *edu_dma(BEHIND, EDU_TARGET + 0x100))


@change("out-order")
def parent_before_child(s: Scene) -> None:
    s.move_after(f"out-{BEHIND}", f"out-{BRIDGE}")


@change("hops")
def nobody_hands_over_a_second_time(s: Scene) -> None:
    s.cmdline = "handoff.next=second,second"


@change("out-device")
def vector_masked_between_two_clears(s: Scene) -> None:
    s.after_step(f"out-{EDU}", memory_write("msix-table", TABLE + 12, 1, 4))


@change("out-device")
def device_told_something_between_two_clears(s: Scene) -> None:
    s.after_step(f"out-{BEHIND}", edu(EDU, 0x60, 1))


@change("out-device")
def device_acknowledged_without_an_interrupt(s: Scene) -> None:
    s.after_step(f"out-{BEHIND}", edu(EDU, 0x64, 0x100))


@change()
def a_transfer_ends_between_two_clears(s: Scene) -> None:
    s.after_step(f"out-{BEHIND}", msi(0x41), edu(EDU, 0x64, 0x100))


def test_a_policy_may_mask_what_it_disables(tmp_path: Path) -> None:
    scene = handoff(Scene(tmp_path), DISABLE)
    scene.before_step(f"msi-off-{VIRTIO}", memory_write("msix-table", TABLE + 12, 1, 4))
    assert scene.failed() == set()


@pytest.mark.parametrize("label, value", [("msi-off", 0), ("intx-on", 1)], ids=["unmasked", "too late"])
def test_it_may_do_nothing_else_to_a_vector(tmp_path: Path, label: str, value: int) -> None:
    scene = handoff(Scene(tmp_path), DISABLE)
    scene.before_step(f"{label}-{VIRTIO}", memory_write("msix-table", TABLE + 12, value, 4))
    assert scene.failed() == {"out-device"}


# --- load ---


@change("load")
def edu_armed_without_an_interrupt(s: Scene) -> None:
    s.replace("arm-edu", *edu_dma(EDU, EDU_TARGET, command=3), *edu_dma(BEHIND, EDU_TARGET + 0x100, command=3))


@change("load")
def no_request_was_taken_by_the_device(s: Scene) -> None:
    s.before[DATA + TAKEN] ^= 1


@change("load")
def edu_not_armed(s: Scene) -> None:
    s.drop("arm-edu")


@change("load")
def edu_finished_before_the_clear(s: Scene) -> None:
    s.after_step("arm-edu", msi(0x41), msi(0x42))


@change("load")
def virtio_read_returned(s: Scene) -> None:
    struct.pack_into("<HIIIIII", s.before, USED + 2, 3, 0, 0, 0, 0, 3, 0)


# --- window ---


@change("window-msi")
def message_in_the_window(s: Scene) -> None:
    s.before_step("jump", msi(0x41))


@change("window-msi")
def message_of_one_that_is_cleared_while_others_are_not(s: Scene) -> None:
    s.after_step(f"out-{BEHIND}", msi(0x42))


@change()
def message_of_one_that_is_not_cleared_yet(s: Scene) -> None:
    s.after_step(f"out-{BEHIND}", msi(VECTOR))


@change("window-msi")
def message_to_another_cpu(s: Scene) -> None:
    s.before_step("jump", memory_write("apic-msi", 0xFEE01000, 0x41, 4))


@change()
def end_of_interrupt_is_no_message(s: Scene) -> None:
    s.before_step("jump", memory_write("apic-msi", 0xFEE000B0, 0, 4))


@change("window-intx")
def line_rises_in_the_window(s: Scene) -> None:
    s.before_step("jump", *gsi(21, 1))


@change("window-intx")
def line_up_before_the_first_clear_and_left_so(s: Scene) -> None:
    s.before_step(f"out-{BEHIND}", *gsi(20, 1))


@change()
def line_up_before_the_first_clear_is_lowered(s: Scene) -> None:
    s.before_step(f"out-{BEHIND}", *gsi(20, 1))
    s.after_step(f"out-{BEHIND}", *gsi(20, 0))


@pytest.mark.parametrize(
    "label, falls, result",
    [
        pytest.param(f"out-{BEHIND}", True, Result.PASS, id="served"),
        pytest.param(f"out-{BEHIND}", False, Result.FAIL, id="left up"),
        pytest.param(f"out-{EDU}", True, Result.FAIL, id="too late"),
    ],
)
def test_a_line_is_served_until_its_function_is_cleared(scene: Scene, label: str, falls: bool, result: Result) -> None:
    """As of a device that has no MSI."""
    scene.drop(f"first-{EDU}-on")
    scene.replace(f"first-{EDU}-no-intx")
    scene.replace(f"out-{EDU}", *config_write(EDU, COMMAND, 0x3))
    scene.after_step(label, *gsi(21, 1), *(gsi(21, 0) if falls else []))
    assert scene.results()["window-intx"] is result


@change("window-intx")
def line_rises_while_another_device_is_driven(s: Scene) -> None:
    s.after_step(f"master-{VIRTIO}", *gsi(21, 1))


@change()
def line_rises_when_its_owner_is_there(s: Scene) -> None:
    s.after_step(f"again-{EDU}-may-intx", *gsi(21, 1))


@change()
def timer_tick_is_no_pci_line(s: Scene) -> None:
    s.before_step("jump", "ioapic_set_irq vector: 0 level: 1")


@change("window-device", "reset")
def vector_written_before_startup(s: Scene) -> None:
    s.after_step("jump", virtio(26, 0xFFFF, 2))


@change("window-device")
def device_touched_before_the_jump(s: Scene) -> None:
    s.before_step("jump", edu(EDU, 0x64, 1))


@change("window-device")
def device_told_something_between_two_steps_of_startup(s: Scene) -> None:
    s.after_step(f"startup-{VIRTIO}", edu(EDU, 0x60, 1))


@change("window-device")
def device_told_something_after_startup(s: Scene) -> None:
    s.before_step("reset", edu(EDU, 0x60, 1))


@change("window-device")
def device_reset_before_startup_is_through(s: Scene) -> None:
    s.after_step(f"startup-{VIRTIO}", virtio(20, 0, 1))


@change()
def interrupt_that_nobody_took_is_acknowledged(s: Scene) -> None:
    s.after_step("reset", edu(EDU, 0x64, 0x100))


@change()
def an_nvme_controller_is_disabled(s: Scene) -> None:
    s.after_step("reset", memory_write("nvme", BARS[BEHIND] + 0x14, 0x460000, 4))


@change("window-device")
def an_nvme_controller_is_enabled(s: Scene) -> None:
    s.after_step("reset", memory_write("nvme", BARS[BEHIND] + 0x14, 0x460001, 4))


@change("window-device")
def an_nvme_controller_is_told_something(s: Scene) -> None:
    s.after_step("reset", memory_write("nvme", BARS[BEHIND] + 0x24, 0, 4))


def without_startup(s: Scene) -> None:
    s.cmdline = "handoff.startup=none"
    for bdf in (VIRTIO, EDU, BEHIND):
        s.drop(f"startup-{bdf}")


def test_a_window_without_startup_and_a_known_jump_is_judged(scene: Scene) -> None:
    """As in a chain's second hop under startup=none: a reset may be anywhere, nothing else may be."""
    without_startup(scene)
    scene.replace("jump")
    assert scene.results()["window-device"] is Result.PASS
    scene.replace("jump", edu(EDU, 0x60, 1))
    assert scene.results()["window-device"] is Result.FAIL


def test_a_chain_in_which_nothing_is_cleared_is_not_shown(crash: Scene) -> None:
    crash.cmdline += " handoff.next=second,second"
    assert crash.results()["hops"] is Result.UNJUDGED


# --- the jump ---


@change("handed", "startup", "agreement")
def device_does_not_hold_what_was_written(s: Scene) -> None:
    s.handed[EDU] = (0x403, 0x80)


@change("entry-quiet")
def a_line_of_the_8259_is_open(s: Scene) -> None:
    s.registers["pic1"] = 0xFB


@change("entry-quiet")
def the_local_apic_still_listens_to_the_8259(s: Scene) -> None:
    s.registers["LVT0"] = 0x700


@change("entry-quiet")
def the_local_apic_is_on(s: Scene) -> None:
    s.registers["SPIV"] = 0x1FF


@change("reserved")
def the_memory_map_gives_a_buffer_away(s: Scene) -> None:
    struct.pack_into("<QQI", s.before, PARAMS + E820_TABLE, DMA.start, EDU_TARGET - DMA.start, E820_DMA)


@change("entry-state")
def interrupts_on(s: Scene) -> None:
    s.registers["RFL"] |= 0x200


@change("entry-state")
def wrong_code_segment(s: Scene) -> None:
    s.registers["CS"] = 0x38


@change("entry-state")
def no_boot_params(s: Scene) -> None:
    s.before[PARAMS + 0x202] = 0


@change("entry-image")
def image_damaged(s: Scene) -> None:
    s.before[SECOND + 0x300] ^= 1


# --- in ---


@change("startup", "window-intx", "driven-next", "agreement")
def startup_forgets_one(s: Scene) -> None:
    s.drop(f"startup-{EDU}")


@change("startup", "agreement")
def startup_masks_as_well(s: Scene) -> None:
    s.replace(f"startup-{VIRTIO}", *config_write(VIRTIO, CONTROL, 0x4001))


@change("startup")
def startup_writes_32_bits(s: Scene) -> None:
    s.replace(f"startup-{EDU}", *config_write(EDU, CONTROL, 0x80, 4))


@change("startup")
def startup_after_the_first_driver(s: Scene) -> None:
    s.move_after(f"startup-{EDU}", f"master-{VIRTIO}")


@change("startup")
def another_register_is_written_after_the_jump(s: Scene) -> None:
    s.after_step(f"startup-{VIRTIO}", *config_write(EDU, 0x4C, 0x99))


@change("startup")
def a_bus_is_reset_before_the_jump(s: Scene) -> None:
    s.before_step("jump", *config_write(BRIDGE, 0x3E, 0x40))


@change("startup")
def a_function_that_nobody_knows_is_written_to(s: Scene) -> None:
    write = config_write(EDU, 0x40, 1)
    s.after_step("jump", *(line.replace(" edu 00:05.0", " ghost 00:1e.0") for line in write))


@change("startup")
def a_wire_is_routed_elsewhere(s: Scene) -> None:
    s.router = 0x0A
    s.before_step("reset", *config_write(ROUTER, 0x60, 0x0B, 1))


@change("startup")
def a_wire_is_enabled_and_routed_elsewhere(s: Scene) -> None:
    s.router = 0x8A
    s.before_step("reset", *config_write(ROUTER, 0x60, 0x0B, 1))


@change()
def a_disabled_wire_is_enabled(s: Scene) -> None:
    s.router = 0x8A
    s.before_step("reset", *config_write(ROUTER, 0x60, 0x0A, 1))


BAR0, BAR4 = (0x10,), (0x20, 0x24)  # of an edu; of the virtio disk, 64 bits


@change()
def a_bar_is_sized(s: Scene) -> None:
    s.size_bar(EDU, *BAR0)


@change()
def bars_of_two_functions_are_sized_one_after_the_other(s: Scene) -> None:
    s.size_bar(VIRTIO, *BAR4)
    s.size_bar(EDU, *BAR0)


@change("startup")
def a_sized_bar_is_left_changed(s: Scene) -> None:
    s.size_bar(EDU, *BAR0)
    s.replace("size-back-10", *config_write(EDU, 0x10, 0xC0300000, 4))


@change("startup")
def a_sized_bar_is_left_as_ones(s: Scene) -> None:
    s.size_bar(EDU, *BAR0)
    s.drop("size-back-10")


@change("startup")
def half_of_a_sized_bar_is_left_as_ones(s: Scene) -> None:
    s.size_bar(VIRTIO, *BAR4)
    s.drop("size-back-24")


@change("startup")
def half_of_a_bar_is_sized(s: Scene) -> None:
    s.size_bar(VIRTIO, *BAR4[1:])


@change("startup", "agreement")
def decoding_is_left_off(s: Scene) -> None:
    s.size_bar(EDU, *BAR0)
    s.drop("size-on")


@change("startup")
def a_bar_is_sized_with_decoding_on(s: Scene) -> None:
    s.size_bar(EDU, *BAR0)
    s.drop("size-off")
    s.step("size-on").told = [s.step("size-on").told[0].replace("0x0401 ->", "0x0403 ->")]


@change("startup", "reset", "agreement")
def decoding_comes_back_with_bus_master(s: Scene) -> None:
    s.size_bar(VIRTIO, *BAR4)
    s.replace("size-on", *config_write(VIRTIO, COMMAND, 0x407))


@change("startup")
def a_bar_is_sized_in_words(s: Scene) -> None:
    s.size_bar(EDU, *BAR0)
    s.replace("size-ones-10", *config_write(EDU, 0x10, 0xFFFF, 2))


@change("startup")
def a_bar_is_sized_before_startup_is_through(s: Scene) -> None:
    s.size_bar(EDU, *BAR0)
    s.move_after(f"startup-{BEHIND}", "size-on")


@change("startup")
def a_bar_is_sized_before_the_jump(s: Scene) -> None:
    s.size_bar(EDU, *BAR0)
    for label in ("size-on", "size-back-10", "size-ones-10", "size-off"):
        s.move_after(label, f"out-{VIRTIO}")


@change("startup")
def something_else_is_written_while_a_bar_is_sized(s: Scene) -> None:
    s.size_bar(EDU, *BAR0)
    s.after_step("size-ones-10", *config_write(BRIDGE, 0x3E, 0x40))


@change("startup")
def what_is_no_bar_is_sized(s: Scene) -> None:
    s.size_bar(EDU, 0x30)


@change("reset")
def virtio_not_reset(s: Scene) -> None:
    s.drop("reset")


@change("reset")
def virtio_reset_too_late(s: Scene) -> None:
    s.move_after("reset", f"master-{VIRTIO}")


@change("upstream")
def bridge_after_what_is_behind_it(s: Scene) -> None:
    s.move_after(f"master-{BRIDGE}", f"master-{BEHIND}")


# --- driving ---


@change("driven-first")
def first_programs_no_message(s: Scene) -> None:
    s.drop(f"first-{EDU}-message-4c")


@change("driven-first")
def first_gets_no_message_of_its_disk(s: Scene) -> None:
    s.drop("first-io")


@change("driven-first")
def first_has_nothing_returned(s: Scene) -> None:
    s.before[AVAIL + 2:AVAIL + 10] = struct.pack("<HHHH", 2, 0, 3, 0)
    s.before[USED + 2] = 0


@change("driven-next")
def line_never_rises(s: Scene) -> None:
    s.replace(f"again-{EDU}-intx", edu(EDU, 0x60, 1), edu(EDU, 0x64, 1))


@change("driven-next")
def line_rises_but_is_not_taken(s: Scene) -> None:
    step = s.step(f"again-{EDU}-intx")
    step.lines = [line for line in step.lines if not line.startswith("pic_interrupt")]


@change("driven-next")
def line_stays_up(s: Scene) -> None:
    step = s.step(f"again-{BEHIND}-intx")
    step.lines = [line for line in step.lines if not line.endswith("level: 0")]


@change("driven-next")
def message_of_another_vector(s: Scene) -> None:
    s.replace(f"again-{EDU}-msi", edu(EDU, 0x60, 1), msi(0x55), edu(EDU, 0x64, 1))


@change("driven-next")
def message_that_nobody_asked_for(s: Scene) -> None:
    s.replace(f"again-{EDU}-msi", msi(0x41))


@change("driven-next")
def transfer_only_out(s: Scene) -> None:
    s.drop(f"again-{BEHIND}-back")


@change("driven-next")
def transfer_without_an_end(s: Scene) -> None:
    s.step(f"again-{BEHIND}-back").lines.pop()


@change("driven-next")
def transfer_brings_other_bytes(s: Scene) -> None:
    s.second[NEW_TARGET] = bytes(512)


@change("driven-next")
def table_is_not_written(s: Scene) -> None:
    s.drop("again-table")


@change("driven-next")
def disk_sends_no_message(s: Scene) -> None:
    s.drop("again-io")


@change("driven-next")
def no_request_comes_back(s: Scene) -> None:
    s.second[NEW_DESC + 0x200] = bytes(12)


@change("driven-next")
def read_brings_other_bytes(s: Scene) -> None:
    s.second[NEW_DATA] = bytes(TAKEN)


@change("driven-next")
def read_fails(s: Scene) -> None:
    s.second[NEW_STATUS] = b"\1"


def test_second_drives_nothing(scene: Scene) -> None:
    """All that comes after startup is missing, from the log as well."""
    del scene.steps[scene.steps.index(scene.step("reset")):]
    assert scene.failed() == {"reset", "upstream", "driven-next", "ram"}


# --- RAM and disk ---


@change()
def data_of_the_read_lands(s: Scene) -> None:
    s.after = {DATA: bytes(s.disk[:0x400]), STATUS: b"\0"}


@change("ram")
def data_lands_that_is_not_on_the_disk(s: Scene) -> None:
    s.after = {DATA: b"X" * 16}


@change("ram")
def data_lands_beside_the_buffer(s: Scene) -> None:
    s.after = {DATA + 0x400: b"\1"}


@change("ram")
def read_returned_after_the_jump(s: Scene) -> None:
    s.after = {USED + 2: b"\2"}


@change("ram")
def edu_dma_lands(s: Scene) -> None:
    s.after = {EDU_TARGET: b"\1"}


@change("ram")
def image_of_first_changed(s: Scene) -> None:
    s.after = {FIRST + 0x1000: b"\1"}


@change()
def free_memory_changed(s: Scene) -> None:
    s.after = {DMA.stop: b"\1"}


@change("ram", "driven-next")
def second_takes_reserved_memory_for_a_queue(s: Scene) -> None:
    s.replace("again-queue", *virtqueue(DMA.start + 0x2000))


@change("ram")
def second_takes_reserved_memory_for_a_dma(s: Scene) -> None:
    s.after_step(f"master-{EDU}", *edu_dma(EDU, DMA.start))


@change("load", "ram", "reserved")
def rings_make_no_sense(s: Scene) -> None:
    s.before[AVAIL + 2] = 4  # the same request twice


@change("load", "driven-next", "disk", "ram")
def two_sectors_swapped(s: Scene) -> None:
    s.disk = s.disk[512:1024] + s.disk[:512] + s.disk[1024:]
    s.before[DATA:DATA + 4] = b"PCI-"
    s.after = {DATA: b"PCJ-"}


@change("disk")
def last_sector_lost(s: Scene) -> None:
    s.disk = s.disk[:pattern.SIZE - 512] + bytes(512) + s.disk[pattern.SIZE:]


@change("disk-kept")
def a_byte_behind_the_pattern_written(s: Scene) -> None:
    s.disk = s.disk[:pattern.SIZE] + b"\1" + s.disk[pattern.SIZE + 1:]


@change("disk-kept")
def a_disk_overwritten_that_was_not_empty(s: Scene) -> None:
    s.other = bytes(1 << 20)


@change("disk-kept")
def a_disk_cut_short(s: Scene) -> None:
    s.other = random.Random("other").randbytes(1 << 20)[:-1]


# --- testimony ---


@change("agreement")
def guest_invents_a_change(s: Scene) -> None:
    s.after_step(f"again-{BEHIND}-on", told="second pci 0000:00:05.0 command 0x0407 -> 0x0507 (enable SERR)")


@change("agreement")
def guest_keeps_a_change_to_itself(s: Scene) -> None:
    s.step(f"out-{EDU}").told.clear()


@change("agreement")
def guest_tells_another_value(s: Scene) -> None:
    step = s.step(f"out-{EDU}")
    step.told = [step.told[0].replace("-> 0x0403", "-> 0x0503")]


@pytest.mark.parametrize("break_it, rules", CHANGES)
def test_only_the_named_rules_object(scene: Scene, break_it: Change, rules: set[str]) -> None:
    break_it(scene)
    assert scene.failed() == rules


def test_absent_evidence_is_no_pass(scene: Scene) -> None:
    """The next image never reached: what needs the jump is absent, what the trace alone shows is still judged."""
    run = scene.run()
    del run.entries[1]
    results = {v.id: v.result for v in judge(run)}
    assert {id for id, result in results.items() if result is Result.UNJUDGED} == {
        "load", "handed", "entry-state", "entry-quiet", "reserved", "entry-image", "ram",
    }  # fmt: skip
    assert results["out-signature"] is Result.PASS


def test_a_trace_without_the_entry_is_no_pass(scene: Scene) -> None:
    """The record tells of entries where the trace shows no stop."""
    scene.replace("enter-first")
    scene.replace("jump")
    results = scene.results()
    assert results["driven-first"] is results["agreement"] is Result.UNJUDGED


def test_evidence_that_makes_no_sense_is_absent(scene: Scene) -> None:
    del scene.registers["RFL"]
    results = {v.id: v for v in judge(scene.run())}
    assert results["entry-state"].result is Result.UNJUDGED
    assert "KeyError" in results["entry-state"].evidence
