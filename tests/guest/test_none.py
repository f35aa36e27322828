# SPDX-License-Identifier: BSD-2-Clause
"""Claim: policy `none` shuts nothing down, as in kdump, and second still disables MSI and makes every device work.

False if bus master is off at the jump, or if a device that second resets does not work again.
"""

from __future__ import annotations

from tests.guest.conftest import Boot, log_has

from witness import devices
from witness.evidence.case import Case
from witness.machine.record import Outcome
from witness.pci.registers import Register


def test_nothing_is_shut_down_and_everything_works_again(boot: Boot) -> None:
    record = boot(cmdline="handoff.shutdown=none")
    case = Case(record)
    assert case.next, record.detail
    line = case.entry_lines["second"]
    masters = [bdf for bdf in case.topology.functions if case.registers(bdf, line)[Register.COMMAND] & 4]
    assert len(masters) == len(case.topology.functions)
    disabled = {change.bdf for change in case.changes(range(line, case.end)) if change.msi_disabled}
    assert disabled == {function.bdf for function, _ in devices.working(case)}
    assert record.outcome is Outcome.PASS, record.detail
    assert log_has(record, "second inherited 0000:00:05.0 edu: bus master on, MSI on")


def test_twin_keep_msi_hands_over_without_bus_master(boot: Boot) -> None:
    record = boot(cmdline="handoff.shutdown=keep-msi")
    case = Case(record)
    line = case.entry_lines["second"]
    assert not [bdf for bdf in case.topology.functions if case.registers(bdf, line)[Register.COMMAND] & 4]
