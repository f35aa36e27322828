# SPDX-License-Identifier: BSD-2-Clause
"""One run of one machine: start QEMU, stop it where an image is entered, keep what is there, let it end."""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Mapping

from witness.control import Deadline, Expired, Gdb, Gone, Qmp, Wire
from witness.firmware import Firmware, NotFound, find
from witness.image import ENTRY_64, Image
from witness.machine import Machine
from witness.pci import Bdf
from witness.record import Entry, Outcome, Ram, Run, classify, ram_file

KERNEL = "handoff.efi"
CHAIN_HEAD = "first"
BUILT_IN = "cmdline"  # the options inside the kernel, beside it in the build

TIMEOUT_MAX_S = 86400

# How long an aborted run gets to say where it hangs, and to die.
LAST_WORDS_S = 5


class Unusable(Exception):
    """The host or the settings do not allow a run; the text is one line."""


@dataclass(frozen=True)
class Settings:
    """What the caller's environment decides: the variables that `make help` lists."""

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
    """A stopped machine, for whoever wants to look further or to break something on purpose."""

    qmp: Qmp
    gdb: Gdb
    ram: Path  # shared with the guest: what is written here, the guest reads


AtEntry = Callable[[Session, Entry], None]


def run(
    machine: Machine,
    build: Path,
    directory: Path,
    cmdline: str = "",
    settings: Settings | None = None,
    at_entry: AtEntry | None = None,
    stop_at_jump: bool = True,
) -> Run:
    """Boot build/handoff.efi on the machine and keep everything in directory, in place of an earlier run's.

    QEMU completes all block requests whenever it stops a machine, so a look at the jump ends what is in flight there.
    Without it (stop_at_jump=False) the next image meets running requests, and claims about the jump find no evidence.
    """
    settings = settings or Settings.of(os.environ)
    kernel = build / KERNEL
    if not kernel.is_file():
        raise Unusable(f"{kernel} is missing: run make")
    directory.mkdir(parents=True, exist_ok=True)
    for stale in (*directory.glob("*.ram"), directory / "ram", directory / "run.json"):
        stale.unlink(missing_ok=True)  # QEMU takes RAM from the file as it is; its other files it begins anew
    machine.prepare(directory)
    versions = {"OVMF": settings.firmware.version(), "git": _git_version()}
    record = Run(directory, machine, {}, cmdline, versions, built_in=built_in(build))
    for name in _watched(record) if stop_at_jump else [CHAIN_HEAD]:
        image = build / f"{name}.bin"
        if image.is_file():
            record.images[name] = Path(shutil.copy(image, directory))
    record.command = [settings.qemu, *machine.arguments(directory, settings.firmware), "-accel", settings.accel]
    record.command += ["-kernel", str(kernel), *(["-append", cmdline] if cmdline else []), *settings.flags]
    _drive(record, Deadline.after(settings.timeout), settings, at_entry)
    record.save()
    return record


def built_in(build: Path) -> str:
    """The options that the guest takes when it is given none."""
    path = build / BUILT_IN
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _watched(record: Run) -> list[str]:
    """The images that are in the build at addresses known beforehand: the head of the chain and the next.

    Whatever follows is placed where those leave room.
    """
    return list(dict.fromkeys([CHAIN_HEAD, record.option("next", "second").partition(",")[0]]))


def _drive(record: Run, deadline: Deadline, settings: Settings, at_entry: AtEntry | None) -> None:
    monitor, monitor_end = socket.socketpair()
    debugger, debugger_end = socket.socketpair()
    # Beside what the user is shown: held at the start until the breakpoints are set. They cost nothing measurable
    # (3.2 s to an application with and without).
    wires = ["-S", "-chardev", f"socket,id=qmp,fd={monitor_end.fileno()}", "-mon", "chardev=qmp,mode=control"]
    wires += ["-chardev", f"socket,id=gdb,fd={debugger_end.fileno()}", "-gdb", "chardev:gdb"]
    errors = record.directory / "qemu.err"
    with monitor, debugger, errors.open("wb") as err:
        with monitor_end, debugger_end:
            try:
                process = subprocess.Popen(
                    record.command + wires,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=err,
                    pass_fds=(monitor_end.fileno(), debugger_end.fileno()),
                )
            except OSError as error:
                raise Unusable(f"{settings.qemu}: {error.strerror}") from None
        session = Session(Qmp(Wire(monitor, deadline)), Gdb(Wire(debugger, deadline)), record.directory / "ram")
        try:
            try:
                record.versions["QEMU"] = session.qmp.greet()
                _watch(record, session, at_entry)
            except Gone:
                pass
            status = process.wait(deadline.left())
        except (Expired, subprocess.TimeoutExpired):
            record.outcome = Outcome.TIMEOUT
            record.detail = f"no end after {settings.timeout:g} s; {_last_words(session)}"
            return
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if "QEMU" not in record.versions:
        lines = errors.read_text(errors="replace").strip().splitlines()
        raise Unusable(lines[-1] if lines else f"{settings.qemu} ended with status {status} before it began")
    record.outcome, record.detail = classify(status, record.log)


