# SPDX-License-Identifier: BSD-2-Clause
"""`make soak`: many hops in one boot, judged by judge/endurance.py."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from fcntl import F_SETPIPE_SZ, fcntl
from pathlib import Path
from select import select
from threading import TIMEOUT_MAX
from typing import Callable, Iterator

from witness.boot.protocol import E820_ENTRIES, E820_RAM, HEADER, HEADER_MAGIC, PAGE, SETUP_DATA, e820
from witness.evidence import guestlog
from witness.evidence.case import Case
from witness.evidence.policies import KEEPING_MASTER
from witness.judge.endurance import Endurance, broken
from witness.judge.engine import Finding, Missing, Rule, Verdict
from witness.judge.rules import RULES
from witness.machine.description import EVERYTHING, Machine
from witness.machine.qemu import Session, Settings, Unusable, built_in, run as run_qemu
from witness.machine.qmp import Deadline, Expired
from witness.machine.record import Entry, Outcome, Run, options
from witness.report import text as report
from witness.trace.events import REQUEST_PATTERNS

COUNT_MAX = 999999  # boot/options.h: OPTIONS_COUNT_MAX
REPORTS = 10  # lines of progress

# Rules about the end of a run. Other rules that are not for a single hop need the machine at a jump, and thus a stop.
AT_THE_END = ("disk", "disk-kept")

# A hop is one or two MB of trace: QEMU can continue to write while one is judged.
PIPE_SIZE = 1 << 20


def soak(
    build: Path,
    directory: Path,
    count: int,
    cmdline: str,
    settings: Settings,
    say: Callable[[str], None],
    machine: Machine = EVERYTHING,
) -> tuple[Outcome, list[str]]:
    """The outcome of `count` hops, and lines of text about it; say() prints progress."""
    words = cmdline or built_in(build)
    if "next" in options(words):
        raise Unusable(f"soak chooses handoff.next= itself: leave it out of CMDLINE={words}")
    if (shutdown := options(words).get("shutdown")) in KEEPING_MASTER:
        raise Unusable(f"handoff.shutdown={shutdown} leaves bus master on: the trace does not show the hops")
    words = f"handoff.next=second*{count} {words}".strip()  # in front: after a lone `--` it would be for another kernel
    run = Run(directory, machine, {}, words, {})
    endurance = Endurance(run)

    reader, writer = os.pipe()
    pid = directory / "qemu.pid"
    pid.unlink(missing_ok=True)
    flags = ["-pidfile", str(pid), "-D", f"/dev/fd/{writer}"]
    for name in REQUEST_PATTERNS:
        flags += ["-trace", name]
    long = min(settings.timeout * (count + 1), TIMEOUT_MAX)
    flowing = replace(settings, timeout=long, flags=(*settings.flags, *flags))

    def entered(_: Session, entry: Entry) -> None:
        run.entries.append(entry)

    with ThreadPoolExecutor(1) as pool, os.fdopen(reader, "rb"):
        with suppress(OSError):  # if the host does not allow this size, QEMU waits
            fcntl(reader, F_SETPIPE_SZ, PIPE_SIZE)
        running = pool.submit(run_qemu, machine, build, directory, words, flowing, entered, False, [writer])
        running.add_done_callback(lambda _: os.close(writer))  # the trace ends when QEMU has
        try:
            verdicts, late = _watch(endurance, reader, settings.timeout, count, say)
        finally:
            if not running.done():
                _kill(pid)
        ended = running.result()
    if late:
        ended.outcome, ended.detail = Outcome.TIMEOUT, f"no hop within {settings.timeout:g} s"
    elif not verdicts and ended.outcome in (Outcome.PASS, Outcome.FAIL):
        verdicts = _last(endurance, ended, count)
    outcome = Outcome.FAIL if broken(verdicts) else ended.outcome
    (directory / "hops.trace").write_text(endurance.kept(), encoding="utf-8")
    return outcome, _report(endurance, ended, verdicts, outcome)


def _watch(endurance: Endurance, trace: int, timeout: float, count: int, say: Callable[[str], None]) -> tuple[list[Verdict], bool]:
    """Up to the first hop that violates a rule, to the trace's end, or until a hop takes too long."""
    deadline = Deadline.after(timeout)
    reports = 0
    try:
        for line in _lines(trace, lambda: deadline.left()):
            verdicts = endurance.read(line)
            if broken(verdicts):
                return verdicts, False
            if verdicts:
                deadline = Deadline.after(timeout)
            if endurance.counts.hops * REPORTS // count > reports:
                reports = endurance.counts.hops * REPORTS // count
                say(f"{endurance.counts.hops} of {count} hops, {endurance.pace()}")
    except Expired:
        return [], True
    return [], False


