# SPDX-License-Identifier: BSD-2-Clause
"""Guest RAM by physical address, out of a file that has no hole."""

from __future__ import annotations

from pathlib import Path

import pytest

from witness.machine.description import Machine
from witness.machine.record import Entry, Ram, Run, ram_file, ram_layout

GIB = 1 << 30


@pytest.mark.parametrize(
    "kind, mib, layout",
    [
        ("q35", 256, [range(256 << 20)]),
        ("q35", 2815, [range(2815 << 20)]),
        ("q35", 2816, [range(2 * GIB), range(4 * GIB, 4 * GIB + (768 << 20))]),
        ("q35", 8192, [range(2 * GIB), range(4 * GIB, 10 * GIB)]),
        ("pc", 3072, [range(3 * GIB)]),
        ("pc", 8192, [range(3 * GIB), range(4 * GIB, 9 * GIB)]),
        ("microvm", 1024, [range(GIB)]),
    ],
)
def test_layout(kind: str, mib: int, layout: list[range]) -> None:
    assert ram_layout(Machine(kind=kind, mib=mib)) == layout


def test_an_unknown_machine_is_refused_once_it_may_have_a_hole() -> None:
    with pytest.raises(ValueError, match="machine microvm: the addresses of 2048 MiB of RAM are unknown"):
        ram_layout(Machine(kind="microvm", mib=2048))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run on 3 GiB, whose file says where in it each piece of RAM begins and ends."""
    machine = Machine(mib=3072)
    with (tmp_path / "ram").open("wb") as file:
        for offset, text in ((0, b"low"), (2 * GIB - 3, b"end"), (2 * GIB, b"high"), (3 * GIB - 4, b"last")):
            file.seek(offset)
            file.write(text)
    return Run(tmp_path, machine, {}, "", {})


@pytest.mark.parametrize("address, text", [(0, b"low"), (2 * GIB - 3, b"end"), (4 * GIB, b"high"), (5 * GIB - 4, b"last")])
def test_an_address_is_looked_up_where_it_lies(run: Run, address: int, text: bytes) -> None:
    assert run.ram_after().read(range(address, address + len(text))) == text
    assert run.ram_after().u16(address) == int.from_bytes(text[:2], "little")


@pytest.mark.parametrize("address", [2 * GIB - 1, 2 * GIB, 3 * GIB, 4 * GIB - 1, 5 * GIB - 1, 5 * GIB])
def test_what_is_no_ram_is_refused(run: Run, address: int) -> None:
    with pytest.raises(ValueError, match=f"{address:#x}-{address + 2:#x} is no RAM"):
        run.ram_after().u16(address)


def test_ram_at_an_entry_is_laid_out_alike(run: Run) -> None:
    (run.directory / "ram").rename(ram_file(run.directory, "second"))
    entry = Entry("second", 0, 0, {}, {})
    assert run.ram_at(entry).read(range(4 * GIB, 4 * GIB + 4)) == b"high"


def test_without_a_layout_only_what_all_machines_share_is_read(run: Run) -> None:
    ram = Ram(run.directory / "ram")
    assert ram.read(range(3)) == b"low"
    with pytest.raises(ValueError, match="is no RAM"):
        ram.u16(2 * GIB)


def test_an_address_behind_the_end_of_a_short_file(tmp_path: Path) -> None:
    (tmp_path / "ram").write_bytes(bytes(4096))
    with pytest.raises(ValueError, match="0xfff-0x1001 is no RAM"):
        Ram(tmp_path / "ram").u16(0xFFF)
