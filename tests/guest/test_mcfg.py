# SPDX-License-Identifier: BSD-2-Clause
"""Claim: nonsense in ACPI's MCFG is reported and not believed, and every function is still found, once, and handed over.

False if functions are missed, invented or found twice, or if configuration space is assumed where it is not. Provoked by rewriting
the table while the machine is stopped at first's entry; second finds it as first did. One table has only nonsense. The other, its
twin, has a good entry after it, which is used although it promises more buses than the machine decodes.
"""

from __future__ import annotations

import struct

import pytest
from tests.guest.conftest import Boot, failures, log_has

from witness.boot.protocol import ACPI_RSDP_ADDR
from witness.machine.qemu import Session, config_window, config_write
from witness.machine.record import Entry, Ram
from witness.pci.topology import Bdf

XSDT_ADDRESS, TABLE_LENGTH, TABLE_CHECKSUM, HEADER_SIZE = 24, 4, 9, 36
MCFG_ENTRIES = 44

# q35's host bridge: where the window is, and 256, 128 or 64 buses.
PCIEXBAR, PCIEXBAR_64_BUSES = 0x60, 0x5


def u32(ram: Ram, address: int) -> int:
    return int.from_bytes(ram.read(range(address, address + 4)), "little")


def u64(ram: Ram, address: int) -> int:
    return int.from_bytes(ram.read(range(address, address + 8)), "little")


def find_mcfg(ram: Ram, params: int) -> int:
    xsdt = u64(ram, u64(ram, params + ACPI_RSDP_ADDR) + XSDT_ADDRESS)
    tables = (u64(ram, at) for at in range(xsdt + HEADER_SIZE, xsdt + u32(ram, xsdt + TABLE_LENGTH), 8))
    return next(table for table in tables if ram.read(range(table, table + 4)) == b"MCFG")


def write_mcfg(session: Session, params: int, entries: list[tuple[int, int, int]]) -> None:
    """Base, first and last bus of each. It has its page to itself."""
    ram = Ram(session.ram)
    at = find_mcfg(ram, params)
    table = bytearray(ram.read(range(at, at + MCFG_ENTRIES)))
    for base, first, last in entries:
        table += struct.pack("<QHBB4x", base, 0, first, last)
    struct.pack_into("<I", table, TABLE_LENGTH, len(table))
    table[TABLE_CHECKSUM] = 0
    table[TABLE_CHECKSUM] = -sum(table) & 0xFF
    session.gdb.write_physical(at, bytes(table))


def nonsense(window: int) -> dict[tuple[int, int, int], str]:
    return {
        (window, 0x20, 0x10): f"ACPI: MCFG entry base {window:#x} buses 20-10 ignored",
        (window + 0x1000, 0, 0xFF): f"ACPI: MCFG entry base {window + 0x1000:#x} buses 00-ff ignored",
        (0, 0, 0xFF): "ACPI: MCFG entry base 0x0 buses 00-ff ignored",
        (16 << 20, 0, 0): "paging: 0x1000000 + 0x100000 lies in RAM, no device there",
        (0xD0000000, 0, 0x0F): "PCI ECAM at 0xd0000000: 00:00.0 is 0x00000000 there and 0x29c08086 by CF8/CFC, ECAM ignored",
    }


# The machine is set to decode 64 of these 256 buses; the others read as zeros.
ALL = (0, 0xFF)

# Each is true, but not sufficient: buses without a root, or buses listed twice.
NO_ROOT, AGAIN = (0x30, 0x3F), (0, 0x0F)


@pytest.mark.parametrize("buses, means", [([NO_ROOT], "CF8/CFC"), ([ALL, AGAIN], "ECAM")], ids=["nonsense", "good"])
def test_every_function_is_found_and_handed_over(boot: Boot, buses: list[tuple[int, int]], means: str) -> None:
    windows: list[int] = []

    def at_entry(session: Session, entry: Entry) -> None:
        if entry.name == "first":
            windows.append(window := config_window(session.qmp))
            entries = [*nonsense(window), *((window, first, last) for first, last in buses)]
            write_mcfg(session, entry.registers["RSI"], entries)
            config_write(session.qmp, Bdf(0, 0, 0), PCIEXBAR, window | PCIEXBAR_64_BUSES)

    record = boot(at_entry=at_entry)
    expected = list(nonsense(*windows).values())
    for image in ("first ", "second"):
        assert [line[7:] for line in record.log if line[:6] == image and line[7:] in expected] == expected
        opened = [line for line in record.log if line.startswith(f"{image} PCI segment ")]
        assert opened == [f"{image} PCI segment 0000 buses 00-ff by {means}"]
        assert log_has(record, f"{image} inherited {len(record.entries[0].configs)} functions: ")
    assert not failures(record)
