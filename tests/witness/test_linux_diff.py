# SPDX-License-Identifier: BSD-2-Clause
"""Claim: differences between two kernels' writes to one function are shown, and are an error without a reason.

False if a write that only one side makes is not shown, or two in another order, or another value where it counts; if a difference
without a reason passes; or if a reason covers more than its own writes. The traces are scenes: the same handoff on both
sides, with one thing changed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Sequence

import pytest
from tests.witness.scene import BELOW, BRIDGE, COMMAND, EDU, VIRTIO, Scene, config_write, handoff, memory_write, virtio

from witness import cli
from witness.evidence.case import Case
from witness.linux import diff
from witness.linux.diff import INIT, PHASES, PROBE, PhaseWrites
from witness.linux.reasons import REASONS, Environment, Reason, Side
from witness.linux.writes import Write
from witness.machine.qemu import Unusable
from witness.machine.record import Run
from witness.pci.topology import Bdf
from witness.report.document import BEGIN, END
from witness.report.timeline import OUT, WINDOW

ROOT = Path(__file__).resolve().parent.parent.parent
SAID = "first  next image second: 56 KiB\n"
ENVIRONMENT = Environment(f"{VIRTIO} virtio-blk-pci", "keep-msi")


@pytest.fixture(name="scene")
def _scene(tmp_path: Path) -> Scene:
    """The next kernel begins with a read."""
    scene = handoff(Scene(tmp_path))
    scene.after_step("jump", "pci_cfg_read mch 00:00.0 @0x0 -> 0x29c08086")
    return scene


@pytest.fixture
def other(tmp_path: Path) -> Scene:
    """The other side: the same until it is changed."""
    (tmp_path / "other").mkdir()
    scene = handoff(Scene(tmp_path / "other"))
    scene.after_step("jump", "pci_cfg_read mch 00:00.0 @0x0 -> 0x29c08086")
    return scene


def told(scene: Scene, bdf: Bdf = VIRTIO) -> PhaseWrites:
    """From where the work is given that stays in flight."""
    case = Case(scene.run())
    return diff.phase_writes(case, bdf, case.hops[0].out.start - 1, case.end + 1)


def compared(left: Scene, right: Scene, bdf: Bdf = VIRTIO, reasons: Sequence[Reason] = ()) -> tuple[list[str], list[str]]:
    return diff.difference(told(left, bdf), told(right, bdf), ENVIRONMENT, True, reasons)


def signs(lines: Sequence[str]) -> list[str]:
    """The lines that differ, without their columns."""
    found = [line for line in lines if len(line) > diff.COLUMN and line[diff.COLUMN + 1] in "<>|" and line[diff.COLUMN] == " "]
    return [f"{line[diff.COLUMN + 1]} {(line[:diff.COLUMN].strip() or line[diff.COLUMN + 2:].strip())}" for line in found]


# --- what is shown ---


@pytest.mark.parametrize("bdf", [VIRTIO, EDU, BRIDGE, BELOW])
def test_nothing_differs_from_itself(scene: Scene, other: Scene, bdf: Bdf) -> None:
    lines, unknown = compared(scene, other, bdf)
    assert (signs(lines), unknown) == ([], [])
    assert any("bus master off" in line for line in lines)


def test_writes_are_told_by_name_and_phase(scene: Scene) -> None:
    scene.before_step("again-queue", *config_write(VIRTIO, 0x20, 0xFFFFFFFF, 4), *config_write(VIRTIO, 0x24, 0, 4))
    scene.after_step("again-queue", *[memory_write("virtio-pci-notify-virtio-blk", 0xE0003000, 0, 2)] * 3)
    scene.after_step("again-queue", *config_write(VIRTIO, 0x0D, 0x40, 1), *config_write(VIRTIO, 0x80, 1, 1))
    phases = told(scene).phases
    assert [write.shown(True) for write in phases[OUT]] == ["command 0x0407 -> 0x0403 (bus master off)"]
    assert phases[WINDOW] == []
    assert [write.shown(True) for write in phases[INIT]] == ["msix control 0x8001 -> 0x0001 (MSI-X off)"]
    texts = [write.shown(True) for write in phases[PROBE]]
    assert texts[:2] == ["device_status <- 0x00 (reset)", "command 0x0403 -> 0x0407 (bus master on)"]
    assert {
        "msix table[0] address <- 0xfee00000", "msix table[0] data <- 0x00000040",
        "msix table[0] control <- 0x00000000 (unmasked)", "BAR 4 <- 0xffffffff (size?)",
        "BAR 4, upper half <- 0x00000000 (address)", "queue_select <- 0x0000 (0)", "queue_desc <- 0x00030000",
        "device_status <- 0x0f (DRIVER_OK)", "queue_notify <- 0x0000, 3 times", "latency timer <- 0x40",
        "configuration 0x80, 8 bits <- 0x01",
    } <= set(texts)  # fmt: skip


def test_what_differs_from_run_to_run_is_left_out(scene: Scene) -> None:
    texts = [write.shown(False) for write in told(scene).phases[PROBE]]
    assert {"msix table[0] data <- …", "queue_desc <- …", "queue_size <- 0x0008", "device_status <- 0x0f (DRIVER_OK)"} <= set(texts)


def test_addresses_are_not_compared(scene: Scene, other: Scene) -> None:
    lines = other.step("again-queue").lines
    other.replace("again-queue", *(line.replace("value 0x30", "value 0x70") for line in lines))
    assert lines != other.step("again-queue").lines
    assert compared(scene, other)[1] == []


def test_a_window_in_which_somebody_writes(scene: Scene, other: Scene) -> None:
    notify = memory_write("virtio-pci-notify-virtio-blk", 0xE0003000, 0, 2)
    other.before_step("jump", notify, *config_write(VIRTIO, 0x0D, 0, 1))
    lines, unknown = compared(scene, other)
    assert unknown == ["window: > queue_notify <- 0x0000", "window: > latency timer <- 0x00"]
    assert signs(lines) == ["> queue_notify <- 0x0000", "> latency timer <- 0x00"]


# --- what must not pass ---


@pytest.mark.parametrize(
    "label, lines, what",
    [
        (f"out-{EDU}", config_write(VIRTIO, 0x50, 0x1234), "out: > configuration 0x50, 16 bits <- 0x1234"),
        (f"master-{VIRTIO}", [virtio(0x3A, 0x12, 2)], "probe: > virtio-pci-common-virtio-blk 0x3a <- 0x0012"),
        (f"master-{VIRTIO}", config_write(VIRTIO, COMMAND, 0x0507), "probe: > command 0x0407 -> 0x0507 (SERR on)"),
        (f"master-{VIRTIO}", config_write(VIRTIO, COMMAND, 0x0C07), "probe: > command 0x0407 -> 0x0c07 (0x0800 changed)"),
    ],
)
def test_an_unknown_write(label: str, lines: list[str], what: str, scene: Scene, other: Scene) -> None:
    other.after_step(label, *lines)
    shown, unknown = compared(scene, other, reasons=REASONS)
    assert what in unknown
    at = next(number for number, line in enumerate(shown) if line.endswith(what.partition("> ")[2]))
    assert shown[at + 1].strip() == "? no reason known"


def test_a_write_that_is_not_made(scene: Scene, other: Scene) -> None:
    other.drop(f"out-{VIRTIO}")
    assert compared(scene, other, reasons=REASONS)[1][0] == "out: command 0x0407 -> 0x0403 (bus master off)             <"


def test_another_order(scene: Scene, other: Scene) -> None:
    """Bus master set before the reset."""
    other.move_after("reset", f"master-{VIRTIO}")
    lines, unknown = compared(scene, other)
    assert len(unknown) == 2
    assert {text.partition(" ")[0] for text in signs(lines)} == {"<", ">"}
    assert len({text.partition(" ")[2] for text in signs(lines)}) == 1  # the same write, at another place


def test_another_value(scene: Scene, other: Scene) -> None:
    lines = other.step("again-queue").lines
    other.replace("again-queue", *(line.replace("addr 0xe0000018 value 0x8 ", "addr 0xe0000018 value 0x10 ") for line in lines))
    lines, unknown = compared(scene, other)
    assert [line.split() for line in unknown] == [["probe:", *"queue_size <- 0x0008 | queue_size <- 0x0010".split()]]
    assert signs(lines) == ["| queue_size <- 0x0008"]


def test_another_state_that_the_same_change_comes_upon(scene: Scene, other: Scene) -> None:
    """Bus master set with INTx enabled on one side, disabled on the other. The reason is for INTx alone."""
    scene.before_step(f"master-{VIRTIO}", *config_write(VIRTIO, COMMAND, 0x0003))
    scene.replace(f"master-{VIRTIO}", *config_write(VIRTIO, COMMAND, 0x0007))
    row = "command 0x0003 -> 0x0007 (bus master on) | command 0x0403 -> 0x0407 (bus master on)"
    assert f"probe: {row}" in map(_spaced, compared(scene, other)[1])
    assert f"probe: {row}" not in map(_spaced, compared(scene, other, reasons=REASONS)[1])
    scene.replace(f"master-{VIRTIO}", *config_write(VIRTIO, COMMAND, 0x0107))  # and SERR
    scene.before_step(f"master-{VIRTIO}", *config_write(VIRTIO, COMMAND, 0x0103))
    assert f"probe: {row.replace('0x00', '0x01')}" in map(_spaced, compared(scene, other, reasons=REASONS)[1])


def _spaced(text: str) -> str:
    return " ".join(text.split())


# --- reasons ---


def reason(side: Side, writes: str, **more: Any) -> Reason:
    return Reason(side, "out", writes, where="here", why="so", **more)


def rows(*names: str, side: Side = Side.OURS) -> list[diff.WritePair]:
    writes = [Write(number, name, "") for number, name in enumerate(names)]
    return [diff.WritePair(write, None) if side is Side.LINUX else diff.WritePair(None, write) for write in writes]


def parts(found: Sequence[diff.WritePair], *reasons: Reason) -> list[tuple[int, bool]]:
    return [(len(part), why is not None) for part, why in diff.explained("out", found, reasons)]


def test_a_reason_is_for_its_side_phase_and_device() -> None:
    assert parts(rows("a"), reason(Side.OURS, "a\n")) == [(1, True)]
    assert parts(rows("a"), reason(Side.LINUX, "a\n")) == [(1, False)]
    assert parts(rows("a", side=Side.LINUX), reason(Side.LINUX, "a\n")) == [(1, True)]
    assert [why for _, why in diff.explained("init", rows("a"), [reason(Side.OURS, "a\n")])] == [None]
    assert reason(Side.OURS, "a\n", device=" virtio-").applies(ENVIRONMENT)
    assert not reason(Side.OURS, "a\n", device=" edu").applies(ENVIRONMENT)
    assert not reason(Side.OURS, "a\n", shutdown="disable-msi").applies(ENVIRONMENT)


def test_a_reason_is_given_as_often_as_it_may() -> None:
    assert parts(rows("a", "a"), reason(Side.OURS, "a\n")) == [(1, True), (1, False)]
    assert parts(rows("a", "a"), reason(Side.OURS, "a\n", times=2)) == [(1, True), (1, True)]


def test_a_reason_is_for_whole_writes() -> None:
    assert parts(rows("ab"), reason(Side.OURS, "a")) == [(1, False)]
    assert parts(rows("a", "b"), reason(Side.OURS, "a\n"), reason(Side.OURS, "a\nb\n")) == [(2, True)]
    assert parts(rows("a", "c"), reason(Side.OURS, "a\nb\n")) == [(1, False), (1, False)]


EDU_RESET = (
    "command (memory off)", "BAR 0 (size?)", "BAR 0 (address)", "command (memory on)", "interrupt acknowledge (DMA)",
    "command (bus master on)",
)  # fmt: skip
AHCI_RESET = (*EDU_RESET[:4], "GHC (AE, HR)", "GHC (AE)", "command (bus master on)")
EDU_RAISE, EDU_ACKNOWLEDGE = "interrupt raise (driver)", "interrupt acknowledge (driver)"
EDU_DMA = ("DMA source", "DMA destination", "DMA count", "DMA command ({})")
EDU_WORK = (
    "command (INTx Disable off)", EDU_RAISE, EDU_ACKNOWLEDGE,
    "msi address", "msi address, upper half", "msi data", "command (INTx Disable on)", "msi control (MSI on)",
    EDU_RAISE, EDU_ACKNOWLEDGE,
    *(name.format(to) for to in ("to edu", "to RAM") for name in (*EDU_DMA, "interrupt acknowledge (DMA)")),
)  # fmt: skip


@pytest.mark.parametrize(
    "device, names",
    [("edu", EDU_RESET + EDU_WORK), ("ich9-ahci", AHCI_RESET + tuple(f"P{n}CMD (SUD, POD)" for n in range(6)))],
)
def test_a_driver_of_ours_has_its_reason_in_its_order_alone(device: str, names: tuple[str, ...]) -> None:
    """Linux has no driver there, so that only the reason shows when ours does something else."""
    known = [why for why in REASONS if why.applies(Environment(f"{VIRTIO} {device}", "keep-msi"))]

    def explained(*found: str) -> bool:
        return all(why for _, why in diff.explained(PROBE, rows(*found), known))

    assert explained(*names)
    for n, name in enumerate(names):
        assert not explained(*names[:n], *names[n + 1:]) and not explained(*names[:n], name, *names[n:])
        if n and not name.startswith("P") and name != names[n - 1]:  # the ports are alike
            assert not explained(*names[:n - 1], name, names[n - 1], *names[n + 1:])


def test_repeated_reasons_are_short() -> None:
    assert (REASONS[0].text(False) != REASONS[0].text(True)) and "as above" in REASONS[0].text(True)[-1]


def test_reasons_are_what_they_can_be() -> None:
    """None is for nothing, in no phase, or without a place in the source."""
    for known in REASONS:
        assert set(known.phases.split()) <= set(PHASES) and not re.fullmatch(known.writes, "")
        assert known.where and known.why.endswith(".")


def test_what_reasons_name_of_ours_is_there() -> None:
    """`file:function`; what they name of Linux is `function(), file`."""
    texts = [f"{known.where} {known.why}" for known in REASONS]
    named = {found for text in texts for found in re.findall(r"([a-z_0-9]+/[a-z_0-9/]+\.[ch]):(\w+)", text)}
    assert len(named) > 10
    for file, name in named:
        assert re.search(rf"\b{name}\b", (ROOT / file).read_text()), f"{file}:{name}"


# --- the command ---


@dataclass
class Theirs:
    """A Seen of Linux's, of a scene."""

    case: Case
    run: Run

    def mark(self, name: str, nth: int = 0) -> Any:
        return SimpleNamespace(line={"loaded": self.case.hops[0].out.start - 1, "userspace": self.case.end + 1}[name])


