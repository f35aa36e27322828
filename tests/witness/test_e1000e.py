# SPDX-License-Identifier: BSD-2-Clause
"""Claim: of an e1000e as much is asked as of a virtio-net: its own message, a frame that left and one that came, a reset before
bus master, reserved rings and buffers.

It could be false if a rule is content with what another device did, with what the guest says, or with a half of a reset.
Provoked by the whole story with the card in it, and one small change a rule; exactly the named rules must object.
"""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from tests.witness.scene import (
    ANSWER, CARD, CARD_DATA, CARD_OTHERS, CARD_RX, CARD_TX, DMA, NEW, PARAMS, PROBE, VECTOR, VECTORS,
    Change, Scene, after, all_of, at_end, at_jump, before, card, cases, handoff, instead, lands, later, msi, msix_table,
    passed, without,
)  # fmt: skip

STATUS = 12  # in a descriptor
SIZE = 16
OTHER_FRAME = ANSWER[:-1] + b"!"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return handoff(Scene(tmp_path), others=CARD_OTHERS)


def ring_in_the_old_image(s: Scene) -> None:
    s.step("again-card-rings").lines[5] = card(0x3800, DMA.start)


CHANGES: dict[str, dict[str, Change]] = {
    "reset": {
        "never reset": without("reset-card"),
        "reset after bus master": later("reset-card", f"master-{CARD}"),
    },
    "window-device reset": {
        "used before its reset": before("reset-card-stop", card(0x3818, 0)),
        "a link set up is no reset": instead("reset-card", card(0, 0x40)),
    },
    "driven-first frames load": {"never enabled": instead("first-card-enable", card(0x2818, 2))},
    "driven-next frames": {
        "never enabled again": instead("again-card-enable", card(0x100, 0x04008000), card(0x400, 0x3F0F8), card(0x2818, 2)),
        "nothing was sent": all_of(at_end({NEW + CARD_TX: bytes(SIZE)}), passed()),
    },
    "driven-first": {"another's message": instead("first-card-io", msi(VECTOR), card(0xC0, 0x80500000))},
    "driven-next": {"no message of the new table": instead("again-card-table", *msix_table(CARD)[:2])},
    "frames": {
        "more was sent than came out": passed(PROBE, ANSWER, PROBE),
        "nothing came": at_end({NEW + CARD_RX: bytes(SIZE)}),
        "a frame that was not sent came": at_end({NEW + CARD_DATA: OTHER_FRAME}),
    },
    "load": {"no buffer is waiting": at_jump({CARD_RX + i * SIZE + STATUS: b"\1" for i in range(2)})},
    # The second buffer lies where the next image's boot_params are.
    "reserved": {"its buffers are not reserved": at_jump({CARD_RX + SIZE: struct.pack("<Q", PARAMS)})},
    "ram": {"a frame came although bus master was off": lands({CARD_DATA: OTHER_FRAME})},
    "ram frames": {"its new ring lies in the old image": ring_in_the_old_image},
    "out-device": {
        "a frame is sent after the clear": after(f"out-{CARD}", card(0x3818, 0)),
        "a buffer is offered without an interrupt": after(f"out-{CARD}", card(0x2818, 1), card(0x2818, 2), card(0x2818, 1)),
    },
}


@pytest.mark.parametrize("change, rules", cases(CHANGES))
def test_exactly_its_rules_object(scene: Scene, change: Change, rules: set[str]) -> None:
    change(scene)
    assert scene.failed() == rules


def test_its_handler_may_still_run_in_the_out_phase(scene: Scene) -> None:
    scene.before_step(f"out-{CARD}", msi(VECTORS[CARD][0]), card(0xC0, 0x80100000), card(0x2818, 0))
    assert scene.failed() == set()
