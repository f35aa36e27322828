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

import pytest
from tests.witness.scene import (
    ANSWER, COMMAND, DMA, GATEWAY, MAC, NET, NEW, PARAMS, PROBE, RNG, RNG_DATA, RNG_DESC, RNG_SIZE, RX_DATA, RX_DESC, RX_SIZE,
    TX_DATA, TX_DESC, VECTOR, VECTORS, VIRTIO_OTHERS,
    Change, Scene, after, all_of, arp, at_end, at_jump, before, cases, complaints, config_write, gsi, handoff, instead, lands,
    later, msi, msix_table, notify, passed, relogged, unlogged, virtqueues, without, without_capabilities,
)  # fmt: skip

from witness.boot.protocol import E820_DMA, E820_ENTRIES, E820_TABLE
from witness.evidence.case import Case

USED = 0x200  # after the descriptors


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return handoff(Scene(tmp_path), others=VIRTIO_OTHERS)


def ring_of_two(length: int) -> bytes:
    """A used ring with both requests returned."""
    return struct.pack("<HHIIII", 0, 2, 0, length, 1, length)


def reserved_all_but(hole: range) -> Change:
    parts = (DMA.start, hole.start - DMA.start, E820_DMA), (hole.stop, DMA.stop - hole.stop, E820_DMA)
    return at_jump({PARAMS + E820_ENTRIES: b"\2", PARAMS + E820_TABLE: b"".join(struct.pack("<QQI", *part) for part in parts)})


def probe(sender: bytes, address: bytes) -> bytes:
    return arp(6 * b"\xff", sender, 1, bytes(4), bytes(6), address)


def answer_to_first_is_damaged(s: Scene) -> None:
    s.before[RX_DATA + 40] ^= 1


FRAME, NO_ELEMENT = msi(VECTORS[NET][0]), bytes(12)
OTHER_MAC, OTHER_ADDRESS = bytes.fromhex("020000000001"), bytes((10, 0, 2, 3))

