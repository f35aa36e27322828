# SPDX-License-Identifier: BSD-2-Clause
"""Whether the images really drove the devices: by interrupts, transfers and data that only a driver can cause."""

from __future__ import annotations

from witness import devices
from witness.evidence.case import Case
from witness.judge import network
from witness.judge.engine import Finding, Missing, need_working
from witness.machine.record import Ram
from witness.trace.phases import Hop

OURS = ("first", "second")


def first_drives_every_device(case: Case) -> Finding | None:
    if case.first is None or case.first.name not in case.entry_lines:
        raise Missing("no image was entered")
    stop = case.handed_over[0].out.start if case.handed_over else case.end + 1
    ram = case.run.ram_at(case.next) if case.next else None
    return _driven(case, range(case.entry_lines[case.first.name], stop), ram, last=False)


def next_drives_every_device(case: Case, hop: Hop) -> Finding | None:
    """The last image must also have the disk's content, first's pattern, in RAM."""
    name = case.chain[hop.number - 1] if hop.number <= len(case.chain) else "an image beyond the chain's end"
    if name not in OURS:
        raise Missing(f"{name} is no image of this project: the devices that it drives are unknown")
    last = hop.number == len(case.chain)
    return _driven(case, hop.inward, case.run.ram_after() if last else None, last)


def _driven(case: Case, lines: range, ram: Ram | None, last: bool) -> Finding | None:
    functions = [function for function, _ in need_working(case)]
    problems = [f"{f.bdf}: {p}" for f in functions for p in devices.not_driven(case, f, lines, ram, last)]
    looked = ", ".join(str(function.bdf) for function in functions)
    return (problems, f"{looked} in trace {lines.start}-{lines.stop - 1}") if functions else None


def frames_go_out_and_come_in(case: Case) -> Finding | None:
    nics = case.run.machine.nics
    if not nics:
        return None
    if case.first is None or case.first.name not in case.entry_lines:
        raise Missing("no image was entered")
    images = [case.first.name, *(name for name in case.chain[:len(case.handed_over)] if name in OURS)]
    problems = [problem for nic in nics for problem in network.contradictions(case, nic, images)]
    return problems, "; ".join(network.looked_at(case, nic) for nic in nics)
