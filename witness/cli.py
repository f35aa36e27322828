# SPDX-License-Identifier: BSD-2-Clause
"""tools/handoff: the commands behind `make run`, `make compare`, `make bench`, `make soak`, `make lab` and `make linux`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn, Sequence

from witness.bench import bench
from witness.evidence import guestlog
from witness.judge.engine import Result, Verdict
from witness.judge.rules import judge
from witness.lab import lab, soak
from witness.lab.rounds import REPEAT_MAX, Order
from witness.linux import diff, linux
from witness.machine.description import REFERENCE
from witness.machine.qemu import Settings, Unusable, built_in, run
from witness.machine.record import Outcome, Run, options as options_of
from witness.report import text as report

ROOT = Path(__file__).resolve().parent.parent

KEEP, DISABLE = "keep-msi", "disable-msi"

# The control: where these do not come out so under disable-msi, the comparison shows nothing about keep-msi.
CONTROL = {"out-signature": Result.PASS, "load": Result.PASS, "window-intx": Result.FAIL}


class OneLineParser(argparse.ArgumentParser):
    """One line and exit code 2, without the usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(Outcome.SETUP, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = OneLineParser(prog="handoff", description="Run a hand-off under QEMU and judge it from QEMU's own trace.")
    names = "run|compare|judge|bench|soak|lab|linux|linux-diff"
    commands = parser.add_subparsers(dest="command", required=True, metavar=names, parser_class=OneLineParser)
    for name, action, text in (
        ("run", _run, "boot the chain, tell the story, print the verdicts"),
        ("compare", _compare, "the same load under keep-msi and disable-msi, side by side"),
        ("judge", _judge, "judge a kept run again"),
        ("bench", _bench, "what it costs, and whether that is within the budgets"),
        ("soak", _soak, "second after second in one boot, judged hop by hop"),
        ("lab", _lab, "every claim of the patch, and every limit of it, measured"),
        ("linux", _linux, "Debian's Linux on either side of the hand-off"),
        ("linux-diff", _linux_diff, "what Linux tells a function at a hand-off beside what ours tell it"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(action=action)
        if name == "judge":
            command.add_argument("directory", type=Path, help="what a run has left, such as build/run")
            continue
        build = Path(os.environ.get("O") or "build")
        command.add_argument("--build", type=Path, default=build, help="default: $O, or build")
        if name in ("lab", "linux"):
            command.add_argument("--only", metavar="ID,...", default=os.environ.get("ONLY", ""), help="default: $ONLY, or all")
            repeat = os.environ.get("REPEAT") or "1"
            command.add_argument("--repeat", metavar="N", type=_repeat, default=repeat, help="default: $REPEAT, or once")
            command.add_argument("--document", action="store_true", help=f"write what comes out into docs/{name}.md")
            continue
        command.add_argument("--cmdline", default=os.environ.get("CMDLINE", ""), help="default: $CMDLINE")
        if name == "linux-diff":
            function = os.environ.get("FUNCTION") or diff.FUNCTION
            command.add_argument("--function", metavar="BB:DD.F", default=function, help=f"default: $FUNCTION, or {diff.FUNCTION}")
            command.add_argument("--document", action="store_true", help="write what comes out into docs/linux-diff.md")
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
    record = run(REFERENCE, options.build, options.build / "run", options.cmdline, Settings.of(os.environ))
    return _tell(record)


def _judge(options: argparse.Namespace) -> Outcome:
    return _tell(Run.load(options.directory))


def _tell(record: Run) -> Outcome:
    verdicts = judge(record)
    _print(report.versions(record), "", *guestlog.story(record.log), "", *report.ending(record), *report.table(verdicts))
    _print("", report.command(record), "", f"log, trace, RAM: {record.directory}/", report.result(record, verdicts))
    return report.exit_code(record, verdicts)


def _compare(options: argparse.Namespace) -> Outcome:
    settings = Settings.of(os.environ)
    given = options.cmdline or built_in(options.build)
    if "shutdown" in options_of(given):
        raise Unusable(f"compare chooses handoff.shutdown= itself: leave it out of CMDLINE={given}")

    def under(policy: str) -> tuple[Run, list[Verdict]]:
        words = f"handoff.shutdown={policy} {given}".strip()  # in front: behind a lone `--` it would be another kernel's
        record = run(REFERENCE, options.build, options.build / "compare" / policy, words, settings)
        return record, judge(record)

    with ThreadPoolExecutor() as pool:
        runs = dict(zip((KEEP, DISABLE), pool.map(under, (KEEP, DISABLE))))
    kept, verdicts = runs[KEEP]
    control, control_verdicts = runs[DISABLE]
    _print(report.versions(kept), "", *_patch(), "", *report.columns(runs), "")
    for policy, (record, _) in runs.items():
        _print(*(f"{policy} {line}" for line in report.ending(record)), f"log, trace, RAM: {record.directory}/")
    disabled = {v.id: v.result for v in control_verdicts}
    broken = [id for id, result in CONTROL.items() if disabled.get(id) is not result]
    if not report.holds(kept, verdicts):
        _print(f"under {KEEP}: {report.result(kept, verdicts)}")
        return report.exit_code(kept, verdicts)
    if control.outcome is not Outcome.FAIL:  # it shows something only where the guest lived to say itself what went wrong
        broken.insert(0, control.detail)
    if broken:
        outcome = control.outcome or Outcome.FAIL
        what = f"under {DISABLE} the control does not come out: {', '.join(broken)}"
        _print(f"RESULT: {report.word(outcome)} ({what}; {report.versions(kept)})")
        return outcome
    _print(f"RESULT: PASS ({KEEP} holds, {DISABLE} shows what it lets loose; {report.versions(kept)})")
    return Outcome.PASS


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
