# SPDX-License-Identifier: BSD-2-Clause
"""The machines of the experiments. Each takes one boot, whoever uses it: an experiment takes what is here where that serves.

On q35 INTA of slot n below 25 is GSI 20 + n % 4; slots 5, 9 and 13 share GSI 21, 6 and 10 share 22, 7 and 11 share 23.
"""

from __future__ import annotations

from witness.lab.disk import disk
from witness.machine import Machine, Nic, Rng, Serial

MIB = 128

EDU = Machine(mib=MIB, devices=("edu,addr=5",))

# All on GSI 21: a serial port, below the others and so shut down behind them; edu, AHCI and two virtio disks. The second of these
# goes on when its bus master is off, as each did in 2015; since QEMU 5.0 a virtio device switches itself off. Without ioeventfd a
# disk has its requests when the guest's write that offers them has been done.
SHARED = Machine(
    mib=MIB,
    serials=(Serial("console", 5),),
    devices=(
        "edu,addr=0x9",
        "ich9-ahci,id=ahci,addr=0xd",
        "ide-hd,id=sata,drive=sata0,bus=ahci.0",
        "virtio-blk-pci,id=vda,drive=vda0,addr=0x11,disable-legacy=on,ioeventfd=off",
        "virtio-blk-pci,id=vdb,drive=vdb0,addr=0x15,disable-legacy=on,ioeventfd=off,use-disabled-flag=off",
    ),
    extra=(*disk("sata0"), *disk("vda0"), *disk("vdb0")),
)

# Everything that can be in flight, in nobody's hands but ours: edu, a disk, a card with a cable whose other end answers nobody, and a
# generator that gives 16 bytes at once and 16 more every 400 ms of the machine's time. Without ioeventfd a device is notified as part of
# the guest's write.
LOADED = Machine(
    mib=MIB,
    nics=(Nic("nic", 7, "52:54:00:12:34:56", answered=False, device="ioeventfd=off"),),
    rngs=(Rng("rng", 8, "max-bytes=16,period=400,ioeventfd=off"),),
    devices=("edu,addr=0x5", "virtio-blk-pci,id=vda,drive=vda0,addr=0x6,disable-legacy=on,ioeventfd=off"),
    extra=disk("vda0"),
)
