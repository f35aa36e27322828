# SPDX-License-Identifier: BSD-2-Clause
"""L8: QEMU ignores a bridge's bus master, so a kernel that forgets it fails on hardware only.

A bridge whose Bus Master Enable is 0 answers memory requests from below as Unsupported Requests (PCIe 7.5.1.1.3). QEMU 7.2 does not
check it. The limit does not exist if a message or a byte of a device does not arrive with the bridges' bus master off.

The image (l08_bridges.c) has edu, which is below three bridges, move 2048 bytes into RAM and send a message then. The trial fails
if either is missing while the bridges' bus master is off. In the control edu's own is off, and nothing arrives. The cure is
pci_set_master; on QEMU it shows in the order of its writes: from the root downwards, the device last.
"""

from __future__ import annotations

from tests.claims.dma import first_params, keep, landed, show, written
from tests.claims.measure import counted, master_on, switch
from witness.lab.experiment import Experiment, Judge, Role, Trial, Value, exactly
from witness.lab.machines import BRIDGED
from witness.lab.observation import Observation, at

SIZE = 2048  # of the transfer


def arrives(bridges: str, master: str, messages: int, size: int, order: str = "") -> Judge:
    """Bus master when edu starts, at the point ready; messages and bytes from there to the point ended. order: in which bus master
    was set before that, if given."""

    def judge(seen: Observation) -> list[Value]:
        (edu,) = seen.functions("edu")
        lines, came = seen.between("ready", "ended"), written(seen, first_params(seen))
        above = [master_on(seen, bridge, lines.start) for bridge in seen.case.topology.upstream(edu)]
        sets = [change for change in seen.case.changes(seen.between("open", "ready")) if change.master_set]
        set_in = " ".join(str(change.bdf) for change in sets)
        show(seen, "ended", came)
        return [
            *([exactly("bus master set, in this order", set_in, order, at(sets))] if order else []),
            exactly("bridges above with bus master on", f"{sum(above)} of {len(above)}", bridges),
            exactly("bus master of edu", switch(master_on(seen, edu, lines.start)), master),
            counted("messages", seen.messages(lines), messages),
            landed("bytes that landed", came, size),
        ]

    return judge


def trial(name: str, role: Role, judge: Judge, *options: str) -> Trial:
    command_line = " ".join(("handoff.startup=hardened", *options))
    points = {"ready": keep("before"), "ended": keep("after")}
    return Trial(f"edu below a switch, {name}", role, BRIDGED, "l08_bridges", judge, command_line, points)


EXPERIMENT = Experiment(
    title="QEMU forwards messages and DMA through bridges with bus master off",
    source="PCIe 7.5.1.1.3: where a port's bus master is off, memory and I/O requests from below are Unsupported Requests; QEMU "
    "7.2 does not check it",
    falsified_by="a message or a byte that does not arrive with the bridges' bus master off",
    provoked_by="edu below three bridges moves 2048 bytes into RAM, and sends a message then",
    reading="A kernel that sets bus master only on its devices works here and fails on hardware. QEMU can still show that it sets "
    "it on the bridges, by the order of the writes: from the root downwards, the device last.",
    trials=(
        trial("bridges' bus master off", Role.CLAIM, arrives("0 of 3", "on", 1, SIZE), "lab.bridges=off"),
        trial("its own bus master off", Role.CONTROL, arrives("3 of 3", "off", 0, 0), "lab.master=off"),
        trial("pci_set_master", Role.CURE, arrives("3 of 3", "on", 1, SIZE, "00:06.0 01:00.0 02:00.0 03:00.0")),
    ),
)
