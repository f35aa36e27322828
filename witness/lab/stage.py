# SPDX-License-Identifier: BSD-2-Clause
"""The harness's actions while a machine runs: its guest reports its points on COM2, and waits there for an answer
(tests/claims/lab.h). The machine is never stopped meanwhile: QEMU drains block I/O whenever it stops one.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Callable, Mapping

from witness import devices
from witness.machine.description import Machine
from witness.machine.qemu import Session, Settings, Start, configs, copy_sparse, run
from witness.machine.qmp import Wire
from witness.machine.record import Run
from witness.machine.snapshot import write
from witness.pci.registers import PCI_BASE_ADDRESS_0, PCI_BASE_ADDRESS_MEM_MASK
from witness.pci.topology import Bdf, Topology

# The prefix of a line of the image that needs no answer.
MARK = "-"


@dataclass
class Stage:
    """The running machine, for an action at a point."""

    session: Session
    value: int = 0  # reported by the image at this point
    kept: dict[str, bytes] = field(default_factory=dict)  # for the judge
    open: dict[str, socket.socket] = field(default_factory=dict)  # opened by actions; closed at the end

    def monitor(self, line: str) -> str:
        return self.session.qmp.monitor(line)

    def read(self, address: int, size: int) -> bytes:
        """Current guest RAM."""
        with self.session.ram.open("rb") as file:
            file.seek(address)
            return file.read(size)

    def write(self, address: int, data: bytes) -> None:
        write(self.session, address, data)

    def config(self, bdf: Bdf) -> bytes:
        """Current configuration space of a function."""
        return dict(configs(self.session.qmp))[bdf]

    def register(self, bdf: Bdf, bar: int, offset: int) -> int:
        """32 bits in a function's memory BAR below 4 GiB; reading them must have no side effect."""
        base = int.from_bytes(self.config(bdf)[PCI_BASE_ADDRESS_0 + 4 * bar:][:4], "little") & PCI_BASE_ADDRESS_MEM_MASK
        return int(self.monitor(f"xp /1wx {base + offset:#x}").split()[-1], 16)

    def busy(self) -> bool:
        """Whether the status of a device reports a transfer."""
        functions = Topology.of(configs(self.session.qmp)).functions.values()
        models = ((function, devices.model_of(function)) for function in functions)
        return any(model.busy(partial(self.register, function.bdf)) for function, model in models if model)

    def pass_through_main_loop(self) -> None:
        """QEMU has handled all earlier input when it answers the third time: in one pass its main loop asks each source whether
        it is to be polled, polls it, and dispatches it."""
        for _ in range(3):
            self.session.qmp.command("query-status")

    def note(self, name: str, value: int) -> None:
        """A number, for Observation.noted."""
        self.kept[name] = str(int(value)).encode()

    def keep_ram(self, name: str) -> None:
        """All of RAM, for Observation.ram."""
        copy_sparse(self.session.ram, kept_ram(self.session.ram.parent, name))


Action = Callable[[Stage], None]


def kept_ram(directory: Path, name: str) -> Path:
    return directory / f"{name}.bin"


def with_com2(machine: Machine, *arguments: str) -> Machine:
    return replace(machine, extra=(*machine.extra, *arguments))


@dataclass
class Dialogue(Start):
    """A run whose guest sends lines on COM2, and waits at each of its points for an answer."""

    points: Mapping[str, Action]
    kept: dict[str, bytes] = field(default_factory=dict, kw_only=True)  # by actions

    def hear(self, session: Session, line: str) -> tuple[str, int] | None:
        """The point where the guest waits, and its value, if this line reports one."""
        raise NotImplementedError

    def run(self, machine: Machine, build: Path, directory: Path, words: str, how: Settings) -> Run:
        self.ours, self.qemus = socket.socketpair()
        with self.ours, self.qemus:
            fd = self.qemus.fileno()
            machine = with_com2(machine, "-chardev", f"socket,id=com2,fd={fd}", "-serial", "chardev:com2")
            return run(machine, build, directory, words, how, stop_at_jump=False, fds=(fd,), start=self)

    def converse(self, session: Session) -> None:
        """Until QEMU's end."""
        self.qemus.close()  # so that QEMU's end closes the connection
        wire, stage = Wire(self.ours, session.qmp.wire.deadline), Stage(session, kept=self.kept)
        try:
            while True:
                heard = self.hear(session, wire.until(b"\n").decode("utf-8", errors="replace"))
                if heard is None:
                    continue
                name, stage.value = heard
                if name in self.points:
                    self.points[name](stage)
                wire.send(b"\n")
        finally:
            for connection in stage.open.values():
                connection.close()
