# SPDX-License-Identifier: BSD-2-Clause
"""One run of one machine: start QEMU, stop it where an image is entered, save its state, let it end."""

from __future__ import annotations

import ctypes
import math
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

from witness.boot.protocol import ENTRY_64, Image
from witness.machine.description import Machine
from witness.machine.firmware import Firmware, NotFound, find
from witness.machine.peer import Peer
from witness.machine.qmp import Deadline, Expired, Gdb, Gone, Qmp, Wire
from witness.machine.record import Entry, Outcome, Ram, Run, classify, ram_file
from witness.pci.topology import Bdf

KERNEL = "handoff.efi"
CHAIN_HEAD = "first"
BUILT_IN = "cmdline"  # the options inside the kernel, as a file of the build

TIMEOUT_MAX_S = 86400

PR_SET_PDEATHSIG = 1  # linux/prctl.h

# The time limit for reading where a hanging guest is.
REGISTERS_S = 5


class Unusable(Exception):
    """A run is impossible on this host or with these settings; the text is one line."""


@dataclass(frozen=True)
class Settings:
    """The variables of the environment, which `make help` lists."""

    firmware: Firmware
    qemu: str = "qemu-system-x86_64"
    accel: str = "tcg"
    timeout: float = 120
    flags: tuple[str, ...] = ()

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Settings:
        try:
            firmware = find(environment)
        except NotFound as error:
            raise Unusable(str(error)) from None
        return cls(
            firmware=firmware,
            qemu=environment.get("QEMU") or cls.qemu,
            accel=environment.get("ACCEL") or cls.accel,
            timeout=_seconds(environment.get("TIMEOUT") or str(cls.timeout)),
            flags=_words(environment.get("QEMUFLAGS") or ""),
        )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= TIMEOUT_MAX_S:
        raise Unusable(f"TIMEOUT={text}: not a number of seconds up to {TIMEOUT_MAX_S}")
    return seconds


def _words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise Unusable(f"QEMUFLAGS={text}: {str(error).lower()}") from None


@dataclass
class Session:
    """A stopped machine, to read more of it or to break something on purpose."""

    qmp: Qmp
    gdb: Gdb
    ram: Path  # shared with the guest
    peers: Mapping[str, Peer]  # by the name of the machine's Nic


AtEntry = Callable[[Session, Entry], None]


class Start:
    """How the machine boots the head of the chain: firmware gets it from QEMU, unless a subclass has another way."""

    def arguments(self, kernel: Path, cmdline: str, directory: Path) -> list[str]:
        """QEMU's options; files that they name are put into the run's directory."""
        return ["-kernel", str(kernel), *(["-append", cmdline] if cmdline else [])]

    def begin(self, session: Session) -> None:
        """Before the machine runs."""

    def watch(self, record: Run, session: Session, at_entry: AtEntry | None) -> None:
        """Run the machine; returns when nothing is left but to wait for its end."""
        _watch(record, session, at_entry)

    def ended(self, record: Run, status: int) -> tuple[Outcome, str]:
        """The outcome of a QEMU that ended by itself, and one line about it."""
        return classify(status, record.log)


@dataclass(frozen=True)
class Medium(Start):
    """Firmware finds a loader on a disk by itself. The loader gets no options: the built-in ones apply."""

    image: Path
    devices: tuple[str, ...]  # -device, in order; the one with drive=medium holds the disk

    def file(self, directory: Path) -> Path:
        return directory / "medium.img"

    def arguments(self, kernel: Path, cmdline: str, directory: Path) -> list[str]:
        if cmdline:
            raise Unusable(f"a loader on a disk takes no options, build them in: {cmdline}")
        copy_sparse(self.image, self.file(directory))
        drive = ["-drive", f"if=none,id=medium,format=raw,file={self.file(directory)}"]
        return drive + [argument for device in self.devices for argument in ("-device", device)]


def run(
    machine: Machine,
    build: Path,
    directory: Path,
    cmdline: str = "",
    settings: Settings | None = None,
    at_entry: AtEntry | None = None,
    stop_at_jump: bool = True,
    fds: Sequence[int] = (),
    start: Start = Start(),
) -> Run:
    """Boot build/handoff.efi on the machine and keep everything in directory, in place of an earlier run's.

    QEMU completes all block requests whenever it stops a machine, so a stop at the jump ends what is in flight there.
    Without it (stop_at_jump=False) the next image meets running requests, and claims about the jump have no evidence.
    fds are open in QEMU under the same numbers, for a machine whose arguments name them.
    """
    settings = settings or Settings.of(os.environ)
    kernel = build / KERNEL
    if not kernel.is_file():
        raise Unusable(f"{kernel} is missing: run make")
    directory.mkdir(parents=True, exist_ok=True)
    for stale in (*directory.glob("*.ram"), directory / "ram", directory / "run.json"):
        stale.unlink(missing_ok=True)  # QEMU keeps the content of RAM's file; it truncates its other files
    machine.prepare(directory)
    versions = {"OVMF": _version(settings.firmware), "git": _git_version()}
    record = Run(directory, machine, {}, cmdline, versions, built_in=built_in(build))
    for name in _watched(record) if stop_at_jump else [CHAIN_HEAD]:
        image = build / f"{name}.bin"
        if image.is_file():
            record.images[name] = Path(shutil.copy(image, directory))
    record.command = [settings.qemu, *machine.arguments(directory, settings.firmware), "-accel", settings.accel]
    record.command += [*start.arguments(kernel, cmdline, directory), *settings.flags]
    with ExitStack() as cables:
        peers = {nic.name: cables.enter_context(Peer(nic, directory)) for nic in machine.nics}
        _drive(record, Deadline.after(settings.timeout), settings, start, at_entry, peers, fds)
    record.save()
    return record


