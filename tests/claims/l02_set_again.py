# SPDX-License-Identifier: BSD-2-Clause
"""L2: DMA that a cleared bus master has only held back comes when bus master is set again."""

from __future__ import annotations

from tests.claims.dma import written
from tests.claims.loaded import FRAME, NIC
from witness.boot.protocol import BOOT_PARAMS_SIZE, E820_DMA, e820
from witness.devices.edu import all_dmas
from witness.lab.experiment import Experiment, Judge, Role, Trial, Value, exactly
from witness.lab.machines import EDU, LINES
from witness.lab.observation import Observation, at
from witness.lab.stage import Stage
from witness.pci.topology import Bdf
from witness.report.timeline import Landed

NEVER, BEFORE, AFTER = "lab.master=never", "lab.reset=before", "lab.reset=after"


def master(seen: Observation, bdf: Bdf, sets: int) -> list[Value]:
    """What becomes of it when the device has something to do."""
    changes = [change for change in seen.case.changes(range(seen.mark("armed").line, seen.case.end)) if change.bdf == bdf]
    cleared, again = [c for c in changes if c.master_cleared], [c for c in changes if c.master_set]
    return [
        exactly("bus master cleared", len(cleared), 1, at(cleared)),
        exactly("bus master set again", len(again), sets, at(again)),
    ]


# --- edu, with a transfer under way ---

MINE = bytes.fromhex("6d696e65")  # tests/claims/in_again.c


def look(stage: Stage) -> None:
    stage.note("edu runs", stage.busy())


def overwritten(sets: int, size: int) -> Judge:
    def judge(seen: Observation) -> list[Value]:
        (edu,) = seen.functions("edu")
        *_, last = (dma for dma in all_dmas(seen.case, range(seen.mark("armed").line)) if dma.to_ram)
        begun = all_dmas(seen.case, seen.between("armed", "end"))
        now = seen.run.ram_after().read(last.target)
        words = [now[i:i + len(MINE)] for i in range(0, len(now), len(MINE))]
        lost = len(MINE) * sum(word != MINE for word in words)
        if lost:
            seen.landed.append(Landed(seen.mark("end").line, f"{lost} bytes of edu's"))
        return [
            *master(seen, edu, sets),
            exactly("transfers begun afterwards", len(begun), 0, at(begun)),
            exactly("transfers under way at the end", seen.noted("edu runs"), 0),
            exactly("bytes of the next kernel's overwritten", lost, size, f"0x{last.target.start:x}, begun in trace {last.line}"),
        ]

    return judge


def edu_trial(name: str, role: Role, judge: Judge, *words: str) -> Trial:
    command_line = " ".join(("handoff.next=in_again", *words))
    return Trial(f"edu, {name}", role, EDU, "out_windows", judge, command_line, {"end": look})


# --- a card that has buffers for frames ---

# Bytes that differ, in a buffer of zeros and in a descriptor: all of the frame's that are not 0, the length, the status.
SIZE = sum(map(bool, FRAME)) + 2


def answer(stage: Stage) -> None:
    stage.session.peers[NIC].answering = True


def answer_nobody(stage: Stage) -> None:
    stage.session.peers[NIC].answering = False


def frame_comes(stage: Stage) -> None:
    stage.kept["boot_params"] = stage.read(stage.value, BOOT_PARAMS_SIZE)
    stage.session.peers[NIC].send(FRAME)
    stage.pass_through_main_loop()
    stage.keep_ram("before")


def keep_after(stage: Stage) -> None:
    stage.keep_ram("after")


def received(sets: int, size: int) -> Judge:
    def judge(seen: Observation) -> list[Value]:
        (nic,) = seen.functions("e1000e")
        old = [extent for extent, kind in e820(seen.kept["boot_params"]) if kind == E820_DMA]
        came = [address for address in written(seen, seen.mark("frame").value) if any(address in extent for extent in old)]
        frames = sum(seen.ram("after").read(extent).count(FRAME) for extent in old)
        if came:
            seen.landed.append(Landed(seen.mark("end").line, f"{len(came)} bytes of e1000e's"))
        return [
            *master(seen, nic, sets),
            exactly("frames in the last kernel's buffers", frames, int(size > 0)),
            exactly("bytes written in the last kernel's memory", len(came), size, f"0x{came[0]:x}-0x{came[-1]:x}" if came else ""),
        ]

    return judge


def nic_trial(name: str, role: Role, judge: Judge, *words: str) -> Trial:
    command_line = " ".join(("handoff.next=in_again", "lab.e1000e", *words))
    points = {"begun": answer, "driven": answer_nobody, "frame": frame_comes, "end": keep_after}
    return Trial(f"e1000e, {name}", role, LINES, "out", judge, command_line, points)


EXPERIMENT = Experiment(
    title="DMA that bus master held back comes when bus master is set again",
    source="what the patch leaves open: b566a22c23 clears bus master, and the next kernel's pci_set_master sets it again",
    falsified_by="memory that stays what it is, although bus master is set while a transfer is under way or a frame waits",
    provoked_by="edu's DMA of 100 ms is under way at shutdown, and a frame comes for a card behind it; then bus master is set",
    reading="A cleared bus master pauses a device, and does not end what it had begun. Whoever sets it again has to have ended "
    "that before: by a reset or, where the device has none, by waiting with bus master off. What comes behind it comes too late.",
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
