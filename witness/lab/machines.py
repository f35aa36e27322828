# SPDX-License-Identifier: BSD-2-Clause
"""The machines of the experiments. Each takes one boot for all its experiments, so an experiment should use one from here.

On q35 INTA of slot n below 25 is GSI 20 + n % 4; slots 5, 9 and 13 share GSI 21, 6 and 10 share 22, 7 and 11 share 23.
"""

from __future__ import annotations

from dataclasses import replace

from witness.lab.disk import disk
from witness.machine.description import E1000E, Machine, Nic, Rng, SerialPort

MIB = 128

EDU = Machine(mib=MIB, devices=("edu,addr=5",))

# edu, and a serial port on its line, which is driven first.
CONSOLE = Machine(mib=MIB, serials=(SerialPort("console", 5),), devices=("edu,addr=0x9",))

# All on GSI 21: a serial port, whose lower slot is shut down after the others; edu, AHCI and two virtio disks. The second of these
# continues when its bus master is off, as every virtio device did in 2015; since QEMU 5.0 one switches itself off. Without
# ioeventfd a disk has its requests once the guest's write that offers them is done.
SHARED = Machine(
    mib=MIB,
    serials=(SerialPort("console", 5),),
    devices=(
        "edu,addr=0x9",
        "ich9-ahci,id=ahci,addr=0xd",
        "ide-hd,id=sata,drive=sata0,bus=ahci.0",
        "virtio-blk-pci,id=vda,drive=vda0,addr=0x11,disable-legacy=on,ioeventfd=off",
        "virtio-blk-pci,id=vdb,drive=vdb0,addr=0x15,disable-legacy=on,ioeventfd=off,use-disabled-flag=off",
    ),
    extra=(*disk("sata0"), *disk("vda0"), *disk("vdb0")),
)

# Every kind of work in flight, completed when the test says so: edu, a disk, a card whose peer does not answer, and a generator of
# 16 bytes at once and 16 more every 400 ms of the machine's time. Without ioeventfd a device is notified as part of the guest's
# write, and with tx=timer a frame is sent by the machine's clock, not by QEMU's main loop.
LOADED = Machine(
    mib=MIB,
    nics=(Nic("nic", 7, "52:54:00:12:34:56", answered=False, device="ioeventfd=off,tx=timer"),),
    rngs=(Rng("rng", 8, "max-bytes=16,period=400,ioeventfd=off"),),
    devices=("edu,addr=0x5", "virtio-blk-pci,id=vda,drive=vda0,addr=0x6,disable-legacy=on,ioeventfd=off"),
    extra=disk("vda0"),
)

# Below bridges: edu below a switch, each port of which is a bridge, and an NVMe controller with a disk.
BRIDGED = Machine(
    mib=MIB,
    devices=(
        "pcie-root-port,id=root,addr=0x6,chassis=1",
        "x3130-upstream,id=upstream,bus=root",
        "xio3130-downstream,id=downstream,bus=upstream,chassis=2",
        "edu,bus=downstream",
        "pcie-root-port,id=nvme-root,addr=0x7,chassis=3",
        "nvme,id=nvme,serial=1,drive=nvme0,bus=nvme-root",
    ),
    extra=disk("nvme0"),
)

# Devices that interrupt at a register write, without memory: edu, e1000e and a port, each on a line of its own.
LINES = Machine(
    mib=MIB,
    nics=(Nic("nic", 6, "52:54:00:12:34:56", answered=False, model=E1000E),),
    devices=("edu,addr=0x5", "pcie-root-port,id=root,addr=0x7,chassis=1"),
)

# Cards of either kind, whose peers do not answer.
CARDS = Machine(
    mib=MIB,
    nics=(
        Nic("old", 5, "52:54:00:11:22:33", answered=False, model="virtio-net-pci-transitional"),
        Nic("new", 6, "52:54:00:44:55:66", answered=False),
    ),
)

# Three virtio disks: one with INTx only, one with MSI-X, and one with INTx whose DMA QEMU gates like that of other devices.
VIRTIO = Machine(
    mib=MIB,
    devices=(
        "virtio-blk-pci,id=vda,drive=vda0,addr=0x5,disable-legacy=on,ioeventfd=off,vectors=0",
        "virtio-blk-pci,id=vdb,drive=vdb0,addr=0x6,disable-legacy=on,ioeventfd=off",
        "virtio-blk-pci,id=vdc,drive=vdc0,addr=0x7,disable-legacy=on,ioeventfd=off,vectors=0,iommu_platform=on",
    ),
    extra=(*disk("vda0"), *disk("vdb0"), *disk("vdc0")),
)

TWO_CPUS = replace(EDU, extra=("-smp", "2"))