def built_in(build: Path) -> str:
    """The guest's options where the command line is empty."""
    path = build / BUILT_IN
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _watched(record: Run) -> list[str]:
    """The images whose addresses are known before the run: the head of the chain and the next. Later ones are placed in free
    memory."""
    return list(dict.fromkeys([CHAIN_HEAD, *record.chain[:1]]))


def _drive(
    record: Run,
    deadline: Deadline,
    settings: Settings,
    start: Start,
    at_entry: AtEntry | None,
    peers: Mapping[str, Peer],
    fds: Sequence[int],
) -> None:
    monitor, monitor_end = socket.socketpair()
    debugger, debugger_end = socket.socketpair()
    # In addition to the command that the user is shown: QEMU is held at the start until the breakpoints are set. They cost
    # nothing measurable (3.2 s to an application with and without).
    wires = ["-S", "-chardev", f"socket,id=qmp,fd={monitor_end.fileno()}", "-mon", "chardev=qmp,mode=control"]
    wires += ["-chardev", f"socket,id=gdb,fd={debugger_end.fileno()}", "-gdb", "chardev:gdb"]
    for peer in peers.values():
        wires += peer.arguments
    inherited = [monitor_end.fileno(), debugger_end.fileno(), *(peer.qemu_end.fileno() for peer in peers.values()), *fds]
    errors = record.directory / "qemu.err"
    with monitor, debugger, errors.open("wb") as err:
        with monitor_end, debugger_end:
            try:
                process = subprocess.Popen(
                    record.command + wires,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=err,
                    pass_fds=inherited,
                    preexec_fn=die_with_parent,
                )
            except OSError as error:
                raise Unusable(f"{settings.qemu}: {error.strerror}") from None
        session = Session(Qmp(Wire(monitor, deadline)), Gdb(Wire(debugger, deadline)), record.directory / "ram", peers)
        try:
            try:
                record.versions["QEMU"] = session.qmp.greet()
                start.begin(session)
                start.watch(record, session, at_entry)
            except Gone:
                pass
            status = process.wait(deadline.left())
        except (Expired, subprocess.TimeoutExpired):
            record.outcome = Outcome.TIMEOUT
            record.detail = f"no end after {settings.timeout:g} s; {_hung_at(session)}"
            return
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if "QEMU" not in record.versions:
        lines = errors.read_text(errors="replace").strip().splitlines()
        raise Unusable(lines[-1] if lines else f"{settings.qemu} ended with status {status} before it began")
    record.outcome, record.detail = start.ended(record, status)


def die_with_parent() -> None:
    """In the new process: it ends with the harness, whatever ends that."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _watch(record: Run, session: Session, at_entry: AtEntry | None) -> None:
    """Run the machine, stopping once at each watched image's entry."""
    expected = {image.entry: image for image in map(record.image, record.images)}
    for address in expected:
        session.gdb.insert(address)
    while expected:
        session.gdb.resume()
        session.qmp.wait("STOP")
        registers = _registers(session.qmp)
        image = expected.pop(registers["RIP"], None)
        if image:
            session.gdb.remove(image.entry)
            if _is_at(image, session.ram):
                registers |= _interrupt_controllers(session.qmp)
                stop = session.gdb.resumed - 1
                entry = Entry(image.name, image.preferred, stop, registers, dict(configs(session.qmp)))
                if record.entries:  # at the first image's entry there is nothing of ours to compare with
                    copy_sparse(session.ram, ram_file(record.directory, image.name))
                record.entries.append(entry)
                if at_entry:
                    at_entry(session, entry)
    session.gdb.resume()


def _is_at(image: Image, ram: Path) -> bool:
    """Whether this address holds the image's code: other code may run there earlier."""
    code = image.payload[ENTRY_64:][:64]
    return Ram(ram).read(range(image.entry, image.entry + len(code))) == code


