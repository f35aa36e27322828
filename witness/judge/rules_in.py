# SPDX-License-Identifier: BSD-2-Clause
"""The incoming kernel, before and while it takes devices over."""

from __future__ import annotations

from typing import Iterator

from witness import devices
from witness.devices import Effect, Reset
from witness.evidence.case import Case
from witness.judge import signature
from witness.judge.engine import Finding, Missing, device_write, entered_at, keeps_master, need_trace, need_working, started
from witness.judge.policies import STARTUP
from witness.pci.registers import PCI_COMMAND, PIRQ_DISABLE, PIRQ_ROUTERS, Register
from witness.pci.topology import Bdf
from witness.trace.events import ConfigRead, ConfigWrite, MmioWrite
from witness.trace.phases import Hop


def config_writes_are_startups(case: Case, hop: Hop) -> Finding:
    """From the last clear until bus master is set, only startup's policy writes to configuration space.

    A driver that resets its device may size a BAR then. A port's driver writes nothing: its previous owner has left its
    events disabled.
    """
    writes = [w for w in case.within(ConfigWrite, hop.window) if not _enables_a_wire(case, w)]
    sized = _sizings(case, [w for w in writes if w.line > started(case, hop)])
    writes = [w for w in writes if w.line not in sized]
    entered = entered_at(case, hop)
    early = [f"{w.bdf}: {signature.step(case, w, None)[1]}, before the jump" for w in writes if w.line < entered]
    problems, updates, functions = signature.contradictions(case, hop.window, STARTUP[case.startup], writes)
    if not early + problems:
        need_trace(case, ConfigWrite, "write to configuration space", range(hop.out.stop))
        need_trace(case, ConfigRead, "read of configuration space after the jump", range(hop.window.start, hop.inward.stop))
    return early + problems, f"{updates} writes of 16 bits to {functions} functions"


def _enables_a_wire(case: Case, write: ConfigWrite) -> bool:
    """The one write of a chipset's driver: it enables a PIRQ wire that the previous kernel disabled, as Linux does."""
    router = case.topology.functions.get(write.bdf)
    if router is None or write.size != 1 or write.offset not in PIRQ_ROUTERS.get(router.u32(0), ()):
        return False
    disabled = router.config[write.offset]
    return bool(disabled & PIRQ_DISABLE) and write.value == disabled & ~PIRQ_DISABLE


def _sizings(case: Case, writes: list[ConfigWrite]) -> set[int]:
    """The lines of writes that size a BAR and restore it."""
    found: set[int] = set()
    while writes:
        done = [(w.bdf, w.offset, w.value, w.size) for w in writes]
        size = next((len(steps) for steps in _sizing(case, writes[0]) if done[:len(steps)] == steps), 0)
        found |= {write.line for write in writes[:size]}
        writes = writes[size or 1:]
    return found


def _sizing(case: Case, first: ConfigWrite) -> Iterator[list[tuple[Bdf, int, int, int]]]:
    """For each BAR the writes that size it: decoding off, ones into its registers, the old value, decoding on."""
    if first.bdf not in case.topology.functions:
        return
    function = case.topology.functions[first.bdf]
    command = case.history.value(first.bdf, Register.COMMAND, first.line)
    for decoding, bar in function.bars:
        on = [(first.bdf, PCI_COMMAND, command, 2)] if command & decoding else []
        off = [(first.bdf, PCI_COMMAND, command & ~decoding, 2) for _ in on]
        ones = [(first.bdf, register, 0xFFFFFFFF, 4) for register in bar]
        back = [(first.bdf, register, function.u32(register), 4) for register in bar]
        yield off + ones + back + on


def reset_comes_before_bus_master(case: Case, hop: Hop) -> Finding | None:
    """The reset is the driver's first write, apart from writes that only disable interrupts or requests. Under policy `none` bus
    master was never off, and only that is judged."""
    functions = [function.bdf for function, model in need_working(case) if model.reset is Reset.REGISTER]
    lines = range(hop.window.start, hop.inward.stop)
    masters = {c.bdf: c.line for c in reversed(case.changes(lines)) if c.master_set}
    begun: dict[Bdf | None, MmioWrite] = {}
    for write in case.device_writes(lines):
        if devices.effect(write) is not Effect.DISABLE:
            begun.setdefault(case.owner(write), write)
    problems = []
    for bdf in functions:
        if bdf not in begun:
            problems.append(f"{bdf}: never reset")
        elif not devices.resets(begun[bdf]):
            problems.append(f"{bdf}: the first write is {device_write(begun[bdf])}")
        elif masters.get(bdf, hop.inward.stop) < begun[bdf].line:
            problems.append(f"{bdf}: bus master at trace {masters[bdf]}, reset at {begun[bdf].line}")
    return (problems, f"{len(functions)} functions") if functions else None


def upstream_bridges_come_first(case: Case, hop: Hop) -> Finding | None:
    functions = [function.bdf for function, _ in need_working(case)]
    enabled = [change for change in case.changes(hop.inward) if change.master_set]
    if not enabled and not functions:
        return None
    if not enabled and not keeps_master(case):
        raise Missing("the trace shows no bus master being set")
    problems = [
        f"{change}: it is off in bridge {bridge}"
        for change in enabled
        for bridge in case.topology.upstream(change.bdf)
        if bridge not in case.history.masters(change.line)
    ]
    kept = case.history.masters(hop.inward.start) if keeps_master(case) else []
    problems += [f"{bdf}: its bus master was never set" for bdf in functions if bdf not in [*kept, *(c.bdf for c in enabled)]]
    below = sum(bool(case.topology.upstream(change.bdf)) for change in enabled)
    return problems, f"set on {len(enabled)} functions, {below} of them below a bridge"
