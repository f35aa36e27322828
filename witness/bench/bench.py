# SPDX-License-Identifier: BSD-2-Clause
"""`make bench`: the budgets, measured. docs/bench.md describes how, and the comparison with Linux.

Counts come from QEMU's trace and from its instruction counter, and are the same in every run. Wall-clock time depends
on the host: milliseconds are reported, only a ratio of two of them has a budget.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from witness.bench import beside as bench_beside, linux as bench_linux
from witness.bench.boot import boot_row, boots
from witness.bench.handoff import (
    CROWDS, MACHINE, Bench, Counted, Timed, blackout_row, breakdown, crowd, enumeration_rows, shutdown_row, size_row, spread_row,
    steps_by_trace,
)  # fmt: skip
from witness.bench.linux import OURS, PAIRS, Pair
from witness.lab.pool import cpus
from witness.linux.trial import FIRST, INITRD, LINUX, version
from witness.machine.qemu import Settings
from witness.machine.record import Outcome
from witness.report import text as report
from witness.report.budget import Row, aligned, budget_lines
from witness.report.results import write_results

HANDOFFS = 5  # runs by the host's clock; the result is their median


def measure(build: Path, cmdline: str, settings: Settings) -> tuple[Outcome, list[str]]:
    """Some minutes. Returns lines of text; build/bench/results.json is for programs."""
    bench = Bench(build, cmdline, settings)
    missing = [str(build / name) for name in (LINUX, INITRD, FIRST) if not (build / name).is_file()]
    pairs = PAIRS[:1] if missing else PAIRS
    # First what needs an idle host, one after the other. Counts do not depend on the load.
    ours, alone = boots(build, bench.directory / "empty", settings)
    runs: dict[Pair, list[Timed]] = {pair: [] for pair in pairs}
    for _ in range(HANDOFFS):
        for pair in pairs:
            runs[pair].append(bench_linux.timed(bench, pair))
    with ThreadPoolExecutor(cpus()) as pool:
        theirs = None if missing else pool.submit(bench_linux.counted, bench)
        reference = pool.submit(bench.counted, "reference", MACHINE)
        crowds = list(pool.map(lambda n: bench.counted(f"crowd-{n}", crowd(n)), CROWDS))
    counted = reference.result()
    ms = [one.ms(steps_by_trace(one.case)) for one in runs[Pair(OURS, OURS)]]
    instructions = counted.steps()
    rows = [*_rows(build, counted, ms, crowds), boot_row(ours, alone)]
    facts: dict[str, Any] = {
        "versions": counted.case.run.versions,
        "blackout_ms": ms,
        "blackout_instructions": instructions,
        "growth": [{"functions": one.functions, **one.costs()} for one in crowds],
        "seconds": {"make run": ours, "firmware alone": alone},
    }
    tables = [breakdown(ms, instructions)]
    if theirs:
        columns, linux_instructions = theirs.result()
        each = {pair: [one.ms(bench_linux.blackout(one.case, pair)) for one in found] for pair, found in runs.items()}
        rows.append(bench_beside.ratio_row(each))
        tables += bench_beside.tables(counted, columns, each, linux_instructions, build)
        facts["linux"] = {
            "version": version(build),
            "blackout_ms": {str(pair): found for pair, found in each.items()},
            "blackout_instructions": linux_instructions,
            "accesses": {name: len(found) for name, found in vars(columns).items()},
        }
    facts["rows"] = [asdict(row) for row in rows]
    write_results(facts, bench.directory)
    lines = [report.versions(counted.case.run) + (f", Linux {version(build)}" if theirs else ""), "", *budget_lines(rows)]
    for table in tables:
        lines += ["", *aligned(table)]
    over = [row.what for row in rows if row.holds is False]
    outcome = Outcome.SETUP if missing else Outcome.FAIL if over else Outcome.PASS
    verdict = "INCOMPLETE" if missing else outcome.name
    if missing:
        lines += ["", f"not measured: the comparison with Linux, {', '.join(missing)} is missing (run make linux-parts)"]
    verdict += f", over budget: {'; '.join(over)}" if over else ""
    return outcome, [*lines, "", f"RESULT: {verdict} ({bench.directory}/results.json)"]


def _rows(build: Path, counted: Counted, ms: list[dict[str, float]], crowds: list[Counted]) -> list[Row]:
    return [
        shutdown_row(counted.out),
        *enumeration_rows(counted.enumerated),
        blackout_row(ms, counted.steps()),
        *(spread_row(what, [(one.functions, one.costs()[what]) for one in crowds]) for what in counted.costs()),
        *(size_row(build / f"{name}.bin") for name in ("first", "second")),
    ]
