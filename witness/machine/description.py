# SPDX-License-Identifier: BSD-2-Clause
"""The machine that QEMU emulates: data, and its translation to a command line that works when pasted into a shell."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache
from pathlib import Path

from witness.machine.firmware import Firmware
from witness.trace.events import PATTERNS


class Content(str, Enum):
    """A disk's first content."""

    ZEROS = "zeros"
    RANDOM = "random"  # the same bytes in every run


@cache
def _noise(name: str, size: int) -> bytes:
    return random.Random(name).randbytes(size)


@dataclass(frozen=True)
class Disk:
    """A virtio-blk function on the root bus and its raw file, made anew for each run."""

    name: str
    slot: int
    content: Content
    drive: str = ""  # further -drive properties
    device: str = ""  # further -device properties
    mib: int = 8

    def file(self, directory: Path) -> Path:
        return directory / f"{self.name}.img"

    def original(self) -> bytes:
        """Its content before the run."""
        return _noise(self.name, self.mib << 20) if self.content == Content.RANDOM else bytes(self.mib << 20)

    def create(self, directory: Path) -> None:
        content = self.original()
        with self.file(directory).open("wb") as file:
            if content != bytes(len(content)):
                file.write(content)
            file.truncate(len(content))  # zeros take no space

    def arguments(self, directory: Path) -> list[str]:
        drive = f"if=none,id={self.name},format=raw,file={self.file(directory)}"
        device = f"virtio-blk-pci,drive={self.name},addr={self.slot:#x},disable-legacy=on"
        return [
            "-drive", ",".join(filter(None, (drive, self.drive))),
            "-device", ",".join(filter(None, (device, self.device))),
        ]  # fmt: skip


# QEMU's models of network cards that the images have drivers for.
VIRTIO_NET, E1000E = "virtio-net-pci", "e1000e"


@dataclass(frozen=True)
class Sata(Disk):
    """A disk at an AHCI controller of its own, a function on the root bus."""

    def arguments(self, directory: Path) -> list[str]:
        drive = f"if=none,id={self.name},format=raw,file={self.file(directory)}"
        device = f"ide-hd,bus={self.name}-ahci.0,drive={self.name}"
        return [
            "-drive", ",".join(filter(None, (drive, self.drive))),
            "-device", f"ich9-ahci,id={self.name}-ahci,addr={self.slot:#x}",
            "-device", ",".join(filter(None, (device, self.device))),
        ]  # fmt: skip


@dataclass(frozen=True)
class Nic:
    """A network function on the root bus. A run connects it (witness/machine/peer.py): on the command line that a user pastes it is
    not connected."""

    name: str
    slot: int
    mac: str
    answered: bool = True  # whether 10.0.2.2 answers
    device: str = ""  # further -device properties
    model: str = VIRTIO_NET

    def record(self, directory: Path) -> Path:
        """The file of every frame that passed."""
        return directory / f"{self.name}.pcap"

    @property
    def address(self) -> bytes:
        return bytes.fromhex(self.mac.replace(":", ""))

    def arguments(self, directory: Path) -> list[str]:
        # Without an option ROM: firmware boots from no network.
        device = f"{self.model},id={self.name},mac={self.mac},addr={self.slot:#x},romfile="
        modern = "disable-legacy=on" if self.model == VIRTIO_NET else ""
        return ["-device", ",".join(filter(None, (device, modern, self.device)))]


@dataclass(frozen=True)
class Rng:
    """A virtio-rng function on the root bus with QEMU's builtin generator."""

    name: str
    slot: int
    device: str = ""  # further -device properties

    def arguments(self, directory: Path) -> list[str]:
        device = f"virtio-rng-pci,rng={self.name},addr={self.slot:#x},disable-legacy=on"
        return [
            "-object", f"rng-builtin,id={self.name}",
            "-device", ",".join(filter(None, (device, self.device))),
        ]  # fmt: skip


