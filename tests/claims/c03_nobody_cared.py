# SPDX-License-Identifier: BSD-2-Clause
"""C3: with MSI disabled at shutdown, a device that has work in flight asserts INTx, and the line storms until it is given up."""

from __future__ import annotations

import re
from functools import partial

from tests.claims.devices import AHCI, BLK, BLK_2015, SHARED_EDU as EDU, Device
from witness.devices import edu
from witness.lab.disk import reads_ended
from witness.lab.experiment import Experiment, Judge, Role, Trial, Value, exactly
from witness.lab.machines import SHARED
from witness.lab.observation import Observation, at
from witness.lab.stage import Action, Stage
from witness.pci.registers import PCI_INTERRUPT_LINE, PCI_STATUS, PCI_STATUS_INTERRUPT

GSI = EDU.gsi  # of all that interrupt on that machine

# kernel/irq/spurious.c: of so many interrupts nearly none handled, and the line is given up.
NOBODY_CARED = 100000

# Where work ends: before bus master is cleared, which is the last that a policy does to a function, or after it.
BEFORE, AFTER = "before-clear", "after-clear"

# In flight, and not in need of bus master to end: reads that the harness holds, of AHCI's the first; edu's DMA of 100 ms.
REQUESTS = {EDU: 1, AHCI: 1, BLK: 8, BLK_2015: 8}


def points(device: Device, ends: str) -> dict[str, Action]:
    """What the harness does at the image's points; ends: where it lets the reads go."""
    held: dict[str, Action] = {"driven": device.hold, ends: device.let_go} if device.disk else {}
    return held | {"walk-on": partial(look, device)}


def look(device: Device, stage: Stage) -> None:
    now = stage.config(device.bdf)
    stage.note("pending", now[PCI_STATUS] & PCI_STATUS_INTERRUPT != 0)
    stage.note("masked", is_masked(stage, now[PCI_INTERRUPT_LINE]))
    if device.disk:
        stage.note("ended", reads_ended(stage, device.disk))
    else:
        stage.note("running", stage.busy())


def ended(device: Device, seen: Observation) -> int:
    """Requests between the points driven and walk-on."""
    if device.disk:
        return seen.noted("ended") - seen.noted("ended before")
    return len(edu.all_dmas(seen.case, seen.between("driven", "walk-on"))) - seen.noted("running")


def is_masked(stage: Stage, irq: int) -> bool:
    """In the 8259, by QEMU's word."""
    (imr,) = re.findall(rf"pic{irq // 8}: irr=\w+ imr=(\w+)", stage.monitor("info pic"))
    return bool(int(imr, 16) >> irq % 8 & 1)


# Where the work of each ends. A virtio device of today says nothing when its bus master is off.
ENDS = {EDU: AFTER, AHCI: AFTER, BLK: BEFORE, BLK_2015: AFTER}


def outcome(device: Device, msi: int, messages: int, edges: int, interrupts: int, masked: int, level: int) -> Judge:
    """What comes of the work in flight, from its beginning to where the walk goes on; and the line at the end of it all."""

    def judge(seen: Observation) -> list[Value]:
        lines = seen.between("driven", "walk-on")
        rises = [edge for edge in seen.edges(lines) if edge.gsi == GSI]
        fires, taken = seen.messages(lines), seen.taken(lines)
        senders = [bdf for bdf, _ in seen.case.history.signalling(lines.stop)]
        return [
            exactly("MSI or MSI-X on", int(device.bdf in senders), msi),
            exactly("requests that ended", ended(device, seen), REQUESTS[device]),
            exactly("messages", len(fires), messages, at(fires)),
            exactly("INTx edges", len(rises), edges, at(rises)),
            exactly("Interrupt Status of the device", seen.noted("pending"), level),
            exactly("interrupts", len(taken), interrupts, at(taken)),
            exactly("line masked in the 8259", seen.noted("masked"), masked),
            exactly("level of the line at the end", seen.level(GSI, seen.mark("end").line), level),
        ]

    return judge


