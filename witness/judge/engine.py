# SPDX-License-Identifier: BSD-2-Clause
"""The claims, each judged from what the devices did.

A rule is one function. It gets the evidence and returns what contradicts the claim (nothing, if it holds) and one line
that says what was looked at. The order here is the order of the verdict table.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Callable, Iterator

from witness.boot.protocol import E820_DMA, HEADER, HEADER_MAGIC, e820
from witness.devices import ahci, driving, e1000e, nvme, serial as uart
from witness.devices.virtio import BLK, NET_NOTIFY
from witness.evidence import guestlog
from witness.evidence.case import Case
from witness.judge import hazards, memory, network, pattern, signature
from witness.judge.policies import KEEPING_MASTER, MASKING, RESETTING, SHUTDOWN, STARTUP, after
from witness.machine.description import Content
from witness.machine.record import Entry, Outcome, Ram, Run
from witness.pci.registers import ENABLE, PCI_COMMAND, PCI_COMMAND_MASTER, PCI_VENDOR_ID, PIRQ_DISABLE, PIRQ_ROUTERS, Register
from witness.pci.topology import Bdf, Function, Topology
from witness.trace.events import ConfigRead, ConfigWrite, Event, GsiLevel, MmioWrite, Msi
from witness.trace.phases import Hop

# Documentation/x86/boot.rst, 64-bit boot protocol.
BOOT_CS, BOOT_DS = 0x10, 0x18
RFLAGS_IF = 0x200
CR0_PG = 0x8000_0000
LVT_MASKED = 0x1_0000
SPIV_ENABLE = 0x100
EFER_LMA = 0x400

MSIX_MASKED = 1  # Vector Control


class Result(Enum):
    PASS = "pass"
    FAIL = "fail"
    ABSENT = "absent"  # the evidence is missing, so the claim is not shown


@dataclass(frozen=True)
class Verdict:
    id: str
    claim: str
    result: Result
    evidence: str


NO_HOP = "no bus master was cleared after MSI was on"
OURS = ("first", "second")


class Missing(Exception):
    """What a rule needs is not there."""


# Evidence that is there but makes no sense is no evidence either.
UNREADABLE = (Missing, ValueError, LookupError, OSError, struct.error, AssertionError)

Finding = tuple[list[str], str]  # contradictions; what was looked at


@dataclass(frozen=True)
class Rule:
    id: str
    claim: str
    find: Callable[[Case], Finding | None]  # None: the claim says nothing about this run
    per_hop: bool = False  # needs no more than the trace of one

    def verdict(self, case: Case) -> Verdict | None:
        try:
            finding = self.find(case)
        except UNREADABLE as error:
            text = str(error) if isinstance(error, (Missing, ValueError)) else f"{type(error).__name__}: {error}"
            return Verdict(self.id, self.claim, Result.ABSENT, text)
        if finding is None:
            return None
        problems, looked = finding
        if not problems:
            return Verdict(self.id, self.claim, Result.PASS, looked)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return Verdict(self.id, self.claim, Result.FAIL, problems[0] + more)


RULES: list[Rule] = []


def rule(id: str, claim: str) -> Callable[[Callable[[Case], Finding | None]], None]:
    def register(find: Callable[[Case], Finding | None]) -> None:
        RULES.append(Rule(id, claim, find))

    return register


def rule_at_the_jump(id: str, claim: str) -> Callable[[Callable[[Case], Finding | None]], None]:
    """A claim about the chain's first hand-off, where it has one."""

    def register(find: Callable[[Case], Finding | None]) -> None:
        RULES.append(Rule(id, claim, lambda case: find(case) if case.chain else None))

    return register


def rule_per_hop(id: str, claim: str, none: bool = False) -> Callable[[Callable[[Case, Hop], Finding]], None]:
    """A claim about each hand-off of the chain. Under policy `none` only those hold that ask for no clear."""

    def register(find: Callable[[Case, Hop], Finding]) -> None:
        def find_all(case: Case) -> Finding | None:
            if case.shutdown == "none" and not none or not case.chain:
                return None
            hops = case.handed_over
            if not hops:
                raise Missing(NO_HOP)
            findings = [find(case, hop) for hop in hops]
            if len(findings) == 1:
                return findings[0]
            problems = [f"hop {hop.number}: {p}" for hop, (found, _) in zip(hops, findings) for p in found]
            return problems, f"{len(findings)} hops; the last: {findings[-1][1]}"

        RULES.append(Rule(id, claim, find_all, per_hop=True))

    return register


