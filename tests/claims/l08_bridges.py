# SPDX-License-Identifier: BSD-2-Clause
"""L8: QEMU ignores a bridge's bus master, so a kernel that forgets it is found out on hardware only."""

from __future__ import annotations

from tests.claims.dma import first_params, written
from witness.lab.experiment import Experiment, Judge, Role, Trial, Value, exactly
from witness.lab.machines import BRIDGED
from witness.lab.observation import Observation, at
from witness.lab.stage import Stage
from witness.pci.registers import PCI_COMMAND_MASTER, Register
from witness.pci.topology import Bdf
from witness.report.timeline import Landed

SIZE = 2048  # of the transfer


def bridges_on(seen: Observation, edu: Bdf, line: int) -> str:
    above = seen.case.topology.upstream(edu)
    on = [bdf for bdf in above if seen.register(bdf, Register.COMMAND, line) & PCI_COMMAND_MASTER]
    return f"{len(on)} of {len(above)}"


def arrives(bridges: str, master: str, messages: int, size: int, order: str = "") -> Judge:
    """order: in which bus master was set, where that is asked."""

    def judge(seen: Observation) -> list[Value]:
        (edu,) = seen.functions("edu")
        lines = seen.between("ready", "ended")
        own = seen.register(edu, Register.COMMAND, lines.start) & PCI_COMMAND_MASTER
        sets = [change for change in seen.case.changes(seen.between("open", "ready")) if change.master_set]
        sent, came = seen.messages(lines), written(seen, first_params(seen))
        if came:
            seen.landed.append(Landed(lines.stop, f"{len(came)} bytes"))
        set_in = " ".join(str(change.bdf) for change in sets)
        return [
            *([exactly("bus master set, in this order", set_in, order, at(sets))] if order else []),
            exactly("bridges above with bus master on", bridges_on(seen, edu, lines.start), bridges),
            exactly("bus master of edu", "on" if own else "off", master),
            exactly("messages", len(sent), messages, at(sent)),
            exactly("bytes that landed", len(came), size, f"0x{came[0]:x}" if came else ""),
        ]

    return judge


def trial(name: str, role: Role, judge: Judge, *words: str) -> Trial:
    command_line = " ".join(("handoff.startup=hardened", *words))
    points = {"ready": before, "ended": after}
    return Trial(f"edu behind a switch, {name}", role, BRIDGED, "l08_bridges", judge, command_line, points)


def before(stage: Stage) -> None:
    stage.keep_ram("before")


def after(stage: Stage) -> None:
    stage.keep_ram("after")


EXPERIMENT = Experiment(
    title="QEMU lets messages and DMA through bridges whose bus master is off",
    source="PCIe 7.5.1.1.3: where a port's bus master is off, memory and I/O requests from below are Unsupported Requests; "
    "QEMU 7.2 does not look",
    falsified_by="a message or a byte that does not arrive with the bridges' bus master off",
    provoked_by="edu behind three bridges is told to move 2048 bytes into RAM, and to send a message then",
    reading="A kernel that sets bus master on its devices only works here and fails on hardware. That it does not forget the "
    "bridges can be shown in QEMU all the same, by the order of the writes: from the root downwards, the device last.",
    trials=(
        trial("bridges' bus master off", Role.CLAIM, arrives("0 of 3", "on", 1, SIZE), "lab.bridges=off"),
        trial("its own bus master off", Role.CONTROL, arrives("3 of 3", "off", 0, 0), "lab.master=off"),
        trial("pci_set_master", Role.CURE, arrives("3 of 3", "on", 1, SIZE, "00:06.0 01:00.0 02:00.0 03:00.0")),
    ),
)
