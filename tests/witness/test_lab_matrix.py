# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a cell of the matrix counts each hazard where it happened and nowhere else, and lays what landed in RAM to the device that
had been given the address.

False if what belongs to a kernel's own driving is counted, if a hazard of the out phase or of the time before the next driver is
not, or if memory that nobody was given is excused. Provoked by a handoff made of text, one hazard at a time, each beside a twin in
which the same thing happens where it is none. No machine runs.
"""

from __future__ import annotations

from typing import Any, Callable

import pytest
from tests.witness.documented import EXPERIMENTS, disagreements
from tests.witness.scene import BELOW, DATA, DMA, EDU, EDU_TARGET, MESSAGES, PARAMS, VIRTIO, Scene, gsi, memory_write, msi

from witness.boot.protocol import BOOT_PARAMS_SIZE, E820_DMA, E820_ENTRIES, E820_TABLE
from witness.devices import edu
from witness.judge.policies import SHUTDOWN, STARTUP
from witness.lab import matrix
from witness.lab.devices import DEVICES
from witness.lab.dma import UNIT, Given, hits
from witness.lab.lab import Choice
from witness.lab.matrix import EXPECTED, HAZARDS, Cell, CellJudge, blank, cells, described
from witness.lab.observation import Observation
from witness.lab.rounds import differences, unknown
from witness.machine.qemu import Unusable
from witness.pci.topology import Bdf
from witness.report.document import BEGIN, END, with_made
from witness.report.table import express_cell, known_cells, markdown, words

CANARY = range(0x3B000, 0x3C000)
SOFT = "coffee".encode()

Facts = dict[str, Any]
Change = Callable[[Scene], None]


def mark(name: str, value: int = 0) -> list[str]:
    return [memory_write("serial", 0x2F8, character, 1) for character in f"{name} {value:#x}\n".encode()]


def found(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> CellJudge:
    """Of edu, whose neighbour is the one behind the bridge."""
    pattern = b"\x11" * len(CANARY)
    monkeypatch.setattr(matrix, "CANARY", CANARY)
    monkeypatch.setattr(matrix, "PATTERN", pattern)
    scene.before[CANARY.start:CANARY.stop] = pattern
    scene.before[EDU_TARGET:EDU_TARGET + 0x100] = bytes([edu.ARMED]) * 0x100
    scene.before[PARAMS + E820_ENTRIES] = 2
    scene.before[PARAMS + E820_TABLE:PARAMS + E820_TABLE + 40] = b"".join(
        start.to_bytes(8, "little") + size.to_bytes(8, "little") + kind.to_bytes(4, "little")
        for start, size, kind in ((DMA.start, len(DMA), E820_DMA), (CANARY.start, len(CANARY), 1))
    )
    for label, name in (("arm-edu", "-armed"), (f"out-{VIRTIO}", "shutdown")):
        scene.after_step(label, *mark(name, DMA.start))
    scene.after_step("jump", *mark("entered"))
    scene.before_step("reset", *mark("init"))
    kept = {"before": bytes(scene.before[DMA.start:DMA.stop]), "params": bytes(scene.before[PARAMS:PARAMS + BOOT_PARAMS_SIZE])}
    return CellJudge(Observation(scene.run(), kept), EDU, BELOW)


@pytest.fixture
def counted(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, int]]:
    """The hazards that a change to the story leaves, where there are any."""

    def count(change: Change = lambda s: None) -> dict[str, int]:
        change(scene)
        return {hazard: n for hazard, n in found(scene, monkeypatch).hazards().items() if n}

    return count


LOST = {"work lost": 1}


def test_by_the_book_only_the_transfer_is_lost(counted: Callable[..., dict[str, int]]) -> None:
    assert counted() == LOST


def storm(scene: Scene, interrupts: int) -> None:
    """edu's line is up until its next driver comes."""
    taken = interrupts * ["pic_interrupt irq 11 intno 43"]
    scene.after_step("jump", *gsi(21, 1), memory_write("pic", 0xA1, 0xF7, 1), *taken, memory_write("pic", 0xA1, 0xFF, 1))
    scene.before_step(f"master-{EDU}", *gsi(21, 0))


def twice(scene: Scene) -> None:
    scene.after_step("jump", *gsi(21, 1), *gsi(21, 0), *gsi(21, 1), *gsi(21, 0))


