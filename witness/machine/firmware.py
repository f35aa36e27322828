# SPDX-License-Identifier: BSD-2-Clause
"""Finds OVMF on this host, and has QEMU's options to start it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Iterator, Mapping

# Code and variables in one file, for -bios: an application runs after 3.2 s, with flash after 4.4 s (QEMU 7.2, TCG).
COMBINED = Path("/usr/share/ovmf/OVMF.fd")

# QEMU's own index of what is installed (docs/interop/firmware.json).
DESCRIPTORS = Path("/usr/share/qemu/firmware")

# The address of a PC's TPM. A bus without a device reads as ones, QEMU as zeros: OVMF takes these for a TPM, and waits for it twice
# 750 ms (edk2's Tpm2IsPtpPresence; TIMEOUT_A of TCG's PC Client specification).
TPM = 0xFED4_0000

# For hosts without that index. Never a 2 MB code file with 4 MB variables.
PAIRS = (
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),  # Debian, Ubuntu
    ("/usr/share/edk2/ovmf/OVMF_CODE_4M.qcow2", "/usr/share/edk2/ovmf/OVMF_VARS_4M.qcow2"),  # Fedora
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),  # Fedora, older
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),  # Arch
    ("/usr/share/qemu/ovmf-x86_64-4m-code.bin", "/usr/share/qemu/ovmf-x86_64-4m-vars.bin"),  # openSUSE
    ("/usr/share/edk2-ovmf/OVMF_CODE.fd", "/usr/share/edk2-ovmf/OVMF_VARS.fd"),  # Gentoo
    ("/usr/share/qemu/edk2-x86_64-code.fd", "/usr/share/qemu/edk2-i386-vars.fd"),  # QEMU's own build
)


class NotFound(Exception):
    """No usable firmware; the text gives the remedy."""


@dataclass(frozen=True)
class Firmware:
    code: Path
    variables: Path | None  # None: the file is whole
    padded: Path | None = None  # QEMU loads this instead of code

    def without_tpm(self, path: Path) -> Firmware:
        """The same firmware in a file that extends down to the TPM's address and has ones there: it boots in half the time.

        A flash chip cannot be so large. The file is created atomically: other processes may create it, too, or have QEMU read it.
        """
        if self.variables:
            return self
        path.parent.mkdir(parents=True, exist_ok=True)
        content, mine = self.code.read_bytes(), path.with_suffix(f".{os.getpid()}")
        with mine.open("wb") as file:
            file.write(4096 * b"\xff")
            file.seek((4 << 30) - TPM - len(content))
            file.write(content)
        return replace(self, padded=mine.replace(path))

    def arguments(self, directory: Path) -> list[str]:
        """QEMU's options. Variables are copied into the run's directory, so that every run begins with the same ones."""
        if self.variables is None:
            return ["-bios", str(self.padded or self.code)]
        own = directory / self.variables.name
        shutil.copyfile(self.variables, own)
        return [
            "-drive", f"if=pflash,format={_format(self.code)},readonly=on,file={self.code}",
            "-drive", f"if=pflash,format={_format(own)},file={own}",
        ]  # fmt: skip

    def version(self) -> str:
        """The package's version where the host has one, else a digest."""
        try:
            owner = _output("dpkg-query", "--search", str(self.code)).partition(":")[0]
            return _output("dpkg-query", "--show", "--showformat=${Version}", owner)
        except (OSError, subprocess.CalledProcessError):
            return "sha256 " + hashlib.sha256(self.code.read_bytes()).hexdigest()[:12]


def find(environment: Mapping[str, str]) -> Firmware:
    """OVMF_CODE and OVMF_VARS where they are set; else the quickest that is installed."""
    code, variables = environment.get("OVMF_CODE"), environment.get("OVMF_VARS")
    if code:
        chosen = Firmware(Path(code), Path(variables) if variables else None)
        for path in filter(None, (chosen.code, chosen.variables)):
            if not path.is_file():
                raise NotFound(f"{path}: no such firmware file (OVMF_CODE, OVMF_VARS)")
        return chosen
    if variables:
        raise NotFound(f"OVMF_VARS={variables}: OVMF_CODE, to which it belongs, is not set")
    if COMBINED.is_file():
        return Firmware(COMBINED, None)
    for pair in (*_described(), *PAIRS):
        paths = [Path(name) for name in pair]
        if all(path.is_file() for path in paths):
            return Firmware(*paths)
    raise NotFound("no OVMF firmware found: install the package `ovmf`, or set OVMF_CODE and OVMF_VARS")


def _described() -> Iterator[tuple[str, str]]:
    """Pairs that QEMU's index offers for q35 without Secure Boot, which would refuse an unsigned application."""
    for path in sorted(DESCRIPTORS.glob("*.json")):
        entry = json.loads(path.read_text(encoding="utf-8"))
        machines = [m for t in entry["targets"] if t["architecture"] == "x86_64" for m in t["machines"]]
        flash = entry["mapping"]
        if (
            "uefi" in entry["interface-types"]
            and any(machine.startswith("pc-q35") for machine in machines)
            and not {"secure-boot", "requires-smm"} & set(entry["features"])
            and "nvram-template" in flash
        ):
            yield flash["executable"]["filename"], flash["nvram-template"]["filename"]


def _format(path: Path) -> str:
    with path.open("rb") as file:
        return "qcow2" if file.read(4) == b"QFI\xfb" else "raw"


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