@dataclass(frozen=True)
class SerialPort:
    """A pci-serial function on the root bus and the file of what it sends: firmware's text first, as on any console."""

    name: str
    slot: int

    def file(self, directory: Path) -> Path:
        return directory / f"{self.name}.txt"

    def arguments(self, directory: Path) -> list[str]:
        return [
            "-chardev", f"file,id={self.name},path={self.file(directory)}",
            "-device", f"pci-serial,chardev={self.name},addr={self.slot:#x}",
        ]  # fmt: skip


@dataclass(frozen=True)
class Machine:
    kind: str = "q35"
    mib: int = 256
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    rngs: tuple[Rng, ...] = ()
    sata: tuple[Sata, ...] = ()
    serials: tuple[SerialPort, ...] = ()
    devices: tuple[str, ...] = ()  # -device, in order
    extra: tuple[str, ...] = ()

    def prepare(self, directory: Path) -> None:
        """Create the files that the machine starts with."""
        for disk in (*self.disks, *self.sata):
            disk.create(directory)

    def models(self) -> set[str]:
        """The device models that the command line names."""
        arguments = self.arguments(Path(), Firmware(Path(), None))
        return {value.partition(",")[0] for option, value in zip(arguments, arguments[1:]) if option == "-device"}

    def arguments(self, directory: Path, firmware: Firmware) -> list[str]:
        """Everything but the accelerator, the kernel and its command line.

        -nodefaults omits what no claim needs (a display, a CD-ROM, a network card); q35's built-in devices, AHCI
        included, stay. Guest RAM is a file, so that it can be read at the jump and after the end.
        """
        ram = f"memory-backend-file,id=ram,size={self.mib}M,mem-path={directory / 'ram'},share=on"
        arguments = ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
        arguments += ["-machine", f"{self.kind},memory-backend=ram", "-m", f"{self.mib}M", "-object", ram]
        arguments += firmware.arguments(directory)
        parts: list[Disk | Nic | Rng | SerialPort] = [*self.disks, *self.sata, *self.nics, *self.rngs, *self.serials]
        for part in parts:
            arguments += part.arguments(directory)
        for device in self.devices:
            arguments += ["-device", device]
        arguments += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
        # COM1 is the firmware's console too, with its escape codes; the debug console carries the guest's log alone.
        arguments += ["-serial", f"file:{directory / 'serial.log'}", "-debugcon", f"file:{directory / 'guest.log'}"]
        arguments += ["-D", str(directory / "trace.log")]
        for pattern in PATTERNS:
            arguments += ["-trace", pattern]
        return [*arguments, *self.extra]


# The parts of a machine that are classes of ours, each with arguments and perhaps a file.
PARTS = {"disks": Disk, "nics": Nic, "rngs": Rng, "sata": Sata, "serials": SerialPort}

# The machine of the story. The two edu devices on the root bus share GSI 21, so that an interrupt of one can be attributed
# to the other. The third is below a bridge, so that "children before parents" can be false.
# 2 MiB/s: QEMU passes a tenth of a second's worth (200 KiB) at once, which firmware's read of the partition table
# never reaches, and spreads the rest of a burst of eight 64 KiB reads over some 150 ms. Merged into one request of
# 512 KiB they would pass at once. Without ioeventfd the device takes them during the guest's write that offers them;
# with it, a thread of QEMU's does so later, on a busy host after bus master was cleared.
REFERENCE = Machine(
    disks=(
        Disk("scratch", 3, Content.ZEROS),
        Disk("source", 4, Content.RANDOM, "read-only=on,throttling.bps-read=2097152", "request-merging=off,ioeventfd=off"),
    ),
    devices=("edu,addr=5", "edu,addr=9", "pcie-root-port,id=root,addr=6,chassis=1", "edu,bus=root"),
)

# In addition virtio's other devices. 16 bytes of entropy in half a second: of several requests at once, all but the first wait.
EVERYTHING = replace(
    REFERENCE,
    nics=(Nic("nic", 7, "52:54:00:12:34:56"),),
    rngs=(Rng("rng", 8, "max-bytes=16,period=500"),),
)