def judge(run: Run) -> list[Verdict]:
    case = Case(run)
    verdicts = (rule.verdict(case) for rule in RULES)
    return [verdict for verdict in verdicts if verdict]


# --- how far it came ---


@rule("guest", "the guest itself is content")
def _(case: Case) -> Finding:
    said = case.run.detail
    return ([] if case.run.outcome is Outcome.PASS else [said]), said


@rule("hops", "every image of the chain hands over, once")
def _(case: Case) -> Finding:
    if case.shutdown in KEEPING_MASTER and len(case.chain) > 1:
        raise Missing("where bus master stays on, a trace tells of no hand-off but the one that was stopped at")
    expected, found = len(case.chain), len(case.handed_over)
    looked = f"{found} out phases in {case.end} trace lines"
    return ([] if found == expected else [f"{found} out phases, the chain has {expected}"]), looked


# --- out ---


@rule_per_hop("out-signature", "out: config writes are the policy's, and no other", none=True)
def _(case: Case, hop: Hop) -> Finding:
    # Whoever leaves a transfer under way has done with configuration space, even if the next device is still to be armed.
    quiet = min([case.quiet_from(hop), *(dma.line for dma in memory.armed_edus(case, hop))])
    lines = range(quiet, hop.out.stop)
    done: list[Event] = [*case.within(ConfigWrite, lines), *_read_behind(case, hop)]
    if case.shutdown in RESETTING:
        done += signature.last_resets(case, range(case.begin(hop), hop.out.stop))
    problems, updates, functions = signature.contradictions(case, lines, SHUTDOWN[case.shutdown], done)
    return problems, f"{updates} writes of 16 bits to {functions} functions, trace {lines.start}-{lines.stop - 1}"


def _read_behind(case: Case, hop: Hop) -> Iterator[ConfigRead]:
    """What a function is read for once its bus master is off, up to the next kernel's enumeration, which begins with an ID."""
    cleared = {change.bdf: change.line for change in case.changes(hop.out) if change.master_cleared}
    for event in case.within(ConfigRead, range(hop.out.start, hop.inward.stop)):
        if event.line >= hop.window.start and event.offset == PCI_VENDOR_ID:
            return
        if cleared.get(event.bdf, event.line) < event.line:
            yield event


@rule_per_hop("out-order", "out: children before parents")
def _(case: Case, hop: Hop) -> Finding:
    clears = {change.bdf: change.line for change in case.changes(hop.out) if change.master_cleared}
    pairs = [(bdf, bridge) for bdf in clears for bridge in case.topology.upstream(bdf) if bridge in clears]
    problems = [
        f"bridge {bridge} at trace {clears[bridge]}, {bdf} behind it at {clears[bdf]}"
        for bdf, bridge in pairs
        if clears[bridge] < clears[bdf]
    ]
    return problems, f"{len(pairs)} functions behind a bridge" if pairs else "no function is behind a bridge"


@rule_per_hop("out-device", "out: no device is written to but by the policy")
def _(case: Case, hop: Hop) -> Finding:
    """No driver but the console's has a shutdown callback: no device is told anything, and by keep-msi not a vector is masked.

    A handler may still acknowledge a transfer that ended meanwhile, and offer a buffer again that a frame came into.
    """
    allowed = (_acknowledges, _answers, _masks, _ends, _offers_again, _speaks)
    writes = [w for w in case.device_writes(hop.out) if not any(allow(case, w) for allow in allowed)]
    return list(map(_told, writes)), _span("no write to a BAR", hop.out)


def _masks(case: Case, write: MmioWrite) -> bool:
    owner = case.bars.owner(write.address, write.line)
    if case.shutdown not in MASKING or owner is None or not driving.is_vector_control(write):
        return False
    return write.value == MSIX_MASKED and bool(case.history.value(owner, Register.MSIX, write.line) & ENABLE[Register.MSIX])


def _ends(case: Case, write: MmioWrite) -> bool:
    return case.shutdown in RESETTING and signature.resets(write)


