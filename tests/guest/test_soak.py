# SPDX-License-Identifier: BSD-2-Clause
"""Claim: hops can follow each other without end: what the tenth finds and does is what the first found and did.

False if memory is lost from hop to hop, if a vector, a message or a request remains, or if a chain works only as long as the
machine is stopped at its jumps. Provoked by ten hops in one boot that is never stopped. The twins are a policy that leaves INTx
asserted, and a machine on which no transfer is in flight: both must end at the first hop.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Callable

import pytest
from tests.guest.conftest import BUILD, settings

from witness.lab.soak import soak
from witness.machine.description import EVERYTHING, REFERENCE, Machine
from witness.machine.record import Outcome


Endure = Callable[..., tuple[Outcome, str]]


@pytest.fixture
def endure(request: pytest.FixtureRequest) -> Endure:
    def run(cmdline: str = "", machine: Machine = EVERYTHING) -> tuple[Outcome, str]:
        directory = BUILD / "test" / request.node.name
        outcome, lines = soak(BUILD, directory, 10, cmdline, settings(), print, machine)
        return outcome, "\n".join(lines)

    return run


def test_ten_hops(endure: Endure) -> None:
    outcome, text = endure()
    assert outcome is Outcome.PASS, text
    assert text.startswith("10 hops, ")


def test_twin_a_policy_that_leaves_intx_asserted(endure: Endure) -> None:
    outcome, text = endure("handoff.shutdown=disable-msi", REFERENCE)
    assert outcome is Outcome.FAIL, text
    assert "\nhop 1:\n" in text
    assert "\nfail   window: no INTx " in text


def test_twin_a_machine_without_a_transfer(endure: Endure) -> None:
    outcome, text = endure(machine=replace(REFERENCE, devices=()))
    assert outcome is Outcome.FAIL, text
    assert "\nhop 1:\n" in text
    assert "no transfer is in flight" in text
