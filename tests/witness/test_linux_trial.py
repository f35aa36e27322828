# SPDX-License-Identifier: BSD-2-Clause
"""Claim: what userspace says on COM2 is understood as it was said, whatever firmware said before it; and a run that did not come to
what it is about says why in one line.

No machine runs but in the last tests, where a fake QEMU does: it sends on the sockets that it is given, and ends as the test says.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, cast

import pytest
from tests.witness.documented import EXPERIMENTS, disagreements
from tests.witness.scene import memory_write

from witness.evidence.case import Case
from witness.lab.experiment import Role, Unshown, choose, experiments
from witness.lab.observation import DATA, LINE_CONTROL
from witness.lab.rounds import Order
from witness.linux import linux
from witness.linux.trial import FIRST, INITRD, LINUX, Boot, Conversation, Seen, perform, point, version
from witness.machine.description import Machine
from witness.machine.firmware import Firmware
from witness.machine.qemu import Settings, Unusable
from witness.machine.qmp import Wire
from witness.machine.record import Outcome, Run
from witness.report.document import BEGIN, END
from witness.report.results import SCHEMA

# What comes first on COM2: OVMF's console, and our loader's line, which has no start of its own.
FIRMWARE = "\x1b[2J\x1b[01;01H\x1b[=3h\x1b[2J\x1b[01;01H"
LOADER = f'{FIRMWARE}loader image first@0x2000000, 56 KiB, command line "handoff.next=linux -- linux.script=look"\r\n'


def heard(text: str) -> Conversation:
    said = Conversation()
    for line in text.split("\n")[:-1]:
        said.take(line)
    return said


# --- the conversation ---


@pytest.mark.parametrize("before", ["", f"{FIRMWARE}\n", LOADER, "\n", "|no title yet\n"])
def test_what_firmware_leaves_is_no_word_of_linux(before: str) -> None:
    said = heard(f"{before}+userspace\n=interrupts\n|  0: timer\n\n!pass\n")
    assert said.points == ["userspace"] and said.texts == {"interrupts": [["  0: timer"]]} and said.verdicts == ["pass"]


@pytest.mark.parametrize("line", ["+point", "=title", "|text", "!pass", "", "-", "\x1b[2J", "ümlaut"])
def test_text_may_have_any_line(line: str) -> None:
    """The negative twin of each sign: after the bar it is text."""
    said = heard(f"=dmesg\n|{line}\n|behind\n\n")
    assert said.texts == {"dmesg": [[line, "behind"]]} and said.points == [] and said.verdicts == []


def test_lines_end_as_a_terminal_ends_them() -> None:
    assert heard("+userspace\r\n=a\r\n|b\r\n!pass\r\n") == heard("+userspace\n=a\n|b\n!pass\n")


def test_text_that_is_told_again_is_another() -> None:
    """And an empty one is kept, too."""
    assert heard("=disks\n|before\n\n=disks\n|after\n\n=warnings\n\n").texts == {"disks": [["before"], ["after"]], "warnings": [[]]}


def test_text_goes_on_behind_a_point() -> None:
    assert heard("=a\n|1\n+there\n|2\n").texts == {"a": [["1", "2"]]}


def test_images_of_ours_wait_at_points_too() -> None:
    """As those of the lab say it. The twins are other lines with a number."""
    assert heard("up 0x1f\nup 31\nloader image 0x2000000\n0x10\n").points == ["up 0x1f"]


@pytest.mark.parametrize("said, found", [("loaded", ("loaded", 0)), ("ring 0x1f", ("ring", 31)), ("n 12", ("n", 12))])
def test_point(said: str, found: tuple[str, int]) -> None:
    assert point(said) == found


def test_point_whose_value_is_no_number() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        point("ring nonsense")


# --- the same in the trace ---


class Serial:
    """What the trace has of a port."""

    def __init__(self, text: str = "") -> None:
        self.lines: list[str] = []
        self.send(text)

    def send(self, text: str) -> None:
        for byte in text.encode():
            self.write(DATA, byte)

    def write(self, port: int, value: int) -> None:
        self.lines.append(memory_write("serial", port, value, 1))


def seen(tmp_path: Path, serial: Serial, said: Conversation | None = None, **facts: Any) -> Seen:
    (tmp_path / "trace.log").write_text("".join(f"{line}\n" for line in serial.lines))
    (tmp_path / "serial.log").write_text(facts.pop("console", ""))
    record = Run(tmp_path, Machine(), {}, "", {}, outcome=facts.pop("outcome", Outcome.PASS), detail=facts.pop("detail", ""))
    return Seen(record, said or Conversation())


def test_marks_are_the_points(tmp_path: Path) -> None:
    serial = Serial(f"{LOADER}+userspace\n=text\n|+none\n\n+ring 0x10\n!pass\n")
    found = seen(tmp_path, serial).marks
    assert [(mark.name, mark.value) for mark in found] == [("userspace", 0), ("ring", 16)]
    assert [mark.line for mark in found] == sorted({mark.line for mark in found})


def test_divisor_is_no_text(tmp_path: Path) -> None:
    """While the latch is open the data port is another; Linux sets the speed in between. The twin: closed, the same is text."""
    serial = Serial("+user")
    for port, value in ((LINE_CONTROL, 0x93), (DATA, 0x01), (LINE_CONTROL, 0x13)):
        serial.write(port, value)
    serial.send("space\n")
    assert [mark.name for mark in seen(tmp_path, serial).marks] == ["userspace"]
    serial = Serial("+user")
    serial.write(DATA, ord("x"))
    serial.send("space\n")
    assert [mark.name for mark in seen(tmp_path, serial).marks] == ["userxspace"]


BEGINS = [(11, "userspace"), (19, "loaded")]


@pytest.mark.parametrize(
    "entered, word, given, phases",
    [
        ({"trace 35": 35}, 0, 0, [*BEGINS, (25, "out"), (30, "window")]),  # an image that ended before it drove anything
        ({"trace 5": 5}, 31, 0, [*BEGINS, (25, "out"), (30, "window")]),  # so did the Linux that one of ours handed over to
        ({"trace 5": 5}, 9, 0, BEGINS),  # Linux powers off: no kernel follows
        ({}, 0, 0, BEGINS),
        ({"trace 5": 5}, 9, 12, [(10, "window"), BEGINS[0], (12, "in"), BEGINS[1]]),  # handed over with bus master on
        ({"trace 35": 35}, 24, 38, [*BEGINS, (25, "out"), (30, "window")]),  # said nothing of what it switched off
    ],
)
def test_timeline_begins_anew_at_each_point_and_each_hand_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entered: dict[str, int], word: int, given: int, phases: list[tuple[int, str]]
) -> None:
    found = seen(tmp_path, Serial("+userspace\n+loaded\n"))
    hop = SimpleNamespace(out=range(25, 30), window=range(30, 40), inward=range(40, 40))
    changes = [SimpleNamespace(line=given, master_set=True, msi_enabled=False)] if given else []
    found.case = cast(Case, SimpleNamespace(hops=[hop], entry_lines=entered, end=39, changes=lambda lines: changes))
    monkeypatch.setattr("witness.linux.trial.last_lines", lambda case: [word] if word else [])
    assert found.phases == phases


# --- what a judge asks for ---


def test_need_says_how_the_run_ended_instead(tmp_path: Path) -> None:
    found = seen(tmp_path, Serial(), outcome=Outcome.FAIL, detail="Linux: init ended at + false", console="first\r\nlast\r\n\r\n")
    with pytest.raises(Unshown, match=r"^Linux: init ended at \+ false; COM1: 'last'$"):
        found.need()
    found.need(Outcome.PASS, Outcome.FAIL)


def test_text_that_was_not_told(tmp_path: Path) -> None:
    found = seen(tmp_path, Serial(), heard("=disks\n|a\n=disks\n|b\n"), console="panic\n")
    assert found.reported("disks") == ["b"] and found.reported("disks", 0) == ["a"]
    for title, nth in (("disk", -1), ("disks", 2), ("disks", -3)):
        with pytest.raises(Unshown, match=rf"^Linux did not report: {title}; COM1: 'panic'$"):
            found.reported(title, nth)


# --- how a run ends ---


class Made:
    """A build, and a QEMU in Python whose behaviour is in text: com2 is its end of the wire."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.build = directory, directory / "build"
        (self.build / "linux").mkdir(parents=True)
        for name in ("handoff.efi", "first.bin", FIRST, INITRD):
            (self.build / name).write_bytes(b"")
        text = b"6.1.0-1-cloud-amd64 (debian) #1 SMP Debian 6.1.9-2 (2026-01-01)\0"
        (self.build / LINUX).write_bytes(bytes(0x20E) + (0x20).to_bytes(2, "little") + bytes(0x10) + text)

    def perform(self, behaviour: str, ends_in: str = "linux", words: str = "linux.script=look", image: str = LINUX) -> Run:
        qemu = self.directory / "qemu"
        qemu.write_text(f"#!{sys.executable}\n{QEMU}\n{behaviour}\n")
        qemu.chmod(0o755)
        trial = Boot("boot", Role.CLAIM, Machine(), image, lambda seen: [], words, ends_in=ends_in)
        how = Settings(Firmware(self.directory / "OVMF.fd", None), qemu=str(qemu), timeout=10)
        return perform(trial, self.build, self.directory / "run", how).run


