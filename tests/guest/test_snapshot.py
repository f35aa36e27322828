# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a run from a snapshot is the run that the boot would have become: every verdict holds, edu's among them.

False if a device lost what firmware had set up, if RAM or a disk is that of an earlier run, or if the guest got another command
line than the one that it is judged by. edu has no migration state: the twin leaves its configuration space as a reset does.
"""

from __future__ import annotations

import pytest
from tests.guest.conftest import BUILD, failures, log_has, result, snapshot

from witness.evidence.case import Case
from witness.judge.engine import Result
from witness.machine import snapshot as snapshots
from witness.machine.description import EVERYTHING
from witness.machine.record import Outcome


@pytest.mark.parametrize(
    "cmdline, hops",
    [
        pytest.param("", 1, id="one-hop"),
        pytest.param("handoff.next=second,second", 2, id="two-hops", marks=pytest.mark.exhaustive),
    ],
)
def test_a_run_from_a_snapshot_holds_before_the_judge(cmdline: str, hops: int) -> None:
    record = snapshot(EVERYTHING).run(BUILD / "test" / "from-snapshot", cmdline)
    assert record.outcome is Outcome.PASS, record.log
    assert not failures(record)
    assert len(Case(record).hops) == hops


def test_twin_edu_is_lost_without_its_configuration_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "HEADER_BY_FIRMWARE", ())
    record = snapshot(EVERYTHING).run(BUILD / "test" / "from-snapshot")
    assert result(record, "driven-first") is Result.FAIL
    assert not log_has(record, "edu: INTx on irq")