def _registers(qmp: Qmp) -> dict[str, int]:
    """`RIP=000000000f067cf1`, `CS =0038 0000000000000000 ...`: the names and the first number of each."""
    found = re.findall(r"\b([A-Z][A-Z0-9]+) *=\s*([0-9a-f]+)", qmp.monitor("info registers"))
    return {name: int(value, 16) for name, value in found}


def _interrupt_controllers(qmp: Qmp) -> dict[str, int]:
    """The masks of the two 8259s as pic0 and pic1; LVT0 and SPIV of the monitor's current CPU."""
    masks = re.findall(r"^(pic[01]): .*\bimr=([0-9a-f]{2})", qmp.monitor("info pic"), re.MULTILINE)
    apic = re.findall(r"^(LVT0|SPIV)\s+0x([0-9a-f]{8})", qmp.monitor("info lapic"), re.MULTILINE)
    return {name: int(value, 16) for name, value in masks + apic}


def configs(qmp: Qmp) -> list[tuple[Bdf, bytes]]:
    """The configuration space of every function, through the machine's own host bridge.

    QMP has no command for it. The monitor's port reads work everywhere, at 1 ms a register; memory reads of the window
    that firmware enabled on q35 are real accesses as well, and take 1 ms a function.
    """
    present = _present(qmp.command("query-pci"))
    window = config_window(qmp)
    return [(bdf, _window_read(qmp, window + ecam(bdf)) if window else _ports_read(qmp, bdf)) for bdf in present]


def config_window(qmp: Qmp) -> int:
    """The address of the ECAM window, from q35's PCIEXBAR; 0 on another machine."""
    host = Bdf(0, 0, 0)
    return _port_read(qmp, host, 0x60) & ~0xFFF_FFFF if _port_read(qmp, host, 0) == 0x29C08086 else 0


def ecam(bdf: Bdf) -> int:
    """A function's offset in that window (PCIe 7.2.2)."""
    return bdf.bus << 20 | bdf.device << 15 | bdf.function << 12


def _present(buses: list[dict[str, Any]]) -> list[Bdf]:
    found = []
    for bus in buses:
        for device in bus["devices"]:
            found.append(Bdf(bus["bus"], device["slot"], device["function"]))
            bridge = device.get("pci_bridge", {})
            if "devices" in bridge:
                found += _present([{"bus": bridge["bus"]["secondary"], "devices": bridge["devices"]}])
    return sorted(found)


def _port_select(qmp: Qmp, bdf: Bdf, offset: int) -> None:
    address = 1 << 31 | bdf.bus << 16 | bdf.device << 11 | bdf.function << 8 | offset
    qmp.monitor(f"o /1wx 0xcf8 {address:#x}")  # without a size, the last command's applies


def _port_read(qmp: Qmp, bdf: Bdf, offset: int) -> int:
    _port_select(qmp, bdf, offset)
    return int(qmp.monitor("i /1wx 0xcfc").split("=")[1], 16)


def config_write(qmp: Qmp, bdf: Bdf, offset: int, value: int) -> None:
    """All 32 bits of a register of a function of a stopped machine."""
    _port_select(qmp, bdf, offset)
    qmp.monitor(f"o /1wx 0xcfc {value:#x}")


def _ports_read(qmp: Qmp, bdf: Bdf) -> bytes:
    return b"".join(_port_read(qmp, bdf, offset).to_bytes(4, "little") for offset in range(0, 256, 4))


def _window_read(qmp: Qmp, address: int) -> bytes:
    words = re.findall(r"\b0x([0-9a-f]{8})\b", qmp.monitor(f"xp /64wx {address:#x}"))
    return b"".join(int(word, 16).to_bytes(4, "little") for word in words)


def copy_sparse(source: Path, target: Path) -> None:
    """Copy only the pages that the guest has used: some 60 MiB of 256."""
    with source.open("rb") as src, target.open("wb") as dst:
        size = os.fstat(src.fileno()).st_size
        dst.truncate(size)
        position = 0
        while position < size:
            try:
                start = os.lseek(src.fileno(), position, os.SEEK_DATA)
            except OSError:  # ENXIO: nothing but holes up to the end
                return
            position = os.lseek(src.fileno(), start, os.SEEK_HOLE)
            dst.seek(start)
            while start < position:
                start += os.sendfile(dst.fileno(), src.fileno(), start, position - start)


def _hung_at(session: Session) -> str:
    """The place of a hanging guest."""
    session.qmp.wire.deadline = Deadline.after(REGISTERS_S)
    try:
        return f"the guest is at RIP {_registers(session.qmp)['RIP']:#x}"
    except (Gone, Expired, KeyError):
        return "QEMU's monitor does not answer"


@cache
def _version(firmware: Firmware) -> str:
    """Cached: the package manager takes half as long as a run from a snapshot."""
    return firmware.version()


@cache
def _git_version() -> str:
    try:
        command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
