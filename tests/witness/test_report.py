# SPDX-License-Identifier: BSD-2-Clause
"""Claim: what a human or a script gets says what was judged: one screen, the whole, columns, result, exit code, complaints.

It could be false where a run that ended well was judged badly, where evidence is absent, where a word is mistyped, or where a
screen leaves out an error.
"""

import re
from pathlib import Path

import pytest
from tests.witness.scene import EDU, Scene, gsi, handoff, msi

from witness import cli
from witness.judge.engine import Result
from witness.judge.rules import judge
from witness.machine.record import Outcome, Run
from witness.report import text as report

ERRORS = Path(__file__).resolve().parent.parent.parent / "docs/errors.md"
LINES, COLUMNS = 45, 100

FOUND = """image {0}@0x2000000
machine: QEMU, 247 MiB of memory free, time by ACPI PM timer
irq: local APIC ID 0 (xAPIC), {1} stale interrupts taken; 8259 masked
PCI segment 0000 buses 00-ff by ECAM
inherited 0000:00:03.0 virtio-blk: bus master on, MSI absent, MSI-X off, INTx enabled
inherited 0000:00:05.0 edu: bus master on, MSI off, MSI-X absent, INTx enabled, interrupt pending
inherited 10 functions: bus master on in 10, MSI in 0, MSI-X in 0, interrupt pending in 0
startup disable-msi: on 10 of 10 functions
pci 0000:00:03.0 virtio status 0x0b before the reset"""
DRIVEN = """0000:00:03.0 virtio-blk: 8192 KiB, MSI-X vector 0x41: 19 requests, 19 interrupts, pattern written and read back
0000:00:04.0 virtio-blk: 8192 KiB read-only, MSI-X vector 0x42: 1 requests, 1 interrupts, read, no test pattern
0000:00:1f.2 ahci: no drive
0000:00:05.0 edu: INTx on irq 10 taken, MSI vector 0x43 taken 3 times, DMA out and back 2048 bytes equal
0000:00:06.0 pcie-port: MSI-X, 1 from vector 0x40 on: 2 commands completed, 0 errors reported
0000:01:00.0 edu: INTx on irq 11 taken, MSI vector 0x44 taken 3 times, DMA out and back 2048 bytes equal
0000:00:09.0 edu: INTx on irq 10 taken, MSI vector 0x45 taken 3 times, DMA out and back 2048 bytes equal"""
LEFT = """next image second: 57 KiB for 0x3000000, SHA-256 7f4d3ca16e503c57...
load 0000:00:03.0 virtio-blk: requests in flight: 0
load 0000:00:04.0 virtio-blk: requests in flight: 4
load 0000:00:05.0 edu: requests in flight: 1
shutdown keep-msi: on 10 of 10 functions, children first
jump to second@0x3000000"""


def said(image: str, *texts: str, stale: int = 0) -> list[str]:
    return [f"{image:6} {line}" for text in texts for line in text.format(image, stale).splitlines()]


LOADER = 'loader image first@0x2000000, 57 KiB, initrd 59 KiB, command line ""'
LOG = [LOADER, *said("first", FOUND, DRIVEN, LEFT), *said("second", FOUND, DRIVEN)]


def printed(run: Run, log: list[str], verbose: bool = False) -> list[str]:
    (run.directory / "guest.log").write_text("\n".join([*run.log[:-1], *log, run.log[-1]]) + "\n")
    del run.log
    return report.of_run(report.Judged(run, judge(run)), verbose)


def flat(lines: list[str]) -> str:
    """Without its folds."""
    return " ".join(" ".join(lines).split())


def test_a_pass_is_one_screen(scene: Scene) -> None:
    run = scene.run()
    verdicts = judge(run)
    lines = printed(run, LOG)
    assert len(lines) <= LINES and max(map(len, lines)) <= COLUMNS
    assert report.exit_code(run, verdicts) is Outcome.PASS
    all_of = f"{len(verdicts)} of {len(verdicts)}"
    assert lines[-1].startswith(f"RESULT: PASS ({all_of} verdicts, git unknown, QEMU 7.2.22")
    assert "pass   window 3 of 3: window-msi, window-intx, window-device" in lines
    assert set(re.findall(r"[\w-]+", flat([line for line in lines if line.startswith("pass")]))) >= {v.id for v in verdicts}
    assert not [line for line in lines if " -> " in line or "machine:" in line or "hazard" in line]
    shared = "edu: INTx on irq 10/11/10 taken, MSI vector 0x43/0x44/0x45 taken 3 times, DMA out and back 2048 bytes equal"
    assert flat(lines).count(f"00:05.0, 01:00.0, 00:09.0 {shared}") == 2
    assert "first  load 00:03.0, 00:04.0 virtio-blk: requests in flight: 0/4" in lines


def test_twin_the_whole_has_each_line_and_all_evidence(scene: Scene) -> None:
    run = scene.run()
    verdicts = judge(run)
    whole = printed(run, LOG, verbose=True)
    assert set(run.log) <= set(whole)
    assert all(f"pass   {v.claim:{report.CLAIM_WIDTH}} {v.evidence}" in whole for v in verdicts)
    assert (run.directory / report.REPORT).read_text().splitlines() == whole