CHANGES: dict[str, dict[str, Change]] = {
    "": {
        "a frame comes between two clears": before(f"out-{NET}", FRAME, notify(0), FRAME, notify(0)),
        "two frames come before the first is looked at": before(f"out-{NET}", FRAME, FRAME, notify(0), notify(0)),
        "a frame lands in a buffer that waits for one": lands({RX_DATA + RX_SIZE: b"\xa5" * RX_SIZE}),
        "entropy lands in a buffer that waits for it": lands({RNG_DATA + RNG_SIZE: bytes(range(RNG_SIZE))}),
    },
    "driven-first": {"first gets no message of its entropy": without("first-rng-io-0")},
    "driven-next": {
        "no message of the receive queue": without("again-net-io-0"),
        "no message of the transmit queue": without("again-net-io-1"),
        "a table entry is not written": instead("again-net-table", *msix_table(NET)[:4]),
        "no entropy comes": at_end({NEW + RNG_DATA: b"\x5c" * RNG_SIZE}),
        "entropy comes where none was asked for": at_end({NEW + RNG_DESC + USED: struct.pack("<HHII", 0, 1, 0, 0)}),
        "no request for entropy is returned": at_end({NEW + RNG_DESC + USED: NO_ELEMENT}),
        "no frame is returned as sent": at_end({NEW + TX_DESC + USED: NO_ELEMENT}),
    },
    "reset": {
        "network not reset": all_of(
            without(f"reset-{NET}"), instead("again-net-queues", *virtqueues(NET, NEW + RX_DESC, NEW + TX_DESC)[1:])
        ),
        "entropy reset too late": later(f"reset-{RNG}", f"master-{RNG}"),
    },
    "load": {
        "no receive buffer is left": lambda s: s.put({
            RX_DESC + USED: ring_of_two(72), RX_DATA + RX_SIZE: bytes(s.before[RX_DATA:RX_DATA + RX_SIZE]),
        }),
        "no request for entropy is left": at_jump({RNG_DESC + USED: ring_of_two(16)}),
    },
    "reserved": {
        "the memory map gives a receive buffer away": reserved_all_but(range(RX_DATA + RX_SIZE, RX_DATA + 2 * RX_SIZE)),
        "the memory map gives half of a request for entropy away":
            reserved_all_but(range(RNG_DATA + RNG_SIZE, RNG_DATA + RNG_SIZE + RNG_SIZE // 2)),
    },
    "out-device": {
        "buffers are offered that no frame came into": before(f"out-{NET}", FRAME, notify(0), notify(0), notify(0)),
        "another device's message is no frame": before(f"out-{NET}", notify(0), msi(VECTOR), notify(0)),
    },
    "window-msi": {"a frame's message after its function was cleared": after(f"out-{NET}", FRAME)},
    "window-device reset": {"buffers are offered in the window": before("jump", notify(0))},
    "frames": {
        "a frame that was returned did not come out": passed(ANSWER, ANSWER, PROBE),
        "it came out from another address": passed(*3 * [probe(MAC[:-1] + b"\0", GATEWAY)], ANSWER),
        "it asked for somebody else": passed(*3 * [probe(MAC, OTHER_ADDRESS)], ANSWER),
        "another answered": passed(*3 * [PROBE], arp(MAC, OTHER_MAC, 2, GATEWAY, MAC, bytes(4))),
        "the answer is not in the buffer": at_end({NEW + RX_DATA: bytes(RX_SIZE)}),
        "the answer to first is not in the buffer": answer_to_first_is_damaged,
        "the guest names another": relogged("again-net-log", "ee:00:01", "ee:00:02"),
        "the guest names none": unlogged("again-net-log"),
        "one image names it twice": relogged("again-net-log", "second", "first "),
    },
    "frames driven-next": {"the answer's buffer was not returned": at_end({NEW + RX_DESC + USED: NO_ELEMENT})},
    "ram": {
        "a frame lands in a buffer that was returned": lands({RX_DATA + 20: b"\xa5"}),
        "a frame lands after its buffer": lands({RX_DATA + RX_SIZE: b"\xa5" * (RX_SIZE + 1)}),
        "entropy lands before its buffer": lands({RNG_DATA + RNG_SIZE - 1: b"\xa5\xa5"}),
        "a frame that is to be sent changes": lands({TX_DATA + 12: b"\xa5"}),
        "a receive buffer is returned after the jump": lands({RX_DESC + USED + 2: b"\2"}),
    },
}


@pytest.mark.parametrize("change, rules", cases(CHANGES))
def test_only_the_named_rules_object(scene: Scene, change: Change, rules: set[str]) -> None:
    change(scene)
    assert scene.failed() == rules


# --- no peer, no MSI-X ---


@pytest.fixture
def silence(scene: Scene) -> Scene:
    """No peer answers: nothing is received, and the guest names none."""
    scene.frames = [PROBE] * 3
    for when, rings in (("first", scene.before), ("again", None)):
        scene.drop(f"{when}-net-io-0")
        scene.drop(f"{when}-net-log")
        if rings is not None:
            rings[RX_DESC + USED + 2] = 0
    scene.second[NEW + RX_DESC + USED] = bytes(12)
    return scene


def test_nobody_has_to_be_there(silence: Scene) -> None:
    assert silence.failed() == set()


def test_who_is_not_there_is_not_named(silence: Scene) -> None:
    silence.after_step("again-rng-io-0", logged=f"second 0000:{NET} virtio-net: 10.0.2.2 is at 02:00:00:00:00:01")
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
    scene.drop("again-rng-table", "again-rng-msix")
    scene.replace("again-rng-no-intx", *config_write(RNG, COMMAND, 0x7))
    assert complaints(without_capabilities(scene.run(), RNG), RNG) == ["no INTx raised, handled and lowered"]
    scene.replace("again-rng-io-0", *gsi(20, 1), "pic_interrupt irq 10 intno 42", *gsi(20, 0))
    assert complaints(without_capabilities(scene.run(), RNG), RNG) == []
