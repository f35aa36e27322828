# SPDX-License-Identifier: BSD-2-Clause
"""Claim: of a long chain, judged as it comes, the first hop that is not by the book is named, and a chain that is has none.

It could be false if what was forgotten is missed later, if an event counts for the hop before or after, if only the
first hop is looked at, or if a chain that breaks off or hangs passes. Provoked by a chain of five hops whose trace comes
through QEMU's pipe, and one small change in the third.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Callable

import pytest
from tests.witness.scene import (
    BELOW, BRIDGE, COMMAND, CONTROL, EDU, GO, NEW_DESC, NEW_SOURCE, NEW_TARGET, ROUTER, VIRTIO,
    Change, Scene, Step, after, all_of, before, cases, config_write, drive, edu, edu_dma, enumeration, gsi, handoff, instead, later,
    left_out, memory_write, msi, relogged, unlogged, virtio, without,
)  # fmt: skip

from witness import cli
from witness.boot.protocol import E820_ENTRIES
from witness.evidence.case import Case
from witness.judge import endurance, pattern
from witness.judge.engine import Result
from witness.judge.rules import RULES
from witness.lab import soak
from witness.machine.description import Machine
from witness.machine.firmware import Firmware
from witness.machine.qemu import Settings, Unusable
from witness.machine.record import Entry, Outcome, Run

HOPS = 5
ENTERED = memory_write("serial", 0x3FF, 0x5A, 1)
MEMORY = "second machine: QEMU, 246 MiB of memory free, time by ACPI PM timer"


def request(number: int, done: bool = False) -> str:
    name, rest = ("req_complete", "status 0") if done else ("handle_read", "sector 0 nsectors 2")
    return f"virtio_blk_{name} vdev 0x1 req 0x{number:x} {rest}"


def begins(scene: Scene, hop: int) -> Step:
    told = [f"second image second@0x{hop % 2 + 2}0000", MEMORY]
    return Step(f"{hop}-image", [ENTERED, request(hop, done=True), *enumeration(scene.functions)], told)


def hand_over(scene: Scene, hop: int) -> None:
    """From second to second."""
    scene.steps.append(Step(f"{hop}-take", [request(hop)], ["second next image second: 1 KiB for 0x20000, SHA-256 f4..."]))
    for bdf, target in ((EDU, NEW_TARGET), (BELOW, NEW_TARGET + 0x100)):
        scene.add(f"{hop}-arm-{bdf}", *edu_dma(bdf, target))
    for bdf in (BELOW, BRIDGE, EDU, VIRTIO):
        scene.register(f"{hop}-out-{bdf}", bdf, COMMAND, scene.values[bdf, COMMAND] & ~4)
    scene.steps.append(Step(f"{hop}-jump", [], [f"second jump to second@0x{(hop + 1) % 2 + 2}0000"]))
    scene.steps.append(begins(scene, hop))
    for bdf, off in ((VIRTIO, 1), (EDU, 0x80), (BELOW, 0x80)):
        scene.register(f"{hop}-startup-{bdf}", bdf, CONTROL, off)
    scene.add(f"{hop}-reset", virtio(20, 0, 1))
    for bdf in (VIRTIO, EDU, BRIDGE, BELOW):
        scene.register(f"{hop}-master-{bdf}", bdf, COMMAND, scene.values[bdf, COMMAND] | 4)
    drive(scene, str(hop), NEW_DESC, NEW_SOURCE, NEW_TARGET)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    (tmp_path / "run").mkdir()
    scene = handoff(Scene(tmp_path / "run"))
    first = scene.steps.index(scene.step("enter-first"))
    scene.steps.insert(first, Step("", [], ["loader image first@0x10000", "first  image first@0x10000"]))
    scene.before_step("arm-edu", request(1))
    scene.steps.insert(scene.steps.index(scene.step("jump")) + 1, begins(scene, 1))
    scene.replace("jump")  # no stop there
    scene.drop("second-enumerates")
    for hop in range(2, HOPS + 1):
        hand_over(scene, hop)
    # What second finds in RAM: its boot_params, with a setup_data of ours.
    scene.before[0x1250:0x1258] = (0x2000).to_bytes(8, "little")
    return scene


Ended = tuple[Outcome, list[str]]
Endure = Callable[..., Ended]
Entered = Callable[[None, Entry], None]


@pytest.fixture
def endure(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Endure:
    """The scene as if QEMU ran it: the trace through the pipe, the log as it grows, and a process that ends or hangs."""

    def play(settings: Settings, enter: Callable[[], None]) -> None:
        pipe = os.dup(int(value(settings, "-D").rpartition("/")[2]))
        with (scene.directory / "guest.log").open("w") as log, os.fdopen(pipe, "w") as trace:
            for step in scene.steps:
                log.writelines(f"{line}\n" for line in step.logged)
                log.flush()
                for line in step.lines:
                    if line == GO:
                        enter()
                    trace.write(line + "\n")
                trace.flush()
            log.write("GUEST: pass\n")

    def run(outcome: Outcome = Outcome.PASS, hops: int = HOPS, timeout: float = 20, hang: bool = False) -> Ended:
        statuses = []

        def run_qemu(_m: object, _b: object, _d: object, words: str, settings: Settings, enter: Entered, *_: object) -> Run:
            record = scene.run()
            record.cmdline, record.outcome, record.detail = words, outcome, f"ended as {outcome.name}"
            with subprocess.Popen(("sleep", "60") if hang else ("true",)) as process:
                Path(value(settings, "-pidfile")).write_text(str(process.pid))
                play(settings, lambda: enter(None, record.entries[0]))
            statuses.append(process.returncode)
            return record

        monkeypatch.setattr(soak, "run_qemu", run_qemu)
        settings = Settings(Firmware(Path(), None), timeout=timeout)
        ended = soak.soak(scene.directory.parent, scene.directory, hops, "", settings, lambda _: None, scene.run().machine)
        assert statuses == [-signal.SIGKILL] or not hang, "a QEMU that goes on is ended"
        return ended

    return run


def value(settings: Settings, option: str) -> str:
    return settings.flags[settings.flags.index(option) + 1]


OWN = {
    "each message comes from a function that may send it": "messages",
    "driving: config writes are the same at every hop": "config",
    "the guest's log is the same at every hop, nothing failed": "log",
    "the memory map does not grow": "memory",
    "a hop ends": "storm",
}


def objections(lines: list[str]) -> set[str]:
    """The rules that object, by their claims in the table, and those that do not know."""
    ids = {rule.claim: rule.id for rule in RULES} | OWN
    failed = {next(id for claim, id in ids.items() if line[7:].startswith(claim)) for line in lines if line.startswith("fail ")}
    unknown = (line.partition(", because ")[0] for line in lines if line.startswith("cannot be judged: "))
    return failed.union(*(text.removeprefix("cannot be judged: ").split(", ") for text in unknown))


# --- a chain that is by the book ---


def test_every_hop_is_judged(endure: Endure) -> None:
    outcome, lines = endure()
    assert outcome is Outcome.PASS, lines
    assert lines[0].startswith(f"{HOPS} hops, ")
    assert f"in flight when bus master was cleared: {HOPS} virtio-blk requests, {2 * HOPS} transfers" in lines
    assert lines[-1].startswith(f"RESULT: PASS ({HOPS} hops, ")


def test_a_request_counts_at_one_hop(scene: Scene, endure: Endure) -> None:
    """It may return while bus masters are cleared."""
    scene.after_step(f"2-out-{EDU}", request(2, done=True))
    _, lines = endure()
    assert f"in flight when bus master was cleared: {HOPS} virtio-blk requests, {2 * HOPS} transfers" in lines


# --- one that is not ---


def parent_before_child(scene: Scene) -> None:
    child, parent = (scene.step(f"3-out-{bdf}") for bdf in (BELOW, BRIDGE))
    child.lines, parent.lines = parent.lines, child.lines


ROUTED = config_write(ROUTER, 0x60, 0x0B, 1)
EDU_LINE = config_write(EDU, 0x3C, 0x0B, 1)
NO_ANSWER = [edu(EDU, 0x60, 1), edu(EDU, 0x64, 1)]

CHANGES: dict[str, dict[str, Change]] = {
    "window-msi messages": {
        "in the window": after("3-image", msi(0x41)),
        "after its own bus master was cleared": after(f"3-out-{BELOW}", msi(0x42)),
    },
    "messages": {
        "of no function": after(f"3-{EDU}-msi", msi(0x77)),
        "while messages are off": before(f"3-{BELOW}-on", msi(0x42)),
    },
    "driven-next": {
        "lost message": instead(f"3-{EDU}-msi", *NO_ANSWER),
        "lost end of transfer": instead(f"3-{BELOW}-back", *edu_dma(BELOW, NEW_TARGET + 0x100)),
        "lost line": instead(f"3-{EDU}-intx", *NO_ANSWER),
    },
    "window-intx": {"raised line": after("3-image", *gsi(21, 1), *gsi(21, 0))},
    "load": {
        "no transfer": without(f"3-arm-{EDU}", f"3-arm-{BELOW}"),
        "transfers that have ended": after(f"3-arm-{BELOW}", msi(0x41), msi(0x42)),
        "no request": instead("3-take"),
        "request that has returned": after("3-take", request(3, done=True)),
        "request that is lost": left_out("2-image", "req_complete"),
    },
    "config": {
        "config write of no driver": after(f"3-{EDU}-msi", *ROUTED),
        "config write that is new": after(f"3-{EDU}-msi", *EDU_LINE),
        "config write that is left out": without(f"3-{EDU}-message-48"),
    },
    "startup": {"config write in the window": after("3-image", *EDU_LINE)},
    "window-device": {"device in the window": after("3-image", edu(EDU, 0x60, 1))},
    "out-signature agreement": {"a bit too many": instead(f"3-out-{EDU}", *config_write(EDU, COMMAND, 0x0))},
    "agreement log": {"change not logged": unlogged(f"3-{EDU}-on")},
    "log": {
        "less memory": relogged("3-image", "246", "245"),
        "another text": after("3-reset", logged="second 0000:00:05.0 edu: something new"),
        "fewer words": unlogged("3-jump"),
        "another next image": relogged("4-take", "next image second", "next image third"),
        "failure": after("3-reset", logged="second 0000:00:05.0 edu: failed, timeout"),
    },
    "out-order agreement": {"parent before child": parent_before_child},
    "upstream log": {"bridge after what is below it": later(f"3-master-{BRIDGE}", f"3-master-{BELOW}")},
    "reset": {"reset too late": later("3-reset", f"3-master-{VIRTIO}")},
}


@pytest.mark.parametrize("change, rules", cases(CHANGES))
def test_the_hop_is_named(change: Change, rules: set[str], scene: Scene, endure: Endure) -> None:
    change(scene)
    outcome, lines = endure(hang=True)
    assert outcome is Outcome.FAIL
    assert "hop 3:" in lines, lines
    assert objections(lines) == rules
    assert lines[-1].startswith("RESULT: FAIL (3 hops, ")


@pytest.mark.parametrize(
    "text, rules",
    [
        ("'apic-msi'", {"window-msi", "messages", "driven-next"}),
        ("'msix-table'", {"window-msi", "messages", "driven-next"}),
        ("pci_cfg_read", {"out-signature", "startup"}),
        ("pci_update_mappings_add", {"out-device", "window-device", "reset", "load", "driven-next", "messages", "window-msi"}),
    ],
)
def test_a_hop_without_its_evidence_does_not_pass(text: str, rules: set[str], scene: Scene, endure: Endure) -> None:
    for step in scene.steps:
        step.lines = ["-" if text in line else line for line in step.lines]
    outcome, lines = endure(hang=True)
    assert outcome is Outcome.FAIL
    assert "hop 1:" in lines, lines
    assert objections(lines) == rules


def edu_is_not_driven_at_hop_3(s: Scene) -> None:
    """Nor is a transfer given to it: what hop 2 left under way is no transfer of this one's."""
    s.drop(*(step.label for step in s.steps if re.match(rf"3-(master-)?{EDU}|4-(arm|out)-{EDU}", step.label)))


