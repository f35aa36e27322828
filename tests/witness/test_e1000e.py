# SPDX-License-Identifier: BSD-2-Clause
"""Claim: of an e1000e as much is asked as of a virtio-net: its own message, a frame that left and one that came, a reset before
bus master, reserved rings and buffers.

It could be false if a rule is content with what another device did, with what the guest says, or with a half of a reset.
Provoked by the whole story with the card in it, and one small change a rule; exactly the named rules must object.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Callable

import pytest
from tests.witness.scene import (
    ANSWER, CARD, CARD_DATA, CARD_OTHERS, CARD_RX, CARD_TX, DMA, NEW, PARAMS, VECTOR, VECTORS, Scene, card, handoff, msi,
    msix_table,
)  # fmt: skip

from witness import devices
from witness.evidence.case import Case
from witness.machine.record import Run

STATUS = 12  # in a descriptor
SIZE = 16


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return handoff(Scene(tmp_path), others=CARD_OTHERS)


def test_all_hold(scene: Scene) -> None:
    assert scene.failed() == set()
    assert "frames" in scene.results()


def test_what_is_driven(scene: Scene) -> None:
    assert CARD in {function.bdf for function, _ in devices.working(Case(scene.run()))}


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


@change("reset")
def never_reset(s: Scene) -> None:
    s.drop("reset-card")


@change("reset")
def reset_after_bus_master(s: Scene) -> None:
    s.move_after("reset-card", f"master-{CARD}")


@change("window-device", "reset")
def used_before_its_reset(s: Scene) -> None:
    s.before_step("reset-card-stop", card(0x3818, 0))


@change("window-device", "reset")
def a_link_set_up_is_no_reset(s: Scene) -> None:
    s.replace("reset-card", card(0, 0x40))


@change("driven-first", "frames", "load")
def never_enabled(s: Scene) -> None:
    s.replace("first-card-enable", card(0x2818, 2))


@change("driven-next", "frames")
def never_enabled_again(s: Scene) -> None:
    s.replace("again-card-enable", card(0x100, 0x04008000), card(0x400, 0x3F0F8), card(0x2818, 2))


@change("driven-first")
def another_s_message(s: Scene) -> None:
    s.replace("first-card-io", msi(VECTOR), card(0xC0, 0x80500000))


@change("driven-next")
def no_message_of_the_new_table(s: Scene) -> None:
    s.replace("again-card-table", *msix_table(CARD)[:2])


@change("driven-next", "frames")
def nothing_was_sent(s: Scene) -> None:
    s.second[NEW + CARD_TX] = bytes(SIZE)
    s.frames.clear()


@change("frames")
def more_was_sent_than_came_out(s: Scene) -> None:
    del s.frames[-2:]


@change("frames")
def nothing_came(s: Scene) -> None:
    s.second[NEW + CARD_RX] = bytes(SIZE)


@change("frames")
def a_frame_that_nobody_sent_came(s: Scene) -> None:
    s.second[NEW + CARD_DATA] = ANSWER[:-1] + b"!"


@change("load")
def no_buffer_is_waiting(s: Scene) -> None:
    for i in range(2):
        s.before[CARD_RX + i * SIZE + STATUS] = 1


@change("reserved")
def its_buffers_are_not_reserved(s: Scene) -> None:
    """The second buffer lies where the next image's boot_params are."""
    struct.pack_into("<Q", s.before, CARD_RX + SIZE, PARAMS)


@change("ram")
def a_frame_came_although_bus_master_was_off(s: Scene) -> None:
    s.after[CARD_DATA] = ANSWER[:-1] + b"!"


@change("ram", "frames")
def its_new_ring_lies_in_the_old_image(s: Scene) -> None:
    s.step("again-card-rings").lines[5] = card(0x3800, DMA.start)


@change("out-device")
def a_frame_is_sent_after_the_clear(s: Scene) -> None:
    s.after_step(f"out-{CARD}", card(0x3818, 0))


@change("out-device")
def a_buffer_is_offered_without_an_interrupt(s: Scene) -> None:
    s.after_step(f"out-{CARD}", card(0x2818, 1), card(0x2818, 2), card(0x2818, 1))


@pytest.mark.parametrize("change, rules", CHANGES)
def test_exactly_its_rules_object(scene: Scene, change: Change, rules: set[str]) -> None:
    change(scene)
    assert scene.failed() == rules


def test_its_handler_may_still_run_in_the_out_phase(scene: Scene) -> None:
    scene.before_step(f"out-{CARD}", msi(VECTORS[CARD][0]), card(0xC0, 0x80100000), card(0x2818, 0))
    assert scene.failed() == set()