def _acknowledges(case: Case, write: MmioWrite) -> bool:
    owner = case.bars.owner(write.address, write.line)
    if owner not in case.topology.functions or not signature.is_edu_write(write, memory.EDU_IRQ_ACK):
        return False
    armed = max((dma.line for dma in memory.edu_dmas(case, range(write.line)) if dma.bdf == owner), default=write.line)
    message = case.topology.functions[owner].msi_message
    return any((m.address, m.data) == message for m in case.within(Msi, range(armed, write.line)))


def _answers(case: Case, write: MmioWrite) -> bool:
    """An AHCI function interrupted since the last command."""
    owner = case.bars.owner(write.address, write.line)
    if owner not in case.topology.functions or not ahci.acknowledges(write):
        return False
    issued = [w.line for w in case.device_writes(range(write.line)) if ahci.issues(w)]
    return _interrupted(case, case.topology.functions[owner], range(max(issued, default=write.line), write.line))


def _offers_again(case: Case, write: MmioWrite) -> bool:
    """A network function interrupted since the last write to it but one: a second frame's interrupt may come before the
    buffer of the first is offered."""
    owner = case.bars.owner(write.address, write.line)
    if owner not in case.topology.functions or not (write.region == NET_NOTIFY or e1000e.offers(write)):
        return False
    function = case.topology.functions[owner]
    before = [w.line for w in case.device_writes(range(write.line)) if case.bars.owner(w.address, w.line) == owner]
    since = range(before[-2] if len(before) > 1 else 0, write.line)
    return _interrupted(case, function, since)


def _interrupted(case: Case, function: Function, since: range) -> bool:
    own = driving.own_messages(case, function, range(since.stop))
    line = any(e.level and case.topology.may_drive(function.bdf, e.gsi) for e in case.within(GsiLevel, since))
    return line or any((m.address, m.data) in own for m in case.within(Msi, since))


def _speaks(case: Case, write: MmioWrite) -> bool:
    """A console's last line: before the policy takes bus master from it, not after."""
    owner = case.bars.owner(write.address, write.line)
    if owner not in case.topology.functions or not driving.is_serial(case.topology.functions[owner]):
        return False
    return bool(case.history.value(owner, Register.COMMAND, write.line) & PCI_COMMAND_MASTER)


# --- load ---


@rule_at_the_jump("load", "out: work is in flight when bus master goes")
def _(case: Case) -> Finding | None:
    if case.shutdown in KEEPING_MASTER + RESETTING:
        return None
    hop, jump = _jump(case)
    ram = case.run.ram_at(jump)
    driven = driving.driven(case)
    virtio = list(memory.virtio_requests(case, hop, ram))
    problems, looked = [], []
    if any(map(driving.is_disk, driven)):
        requests = [request for request in virtio if request.queue.device == BLK]
        fetched = sum(memory.fetched(request, ram) for request in requests)
        returned = memory.armed_together(case, hop, ram) - len(requests)
        if not requests:
            problems.append("no virtio request is in flight")
        elif not fetched:
            problems.append(f"{len(requests)} virtio requests lie in their rings, no device had taken one")
        looked.append(f"{len(requests)} virtio requests, {fetched} of them taken by the device ({returned} had returned before)")
    # What frames and entropy come into lies in a ring until they do.
    waiting = Counter(request.queue.bdf for request in virtio if request.landings)
    for bdf in [f.bdf for f in driven if driving.is_virtio(f) and not driving.is_disk(f)]:
        if not waiting[bdf]:
            problems.append(f"no buffer of {bdf} is waiting")
        looked.append(f"{waiting[bdf]} buffers of {bdf} waiting")
    sata = list(memory.sata_reads(case, hop, ram))
    for bdf in [f.bdf for f in driven if driving.is_ahci(f)]:
        taken = [read.taken for read in sata if read.bdf == bdf]
        if not any(taken):
            problems.append(f"{len(taken)} reads of {bdf} wait in their slots, the disk had taken none")
        looked.append(f"{len(taken)} reads of {bdf}, {sum(taken)} of them taken by the disk")
    # Such a request waits until something happens; it writes nothing then but its completion.
    admins = {admin.bdf: admin for admin in nvme.admins(case.within(MmioWrite, range(hop.out.start)), case.bars)}
    for bdf in [f.bdf for f in driven if driving.is_nvme(f)]:
        commands = admins[bdf].in_flight(ram) if bdf in admins else []
        if nvme.ASYNC_EVENT not in [command.opcode for command in commands]:
            problems.append(f"no Asynchronous Event Request of {bdf} is in flight")
        looked.append(f"{len(commands)} admin commands of {bdf}")
    rings = {ring.bdf: ring for ring in memory.e1000e_rings(case, hop) if ring.kind == e1000e.RX}
    for bdf in [f.bdf for f in driven if driving.is_e1000e(f)]:
        buffers = rings[bdf].waiting(ram) if bdf in rings else []
        if not buffers:
            problems.append(f"no buffer of {bdf} is waiting")
        looked.append(f"{len(buffers)} buffers of {bdf} waiting")
    if any(map(driving.is_edu, driven)):
        edus = memory.armed_edus(case, hop)
        if not edus:
            problems.append("no edu DMA is in flight")
        looked.append(f"edu DMA of {', '.join(str(dma.bdf) for dma in edus)}")
    return (problems, "; ".join(looked)) if looked else None  # no function that can have work in flight


