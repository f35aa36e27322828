# SPDX-License-Identifier: BSD-2-Clause
"""Claim: the numbers of `make bench` count what their names say, and an exceeded budget is reported.

It could be false where an unanswered access looks like an answered one, where reads of one phase fall into the next,
or where no row can be over budget. Provoked by accesses and handoffs made of text; no clock, no QEMU.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path

import pytest

from tests.witness.scene import (
    BELOW, COMMAND, CONTROL, EDU, NAMES, VECTOR, VIRTIO, Scene, config_write, edu, memory_write, msi,
)  # fmt: skip

from witness.bench.boot import boot_row, empty_application
from witness.bench.config import ConfigAccess, accesses, entry_line, enumeration, in_lines, only_hop, out_accesses
from witness.bench.handoff import breakdown, enumeration_rows, shutdown_row, size_row, spread_row, stamped, steps_by_trace
from witness.evidence.case import Case
from witness.pci.names import capability_list
from witness.pci.topology import Bdf
from witness.report.budget import Row, aligned
from witness.trace.events import parse

MESSAGES = (BELOW, EDU, VIRTIO)  # in the order of the walk
ABSENT = Bdf(9, 31, 0)
ENTERED = memory_write("serial", 0x3FF, 0x5A, 1)


def config_read(bdf: Bdf, offset: int, value: int, size: int = 2) -> list[str]:
    """As in QEMU's trace: the function's answer, then the access."""
    address = 0xB0000000 + (bdf.bus << 20 | bdf.device << 15 | bdf.function << 12 | offset)
    access = f"memory_region_ops_read cpu 0 mr 0x55 addr 0x{address:x} value 0x{value:x} size {size} name 'pcie-mmcfg-mmio'"
    return ([f"pci_cfg_read {NAMES[bdf]} {bdf} @0x{offset:x} -> 0x{value:x}"] if bdf in NAMES else []) + [access]


def look(bdf: Bdf) -> list[str]:
    """The scan's question whether there is a function."""
    return config_read(bdf, 0, 0x11E81234 if bdf in NAMES else 0xFFFFFFFF, 4)


# --- accesses ---


def test_an_access_has_function_width_and_whether_anybody_answered() -> None:
    lines = [*config_read(EDU, 4, 0x407), *config_write(EDU, 4, 0x403), *config_read(ABSENT, 0, 0xFFFFFFFF, 4)]
    assert list(accesses(lines)) == [
        ConfigAccess(2, EDU, 4, 2, 0x407, False, True),
        ConfigAccess(3, EDU, 4, 2, 0x403, True, True),
        ConfigAccess(5, ABSENT, 0, 4, 0xFFFFFFFF, False, False),
    ]


def test_a_read_does_not_borrow_an_answer() -> None:
    """QEMU's ports ask the same functions, without an access to the window."""
    elsewhere = "pci_cfg_read edu 00:05.0 @0x4 -> 0x407"
    assert [a.hit for a in accesses([elsewhere, msi(0x41), *config_read(ABSENT, 0, 0xFFFFFFFF, 4)])] == [False]


def test_a_write_that_nobody_takes() -> None:
    into_nothing = config_write(EDU, 4, 0)[0]
    assert [a.hit for a in accesses([into_nothing])] == [False]
    assert [a.hit for a in accesses([into_nothing, *config_read(EDU, 4, 0)])] == [False, True]


# --- phases ---


@pytest.fixture
def traced(scene: Scene) -> Scene:
    """The handoff with every line of the next kernel's enumeration, startup and first I/O."""
    for bdf in MESSAGES:
        scene.before_step(f"out-{bdf}", *config_read(bdf, COMMAND, 0x407))
    controls = [line for bdf in MESSAGES for line in config_read(bdf, CONTROL, 0x81)]
    scene.after_step("jump", ENTERED, *(line for bdf in NAMES for line in look(bdf)), *controls, *look(ABSENT))
    scene.before_step(f"startup-{VIRTIO}", *controls)
    scene.move_after(f"startup-{VIRTIO}", f"startup-{BELOW}")
    scene.before_step("reset", *config_read(VIRTIO, 0x34, 0x40, 1))
    scene.after_step(f"master-{VIRTIO}", edu(EDU, 0x24, 0), msi(0x41))
    return scene


def found(scene: Scene) -> tuple[Case, list[ConfigAccess]]:
    case = Case(scene.run())
    return case, list(accesses((scene.directory / "trace.log").read_text().splitlines()))


def test_out_phase_is_the_walk_and_nothing_else(traced: Scene) -> None:
    out = out_accesses(*found(traced))
    assert [a.bdf for a in out if not a.write] == list(MESSAGES)
    assert len([a for a in out if a.write]) == 4


def test_enumeration_ends_with_the_last_look(traced: Scene) -> None:
    case, all = found(traced)
    hop = only_hop(case)
    reads = enumeration(in_lines(all, range(entry_line(case, hop), hop.inward.start)))
    assert [a.bdf for a in reads] == [*NAMES, *MESSAGES, ABSENT]
    reads_row, unanswered = enumeration_rows(reads)
    assert reads_row.measured.startswith("1.75 (7 for 4 functions")
    assert unanswered.measured.startswith("1 ")


