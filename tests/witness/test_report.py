# SPDX-License-Identifier: BSD-2-Clause
"""Claim: what a human or a script gets says what was judged: table, columns, result, exit code, one line of complaint.

It could be false where a run that ended well was judged badly, where evidence is absent, or where a word is mistyped.
"""

from pathlib import Path

import pytest
from tests.witness.scene import EDU, Scene, gsi, handoff

from witness import cli
from witness.judge.rules import judge
from witness.machine.record import Outcome
from witness.report import text as report


def test_pass(scene: Scene) -> None:
    run = scene.run()
    verdicts = judge(run)
    assert report.exit_code(run, verdicts) is Outcome.PASS
    all_of = f"{len(verdicts)} of {len(verdicts)}"
    assert report.result(run, verdicts).startswith(f"RESULT: PASS ({all_of} verdicts, git unknown, QEMU 7.2.22")
    assert all(line.startswith("pass") for line in report.table(verdicts))


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
        runs[policy] = run, judge(run)
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
