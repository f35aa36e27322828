# SPDX-License-Identifier: BSD-2-Clause
"""Claim: virtual functions are handed over as all others are, although their vendor ID reads as absent.

False if one keeps bus master: a VF's vendor ID reads ffff, so a walk over configuration space does not find it. Firmware enables
none, so they are enabled from outside where first is entered, with bus master, and MSI-X in one of them: first has to clear all of
it. There are more than a device has functions, so they have device numbers that only a PCIe port with one device below it ignores.
Below another port, the function that ARI names next is an edu. The twins: before they were enabled they did not respond; a trace in
which the last VF's bus master is never cleared is refused.
"""

from __future__ import annotations

import dataclasses
import re
import struct

from tests.guest.conftest import Boot, as_if, failures, log_has, result, write_config

from witness.evidence.case import Case
from witness.judge.engine import Result
from witness.machine.description import REFERENCE, Machine
from witness.machine.qemu import Session, config_window, ecam
from witness.machine.record import Entry
from witness.pci.registers import PCI_COMMAND, PCI_COMMAND_MASTER, PCI_COMMAND_MEMORY, PCI_MSIX_FLAGS_ENABLE, Register
from witness.pci.topology import Bdf, Function

VFS = 12
PF = Bdf(1, 0, 0)
MACHINE = Machine(
    disks=REFERENCE.disks,
    devices=(
        "edu,addr=5",
        "pcie-root-port,id=root,addr=6,chassis=1",
        "nvme-subsys,id=nvm",
        f"nvme,bus=root,serial=nvm,subsys=nvm,sriov_max_vfs={VFS},sriov_vq_flexible={2 * VFS},sriov_vi_flexible={VFS}",
    ),
)

PCI_EXT_CAP_ID_ARI = 0x0E
PCI_ARI_NEXT = 5
PCI_EXT_CAP_ID_SRIOV = 0x10
PCI_SRIOV_CTRL = 8
PCI_SRIOV_CTRL_VFE_MSE = 0x9
PCI_SRIOV_TOTAL_VF = 14
PCI_SRIOV_NUM_VF = 16
PCI_SRIOV_VF_OFFSET = 20  # and stride


def config(session: Session, bdf: Bdf) -> bytes:
    """All 4 KiB, while the machine stands."""
    address = config_window(session.qmp) + ecam(bdf)
    words = re.findall(r"\b0x([0-9a-f]{8})\b", session.qmp.monitor(f"xp /1024wx {address:#x}"))
    return b"".join(int(word, 16).to_bytes(4, "little") for word in words)


def extended(space: bytes, id: int) -> int:
    position = 0x100
    while position:
        header = int(struct.unpack_from("<I", space, position)[0])
        if header & 0xFFFF == id:
            return position
        position = header >> 20
    raise AssertionError(f"no extended capability 0x{id:x}")


def enable(session: Session, entry: Entry) -> list[Bdf]:
    """What a kernel's SR-IOV driver does, and the drivers of its VFs. Where the VFs are."""
    space = config(session, PF)
    at = extended(space, PCI_EXT_CAP_ID_SRIOV)
    assert struct.unpack_from("<H", space, at + PCI_SRIOV_TOTAL_VF) == (VFS,)
    write_config(session, PF, at + PCI_SRIOV_NUM_VF, VFS.to_bytes(2, "little"))
    offset, stride = struct.unpack_from("<HH", config(session, PF), at + PCI_SRIOV_VF_OFFSET)
    found = [Bdf(PF.bus, rid >> 3, rid & 7) for rid in range(offset, offset + VFS * stride, stride)]
    assert all(config(session, vf)[PCI_COMMAND:][:2] == b"\xff\xff" for vf in found), "a VF before its time"
    write_config(session, PF, at + PCI_SRIOV_CTRL, PCI_SRIOV_CTRL_VFE_MSE.to_bytes(2, "little"))
    for vf in found:
        write_config(session, vf, PCI_COMMAND, (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER).to_bytes(2, "little"))
    control = Function(found[0], config(session, found[0])).offsets[Register.MSIX]
    write_config(session, found[0], control, PCI_MSIX_FLAGS_ENABLE.to_bytes(2, "little"))
    entry.configs.update({vf: config(session, vf)[:256] for vf in found})
    return found


def master(function: Function) -> bool:
    return bool(function.u16(PCI_COMMAND) & PCI_COMMAND_MASTER)


def msix(function: Function) -> bool:
    return bool(function.u16(function.offsets[Register.MSIX]) & PCI_MSIX_FLAGS_ENABLE)


def test_virtual_functions_are_handed_over(boot: Boot) -> None:
    vfs: list[Bdf] = []

    def prepare(session: Session, entry: Entry) -> None:
        if entry.name == "first":
            vfs.extend(enable(session, entry))
            space = config(session, PF)
            assert space[extended(space, PCI_EXT_CAP_ID_ARI) + PCI_ARI_NEXT] == vfs[0].function

    record = boot(machine=MACHINE, at_entry=prepare)
    assert failures(record) == []
    case = Case(record)
    assert case.first and case.next
    assert {vf.device for vf in vfs} == {0, 1}
    for vf in vfs:
        found, handed = (Function(vf, entry.configs[vf]) for entry in (case.first, case.next))
        assert found.vendor == handed.vendor == 0xFFFF
        assert (master(found), master(handed)) == (True, False)
        assert (msix(found), msix(handed)) == (vf == vfs[0], False)
    assert log_has(record, f"first  inherited {len(case.topology.functions)} functions")

    kept = case.next.configs | {vfs[-1]: case.first.configs[vfs[-1]]}
    twin = as_if(record, entries=[case.first, dataclasses.replace(case.next, configs=kept)])
    assert result(twin, "handed") is Result.FAIL