def _lines(trace: int, patience: Callable[[], float]) -> Iterator[str]:
    """Each wait for QEMU is bounded by patience()."""
    rest = b""
    while select([trace], [], [], patience())[0]:
        chunk = os.read(trace, PIPE_SIZE)
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)
    raise Expired


def _kill(pid: Path) -> None:
    with suppress(OSError, ValueError):  # it has ended by itself, or never began
        os.kill(int(pid.read_text(encoding="ascii")), signal.SIGKILL)


def _last(endurance: Endurance, ended: Run, count: int) -> list[Verdict]:
    """The verdicts about the last hop, and about the end of the run."""
    case = Case(ended, [])
    verdicts = endurance.finish()
    hops = endurance.counts.hops
    guest = _unless(ended.outcome is Outcome.PASS, ended.detail), ended.detail
    all_of_them = _unless(hops == count, f"{hops} of {count} hops"), f"{hops} hops"
    rules = [
        Rule("guest", "guest reports success", lambda _: guest),
        Rule("hops", "every image hands over exactly once", lambda _: all_of_them),
        Rule("memory", "the memory map does not grow", lambda _: _memory_maps(ended)),
        *(rule for rule in RULES if rule.id in AT_THE_END),
    ]
    return verdicts + [verdict for rule in rules if (verdict := rule.verdict(case))]


def _unless(holds: bool, problem: str) -> list[str]:
    return [] if holds else [problem]


def passed_maps(ended: Run) -> dict[int, list[tuple[range, int]]]:
    """The memory maps in the boot_params of the last images; only our images pass them to a second."""
    found = {}
    ram = ended.ram_after()
    for page in range(0, (ended.directory / "ram").stat().st_size, PAGE):
        if ram.read(range(page + HEADER_MAGIC, page + HEADER_MAGIC + len(HEADER))) != HEADER:
            continue
        params = ram.read(range(page, page + PAGE))
        if any(params[SETUP_DATA:][:8]) and params[E820_ENTRIES]:
            found[page] = e820(params)
    return found


def _memory_maps(ended: Run) -> Finding:
    maps = passed_maps(ended).values()
    if not maps:
        raise Missing("RAM holds no boot_params made by an image of ours")
    sizes = [(len(map), sum(len(addresses) for addresses, kind in map if kind == E820_RAM)) for map in maps]
    found = dict.fromkeys(f"{entries} entries, {size >> 10} KiB free" for entries, size in sizes)
    return _unless(len(found) == 1, "; ".join(found)), f"{len(maps)} of {'; '.join(found)}"


def _report(endurance: Endurance, ended: Run, verdicts: list[Verdict], outcome: Outcome) -> list[str]:
    counts = endurance.counts
    lines = []
    if counts.hops:
        lines += [
            f"{counts.hops} hops, {endurance.pace()}",
            f"{counts.lines} trace lines, {counts.events} events judged, {counts.messages} messages taken",
            f"in flight when bus master was cleared: {counts.requests} virtio-blk requests, {counts.transfers} transfers",
        ]
    if verdicts:
        lines += [f"hop {counts.hops}:" if counts.hops else "no hop:", *report.table(verdicts)]
    else:
        lines.append(f"ended: {ended.detail}; the guest's last line: {guestlog.last_line(ended.log) or 'none'}")
    lines.append(f"log, trace of the last hops: {ended.directory}/guest.log, {ended.directory}/hops.trace")
    return [*lines, f"RESULT: {report.word(outcome)} ({counts.hops} hops, {report.versions(ended)})"]
