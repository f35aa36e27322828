# SPDX-License-Identifier: BSD-2-Clause
"""What the outgoing kernel does, from the last thing that it drives to its last bus-master clear."""

from __future__ import annotations

from typing import Iterator

from witness import devices
from witness.devices import Load
from witness.evidence.case import Case
from witness.evidence.interrupts import TABLE_MASKED, is_vector_control
from witness.judge import ram, signature
from witness.judge.engine import (
    Finding, Missing, keeps_master, need_functions, need_trace, need_writes, span, told, working,
)  # fmt: skip
from witness.judge.policies import SHUTDOWN
from witness.machine.record import Entry
from witness.pci.registers import ENABLE, PCI_VENDOR_ID, Register
from witness.trace.events import ConfigRead, ConfigWrite, Event, MmioWrite
from witness.trace.phases import Hop


def config_writes_are_policys(case: Case, hop: Hop) -> Finding:
    image = range(case.begin(hop), hop.out.stop)
    # Whoever leaves a transfer under way has done with configuration space, even if the next device is still to be armed.
    armed = [request.line for request in ram.all_in_flight(case, hop, None) if request.line]
    lines = range(min([case.shutdown_start(hop), *armed]), hop.out.stop)
    done: list[Event] = [*case.within(ConfigWrite, lines), *_read_after_clear(case, hop)]
    policy = SHUTDOWN[case.shutdown]
    if policy.resets:
        done += signature.last_resets(case, image)
    problems, updates, functions = signature.contradictions(case, lines, policy, done)
    if not problems:
        need_trace(case, ConfigWrite, "write to configuration space", image)
        need_trace(case, ConfigRead, "read of configuration space", image)
    return problems, f"{updates} writes of 16 bits to {functions} functions, trace {lines.start}-{lines.stop - 1}"


def _read_after_clear(case: Case, hop: Hop) -> Iterator[ConfigRead]:
    """What a function is read for once its bus master is off, up to the next kernel's enumeration, which begins with an ID."""
    cleared = {change.bdf: change.line for change in case.changes(hop.out) if change.master_cleared}
    for event in case.within(ConfigRead, range(hop.out.start, hop.inward.stop)):
        if event.line >= hop.window.start and event.offset == PCI_VENDOR_ID:
            return
        if cleared.get(event.bdf, event.line) < event.line:
            yield event


def children_before_parents(case: Case, hop: Hop) -> Finding | None:
    """Where both have bus master, and the policy clears it."""
    need_functions(case)
    masters = [] if keeps_master(case) else case.history.masters(hop.out.start)
    below = [(bdf, bridge) for bdf in masters for bridge in case.topology.upstream(bdf) if bridge in masters]
    clears = {change.bdf: change.line for change in case.changes(hop.out) if change.master_cleared}
    pairs = [(bdf, bridge) for bdf, bridge in below if bdf in clears and bridge in clears]
    if below and not pairs:
        raise Missing(f"bus master of {below[0][0]} and of bridge {below[0][1]} was not cleared in both")
    problems = [
        f"bridge {bridge} at trace {clears[bridge]}, {bdf} behind it at {clears[bdf]}"
        for bdf, bridge in pairs
        if clears[bridge] < clears[bdf]
    ]
    return (problems, f"{len(pairs)} functions behind a bridge") if pairs else None


def no_device_is_written_to(case: Case, hop: Hop) -> Finding:
    """No driver but the console's has a shutdown callback: no device is told anything, and by keep-msi not a vector is masked.

    A handler may still acknowledge a transfer that ended meanwhile, and offer a buffer again that a frame came into.
    """
    writes = [write for write in case.device_writes(hop.out) if not _allowed(case, write)]
    if not writes:
        need_writes(case, range(case.begin(hop), hop.out.stop))
    return list(map(told, writes)), span("no write to a BAR", hop.out)


def _allowed(case: Case, write: MmioWrite) -> bool:
    owner = case.owner(write)
    function = case.topology.functions.get(owner) if owner else None
    policy = SHUTDOWN[case.shutdown]
    if policy.masks and function and is_vector_control(write) and write.value == TABLE_MASKED:
        return bool(case.history.value(function.bdf, Register.MSIX, write.line) & ENABLE[Register.MSIX])
    if policy.resets and devices.resets(write):
        return True
    model = devices.model_of(function) if function else None
    return bool(function and model and model.allowed_while_leaving(case, function, write))


def work_is_in_flight(case: Case, hop: Hop, entry: Entry) -> Finding | None:
    """In the hands of each device that can have some when a kernel leaves; or of one of its kind, where a device may be too
    quick."""
    if keeps_master(case) or SHUTDOWN[case.shutdown].resets:
        return None
    memory = case.run.ram_at(entry)
    groups: dict[str, list[devices.Request]] = {}
    for function, model in working(case):
        if model.load is not Load.NONE:
            who = f"{model.kind} {function.bdf}" if model.load is Load.EACH else model.kind
            groups.setdefault(who, []).extend(ram.in_flight(case, hop, function, memory))
    taken = {who: sum(request.taken for request in found) for who, found in groups.items()}
    problems = [
        f"{who}: {len(found)} requests wait, the device has taken none" if found else f"{who}: no request is in flight"
        for who, found in groups.items()
        if not taken[who]
    ]
    looked = (f"{who}: {len(found)} requests, {taken[who]} of them taken by the device" for who, found in groups.items())
    return (problems, "; ".join(looked)) if groups else None