QEMU = r"""
import json, os, signal, socket, sys

def end(id):
    (fd,) = [int(word.rpartition("=")[2]) for word in sys.argv if word.startswith("socket,id=" + id + ",")]
    return socket.socket(fileno=fd)

def write(name, text):
    (path,) = [word.removeprefix("file:") for word in sys.argv if word.startswith("file:") and word.endswith("/" + name)]
    open(path, "w").write(text)

serial = lambda text: write("serial.log", text)
guest = lambda text: write("guest.log", text)
com2, qmp, gdb = end("com2"), end("qmp"), end("gdb")
qmp.sendall(json.dumps({"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}}}}).encode() + b"\n")
qmp.recv(4096)
qmp.sendall(b'{"return": {}}\n')
gdb.recv(16)
open([w for w, o in zip(sys.argv[1:], sys.argv) if o == "-D"][0], "w").close()
say = lambda text: com2.sendall(text.encode())
serial("")
"""


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    monkeypatch.setattr("witness.linux.trial.configs", lambda qmp: [])
    monkeypatch.setattr("witness.linux.trial.TIMEOUT_MIN_S", 0)
    monkeypatch.setattr("witness.machine.qemu._version", lambda firmware: "made up")
    return Made(tmp_path)


PANIC = r'serial("[1.0] Kernel panic - not syncing: VFS: no root\n[1.1] Rebooting\n"); sys.exit(0)'


