# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a fault in an image prints vector, error code, RIP and the stack, and what the log still held, and counts as a crash.

False if the run ends normally, or hangs, or if the CPU's frame is misread: that of one vector has an error code, that of another
has none. Provoked by writing an instruction that faults over a function of second while the machine is stopped at its entry.
"""

from __future__ import annotations

import pytest
from tests.guest.conftest import Boot, log_has, symbol

from witness.machine.qemu import Session
from witness.machine.record import Entry, Outcome

UD2 = b"\x0f\x0b"
WRITE_TO_0 = b"\x89\x04\x25\x00\x00\x00\x00"  # mov %eax, 0: a page that is not present


@pytest.mark.parametrize("code, printed", [(UD2, "vector 6 error 0x0"), (WRITE_TO_0, "vector 14 error 0x2")], ids=["UD", "PF"])
def test_a_fault_is_reported_and_is_a_crash(boot: Boot, code: bytes, printed: str) -> None:
    fault_at = symbol("second", "kernel_startup")

    def break_it(session: Session, entry: Entry) -> None:
        if entry.name == "second":
            session.gdb.write_physical(entry.load_address + fault_at, code)

    record = boot(at_entry=break_it)
    fault = next(line for line in record.log if " FAULT " in line)
    assert f"FAULT {printed} rip {0x3000000 + fault_at:#x} " in fault
    stack = next(line for line in record.log if " STACK: " in line).split()[2:]
    assert len(stack) >= 2, "its caller is missing"
    assert log_has(record, "first  jump to second@"), "the log that first held is lost"
    assert record.outcome is Outcome.CRASH
