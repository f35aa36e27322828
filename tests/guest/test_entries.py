# SPDX-License-Identifier: BSD-2-Clause
"""Claim: an image started by the wrong entry explains itself, and options given to the loader in a shell reach first.

False if the 16-bit entry hangs without a message (`qemu -kernel first.bin` is the obvious mistake), or if shell arguments do not
reach first.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.guest.conftest import BUILD, Boot, log_has

from witness.machine.description import REFERENCE, Machine
from witness.machine.qemu import Settings
from witness.machine.record import Outcome


def test_the_16_bit_entry_says_how_to_start_the_image() -> None:
    command = [Settings.of(os.environ).qemu, "-nodefaults", "-display", "none", "-serial", "stdio", "-m", "64M"]
    command += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel", str(BUILD / "first.bin")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "pci-handoff first: use the 64-bit boot protocol" in ended.stdout
    assert ended.returncode == 97


def test_shell_arguments_are_options(boot: Boot, tmp_path: Path) -> None:
    """As a firmware developer would: a disk with the file, a startup.nsh, the firmware's own shell."""
    shutil.copy(BUILD / "handoff.efi", tmp_path)
    (tmp_path / "startup.nsh").write_text("fs0:\r\nhandoff.efi handoff.next= handoff.startup=none\r\n")
    esp = f"if=none,id=esp,format=raw,read-only=on,file=fat:{tmp_path}"
    shell = Machine(extra=("-drive", esp, "-device", "virtio-blk-pci,drive=esp"), disks=REFERENCE.disks[:1])
    record = boot(machine=shell, build=shell_build(tmp_path / "build"))
    assert log_has(record, 'command line "handoff.next= handoff.startup=none"')
    assert record.outcome is Outcome.PASS, record.log


def shell_build(build: Path) -> Path:
    """A file that the firmware refuses to boot, so that it starts its shell."""
    build.mkdir()
    (build / "handoff.efi").write_bytes(bytes(4096))
    for name in ("first.bin", "second.bin"):
        shutil.copy(BUILD / name, build)
    return build