@pytest.mark.parametrize(
    "behaviour, ends_in, outcome, detail",
    [
        (r'say("!pass\n")', "linux", Outcome.PASS, "Linux: pass"),
        (r'say("!init ended at + false\n")', "linux", Outcome.FAIL, "Linux: init ended at + false"),
        ("", "linux", Outcome.CRASH, "the guest reset the machine without a verdict"),
        (PANIC, "linux", Outcome.CRASH, "the guest reset the machine without a verdict; Linux panicked: VFS: no root"),
        (PANIC, "guest", Outcome.CRASH, "the guest reset the machine without a verdict; Linux panicked: VFS: no root"),
        ("os.abort()", "linux", Outcome.QEMU_DIED, "QEMU itself ended with signal 6"),
        (r'say("!pass\n"); os.abort()', "linux", Outcome.QEMU_DIED, "QEMU itself ended with signal 6"),
        ("sys.exit(1)", "guest", Outcome.QEMU_DIED, "QEMU itself ended with status 1"),
        (r'guest("GUEST: pass\n"); sys.exit(33)', "guest", Outcome.PASS, "GUEST: pass"),
        (r'guest("GUEST: fail\n"); sys.exit(65)', "guest", Outcome.FAIL, "GUEST: fail"),
        (r'guest("GUEST: pass\n"); sys.exit(33)', "linux", Outcome.CRASH, "our image ended the run instead of Linux: GUEST: pass"),
        (r'say("!pass\n")', "guest", Outcome.CRASH, "Linux ended the run instead of our image: pass"),
    ],
)
def test_how_a_run_ends(made: Made, behaviour: str, ends_in: str, outcome: Outcome, detail: str) -> None:
    record = made.perform(behaviour, ends_in)
    assert (record.outcome, record.detail) == (outcome, detail)


