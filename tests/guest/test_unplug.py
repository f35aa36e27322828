# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a device that is unplugged around the handoff does no harm: nothing is written to where it was, the next image does not
list it, and all others are handed over and driven again.

False if an image hangs or faults, or writes to what is not there. Provoked by removing an edu and a virtio-blk, each below a root
port, from the stopped machine through q35's ACPI PCI hotplug ports: before the shutdown walk, in it, between the disk's turn and
edu's, after it, and at second's entry. The twin is the same machine when nothing is unplugged.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Callable

import pytest
from tests.guest.conftest import Boot, claims_that_fail, failures, log_has, run_to, without

from witness.machine.description import REFERENCE
from witness.machine.qemu import Session, configs, ecam
from witness.machine.record import Entry, Outcome, Run
from witness.pci.registers import PCI_COMMAND, PCI_COMMAND_MASTER
from witness.pci.topology import Bdf

# docs/specs/acpi_pci_hotplug.txt of QEMU, at the ports of q35: which bus, and which of its slots are ejected.
SELECT, EJECT = 0xCD0, 0xCC8

PORTS = {"root": Bdf.parse("01:00.0"), "upper": Bdf.parse("02:00.0")}  # below them: edu, virtio-blk
UNPLUGGED = frozenset(PORTS.values())
DISK_PORT = Bdf.parse("00:07.0")

# The disk cannot be written to: it keeps nothing. Writes that no device takes are in the trace as well.
MACHINE = dataclasses.replace(
    REFERENCE,
    devices=REFERENCE.devices + ("pcie-root-port,id=upper,addr=7,chassis=2", "virtio-blk-pci,bus=upper,drive=hot"),
    extra=("-blockdev", "null-co,node-name=hot,size=8388608,read-zeroes=on,read-only=on", "-d", "guest_errors"),
)

MESSAGES = range(0xFEE00000, 0xFEF00000)

CONFIG_WRITE = re.compile(r"memory_region_ops_write .* addr 0x([0-9a-f]+) .* name 'pcie-mmcfg-mmio'")
INVALID_WRITE = re.compile(r"Invalid write at addr 0x([0-9A-F]+),")


def unplug(session: Session) -> None:
    for port in PORTS:
        bus = session.qmp.command("qom-get", path=f"/machine/peripheral/{port}/{port}", property="acpi-pcihp-bsel")
        session.qmp.monitor(f"o /1wx {SELECT:#x} {bus:#x}")
        session.qmp.monitor(f"o /1wx {EJECT:#x} 1")  # slot 0
    assert not UNPLUGGED & dict(configs(session.qmp)).keys()


def before_the_walk(session: Session, entry: Entry) -> None:
    run_to(session, entry, "kernel_shutdown")


def in_the_walk(session: Session, entry: Entry) -> None:
    before_the_walk(session, entry)
    while dict(configs(session.qmp))[DISK_PORT][PCI_COMMAND] & PCI_COMMAND_MASTER:
        run_to(session, entry, "pci_driver_shutdown")
        run_to(session, entry, "pci_clear_master")


def after_the_walk(session: Session, entry: Entry) -> None:
    run_to(session, entry, "chain_place")


def at_once(session: Session, entry: Entry) -> None:
    pass


def writes_into_the_hole(record: Run, since: int) -> list[str]:
    """From a line of the trace on: to the configuration space of what was unplugged, or where no device responds.

    An invalid write to RAM, or of a message, is a device's: its cleared bus master stops it.
    """
    pages = set(map(ecam, UNPLUGGED))
    lines = (record.directory / "trace.log").read_text(errors="replace").splitlines()[since:]
    config = [(int(m[1], 16), line) for line in lines if (m := CONFIG_WRITE.match(line))]
    invalid = [(int(m[1], 16), line) for line in lines if (m := INVALID_WRITE.match(line))]
    found = [line for address, line in config if address & 0xFFF_F000 in pages]
    return found + [line for address, line in invalid if address >= MACHINE.mib << 20 and address not in MESSAGES]


@pytest.mark.parametrize(
    "image, moment",
    [
        pytest.param("first", before_the_walk, id="before", marks=pytest.mark.exhaustive),
        pytest.param("first", in_the_walk, id="in"),
        pytest.param("first", after_the_walk, id="after", marks=pytest.mark.exhaustive),
        pytest.param("second", at_once, id="entry"),
    ],
)
def test_what_is_unplugged_does_no_harm(boot: Boot, image: str, moment: Callable[[Session, Entry], None]) -> None:
    lines: list[int] = []

    def at_entry(session: Session, entry: Entry) -> None:
        if entry.name == image:
            moment(session, entry)
            unplug(session)
            lines.append((session.ram.parent / "trace.log").read_bytes().count(b"\n"))

    record = boot(machine=MACHINE, at_entry=at_entry)
    assert record.outcome is Outcome.PASS, record.log
    # QEMU completes requests when it stops a machine, and devices report them before the walk. If all devices below bridges are
    # unplugged before it, too, the order of its clears cannot be judged.
    assert claims_that_fail(record, without(record, UNPLUGGED)) <= {"load", *(["out-order"] if moment is before_the_walk else [])}
    assert not writes_into_the_hole(record, lines[0])
    assert not [line for line in record.log if line.startswith("second ") and any(f"0000:{bdf}" in line for bdf in UNPLUGGED)]
    assert log_has(record, f"second inherited {len(record.entries[0].configs) - len(UNPLUGGED)} functions: ")


def test_twin_what_is_not_unplugged_is_handed_over(boot: Boot) -> None:
    record = boot(machine=MACHINE)
    assert not failures(record)
    assert writes_into_the_hole(record, since=0)
    assert log_has(record, f"second inherited {len(record.entries[0].configs)} functions: ")
