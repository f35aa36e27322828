# SPDX-License-Identifier: BSD-2-Clause
"""Claim: the reference handoff is the patch. Bus master goes, MSI stays on, second turns it off at init, every device works again.

False if a single register is written that should not be, a message or a line gets through, memory changes, or the
guest's log tells another story than the trace. Provoked by the reference machine with work in flight. The twins judge
the same trace by the other policies: what passes for keep-msi must fail there.
"""

from __future__ import annotations

import dataclasses

import pytest
from tests.guest.conftest import Boot, failures, results

from witness.judge import RULES, Result
from witness.record import Outcome, Run


@pytest.fixture(scope="module")
def record(shared: Boot) -> Run:
    return shared()


def test_the_run_passes(record: Run) -> None:
    assert record.outcome is Outcome.PASS, record.detail


@pytest.mark.parametrize("rule", [rule.id for rule in RULES])
def test_verdict(record: Run, rule: str) -> None:
    assert results(record).get(rule) is Result.PASS, failures(record)


def test_a_disk_that_is_truly_busy_is_reset(boot: Boot) -> None:
    """A machine that stops at the jump has finished its block requests there; this one runs on, and second meets them."""
    record = boot(stop_at_jump=False)
    assert record.outcome is Outcome.PASS, record.detail
    assert Result.FAIL not in results(record).values()


@pytest.mark.parametrize("policy", ["disable-msi", "none"])
def test_twin_it_is_no_other_policy(record: Run, policy: str) -> None:
    other = dataclasses.replace(record, cmdline=f"handoff.shutdown={policy}")
    assert Result.FAIL in results(other).values()
