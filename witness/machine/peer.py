# SPDX-License-Identifier: BSD-2-Clause
"""The other end of a machine's network cable: the host at 10.0.2.2, and the record of what passed.

QEMU writes each frame after its length, four bytes, most significant first (`-netdev socket`). The record is a pcap
file, as tcpdump reads it; a frame's source address identifies its sender.
"""

from __future__ import annotations

import secrets
import socket
import struct
import time
from pathlib import Path
from threading import Lock, Thread
from typing import BinaryIO, NamedTuple

from witness.machine.description import Nic

GATEWAY = bytes((10, 0, 2, 2))  # as in QEMU's user-mode network
BROADCAST = bytes(6 * [0xFF])
UNICAST_LOCAL = b"\x02"  # first byte of a locally administered address

FRAME_MIN = 60  # without checksum; shorter ones are padded
FRAME_MAX = 1 << 16
LENGTH = struct.Struct("!I")

PCAP_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, FRAME_MAX, 1)  # Ethernet
PCAP_RECORD = struct.Struct("<IIII")

ARP_REQUEST, ARP_REPLY = 1, 2

# The time limit for storing what QEMU sent before its end.
LAST_FRAMES_S = 5


class Arp(NamedTuple):
    """RFC 826, of IPv4 over Ethernet, with its Ethernet header."""

    destination: bytes
    source: bytes
    operation: int
    sender: bytes
    sender_ip: bytes
    target: bytes
    target_ip: bytes

    @classmethod
    def of(cls, frame: bytes) -> Arp | None:
        """None: something else."""
        if len(frame) < _ARP.size:
            return None
        destination, source, *kind, operation, sender, sender_ip, target, target_ip = _ARP.unpack_from(frame)
        return cls(destination, source, operation, sender, sender_ip, target, target_ip) if kind == _KIND else None

    @property
    def frame(self) -> bytes:
        return _ARP.pack(self.destination, self.source, *_KIND, *self[2:]).ljust(FRAME_MIN, b"\0")

    @property
    def asks_for_gateway(self) -> bool:
        return self.operation == ARP_REQUEST and self.target_ip == GATEWAY


_ARP = struct.Struct("!6s6sHHHBBH6s4s6s4s")
_KIND = [0x0806, 1, 0x0800, 6, 4]  # ARP; Ethernet, IPv4, the lengths of their addresses


class Peer:
    """Runs in a thread of its own, from before QEMU starts until it has ended. QEMU never waits for it."""

    def __init__(self, nic: Nic, directory: Path) -> None:
        self.nic = nic
        self.hardware = UNICAST_LOCAL + secrets.token_bytes(5)  # random: only who received a frame can name it
        self.answering = nic.answered
        self.record = nic.record(directory)
        self.lock = Lock()

    def __enter__(self) -> Peer:
        self.sock, self.qemu_end = socket.socketpair()
        self.capture = self.record.open("wb", buffering=0)
        self.capture.write(PCAP_HEADER)
        self.thread = Thread(target=self._serve, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.qemu_end.close()  # QEMU has ended: the last reference
        self.thread.join(LAST_FRAMES_S)
        self.sock.close()
        self.capture.close()

    @property
    def arguments(self) -> list[str]:
        """The cable and its card. They must come after the option that makes the card."""
        cable = f"{self.nic.name}.cable"
        return [
            "-netdev", f"socket,id={cable},fd={self.qemu_end.fileno()}",
            "-set", f"device.{self.nic.name}.netdev={cable}",
        ]  # fmt: skip

    def _serve(self) -> None:
        try:
            with self.sock.makefile("rb") as incoming:
                while frame := _receive(incoming):
                    with self.lock:
                        self._keep(frame)
                    self._answer(frame)
        except OSError:
            pass  # QEMU died with frames of ours unread

    def send(self, frame: bytes) -> None:
        with self.lock:
            self._keep(frame)
            self.sock.sendall(LENGTH.pack(len(frame)) + frame)

    def announce(self) -> None:
        """An unsolicited frame (RFC 5227, 2.3)."""
        self.send(Arp(BROADCAST, self.hardware, ARP_REQUEST, self.hardware, GATEWAY, bytes(6), GATEWAY).frame)

    def _answer(self, frame: bytes) -> None:
        """After the answer an announcement, so that one request has two frames in flight."""
        asked, us = Arp.of(frame), self.hardware
        if self.answering and asked and asked.asks_for_gateway:
            self.send(Arp(asked.source, us, ARP_REPLY, us, GATEWAY, asked.sender, asked.sender_ip).frame)
            self.announce()

    def _keep(self, frame: bytes) -> None:
        us = time.time_ns() // 1000
        self.capture.write(PCAP_RECORD.pack(us // 10**6, us % 10**6, len(frame), len(frame)) + frame)


def _receive(incoming: BinaryIO) -> bytes:
    """The next frame; empty at the end."""
    head = incoming.read(LENGTH.size)
    return incoming.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else b""


def sent_by_peer(nic: Nic, directory: Path) -> list[bytes]:
    return [frame for frame in frames(nic.record(directory)) if _source(frame) != nic.address]


def sent_by_guest(nic: Nic, directory: Path) -> list[bytes]:
    return [frame for frame in frames(nic.record(directory)) if _source(frame) == nic.address]


def _source(frame: bytes) -> bytes:
    return frame[6:12]


def frames(record: Path) -> list[bytes]:
    """All frames, in order."""
    data, at, found = record.read_bytes(), len(PCAP_HEADER), []
    while at < len(data):
        size = PCAP_RECORD.unpack_from(data, at)[2]
        at += PCAP_RECORD.size
        found.append(data[at:at + size])
        at += size
    return found
