# SPDX-License-Identifier: BSD-2-Clause
"""Claim: whatever is between a device and the CPU, the handoff is the same, and every verdict holds.

False if an image needs its devices on bus 0, one function a device, one line a device, or ECAM. Provoked by a switch, multifunction
devices, two of a kind on a line, bridges in bridges, root buses that no bridge leads to, and i440fx with its one PCI bus and its
own router. The topology is read from the bridges' registers, the routing of a pin from the I/O APIC's inputs in the trace. The
twins: what is on the root bus has no bridge above it; a trace in which the root port is cleared before the device at the end is
refused; i440fx without a window for configuration space against q35 with one.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest
from tests.guest.conftest import Boot, as_if, failures, log_has, result

from witness import devices
from witness.devices import edu
from witness.evidence.case import Case
from witness.judge.engine import Result
from witness.machine.description import REFERENCE, Content, Disk, Machine
from witness.machine.qemu import Session, configs
from witness.machine.record import Entry, Run
from witness.pci.topology import Bdf
from witness.trace.events import ConfigWrite, GsiLevel, MmioWrite

DISKS = ["virtio-blk-pci", "virtio-blk-pci"]


@dataclass(frozen=True)
class Layout:
    """A machine, and the way from the root bus to each of its devices."""

    machine: Machine
    paths: list[str]
    root_buses: frozenset[int] = frozenset({0})
    access: str = "ECAM"


SWITCH = Layout(
    Machine(
        disks=REFERENCE.disks,
        devices=(
            "pcie-root-port,id=left,addr=1c.0,chassis=1,multifunction=on",
            "pcie-root-port,id=right,addr=1c.1,chassis=2",
            "x3130-upstream,id=up,bus=left",
            "xio3130-downstream,id=one,bus=up,chassis=3",
            "xio3130-downstream,id=two,bus=up,chassis=4",
            "edu,bus=one",
            "edu,bus=two,addr=0.0,multifunction=on",
            "edu,bus=two,addr=0.3",
            "edu,bus=two,addr=0.7",
            "edu,bus=right",
            "edu,addr=5",
            "edu,addr=9",
        ),
    ),
    [*DISKS, "edu", "edu", "pcie-root-port/edu", *4 * ["pcie-root-port/x3130-upstream/xio3130-downstream/edu"]],
)

NESTED = Layout(
    Machine(
        disks=REFERENCE.disks,
        devices=(
            "pcie-root-port,id=root,addr=6,chassis=1",
            "pcie-pci-bridge,id=a,bus=root",
            "pci-bridge,id=b,bus=a,addr=1,chassis_nr=2",
            "pci-bridge,id=c,bus=b,addr=2,chassis_nr=3",
            "pci-bridge,id=d,bus=c,addr=3,chassis_nr=4",
            "edu,bus=b,addr=7",
            "edu,bus=d,addr=9",
        ),
    ),
    [
        *DISKS,
        "pcie-root-port/pcie-pci-bridge/pci-bridge/edu",
        "pcie-root-port/pcie-pci-bridge/pci-bridge/pci-bridge/pci-bridge/edu",
    ],
)

# With an expander in slot 9 or 10 and the port in its slot 0, QEMU and OVMF mean the same line (docs/caveats.md).
EXPANDERS = Layout(
    Machine(
        disks=REFERENCE.disks,
        devices=(
            "edu,addr=5",
            "pxb-pcie,id=one,addr=9,bus_nr=64",
            "pcie-root-port,id=left,bus=one,addr=0,chassis=1",
            "edu,bus=left",
            "pxb-pcie,id=two,bus=pcie.0,addr=a,bus_nr=128",
            "pcie-root-port,id=right,bus=two,addr=0,chassis=2",
            "edu,bus=right",
        ),
    ),
    [*DISKS, "edu", "pcie-root-port/edu", "pcie-root-port/edu"],
    root_buses=frozenset({0, 64, 128}),
)

# The disk without MSI-X is the first to lose bus master: until then its interrupts are still taken, which is no hazard.
I440FX = Layout(
    Machine(
        kind="pc",
        disks=(*REFERENCE.disks, Disk("lines", 0xB, Content.ZEROS, device="vectors=0")),
        devices=("edu,addr=5", "edu,addr=9", "pci-bridge,id=a,addr=a,chassis_nr=1", "edu,bus=a,addr=6"),
    ),
    [*DISKS, "virtio-blk-pci", "edu", "edu", "pci-bridge/edu"],
    access="CF8/CFC",
)


def model(case: Case, bdf: Bdf) -> str:
    return case.name(bdf).split()[1]


def path(case: Case, bdf: Bdf) -> str:
    return "/".join(model(case, b) for b in [*reversed(case.topology.upstream(bdf)), bdf])


def raised(case: Case) -> dict[Bdf, int]:
    """The input that rose when each edu first raised its line."""
    lines = range(case.entry_lines["first"], case.end + 1)
    found: dict[Bdf, int] = {}
    for write in case.within(MmioWrite, lines):
        owner = case.bars.owner(write.address, write.line)
        if owner and devices.triggers(write) and write.region == edu.REGION and owner not in found:
            levels = case.within(GsiLevel, range(write.line, lines.stop))
            found[owner] = next(event.gsi for event in levels if event.level and event.gsi in case.topology.lines)
    return found


def config_regions(record: Run) -> set[str]:
    """The ways that configuration space was written through, by firmware and images."""
    with (record.directory / "trace.log").open() as lines:
        return {region for line in lines for region in ("pcie-mmcfg-mmio", "pci-conf-data") if f"'{region}'" in line}


def witnessed(boot: Boot, layout: Layout) -> Case:
    """The run of a machine for which all that this file claims is true."""
    record = boot(machine=layout.machine, fresh=True)
    assert failures(record) == []
    assert log_has(record, f"first  PCI segment 0000 buses 00-ff by {layout.access}")
    assert ("pcie-mmcfg-mmio" in config_regions(record)) == (layout.access == "ECAM")
    case = Case(record)
    found = case.topology.functions
    assert sorted(path(case, f.bdf) for f, _ in devices.working(case) if not f.buses) == sorted(layout.paths)
    assert {bdf.bus for bdf in found if not case.topology.upstream(bdf)} == layout.root_buses
    assert raised(case) == {bdf: case.topology.gsi(bdf) for bdf in found if model(case, bdf) == "edu"}
    return case


def exchanged(record: Run, one: ConfigWrite, other: ConfigWrite) -> Run:
    """The same run with two writes in each other's place."""
    places = {one: dataclasses.replace(other, line=one.line), other: dataclasses.replace(one, line=other.line)}
    copy = as_if(record)
    copy.events = [places.get(e, e) if isinstance(e, ConfigWrite) else e for e in record.events]
    return copy


