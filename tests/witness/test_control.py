# SPDX-License-Identifier: BSD-2-Clause
"""Claim: QEMU's two protocols are spoken rightly over a stream, and every wait ends.

It could be false where messages arrive in pieces or out of turn (an event before the answer, a stop reply before an
OK), and where QEMU is gone or silent.
"""

import socket
from typing import Iterator

import pytest

from witness.machine.qmp import Deadline, Expired, Gdb, Gone, Qmp, Wire

Ends = tuple[Wire, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Wire(ours, Deadline.after(5)), theirs


def test_answers_and_events_interleave(ends: Ends) -> None:
    wire, qemu = ends
    qmp = Qmp(wire)
    qemu.sendall(b'{"event": "STOP"}\r\n{"return": {"status"')
    qemu.sendall(b': "paused"}}\r\n{"event": "RESUME"}\r\n')
    assert qmp.command("query-status") == {"status": "paused"}
    assert qemu.recv(100) == b'{"execute": "query-status", "arguments": {}}\n'
    qmp.wait("STOP")
    qmp.wait("RESUME")
    assert qmp.events == []


def test_a_refusal_says_what_was_refused(ends: Ends) -> None:
    wire, qemu = ends
    qemu.sendall(b'{"error": {"class": "GenericError", "desc": "not now"}}\r\n')
    with pytest.raises(ValueError, match="cont: not now"):
        Qmp(wire).command("cont")


def test_a_stop_reply_may_come_before_the_answer(ends: Ends) -> None:
    wire, qemu = ends
    qemu.sendall(b"+$T05thread:01;#07+$OK#9a")
    Gdb(wire).remove(0x3000200)
    assert qemu.recv(100).startswith(b"$z1,3000200,1#")


def test_the_stub_may_refuse(ends: Ends) -> None:
    wire, qemu = ends
    qemu.sendall(b"+$E22#a9")
    with pytest.raises(ValueError, match="Z1,10,1: E22"):
        Gdb(wire).insert(0x10)


def test_gone(ends: Ends) -> None:
    wire, qemu = ends
    qemu.close()
    with pytest.raises(Gone):
        Qmp(wire).command("query-status")


def test_silent() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(Expired):
        Qmp(Wire(ours, Deadline.after(0.01))).wait("STOP")
