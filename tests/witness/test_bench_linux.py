# SPDX-License-Identifier: BSD-2-Clause
"""Claim: what stands in Linux's column was counted by the same rules as ours, and each access has its register's name.

It could be false where an access by CF8/CFC is given to the wrong function or counted twice, where accesses of the kernel that
goes fall to the one that comes, where another device's message passes for the disk's first, or where a reason is given for
something that did not happen. Provoked by traces made of text; no clock, no QEMU.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Callable

import pytest

from tests.witness.documented import BENCH, disagreements
from tests.witness.scene import EDU, NAMES, TABLE, VECTOR, VIRTIO, Scene, config_write, memory_write, msi
from tests.witness.test_bench import ENTERED, config_read
from witness.bench import bench, beside as bench_beside, linux as bench_linux
from witness.bench.beside import RATIO_MIN, WHY_IN, WHY_OUT, attributed, ratio_row, medians, to_msix_off
from witness.bench.config import ConfigAccess, Counts, accesses, grouped, linux_line, only_hop
from witness.bench.handoff import Bench, first_done
from witness.bench.linux import OURS, PAIRS, STEPS, THEIRS, Columns, Pair, blackout, counted_between, hand_off
from witness.evidence.case import Case
from witness.linux.trial import FIRST, INITRD, LINUX
from witness.machine.firmware import Firmware
from witness.machine.qemu import Settings, Unusable
from witness.machine.record import Outcome
from witness.pci.names import Layout
from witness.pci.topology import Bdf
from witness.report import text as report
from witness.report.results import Facts

LINUX_TO_LINUX = Pair(THEIRS, THEIRS)


# --- CF8/CFC ---


def index(bdf: Bdf, offset: int, enable: int = 1 << 31) -> str:
    value = enable | bdf.bus << 16 | bdf.device << 11 | bdf.function << 8 | offset & 0xFC
    return memory_write("pci-conf-idx", 0xCF8, value, 4)


def by_ports(bdf: Bdf, offset: int, value: int, size: int = 2) -> list[str]:
    """A read as in QEMU's trace: the index, the function's answer, the access."""
    port = 0xCFC | offset & 3
    access = f"memory_region_ops_read cpu 0 mr 0x55 addr 0x{port:x} value 0x{value:x} size {size} name 'pci-conf-data'"
    answer = [f"pci_cfg_read {NAMES[bdf]} {bdf} @0x{offset:x} -> 0x{value:x}"] if bdf in NAMES else []
    return [index(bdf, offset), *answer, access]


def write_by_ports(bdf: Bdf, offset: int, value: int, size: int = 2) -> list[str]:
    taken = [f"pci_cfg_write {NAMES[bdf]} {bdf} @0x{offset:x} <- 0x{value:x}"] if bdf in NAMES else []
    return [index(bdf, offset), memory_write("pci-conf-data", 0xCFC | offset & 3, value, size), *taken]


def test_ports_and_window_are_counted_alike() -> None:
    ports = accesses([*by_ports(VIRTIO, 0x42, 0x8001), *write_by_ports(EDU, 4, 0x403)])
    window = accesses([*config_read(VIRTIO, 0x42, 0x8001), *config_write(EDU, 4, 0x403)])
    assert [(a.bdf, a.offset, a.size, a.value, a.write, a.hit) for a in ports] == [
        (a.bdf, a.offset, a.size, a.value, a.write, a.hit) for a in window
    ]


def test_an_index_alone_is_no_access() -> None:
    assert not list(accesses([index(EDU, 4), index(VIRTIO, 4)]))


def test_a_byte_in_the_middle_of_a_register() -> None:
    (read,) = accesses(by_ports(EDU, 0x3D, 1, 1))
    assert (read.offset, read.size) == (0x3D, 1)


def test_ports_without_the_enable_bit_reach_nobody() -> None:
    """CONFIG_DATA is an ordinary port then."""
    assert not list(accesses([index(EDU, 4, enable=0), *by_ports(EDU, 4, 7)[1:]]))


def test_a_function_that_is_not_there_does_not_answer_by_ports() -> None:
    absent = Bdf(0, 24, 0)
    found = accesses([*by_ports(absent, 0x68, 0xFFFFFFFF, 4), *write_by_ports(absent, 4, 0)])
    assert [access.hit for access in found] == [False, False]


# --- where one Linux ends and the next begins ---


@pytest.fixture
def linuxes(scene: Scene) -> Scene:
    """The handoff as Linux does it: the I/O APIC is masked after the functions, the next kernel begins by CF8/CFC."""
    scene.replace("jump", *by_ports(EDU, 4, 0x403), memory_write("ioapic", 0xFEC00000, 0x10, 4), *by_ports(EDU, 0xA, 0xFF))
    return scene


def case_of(scene: Scene) -> Case:
    """This machine was not stopped, nor does it show that an image of ours runs."""
    return Case(scene.run())


def text(scene: Scene) -> list[str]:
    return (scene.directory / "trace.log").read_text().splitlines()


def test_what_is_read_before_the_io_apic_is_silent_is_the_old_kernels(linuxes: Scene) -> None:
    case = case_of(linuxes)
    begins = linux_line(case, only_hop(case), outgoing_linux=True)
    assert text(linuxes)[begins - 1] == index(EDU, 0xA)


def test_behind_an_image_of_ours_the_first_look_is_linuxs(linuxes: Scene) -> None:
    case = case_of(linuxes)
    begins = linux_line(case, only_hop(case), outgoing_linux=False)
    assert text(linuxes)[begins - 1] == index(EDU, 4)


def test_a_linux_that_never_silences_its_io_apic_is_none(linuxes: Scene) -> None:
    linuxes.replace("jump", *by_ports(EDU, 4, 0x403))
    for label in [step.label for step in linuxes.steps if step.label.startswith("startup-") or step.label == "reset"]:
        linuxes.drop(label)
    case = case_of(linuxes)
    with pytest.raises(Unusable, match="first access to configuration space"):
        linux_line(case, only_hop(case), outgoing_linux=True)


# --- the blackout ---


def test_steps_of_linux_follow_each_other(linuxes: Scene) -> None:
    case = case_of(linuxes)
    steps = blackout(case, LINUX_TO_LINUX)
    lines = text(linuxes)
    assert list(steps) == list(STEPS)
    assert all(a.stop == b.start for a, b in pairwise(steps.values()))
    begin, end = steps[STEPS[0]].start, steps[STEPS[-1]].stop
    assert lines[begin - 1].startswith("pci_cfg_write virtio-blk-pci 00:03.0 @0x4")
    assert lines[end - 1] == msi(VECTOR)
    assert lines[steps[STEPS[1]].stop - 1].startswith("pci_cfg_write virtio-blk-pci 00:03.0 @0x42")


def test_ours_are_measured_by_the_same_steps(scene: Scene) -> None:
    scene.after_step("jump", ENTERED, *config_read(EDU, 0, 0x1234, 4))
    case = case_of(scene)
    steps = blackout(case, Pair(OURS, OURS))
    assert text(scene)[steps[STEPS[0]].stop - 1] == f"pci_cfg_read edu {EDU} @0x0 -> 0x1234"
    assert text(scene)[steps[STEPS[-1]].stop - 1] == msi(VECTOR)


def test_a_message_of_another_device_is_not_the_disks(linuxes: Scene) -> None:
    linuxes.after_step(f"master-{VIRTIO}", msi(0x77))
    case = case_of(linuxes)
    done = first_done(case, only_hop(case))
    assert done and text(linuxes)[done - 1] == msi(VECTOR)


def test_what_the_old_kernel_had_in_the_table_does_not_count(linuxes: Scene) -> None:
    """A stray message from there is no request of the new kernel."""
    linuxes.after_step("jump", msi(VECTOR))
    case = case_of(linuxes)
    hop = only_hop(case)
    done = first_done(case, hop)
    assert done and done > hop.inward.start


def test_a_table_that_is_nobodys_disk_does_not_count(linuxes: Scene) -> None:
    elsewhere = [memory_write("msix-table", TABLE + 0x100000 + 4 * i, word, 4) for i, word in enumerate((0xFEE00000, 0, 0x77, 0))]
    linuxes.after_step("jump", *elsewhere, msi(0x77))
    case = case_of(linuxes)
    done = first_done(case, only_hop(case))
    assert done and text(linuxes)[done - 1] == msi(VECTOR)


def test_no_blackout_without_its_end(linuxes: Scene) -> None:
    for step in [step.label for step in linuxes.steps if any("msix-table" in line for line in step.lines)][-1:]:
        linuxes.drop(step)
    with pytest.raises(Unusable, match="first message"):
        blackout(case_of(linuxes), LINUX_TO_LINUX)


def test_instructions_lie_between_the_counts_in_a_step() -> None:
    counts = [(5, 100), (11, 1000), (15, 1400), (19, 1900), (25, 5000)]
    assert counted_between(counts, {"a": range(10, 20), "b": range(20, 26), "c": range(30, 40)}) == {"a": 900, "b": 0, "c": 0}


def test_a_pair_without_linux_takes_none() -> None:
    assert hand_off(LINUX_TO_LINUX).files and not hand_off(Pair(OURS, THEIRS)).files
    assert "next.cpio" in hand_off(Pair(THEIRS, OURS)).files
    assert hand_off(Pair(THEIRS, OURS)).ends_in == "guest" and hand_off(Pair(OURS, THEIRS)).ends_in == "linux"


# --- registers and reasons ---

CAPABLE = {0x34: 0x40, 0x40: 0x5011, 0x50: 0x0009, 0x100: 0x14810001}


def at(offset: int, write: bool = False, size: int = 2, hit: bool = True) -> ConfigAccess:
    return ConfigAccess(1, EDU, offset, size, 0, write, hit)


@pytest.mark.parametrize(
    "offset, type_0, type_1",
    [
        (0x00, "vendor and device ID", "vendor and device ID"),
        (0x04, "command", "command"),
        (0x06, "status", "status"),
        (0x18, "BAR", "bus numbers"),
        (0x1C, "BAR", "bridge windows"),
        (0x30, "ROM BAR", "bridge windows"),
        (0x38, "INTx line and pin", "ROM BAR"),
        (0x3E, "INTx line and pin", "bridge control"),
        (0x42, "MSI-X capability", "MSI-X capability"),
        (0x60, "vendor-specific capability", "vendor-specific capability"),
        (0x104, "AER capability", "AER capability"),
    ],
)
def test_groups(offset: int, type_0: str, type_1: str) -> None:
    assert (Layout(False, CAPABLE).group(offset), Layout(True, CAPABLE).group(offset)) == (type_0, type_1)


def test_what_no_capability_claims_is_the_devices_own() -> None:
    assert Layout(False, {}).group(0x60) == "device-specific"
    assert Layout(False, {}).group(0x100) == "extended space"
    assert Layout(False, {0x34: 0x80, 0x80: 5}).group(0x60) == "device-specific"


def test_nobody_s_answer_is_in_no_group() -> None:
    found = grouped([at(4), at(4, write=True), at(4, hit=False), at(0x10, size=4)], {EDU: Layout(False, {})})
    assert found == {"command": Counts(1, 1, (16,)), "BAR": Counts(1, 0, (32,))}


def test_a_reason_stands_only_where_linux_does_more() -> None:
    ours, theirs = {"command": Counts(2, 1), "status": Counts(1, 0)}, {"command": Counts(1, 1), "status": Counts(3, 0)}
    table = attributed("what", ours, theirs, WHY_IN)
    reasons = {row[0]: row[-1] for row in table}
    assert reasons["command"] == "" and reasons["status"] == WHY_IN["status"]
    assert table[-1][:3] == ["all", "3 + 1", "4 + 1"]


def test_a_group_without_a_reason_says_so() -> None:
    (_, row, _) = attributed("what", {}, {"0x23 capability": Counts(1, 0, (32,))}, WHY_OUT)
    assert row == ["0x23 capability", "0 + 0", "1 + 0", "32", "not known"]


# --- the budget ---


def each(ours: float, theirs: float) -> dict[Pair, list[dict[str, float]]]:
    return {
        PAIRS[0]: [{name: ours / len(STEPS) for name in STEPS}],
        PAIRS[1]: [{name: theirs / len(STEPS) for name in STEPS}],
    }


def test_blackout_within_its_budget_and_not() -> None:
    assert ratio_row(each(10, 10.1 * RATIO_MIN)).holds
    assert ratio_row(each(10, 9.9 * RATIO_MIN)).holds is False


def test_steps_add_up() -> None:
    assert to_msix_off(each(10, 3000)[PAIRS[1]][0]) == pytest.approx(1200)
    table = medians(each(10, 3000), dict.fromkeys(STEPS, 1_000_000))
    assert table[-2] == ["all of it", "10.0", "3000.0", "5000"]


# --- the whole of it, without a machine ---


class Stub:
    case = type("case", (), {"run": type("run", (), {"versions": {"QEMU": "7.2.22"}})})
    functions = 10

    def ms(self, _: object) -> dict[str, float]:
        return {"start": 1.0}

    def steps(self) -> dict[str, int]:
        return {"place": 1, "verify": 1, "enter": 1}

    def costs(self) -> dict[str, int]:
        return {"enumeration reads": 1}


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Outcome, list[str], Facts]]:
    """The printed lines, and results.json."""

    def timed(_: object, pair: Pair) -> Stub:
        assert pair == Pair(OURS, OURS) or (tmp_path / LINUX).exists()
        return Stub()

    def measure(make_run_s: float, linux: bool = False) -> tuple[Outcome, list[str], Facts]:
        for name in (LINUX, INITRD, FIRST) if linux else ():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        monkeypatch.setattr(bench, "boots", lambda *_: (make_run_s, 2.5))
        outcome, lines = bench.measure(tmp_path, "", Settings(Firmware(Path("OVMF.fd"), None)))
        return outcome, lines, json.loads((tmp_path / "bench" / "results.json").read_text())

    (tmp_path / "bench").mkdir()
    monkeypatch.setattr(bench, "version", lambda _: "6.1")
    monkeypatch.setattr(bench_linux, "timed", timed)
    monkeypatch.setattr(bench_linux, "counted", lambda _: (Columns([], [], []), dict.fromkeys(STEPS, 1)))
    monkeypatch.setattr(bench_linux, "blackout", lambda *_: {})
    monkeypatch.setattr(bench_beside, "tables", lambda *_: [])
    monkeypatch.setattr(Bench, "counted", lambda *_: Stub())
    monkeypatch.setattr(bench, "steps_by_trace", lambda _: {})
    monkeypatch.setattr(bench, "_rows", lambda *_: [])
    monkeypatch.setattr(report, "versions", lambda _: "QEMU")
    return measure


def test_without_linux_the_rest_is_measured_and_that_is_said(measured: Callable[..., tuple[Outcome, list[str], Facts]]) -> None:
    """Set-up is what is missing: neither a pass nor a budget that is exceeded."""
    outcome, lines, _ = measured(3.0)
    assert outcome is Outcome.SETUP
    assert any("without" in line and "make linux-parts" in line for line in lines)
    assert lines[-1].startswith("RESULT: INCOMPLETE")
    outcome, lines, _ = measured(30.0)
    assert outcome is Outcome.SETUP and lines[-1].startswith("RESULT: INCOMPLETE, over budget: make run")


def test_results_are_as_documented(measured: Callable[..., tuple[Outcome, list[str], Facts]]) -> None:
    results = measured(3.0, linux=True)[2]
    assert disagreements(results, BENCH) == []
    wrong = {**results, "seconds": {"make run": "3 s"}, "kernel": "6.1", "rows": []}
    assert disagreements(wrong, BENCH) == [
        "kernel is not documented", "rows[].budget is not there", "rows[].holds is not there", "rows[].limit is not there",
        "rows[].measured is not there", "rows[].what is not there", "seconds.* is a string",
    ]  # fmt: skip
