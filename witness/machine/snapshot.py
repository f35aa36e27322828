# SPDX-License-Identifier: BSD-2-Clause
"""Many runs from one boot: the machine as it was where the head of the chain was entered, resumed again and again.

A boot takes 3 to 4 s, nearly all of it the firmware's; from a snapshot first is entered after 0.15 s. The devices' state is a
migration stream. RAM is not in it (x-ignore-shared), but in the machine's file: to copy that takes 20 ms and to load the
stream 15 ms, where a stream with RAM in it takes 200 to 600 ms (QEMU 7.2, TCG, 256 MiB).

Runs differ in what first is given: boot_params, and all that they point to, are RAM that may be changed.
"""

from __future__ import annotations

import os
import shlex
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from witness.boot.protocol import (
    BOOT_PARAMS_SIZE, CMDLINE_SIZE, CMD_LINE_PTR, E820_RAM, EXT_CMD_LINE_PTR, EXT_RAMDISK_IMAGE, INIT_SIZE, PAGE, RAMDISK_IMAGE,
    e820, ramdisk,
)  # fmt: skip
from witness.machine.description import Machine
from witness.machine.qemu import AtEntry, Session, Settings, Start, Unusable, config_write, configs, copy_sparse, run
from witness.machine.record import Entry, Ram, Run

# QEMU 7.2: "State blocked by non-migratable device". edu has no state either, but does not block: see begin().
UNMIGRATABLE = {"nvme", "x-pci-proxy-dev"}

# In the snapshot's directory; a run in the same one leaves them.
STATE = "snapshot.state"
RAM = "snapshot.memory"

CMDLINE_MAX = 2047  # the loader's limit

JUMP_TO_ITSELF = b"\xeb\xfe"

IGNORE_SHARED = [{"capability": "x-ignore-shared", "state": True}]

# The registers that firmware sets up: BARs, expansion ROM, Interrupt Line; last the command register, which enables them. A zero in
# the status register's half changes nothing.
HEADER_BY_FIRMWARE = (*range(0x10, 0x28, 4), 0x30, 0x3C, 0x04)


@dataclass(frozen=True)
class Snapshot(Start):
    machine: Machine
    build: Path
    directory: Path
    settings: Settings
    entry: Entry  # of the head of the chain

    @classmethod
    def take(cls, machine: Machine, build: Path, directory: Path, settings: Settings | None = None) -> Snapshot:
        """Boot build/handoff.efi once, up to the entry of the head of the chain."""
        settings = settings or Settings.of(os.environ)

        def keep(session: Session, entry: Entry) -> None:
            _save(session, entry, directory)
            session.qmp.command("quit")

        record = run(machine, build, directory, settings=settings, at_entry=keep)
        if not record.entries:
            raise Unusable(f"no snapshot: first was not entered, {record.detail}")
        (directory / "ram").rename(directory / RAM)
        return cls(machine, build, directory, settings, record.entries[0])

    @classmethod
    def taken(cls, machine: Machine, build: Path, directory: Path, settings: Settings) -> Snapshot | None:
        """The snapshot in this directory, whichever process has taken it."""
        return cls(machine, build, directory, settings, Run.load(directory).entries[0]) if (directory / RAM).exists() else None

    def run(
        self,
        directory: Path,
        cmdline: str = "",
        change: AtEntry | None = None,
        stop_at_jump: bool = True,
        at_entry: AtEntry | None = None,
    ) -> Run:
        """A run that begins where the snapshot was taken, with this command line and with what `change` changes there. at_entry is
        called at each image's entry, as by a run that begins with firmware."""

        def entered(session: Session, entry: Entry) -> None:
            if entry.name == self.entry.name:
                if cmdline:
                    set_cmdline(session, entry, cmdline)
                if change:
                    change(session, entry)
            if at_entry:
                at_entry(session, entry)

        return run(self.machine, self.build, directory, cmdline, self.settings, entered, stop_at_jump, start=self)

    def arguments(self, kernel: Path, cmdline: str, directory: Path) -> list[str]:
        copy_sparse(self.directory / RAM, directory / "ram")
        return ["-incoming", "defer"]

    def begin(self, session: Session) -> None:
        session.qmp.command("migrate-set-capabilities", capabilities=IGNORE_SHARED)
        session.qmp.command("migrate-incoming", uri=f"exec:cat {shlex.quote(str(self.directory / STATE))}")
        while session.qmp.command("query-status")["status"] == "inmigrate":
            pass  # some ten queries; QMP has no command that waits
        with suppress(ValueError):  # QEMU before 10.0 has no such command: there, the disks are active by now
            session.qmp.command("blockdev-set-active", active=True)
        # A device without migration state (edu) is as after a reset. Firmware changes its configuration space only: restore that.
        now = dict(configs(session.qmp))
        for bdf, config in self.entry.configs.items():
            for register in HEADER_BY_FIRMWARE:
                if config[register:][:4] != now[bdf][register:][:4]:
                    value = int.from_bytes(config[register:][:4], "little")
                    config_write(session.qmp, bdf, register, value if register != 0x04 else value & 0xFFFF)