@pytest.mark.parametrize(
    "change, hazards",
    [
        (lambda s: s.after_step("jump", msi(MESSAGES[EDU])), {"stray MSI": 1}),
        (lambda s: s.after_step("jump", msi(MESSAGES[EDU]), msi(MESSAGES[EDU])), {"stray MSI": 2}),
        (lambda s: s.after_step(f"out-{EDU}", msi(MESSAGES[EDU])), {"stray MSI": 1}),
        (lambda s: s.before_step(f"out-{EDU}", msi(MESSAGES[EDU])), {}),  # its owner is there
        (lambda s: s.after_step(f"again-{EDU}-on", msi(MESSAGES[EDU])), {}),  # and the next
        (lambda s: s.after_step("jump", *gsi(21, 1), *gsi(21, 0)), {"unhandled INTx": 1}),
        (twice, {"unhandled INTx": 1}),  # one line
        (lambda s: s.after_step(f"again-{EDU}-intx", *gsi(21, 1), *gsi(21, 0)), {}),
        (lambda s: storm(s, 100000), {"unhandled INTx": 1, "IRQ disabled": 1}),
        (lambda s: storm(s, 10), {"unhandled INTx": 1}),  # masked by whoever has done with it
        (lambda s: s.drop(f"again-{EDU}-msi"), {"device unusable": 1}),
        (lambda s: (s.drop(f"again-{EDU}-msi"), s.drop(f"again-{BELOW}-msi")), {"device unusable": 2}),
        (lambda s: s.after.update({DATA: bytes(UNIT)}), {}),  # it is what was there
        (lambda s: s.after.update({DATA: b"\x77"}), {"DMA to reserved RAM": UNIT}),
        (lambda s: s.after.update({DATA + UNIT - 1: b"\x77\x77"}), {"DMA to reserved RAM": 2 * UNIT}),
        (lambda s: s.after.update({CANARY.stop - 1: b"\x77"}), {"DMA to other RAM": UNIT}),
        (lambda s: s.after.update({DMA.stop - 1: b"\x77"}), {"DMA to other RAM": UNIT}),  # nobody's buffer
        (lambda s: s.after.update({CANARY.stop: b"\x77"}), {}),  # what is neither free nor reserved, images may have
    ],
)
def test_each_hazard_is_counted_where_it_is_one(
    counted: Callable[..., dict[str, int]], change: Change, hazards: dict[str, int]
) -> None:
    assert counted(change) == LOST | hazards


def test_work_that_came_to_its_end_is_not_lost(counted: Callable[..., dict[str, int]]) -> None:
    assert counted(lambda s: s.after.update({EDU_TARGET: bytes(range(256))})) == {"DMA to reserved RAM": 256}


