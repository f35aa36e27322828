# SPDX-License-Identifier: BSD-2-Clause
"""Claim: no rule passes without evidence. Each passes on a whole run; on the same run without what it reads it does not, and
says so in the table.

It could be false of every rule that looks for something that must not be there: an empty trace has no stray message either. And
where a part of the evidence is taken for all of it: other devices' writes, the ISA's lines, messages of unknown senders.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Callable

import pytest
from tests.witness.scene import EDU, PARAMS, VIRTIO_OTHERS, Scene, handoff

from witness.boot.protocol import E820_ENTRIES
from witness.judge.engine import Result
from witness.judge.rules import RULES, judge
from witness.machine.record import Outcome, Run, ram_file

Take = Callable[[Run], Run]


def lines(pattern: str) -> Take:
    """The trace without the lines of some events; the number of lines stays."""

    def take(run: Run) -> Run:
        trace = run.directory / "trace.log"
        text = trace.read_text()
        kept = re.sub(rf"^(?:{pattern}).*$", "-", text, flags=re.MULTILINE)
        assert kept != text
        trace.write_text(kept)
        return replace(run)

    return take


def log(run: Run) -> Run:
    (run.directory / "guest.log").write_text("")
    return lines(CONFIG)(run)


def registers(run: Run) -> Run:
    return replace(run, entries=[replace(entry, registers={"RSI": entry.registers["RSI"]}) for entry in run.entries])


def functions(run: Run) -> Run:
    """Configuration space was never read from outside."""
    return replace(run, entries=[replace(entry, configs={}) for entry in run.entries])


def configs(run: Run) -> Run:
    first, *others = run.entries
    return replace(run, entries=[first, *(replace(entry, configs={}) for entry in others)])


def config_of_one(run: Run) -> Run:
    first, second = run.entries
    return replace(run, entries=[first, replace(second, configs={bdf: c for bdf, c in second.configs.items() if bdf != EDU})])


def verdict(run: Run) -> Run:
    return replace(run, outcome=Outcome.CRASH, detail="the guest said nothing")


def disks(run: Run) -> Run:
    for disk in run.machine.disks:
        disk.file(run.directory).unlink()
    return run


def frames(run: Run) -> Run:
    for nic in run.machine.nics:
        nic.record(run.directory).unlink()
    return run


def ram_at_the_end(run: Run) -> Run:
    """It is that of the jump."""
    (run.directory / "ram").write_bytes(ram_file(run.directory, "second").read_bytes())
    return run


def ram_at_the_jump(run: Run) -> Run:
    ram_file(run.directory, "second").unlink()
    return run


def reserved_memory(run: Run) -> Run:
    """The next image is given none."""
    with ram_file(run.directory, "second").open("r+b") as ram:
        ram.seek(PARAMS + E820_ENTRIES)
        ram.write(b"\0")
    return run


CONFIG, DEVICE, LEVEL = "pci_cfg_write", "memory_region_ops_write", "ioapic_set_irq vector:"
OF_EDU = lines(rf"{DEVICE} .* addr 0xc01")
READS, TABLES = lines("pci_cfg_read"), lines(rf"{DEVICE} .*'msix-table'")
# Message Control with its enable bit.
ENABLED = lines(rf"{CONFIG} .* @0x42 <- 0x8(?:1|001)\b")
# Who owns an address is not known.
MAPS = lines("pci_update_mappings_add")
STOPS = lines("runstate_set")

WITHOUT: dict[str, list[Take]] = {
    "guest": [verdict],
    "hops": [lines(CONFIG)],
    "out-signature": [lines(CONFIG), READS],
    "out-order": [lines(CONFIG), lines(rf"{CONFIG} pcie-root-port"), functions],
    "out-device": [lines(DEVICE), MAPS, OF_EDU, functions],
    "load": [lines(DEVICE), MAPS, functions],
    "window-msi": [lines(rf"{DEVICE} .*'apic-msi'"), TABLES, ENABLED, functions],
    "window-intx": [lines(LEVEL), lines(rf"{LEVEL} (?:1[6-9]|2\d)")],
    "window-device": [lines(DEVICE), MAPS, OF_EDU, functions],
    "handed": [configs, config_of_one, functions],
    "entry-state": [registers],
    "entry-quiet": [registers],
    "reserved": [lines(DEVICE), MAPS, OF_EDU, functions, reserved_memory],
    "entry-image": [ram_at_the_jump],
    "startup": [lines(CONFIG), READS],
    "reset": [lines(DEVICE), MAPS, functions],
    "upstream": [lines(CONFIG), functions],
    "driven-first": [lines(DEVICE), MAPS, STOPS, functions],
    "driven-next": [lines(DEVICE), MAPS, functions],
    "frames": [frames, MAPS, STOPS],
    "ram": [ram_at_the_end, MAPS, OF_EDU, functions, reserved_memory],
    "disk": [disks],
    "disk-kept": [disks],
    "agreement": [log, STOPS],
}
CASES = [pytest.param(id, take, id=f"{id}-{number}") for id, takes in WITHOUT.items() for number, take in enumerate(takes)]


def results(run: Run) -> dict[str, Result]:
    return {verdict.id: verdict.result for verdict in judge(run)}


def test_every_rule_has_its_control() -> None:
    assert list(WITHOUT) == [rule.id for rule in RULES]


@pytest.mark.parametrize("id, take", CASES)
def test_without_its_evidence_a_rule_does_not_pass(id: str, take: Take, tmp_path: Path) -> None:
    run = handoff(Scene(tmp_path), others=VIRTIO_OTHERS).run()
    whole = results(run)
    assert whole[id] is Result.PASS
    less = results(take(run))
    assert less[id] in (Result.UNJUDGED, Result.FAIL)
    assert less.keys() == whole.keys()  # nor does any rule drop out of the table
