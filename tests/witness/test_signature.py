# SPDX-License-Identifier: BSD-2-Clause
"""Claim: what a policy may do to a function is what its history says, bit by bit and in this order; to one on which all is as it is
to be, nothing.

It could be false of a policy that the stories of this folder do not tell. Provoked by a function that has all that a policy knows
of, and by a bridge.
"""

from __future__ import annotations

import struct

import pytest
from tests.witness.scene import BRIDGE, CONTROL_OFF, EDU, EXP, config

from witness.judge.policies import SHUTDOWN, STARTUP, Policy, Subject
from witness.pci.registers import Register
from witness.pci.topology import Function

COMMAND, MSI, MSIX = Register.COMMAND, Register.MSI, Register.MSIX
ON = {COMMAND: 0x007, MSI: 0x181, MSIX: 0x8001}
OFF = {COMMAND: 0x403, MSI: 0x180, MSIX: 0x4001}

MASTER_OFF, INTX_OFF, INTX_ON = "command clear 0x0004", "command set 0x0400", "command clear 0x0400"
MSI_OFF, MSIX_OFF = "msi control clear 0x0001", "msix control clear 0x8000"
READS = ["read at 0x04", f"read at 0x{EXP + 0x0A:02x}"]  # command and status, Device Status


def endpoint() -> Function:
    """With MSI of one vector and its mask, MSI-X, and PCI Express."""
    space = bytearray(config(EDU, 0x7, 0x180))
    space[0x41], space[EXP:EXP + 2], space[0x80] = EXP, b"\x10\x80", 0x11
    struct.pack_into("<H", space, 0x82, CONTROL_OFF[True])
    return Function(EDU, bytes(space))


def steps(policy: Policy, function: Function, registers: dict[Register, int]) -> list[str]:
    return list(map(str, policy.signature(Subject(function, registers, resets=True))))


@pytest.mark.parametrize(
    "policy, registers, expected",
    [
        pytest.param(policies[name], registers, expected, id=f"{name}-{number}")
        for number, (policies, name, registers, expected) in enumerate([
            (SHUTDOWN, "keep-msi", ON, [MASTER_OFF]),
            (SHUTDOWN, "disable-msi", ON | {COMMAND: 0x407}, [MSI_OFF, MSIX_OFF, INTX_ON, MASTER_OFF]),
            (SHUTDOWN, "disable-msi", ON, [MSI_OFF, MSIX_OFF, MASTER_OFF]),
            (SHUTDOWN, "disable-msi", OFF | {COMMAND: 0x407}, [MASTER_OFF]),
            (SHUTDOWN, "disable-msi-only", ON | {COMMAND: 0x407}, [MSI_OFF, MSIX_OFF, INTX_ON]),
            (SHUTDOWN, "none", ON, []),
            (SHUTDOWN, "reset", ON, ["reset", MASTER_OFF]),
            (SHUTDOWN, "intx-off", ON, [INTX_OFF, MSI_OFF, MSIX_OFF, MASTER_OFF]),
            (SHUTDOWN, "bridges-only", ON, []),
            (SHUTDOWN, "drain", ON, [MASTER_OFF, *READS]),
            (STARTUP, "disable-msi", ON, [MSI_OFF, MSIX_OFF]),
            (STARTUP, "none", ON, []),
            (STARTUP, "hardened", ON, [
                INTX_OFF, MASTER_OFF, MSI_OFF, "32-bit write of 0x1 at 0x50", "msix control clear 0x8000 set 0x4000",
            ]),
        ])
    ],
)  # fmt: skip
def test_what_a_policy_does_to_a_function(policy: Policy, registers: dict[Register, int], expected: list[str]) -> None:
    assert steps(policy, endpoint(), registers) == expected


@pytest.mark.parametrize("name", SHUTDOWN)
def test_a_bridge_has_its_bus_master(name: str) -> None:
    """Its firmware left INTx enabled. What has no capability is not told to switch it off."""
    bridge = Function(BRIDGE, config(BRIDGE, 0x7, 0))
    found = [step for step in steps(SHUTDOWN[name], bridge, {COMMAND: 0x407}) if step not in ("reset", READS[0])]
    assert found == {"none": [], "disable-msi-only": []}.get(name, [MASTER_OFF])


@pytest.mark.parametrize("policy", [*SHUTDOWN.values(), *STARTUP.values()])
def test_what_is_as_it_is_to_be_is_left_alone(policy: Policy) -> None:
    rest = [step for step in steps(policy, endpoint(), OFF) if step not in ("reset", "32-bit write of 0x1 at 0x50")]
    assert not rest
