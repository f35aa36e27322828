# SPDX-License-Identifier: BSD-2-Clause
"""The guest's log: the lines that the witness checks against the trace."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Iterable, Sequence

from witness.pci.registers import Register
from witness.pci.topology import Bdf
from witness.trace.state import Change

# The fixed format of every register change: `first  pci 0000:00:03.0 command 0x0507 -> 0x0503 (clear bus master)`.
_CHANGE = re.compile(
    r"\w+ +pci (?P<bdf>[0-9a-f:.]+) (?P<register>command|msi control|msix control) "
    r"0x(?P<old>[0-9a-f]{4}) -> 0x(?P<new>[0-9a-f]{4}) \(.*\)$"
)
_DETAIL = re.compile(r"\w+ +pci ")
_GATEWAY = re.compile(r"(?P<image>\w+) +(?P<bdf>[0-9a-f:.]+) (?:virtio-net|e1000e): 10\.0\.2\.2 is at (?P<mac>[0-9a-f:]+)$")
_NOBODY_CARED = re.compile(r"irq \d+: nobody cared")


@dataclass(frozen=True)
class LoggedChange:
    """A register change, as the guest's log has it."""

    bdf: Bdf
    register: Register
    old: int
    new: int

    def is_of(self, change: Change) -> bool:
        return (change.bdf, change.register, change.old, change.new) == (self.bdf, self.register, self.old, self.new)

    def __str__(self) -> str:
        return f"{self.bdf} {self.register.value} 0x{self.old:04x} -> 0x{self.new:04x}"


def changes(log: Iterable[str]) -> list[LoggedChange]:
    return [
        LoggedChange(Bdf.parse(m["bdf"]), Register(m["register"]), int(m["old"], 16), int(m["new"], 16))
        for m in map(_CHANGE.match, log)
        if m
    ]


def gateways(log: Iterable[str], bdf: Bdf) -> list[tuple[str, bytes]]:
    """Image and Ethernet address of 10.0.2.2, for each image whose driver of this network function has received one."""
    found = (m for m in map(_GATEWAY.match, log) if m and Bdf.parse(m["bdf"]) == bdf)
    return [(m["image"], bytes.fromhex(m["mac"].replace(":", ""))) for m in found]


def last_line(log: Sequence[str]) -> str:
    """The last line before the verdict, if there is one, that is no register change: it has the reason."""
    lines = (line for line in reversed(log) if line and not line.startswith("GUEST: "))
    return next((line for line in lines if not _DETAIL.match(line)), "")


def nobody_cared(log: Iterable[str]) -> list[str]:
    return [line for line in log if _NOBODY_CARED.search(line)]
