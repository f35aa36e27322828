# SPDX-License-Identifier: BSD-2-Clause
"""Claim: every hop is the same hop: second hands over to second, and to second again, each time by the book.

False if a hop writes other registers, leaves a message behind, or if the list is not taken head by head. The twin is an empty list:
first then hands over to nobody.
"""

from __future__ import annotations

from tests.guest.conftest import Boot, failures, log_has

from witness.case import Case
from witness.record import Outcome


def test_three_hops(boot: Boot) -> None:
    record = boot(cmdline="handoff.next=second,second,second")
    assert record.outcome is Outcome.PASS, record.detail
    assert len(Case(record).hops) == 3
    assert not failures(record)


def test_twin_an_empty_list_ends_with_first(boot: Boot) -> None:
    record = boot(cmdline="handoff.next=")
    assert record.outcome is Outcome.PASS, record.detail
    assert not Case(record).hops
    assert not log_has(record, "second ")
