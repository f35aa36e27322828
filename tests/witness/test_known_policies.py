# SPDX-License-Identifier: BSD-2-Clause
"""Claim: the witness judges just the policies that the images have, and knows by itself which of them mark a handoff.

It could be false when a policy is added or renamed on one side alone, or when what a signature leaves of bus master is not what the
clock of a handoff goes by, or the images tell their successor.
"""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from witness.evidence.policies import KEEPING_MASTER
from witness.judge.policies import SHUTDOWN, STARTUP, Policy, Subject, after
from witness.pci.registers import PCI_COMMAND_MASTER, PCI_HEADER_TYPE, PCI_HEADER_TYPE_BRIDGE, Register
from witness.pci.topology import Bdf, Function

ROOT = Path(__file__).resolve().parents[2]


def listed() -> list[tuple[str, str]]:
    ended = subprocess.run(["tools/lint/policies"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [(room, name) for room, name in (line.split() for line in ended.stdout.splitlines())]


def test_both_sides_have_the_same_policies() -> None:
    assert sorted(listed()) == sorted([("shutdown", name) for name in SHUTDOWN] + [("startup", name) for name in STARTUP])


def leaves_master(policy: Policy, header_type: int) -> bool:
    config = bytearray(256)
    struct.pack_into("<B", config, PCI_HEADER_TYPE, header_type)
    registers = {Register.COMMAND: PCI_COMMAND_MASTER}
    steps = policy.signature(Subject(Function(Bdf(0, 1, 0), bytes(config)), registers, resets=True))
    return bool(after(registers, steps)[Register.COMMAND] & PCI_COMMAND_MASTER)


@pytest.mark.parametrize("name", SHUTDOWN)
def test_who_keeps_bus_master_is_what_the_signature_leaves(name: str) -> None:
    keeps = any(leaves_master(SHUTDOWN[name], header_type) for header_type in (0, PCI_HEADER_TYPE_BRIDGE))
    assert keeps == (name in KEEPING_MASTER)
    source = ROOT / "shutdown" / f"{name.replace('-', '_')}.c"
    assert keeps == (".clears_master = true" not in source.read_text(encoding="utf-8"))
