# SPDX-License-Identifier: BSD-2-Clause
"""The time of `make run`, compared with firmware's own boot."""

from __future__ import annotations

import os
import struct
import subprocess
import time
from pathlib import Path
from statistics import median

from witness import ROOT
from witness.machine.description import REFERENCE
from witness.machine.qemu import Settings, Unusable
from witness.report.budget import Row

BOOTS = 3
BOOT_RATIO_MAX = 1.5


def boots(build: Path, directory: Path, settings: Settings) -> tuple[float, float]:
    """Seconds of `make run`, built, and of firmware alone on the same machine; taken in turns."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    ours = ["make", "-s", f"O={build.resolve()}", "run"]
    alone = empty_boot(directory, settings)
    seconds: dict[str, list[float]] = {"run": [], "alone": []}
    for _ in range(BOOTS):
        for name, command in (("run", ours), ("alone", alone)):
            begin = time.monotonic()
            status = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=settings.timeout)
            seconds[name].append(time.monotonic() - begin)
            if status.returncode not in (0, GUEST_PASS):
                raise Unusable(f"{command[0]}: exit {status.returncode}")
    return median(seconds["run"]), median(seconds["alone"])


# mov $0xf4, %edx; mov $0x10, %eax; out %eax, %dx; hlt; jmp .-1
EXIT = bytes.fromhex("baf4000000 b810000000 ef f4 ebfd")
GUEST_PASS = 0x10 << 1 | 1


def empty_application() -> bytes:
    """The smallest thing that firmware starts: a PE32+ (PE Format, Microsoft) whose only code ends the machine."""
    headers, memory, entry = 0x400, 0x2000, 0x1000
    dos = b"MZ" + bytes(58) + struct.pack("<I", 64)
    coff = struct.pack("<4sHHIIIHH", b"PE", 0x8664, 1, 0, 0, 0, 240, 0x0022)  # executable, large addresses
    optional = struct.pack("<HBBIIIII", 0x20B, 0, 0, 0x1000, 0, 0, entry, entry)
    optional += struct.pack("<QIIHHHHHHIIIIHH", 0, 0x1000, 0x200, 0, 0, 0, 0, 0, 0, 0, memory, headers, 0, 10, 0)  # UEFI
    optional += struct.pack("<QQQQII", 0, 0, 0, 0, 0, 16) + bytes(16 * 8)
    section = struct.pack("<8sIIIIIIHHI", b".text", 0x1000, entry, 0x1000, headers, 0, 0, 0, 0, 0x60000020)
    # QEMU refuses a kernel that is smaller than a boot sector and setup can be.
    return (dos + coff + optional + section).ljust(headers, b"\0") + EXIT.ljust(0x1000, b"\xf4")


def empty_boot(directory: Path, settings: Settings) -> list[str]:
    """The reference machine without witness: no trace, no monitor."""
    directory.mkdir(parents=True, exist_ok=True)
    REFERENCE.prepare(directory)
    kernel = directory / "empty.efi"
    kernel.write_bytes(empty_application())
    arguments = REFERENCE.arguments(directory, settings.firmware)
    traces = {n for n, argument in enumerate(arguments) if argument == "-trace"}
    arguments = [argument for n, argument in enumerate(arguments) if not {n, n - 1} & traces]
    return [settings.qemu, *arguments, "-accel", settings.accel, "-kernel", str(kernel), *settings.flags]


def boot_row(ours: float, alone: float) -> Row:
    ratio = ours / alone
    return Row(
        "make run, built: times firmware's own boot",
        f"{ratio:.2f} ({ours:.1f} s, {alone:.1f} s)",
        f"{BOOT_RATIO_MAX:g}",
        "1.0",
        ratio <= BOOT_RATIO_MAX,
    )