def test_run_without_an_end_says_how_far_it_came(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("witness.machine.qemu.REGISTERS_S", 0.1)
    monkeypatch.setattr(Wire, "until", expiring(Wire.until, "+half"))
    record = made.perform(r'say("+userspace\n"); com2.recv(1); say("+half\n"); com2.recv(1); signal.pause()')
    assert record.outcome is Outcome.TIMEOUT and record.detail.endswith("; Linux's last point: half")
    monkeypatch.setattr(Wire, "until", expiring(Wire.until, "+half"))
    record = made.perform(r'serial("Kernel panic - not syncing: hung\n"); say("!odd\n"); say("+half\n"); signal.pause()')
    assert record.detail.endswith("; Linux's last point: half; Linux panicked: hung")


def expiring(until: Callable[[Wire, bytes], bytes], last: str) -> Callable[[Wire, bytes], bytes]:
    """The deadline passes after this line: no test waits for it."""

    def read(wire: Wire, end: bytes) -> bytes:
        line = until(wire, end)
        if line.decode() == last:
            wire.deadline = type(wire.deadline)(0)
        return line

    return read


def test_linux_that_panics_does_not_stand_there(made: Made) -> None:
    """The option is in front, where the trial's own options override it, and never in our image's command line."""
    def given(**facts: str) -> str:
        command = made.perform("", **facts).command
        return command[command.index("-append") + 1]

    assert given() == "panic=-1 no_timer_check linux.script=look"
    assert given(image=FIRST, words="handoff.next=linux -- quiet") == "handoff.next=linux -- panic=-1 no_timer_check quiet"
    assert given(image=FIRST, words="handoff.next=second", ends_in="guest") == "handoff.next=second"


def test_what_is_not_built_is_named(made: Made) -> None:
    (made.build / INITRD).unlink()
    with pytest.raises(Unusable, match=r"linux/initrd is missing: run make linux-parts$"):
        made.perform("")


def test_version_is_debians(made: Made) -> None:
    assert version(made.build) == "6.1.9-2"
    assert made.perform("").versions["Linux"] == "6.1.9-2"
    kernel = (made.build / LINUX).read_bytes()
    (made.build / LINUX).write_bytes(kernel.replace(b"Debian", b"Ubuntu"))
    assert version(made.build) == "6.1.0-1-cloud-amd64"


# --- what is chosen, and what came of it ---


EXPERIMENT = '''
from witness.lab.experiment import Experiment, Role, exactly
from witness.linux.trial import LINUX, Boot
from witness.machine.description import Machine

def judge(seen):
    seen.need()
    return [exactly("pages", int(seen.reported("pages")[0]), 4)]

EXPERIMENT = Experiment("Linux counts", "s", "f", "p", "{reading}", (
    Boot("four", Role.CLAIM, Machine(), LINUX, judge), Boot("again", Role.CONTROL, Machine(), LINUX, judge)))
'''


@pytest.fixture
def folder(made: Made, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = made.directory / "experiments"
    folder.mkdir()
    for id in ("k91", "k92"):
        (folder / f"{id}_counts.py").write_text(EXPERIMENT.replace("{reading}", f"what {id} means"))
    (folder / "test_k91.py").write_text("raise SystemExit('no experiment')")
    monkeypatch.setattr(linux, "FOLDER", folder)
    monkeypatch.setattr(linux, "DOCUMENT", made.directory / "linux.md")
    monkeypatch.setattr(linux, "check_devices", lambda how, machines: None)
    (made.directory / "linux.md").write_text(f"{BEGIN}\n{END}\n")
    return folder


def run(made: Made, only: str = "", pages: str = "4", repeat: int = 1, document: bool = False) -> tuple[Outcome, list[str]]:
    made.perform(rf'say(f"=pages\n|{pages}\n!pass\n")')
    (made.directory / "OVMF.fd").write_bytes(b"")
    said: list[str] = []
    environment = {"QEMU": str(made.directory / "qemu"), "OVMF_CODE": str(made.directory / "OVMF.fd")}
    order = Order(made.build, only, repeat, environment, lambda *lines: said.extend(lines), document)
    return linux.linux(order), said


def test_choice(folder: Path) -> None:
    known = experiments(folder)
    assert list(choose(known, [])) == ["k91", "k92"] and list(choose(known, ["k92"])) == ["k92"]
    with pytest.raises(Unusable, match=r"^ONLY=k99,k91: no experiment k99, there are k91 k92$"):
        choose(known, ["k99", "k91"])


def test_one_experiment_as_known(made: Made, folder: Path) -> None:
    outcome, said = run(made, "k91")
    assert outcome is Outcome.PASS
    assert said[0] == "  1 of 1  k91  holds         Linux counts"
    assert said[-1].startswith("RESULT: PASS (1 holds; ") and said[-1].endswith(", QEMU 7.2.22, OVMF made up, Linux 6.1.9-2)")
    assert (made.build / "linux" / "runs" / "index.html").is_file() and (made.build / "linux" / "runs" / "results.json").is_file()


def test_results_are_as_documented(made: Made, folder: Path) -> None:
    run(made, "k91")
    results = json.loads((made.build / "linux" / "runs" / "results.json").read_text())
    assert results["schema"] == SCHEMA and disagreements(results, EXPERIMENTS, under="experiments") == []
    experiment = results["experiments"][0]
    del experiment["known"]
    experiment["cases"][1]["agrees"] = "yes"
    assert disagreements(results, EXPERIMENTS, under="experiments") == [
        "experiments[].cases[].agrees is a string", "experiments[].known is not there",
    ]  # fmt: skip


def test_one_experiment_otherwise(made: Made, folder: Path) -> None:
    outcome, said = run(made, "k91", pages="5")
    assert outcome is Outcome.FAIL and "not as known: k91: not shown, known is holds" in said
    assert said[-1].startswith("RESULT: FAIL (1 not shown; ")
    outcome, said = run(made, "k91", pages="many")
    assert outcome is Outcome.FAIL and said[-1].startswith("RESULT: FAIL (1 could not run; ") and "Linux 6.1.9-2)" in said[-1]


def test_document_is_as_measured_or_not_as_known(made: Made, folder: Path) -> None:
    stale = "not as known: linux.md and the experiments' files differ: make docs-linux"
    outcome, said = run(made)
    assert outcome is Outcome.FAIL and stale in said
    outcome, said = run(made, document=True)
    assert outcome is Outcome.PASS and stale not in said
    outcome, said = run(made)
    assert outcome is Outcome.PASS
    assert "| **k92** Linux counts | holds | what k92 means |" in (made.directory / "linux.md").read_text()
    with pytest.raises(Unusable, match=r"^ONLY=k91: the document needs all results$"):
        run(made, "k91", document=True)


def test_often(made: Made, folder: Path) -> None:
    outcome, said = run(made, "k91", repeat=3)
    assert outcome is Outcome.PASS and said[-1].startswith("RESULT: PASS (3 times the same, 1 holds; ")


def test_round_that_differs_is_named(made: Made, folder: Path) -> None:
    """The second finds the results of the first."""
    results = made.build / "linux" / "runs" / "results.json"
    outcome, said = run(made, "k91", pages=f"{{5 if os.path.exists({str(results)!r}) else 4}}", repeat=3)
    assert outcome is Outcome.FAIL
    assert said[-1] == "RESULT: FAIL (run 2 of 3 differs: k91 again: pages: 4 and 5)"
