# SPDX-License-Identifier: BSD-2-Clause
"""Claim: outside QEMU an image writes to no function that handoff.allow does not name.

False if a single register of another function changes, by a driver, a policy or a bridge. Provoked by hiding the hypervisor from
the guest (CPUID), so that it takes QEMU for hardware, and naming one of two edu devices, through a whole handoff: it is shutdown
that would reach all. The twin is the same machine without that: there every function is shut down.
"""

from __future__ import annotations

import dataclasses

import pytest
from tests.guest.conftest import Boot, log_has, run_to, write_config

from witness.evidence.case import Case
from witness.machine.description import Machine
from witness.machine.qemu import Session
from witness.machine.record import Entry, Run
from witness.pci.registers import PCI_COMMAND
from witness.pci.topology import Bdf
from witness.trace.events import ConfigWrite

MACHINE = Machine(devices=("edu,addr=5", "edu,addr=9"))
NAMED = Bdf.parse("00:05.0")


def written(record: Run) -> set[Bdf]:
    """Functions whose configuration was written after first was entered."""
    case = Case(record)
    return {event.bdf for event in case.within(ConfigWrite, range(case.entry_lines["first"], case.end + 1))}


def end_with_second(session: Session, entry: Entry) -> None:
    """Its work is done; it would wait half a minute for a reader before it resets the machine."""
    if entry.name == "second":
        run_to(session, entry, "kernel_exit")
        session.qmp.command("quit")


def test_only_the_named_function_is_written_to(boot: Boot) -> None:
    hardware = dataclasses.replace(MACHINE, extra=("-cpu", "qemu64,-hypervisor"))
    record = boot(machine=hardware, cmdline="handoff.allow=00:05.0", at_entry=end_with_second, fresh=True)
    case = Case(record)
    assert case.next, "first did not hand over: its shutdown is not in this trace"
    assert written(record) == {NAMED}


def test_twin_in_qemu_every_function_is(boot: Boot) -> None:
    record = boot(machine=MACHINE)
    assert written(record) == set(Case(record).topology.functions)
    assert log_has(record, "GUEST: pass")


# --- a bridge that is not named ---

BRIDGE, BELOW = Bdf.parse("00:06.0"), Bdf.parse("01:00.0")
MSI_CONTROL = 0x42  # of edu
CLOSED = f"0000:{BELOW} edu: upstream bridge 0000:{BRIDGE} has bus master off and is read-only"


def close_bridge(session: Session, entry: Entry) -> None:
    write_config(session, BRIDGE, PCI_COMMAND, bytes((0x03, 0x01)))


@pytest.mark.parametrize("named, driven", [(f"{BELOW}", False), (f"{BRIDGE},{BELOW}", True)], ids=["closed", "opened"])
def test_what_is_below_a_closed_bridge_is_driven_where_the_bridge_may_be_opened(named: str, driven: bool, boot: Boot) -> None:
    record = boot(cmdline=f"handoff.next= handoff.allow={named}", at_entry=close_bridge)
    case = Case(record)
    writes = case.within(ConfigWrite, range(case.entry_lines["first"], case.end + 1))
    assert any((write.bdf, write.offset) == (BELOW, MSI_CONTROL) for write in writes) is driven
    assert log_has(record, CLOSED) is not driven
    assert log_has(record, "GUEST: pass")