def _watch(record: Run, session: Session, at_entry: AtEntry | None) -> None:
    """Run the machine, stopping once at each watched image's entry."""
    expected = {image.entry: image for image in map(record.image, record.images)}
    for address in expected:
        session.gdb.insert(address)
    stop = 0
    while expected:
        session.gdb.resume()
        session.qmp.wait("STOP")
        registers = _registers(session.qmp)
        image = expected.pop(registers["RIP"], None)
        if image:
            session.gdb.remove(image.entry)
            if _is_at(image, session.ram):
                registers |= _interrupt_controllers(session.qmp)
                entry = Entry(image.name, image.preferred, stop, registers, dict(_configs(session.qmp)))
                if record.entries:  # the first image finds nothing of ours to compare with
                    _copy_sparse(session.ram, ram_file(record.directory, image.name))
                record.entries.append(entry)
                if at_entry:
                    at_entry(session, entry)
        stop += 1
    session.gdb.resume()


def _is_at(image: Image, ram: Path) -> bool:
    """Whether this address holds the image's code: something else may run there earlier."""
    code = image.payload[ENTRY_64:][:64]
    return Ram(ram).read(range(image.entry, image.entry + len(code))) == code


def _registers(qmp: Qmp) -> dict[str, int]:
    """`RIP=000000000f067cf1`, `CS =0038 0000000000000000 ...`: the names and the first number of each."""
    found = re.findall(r"\b([A-Z][A-Z0-9]+) *=\s*([0-9a-f]+)", qmp.monitor("info registers"))
    return {name: int(value, 16) for name, value in found}


def _interrupt_controllers(qmp: Qmp) -> dict[str, int]:
    """The masks of the two 8259s as pic0 and pic1; LVT0 and SPIV of the CPU that the monitor looks at."""
    masks = re.findall(r"^(pic[01]): .*\bimr=([0-9a-f]{2})", qmp.monitor("info pic"), re.MULTILINE)
    apic = re.findall(r"^(LVT0|SPIV)\s+0x([0-9a-f]{8})", qmp.monitor("info lapic"), re.MULTILINE)
    return {name: int(value, 16) for name, value in masks + apic}


def _configs(qmp: Qmp) -> list[tuple[Bdf, bytes]]:
    """The configuration space of every function, through the machine's own host bridge.

    QMP has no command for it. The monitor's port reads work everywhere, at 1 ms a register; memory reads of the window
    that firmware opened on q35 are real accesses as well, and take 1 ms a function.
    """
    host = Bdf(0, 0, 0)
    is_q35 = _port_read(qmp, host, 0) == 0x29C08086
    window = _port_read(qmp, host, 0x60) & ~0xFFF_FFFF if is_q35 else 0
    present = _present(qmp.command("query-pci"))
    return [(bdf, _window_read(qmp, window, bdf) if window else _ports_read(qmp, bdf)) for bdf in present]


def _present(buses: list[dict[str, Any]]) -> list[Bdf]:
    found = []
    for bus in buses:
        for device in bus["devices"]:
            found.append(Bdf(bus["bus"], device["slot"], device["function"]))
            bridge = device.get("pci_bridge", {})
            if "devices" in bridge:
                found += _present([{"bus": bridge["bus"]["secondary"], "devices": bridge["devices"]}])
    return sorted(found)


def _port_read(qmp: Qmp, bdf: Bdf, offset: int) -> int:
    address = 1 << 31 | bdf.bus << 16 | bdf.device << 11 | bdf.function << 8 | offset
    qmp.monitor(f"o /4x 0xcf8 {address:#x}")
    return int(qmp.monitor("i /4x 0xcfc").split("=")[1], 16)


def _ports_read(qmp: Qmp, bdf: Bdf) -> bytes:
    return b"".join(_port_read(qmp, bdf, offset).to_bytes(4, "little") for offset in range(0, 256, 4))


def _window_read(qmp: Qmp, window: int, bdf: Bdf) -> bytes:
    address = window + (bdf.bus << 20 | bdf.device << 15 | bdf.function << 12)
    words = re.findall(r"\b0x([0-9a-f]{8})\b", qmp.monitor(f"xp /64wx {address:#x}"))
    return b"".join(int(word, 16).to_bytes(4, "little") for word in words)


def _copy_sparse(source: Path, target: Path) -> None:
    """Copy what the guest has touched: some 60 MiB of 256."""
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
            src.seek(start)
            dst.seek(start)
            dst.write(src.read(position - start))


def _last_words(session: Session) -> str:
    """Where a hanging guest hangs."""
    session.qmp.wire.deadline = Deadline.after(LAST_WORDS_S)
    try:
        return f"the guest is at RIP {_registers(session.qmp)['RIP']:#x}"
    except (Gone, Expired, KeyError):
        return "QEMU's monitor does not answer"


def _git_version() -> str:
    try:
        command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
