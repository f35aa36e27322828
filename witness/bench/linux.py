# SPDX-License-Identifier: BSD-2-Clause
"""The Linux columns: Debian's kernel by kexec on the same machine, with the same trace and the same rules."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Callable, Mapping, Sequence

from witness.bench.config import READS, ConfigAccess, accesses, entry_line, in_lines, linux_line, only_hop
from witness.bench.handoff import DISKS, MACHINE, STAMPS, Bench, Timed, first_done, in_memory, passed, stamp
from witness.evidence.case import Case
from witness.lab.experiment import Role
from witness.lab.stage import Stage
from witness.linux.trial import FIRST, INITRD, LINUX, TIMEOUT_MIN_S, Boot, Seen, perform
from witness.machine.qemu import AtEntry, Session, Start, Unusable, run
from witness.machine.record import Outcome, Run
from witness.pci.registers import Register
from witness.trace.events import ConfigRead

OURS, THEIRS = "ours", "Linux"

# Only warnings on the console, which is slow.
WORDS = "console=ttyS0 quiet linux.script=bench"

# In the machine's time an instruction takes 64 ns: kexec's hashing takes longer than Linux's watchdog allows.
ALONE = "console=ttyS0 quiet nowatchdog rdinit=/scripts/count"


@dataclass(frozen=True)
class Pair:
    """Outgoing and incoming kernel."""

    outgoing: str
    incoming: str

    def __str__(self) -> str:
        return f"{self.outgoing} -> {self.incoming}"


PAIRS = (Pair(OURS, OURS), Pair(THEIRS, THEIRS), Pair(OURS, THEIRS), Pair(THEIRS, OURS))


def hand_off(pair: Pair, points: Mapping[str, Callable[[Stage], None]] = {}) -> Boot:
    """A handoff with a Linux in it. The second Linux, and its archive, is the same as the first."""
    boot = partial(Boot, str(pair), Role.CLAIM, MACHINE, judge=lambda _: [], points=points)
    if pair.outgoing == OURS:
        return boot(FIRST, words=f"handoff.next=linux -- {WORDS}")
    if pair.incoming == OURS:
        return boot(LINUX, words=f"{WORDS} linux.next=second", files=("second.bin", "next.cpio"), ends_in="guest")
    return boot(LINUX, words=WORDS, files=(LINUX, INITRD))


# --- the steps of the blackout, by one rule for all pairs ---

STEPS = (
    "to its first access to configuration space",
    "to MSI-X off in every function",
    "to its first driver: bus master on",
    "to its disk's bus master",
    "to the disk's first MSI-X message",
)


def blackout(case: Case, pair: Pair) -> dict[str, range]:
    """Trace lines of each step, from the last bus-master clear to the first request that the disk has reported as done."""
    hop = only_hop(case)
    if pair.incoming == THEIRS:
        begins = linux_line(case, hop, pair.outgoing == THEIRS)
    else:
        entered = entry_line(case, hop)
        begins = next((read.line for read in case.within(ConfigRead, range(entered, hop.inward.start))), entered)
    off = [c.line for c in case.changes(range(begins, hop.inward.start)) if c.register is Register.MSIX and c.msi_disabled]
    master = [c.line for c in case.changes(range(hop.inward.start, hop.inward.stop)) if c.master_set and c.bdf in DISKS]
    done = first_done(case, hop)
    if not off or not master or not done:
        raise Unusable(f"{pair}: the trace does not show MSI-X disabled, then the disk's bus master set and its first message")
    ends = [hop.window.start - 1, begins, off[-1], hop.inward.start, master[0], done]
    return {name: range(start, stop) for name, (start, stop) in zip(STEPS, pairwise(ends))}


# --- runs ---


@dataclass(frozen=True)
class Columns:
    """All accesses of a handoff from Linux to Linux."""

    out: list[ConfigAccess]  # from kexec -e to the next kernel
    inward: list[ConfigAccess]  # before the first driver
    drivers: list[ConfigAccess]  # from there to the disk's driver, which is a module


def counted(bench: Bench) -> tuple[Columns, dict[str, int]]:
    """The accesses, and the instructions of each step of the blackout."""
    seen, columns = followed(bench, bench.directory / "linux")
    return columns, instructions(bench, seen)


def followed(bench: Bench, directory: Path) -> tuple[Seen, Columns]:
    def follow(stage: Stage) -> None:
        stage.monitor(f"trace-event {READS} on")

    pair = Pair(THEIRS, THEIRS)
    seen = perform(hand_off(pair, {"loaded": follow}), bench.build, directory, bench.settings)
    passed(seen.run)
    hop = only_hop(seen.case)
    begins = linux_line(seen.case, hop, True)
    loaded = seen.mark("loaded").line
    found = [access for access in accesses(seen.run.lines()) if access.line > loaded]
    modules = min(a.line for a in found if a.bdf in DISKS and a.line > hop.inward.start)
    return seen, Columns(
        in_lines(found, range(begins)),
        in_lines(found, range(begins, hop.inward.start)),
        in_lines(found, range(hop.inward.start, modules)),
    )


def timed(bench: Bench, pair: Pair) -> Timed:
    """One run by the host's clock."""
    if pair == Pair(OURS, OURS):
        return bench.timed()
    with in_memory() as directory:
        settings = bench.flagged(STAMPS)
        seen = perform(hand_off(pair), bench.build, Path(directory), settings)
        passed(seen.run)
        times = stamp(seen.run)
    return Timed(Case(seen.run, seen.run.events, seen.case.before), times)


