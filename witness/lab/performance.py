# SPDX-License-Identifier: BSD-2-Clause
"""One trial: a machine resumed from its snapshot with the experiment's image in first's place, and the harness at its points.

With icount the machine's clock counts instructions, so a device's delay is the same on every host.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Mapping, Sequence

from witness.boot.protocol import E820_RAM, INIT_SIZE, Image, e820
from witness.lab.stage import MARK, Action, Dialogue, with_com2
from witness.machine.description import Machine
from witness.machine.plug import plug
from witness.machine.qemu import AtEntry, Session, Settings, Start, Unusable
from witness.machine.record import Entry, Run
from witness.machine.snapshot import UNMIGRATABLE, Snapshot, set_cmdline, set_initrd, params, write, write_params

# 64 ns an instruction: edu's 100 ms pass in 20 ms of the host's time.
ICOUNT = ("-icount", "shift=6,sleep=off")

IMAGES = "claims"  # in the build
ARCHIVE = "next.cpio"


def settings(environment: Mapping[str, str] = os.environ) -> Settings:
    given = Settings.of(environment)
    if given.accel != "tcg":
        raise Unusable(f"ACCEL={given.accel}: the lab counts the machine's instructions, which only tcg can")
    return replace(given, flags=(*ICOUNT, *given.flags))


@dataclass(frozen=True)
class ColdBoot(Start):
    """Without a snapshot: each run boots."""

    build: Path
    settings: Settings


Origin = Snapshot | ColdBoot


def take(machine: Machine, build: Path, directory: Path, how: Settings) -> Origin:
    """Where runs on this machine begin: at its first image's entry, if QEMU can save that.

    Firmware boots without icount: in 1.3 s instead of 1.9 s of CPU time (QEMU 7.2).
    """
    machine, _ = _unplugged(machine)
    if machine.models() & UNMIGRATABLE:
        return ColdBoot(build, how)
    directory.mkdir(parents=True, exist_ok=True)
    plain = replace(how, flags=tuple(flag for flag in how.flags if flag not in ICOUNT))
    return replace(Snapshot.take(with_com2(machine, "-serial", "null"), build, directory, plain), settings=how)


def _unplugged(machine: Machine) -> tuple[Machine, list[str]]:
    """The machine without those devices below a port that QEMU cannot migrate, and these: they are plugged into a resumed one."""
    late = [device for device in machine.devices if device.partition(",")[0] in UNMIGRATABLE and ",bus=" in device]
    return replace(machine, devices=tuple(device for device in machine.devices if device not in late)), late


def perform(
    origin: Origin, machine: Machine, image: str, words: str, points: Mapping[str, Action], directory: Path
) -> tuple[Run, dict[str, bytes]]:
    """Resume the machine with this image where first is entered, and perform the action at each of its points.

    Returns the run, and what the actions have kept.
    """
    machine, plugged = _unplugged(machine)
    folder = origin.build / IMAGES
    start = _ImageDialogue(points, origin, plugged, Image.load(image, folder / f"{image}.bin"), words, folder / ARCHIVE)
    return start.run(machine, origin.build, directory, words, origin.settings), start.kept


@dataclass
class _ImageDialogue(Dialogue):
    origin: Origin
    plugged: Sequence[str]
    image: Image
    words: str
    archive: Path

    def arguments(self, kernel: Path, cmdline: str, directory: Path) -> list[str]:
        return self.origin.arguments(kernel, "", directory)

    def begin(self, session: Session) -> None:
        self.origin.begin(session)

    def watch(self, record: Run, session: Session, at_entry: AtEntry | None) -> None:
        if isinstance(self.origin, ColdBoot):
            super().watch(record, session, self._give)
        else:
            entry = replace(plug(session, self.origin.entry, self.plugged), stop=None)
            record.entries.append(entry)
            self._give(session, entry)
            session.gdb.resume()
        self.converse(session)

    def hear(self, session: Session, line: str) -> tuple[str, int] | None:
        name, _, value = line.partition(" ")
        return None if name.startswith(MARK) else (name, int(value, 16))

    def _give(self, session: Session, entry: Entry) -> None:
        """Replace first by the image, with its command line and archive. All of init_size must be free RAM."""
        needed = range(entry.load_address, entry.load_address + self.image.init_size)
        ram = [addresses for addresses, kind in e820(params(session, entry)) if kind == E820_RAM]
        if not any(r.start <= needed.start and needed.stop <= r.stop for r in ram):
            raise Unusable(f"{self.image.name}: {self.image.init_size} bytes at {needed.start:#x} are not all RAM")
        write(session, entry.load_address, self.image.payload)
        write_params(session, entry, INIT_SIZE, self.image.init_size.to_bytes(4, "little"))
        set_cmdline(session, entry, self.words)
        set_initrd(session, entry, self.archive.read_bytes())
