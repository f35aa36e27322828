# SPDX-License-Identifier: BSD-2-Clause
"""After the end of the run: RAM and disks."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from witness import devices
from witness.evidence.case import Case
from witness.judge import pattern, ram
from witness.judge.engine import Finding, Missing, jump, keeps_master, need_writes
from witness.machine.description import Content


def ram_changes_only_by_requests(case: Case) -> Finding | None:
    # In a longer chain the first image's memory may be reused once its second image has reset every device.
    if keeps_master(case) or len(case.chain) != 1:
        return None
    hop, entry = jump(case)
    assert case.first
    before, after = case.run.ram_at(entry), case.run.ram_after()
    owned, taken = ram.owned_by_first(case, case.first, entry), ram.taken_by_next(case, hop, entry)
    requests = ram.all_in_flight(case, hop, before)
    overlaps = [f"{entry.name} uses {new}, in {old}" for new in taken for old in owned if new.overlaps(old)]
    allowed = [landing for request in requests if not request.gated for landing in request.writes]
    changed, explained = ram.unexplained(owned, before, after, allowed)
    problems = overlaps + [f"{extent} changed" for extent in changed]
    if not problems:
        need_writes(case, range(hop.window.start, hop.inward.stop))
        if all(before.read(extent.addresses) == after.read(extent.addresses) for extent in taken):
            raise Missing(f"RAM at the end is the same as at the jump: not even {entry.name}'s own memory has changed")
        if len(owned) == 1 and any(devices.structures(case, range(hop.out.start))):
            raise Missing("the memory map has no memory for DMA")
    size = sum(len(extent.addresses) for extent in owned) >> 10
    # QEMU completes block requests when it stops a machine: most have landed at the jump.
    landed = sum(landing.landed(before) for landing in allowed)
    landings = f"{landed >> 10} KiB of requests in flight landed before, {explained >> 10} KiB after"
    return problems, f"{size} KiB compared with those at the jump; {landings}"


def disk_holds_the_pattern(case: Case) -> Finding | None:
    disks = [disk for disk in case.run.machine.disks if disk.content == Content.ZEROS]
    problems = [
        f"{disk.name}: {problem}"
        for disk in disks
        for problem in pattern.check(disk.file(case.run.directory).read_bytes()[: pattern.SIZE])
    ]
    return (problems, f"{pattern.SIZE >> 10} KiB on {', '.join(disk.name for disk in disks)}") if disks else None


def disk_is_otherwise_kept(case: Case) -> Finding | None:
    """A disk with content is unchanged; an empty disk, except for the pattern."""
    disks = (*case.run.machine.disks, *case.run.machine.sata)
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
    return (problems, f"{sum(disk.mib for disk in disks)} MiB on {', '.join(disk.name for disk in disks)}") if disks else None