class Alone(Start):
    """A Linux that hands over by itself, while QEMU is queried for its count all the time: the answers are in the trace."""

    def __init__(self, build: Path, initrd: Path) -> None:
        self.kernel, self.initrd = build / LINUX, initrd

    def arguments(self, kernel: Path, cmdline: str, directory: Path) -> list[str]:
        return ["-kernel", str(self.kernel), "-append", cmdline, "-initrd", str(self.initrd)]

    def watch(self, record: Run, session: Session, at_entry: AtEntry | None) -> None:
        session.gdb.resume()
        while True:
            session.qmp.command("query-replay")

    def ended(self, record: Run, status: int) -> tuple[Outcome, str]:
        return (Outcome.CRASH, f"QEMU ended with {status}") if status else (Outcome.PASS, "")


_COUNT = re.compile(r'qmp_exit_query_replay \{"icount": (\d+)')


def instructions(bench: Bench, seen: Seen) -> dict[str, int]:
    """Instructions of each step of Linux's handoff to itself, from the first count in it to the last. Counts are less than a
    millisecond apart, in which Linux executes less than a thousandth of them.

    It starts from the archive of the observed run.
    """
    with bench.recording("linux-counted") as settings:
        flags = (*settings.flags, "-trace", "qmp_exit_query_replay")
        settings = replace(settings, flags=flags, timeout=max(settings.timeout, TIMEOUT_MIN_S))
        start = Alone(bench.build, seen.run.directory / "initrd")
        record = run(MACHINE, bench.build, bench.directory / "linux-counted", ALONE, settings, stop_at_jump=False, start=start)
    passed(record)
    steps = blackout(Case(record, record.events, seen.case.before), Pair(THEIRS, THEIRS))
    counts = [(number, int(match[1])) for number, match in enumerate(map(_COUNT.match, record.lines()), 1) if match]
    return counted_between(counts, steps)


def counted_between(counts: Sequence[tuple[int, int]], steps: Mapping[str, range]) -> dict[str, int]:
    """counts are (trace line, instructions)."""
    found = {}
    for name, lines in steps.items():
        inside = [count for line, count in counts if line in lines]
        found[name] = inside[-1] - inside[0] if inside else 0
    return found
