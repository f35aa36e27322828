# SPDX-License-Identifier: BSD-2-Clause
"""Claim: the reference handoff is the patch. Bus master is cleared, MSI stays on, second disables it at init, every device works
again.

False if a single register is written that should not be, a message or a line gets through, memory changes, or the guest's log
contradicts the trace. Provoked by the reference machine with work in flight. The twins judge the same trace by the other policies:
what passes for keep-msi must fail there.
"""

from __future__ import annotations


import pytest
from tests.guest.conftest import Boot, as_if, failures, results

from witness.evidence.case import Case
from witness.judge.engine import Result
from witness.judge.ram import in_flight
from witness.judge.rules import RULES
from witness.machine.description import Content
from witness.machine.record import Outcome, Run
from witness.pci.topology import Bdf


@pytest.fixture(scope="module")
def record(shared: Boot) -> Run:
    return shared(fresh=True)


def test_the_run_passes(record: Run) -> None:
    assert record.outcome is Outcome.PASS, record.detail


@pytest.fixture(scope="module")
def verdicts(record: Run) -> dict[str, Result]:
    return results(record)


@pytest.mark.parametrize("rule", [rule.id for rule in RULES if rule.id != "frames"])  # there is no network
def test_verdict(record: Run, verdicts: dict[str, Result], rule: str) -> None:
    assert verdicts.get(rule) is Result.PASS, failures(record)


def test_a_disk_that_is_truly_busy_is_reset(boot: Boot) -> None:
    """A machine that stops at the jump has finished its block requests there; this one keeps running, and second finds them.

    First's memory shows it at the end. Requests that were not returned when bus master was cleared stay so, because the device no
    longer reaches the ring; where their buffers hold the disk's content and not first's canary, the data landed afterwards: the
    disk was busy until second reset it.
    """
    record = boot(stop_at_jump=False)
    assert record.outcome is Outcome.PASS, record.detail
    assert Result.FAIL not in results(record).values()
    case, ram = Case(record), record.ram_after()
    source = next(Bdf(0, disk.slot, 0) for disk in record.machine.disks if disk.content == Content.RANDOM)
    landed = 0
    for request in in_flight(case, case.hops[0], case.topology.functions[source], ram):
        for landing in request.writes:
            assert landing.landed(ram), "a buffer that no data reached"
            landed += len(landing.addresses) > 1  # the rest are status bytes
    assert landed, "no request was in flight when bus master was cleared"


@pytest.mark.parametrize("policy", ["disable-msi", "none"])
def test_twin_it_is_no_other_policy(record: Run, policy: str) -> None:
    other = as_if(record, cmdline=f"handoff.shutdown={policy}")
    assert Result.FAIL in results(other).values()
