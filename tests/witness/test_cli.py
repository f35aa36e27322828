# SPDX-License-Identifier: BSD-2-Clause
"""Claim: settings that cannot be meant are refused with one line and exit code 2, and a comparison passes only with a control.

False if a traceback is printed, if a default takes the place of what the caller set, or if a disable-msi run that broke
off counts as one that shows something. No QEMU: the runs are scenes.
"""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
from pathlib import Path
from select import select
from typing import Any

import pytest
from tests.witness.scene import Scene, gsi, handoff

from witness import cli
from witness.judge.engine import Result
from witness.judge.rules import RULES, judge
from witness.machine.qemu import Settings, built_in
from witness.machine.record import Outcome, Run, options
from witness.report import text as report

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TIMEOUT", "QEMUFLAGS", "OVMF_CODE", "OVMF_VARS", "CMDLINE", "QEMU", "O", "V"):
        monkeypatch.delenv(name, raising=False)


# --- settings ---


@pytest.mark.parametrize(
    "name, value, complaint",
    [
        ("TIMEOUT", "soon", "TIMEOUT=soon: not a number of seconds"),
        ("TIMEOUT", "-1", "TIMEOUT=-1: not a number of seconds"),
        ("TIMEOUT", "0", "TIMEOUT=0: not a number of seconds"),
        ("TIMEOUT", "nan", "TIMEOUT=nan: not a number of seconds"),
        ("TIMEOUT", "inf", "TIMEOUT=inf: not a number of seconds"),
        ("QEMUFLAGS", "-device 'edu", "QEMUFLAGS=-device 'edu: no closing quotation"),
        ("OVMF_VARS", "/some/vars.fd", "OVMF_VARS=/some/vars.fd: OVMF_CODE, to which it belongs, is not set"),
        ("OVMF_CODE", "/nowhere", "/nowhere: no such firmware file"),
    ],
)
def test_a_bad_setting(
    name: str, value: str, complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    assert cli.main(["run"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert complaint in err


def test_twin_a_good_setting() -> None:
    settings = Settings.of({"TIMEOUT": "0.5", "QEMUFLAGS": "-device 'edu,addr=7'"})
    assert (settings.timeout, settings.flags) == (0.5, ("-device", "edu,addr=7"))


@pytest.mark.parametrize("tool", [("handoff", "judge"), ("stack",), ("mutants",)])
def test_a_file_that_does_not_exist(tool: tuple[str, ...]) -> None:
    program, *words = tool
    ended = subprocess.run([ROOT / "tools" / program, *words, "/nonexistent"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1), ended.stderr
    assert ended.stderr.startswith(f"{program}: /nonexistent")
    assert ended.stderr.endswith(": No such file or directory\n")


def test_any_other_error_is_one_line_and_exit_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.json").write_text("{\n")
    assert cli.main(["judge", str(tmp_path)]) == 3
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("handoff: JSONDecodeError: ")


# --- options ---


def test_options_end_at_a_lone_dash_dash() -> None:
    assert options("quiet handoff.next= handoff.shutdown=none -- handoff.shutdown=x") == {"next": "", "shutdown": "none"}
    assert options("-- handoff.shutdown=none") == {}


def test_an_empty_command_line_means_the_built_in_one(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "cmdline").write_text("handoff.shutdown=disable-msi")
    run = scene.run()
    run.cmdline, run.built_in = "", built_in(tmp_path)
    assert run.option("shutdown", "keep-msi") == "disable-msi"
    run.cmdline = "handoff.next=second"
    assert run.option("shutdown", "keep-msi") == "keep-msi"
    assert built_in(tmp_path / "elsewhere") == ""


# --- a kept run ---


def test_a_kept_run_can_be_moved(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    run = handoff(Scene(here)).run()
    run.built_in = "handoff.startup=disable-msi"
    run.save()
    verdicts = judge(run)
    shutil.move(here, there)
    moved = Run.load(there)
    assert moved.built_in == run.built_in
    assert judge(moved) == verdicts


# --- what did not come far ---


def broken_off(directory: Path) -> Run:
    run = handoff(Scene(directory)).run()
    (directory / "trace.log").write_text("")
    (directory / "guest.log").write_text("first  image first@0x10000\nfirst  option x: unknown\nGUEST: error options\n")
    run.entries, run.outcome, run.detail = [], Outcome.ERROR, "GUEST: error options"
    return run


def test_what_was_not_judged_is_one_line_for_each_reason(tmp_path: Path) -> None:
    verdicts = judge(broken_off(tmp_path))
    open = [v for v in verdicts if v.result is Result.UNJUDGED]
    lines = [line for line in report.table(verdicts) if line.startswith("cannot be judged: ")]
    assert lines == report.failed(verdicts)[-len(lines):]
    assert len(lines) == len({v.evidence for v in open}) < len(open)
    assert [v for v in open if not any((v.id in line or v.claim in line) and v.evidence in line for line in lines)] == []


def test_the_guests_last_line_comes_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = broken_off(tmp_path)
    run.save()
    assert cli.main(["judge", str(tmp_path)]) == 3
    out = capsys.readouterr().out
    ending = "ended: GUEST: error options; the guest's last line: first  option x: unknown\n"
    assert 0 < out.index(ending) < out.index("cannot be judged: ")


def test_twin_a_whole_run_needs_no_explanation(scene: Scene) -> None:
    run = scene.run()
    assert not report.ending(run)
    assert len(report.table(judge(run))) == len(judge(run))


@pytest.mark.parametrize("arguments, variable", [(["-v"], ""), (["--verbose"], ""), ([], "1"), ([], "")])
def test_all_that_there_is(
    arguments: list[str], variable: str, scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("V", variable)
    scene.run().save()
    assert cli.main(["judge", *arguments, str(scene.directory)]) == 0
    whole = (scene.directory / report.REPORT).read_text()
    assert (capsys.readouterr().out == whole) is bool(arguments or variable)


# --- compare ---


def compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, control: Outcome, cmdline: str = "") -> tuple[int, list[str]]:
    """The two runs of a comparison with this outcome of the control; and their command lines."""
    cmdlines = []

    def run(machine: object, build: object, directory: Path, words: str, settings: object) -> Run:
        cmdlines.append(words)
        policy = directory.name
        here = tmp_path / policy
        here.mkdir()
        scene = handoff(Scene(here), policy)
        if policy == cli.DISABLE:
            scene.after_step("jump", *gsi(21, 1), "pic_interrupt irq 11 intno 43")
        record = scene.run()
        if policy == cli.DISABLE:
            record.outcome, record.detail = control, f"ended as {control.name}"
        return record

    monkeypatch.setattr(cli, "run", run)
    return cli.main(["compare", "--build", str(tmp_path), "--cmdline", cmdline]), cmdlines


def test_a_comparison_with_its_control(tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cmdline").write_text("handoff.scope=all")
    code, cmdlines = compare(tmp_path, monkeypatch, Outcome.FAIL)
    lines = capsys.readouterr().out.splitlines()
    assert (code, lines[-1].startswith("RESULT: PASS (keep-msi holds, ")) == (0, True)
    assert len(lines) <= 45 and max(map(len, lines)) <= 100
    assert [line.split()[1:] for line in lines if line.endswith("pass         pass")] == [["other", "claims", "pass", "pass"]]
    assert sorted(cmdlines) == ["handoff.shutdown=disable-msi handoff.scope=all", "handoff.shutdown=keep-msi handoff.scope=all"]


def test_twin_a_comparison_of_each_claim(tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("V", "1")
    compare(tmp_path, monkeypatch, Outcome.FAIL)
    out = capsys.readouterr().out
    assert "other claims" not in out
    assert [rule.claim for rule in RULES if rule.id != "frames" and f"\n{rule.claim} " not in out] == []


@pytest.mark.parametrize("control", [Outcome.PASS, Outcome.TIMEOUT, Outcome.CRASH, Outcome.QEMU_DIED, Outcome.ERROR])
def test_a_control_that_ended_otherwise(
    control: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = compare(tmp_path, monkeypatch, control)
    assert code == (control or Outcome.FAIL)
    out = capsys.readouterr().out
    assert "RESULT: PASS" not in out
    assert f" (under disable-msi the control is not as expected: ended as {control.name}" in out


def test_a_policy_in_the_command_line_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, cmdlines = compare(tmp_path, monkeypatch, Outcome.FAIL, "handoff.shutdown=none")
    out, err = capsys.readouterr()
    assert (code, cmdlines, out, err.count("\n")) == (2, [], "", 1)
    assert "compare chooses handoff.shutdown= itself" in err


def test_make_patch_shows_the_same_patch() -> None:
    ended = subprocess.run(["make", "-s", "patch"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == cli._patch()
    removed = [line for line in cli._patch() if line.startswith(("-", "+")) and not line.startswith(("---", "+++"))]
    assert removed == ["-\tpci_msi_shutdown(dev);", "-\tpci_msix_shutdown(dev);"]


# --- tools/setup ---


@pytest.mark.parametrize("name", ["QEMU", "OVMF_CODE"])
def test_what_a_variable_names_is_not_installed(name: str, tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", name: "/nonexistent", "O": str(tmp_path), "CI": "true"}
    ended = subprocess.run([ROOT / "tools/setup", "run"], env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (2, f"setup: {name}=/nonexistent: there is no /nonexistent\n")
    assert not list(tmp_path.iterdir())


# --- tools/mutants ---


def test_what_a_mutants_test_has_started_ends_with_it(tmp_path: Path) -> None:
    """Whatever it has started holds the pipe open for writing. The twin ends in time, and only then."""
    mutants = runpy.run_path(str(ROOT / "tools/mutants"))
    os.mkfifo(tmp_path / "alive")
    alive = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(subprocess.TimeoutExpired):
        mutants["run"](tmp_path, "sh", "-c", "exec 9>alive; echo >&9; sleep 60 & wait", timeout_s=1)
    assert os.read(alive, 2) == b"\n"
    assert select([alive], [], [], 20)[0], "the end of the pipe"
    assert mutants["run"](tmp_path, "sh", "-c", "exec 9>alive; echo done", timeout_s=20).stdout == "done\n"
