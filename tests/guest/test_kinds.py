# SPDX-License-Identifier: BSD-2-Clause
"""Claim: every kind of message works in both images and is handed over like any other: MSI with 32 and with 64 bits of address,
with and without per-vector masking, with one vector and with several, MSI-X with its table in a 32-bit BAR and in a 64-bit one
above 4 GiB.

False if a function of some kind sends no message that its image programmed, under first or under second, or if a verdict of the
reference machine does not hold here. Provoked on QEMU's PCIe ports, which differ in just this, and on nvme; the kind of each is
read from its registers. No device of QEMU's has 32 bits without masking, or its table and its PBA in two BARs: those are host
tests. The twin is the message of the disk's queue, which no port may send.

Claim: several vectors stay apart. False if an error that a root port reports does not arrive by its second vector. Provoked by
QEMU's error injection; the twin is the same machine without.
"""

from __future__ import annotations

from typing import Callable

import pytest
from tests.guest.conftest import Boot, failures, log_has, run_to, write_config

from witness import devices
from witness.evidence.case import Case
from witness.evidence.interrupts import own_messages
from witness.machine.description import REFERENCE, Machine
from witness.machine.qemu import Session
from witness.machine.record import Entry, Outcome, Run
from witness.pci.registers import Register
from witness.pci.topology import Bdf, Function
from witness.trace.events import BarMap, Msi

# Firmware leaves hot-plug to a port only where ACPI does not control it.
NATIVE = ("-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off")

MACHINE = Machine(
    disks=REFERENCE.disks,
    devices=(
        "ioh3420,id=narrow,addr=5,chassis=1,slot=1",
        "x3130-upstream,id=up,bus=narrow",
        "xio3130-downstream,id=wide,bus=up,chassis=2,slot=2",
        "edu,bus=wide",
        "pcie-root-port,id=table,addr=6,chassis=3,slot=3",
        "nvme,serial=1,addr=7",
        "edu,addr=8",
    ),
    extra=NATIVE,
)
NARROW, WIDE, TABLE, NVME = (Bdf.parse(text) for text in ("00:05.0", "02:00.0", "00:06.0", "00:07.0"))

MASKBIT, WIDE_ADDRESS, QMASK, QSIZE = 0x100, 0x80, 0x0E, 0x70


@pytest.fixture(scope="module")
def record(shared: Boot) -> Run:
    return shared(machine=MACHINE, fresh=True)


def test_every_verdict_holds(record: Run) -> None:
    assert record.outcome is Outcome.PASS, record.detail
    assert not failures(record)
    assert {NARROW, WIDE, TABLE, NVME} <= {function.bdf for function, _ in devices.working(Case(record))}


def msi_flags(function: Function) -> int:
    return function.u16(function.offsets[Register.MSI])


def is_narrow(function: Function) -> bool:
    """32 bits of address, masked vector by vector, and two of them granted."""
    flags = msi_flags(function)
    return flags & (MASKBIT | WIDE_ADDRESS) == MASKBIT and flags & (QMASK | QSIZE) == 1 << 1 | 1 << 4


def is_wide(function: Function) -> bool:
    return msi_flags(function) & (MASKBIT | WIDE_ADDRESS) == WIDE_ADDRESS


def has_msix(function: Function) -> bool:
    return Register.MSIX in function.offsets and Register.MSI not in function.offsets


@pytest.mark.parametrize(
    "bdf, is_of_kind",
    [
        pytest.param(NARROW, is_narrow, id="msi-32-masked-2"),
        pytest.param(WIDE, is_wide, id="msi-64"),
        pytest.param(TABLE, has_msix, id="msix-32"),
        pytest.param(NVME, has_msix, id="msix-64"),
    ],
)
def test_kind(record: Run, bdf: Bdf, is_of_kind: Callable[[Function], bool]) -> None:
    case = Case(record)
    function = case.topology.functions[bdf]
    assert is_of_kind(function)
    (hop,) = case.hops
    for lines in (range(case.entry_lines["first"], hop.out.start), hop.inward):
        own = own_messages(case, function, lines)
        assert own & {(m.address, m.data) for m in case.within(Msi, lines)}, "none of its messages came"


def test_twin_a_message_is_of_one_function(record: Run) -> None:
    case = Case(record)
    everywhere = range(case.entry_lines["first"], case.hops[0].out.start)
    disk = own_messages(case, case.topology.functions[Bdf(0, 3, 0)], everywhere)
    assert disk
    assert not [bdf for bdf in (NARROW, WIDE, TABLE, NVME)
                if disk & own_messages(case, case.topology.functions[bdf], everywhere)]


def test_one_table_is_above_4_gib(record: Run) -> None:
    mapped = {e.bdf: e.address for e in record.events if isinstance(e, BarMap) and e.mapped and e.bar == 0}
    assert mapped[NVME] >> 32
    assert not mapped[TABLE] >> 32


# Nothing but ports, so that the second port's BAR is the first that second maps: the first port is set up by then.
PORTS = Machine(devices=("ioh3420,id=narrow,addr=5,chassis=1,slot=1", "pcie-root-port,addr=6,chassis=2,slot=2"), extra=NATIVE)
COMMAND, AS_DRIVEN, SERR = 4, 0x407, 0x100
BRIDGE_CONTROL, BRIDGE_SERR = 0x3E, 2
EXP, CAP_EXP = 0x90, 0x10  # where ioh3420 has its PCI Express capability
DEVCTL, REPORT_ALL = 8, 0x0F


def inject(session: Session, entry: Entry) -> None:
    if entry.name != "second":
        return
    run_to(session, entry, "pci_map_bar")
    assert entry.configs[NARROW][EXP] == CAP_EXP
    write_config(session, NARROW, EXP + DEVCTL, REPORT_ALL.to_bytes(2, "little"))
    write_config(session, NARROW, COMMAND, (AS_DRIVEN | SERR).to_bytes(2, "little"))
    write_config(session, NARROW, BRIDGE_CONTROL, BRIDGE_SERR.to_bytes(2, "little"))
    assert "OK" in session.qmp.monitor("pcie_aer_inject_error narrow POISON_TLP")


def vectors_seen(record: Run) -> set[int]:
    """Of the port's block, by their place in it, under second."""
    case = Case(record)
    lines = range(case.entry_lines["second"], case.end + 1)
    own = sorted(own_messages(case, case.topology.functions[NARROW], lines))
    return {own.index((m.address, m.data)) for m in case.within(Msi, lines) if (m.address, m.data) in own}


def test_each_vector_is_its_own(boot: Boot) -> None:
    record = boot(machine=PORTS, at_entry=inject)
    assert record.outcome is Outcome.PASS, record.log
    assert vectors_seen(record) == {0, 1}
    assert log_has(record, "second 0000:00:05.0 pcie-port: MSI, 2 from vector 0x40 on: 2 commands completed, 1 errors reported")


def test_twin_without_an_error_the_second_is_unused(boot: Boot) -> None:
    record = boot(machine=PORTS)
    assert record.outcome is Outcome.PASS, record.log
    assert vectors_seen(record) == {0}
