# SPDX-License-Identifier: BSD-2-Clause
"""The outgoing kernel, from its drivers' last access to its last bus-master clear."""

from __future__ import annotations

from typing import Iterator

from witness import devices
from witness.devices import Load
from witness.evidence.case import Case
from witness.evidence.interrupts import TABLE_MASKED, is_vector_control
from witness.judge import ram, signature
from witness.judge.engine import (
    Finding, Missing, device_write, keeps_master, need_functions, need_trace, need_working, need_writes, span,
)  # fmt: skip
from witness.judge.policies import SHUTDOWN
from witness.machine.record import Entry
from witness.pci.registers import ENABLE, PCI_VENDOR_ID, Register
from witness.trace.events import ConfigRead, ConfigWrite, Event, MmioWrite
from witness.trace.phases import Hop


def config_writes_are_policys(case: Case, hop: Hop) -> Finding:
    image = range(case.begin(hop), hop.out.stop)
    # Once a transfer is left in flight no more configuration writes are due, even if the next device is still to be given work.
    submitted = [request.line for request in ram.all_in_flight(case, hop, None) if request.line > image.start]
    lines = range(min([case.shutdown_start(hop), *submitted]), hop.out.stop)
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
    """Reads of a function after its bus master was cleared, up to the next kernel's enumeration, which begins with an ID."""
    cleared = {change.bdf: change.line for change in case.changes(hop.out) if change.master_cleared}
    for event in case.within(ConfigRead, range(hop.out.start, hop.inward.stop)):
        if event.line >= hop.window.start and event.offset == PCI_VENDOR_ID:
            return
        if cleared.get(event.bdf, event.line) < event.line:
            yield event


def children_before_parents(case: Case, hop: Hop) -> Finding | None:
    """For pairs that both have bus master on, if the policy clears it."""
    need_functions(case)
    masters = [] if keeps_master(case) else case.history.masters(hop.out.start)
    below = [(bdf, bridge) for bdf in masters for bridge in case.topology.upstream(bdf) if bridge in masters]
    clears = {change.bdf: change.line for change in case.changes(hop.out) if change.master_cleared}
    pairs = [(bdf, bridge) for bdf, bridge in below if bdf in clears and bridge in clears]
    if below and not pairs:
        raise Missing(f"bus master was not cleared in both {below[0][0]} and bridge {below[0][1]}")
    problems = [
        f"bridge {bridge} at trace {clears[bridge]}, {bdf} below it at {clears[bdf]}"
        for bdf, bridge in pairs
        if clears[bridge] < clears[bdf]
    ]
    return (problems, f"{len(pairs)} functions below a bridge") if pairs else None


def only_policy_writes_to_devices(case: Case, hop: Hop) -> Finding:
    """Only the console's driver has a shutdown callback: nothing is written to other devices, and keep-msi masks no vector.

    A handler may still acknowledge a transfer that ended meanwhile, and offer the buffer of a received frame again.
    """
    writes = [write for write in case.device_writes(hop.out) if not _allowed(case, write)]
    if not writes:
        need_writes(case, range(hop.out.stop))
    return list(map(device_write, writes)), span("no write to a BAR", hop.out)


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
    """Each device that can have requests at shutdown has taken one; or one device of its kind, where a device may be too quick."""
    if keeps_master(case) or SHUTDOWN[case.shutdown].resets:
        return None
    memory = case.run.ram_at(entry)
    groups: dict[str, list[devices.Request]] = {}
    for function, model in need_working(case):
        if model.load is not Load.NONE:
            name = f"{model.kind} {function.bdf}" if model.load is Load.EACH else model.kind
            groups.setdefault(name, []).extend(ram.in_flight(case, hop, function, memory))
    taken = {name: sum(request.taken for request in found) for name, found in groups.items()}
    problems = [
        f"{name}: {len(found)} requests wait, the device has taken none" if found else f"{name}: no request is in flight"
        for name, found in groups.items()
        if not taken[name]
    ]
    examined = (f"{name}: {len(found)} requests, {taken[name]} of them taken by the device" for name, found in groups.items())
    return (problems, "; ".join(examined)) if groups else None
