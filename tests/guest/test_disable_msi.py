# SPDX-License-Identifier: BSD-2-Clause
"""Claim: what Linux did from 2012 to 2017 leaves INTx asserted: the control of the whole comparison.

False if no line rises, if a handler serves it, or if the line stays usable in the next kernel. Provoked by the same machine and
load as in test_keep_msi.py; only the policy differs. The evidence is QEMU's interrupt controller trace; the guest's "nobody cared"
must agree.
"""

from __future__ import annotations


import pytest
from tests.guest.conftest import Boot, as_if, log_has, result

from witness.evidence.case import Case
from witness.judge.engine import Result
from witness.judge.hazards import stray_msis, unhandled_intx
from witness.machine.record import Outcome, Run


@pytest.fixture(scope="module")
def record(shared: Boot) -> Run:
    return shared(cmdline="handoff.shutdown=disable-msi")


def test_its_register_writes_are_the_policy(record: Run) -> None:
    assert result(record, "out-signature") is Result.PASS


def test_twin_they_are_not_those_of_keep_msi(record: Run) -> None:
    other = as_if(record, cmdline="")
    assert result(other, "out-signature") is Result.FAIL


def test_intx_rises_and_no_handler_serves_it(record: Run) -> None:
    case = Case(record)
    assert unhandled_intx(case, case.hops[0])
    assert not stray_msis(case, case.hops[0])


def test_a_shared_line_storms_until_it_is_disabled(record: Run) -> None:
    """Level-triggered (ELCR), so a line that stays high interrupts again and again."""
    case = Case(record)
    assert max(hazard.delivered for hazard in unhandled_intx(case, case.hops[0])) >= 100_000
    assert log_has(record, "nobody cared")


def test_the_innocent_sharer_fails(record: Run) -> None:
    assert record.outcome is Outcome.FAIL
    assert log_has(record, "edu: no INTx interrupt within")