@pytest.mark.parametrize(
    "change, result",
    [
        (without(), Result.PASS),
        (edu_is_not_driven_at_hop_3, Result.PASS),
        (instead("first-enumerates"), Result.UNJUDGED),
        (all_of(instead("first-enumerates"), instead(f"4-out-{EDU}", *config_write(EDU, COMMAND, 0x0))), Result.FAIL),
    ],
)
def test_of_a_kept_chain_a_hop_without_evidence_hides_no_other(change: Change, result: Result, scene: Scene) -> None:
    change(scene)
    scene.cmdline = f"handoff.next=second*{HOPS}"
    verdict = next(rule for rule in RULES if rule.id == "out-signature").verdict(Case(scene.run()))
    assert verdict and verdict.result is result
    assert verdict.evidence.startswith("hop 4: ") is (result is Result.FAIL)


def test_what_is_kept_is_that_hop_and_the_one_before(scene: Scene, endure: Endure) -> None:
    """From the second's window on, up to where the third had ended: where the fourth had taken a bus master."""
    scene.after_step("3-image", msi(0x41))
    endure()
    lines = [line for step in scene.steps for line in step.lines]
    first, last = line_of(scene, f"2-out-{VIRTIO}") + 3, line_of(scene, f"4-master-{VIRTIO}") + 2
    kept = (scene.directory / "hops.trace").read_text().splitlines()
    assert kept == [f"{number} {lines[number - 1]}" for number in range(first, last + 1)]


