# SPDX-License-Identifier: BSD-2-Clause
"""Claim: the initrd of `make linux` has what it needs, the same bytes each time, or the one line says what is missing.

It could be false by whoever builds it (umask, time, order), and by packages that change. The packages are made up; their
programs are this machine's own.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

VERSION = "6.1.0-1-cloud-amd64"
LIBRARIES = Path("usr/lib/x86_64-linux-gnu")

# As depmod writes it: what a module needs stands behind it, the last to be loaded first.
MODULES = """\
kernel/virtio_ring.ko:
kernel/virtio.ko: kernel/virtio_ring.ko
kernel/virtio_pci.ko: kernel/virtio.ko kernel/virtio_ring.ko
kernel/virtio_blk.ko: kernel/virtio.ko kernel/virtio_ring.ko
kernel/virtio_net.ko: kernel/failover.ko kernel/virtio.ko kernel/virtio_ring.ko
kernel/failover.ko:
kernel/virtio-rng.ko: kernel/virtio.ko kernel/virtio_ring.ko
kernel/uio.ko:
kernel/uio_pci_generic.ko: kernel/uio.ko
"""


def needed(program: Path) -> list[str]:
    listed = subprocess.run(["readelf", "-d", program], check=True, capture_output=True, text=True).stdout
    return re.findall(r"\(NEEDED\).*\[(.*)\]", listed)


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for folder in ("bin", "sbin", str(LIBRARIES), f"lib/modules/{VERSION}/kernel"):
        (root / folder).mkdir(parents=True)
    shutil.copy("/usr/bin/true", root / "sbin" / "kexec")
    libraries = needed(root / "sbin" / "kexec")
    for library in libraries:
        file = next(file for file in Path("/usr/lib/x86_64-linux-gnu").glob(library))
        shutil.copy(file, root / LIBRARIES)
        libraries += [other for other in needed(file) if other not in libraries and other.startswith("lib")]
    shutil.copy("/usr/lib64/ld-linux-x86-64.so.2", root / LIBRARIES)
    (root / "modules.dep").write_text(MODULES)
    (root / "bin" / "busybox").write_text('#!/bin/sh\n[ "$1 $2" = "depmod -b" ] && cp "$3/modules.dep" "$3/lib/modules/$4"\n')
    (root / "bin" / "busybox").chmod(0o755)
    for line in MODULES.splitlines():
        (root / "lib" / "modules" / VERSION / line.partition(":")[0]).write_text(line)
    return root


def make(root: Path, out: str = "initrd", umask: int = 0o022) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "tools" / "linux-initrd"), str(root), str(root.parent / out)]
    return subprocess.run(command, capture_output=True, text=True, check=False, umask=umask)


def files(archive: Path, *names: str) -> str:
    """The names in it, or what is in files."""
    command = ["cpio", "--quiet", "--extract", *(["--to-stdout", *names] if names else ["--list"])]
    return subprocess.run(command, input=gzip.decompress(archive.read_bytes()), capture_output=True, check=True).stdout.decode()


def test_same_bytes_whoever_makes_it(packages: Path) -> None:
    assert make(packages, "one").returncode == 0
    os.utime(packages / "sbin" / "kexec", (1, 1))
    assert make(packages, "other", umask=0o077).returncode == 0
    assert (packages.parent / "one").read_bytes() == (packages.parent / "other").read_bytes()


def test_it_has_what_it_needs_in_an_order_that_works(packages: Path) -> None:
    assert make(packages).returncode == 0
    found = files(packages.parent / "initrd").split()
    scripts = [f"scripts/{file.name}" for file in (ROOT / "tests" / "linux" / "guest" / "scripts").iterdir()]
    assert {"init", "bin/busybox", "bin/kexec", "lib/libc.so.6", "lib/ld-linux-x86-64.so.2", "dev", "proc", *scripts} <= set(found)

    order = files(packages.parent / "initrd", "modules/order").split()
    assert len(order) == len(set(order)) == len(MODULES.splitlines())
    for line in MODULES.splitlines():
        module, *before = [Path(file).stem for file in line.replace(":", "").split()]
        assert all(order.index(other) < order.index(module) for other in before)


def test_what_is_missing_is_named(packages: Path) -> None:
    def said() -> str:
        ended = make(packages, "none")
        assert ended.returncode == 1 and not (packages.parent / "none").exists()
        (line,) = ended.stderr.splitlines()
        return line

    (packages / "modules.dep").write_text(MODULES.replace("kernel/virtio-rng.ko:", "kernel/other.ko:"))
    assert said() == f"linux-initrd: Linux {VERSION} has no module virtio-rng"
    (packages / LIBRARIES / "libc.so.6").unlink()
    assert said() == "linux-initrd: kexec needs libc.so.6, which is in no package"
    (packages / "lib" / "modules" / "6.1.0-2-cloud-amd64").mkdir()
    assert said() == f"linux-initrd: {packages} has more than one kernel: {VERSION} 6.1.0-2-cloud-amd64"
    (packages / "sbin" / "kexec").unlink()
    assert said() == f"linux-initrd: {packages} has no sbin/kexec"
