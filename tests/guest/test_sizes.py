# SPDX-License-Identifier: BSD-2-Clause
"""Claim: 64 MiB, 3 GiB or 8 GiB of memory and 1, 2 or 4 CPUs make no difference, and every verdict holds.

False if an address is cut to 32 bits anywhere, or if another CPU is anywhere but where firmware halted it. The images take memory
below 4 GiB while there is some, so on the largest machine the memory map that first gets is rewritten to have almost none: heap,
virtqueues, buffers and boot_params go above. The number of CPUs, their state, and the place of RAM are read from QEMU; the witness
reads RAM from a file that has no hole. The twins: with the memory map that firmware made nothing is above 4 GiB; a witness that is
wrong about the hole fails the run.
"""

from __future__ import annotations

import dataclasses
import os
import re
import struct
import subprocess

import pytest
from tests.guest.conftest import BUILD, Boot, as_if, failures

from witness.boot.protocol import BOOT_PARAMS_SIZE, E820_DMA, E820_ENTRIES, E820_RAM, E820_TABLE, Image, e820
from witness import devices
from witness.evidence.case import Case
from witness.machine.description import REFERENCE, Machine
from witness.machine.qemu import AtEntry, Session, Settings
from witness.machine.record import HIGH_RAM, Entry, Ram, ram_layout

E820_RESERVED = 2

CPU = re.compile(r"CPU#\d+\s.*?\b[RE]IP=([0-9a-f]+) .*?HLT=(\d)", re.DOTALL)
RAM = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16}) .* alias ram-(?:below|above)-4g ")

SMALL = dataclasses.replace(REFERENCE, mib=64)
MIDDLE = dataclasses.replace(REFERENCE, mib=3072, extra=("-smp", "2"))
LARGE = dataclasses.replace(REFERENCE, mib=8192, extra=("-smp", "4"), devices=())  # edu reaches 256 MiB only


def cpus(session: Session) -> list[tuple[int, bool]]:
    """Where each is, and whether it is halted."""
    return [(int(address, 16), halt == "1") for address, halt in CPU.findall(session.qmp.monitor("info registers -a"))]


def ram(tree: str) -> list[range]:
    """The parts of RAM in a memory tree, which lists them for each address space."""
    return sorted({range(int(first, 16), int(last, 16) + 1) for first, last in RAM.findall(tree)}, key=lambda part: part.start)


def memory_map(session: Session, entry: Entry) -> list[tuple[range, int]]:
    params = entry.registers["RSI"]
    return e820(Ram(session.ram).read(range(params, params + BOOT_PARAMS_SIZE)))


def leave_nothing_low(session: Session, entry: Entry) -> None:
    """As if firmware kept all RAM below 4 GiB but the place where the witness expects second, too small for all else."""
    params = entry.registers["RSI"]
    second = Image.load("second", BUILD / "second.bin")
    room = range(second.preferred, second.preferred + second.init_size)
    table = []
    for part, kind in memory_map(session, entry):
        kept = E820_RESERVED if kind == E820_RAM and part.start < HIGH_RAM else kind
        if part.start <= room.start and room.stop <= part.stop:
            table += [(range(part.start, room.start), kept), (room, kind), (range(room.stop, part.stop), kept)]
        else:
            table.append((part, kept))
    packed = b"".join(struct.pack("<QQI", part.start, len(part), kind) for part, kind in table)
    session.gdb.write_physical(params + E820_TABLE, packed)
    session.gdb.write_physical(params + E820_ENTRIES, bytes([len(table)]))


def witnessed(boot: Boot, machine: Machine, count: int, at_first: AtEntry | None = None) -> Case:
    """The run of a machine for which all that this file claims is true."""
    states: list[tuple[int, bool]] = []
    firmware: list[range] = []

    def look(session: Session, entry: Entry) -> None:
        assert ram(session.qmp.monitor("info mtree")) == ram_layout(machine)
        if entry.name == "second":
            states.extend(cpus(session))
            return
        firmware.extend(part for part, kind in memory_map(session, entry) if kind != E820_RAM)
        if at_first:
            at_first(session, entry)

    record = boot(machine=machine, at_entry=look, fresh=True)
    assert failures(record) == []
    assert len(states) == count
    for address, halted in states[1:]:
        assert halted and any(address in part for part in firmware)
    return Case(record)


def taken(case: Case) -> list[int]:
    """Where second's boot_params, the buffers that devices were given, and the queues of both images begin."""
    assert case.next
    buffers = [part.start for part, kind in e820(case.run.boot_params(case.next)) if kind == E820_DMA]
    found = [
        extent.addresses.start
        for stop in (case.hops[0].out.start, case.end + 1)
        for extent in devices.structures(case, range(stop))
        if extent.what.startswith("virtqueue")
    ]
    assert buffers and found
    return [case.next.registers["RSI"], *buffers, *found]


def test_64_mib_and_1_cpu(boot: Boot) -> None:
    witnessed(boot, SMALL, 1)


@pytest.mark.exhaustive
def test_3_gib_and_2_cpus(boot: Boot) -> None:
    case = witnessed(boot, MIDDLE, 2)
    assert max(taken(case)) < HIGH_RAM
    assert {write.address < HIGH_RAM for write in case.device_writes(case.hops[0].inward)} == {True, False}


def test_8_gib_and_4_cpus(boot: Boot) -> None:
    case = witnessed(boot, LARGE, 4, leave_nothing_low)
    assert min(taken(case)) >= HIGH_RAM
    wrong = as_if(case.run, machine=dataclasses.replace(LARGE, kind="pc"))
    assert failures(wrong)


@pytest.mark.parametrize("kind, mib", [("q35", 2815), ("q35", 2816), ("pc", 3583), ("pc", 3584)])
def test_where_ram_is_split(kind: str, mib: int) -> None:
    command = [Settings.of(os.environ).qemu, "-machine", kind, "-m", f"{mib}M", "-nodefaults", "-display", "none"]
    command += ["-S", "-monitor", "stdio"]
    ended = subprocess.run(command, input="info mtree\nquit\n", capture_output=True, text=True, timeout=60, check=True)
    assert ram(ended.stdout) == ram_layout(Machine(kind=kind, mib=mib))
