# SPDX-License-Identifier: BSD-2-Clause
"""C3: with MSI disabled at shutdown, a device that has work in flight asserts INTx, and the line storms until it is disabled.

A device that must not send its message asserts its line instead. The driver has no handler there, so nothing lowers it: the 8259
interrupts again as soon as each interrupt has been served. The claim is false if the line stays low, if the interrupts end before
the kernel disables the line, or if the same happens with MSI kept.

The image (c03_nobody_cared.c) applies shutdown/disable_msi.c step by step while an edu, an AHCI or a virtio device has work in
flight, on a line for which a serial port has a handler. The trial fails unless the line has one edge and the 100000 interrupts
after which it is disabled; in the trial with noirqdebug, if the walk over the devices continues. The controls keep MSI, or leave
the line without a handler, or give the device its own.
"""

from __future__ import annotations

from tests.claims.devices import BLK, SHARED_EDU as EDU, Device
from tests.claims.measure import counted, messages_on
from tests.claims.shared_line import AFTER, BEFORE, DISABLE, ENDS, KEEP, NOBODY_CARED, ended, trial
from witness.lab.experiment import Experiment, Judge, Role, Trial, Value, exactly
from witness.lab.observation import Observation
from witness.pci.registers import Register

GSI = EDU.gsi  # of all that interrupt on that machine


def outcome(device: Device, msi: int, messages: int, edges: int, interrupts: int, masked: int, level: int) -> Judge:
    """The outcome of the work in flight, from the point driven to the point walk-on, where the walk over the devices continues; and
    the line at the end."""

    def judge(seen: Observation) -> list[Value]:
        lines = seen.between("driven", "walk-on")
        rises = [edge for edge in seen.edges(lines) if edge.gsi == GSI]
        enabled = any(messages_on(seen, device.bdf, register, lines.stop) for register in (Register.MSI, Register.MSIX))
        return [
            exactly("MSI or MSI-X on", int(enabled), msi),
            exactly("requests that ended", ended(device, seen), device.begun),
            counted("messages", seen.messages(lines), messages),
            counted("INTx edges", rises, edges),
            exactly("Interrupt Status of the device", seen.noted("pending"), level),
            counted("interrupts", seen.taken(lines), interrupts),
            exactly("line masked in the 8259", seen.noted("masked"), masked),
            exactly("level of the line at the end", seen.level(GSI, seen.mark("end").line), level),
        ]

    return judge


def stormed(device: Device, ends: str) -> Judge:
    """One edge, and a storm that ends only when the line is disabled; the walk waits meanwhile."""
    storm = outcome(device, msi=0, messages=0, edges=1, interrupts=NOBODY_CARED, masked=1, level=1)

    def judge(seen: Observation) -> list[Value]:
        early, late = (seen.taken(seen.between(*points)) for points in (("driven", AFTER), ("walk-on", "end")))
        return [
            *storm(seen),
            counted("interrupts before bus master is cleared", early, NOBODY_CARED if ends == BEFORE else 0),
            counted("interrupts after the line was disabled", late, 0),
        ]

    return judge


def endless(seen: Observation) -> list[Value]:
    """Where the kernel does not count, the walk does not continue: the image ends the run at the second hundred thousand."""
    lines = seen.between(AFTER)
    return [
        counted("INTx edges", seen.edges(lines), 1),
        counted("interrupts, up to where the run is ended", seen.taken(lines), 2 * NOBODY_CARED),
        exactly("the walk continues", sum(mark.name == "walk-on" for mark in seen.marks), 0),
        exactly("level of the line at the end", seen.level(GSI, lines.stop), 1),
    ]


def storm(device: Device, ends: str) -> Trial:
    return trial(f"{device.name}, MSI disabled, work ends {when(ends)}", Role.CLAIM, device, stormed(device, ends), DISABLE)


def kept_msi(device: Device, ends: str) -> Trial:
    """Its messages arrive while bus master is on; there is nothing else."""
    messages = device.begun if ends == BEFORE else 0
    judge = outcome(device, msi=1, messages=messages, edges=0, interrupts=0, masked=0, level=0)
    return trial(f"{device.name}, MSI kept, work ends {when(ends)}", Role.CONTROL, device, judge, KEEP)


def unhandled(device: Device) -> Trial:
    judge = outcome(device, msi=0, messages=0, edges=1, interrupts=0, masked=1, level=1)
    return trial(f"{device.name}, MSI disabled, no handler on the line", Role.CONTROL, device, judge, f"{DISABLE} lab.line=free")


def when(ends: str) -> str:
    return f"{ends.removesuffix('-clear')} bus master is cleared"


SERVED = outcome(EDU, msi=0, messages=0, edges=1, interrupts=1, masked=0, level=0)
SILENT = outcome(BLK, msi=0, messages=0, edges=0, interrupts=0, masked=0, level=0)

EXPERIMENT = Experiment(
    title="With MSI disabled at shutdown, work in flight ends in an INTx storm",
    source="the patch: \"after we disable MSI, the device may assert INT#x [...] which causes an 'irq %d: nobody cared' message "
    "[...] or if irq debugging was explicitly disabled on the kernel command line\"; fda78d7a0ead; Linux, kernel/irq/spurious.c",
    falsified_by="no edge on the line, or one that does not storm; a storm with MSI kept",
    provoked_by="edu's DMA, or reads that blkdebug holds, end when MSI is off; a serial port has its handler on the line",
    reading="Disabling MSI turns the last completion into an interrupt that no handler can clear: every device on the line loses "
    "it. Until then the CPU does nothing else; with noirqdebug it never does again. A storm needs a handler on the line: without "
    "one the line is masked, and what the device asserts goes unseen.",
    trials=(
        *(storm(device, ends) for device, ends in ENDS.items()),
        trial("edu, MSI disabled, noirqdebug", Role.CLAIM, EDU, endless, f"{DISABLE} lab.noirqdebug"),
        *(kept_msi(device, ends) for device, ends in ENDS.items()),
        *map(unhandled, ENDS),
        trial("edu, MSI disabled, its own handler on the line, too", Role.CONTROL, EDU, SERVED, f"{DISABLE} lab.line=owner"),
        trial(f"virtio-blk, MSI disabled, work ends {when(AFTER)}", Role.CONTROL, BLK, SILENT, DISABLE, AFTER),
    ),
)
