# SPDX-License-Identifier: BSD-2-Clause
"""Claim: the peer at the other end of the cable answers requests for 10.0.2.2 and no others, keeps every frame that
passes, and never holds QEMU up.

False if it answers too much or under another name, if a frame is missing from the record, or if it goes on waiting for a
QEMU that has ended or does not read. The test is in the place of QEMU.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest
from tests.witness.scene import GATEWAY, MAC, PROBE, arp

from witness.machine.description import Nic
from witness.machine.peer import Peer, frames, sent_by_guest, sent_by_peer

NIC = Nic("nic", 7, MAC.hex(":"))
BROADCAST = 6 * b"\xff"
PATIENCE_S = 10  # with a busy host


def put(qemu: socket.socket, *outgoing: bytes) -> None:
    for frame in outgoing:
        qemu.sendall(struct.pack("!I", len(frame)) + frame)


def get(qemu: socket.socket) -> bytes:
    """The next frame, which is sent as a whole and at once."""
    qemu.settimeout(PATIENCE_S)
    size = struct.unpack("!I", qemu.recv(4, socket.MSG_WAITALL))[0]
    return qemu.recv(size, socket.MSG_WAITALL)


def test_it_answers_who_asks(tmp_path: Path) -> None:
    with Peer(NIC, tmp_path) as peer:
        qemu = peer.qemu_end
        put(qemu, PROBE)
        answer, announcement = get(qemu), get(qemu)
    name = peer.hardware
    assert name[0] & 3 == 2, "locally administered, and of one machine"
    assert answer[:22] == MAC + name + bytes.fromhex("0806 0001 0800 06 04 0002")
    assert answer[22:42] == name + GATEWAY + MAC + bytes(4)
    assert announcement[:12] == BROADCAST + name and len(announcement) == len(answer) == 60
    assert frames(NIC.record(tmp_path)) == [PROBE, answer, announcement]
    assert sent_by_guest(NIC, tmp_path) == [PROBE]
    assert sent_by_peer(NIC, tmp_path) == [answer, announcement]


def test_every_run_has_another_name(tmp_path: Path) -> None:
    assert Peer(NIC, tmp_path).hardware != Peer(NIC, tmp_path).hardware


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(arp(BROADCAST, MAC, 1, bytes(4), bytes(6), bytes((10, 0, 2, 3))), id="somebody else"),
        pytest.param(arp(BROADCAST, MAC, 2, bytes(4), bytes(6), GATEWAY), id="an answer"),
        pytest.param(PROBE.replace(b"\x08\x06\0\1\x08\0", b"\x08\x06\0\1\x86\xdd"), id="of IPv6"),
        pytest.param(PROBE[:41], id="cut short"),
        pytest.param(b"\0", id="no frame"),
    ],
)
def test_it_answers_nobody_else(tmp_path: Path, frame: bytes) -> None:
    with Peer(NIC, tmp_path) as peer:
        put(peer.qemu_end, frame, PROBE)
        get(peer.qemu_end), get(peer.qemu_end)
    assert frames(NIC.record(tmp_path))[:2] == [frame, PROBE]
    assert len(sent_by_peer(NIC, tmp_path)) - (frame[6:12] != MAC) == 2


def test_it_may_be_told_to_be_silent(tmp_path: Path) -> None:
    silent = Nic("nic", 7, MAC.hex(":"), answered=False)
    with Peer(silent, tmp_path) as peer:
        put(peer.qemu_end, PROBE)
    assert frames(silent.record(tmp_path)) == [PROBE]


def test_it_speaks_when_asked_to(tmp_path: Path) -> None:
    with Peer(NIC, tmp_path) as peer:
        peer.send(b"unasked".ljust(60))
        assert get(peer.qemu_end) == b"unasked".ljust(60)
    assert sent_by_peer(NIC, tmp_path) == [b"unasked".ljust(60)]


def test_it_ends_in_the_middle_of_a_frame(tmp_path: Path) -> None:
    with Peer(NIC, tmp_path) as peer:
        peer.qemu_end.sendall(struct.pack("!I", 60) + PROBE[:10])
    assert not peer.thread.is_alive()


def test_it_ends_although_nobody_reads(tmp_path: Path) -> None:
    """It asks until both directions are full: the peer stands in a write when QEMU ends."""
    with Peer(NIC, tmp_path) as peer:
        peer.qemu_end.settimeout(1)
        with pytest.raises(TimeoutError):
            while True:
                put(peer.qemu_end, PROBE)
    assert not peer.thread.is_alive()