# --- the window ---


@rule_per_hop("window-msi", "window: no MSI")
def _(case: Case, hop: Hop) -> Finding:
    return [str(msi) for msi in hazards.stray_msis(case, hop)], _span("no message", hop.window)


@rule_per_hop("window-intx", "window: no INTx before its device has an owner")
def _(case: Case, hop: Hop) -> Finding:
    return [str(line) for line in hazards.unhandled_intx(case, hop)], _span("no edge", hop.window)


@rule_per_hop("window-device", "window: no device is written to but for its reset")
def _(case: Case, hop: Hop) -> Finding:
    """A reset is the next kernel's: after the jump, where that is known, and after the last write of startup."""
    ready = _started(case, hop)
    writes = case.device_writes(hop.window)
    problems = [_told(w) for w in writes if w.line < ready or not signature.resets(w)]
    return problems, _span(f"{len(writes)} resets, no other write to a BAR", hop.window)


def _told(write: MmioWrite) -> str:
    return f"0x{write.value:x} to {write.region} 0x{write.address:x} (trace {write.line})"


@rule_at_the_jump("handed", "jump: registers are what the policy promises")
def _(case: Case) -> Finding | None:
    """Read from the devices at the jump, not from the guest and not from the writes."""
    hop, jump = _jump(case)
    problems = []
    counted = {register: 0 for register in Register}
    quiet = case.quiet_from(hop)
    for function in Topology.of(jump.configs.items()).functions.values():
        steps = signature.expected_steps(case, function.bdf, quiet, SHUTDOWN[case.shutdown])
        expected = after(case.registers(function.bdf, quiet), steps)
        for register, offset in function.offsets.items():
            found = function.u16(offset)
            counted[register] += bool(found & ENABLE.get(register, 0))
            if found != expected[register]:
                problems.append(f"{function.bdf} {register.value} 0x{found:04x}, expected 0x{expected[register]:04x}")
    msi, msix = counted[Register.MSI], counted[Register.MSIX]
    return problems, f"read in {len(jump.configs)} functions: MSI on in {msi}, MSI-X on in {msix}"


# --- entry ---


@rule_at_the_jump("entry-state", "jump: CPU state is the boot protocol's")
def _(case: Case) -> Finding:
    entry = _entered(case)
    r = entry.registers
    header = case.run.boot_params(entry)[HEADER_MAGIC:][:4]
    checks = {
        "interrupts are on": not r["RFL"] & RFLAGS_IF,
        f"CS is 0x{r['CS']:x}": r["CS"] == BOOT_CS,
        f"DS, ES, SS are 0x{r['DS']:x}, 0x{r['ES']:x}, 0x{r['SS']:x}": {r["DS"], r["ES"], r["SS"]} == {BOOT_DS},
        "not in 64-bit mode with paging": bool(r["CR0"] & CR0_PG and r["EFER"] & EFER_LMA),
        f"RSI 0x{r['RSI']:x} points at no boot_params": header == HEADER,
    }
    return [problem for problem, fine in checks.items() if not fine], f"RIP 0x{r['RIP']:x}, boot_params 0x{r['RSI']:x}"