def test_switch(boot: Boot) -> None:
    case = witnessed(boot, SWITCH)
    edus = raised(case)
    assert {bdf.function for bdf in edus} == {0, 3, 7}
    assert len(set(edus.values())) < len(edus), "every edu has a line of its own"


def test_nested(boot: Boot) -> None:
    case = witnessed(boot, NESTED)
    clears = {change.bdf: change.write for change in case.changes(case.hops[0].out) if change.master_cleared}
    deepest = max(clears)
    highest = case.topology.upstream(deepest)[-1]
    twin = exchanged(case.run, clears[deepest], clears[highest])
    assert result(twin, "out-order") is Result.FAIL


def test_expanders(boot: Boot) -> None:
    witnessed(boot, EXPANDERS)


def test_i440fx(boot: Boot) -> None:
    """Its lines are ISA IRQs, routed by PIIX3; one disk has no MSI-X and shares them."""
    case = witnessed(boot, I440FX)
    assert case.topology.lines <= {10, 11}


@pytest.mark.parametrize("kind", ["q35", pytest.param("pc", marks=pytest.mark.exhaustive)])
def test_earlier_monitor_commands_do_not_matter(boot: Boot, kind: str) -> None:
    """Without a size the monitor reads a port by the size that it used last."""
    found = []

    def at_entry(session: Session, entry: Entry) -> None:
        session.qmp.monitor("xp /1bx 0")
        found.append((dict(configs(session.qmp)), entry.configs))

    boot(machine=Machine(kind=kind), at_entry=at_entry)
    assert found
    assert all(after == before for after, before in found)