def line_of(scene: Scene, label: str) -> int:
    """How many lines come before a step."""
    return sum(len(step.lines) for step in scene.steps[: scene.steps.index(scene.step(label))])


def test_the_first_hop_is_no_model_for_a_function_without_a_driver(scene: Scene, endure: Endure) -> None:
    scene.after_step(f"again-{EDU}-msi", *ROUTED)
    _, lines = endure()
    assert "hop 1:" in lines
    assert objections(lines) == {"config"}


# --- one that ends otherwise ---


def test_a_chain_that_breaks_off(endure: Endure) -> None:
    outcome, lines = endure(hops=HOPS + 1)
    assert (outcome, objections(lines)) == (Outcome.FAIL, {"hops"}), lines


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.ERROR, Outcome.CRASH, Outcome.TIMEOUT, Outcome.QEMU_DIED])
def test_how_it_ended_is_the_result(outcome: Outcome, endure: Endure) -> None:
    found, lines = endure(outcome)
    assert found is outcome
    assert any(f"ended as {outcome.name}" in line for line in lines)
    assert lines[-1].startswith(f"RESULT: {outcome.name.replace('_', ' ')} (")


def test_a_machine_that_hangs_is_ended(endure: Endure) -> None:
    outcome, lines = endure(timeout=0.5, hang=True)
    assert outcome is Outcome.TIMEOUT
    assert any(line.startswith("ended: no hop within 0.5 s; ") for line in lines)