@rule_at_the_jump("entry-quiet", "jump: 8259 and local APIC let nothing through")
def _(case: Case) -> Finding:
    r = _entered(case).registers
    missing = {"pic0", "pic1", "LVT0", "SPIV"} - r.keys()
    if missing:
        raise Missing(f"the monitor did not show {', '.join(sorted(missing))}")
    checks = {
        f"8259 masks are 0x{r['pic0']:02x}, 0x{r['pic1']:02x}": r["pic0"] == r["pic1"] == 0xFF,
        f"LVT0 is 0x{r['LVT0']:x}: LINT0 is not masked": bool(r["LVT0"] & LVT_MASKED),
        f"SPIV is 0x{r['SPIV']:x}: the local APIC is on": not r["SPIV"] & SPIV_ENABLE,
    }
    return [problem for problem, fine in checks.items() if not fine], "all lines masked, LINT0 masked, local APIC off"


@rule_at_the_jump("reserved", "jump: what requests in flight may write is reserved")
def _(case: Case) -> Finding | None:
    if case.shutdown == "none":
        return None
    hop, jump = _jump(case)
    reserved = [addresses for addresses, kind in e820(case.run.boot_params(jump)) if kind == E820_DMA]
    ram = case.run.ram_at(jump)
    targets = [landing.addresses for landing in memory.landings_in_flight(case, hop, ram)]
    targets += [dma.target for dma in memory.armed_edus(case, hop) if dma.to_ram]
    for ring in memory.e1000e_rings(case, hop):
        targets += [ring.addresses, *(ring.waiting(ram) if ring.kind == e1000e.RX else ())]
    problems = [
        f"0x{target.start:x}-0x{target.stop:x} is not in memory of type 0x{E820_DMA:x}"
        for target in targets
        if not any(addresses.start <= target.start and target.stop <= addresses.stop for addresses in reserved)
    ]
    return problems, f"{len(targets)} buffers in {sum(map(len, reserved)) >> 10} KiB"


@rule_at_the_jump("entry-image", "jump: the image is in place, byte for byte")
def _(case: Case) -> Finding:
    entry = _entered(case)
    payload = case.run.image(entry.name).payload
    placed = case.run.ram_at(entry).read(range(entry.load_address, entry.load_address + len(payload)))
    different = [i for i, (a, b) in enumerate(zip(placed, payload)) if a != b]
    problems = [f"{len(different)} bytes differ, the first at +0x{different[0]:x}"] if different else []
    return problems, f"{len(payload)} bytes at 0x{entry.load_address:x}"


# --- in ---


@rule_per_hop("startup", "in: config writes are startup's, and no other", none=True)
def _(case: Case, hop: Hop) -> Finding:
    """From the last clear until bus master is set, nothing in configuration space is written but by startup's policy.

    A driver that is to reset its device may then ask for the size of a BAR. A port's has nothing to write: its previous
    owner has left it deaf.
    """
    writes = [w for w in case.within(ConfigWrite, hop.window) if not _opens_a_wire(case, w)]
    started = _started(case, hop)
    sized = _sizings(case, [w for w in writes if w.line > started])
    writes = [w for w in writes if w.line not in sized]
    entered = _entered_at(case, hop)
    early = [f"{w.bdf}: {signature.step(case, w, None)[1]}, before the jump" for w in writes if w.line < entered]
    problems, updates, functions = signature.contradictions(case, hop.window, STARTUP[case.startup], writes)
    return early + problems, f"{updates} writes of 16 bits to {functions} functions"


def _opens_a_wire(case: Case, write: ConfigWrite) -> bool:
    """The one change that belongs to a chipset's driver: a PIRQ wire that the previous kernel (Linux does) disabled."""
    router = case.topology.functions.get(write.bdf)
    if router is None or write.size != 1 or write.offset not in PIRQ_ROUTERS.get(router.u32(0), ()):
        return False
    disabled = router.config[write.offset]
    return bool(disabled & PIRQ_DISABLE) and write.value == disabled & ~PIRQ_DISABLE


def _sizings(case: Case, writes: list[ConfigWrite]) -> set[int]:
    """The lines of those that ask for the size of a BAR, and leave everything as it was."""
    found: set[int] = set()
    while writes:
        done = [(w.bdf, w.offset, w.value, w.size) for w in writes]
        size = next((len(steps) for steps in _sizing(case, writes[0]) if done[:len(steps)] == steps), 0)
        found |= {write.line for write in writes[:size]}
        writes = writes[size or 1:]
    return found


