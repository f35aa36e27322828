# SPDX-License-Identifier: BSD-2-Clause
"""The machine where the next image is entered: read from devices, from the CPU and from RAM while it is stopped."""

from __future__ import annotations

from witness import devices
from witness.boot.protocol import E820_DMA, HEADER, HEADER_MAGIC, RFLAGS_IF, e820
from witness.evidence.case import Case
from witness.judge import ram, signature
from witness.judge.engine import Finding, Missing, need_functions, need_writes
from witness.judge.policies import SHUTDOWN, after
from witness.machine.record import Entry
from witness.pci.registers import ENABLE, Register
from witness.pci.topology import Topology
from witness.trace.phases import Hop

# Documentation/x86/boot.rst, 64-bit boot protocol.
BOOT_CS, BOOT_DS = 0x10, 0x18
CR0_PG = 0x8000_0000
LVT_MASKED = 0x1_0000
SPIV_ENABLE = 0x100
EFER_LMA = 0x400


def registers_are_as_left(case: Case, hop: Hop, entry: Entry) -> Finding:
    """Read from the devices at the jump, neither from the guest nor from the writes."""
    need_functions(case)
    problems = []
    counted = {register: 0 for register in Register}
    start = case.shutdown_start(hop)
    for function in Topology.of(entry.configs.items()).functions.values():
        steps = signature.expected_steps(case, function.bdf, start, SHUTDOWN[case.shutdown])
        expected = after(case.registers(function.bdf, start), steps)
        for register, offset in function.offsets.items():
            found = function.u16(offset)
            counted[register] += bool(found & ENABLE.get(register, 0))
            if found != expected[register]:
                problems.append(f"{function.bdf} {register.value} 0x{found:04x}, expected 0x{expected[register]:04x}")
    unread = case.topology.functions.keys() - entry.configs.keys()
    if unread and not problems:
        raise Missing(f"configuration space of {min(unread)} was not read at the jump")
    msi, msix = counted[Register.MSI], counted[Register.MSIX]
    return problems, f"read in {len(entry.configs)} functions: MSI on in {msi}, MSI-X on in {msix}"


def cpu_state_is_the_protocols(case: Case, hop: Hop, entry: Entry) -> Finding:
    r = entry.registers
    header = case.run.boot_params(entry)[HEADER_MAGIC:][:4]
    checks = {
        "interrupts are on": not r["RFL"] & RFLAGS_IF,
        f"CS is 0x{r['CS']:x}": r["CS"] == BOOT_CS,
        f"DS, ES, SS are 0x{r['DS']:x}, 0x{r['ES']:x}, 0x{r['SS']:x}": {r["DS"], r["ES"], r["SS"]} == {BOOT_DS},
        "not in 64-bit mode with paging": bool(r["CR0"] & CR0_PG and r["EFER"] & EFER_LMA),
        f"RSI 0x{r['RSI']:x} does not point to boot_params": header == HEADER,
    }
    return [problem for problem, fine in checks.items() if not fine], f"RIP 0x{r['RIP']:x}, boot_params 0x{r['RSI']:x}"


def interrupt_controllers_are_masked(case: Case, hop: Hop, entry: Entry) -> Finding:
    r = entry.registers
    missing = {"pic0", "pic1", "LVT0", "SPIV"} - r.keys()
    if missing:
        raise Missing(f"the monitor did not show {', '.join(sorted(missing))}")
    checks = {
        f"8259 masks are 0x{r['pic0']:02x}, 0x{r['pic1']:02x}": r["pic0"] == r["pic1"] == 0xFF,
        f"LVT0 is 0x{r['LVT0']:x}: LINT0 is not masked": bool(r["LVT0"] & LVT_MASKED),
        f"SPIV is 0x{r['SPIV']:x}: the local APIC is on": not r["SPIV"] & SPIV_ENABLE,
    }
    return [problem for problem, fine in checks.items() if not fine], "all lines masked, LINT0 masked, local APIC off"


def targets_are_reserved(case: Case, hop: Hop, entry: Entry) -> Finding | None:
    """Memory that a device may write, now or when its bus master is set again: buffers of requests in flight, and its rings."""
    if case.shutdown == "none":
        return None
    reserved = [addresses for addresses, kind in e820(case.run.boot_params(entry)) if kind == E820_DMA]
    requests = ram.all_in_flight(case, hop, case.run.ram_at(entry))
    targets = [landing.addresses for request in requests for landing in request.writes]
    targets += [extent.addresses for extent in devices.structures(case, range(hop.out.start))]
    problems = [
        f"0x{target.start:x}-0x{target.stop:x} is not in memory of type 0x{E820_DMA:x}"
        for target in targets
        if not any(addresses.start <= target.start and target.stop <= addresses.stop for addresses in reserved)
    ]
    if not problems:
        need_writes(case, range(hop.out.start))
    return (problems, f"{len(targets)} buffers in {sum(map(len, reserved)) >> 10} KiB") if targets else None


def image_is_in_place(case: Case, hop: Hop, entry: Entry) -> Finding:
    payload = case.run.image(entry.name).payload
    placed = case.run.ram_at(entry).read(range(entry.load_address, entry.load_address + len(payload)))
    different = [i for i, (a, b) in enumerate(zip(placed, payload)) if a != b]
    problems = [f"{len(different)} bytes differ, the first at +0x{different[0]:x}"] if different else []
    return problems, f"{len(payload)} bytes at 0x{entry.load_address:x}"