def test_a_screen_has_every_error_line(scene: Scene) -> None:
    """As docs/errors.md knows them, in an image in which all else is as always; and as many lines more as they take."""
    of_images, _, _ = ERRORS.read_text().rpartition("\n## ")
    formats = re.findall(r"^\| `((?!GUEST|STACK)[^`]+)` \|", of_images, re.M)
    said_so = [re.sub(r"%(\.\*|[-.0-9]*)l?[a-z]", "7", line.replace("SSSS:BB:DD.F", "0000:00:1f.2")) for line in formats]
    assert len(said_so) > 100
    lines = printed(scene.run(), LOG + said("second", "\n".join(said_so)))
    assert max(map(len, lines)) <= COLUMNS
    assert [line for line in said_so if line.replace("0000:00", "00") not in flat(lines)] == []


def test_a_screen_has_all_that_failed(scene: Scene) -> None:
    scene.drop("reset")
    scene.after_step("jump", *gsi(21, 1), "pic_interrupt irq 11 intno 43")
    run = scene.run()
    lines = printed(run, [*LOG, "second irq 11: nobody cared, 100000 interrupts; line disabled"])
    assert max(map(len, lines)) <= COLUMNS
    failures = [v for v in judge(run) if v.result is Result.FAIL]
    assert len(failures) > 1
    assert all(f"fail {v.claim} ({v.id}) {v.evidence}" in flat(lines) for v in failures)
    assert flat(lines).count("hazard INTx raised and unhandled: GSI 21 raised by ") == 1
    assert flat(lines).count("irq 11: nobody cared, 100000 interrupts; line disabled") == 2


def test_later_images_of_a_chain_say_what_is_new(scene: Scene) -> None:
    run, again = scene.run(), said("second", LEFT, FOUND, DRIVEN)
    length = len(printed(run, [*LOG, *again]))
    lines = printed(scene.run(), [*LOG, *again, *again, *again, "second 0000:00:05.0 edu: failed, timeout"])
    assert len(lines) == length + 1
    assert "3 more images, only new lines are shown:" in lines
    assert "second 00:05.0 edu: failed, timeout" in lines


def test_hazards_show_where_no_rule_is_about_them(tmp_path: Path) -> None:
    """Under policy none no rule asks for a silent window."""
    scene = handoff(Scene(tmp_path), "none")
    scene.after_step("jump", msi(0x41))
    lines = printed(scene.run(), [])
    assert not [line for line in lines if line.startswith("fail")]
    hazards = [line for line in lines if line.startswith("hazard")]
    assert [line.partition(" (trace")[0] for line in hazards] == ["hazard stray MSI: MSI 0x41 to 0xfee00000"]


def test_stale_interrupts_show(scene: Scene) -> None:
    lines = printed(scene.run(), [*LOG, *said("second", FOUND, stale=2)])
    assert "second irq: local APIC ID 0 (xAPIC), 2 stale interrupts taken; 8259 masked" in lines


def test_a_content_guest_does_not_make_a_pass(scene: Scene) -> None:
    scene.drop("reset")
    run = scene.run()
    verdicts = judge(run)
    assert report.exit_code(run, verdicts) is Outcome.FAIL
    assert report.result(run, verdicts).startswith(f"RESULT: FAIL ({len(verdicts) - 1} of {len(verdicts)} verdicts")


def test_absent_is_no_pass(scene: Scene) -> None:
    run = scene.run()
    del run.entries[1]
    assert report.exit_code(run, judge(run)) is Outcome.FAIL


def test_how_the_run_ended_comes_first(scene: Scene) -> None:
    run = scene.run()
    run.outcome, run.detail = Outcome.QEMU_DIED, "QEMU itself ended with signal 6"
    assert report.exit_code(run, judge(run)) is Outcome.QEMU_DIED
    assert report.result(run, judge(run)).startswith("RESULT: QEMU DIED (QEMU itself ended with signal 6; ")


def test_columns_show_who_raised_which_line(tmp_path: Path) -> None:
    """The mischief of disable-msi: a DMA ends in the window, its function has neither MSI nor a handler."""
    runs = {}
    for policy in ("keep-msi", "disable-msi"):
        directory = tmp_path / policy
        directory.mkdir()
        scene = handoff(Scene(directory), policy)
        if policy == "disable-msi":
            scene.after_step("jump", *gsi(21, 1), "pic_interrupt irq 11 intno 43", "pic_interrupt irq 11 intno 43")
        run = scene.run()
        runs[policy] = report.Judged(run, judge(run))
    text = report.columns(runs)
    assert text[0].split() == ["claim", "keep-msi", "disable-msi"]
    assert next(line for line in text if line.startswith("INTx raised")).split()[-2:] == ["0", "1"]
    assert f"  disable-msi: GSI 21 raised by {EDU} edu" in text[-1]
    assert "3 interrupts, lowered by a write to 00:05.0 edu" in text[-1]


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        ([], "required"),
        (["fly"], "invalid choice: 'fly'"),
        (["run", "--fly"], "unrecognized arguments: --fly"),
        (["run", "--build", "/nowhere"], "handoff.efi is missing: run make"),
        (["judge", "/nowhere"], "No such file"),
    ],
)
def test_one_line_and_exit_code_2(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = cli.main(arguments)
    except SystemExit as error:
        code = error.code  # type: ignore[assignment]
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert complaint in err