def test_what_landed_is_laid_to_whom_the_address_was_given(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.after = {EDU_TARGET: bytes(range(256)), DATA: b"\x77", DMA.stop - 1: b"\x77", CANARY.start: SOFT}
    cell = found(scene, monkeypatch)
    assert cell.hazards() == dict.fromkeys(HAZARDS, 0) | {"DMA to reserved RAM": 256 + UNIT, "DMA to other RAM": 2 * UNIT}
    assert sorted(cell.notes) == [
        "16 bytes in free memory by an unknown device",
        "16 bytes in reserved memory by 00:03.0 virtio-blk-pci",
        "16 bytes in reserved memory by an unknown device",
        "256 bytes in reserved memory by 00:05.0 edu",
    ]


ONE, OTHER = Bdf(0, 1, 0), Bdf(0, 2, 0)


@pytest.mark.parametrize(
    "changed, known, owners",
    [
        ([], [Given(0x1000, 0x2000, ONE)], {}),
        ([0x20], [], {None: UNIT}),
        ([0x20], [Given(0x1020, 0x1021, ONE)], {ONE: UNIT}),
        ([0x20], [Given(0x102F, 0x1040, ONE)], {ONE: UNIT}),
        ([0x20], [Given(0x1000, 0x1020, ONE), Given(0x1030, 0x1040, OTHER)], {None: UNIT}),  # on both sides of it
        ([0x20], [Given(0x1000, 0x1100, ONE), Given(0x1008, 0x1010, OTHER)], {ONE: UNIT}),  # a long one behind a short one
        ([0x00, 0x20, 0x21], [Given(0x1000, 0x1010, ONE), Given(0x1020, 0x1030, OTHER)], {ONE: UNIT, OTHER: UNIT}),
    ],
)
def test_whose_a_hit_is(changed: list[int], known: list[Given], owners: dict[Bdf | None, int]) -> None:
    before, after = bytes(0x100), bytearray(0x100)
    for at in changed:
        after[at] = 1
    assert hits(before, bytes(after), 0x1000, known) == owners


@pytest.mark.parametrize("out", SHUTDOWN)
def test_signature_of_another_policy_is_not_as_expected(out: str, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The story is that of keep-msi, and writes its configuration space as this does. drain reads, too."""
    said = found(scene, monkeypatch).signature(Cell(out, "disable-msi", "edu"))
    assert (said == EXPECTED) is (out == "keep-msi")


@pytest.mark.parametrize("inward", STARTUP)
def test_signature_of_another_policy_in(inward: str, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    said = found(scene, monkeypatch).signature(Cell("keep-msi", inward, "edu"))
    assert (said == EXPECTED) is (inward == "disable-msi")


# --- which cells, and what is known of them ---


def test_cells_of_a_pattern() -> None:
    assert len(cells()) == len(SHUTDOWN) * len(STARTUP) * len(DEVICES)
    assert cells("keep-msi/none/edu") == [Cell("keep-msi", "none", "edu")]
    assert cells("*/none/virtio-*") == [cell for cell in cells() if cell.inward == "none" and cell.device.startswith("virtio-")]
    assert set(Choice.of(["c01", "keep-msi/none/edu", "keep-msi/*/edu"]).cells) == set(cells("keep-msi/*/edu"))
    assert (Choice.of(["matrix"]).cells, Choice.of(["matrix"]).experiments) == (cells(), {})
    assert (Choice.of(["c01"]).cells, Choice.of([]).cells) == ([], cells())


@pytest.mark.parametrize(
    "only, line",
    [
        ("keep/none/edu", "keep/none/edu: no policy out keep, there are keep-msi disable-msi"),
        ("keep-msi/off/edu", "keep-msi/off/edu: no policy in off, there are disable-msi none hardened"),
        ("keep-msi/none/edo", "keep-msi/none/edo: no device edo, there are virtio-blk virtio-net"),
        ("keep-msi/none", "keep-msi/none: a cell is OUT/IN/DEVICE, such as"),
    ],
)
def test_unknown_cell_is_named_beside_those_that_there_are(only: str, line: str) -> None:
    with pytest.raises(Unusable) as error:
        Choice.of([only])
    assert str(error.value).startswith(line) and "\n" not in str(error.value)


def ran(out: str, device: str, **facts: Any) -> Facts:
    return blank(Cell(out, "none", device)) | facts


STRAY = ran("none", "edu", hazards=dict.fromkeys(HAZARDS, 0) | {"stray MSI": 3, "work lost": 1})
QUIET = ran("keep-msi", "edu", hazards=dict.fromkeys(HAZARDS, 0))
DIED = ran("none", "nvme", outcome="QEMU died", why="assertion failed", hazards={"QEMU aborted": 1})
HUNG = ran("keep-msi", "nvme", outcome="could not run", why="no end after 60 s")


def results(*found: Facts) -> Facts:
    return {"versions": {"QEMU": "7.2"}, "experiments": [], "matrix": described(list(found))}


def written(document: str, results: Facts) -> str:
    return with_made(document, markdown(results))


def test_matrix_is_as_documented() -> None:
    assert disagreements(results(STRAY | {"notes": ["MSI 0x40"]}), EXPERIMENTS, under="matrix") == []
    wrong = disagreements(results(STRAY | {"notes": [1], "kind": "edu"}), EXPERIMENTS, under="matrix")
    assert wrong == ["matrix.cells[].kind is not documented", "matrix.cells[].notes is a list of integers"]


def test_document_holds_what_is_known_of_each_cell() -> None:
    document = written(f"before\n{BEGIN}\nold\n{END}\nbehind\n", results(DIED, STRAY, QUIET, HUNG))
    assert document.startswith("before\n") and document.endswith("\nbehind\n") and "old" not in document
    assert known_cells(document) == {
        ("none", "none", "edu"): "stray MSI, work lost", ("none", "none", "nvme"): "QEMU died",
        ("keep-msi", "none", "edu"): "none", ("keep-msi", "none", "nvme"): "could not run",
    }  # fmt: skip
    assert known_cells(written(document, results(QUIET))) == {("keep-msi", "none", "edu"): "none"}
    assert known_cells(f"{BEGIN}\n{END}\n") == {}


def test_cell_that_is_not_as_known_is_named() -> None:
    text = written(BEGIN + END, results(STRAY, QUIET, DIED, HUNG))
    assert unknown(results(STRAY, QUIET, DIED), text) == []
    assert unknown(results(STRAY | {"hazards": {"stray MSI": 9, "work lost": 2}}), text) == []  # how many may differ by host
    assert unknown(results(QUIET | {"hazards": {"stray MSI": 1}}), text) == ["keep-msi/none/edu: stray MSI; known is none"]
    assert unknown(results(STRAY | {"hazards": {}}), text) == ["none/none/edu: none; known is stray MSI, work lost"]
    assert unknown(results(DIED | QUIET | {"device": "virtio-blk"}), text) == ["keep-msi/none/virtio-blk: none; known is nothing"]
    # One that could not run passes for nothing, and one whose policy did otherwise is none of its kind.
    assert unknown(results(HUNG), text) == ["keep-msi/none/nvme: could not run: no end after 60 s; known is could not run"]
    other = "00:05.0: nothing"
    assert unknown(results(QUIET | {"signature": other}), text) == [f"keep-msi/none/edu: config accesses: {other}"]


def test_runs_that_differ_are_told_by_every_count() -> None:
    assert differences(results(STRAY), results(STRAY)) == []
    (told,) = differences(results(STRAY), results(STRAY | {"hazards": STRAY["hazards"] | {"stray MSI": 4}}))
    assert told.startswith("none/none/edu: hazards: ") and "'stray MSI': 4" in told


def test_one_cell_is_told_in_full() -> None:
    text = "\n".join(express_cell(STRAY | {"notes": ["MSI 0x40"], "directory": "matrix/none/none/edu"}))
    assert all(part in text for part in ("none, none, edu: ran", "stray MSI: 3", "MSI 0x40", EXPECTED, "matrix/none/none/edu/"))
    assert "could not run: no end after 60 s" in "\n".join(express_cell(HUNG))
    assert words(HUNG) == "could not run"