def _sizing(case: Case, first: ConfigWrite) -> Iterator[list[tuple[Bdf, int, int, int]]]:
    """What is written from here on if it is one, for each BAR: with decoding off, ones into its registers, and back."""
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


@rule_per_hop("reset", "in: what can be reset is, before bus master is set", none=True)
def _(case: Case, hop: Hop) -> Finding:
    """It is the driver's first write but for those that only quiet the device. Under policy `none` bus master was never off: the
    rest is what can be asked."""
    lines = range(hop.window.start, hop.inward.stop)
    masters = {c.bdf: c.line for c in reversed(case.changes(lines)) if c.master_set}
    begun: dict[Bdf, MmioWrite] = {}
    for write in case.device_writes(lines):
        owner = case.bars.owner(write.address, write.line)
        if owner and not (ahci.quiets(write) or e1000e.quiets(write) or uart.quiets(write)):
            begun.setdefault(owner, write)
    problems = []
    kinds = (driving.is_virtio, driving.is_nvme, driving.is_ahci, driving.is_e1000e, driving.is_serial)
    functions = [f.bdf for f in driving.driven(case) if any(is_one(f) for is_one in kinds)]
    for bdf in functions:
        if bdf not in begun:
            problems.append(f"{bdf}: not reset at all")
            continue
        write = begun[bdf]
        if not signature.resets(write):
            problems.append(f"{bdf}: the first write is {_told(write)}")
        elif masters.get(bdf, hop.inward.stop) < write.line:
            problems.append(f"{bdf}: bus master at trace {masters[bdf]}, reset at {write.line}")
    return problems, f"{len(functions)} functions"


@rule_per_hop("upstream", "in: bridges above have bus master on first")
def _(case: Case, hop: Hop) -> Finding:
    taken = [c for c in case.changes(hop.inward) if c.master_set]
    problems = [
        f"{c}: bridge {bridge} has it off"
        for c in taken
        for bridge in case.topology.upstream(c.bdf)
        if bridge not in case.history.masters(c.line)
    ]
    kept = case.history.masters(hop.inward.start) if case.shutdown in KEEPING_MASTER else []
    left = [f.bdf for f in driving.driven(case) if f.bdf not in [*kept, *(c.bdf for c in taken)]]
    return problems + [f"{bdf}: its bus master was never set" for bdf in left], f"set on {len(taken)} functions"


# --- driving ---


@rule("driven-first", "first drives every device: INTx, MSI, MSI-X, DMA")
def _(case: Case) -> Finding | None:
    if case.first is None or case.first.name not in case.entry_lines:
        raise Missing("no image was entered")
    stop = case.handed_over[0].out.start if case.handed_over else case.end + 1
    ram = case.run.ram_at(case.next) if case.next else None
    return _driven(case, range(case.entry_lines[case.first.name], stop), ram, last=False)


@rule_per_hop("driven-next", "the next image drives every device again", none=True)
def _(case: Case, hop: Hop) -> Finding:
    """The last image has to show in RAM, too, that what it read is what the disk holds: there is first's pattern."""
    name = case.chain[hop.number - 1] if hop.number <= len(case.chain) else "nobody"
    if name not in OURS:
        raise Missing(f"{name} is no image of this project: what it drives is not known")
    last = hop.number == len(case.chain)
    return _driven(case, hop.inward, case.run.ram_after() if last else None, last)


def _driven(case: Case, lines: range, ram: Ram | None, last: bool) -> Finding:
    functions = driving.driven(case)
    problems = [f"{f.bdf}: {p}" for f in functions for p in driving.not_seen(case, f, lines, ram, last)]
    looked = ", ".join(str(f.bdf) for f in functions) or "no function that has a driver"
    return problems, f"{looked} in trace {lines.start}-{lines.stop - 1}"


@rule("frames", "net: frames leave the machine, and answers come in")
def _(case: Case) -> Finding | None:
    nics = case.run.machine.nics
    if not nics:
        return None
    if case.first is None:
        raise Missing("no image was entered")
    images = [case.first.name, *(name for name in case.chain[:len(case.handed_over)] if name in OURS)]
    problems = [problem for nic in nics for problem in network.contradictions(case, nic, images)]
    return problems, "; ".join(network.looked_at(case, nic) for nic in nics)


