# SPDX-License-Identifier: BSD-2-Clause
"""C3: with MSI disabled at shutdown, a device that has work in flight asserts INTx, and the line storms until it is given up."""

from __future__ import annotations

import re
from dataclasses import dataclass

from witness.lab.disk import hold, let_go, reads_ended, virtio
from witness.lab.experiment import Action, Experiment, Judge, Role, Trial, Value, exactly
from witness.lab.machines import SHARED
from witness.lab.observation import Observation, at
from witness.lab.stage import Stage
from witness.memory import EDU_DMA_COMMAND, EDU_DMA_RUN, edu_dmas
from witness.pci import PCI_BASE_ADDRESS_0, PCI_INTERRUPT_LINE, PCI_STATUS, PCI_STATUS_INTERRUPT, Bdf
from witness.qemu import configs

GSI = 21  # of all that interrupt on that machine

# kernel/irq/spurious.c: of so many interrupts nearly none handled, and the line is given up.
NOBODY_CARED = 100000

# Where work ends: before bus master is cleared, which is the last that a policy does to a function, or after it.
BEFORE, AFTER = "before-clear", "after-clear"


@dataclass(frozen=True)
class Load:
    """A device, and the work that it has in flight: reads that the harness holds; or, without a disk, edu's DMA of 100 ms."""

    name: str
    word: str  # for the image
    bdf: Bdf
    requests: int
    disk: str = ""

    def points(self, ends: str) -> dict[str, Action]:
        """What the harness does at the image's points; ends: where it lets the reads go."""
        if not self.disk:
            return {"walk-on": self.look}
        return {"driven": self.hold, ends: lambda stage: let_go(stage, self.disk), "walk-on": self.look}

    def hold(self, stage: Stage) -> None:
        keep(stage, "ended before", reads_ended(stage, self.disk))
        hold(stage, self.disk)

    def look(self, stage: Stage) -> None:
        now = dict(configs(stage.session.qmp))[self.bdf]
        keep(stage, "pending", int(now[PCI_STATUS] & PCI_STATUS_INTERRUPT != 0))
        keep(stage, "masked", int(is_masked(stage, now[PCI_INTERRUPT_LINE])))
        if self.disk:
            keep(stage, "ended", reads_ended(stage, self.disk))
        else:
            bar = int.from_bytes(now[PCI_BASE_ADDRESS_0:][:4], "little")  # of 32 bits, not prefetchable: no flag is set
            command = stage.monitor(f"xp /1wx {bar + EDU_DMA_COMMAND:#x}").split()[-1]
            keep(stage, "running", int(command, 16) & EDU_DMA_RUN)

    def ended(self, seen: Observation) -> int:
        """Requests between the points driven and walk-on."""
        if self.disk:
            return kept(seen, "ended") - kept(seen, "ended before")
        return len(edu_dmas(seen.case, seen.between("driven", "walk-on"))) - kept(seen, "running")


def is_masked(stage: Stage, irq: int) -> bool:
    """In the 8259, by QEMU's word."""
    (imr,) = re.findall(rf"pic{irq // 8}: irr=\w+ imr=(\w+)", stage.monitor("info pic"))
    return bool(int(imr, 16) >> irq % 8 & 1)


def keep(stage: Stage, name: str, value: int) -> None:
    stage.kept[name] = str(value).encode()


def kept(seen: Observation, name: str) -> int:
    return int(seen.kept[name])


EDU = Load("edu", "lab.edu", Bdf(0, 9, 0), 1)
AHCI = Load("ich9-ahci", "lab.ahci", Bdf(0, 13, 0), 1, "sata")  # the reads behind the first need bus master
BLK = Load("virtio-blk", "lab.virtio-blk", Bdf(0, 17, 0), 8, virtio("vda"))
BLK_2015 = Load("virtio-blk of 2015", "lab.virtio-blk.1", Bdf(0, 21, 0), 8, virtio("vdb"))

# Where the work of each ends. A virtio device of today says nothing when its bus master is off.
ENDS = {EDU: AFTER, AHCI: AFTER, BLK: BEFORE, BLK_2015: AFTER}


def outcome(load: Load, msi: int, messages: int, edges: int, interrupts: int, masked: int, level: int) -> Judge:
    """What comes of the work in flight, from its beginning to where the walk goes on; and the line at the end of it all."""

    def judge(seen: Observation) -> list[Value]:
        lines = seen.between("driven", "walk-on")
        rises = [edge for edge in seen.edges(lines) if edge.gsi == GSI]
        fires, taken = seen.messages(lines), seen.taken(lines)
        senders = [bdf for bdf, _ in seen.case.history.signalling(lines.stop)]
        return [
            exactly("MSI or MSI-X on", int(load.bdf in senders), msi),
            exactly("requests that ended", load.ended(seen), load.requests),
            exactly("messages", len(fires), messages, at(fires)),
            exactly("INTx edges", len(rises), edges, at(rises)),
            exactly("Interrupt Status of the device", kept(seen, "pending"), level),
            exactly("interrupts", len(taken), interrupts, at(taken)),
            exactly("line masked in the 8259", kept(seen, "masked"), masked),
            exactly("level of the line at the end", seen.level(GSI, seen.mark("end").line), level),
        ]

    return judge


def stormed(load: Load, ends: str) -> Judge:
    """One edge, and no end to it but that the line is given up; the walk stands still meanwhile."""
    storm = outcome(load, msi=0, messages=0, edges=1, interrupts=NOBODY_CARED, masked=1, level=1)

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


def trial(name: str, role: Role, load: Load, judge: Judge, words: str, ends: str = "") -> Trial:
    return Trial(name, role, SHARED, "c03_nobody_cared", judge, f"{load.word} {words}", load.points(ends or ENDS[load]))


DISABLE, KEEP = "handoff.shutdown=disable-msi", "handoff.shutdown=keep-msi"


def storm(load: Load, ends: str) -> Trial:
    return trial(f"{load.name}, MSI disabled, work ends {said(ends)}", Role.CLAIM, load, stormed(load, ends), DISABLE)


def kept_msi(load: Load, ends: str) -> Trial:
    """Its messages arrive while bus master is on; there is nothing else."""
    messages = load.requests if ends == BEFORE else 0
    judge = outcome(load, msi=1, messages=messages, edges=0, interrupts=0, masked=0, level=0)
    return trial(f"{load.name}, MSI kept, work ends {said(ends)}", Role.CONTROL, load, judge, KEEP)


def nobody(load: Load, ends: str) -> Trial:
    judge = outcome(load, msi=0, messages=0, edges=1, interrupts=0, masked=1, level=1)
    return trial(f"{load.name}, MSI disabled, no handler on the line", Role.CONTROL, load, judge, f"{DISABLE} lab.line=nobody")


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
        *(storm(load, ends) for load, ends in ENDS.items()),
        trial("edu, MSI disabled, noirqdebug", Role.CLAIM, EDU, endless, f"{DISABLE} lab.noirqdebug"),
        *(kept_msi(load, ends) for load, ends in ENDS.items()),
        *(nobody(load, ends) for load, ends in ENDS.items()),
        trial("edu, MSI disabled, its own handler on the line, too", Role.CONTROL, EDU, SERVED, f"{DISABLE} lab.line=owner"),
        trial(f"virtio-blk, MSI disabled, work ends {said(AFTER)}", Role.CONTROL, BLK, SILENT, DISABLE, AFTER),
    ),
)
