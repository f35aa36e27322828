# SPDX-License-Identifier: BSD-2-Clause
"""L2: DMA that a cleared bus master has only held back lands when bus master is set again.

Bus master off pauses a device: what it had begun is still there when the next kernel's driver sets the bit. The limit does not
exist if memory does not change although bus master is set while a transfer is under way, or while a frame waits for a buffer.

The images (out_windows.c or out.c, in_again.c) hand over with an edu's transfer of 100 ms under way, or with a network card's
buffers in its ring, for which a frame comes after the handoff. The next kernel takes the old kernel's DMA memory into use and sets
bus master. The trial fails if that kernel's memory is not overwritten, or if the frame is not in the old buffers. In the control
bus master is never set again, and nothing lands. The cure is to end the work with bus master off: by a reset, or by waiting.
"""

from __future__ import annotations

from functools import partial

from tests.claims.devices import FRAME, NIC, frame_comes
from tests.claims.dma import inside, keep, landed, memory, show, written
from tests.claims.measure import changes, counted
from witness.boot.protocol import E820_DMA
from witness.devices.edu import all_dmas
from witness.lab.experiment import Experiment, Judge, Role, Trial, Value, exactly
from witness.lab.machines import EDU, LINES
from witness.lab.observation import Observation
from witness.lab.stage import Action, Stage
from witness.pci.topology import Bdf

NEVER, BEFORE, AFTER = "lab.master=never", "lab.reset=before", "lab.reset=after"


def master(seen: Observation, bdf: Bdf, sets: int) -> list[Value]:
    """Its changes from the point armed on, where the device has work."""
    found = changes(seen, bdf, seen.between("armed"))
    return [
        counted("bus master cleared", [change for change in found if change.master_cleared], 1),
        counted("bus master set again", [change for change in found if change.master_set], sets),
    ]


# --- edu, with a transfer under way ---

MINE = bytes.fromhex("6d696e65")  # tests/claims/in_again.c


def look(stage: Stage) -> None:
    stage.note("edu runs", stage.busy())


def overwritten(sets: int, size: int) -> Judge:
    """The transfer was begun before the point armed, and no other is; what the run leaves in RAM at its target."""

    def judge(seen: Observation) -> list[Value]:
        (edu,) = seen.functions("edu")
        *_, last = (dma for dma in all_dmas(seen.case, range(seen.mark("armed").line)) if dma.to_ram)
        now = seen.run.ram_after()
        words = [range(word, word + len(MINE)) for word in last.target[::len(MINE)]]
        lost = [address for word in words if now.read(word) != MINE for address in word]
        show(seen, "end", lost, " of edu's")
        return [
            *master(seen, edu, sets),
            counted("transfers begun afterwards", all_dmas(seen.case, seen.between("armed", "end")), 0),
            exactly("transfers under way at the end", seen.noted("edu runs"), 0),
            landed("overwritten bytes of the next kernel", lost, size),
        ]

    return judge


def edu_trial(name: str, role: Role, judge: Judge, *options: str) -> Trial:
    command_line = " ".join(("handoff.next=in_again", *options))
    return Trial(f"edu, {name}", role, EDU, "out_windows", judge, command_line, {"end": look})


# --- a card that has buffers for frames ---

# Bytes that differ, in a buffer of zeros and in a descriptor: all of the frame's that are not 0, the length, the status.
SIZE = sum(map(bool, FRAME)) + 2


def answer(yes: bool, stage: Stage) -> None:
    stage.session.peers[NIC].answering = yes


def frame_waits(stage: Stage) -> None:
    frame_comes(stage)
    stage.keep_ram("before")


def received(sets: int, size: int) -> Judge:
    """What differs in the old kernel's DMA memory between the points frame and end."""

    def judge(seen: Observation) -> list[Value]:
        (nic,) = seen.functions("e1000e")
        old = memory(seen, "frame", E820_DMA)
        came = inside(written(seen, seen.mark("frame").value), old)
        frames = sum(seen.ram("after").read(extent).count(FRAME) for extent in old)
        show(seen, "end", came, " of e1000e's")
        return [
            *master(seen, nic, sets),
            exactly("frames in the old kernel's buffers", frames, int(size > 0)),
            landed("bytes written in the old kernel's memory", came, size),
        ]

    return judge


def nic_trial(name: str, role: Role, judge: Judge, *options: str) -> Trial:
    command_line = " ".join(("handoff.next=in_again", "lab.e1000e", *options))
    answers: dict[str, Action] = {"begun": partial(answer, True), "driven": partial(answer, False)}
    points = answers | {"frame": frame_waits, "end": keep("after")}
    return Trial(f"e1000e, {name}", role, LINES, "out", judge, command_line, points)


EXPERIMENT = Experiment(
    title="DMA that bus master held back lands when bus master is set again",
    source="what the patch leaves open: b566a22c23 clears bus master, and the next kernel's pci_set_master sets it again",
    falsified_by="memory that does not change, although bus master is set while a transfer is under way or a frame waits",
    provoked_by="edu's DMA of 100 ms is under way at shutdown, and a frame comes for a card after it; then bus master is set",
    reading="A cleared bus master pauses a device, and does not end what it had begun. A driver has to end that before it sets "
    "bus master again: by a reset or, where the device has none, by waiting with bus master off. Afterwards it is too late.",
    trials=(
        edu_trial("bus master set again", Role.CLAIM, overwritten(1, 2048)),
        edu_trial("bus master set again, then awaited", Role.CLAIM, overwritten(1, 2048), AFTER),
        nic_trial("bus master set again", Role.CLAIM, received(1, SIZE)),
        nic_trial("bus master set again, then reset", Role.CLAIM, received(1, SIZE), AFTER),
        edu_trial("bus master never set again", Role.CONTROL, overwritten(0, 0), NEVER),
        nic_trial("bus master never set again", Role.CONTROL, received(0, 0), NEVER),
        edu_trial("awaited with bus master off, then set again", Role.CURE, overwritten(1, 0), BEFORE),
        nic_trial("reset with bus master off, then set again", Role.CURE, received(1, 0), BEFORE),
    ),
)
