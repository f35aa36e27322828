# SPDX-License-Identifier: BSD-2-Clause
"""Claim: the disk image boots by itself from every kind of disk that a firmware boots from, and the same handoff follows.

False if the loader needs anything that `qemu -kernel` gives it, if a controller that the firmware was using when it handed over
interferes, or if a single byte of the boot disk changes. Provoked by `make image`'s file on virtio, on AHCI and on a USB stick,
with nothing else that a firmware could start; the witness judges each as it judges the reference. The twin is a disk with a damaged
first image: it is refused, so it came from the disk.

Claim: firmware in flash chips, code and variables apart, gives first the same machine as the one-file firmware does.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from tests.guest.conftest import BUILD, ROOT, failures, log_has, settings

from witness.boot.protocol import HEADER_MAGIC
from witness.machine.description import REFERENCE
from witness.machine.firmware import PAIRS
from witness.machine.qemu import Medium, Settings, run
from witness.machine.record import Outcome, Run

VIRTIO = ("virtio-blk-pci,drive=medium,addr=7,disable-legacy=on",)
AHCI = ("ide-hd,drive=medium,bus=ide.0",)  # of the controller that q35 has built in
USB = ("qemu-xhci,id=xhci", "usb-storage,drive=medium,bus=xhci.0")

SOURCE = " 0000:00:04.0 "  # the reference machine's own foreign disk


@pytest.fixture(scope="module")
def image() -> Path:
    path = BUILD / "test" / "media.img"
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([ROOT / "tools/mkimage", BUILD / "handoff.efi", path], check=True)
    return path


def boot_from(image: Path, directory: str, devices: tuple[str, ...]) -> tuple[Run, Path]:
    """The run, and the disk's content after it. Each has its own copy: tests run in parallel."""
    medium = Medium(image, devices)
    record = run(REFERENCE, BUILD, BUILD / "test" / directory, settings=settings(), start=medium)
    return record, medium.file(record.directory)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "devices",
    [
        pytest.param(VIRTIO, id="virtio"),
        pytest.param(AHCI, id="ahci", marks=pytest.mark.exhaustive),
        pytest.param(USB, id="usb", marks=pytest.mark.exhaustive),
    ],
)
def test_the_disk_image_boots_by_itself(image: Path, devices: tuple[str, ...]) -> None:
    record, disk = boot_from(image, f"media-{devices[-1].partition(',')[0]}", devices)
    assert record.outcome is Outcome.PASS, record.detail
    assert not failures(record)
    assert digest(disk) == digest(image), "the boot disk has changed"
    # On virtio it has a driver: both images read it, and find foreign data.
    foreign = [line for line in record.log if "read, no test pattern" in line and SOURCE not in line]
    assert len(foreign) == (2 if devices is VIRTIO else 0), foreign


def test_twin_a_damaged_image_on_the_disk_is_refused(image: Path) -> None:
    """The first image in the file system has no magic: only a loader from there can report that."""
    damaged = image.with_name("damaged.img")
    data = bytearray(image.read_bytes())
    head = (BUILD / "first.bin").read_bytes()[:512]
    at = data.index(head)
    data[at + HEADER_MAGIC] ^= 1
    damaged.write_bytes(data)
    record, _ = boot_from(damaged, "media-damaged", USB)
    assert record.outcome is Outcome.ERROR, record.detail
    assert log_has(record, 'loader image first refused: no "HdrS" at 0x202')
    assert not record.entries


def test_firmware_in_flash_chips() -> None:
    code, variables = next(pair for pair in PAIRS if all(Path(name).is_file() for name in pair))
    original = digest(Path(variables))
    in_flash = Settings.of({**os.environ, "OVMF_CODE": code, "OVMF_VARS": variables})
    record = run(REFERENCE, BUILD, BUILD / "test" / "flash", settings=in_flash)
    assert record.outcome is Outcome.PASS, record.detail
    assert not failures(record)
    assert digest(Path(variables)) == original