def test_steps_follow_each_other_from_the_last_clear_to_the_first_message(traced: Scene) -> None:
    run = traced.run()
    lines = (run.directory / "trace.log").read_text().splitlines()
    steps = steps_by_trace(Case(run))
    assert list(steps) == ["jump", "start", "enumerate", "startup", "reset", "probe", "first I/O"]
    assert all(a.stop == b.start for a, b in pairwise(steps.values()))
    assert lines[steps["jump"].start - 1].startswith("pci_cfg_write virtio-blk-pci 00:03.0 @0x4")
    assert lines[steps["first I/O"].stop - 1] == msi(VECTOR)  # the disk's, and not the edu's in front of it


def test_stamps() -> None:
    text = config_write(EDU, 4, 0x403)
    times, texts = stamped([f"77@1795336180.5:{text[0]}", f"77@1795336181.25:{text[1]}", "a message of QEMU's own"])
    assert times == [1795336180.5, 1795336181.25, 1795336181.25]
    assert parse(texts) == parse(text)


# --- what an enumeration needs ---


def test_capabilities_of_both_lists() -> None:
    answers = {0x34: 0x40, 0x40: 0x5011, 0x50: 0x0005, 0x100: 0x14810001, 0x148: 0x0001000D}
    assert capability_list(answers) == {0x40: "MSI-X", 0x50: "MSI", 0x100: "AER", 0x148: "ACS"}


@pytest.mark.parametrize("answers", [{}, {0: 0x1234}, {0: 0x1234, 0x34: 0}, {0x34: 0x40}, {0x100: 0}])
def test_no_capabilities(answers: dict[int, int]) -> None:
    assert not capability_list(answers)


def test_a_looping_list_ends() -> None:
    assert list(capability_list({0x34: 0x40, 0x40: 0x5005, 0x50: 0x4011})) == [0x40, 0x50]


# --- judgements ---


def access(bdf: Bdf = EDU, offset: int = COMMAND, size: int = 2, write: bool = False) -> ConfigAccess:
    return ConfigAccess(1, bdf, offset, size, 0, write, True)


MODEST = [access(), access(write=True), access(VIRTIO)]


def test_shutdown_within_budget() -> None:
    assert shutdown_row(MODEST).holds


@pytest.mark.parametrize(
    "more",
    [access(), access(write=True), access(BELOW, size=4), access(BELOW, CONTROL, write=True)],
    ids=["a second read", "a second write", "32 bits", "another register"],
)
def test_shutdown_over_budget(more: ConfigAccess) -> None:
    assert shutdown_row([*MODEST, more]).holds is False


def test_nothing_seen_is_not_within_budget() -> None:
    assert shutdown_row([]).holds is False


@pytest.mark.parametrize("last, holds", [(420, True), (439, True), (441, False), (401, True), (399, False)])
def test_slope_within_ten_percent(last: int, holds: bool) -> None:
    """200 a hundred functions between the first two sizes."""
    assert spread_row("reads", [(10, 20), (110, 220), (210, last)]).holds is holds


def test_free_growth_is_not_judged_by_division() -> None:
    assert spread_row("reads", [(10, 20), (110, 20), (210, 20)]).holds
    assert spread_row("reads", [(10, 20), (110, 20), (210, 21)]).holds is False


@pytest.mark.parametrize("size, holds", [(65536, True), (65537, False)])
def test_image_size(tmp_path: Path, size: int, holds: bool) -> None:
    path = tmp_path / "first.bin"
    path.write_bytes(bytes(size))
    assert size_row(path).holds is holds


def test_boot_ratio() -> None:
    assert boot_row(6.0, 4.0).holds
    assert boot_row(6.1, 4.0).holds is False


# --- the rest ---


def test_empty_application_is_one_that_qemu_and_firmware_take() -> None:
    image = empty_application()
    assert len(image) > 2560  # below, QEMU refuses it as a kernel
    (pe,) = struct.unpack_from("<I", image, 0x3C)
    assert image[:2] == b"MZ" and image[pe:pe + 4] == b"PE\0\0"
    (optional_size,) = struct.unpack_from("<H", image, pe + 20)
    section = pe + 24 + optional_size
    (entry,) = struct.unpack_from("<I", image, pe + 24 + 16)
    virtual, raw_size, raw = struct.unpack_from("<III", image, section + 12)
    assert entry == virtual and raw + raw_size == len(image)
    assert image[raw:].startswith(bytes.fromhex("baf4000000b810000000ef"))


def test_breakdown_sums_the_jump() -> None:
    ms = {"jump": 2.0, "start": 1.0, "first I/O": 0.5}
    rows = breakdown([ms, ms, ms], {"place": 1000, "verify": 2000, "enter": 500, "start": 700})
    assert rows[1] == ["jump", "2.00", "3.5"] and rows[-2:] == [["start", "1.00", "0.7"], ["first I/O", "0.50", ""]]


def test_columns_are_aligned() -> None:
    lines = aligned([["a", "bb", ""], ["ccc", "d", "e"]])
    assert lines == ["a    bb", "ccc  d   e"]


def test_a_row_without_a_budget_is_not_judged() -> None:
    assert Row("what", "measured").holds is None
