# SPDX-License-Identifier: BSD-2-Clause
"""What the local APIC holds, and what the CPU takes of it, as QEMU reports it."""

from __future__ import annotations

import re
from typing import NamedTuple

from witness.lab.experiment import Unshown, Value, exactly
from witness.lab.observation import Observation
from witness.lab.stage import Stage

IRR, ISR = "IRR", "ISR"  # accepted, and not taken yet; taken, and no EOI yet

# QEMU's log of interrupts (-d int). The CPU's exceptions are below the first vector of interrupts.
_TAKEN = re.compile(r" *\d+: v=([0-9a-f]{2}) ")
FIRST_VECTOR = 0x20


class Taken(NamedTuple):
    line: int
    vector: int


def look(stage: Stage, name: str, cpu: str = "") -> None:
    """Keeps the local APIC as it is now, of the first CPU or the one of this number."""
    stage.kept[name] = stage.monitor(f"info lapic {cpu}").encode()


def held(what: str, seen: Observation, name: str, expected: int, register: str = IRR) -> Value:
    """How many vectors there are in a register of the local APIC, as it was kept; the evidence is which."""
    found = re.search(rf"^{register}\s+(.*)$", kept(seen, name), re.MULTILINE)
    vectors = re.findall(r"\d+", found[1] if found else "")
    return exactly(what, len(vectors), expected, " ".join(f"0x{int(vector):02x}" for vector in vectors))


def kept(seen: Observation, name: str) -> str:
    if name not in seen.kept:
        raise Unshown(f"the local APIC was not read at {name}")
    return seen.kept[name].decode()


def log_interrupts(stage: Stage) -> None:
    """From here on the trace has each interrupt that the CPU takes, too."""
    stage.monitor("log int,trace:pic_interrupt")


def taken(seen: Observation, lines: range) -> list[Taken]:
    """After log_interrupts."""
    with (seen.run.directory / "trace.log").open(encoding="utf-8", errors="replace") as text:
        numbered = ((number, _TAKEN.match(line)) for number, line in enumerate(text, 1) if number in lines)
        found = [Taken(number, int(match[1], 16)) for number, match in numbered if match]
    return [one for one in found if one.vector >= FIRST_VECTOR]