@pytest.fixture
def command(scene: Scene, other: Scene, monkeypatch: pytest.MonkeyPatch) -> Any:
    """tools/handoff linux-diff, on two scenes."""
    monkeypatch.delenv("CMDLINE", raising=False)
    monkeypatch.delenv("FUNCTION", raising=False)

    def run(*arguments: str) -> int:
        case = Case(scene.run())
        monkeypatch.setattr(diff, "handoffs", lambda *_: (Theirs(case, case.run), Case(other.run())))
        return cli.main(["linux-diff", *arguments])

    other.before_step(f"out-{BELOW}", *(memory_write("isa-debugcon", 0xE9, ord(letter), 1) for letter in SAID))
    return run


def test_no_difference_passes(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert command() == 0
    assert "RESULT: PASS (0 differences" in capsys.readouterr().out


def test_a_difference_without_a_reason_fails(command: Any, other: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    other.after_step(f"out-{BELOW}", *config_write(VIRTIO, 0x50, 1))
    assert command() == 1
    out = capsys.readouterr().out
    assert "\nno reason known for out: > configuration 0x50, 16 bits <- 0x0001\nRESULT: FAIL (1 differences" in out


def test_of_another_function(command: Any, other: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    other.after_step(f"out-{BELOW}", *config_write(VIRTIO, 0x50, 1))
    assert command("--function", str(BELOW)) == 0
    assert f"Every write to {BELOW} edu" in capsys.readouterr().out


@pytest.mark.parametrize("function", ["00:1e.0", "0000:00:1e.0", "edu", "00:03.8", ""])
def test_a_function_that_is_not_there(function: str, command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--function", function) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1) and "FUNCTION=" in err


def test_images_that_do_not_say_when_the_next_is_loaded(scene: Scene) -> None:
    with pytest.raises(Unusable, match="first's log does not have"):
        diff.loaded(Case(scene.run()))


@pytest.mark.parametrize("words", ["handoff.shutdown=none", "handoff.shutdown=reset", "handoff.startup=hardened"])
def test_policies_that_no_reason_is_about(words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["linux-diff", "--build", str(tmp_path), "--cmdline", words]) == 2
    assert capsys.readouterr().err.startswith(f"handoff: CMDLINE={words}: there are reasons only for")


def test_the_document_is_of_the_default(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--document", "--function", str(BELOW)) == 2
    assert "leave out FUNCTION=" in capsys.readouterr().err


def test_only_what_is_made_is_replaced(command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = tmp_path / "document.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nbehind\n")
    monkeypatch.setattr(diff, "DOCUMENT", document)
    assert command("--document") == 0
    text = document.read_text()
    assert text.startswith(f"before\n{BEGIN}\n") and text.endswith(f"\n{END}\nbehind\n") and "old" not in text
    assert "reads of its configuration space" not in text
