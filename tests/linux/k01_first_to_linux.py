# SPDX-License-Identifier: BSD-2-Clause
"""K1: first hands over to Debian's kernel by the loader that starts second, with MSI-X on and reads in flight."""

from __future__ import annotations

from witness.lab.experiment import Experiment, Role, Value, exactly
from witness.linux.trial import FIRST, LINUX, Boot, Seen
from witness.machine import REFERENCE
from dataclasses import replace

MACHINE = replace(REFERENCE, mib=512)

WORDS = "console=ttyS0 linux.script=look"


def judge(seen: Seen) -> list[Value]:
    seen.need()
    return [exactly("x", len(seen.told("interrupts")), 3)]


EXPERIMENT = Experiment(
    title="Linux takes over from first",
    source="s",
    falsified_by="f",
    provoked_by="p",
    reading="r",
    trials=(
        Boot("first to Linux", Role.CLAIM, MACHINE, FIRST, judge, f"handoff.next=linux -- {WORDS}"),
        Boot("cold boot", Role.CONTROL, MACHINE, LINUX, judge, WORDS),
    ),
)
