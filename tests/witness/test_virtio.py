# SPDX-License-Identifier: BSD-2-Clause
"""Claim: of virtio-net and virtio-rng as much is asked as of a disk: each queue's own interrupt, a result in RAM, a reset
before bus master, reserved buffers; and of a network that frames left the machine and answers came from outside.

It could be false if a rule is content with what another device did, or with what the guest says. Provoked by the whole
story with both devices in it, and one small change a rule; exactly the named rules must object.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Callable

import pytest
from tests.witness.scene import (
    ANSWER, COMMAND, DMA, GATEWAY, MAC, NET, NEW, PARAMS, PROBE, RNG, RNG_DATA, RNG_DESC, RNG_SIZE, RX_DATA, RX_DESC, RX_SIZE,
    TX_DATA, TX_DESC, VECTOR, VECTORS, VIRTIO_OTHERS, Scene, arp, config_write, gsi, handoff, msi, msix_table, notify, virtqueues,
)  # fmt: skip

from witness import devices
from witness.boot.protocol import E820_DMA, E820_TABLE
from witness.evidence.case import Case
from witness.machine.record import Run
from witness.pci.topology import Bdf

USED = 0x200  # behind the descriptors


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return handoff(Scene(tmp_path), others=VIRTIO_OTHERS)


def test_all_hold(scene: Scene) -> None:
    assert scene.failed() == set()
    assert "frames" in scene.results()


def test_what_is_driven(scene: Scene) -> None:
    assert {NET, RNG} <= {function.bdf for function, _ in devices.working(Case(scene.run()))}


def test_a_kept_run_is_the_same_run(scene: Scene) -> None:
    run = scene.run()
    run.save()
    assert Run.load(scene.directory) == run


Change = Callable[[Scene], None]
CHANGES: list[object] = []


def change(*rules: str) -> Callable[[Change], Change]:
    def register(function: Change) -> Change:
        CHANGES.append(pytest.param(function, set(rules), id=function.__name__))
        return function

    return register


# --- driving ---


@change("driven-next")
def no_message_of_the_receive_queue(s: Scene) -> None:
    s.drop("again-net-io-0")


@change("driven-next")
def no_message_of_the_transmit_queue(s: Scene) -> None:
    s.drop("again-net-io-1")


@change("driven-first")
def first_gets_no_message_of_its_entropy(s: Scene) -> None:
    s.drop("first-rng-io-0")


@change("driven-next")
def a_table_entry_is_not_written(s: Scene) -> None:
    s.replace("again-net-table", *msix_table(NET)[:4])


@change("driven-next")
def no_entropy_comes(s: Scene) -> None:
    s.second[NEW + RNG_DATA] = b"\x5c" * RNG_SIZE


@change("driven-next")
def entropy_comes_where_none_was_asked_for(s: Scene) -> None:
    s.second[NEW + RNG_DESC + USED] = struct.pack("<HHII", 0, 1, 0, 0)


@change("driven-next")
def no_request_for_entropy_is_returned(s: Scene) -> None:
    s.second[NEW + RNG_DESC + USED] = bytes(12)


@change("driven-next")
def no_frame_is_returned_as_sent(s: Scene) -> None:
    s.second[NEW + TX_DESC + USED] = bytes(12)


# --- reset, load, reserved ---


@change("reset")
def network_not_reset(s: Scene) -> None:
    s.drop(f"reset-{NET}")
    s.replace("again-net-queues", *virtqueues(NET, NEW + RX_DESC, NEW + TX_DESC)[1:])


@change("reset")
def entropy_reset_too_late(s: Scene) -> None:
    s.move_after(f"reset-{RNG}", f"master-{RNG}")


@change("load")
def no_receive_buffer_is_left(s: Scene) -> None:
    s.before[RX_DESC + USED:RX_DESC + USED + 20] = struct.pack("<HHIIII", 0, 2, 0, 72, 1, 72)
    s.before[RX_DATA + RX_SIZE:RX_DATA + 2 * RX_SIZE] = s.before[RX_DATA:RX_DATA + RX_SIZE]


@change("load")
def no_request_for_entropy_is_left(s: Scene) -> None:
    s.before[RNG_DESC + USED:RNG_DESC + USED + 20] = struct.pack("<HHIIII", 0, 2, 0, 16, 1, 16)


def reserve_all_but(s: Scene, hole: range) -> None:
    parts = (DMA.start, hole.start - DMA.start, E820_DMA), (hole.stop, DMA.stop - hole.stop, E820_DMA)
    s.before[PARAMS + 0x1E8] = len(parts)
    for i, part in enumerate(parts):
        struct.pack_into("<QQI", s.before, PARAMS + E820_TABLE + 20 * i, *part)


@change("reserved")
def the_memory_map_gives_a_receive_buffer_away(s: Scene) -> None:
    reserve_all_but(s, range(RX_DATA + RX_SIZE, RX_DATA + 2 * RX_SIZE))


@change("reserved")
def the_memory_map_gives_half_of_a_request_for_entropy_away(s: Scene) -> None:
    reserve_all_but(s, range(RNG_DATA + RNG_SIZE, RNG_DATA + RNG_SIZE + RNG_SIZE // 2))


# --- out ---


@change()
def a_frame_comes_between_two_clears(s: Scene) -> None:
    s.before_step(f"out-{NET}", msi(VECTORS[NET][0]), notify(0), msi(VECTORS[NET][0]), notify(0))


@change()
def two_frames_come_before_the_first_is_looked_at(s: Scene) -> None:
    s.before_step(f"out-{NET}", msi(VECTORS[NET][0]), msi(VECTORS[NET][0]), notify(0), notify(0))


@change("out-device")
def buffers_are_offered_that_no_frame_came_into(s: Scene) -> None:
    s.before_step(f"out-{NET}", msi(VECTORS[NET][0]), notify(0), notify(0), notify(0))


@change("out-device")
def another_device_s_message_is_no_frame(s: Scene) -> None:
    s.before_step(f"out-{NET}", notify(0), msi(VECTOR), notify(0))


@change("window-msi")
def a_frame_s_message_after_its_function_was_cleared(s: Scene) -> None:
    s.after_step(f"out-{NET}", msi(VECTORS[NET][0]))


@change("window-device", "reset")
def buffers_are_offered_in_the_window(s: Scene) -> None:
    s.before_step("jump", notify(0))


# --- frames ---


@change("frames")
def a_frame_that_was_returned_did_not_come_out(s: Scene) -> None:
    s.frames.remove(PROBE)
    s.frames.remove(PROBE)


@change("frames")
def it_came_out_from_another_address(s: Scene) -> None:
    forged = arp(6 * b"\xff", MAC[:-1] + b"\0", 1, bytes(4), bytes(6), GATEWAY)
    s.frames = [forged if frame == PROBE else frame for frame in s.frames]


@change("frames")
def it_asked_for_somebody_else(s: Scene) -> None:
    other = arp(6 * b"\xff", MAC, 1, bytes(4), bytes(6), bytes((10, 0, 2, 3)))
    s.frames = [other if frame == PROBE else frame for frame in s.frames]


@change("frames")
def another_answered(s: Scene) -> None:
    other = arp(MAC, bytes.fromhex("020000000001"), 2, GATEWAY, MAC, bytes(4))
    s.frames = [other if frame == ANSWER else frame for frame in s.frames]


@change("frames")
def the_answer_is_not_in_the_buffer(s: Scene) -> None:
    s.second[NEW + RX_DATA] = bytes(RX_SIZE)


@change("frames")
def the_answer_to_first_is_not_in_the_buffer(s: Scene) -> None:
    s.before[RX_DATA + 40] ^= 1


@change("frames", "driven-next")
def the_answer_s_buffer_was_not_returned(s: Scene) -> None:
    s.second[NEW + RX_DESC + USED] = bytes(12)


@change("frames")
def the_guest_names_another(s: Scene) -> None:
    step = s.step("again-net-told")
    step.told = [step.told[0][:-2] + "02"]


@change("frames")
def the_guest_names_nobody(s: Scene) -> None:
    s.step("again-net-told").told.clear()


@change("frames")
def one_image_names_it_twice(s: Scene) -> None:
    step = s.step("again-net-told")
    step.told = [step.told[0].replace("second", "first ")]


# --- RAM ---


@change()
def a_frame_lands_in_a_buffer_that_waits_for_one(s: Scene) -> None:
    s.after = {RX_DATA + RX_SIZE: b"\xa5" * RX_SIZE}


@change()
def entropy_lands_in_a_buffer_that_waits_for_it(s: Scene) -> None:
    s.after = {RNG_DATA + RNG_SIZE: bytes(range(RNG_SIZE))}


@change("ram")
def a_frame_lands_in_a_buffer_that_was_returned(s: Scene) -> None:
    s.after = {RX_DATA + 20: b"\xa5"}


@change("ram")
def a_frame_lands_behind_its_buffer(s: Scene) -> None:
    s.after = {RX_DATA + RX_SIZE: b"\xa5" * (RX_SIZE + 1)}


@change("ram")
def entropy_lands_before_its_buffer(s: Scene) -> None:
    s.after = {RNG_DATA + RNG_SIZE - 1: b"\xa5\xa5"}


@change("ram")
def a_frame_that_is_to_be_sent_changes(s: Scene) -> None:
    s.after = {TX_DATA + 12: b"\xa5"}


@change("ram")
def a_receive_buffer_is_returned_after_the_jump(s: Scene) -> None:
    s.after = {RX_DESC + USED + 2: b"\2"}


@pytest.mark.parametrize("break_it, rules", CHANGES)
def test_only_the_named_rules_object(scene: Scene, break_it: Change, rules: set[str]) -> None:
    break_it(scene)
    assert scene.failed() == rules


# --- nobody there, no MSI-X ---


@pytest.fixture
def silence(scene: Scene) -> Scene:
    """Nobody answers: nothing comes in, and the guest names nobody."""
    scene.frames = [PROBE] * 3
    for when, rings in (("first", scene.before), ("again", None)):
        scene.drop(f"{when}-net-io-0")
        scene.drop(f"{when}-net-told")
        if rings is not None:
            rings[RX_DESC + USED + 2] = 0
    scene.second[NEW + RX_DESC + USED] = bytes(12)
    return scene


def test_nobody_has_to_be_there(silence: Scene) -> None:
    assert silence.failed() == set()


def test_who_is_not_there_is_not_named(silence: Scene) -> None:
    silence.after_step("again-rng-io-0", told=f"second 0000:{NET} virtio-net: 10.0.2.2 is at 02:00:00:00:00:01")
    assert silence.failed() == {"frames"}


def test_a_frame_goes_out_even_so(silence: Scene) -> None:
    silence.drop("again-net-io-1")
    assert silence.failed() == {"driven-next"}
    silence.frames.clear()
    assert silence.failed() == {"driven-next", "frames"}


def test_a_network_that_is_none_of_ours_may_be_silent(silence: Scene) -> None:
    run = silence.run()
    case = Case(replace(run, machine=replace(run.machine, nics=())))
    assert complaints(case, NET) == []


def test_without_msix_there_is_a_line(scene: Scene) -> None:
    for label in ("again-rng-table", "again-rng-msix"):
        scene.drop(label)
    scene.replace("again-rng-no-intx", *config_write(RNG, COMMAND, 0x7))
    assert complaints(without_capabilities(scene.run(), RNG), RNG) == ["no INTx raised, taken and lowered"]
    scene.replace("again-rng-io-0", *gsi(20, 1), "pic_interrupt irq 10 intno 42", *gsi(20, 0))
    assert complaints(without_capabilities(scene.run(), RNG), RNG) == []


def complaints(case: Case, bdf: Bdf) -> list[str]:
    return devices.not_driven(case, case.topology.functions[bdf], case.hops[0].inward, case.run.ram_after(), last=True)


def without_capabilities(run: Run, bdf: Bdf) -> Case:
    entries = []
    for entry in run.entries:
        config = bytearray(entry.configs[bdf])
        config[0x34] = 0
        entries.append(replace(entry, configs=entry.configs | {bdf: bytes(config)}))
    return Case(replace(run, entries=entries))