# --- after ---


@rule("ram", "RAM: the old image's changes only by its requests")
def _(case: Case) -> Finding | None:
    # A longer chain reuses the first image's memory rightly, once its second image has reset every device.
    if case.shutdown in KEEPING_MASTER or len(case.chain) != 1:
        return None
    hop, jump = _jump(case)
    assert case.first
    before = case.run.ram_at(jump)
    owned = memory.owned_by_first(case, case.first, jump)
    taken = memory.taken_by_next(case, hop, jump)
    overlaps = [f"{jump.name} took {new}, in {old}" for new in taken for old in owned if new.overlaps(old)]
    allowed = memory.landings_in_flight(case, hop, before)
    changed, explained = memory.unexplained(owned, before, case.run.ram_after(), allowed)
    size = sum(len(extent.addresses) for extent in owned) >> 10
    problems = overlaps + [f"{extent} changed" for extent in changed]
    # QEMU completes block requests when it stops a machine: most have landed by the time the jump is looked at.
    landed = sum(memory.landed(landing, before) for landing in allowed)
    landings = f"{landed >> 10} KiB of requests in flight landed before, {explained >> 10} KiB after"
    return problems, f"{size} KiB compared with those at the jump; {landings}"


@rule("disk", "disk: it holds what the first image wrote")
def _(case: Case) -> Finding | None:
    disks = [disk for disk in case.run.machine.disks if disk.content == Content.ZEROS]
    if not disks:
        return None
    problems = [
        f"{disk.name}: {problem}"
        for disk in disks
        for problem in pattern.check(disk.file(case.run.directory).read_bytes()[: pattern.SIZE])
    ]
    return problems, f"{pattern.SIZE >> 10} KiB on {', '.join(disk.name for disk in disks)}"


@rule("disk-kept", "disk: nothing else was written")
def _(case: Case) -> Finding | None:
    """What was not zero when the run began is as it was; on an empty disk, all but the pattern."""
    disks = (*case.run.machine.disks, *case.run.machine.sata)
    if not disks:
        return None
    problems = []
    for disk in disks:
        found = disk.file(case.run.directory).read_bytes()
        with TemporaryDirectory() as directory:
            disk.create(Path(directory))
            made = disk.file(Path(directory)).read_bytes()
        kept = pattern.SIZE if disk.content == Content.ZEROS else 0
        if found[kept:] != made[kept:]:
            at = next((i for i, (a, b) in enumerate(zip(found[kept:], made[kept:]), kept) if a != b), min(len(found), len(made)))
            problems.append(f"{disk.name} differs at 0x{at:x}")
    return problems, f"{sum(disk.mib for disk in disks)} MiB on {', '.join(disk.name for disk in disks)}"


@rule("agreement", "log and trace tell the same register changes")
def _(case: Case) -> Finding:
    if case.first is None:
        raise Missing("no image was entered")
    done = case.changes(range(case.entry_lines[case.first.name], case.end + 1))
    told = guestlog.changes(case.run.log)
    for change, tale in zip_longest(done, told):
        if (
            change is None
            or tale is None
            or (change.bdf, change.register, change.old, change.new) != (tale.bdf, tale.register, tale.old, tale.new)
        ):
            return [f"the guest says {tale or 'nothing'}, the trace {change or 'nothing'}"], ""
    return [], f"{len(done)} changes"


# --- what rules share ---


def _entered(case: Case) -> Entry:
    if case.next is None:
        raise Missing("the next image was not entered where it asks to be")
    return case.next


def _started(case: Case, hop: Hop) -> int:
    """Where the next image's startup is over; at least, where the image begins."""
    return max([_entered_at(case, hop), *(c.line for c in case.changes(hop.window) if c.msi_disabled)])


def _jump(case: Case) -> tuple[Hop, Entry]:
    """The first hand-off and the machine at its jump."""
    if not case.handed_over:
        raise Missing(NO_HOP)
    return case.handed_over[0], _entered(case)


def _entered_at(case: Case, hop: Hop) -> int:
    """Where the next image begins; where that is not known, where the window does."""
    return next((line for line in case.entry_lines.values() if line in hop.window), hop.window.start)


def _span(what: str, lines: range) -> str:
    return f"{what} in trace {lines.start}-{lines.stop - 1}" if lines else "no such window"
