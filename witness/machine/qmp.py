# SPDX-License-Identifier: BSD-2-Clause
"""The two connections to a running QEMU: its monitor (QMP) and its debugger stub.

Both are connected socket pairs made before QEMU starts: no names in the file system, no polling for a listener.
Every wait is for bytes from QEMU, and bounded by one deadline.
"""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass, field
from typing import Any


class Gone(Exception):
    """QEMU closed the connection: it has ended, or is about to."""


class Expired(Exception):
    """The deadline passed."""


@dataclass(frozen=True)
class Deadline:
    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    def left(self) -> float:
        left = self.at - time.monotonic()
        if left <= 0:
            raise Expired
        return left


@dataclass
class Wire:
    sock: socket.socket
    deadline: Deadline
    buffer: bytes = b""

    def receive(self) -> None:
        self.sock.settimeout(self.deadline.left())
        try:
            chunk = self.sock.recv(1 << 16)
        except TimeoutError:
            raise Expired from None
        except ConnectionError:
            raise Gone from None
        if not chunk:
            raise Gone
        self.buffer += chunk

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError:
            raise Gone from None

    def until(self, end: bytes) -> bytes:
        while end not in self.buffer:
            self.receive()
        head, _, self.buffer = self.buffer.partition(end)
        return head


@dataclass
class Qmp:
    """docs/interop/qmp-spec.txt, the part that one client of one machine needs."""

    wire: Wire
    events: list[str] = field(default_factory=list)

    def greet(self) -> str:
        """Open the session; returns QEMU's version."""
        version = json.loads(self.wire.until(b"\n"))["QMP"]["version"]["qemu"]
        self.command("qmp_capabilities")
        return f"{version['major']}.{version['minor']}.{version['micro']}"

    def command(self, name: str, /, **arguments: Any) -> Any:
        self.wire.send(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        while True:
            message = self._message()
            if "error" in message:
                raise ValueError(f"{name}: {message['error']['desc']}")
            if "return" in message:
                return message["return"]

    def monitor(self, line: str) -> str:
        """A human monitor command, where QMP has none."""
        return str(self.command("human-monitor-command", **{"command-line": line}))

    def wait(self, event: str) -> None:
        while event not in self.events:
            self._message()
        del self.events[: self.events.index(event) + 1]

    def _message(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.wire.until(b"\n"))
        if "event" in message:
            self.events.append(message["event"])
        return message


@dataclass
class Gdb:
    """The remote serial protocol, for what the monitor cannot do: breakpoints, and writes to physical memory."""

    wire: Wire
    resumed: int = 0  # how often; each but the last ends in a stop

    def insert(self, address: int) -> None:
        self._ask(f"Z1,{address:x},1")

    def remove(self, address: int) -> None:
        self._ask(f"z1,{address:x},1")

    def resume(self) -> None:
        """Run until a breakpoint, which QMP's STOP event reports. QEMU refuses QMP's `cont` while a debugger has stopped it."""
        self.resumed += 1
        self._put("c")

    def write_physical(self, address: int, data: bytes) -> None:
        """As the CPU's bus would: into RAM, or to a device. A write of 4 bytes to 0xfee00000 is an MSI."""
        self._ask("Qqemu.PhyMemMode:1")
        self._ask(f"M{address:x},{len(data):x}:{data.hex()}")
        self._ask("Qqemu.PhyMemMode:0")

    def _ask(self, request: str) -> None:
        self._put(request)
        while True:
            reply = self._packet()
            if reply == b"OK":
                return
            if reply[:1] not in b"TS":  # the stop reply of an earlier `c` comes before the answer
                raise ValueError(f"gdb stub: {request}: {reply.decode(errors='replace')}")

    def _put(self, text: str) -> None:
        data = text.encode()
        self.wire.send(b"$%s#%02x" % (data, sum(data) % 256))

    def _packet(self) -> bytes:
        self.wire.until(b"$")
        packet = self.wire.until(b"#")
        while len(self.wire.buffer) < 2:
            self.wire.receive()
        self.wire.buffer = self.wire.buffer[2:]  # the checksum is not needed: a socket does not corrupt
        self.wire.send(b"+")
        return packet
