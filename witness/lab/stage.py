# SPDX-License-Identifier: BSD-2-Clause
"""One trial: a machine set going from its snapshot with the experiment's image in first's place, and the harness at its points.

The image speaks by COM2 and waits there for an answer (tests/claims/lab.h). Nothing stops the machine meanwhile: QEMU drains block
I/O whenever it stops one. Under icount the machine's clock counts its instructions, so a device's delay is the same on every host.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Callable, Mapping, Sequence

from witness import devices
from witness.boot.protocol import E820_RAM, INIT_SIZE, Image, e820
from witness.machine.description import Machine
from witness.machine.firmware import Firmware
from witness.machine.plug import plug
from witness.machine.qemu import AtEntry, Session, Settings, Start, Unusable, configs, copy_sparse, run
from witness.machine.qmp import Wire
from witness.machine.record import Entry, Run
from witness.machine.snapshot import Snapshot, give_cmdline, give_initrd, params, write, write_params
from witness.pci.registers import PCI_BASE_ADDRESS_0
from witness.pci.topology import Bdf, Topology

# 64 ns an instruction: firmware boots fastest with it (2.3 s; QEMU 7.2), and edu's 100 ms pass in 20 ms of the host's time.
ICOUNT = ("-icount", "shift=6,sleep=off")

# QEMU 7.2: "State blocked by non-migratable device". (edu has no state either, but does not say so: see snapshot.py.) Behind a port
# one is plugged into the machine that the snapshot gives; elsewhere it takes a boot for each run.
UNMIGRATABLE = {"nvme"}

# What a line of the image begins with that waits for no answer.
MARK = "-"

PCI_BASE_ADDRESS_MEM_MASK = ~0xF

IMAGES = "claims"  # in the build
ARCHIVE = "next.cpio"


@dataclass
class Stage:
    """What an action sees of the running machine, at a point."""

    session: Session
    value: int = 0  # what the image said there
    kept: dict[str, bytes] = field(default_factory=dict)  # for the judge
    open: dict[str, socket.socket] = field(default_factory=dict)  # what actions have open; closed at the end

    def monitor(self, line: str) -> str:
        return self.session.qmp.monitor(line)

    def read(self, address: int, size: int) -> bytes:
        """Guest RAM as it is now."""
        with self.session.ram.open("rb") as file:
            file.seek(address)
            return file.read(size)

    def write(self, address: int, data: bytes) -> None:
        write(self.session, address, data)

    def config(self, bdf: Bdf) -> bytes:
        """Configuration space of a function as it is now."""
        return dict(configs(self.session.qmp))[bdf]

    def register(self, bdf: Bdf, bar: int, offset: int) -> int:
        """32 bits in a function's memory BAR below 4 GiB as they are now; to read them has to change nothing."""
        base = int.from_bytes(self.config(bdf)[PCI_BASE_ADDRESS_0 + 4 * bar:][:4], "little") & PCI_BASE_ADDRESS_MEM_MASK
        return int(self.monitor(f"xp /1wx {base + offset:#x}").split()[-1], 16)

    def busy(self) -> bool:
        """Whether a device says by a register that a transfer of its own is under way."""
        functions = Topology.of(configs(self.session.qmp)).functions.values()
        models = ((function, devices.model_of(function)) for function in functions)
        return any(model.busy(partial(self.register, function.bdf)) for function, model in models if model)

    def pass_through_main_loop(self) -> None:
        """What had been sent to QEMU before, it has seen when it answers the third time: its main loop asks each source whether it
        is to be watched, watches it, and serves it in one go."""
        for _ in range(3):
            self.session.qmp.command("query-status")

    def note(self, name: str, value: int) -> None:
        """A number, for Observation.noted."""
        self.kept[name] = str(int(value)).encode()

    def keep_ram(self, name: str) -> None:
        """All of it as it is now, for Observation.ram."""
        copy_sparse(self.session.ram, kept_ram(self.session.ram.parent, name))


Action = Callable[[Stage], None]


def kept_ram(directory: Path, name: str) -> Path:
    return directory / f"{name}.bin"


def settings(environment: Mapping[str, str] = os.environ) -> Settings:
    given = Settings.of(environment)
    if given.accel != "tcg":
        raise Unusable(f"ACCEL={given.accel}: the lab counts the machine's instructions, which only tcg can")
    return replace(given, flags=(*ICOUNT, *given.flags))


@dataclass(frozen=True)
class Boot(Start):
    """Where no snapshot can be: each run boots."""

    build: Path
    settings: Settings


Origin = Snapshot | Boot


