# SPDX-License-Identifier: BSD-2-Clause
"""C1: a cleared bus master suppresses MSI and MSI-X."""

from __future__ import annotations

from witness.lab.experiment import Experiment, Judge, Role, Trial, Value, exactly
from witness.lab.machines import EDU
from witness.lab.observation import Observation, at


def messages(wanted: int) -> Judge:
    def judge(seen: Observation) -> list[Value]:
        raised = seen.between("ready", "raised")
        (edu,) = seen.functions("edu")
        return [
            exactly("interrupts raised in the device", len(seen.writes_to(edu, raised)), 1, at(seen.writes_to(edu, raised))),
            exactly("messages", len(seen.messages(raised)), wanted, at(seen.messages(raised))),
        ]

    return judge


EXPERIMENT = Experiment(
    title="A cleared bus master suppresses MSI and MSI-X",
    source="the patch: \"MSI is a memory write and so is suppressed when bus master is cleared\"; PCIe 6.1.4, 7.5.1.1.3",
    falsified_by="a message that arrives although the sender's bus master is off",
    provoked_by="edu is told to interrupt",
    reading="Bus master is the switch for messages: a kernel that clears it needs no other.",
    trials=(
        Trial("edu, MSI, bus master off", Role.CLAIM, EDU, "c01_bus_master", messages(0), "lab.master=off"),
        Trial("edu, MSI, bus master on", Role.CONTROL, EDU, "c01_bus_master", messages(1), "lab.master=on"),
    ),
)
