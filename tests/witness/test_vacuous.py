# SPDX-License-Identifier: BSD-2-Clause
"""Claim: no rule passes for want of evidence. Each passes on a whole run; on the same run without what it reads it does not.

It could be false of every rule that looks for something that must not be there: an empty trace has no stray message either.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Callable

import pytest
from tests.witness.scene import VIRTIO_OTHERS, Scene, handoff

from witness.judge.engine import Result
from witness.judge.rules import RULES, judge
from witness.machine.record import Outcome, Run

Take = Callable[[Run], Run]


def lines(pattern: str) -> Take:
    """The trace without the lines that tell of something; how many there are, and their numbers, stay."""

    def take(run: Run) -> Run:
        trace = run.directory / "trace.log"
        text = trace.read_text()
        kept = re.sub(rf"^(?:{pattern}).*$", "-", text, flags=re.MULTILINE)
        assert kept != text
        trace.write_text(kept)
        return replace(run)

    return take


def without_log(run: Run) -> Run:
    (run.directory / "guest.log").write_text("")
    return lines("pci_cfg_write")(run)


def without_registers(run: Run) -> Run:
    return replace(run, entries=[replace(entry, registers={"RSI": entry.registers["RSI"]}) for entry in run.entries])


def without_configs(run: Run) -> Run:
    first, *others = run.entries
    return replace(run, entries=[first, *(replace(entry, configs={}) for entry in others)])


def without_verdict(run: Run) -> Run:
    return replace(run, outcome=Outcome.CRASH, detail="the guest said nothing")


def without_disk(run: Run) -> Run:
    for disk in run.machine.disks:
        disk.file(run.directory).unlink()
    return run


def without_frames(run: Run) -> Run:
    for nic in run.machine.nics:
        nic.record(run.directory).unlink()
    return run


def without_ram(run: Run) -> Run:
    """RAM at the end is that of the jump."""
    assert run.entry("second")
    (run.directory / "ram").write_bytes((run.directory / "second.ram").read_bytes())
    return run


def without_ram_at_the_jump(run: Run) -> Run:
    (run.directory / "second.ram").unlink()
    return run


CONFIG, DEVICE = "pci_cfg_write", r"memory_region_ops_write"
WITHOUT: dict[str, Take] = {
    "guest": without_verdict,
    "hops": lines(CONFIG),
    "out-signature": lines(CONFIG),
    "out-order": lines(CONFIG),
    "out-device": lines(DEVICE),
    "load": lines(DEVICE),
    "window-msi": lines(rf"{DEVICE} .*'apic-msi'"),
    "window-intx": lines("ioapic_set_irq"),
    "window-device": lines(DEVICE),
    "handed": without_configs,
    "entry-state": without_registers,
    "entry-quiet": without_registers,
    "reserved": lines(DEVICE),
    "entry-image": without_ram_at_the_jump,
    "startup": lines(CONFIG),
    "reset": lines(DEVICE),
    "upstream": lines(CONFIG),
    "driven-first": lines(DEVICE),
    "driven-next": lines(DEVICE),
    "frames": without_frames,
    "ram": without_ram,
    "disk": without_disk,
    "disk-kept": without_disk,
    "agreement": without_log,
}


def results(run: Run) -> dict[str, Result]:
    return {verdict.id: verdict.result for verdict in judge(run)}


def test_every_rule_has_its_control() -> None:
    assert list(WITHOUT) == [rule.id for rule in RULES]


@pytest.mark.parametrize("id", WITHOUT)
def test_without_its_evidence_a_rule_does_not_pass(id: str, tmp_path: Path) -> None:
    run = handoff(Scene(tmp_path), others=VIRTIO_OTHERS).run()
    assert results(run)[id] is Result.PASS
    assert results(WITHOUT[id](run)).get(id) is not Result.PASS
