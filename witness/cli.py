# SPDX-License-Identifier: BSD-2-Clause
"""tools/handoff: the commands of `make run`, `make compare`, `make bench`, `make soak`, `make lab` and `make linux`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn, Sequence

from witness import ROOT
from witness.bench import bench
from witness.judge.engine import Result
from witness.judge.rules import judge
from witness.lab import lab, soak
from witness.lab.rounds import REPEAT_MAX, Order
from witness.linux import diff, linux
from witness.machine.description import REFERENCE
from witness.machine.qemu import Settings, Unusable, built_in, run
from witness.machine.record import Outcome, Run, options as options_of
from witness.report import text as report

KEEP, DISABLE = "keep-msi", "disable-msi"

# The control: unless these are the results under disable-msi, the comparison shows nothing about keep-msi.
CONTROL = {"out-signature": Result.PASS, "load": Result.PASS, "window-intx": Result.FAIL}


class OneLineParser(argparse.ArgumentParser):
    """One line and exit code 2, without the usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(Outcome.SETUP, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = OneLineParser(prog="handoff", description="Run a handoff under QEMU and judge it from QEMU's trace.")
    names = "run|compare|judge|bench|soak|lab|linux|linux-diff"
    commands = parser.add_subparsers(dest="command", required=True, metavar=names, parser_class=OneLineParser)
    for name, action, text in (
        ("run", _run, "boot the chain and judge it"),
        ("compare", _compare, "the same work in flight under keep-msi and disable-msi"),
        ("judge", _judge, "judge a kept run again"),
        ("bench", _bench, "the cost of a handoff, compared with the budgets"),
        ("soak", _soak, "many handoffs in one boot, each judged"),
        ("lab", _lab, "every claim of the patch and every limit of it, as experiments"),
        ("linux", _linux, "Debian's Linux before and after the handoff"),
        ("linux-diff", _linux_diff, "Linux's writes to a function at a handoff, compared with ours"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(action=action)
        if name in ("run", "compare", "judge"):
            verbose = bool(os.environ.get("V"))
            command.add_argument("-v", "--verbose", action="store_true", default=verbose, help="the whole report; default: $V")
        if name == "judge":
            command.add_argument("directory", type=Path, help="of a run, such as build/run")
            continue
        build = Path(os.environ.get("O") or "build")
        command.add_argument("--build", type=Path, default=build, help="default: $O, or build")
        if name in ("lab", "linux"):
            command.add_argument("--only", metavar="ID,...", default=os.environ.get("ONLY", ""), help="default: $ONLY, or all")
            repeat = os.environ.get("REPEAT") or "1"
            command.add_argument("--repeat", metavar="N", type=_repeat, default=repeat, help="default: $REPEAT, or once")
            command.add_argument("--document", action="store_true", help=f"write the results into docs/{name}.md")
            continue
        command.add_argument("--cmdline", default=os.environ.get("CMDLINE", ""), help="default: $CMDLINE")
        if name == "linux-diff":
            function = os.environ.get("FUNCTION") or diff.FUNCTION
            command.add_argument("--function", metavar="BB:DD.F", default=function, help=f"default: $FUNCTION, or {diff.FUNCTION}")
            command.add_argument("--document", action="store_true", help="write the result into docs/linux-diff.md")
        if name == "soak":
            command.add_argument("--hops", metavar="N", type=_hops, default=100, help="default: 100")
    options = parser.parse_args(arguments)
    try:
        return int(options.action(options))
    except (Unusable, OSError) as error:
        print(f"handoff: {_reason(error)}", file=sys.stderr)
        return Outcome.SETUP
    except Exception as error:  # a fault of ours, or a run's files that are damaged
        print(f"handoff: {report.fault(error)}", file=sys.stderr)
        return Outcome.ERROR


def _reason(error: Exception) -> str:
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)


def _run(options: argparse.Namespace) -> Outcome:
    return _report(run(REFERENCE, options.build, options.build / "run", options.cmdline, Settings.of(os.environ)), options.verbose)


def _judge(options: argparse.Namespace) -> Outcome:
    return _report(Run.load(options.directory), options.verbose)


def _report(record: Run, verbose: bool) -> Outcome:
    verdicts = judge(record)
    _print(*report.of_run(report.Judged(record, verdicts), verbose))
    return report.exit_code(record, verdicts)


def _compare(options: argparse.Namespace) -> Outcome:
    settings = Settings.of(os.environ)
    given = options.cmdline or built_in(options.build)
    if "shutdown" in options_of(given):
        raise Unusable(f"compare chooses handoff.shutdown= itself: leave it out of CMDLINE={given}")

    def under(policy: str) -> report.Judged:
        words = f"handoff.shutdown={policy} {given}".strip()  # in front: after a lone `--` it would be for another kernel
        record = run(REFERENCE, options.build, options.build / "compare" / policy, words, settings)
        return report.Judged(record, judge(record))

    with ThreadPoolExecutor() as pool:
        runs = dict(zip((KEEP, DISABLE), pool.map(under, (KEEP, DISABLE))))
    kept, verdicts = runs[KEEP].run, runs[KEEP].verdicts
    lines = [report.versions(kept), "", *_patch(), "", *report.columns(runs, options.verbose), ""]
    for policy, judged in runs.items():
        report.of_run(judged)
        lines += [f"{policy} {line}" for line in report.ending(judged.run)]
        where = judged.run.directory
        lines.append(f"log and evidence: {where}/{report.REPORT}; trace, RAM: {where}/")
    if report.holds(kept, verdicts):
        outcome, why = _control(runs[DISABLE])
        lines.append(f"RESULT: {report.word(outcome)} ({why}; {report.versions(kept)})")
    else:
        outcome = report.exit_code(kept, verdicts)
        lines += [*report.failed(verdicts), f"under {KEEP}: {report.result(kept, verdicts)}"]
    _print(*(lines if options.verbose else report.folded(lines)))
    return outcome


def _control(judged: report.Judged) -> tuple[Outcome, str]:
    """The control counts only if the guest ran to its end and reported the failure."""
    run = judged.run
    results = {v.id: v.result for v in judged.verdicts}
    broken = [] if run.outcome is Outcome.FAIL else [run.detail]
    broken += [id for id, result in CONTROL.items() if results.get(id) is not result]
    if broken:
        return run.outcome or Outcome.FAIL, f"under {DISABLE} the control is not as expected: {', '.join(broken)}"
    return Outcome.PASS, f"{KEEP} holds, {DISABLE} fails"


def _bench(options: argparse.Namespace) -> Outcome:
    outcome, lines = bench.measure(options.build, options.cmdline, Settings.of(os.environ))
    _print(*lines)
    return outcome


def _soak(options: argparse.Namespace) -> Outcome:
    settings = Settings.of(os.environ)
    outcome, lines = soak.soak(options.build, options.build / "soak", options.hops, options.cmdline, settings, _print)
    _print(*lines)
    return outcome


def _lab(options: argparse.Namespace) -> Outcome:
    return lab.lab(_order(options))


def _linux(options: argparse.Namespace) -> Outcome:
    return linux.linux(_order(options))


def _order(options: argparse.Namespace) -> Order:
    return Order(options.build, options.only, options.repeat, os.environ, _print, options.document)


def _linux_diff(options: argparse.Namespace) -> Outcome:
    return diff.linux_diff(options.build, options.function, options.cmdline, os.environ, _print, options.document)


def _hops(text: str) -> int:
    return _number(text, "hops", soak.COUNT_MAX)


def _repeat(text: str) -> int:
    return _number(text, "times", REPEAT_MAX)


def _number(text: str, what: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= most):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of {what}, 1 to {most}")
    return int(text)


def _patch() -> list[str]:
    """The difference between the two policies, which is the patch."""
    return subprocess.run(["tools/patch"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()


def _print(*lines: str) -> None:
    print("\n".join(lines), flush=True)
