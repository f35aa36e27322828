# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a fault in an image prints vector, error code, RIP and the stack, and what the log still held, and counts as a crash.

False if the run ends as if nothing had happened, or hangs. Provoked by writing an invalid instruction over a function
of second while the machine stands at its entry, from outside.
"""

from __future__ import annotations

from tests.guest.conftest import Boot, log_has, symbol

from witness.qemu import Session
from witness.record import Entry, Outcome

UD2 = b"\x0f\x0b"


def test_a_fault_is_told_and_is_a_crash(boot: Boot) -> None:
    fault_at = symbol("second", "kernel_startup")

    def break_it(session: Session, entry: Entry) -> None:
        if entry.name == "second":
            session.gdb.write_physical(entry.load_address + fault_at, UD2)

    record = boot(at_entry=break_it)
    fault = next(line for line in record.log if " FAULT " in line)
    assert f"FAULT vector 6 error 0x0 rip {0x3000000 + fault_at:#x} " in fault
    stack = next(line for line in record.log if " STACK: " in line).split()[2:]
    assert len(stack) >= 2, "who called it is missing"
    assert log_has(record, "first  jump to second@"), "the log that first held is lost"
    assert record.outcome is Outcome.CRASH