@pytest.mark.parametrize("label", ["3-image", f"3-master-{BELOW}"])
def test_a_storm_is_ended(label: str, scene: Scene, endure: Endure, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the window, or under way."""
    monkeypatch.setattr(endurance, "EVENTS_MAX", 500)
    scene.after_step(label, *500 * gsi(21, 1))
    outcome, lines = endure(hang=True)
    assert outcome is Outcome.FAIL
    assert "hop 3:" in lines, lines
    assert {"storm", "window-intx" if label == "3-image" else "driven-next"} <= objections(lines), lines


def test_a_map_that_grows(scene: Scene, endure: Endure) -> None:
    """Another image's boot_params, with an entry more."""
    page = bytes(scene.before[0x1000:0x2000])
    scene.before[0x3000:0x4000] = page
    scene.before[0x3000 + E820_ENTRIES] += 1
    outcome, lines = endure()
    assert (outcome, objections(lines)) == (Outcome.FAIL, {"memory"}), lines


@pytest.mark.parametrize("at, rule", [(pattern.SIZE - 1, "disk"), (pattern.SIZE, "disk-kept")])
def test_the_disk_is_judged_at_the_end(at: int, rule: str, scene: Scene, endure: Endure) -> None:
    scene.disk = scene.disk[:at] + b"\x5c" + scene.disk[at + 1:]
    outcome, lines = endure()
    assert (outcome, objections(lines)) == (Outcome.FAIL, {rule}), lines


def test_without_a_hop_the_reason_comes_first(scene: Scene, endure: Endure) -> None:
    del scene.steps[scene.steps.index(scene.step("arm-edu")):]
    outcome, lines = endure(Outcome.ERROR)
    assert outcome is Outcome.ERROR
    assert lines[0].startswith("ended: ended as ERROR; ")


# --- what it is asked for ---


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "", "1000000", "\u0661"])
def test_a_bad_number_is_one_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["soak", f"--hops={text}"])
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (2, "", 1)
    assert f"{text!r} is not a number of hops, 1 to 999999" in err


@pytest.mark.parametrize("words", ["handoff.next=second", "handoff.shutdown=none"])
def test_words_that_are_its_own(words: str, tmp_path: Path) -> None:
    with pytest.raises(Unusable):
        soak.soak(tmp_path, tmp_path, 1, words, Settings(Firmware(Path(), None)), print)


@pytest.mark.parametrize(
    "words, chain",
    [
        ("handoff.next=second*3,linux,second*1", ["second", "second", "second", "linux", "second"]),
        ("handoff.next=", []),
        ("", ["second"]),
        ("handoff.next=second*0,a*1000000,*2,b*x", ["second*0", "a*1000000", "*2", "b*x"]),  # the guest refuses each
    ],
)
def test_an_item_may_say_how_often(words: str, chain: list[str], tmp_path: Path) -> None:
    assert Run(tmp_path, Machine(), {}, words, {}).chain == chain