def take(machine: Machine, build: Path, directory: Path, how: Settings) -> Origin:
    """What the runs on this machine begin from: the machine at its first image's entry, where QEMU can keep it."""
    machine, _ = _unplugged(machine)
    if models(machine) & UNMIGRATABLE:
        return Boot(build, how)
    directory.mkdir(parents=True, exist_ok=True)
    return Snapshot.take(_with_com2(machine, "-serial", "null"), build, directory, how)


def models(machine: Machine) -> set[str]:
    """The device models that the machine's command line names."""
    arguments = machine.arguments(Path(), Firmware(Path("OVMF.fd"), None))
    return {value.partition(",")[0] for option, value in zip(arguments, arguments[1:]) if option == "-device"}


def _unplugged(machine: Machine) -> tuple[Machine, list[str]]:
    """The machine without the devices that are plugged in later, and these."""
    late = [device for device in machine.devices if device.partition(",")[0] in UNMIGRATABLE and ",bus=" in device]
    return replace(machine, devices=tuple(device for device in machine.devices if device not in late)), late


def _with_com2(machine: Machine, *arguments: str) -> Machine:
    return replace(machine, extra=(*machine.extra, *arguments))


def perform(
    origin: Origin, machine: Machine, image: str, words: str, points: Mapping[str, Action], directory: Path
) -> tuple[Run, dict[str, bytes]]:
    """Let the machine go on with this image where first is entered, and do at each of its points what is to be done there.

    Returns the run, and what the actions have kept.
    """
    ours, qemus = socket.socketpair()
    machine, plugged = _unplugged(machine)
    with ours, qemus:
        wired = _with_com2(machine, "-chardev", f"socket,id=lab,fd={qemus.fileno()}", "-serial", "chardev:lab")
        start = _Performance(origin, plugged, image, words, points, ours, qemus)
        fds = (qemus.fileno(),)
        record = run(wired, origin.build, directory, words, origin.settings, stop_at_jump=False, fds=fds, start=start)
    return record, start.kept


class _Performance(Start):
    def __init__(
        self,
        origin: Origin,
        plugged: Sequence[str],
        image: str,
        words: str,
        points: Mapping[str, Action],
        ours: socket.socket,
        qemus: socket.socket,
    ) -> None:
        self.origin, self.plugged, self.words, self.points, self.ours, self.qemus = origin, plugged, words, points, ours, qemus
        self.name, self.folder = image, origin.build / IMAGES
        self.kept: dict[str, bytes] = {}

    def arguments(self, kernel: Path, cmdline: str, directory: Path) -> list[str]:
        return self.origin.arguments(kernel, "", directory)

    def begin(self, session: Session) -> None:
        self.origin.begin(session)

    def watch(self, record: Run, session: Session, at_entry: AtEntry | None) -> None:
        self.qemus.close()  # so that QEMU's end is the end of the conversation
        if isinstance(self.origin, Boot):
            super().watch(record, session, self._give)
        else:
            entry = replace(plug(session, self.origin.entry, self.plugged), stop=None)
            record.entries.append(entry)
            self._give(session, entry)
            session.gdb.resume()
        wire, stage = Wire(self.ours, session.qmp.wire.deadline), Stage(session, kept=self.kept)
        try:
            while True:  # up to QEMU's end, which is the conversation's
                name, _, value = wire.until(b"\n").decode("ascii").partition(" ")
                if name.startswith(MARK):
                    continue
                stage.value = int(value, 16)
                self.points.get(name, _go_on)(stage)
                wire.send(b"\n")
        finally:
            for connection in stage.open.values():
                connection.close()

    def _give(self, session: Session, entry: Entry) -> None:
        """What first's place holds from here on, and what it is handed."""
        _give_image(session, entry, Image.load(self.name, self.folder / f"{self.name}.bin"))
        give_cmdline(session, entry, self.words)
        give_initrd(session, entry, (self.folder / ARCHIVE).read_bytes())


def _go_on(stage: Stage) -> None:
    """A point that only marks the trace."""


def _give_image(session: Session, entry: Entry, image: Image) -> None:
    """Into the place of the image that firmware's loader has put there; what follows it has to be free RAM, too."""
    header = params(session, entry)
    needed = range(entry.load_address, entry.load_address + image.init_size)
    ram = [addresses for addresses, kind in e820(header) if kind == E820_RAM]
    if not any(r.start <= needed.start and needed.stop <= r.stop for r in ram):
        raise Unusable(f"{image.name}: {image.init_size} bytes at {needed.start:#x} are not all RAM")
    write(session, entry.load_address, image.payload)
    write_params(session, entry, INIT_SIZE, image.init_size.to_bytes(4, "little"))