def _save(session: Session, entry: Entry, directory: Path) -> None:
    """A machine that a breakpoint stopped cannot be resumed from its state, a paused one can: it is paused in a loop there."""
    pc = entry.registers["RIP"]
    code = Ram(session.ram).read(range(pc, pc + len(JUMP_TO_ITSELF)))
    session.gdb.write_physical(pc, JUMP_TO_ITSELF)
    session.gdb.resume()
    session.qmp.wait("RESUME")
    session.qmp.command("stop")
    session.gdb.write_physical(pc, code)
    session.qmp.command("migrate-set-capabilities", capabilities=IGNORE_SHARED)
    session.qmp.command("migrate", uri=f"exec:cat > {shlex.quote(str(directory / STATE))}")
    while (status := session.qmp.command("query-migrate").get("status")) != "completed":
        if status == "failed":
            raise Unusable("no snapshot: QEMU could not write the state of its devices")


# --- what first is given ---


def params(session: Session, entry: Entry) -> bytes:
    return Ram(session.ram).read(_params(entry))


def initrd(session: Session, entry: Entry) -> bytes:
    return Ram(session.ram).read(ramdisk(params(session, entry)))


def write(session: Session, address: int, data: bytes) -> None:
    """Into the RAM of a stopped machine."""
    with session.ram.open("r+b") as file:
        file.seek(address)
        file.write(data)


def write_params(session: Session, entry: Entry, offset: int, data: bytes) -> None:
    write(session, entry.registers["RSI"] + offset, data)


def set_initrd(session: Session, entry: Entry, archive: bytes) -> None:
    """Another archive, in free memory; the old one's memory is free then."""
    address = _place(session, entry, archive)
    size = len(archive)
    write_params(session, entry, RAMDISK_IMAGE, struct.pack("<II", address & 0xFFFFFFFF, size & 0xFFFFFFFF))
    write_params(session, entry, EXT_RAMDISK_IMAGE, struct.pack("<II", address >> 32, size >> 32))


def set_cmdline(session: Session, entry: Entry, text: str) -> None:
    """Another command line, which may be longer than the loader's limit."""
    data = text.encode("ascii") + b"\0"
    header = params(session, entry)
    (address,), (high,) = struct.unpack_from("<I", header, CMD_LINE_PTR), struct.unpack_from("<I", header, EXT_CMD_LINE_PTR)
    address |= high << 32
    if len(text) > CMDLINE_MAX:
        address = _place(session, entry, data)
        write_params(session, entry, CMD_LINE_PTR, struct.pack("<I", address & 0xFFFFFFFF))
        write_params(session, entry, EXT_CMD_LINE_PTR, struct.pack("<I", address >> 32))
        write_params(session, entry, CMDLINE_SIZE, struct.pack("<I", len(text)))
    write(session, address, data)


def _params(entry: Entry) -> range:
    return range(entry.registers["RSI"], entry.registers["RSI"] + BOOT_PARAMS_SIZE)


def _place(session: Session, entry: Entry, data: bytes) -> int:
    """Data into the middle of RAM, which is free. Images prefer the lower half. Firmware, whose page tables are still in use
    although the memory map reports them as RAM by now, allocates from the top down.
    """
    header = params(session, entry)
    (init_size,) = struct.unpack_from("<I", header, INIT_SIZE)
    used = [_params(entry), range(entry.load_address, entry.load_address + init_size), ramdisk(header)]
    largest = max((addresses for addresses, kind in e820(header) if kind == E820_RAM), key=len)
    address = _page((largest.start + largest.stop) // 2)
    for extent in sorted(used, key=lambda extent: extent.start):
        if extent.start < address + len(data) and address < extent.stop:
            address = _page(extent.stop)
    if address + len(data) > largest.stop:
        raise ValueError(f"no room for {len(data)} bytes above {address:#x}")
    write(session, address, data)
    return address


def _page(address: int) -> int:
    return (address + PAGE - 1) // PAGE * PAGE