def stormed(device: Device, ends: str) -> Judge:
    """One edge, and no end to it but that the line is given up; the walk stands still meanwhile."""
    storm = outcome(device, msi=0, messages=0, edges=1, interrupts=NOBODY_CARED, masked=1, level=1)

    def judge(seen: Observation) -> list[Value]:
        early, late = (seen.taken(seen.between(*points)) for points in (("driven", AFTER), ("walk-on", "end")))
        return [
            *storm(seen),
            exactly("interrupts before bus master is cleared", len(early), NOBODY_CARED if ends == BEFORE else 0, at(early)),
            exactly("interrupts after the line was given up", len(late), 0, at(late)),
        ]

    return judge


def endless(seen: Observation) -> list[Value]:
    """Where nobody counts, the walk does not go on."""
    lines = seen.between(AFTER)
    taken = seen.taken(lines)
    walks_on = [mark for mark in seen.marks if mark.name == "walk-on"]
    return [
        exactly("INTx edges", len(seen.edges(lines)), 1, at(seen.edges(lines))),
        exactly("interrupts, up to where the run is ended", len(taken), 2 * NOBODY_CARED, at(taken)),
        exactly("the walk goes on", len(walks_on), 0),
        exactly("level of the line at the end", seen.level(GSI, lines.stop), 1),
    ]


def trial(name: str, role: Role, device: Device, judge: Judge, words: str, ends: str = "") -> Trial:
    return Trial(name, role, SHARED, "c03_nobody_cared", judge, f"{device.word} {words}", points(device, ends or ENDS[device]))


DISABLE, KEEP = "handoff.shutdown=disable-msi", "handoff.shutdown=keep-msi"


def storm(device: Device, ends: str) -> Trial:
    return trial(f"{device.name}, MSI disabled, work ends {said(ends)}", Role.CLAIM, device, stormed(device, ends), DISABLE)


def kept_msi(device: Device, ends: str) -> Trial:
    """Its messages arrive while bus master is on; there is nothing else."""
    messages = REQUESTS[device] if ends == BEFORE else 0
    judge = outcome(device, msi=1, messages=messages, edges=0, interrupts=0, masked=0, level=0)
    return trial(f"{device.name}, MSI kept, work ends {said(ends)}", Role.CONTROL, device, judge, KEEP)


def nobody(device: Device, ends: str) -> Trial:
    judge = outcome(device, msi=0, messages=0, edges=1, interrupts=0, masked=1, level=1)
    return trial(f"{device.name}, MSI disabled, no handler on the line", Role.CONTROL, device, judge, f"{DISABLE} lab.line=nobody")


def said(ends: str) -> str:
    return f"{ends.removesuffix('-clear')} bus master is cleared"


SERVED = outcome(EDU, msi=0, messages=0, edges=1, interrupts=1, masked=0, level=0)
SILENT = outcome(BLK, msi=0, messages=0, edges=0, interrupts=0, masked=0, level=0)

EXPERIMENT = Experiment(
    title="With MSI disabled at shutdown, work in flight ends in an INTx storm",
    source="the patch: \"after we disable MSI, the device may assert INT#x [...] which causes an 'irq %d: nobody cared' message "
    "[...] or if irq debugging was explicitly disabled on the kernel command line\"; fda78d7a0ead; Linux, kernel/irq/spurious.c",
    falsified_by="no edge on the line, or one that does not storm; a storm with MSI kept",
    provoked_by="edu's DMA, or reads that blkdebug holds, end when MSI is off; a serial port has its handler on the line",
    reading="Disabling MSI turns the last completion into an interrupt that nobody can end: the line is lost to all who share it. "
    "Meanwhile the CPU does nothing else; with noirqdebug it never does again. It takes a handler on the line: where there is "
    "none, the line is masked, and what the device asserts goes unseen.",
    trials=(
        *(storm(device, ends) for device, ends in ENDS.items()),
        trial("edu, MSI disabled, noirqdebug", Role.CLAIM, EDU, endless, f"{DISABLE} lab.noirqdebug"),
        *(kept_msi(device, ends) for device, ends in ENDS.items()),
        *(nobody(device, ends) for device, ends in ENDS.items()),
        trial("edu, MSI disabled, its own handler on the line, too", Role.CONTROL, EDU, SERVED, f"{DISABLE} lab.line=owner"),
        trial(f"virtio-blk, MSI disabled, work ends {said(AFTER)}", Role.CONTROL, BLK, SILENT, DISABLE, AFTER),
    ),
)
