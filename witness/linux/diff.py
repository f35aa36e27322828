# SPDX-License-Identifier: BSD-2-Clause
"""`make linux-diff`: the writes to one function when Linux hands over to Linux, and when first hands over to second.

    < only Linux    > only ours    | both, with different values

A difference without a reason in reasons.py is an error, so that a change in a new kernel is noticed.
"""

from __future__ import annotations

import difflib
import re
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Iterator, Mapping, Sequence

from witness import ROOT
from witness.evidence.case import Case
from witness.lab.experiment import Role
from witness.lab.rounds import Say
from witness.lab.trials import lighten
from witness.linux.reasons import REASONS, WIDTH, Environment, Reason, Side
from witness.linux.trial import INITRD, LINUX, Boot, Seen, perform
from witness.linux.writes import Write, function_events, writes
from witness.machine.description import REFERENCE, Disk, Machine
from witness.machine.qemu import Settings, Unusable, built_in, run
from witness.machine.record import Outcome, options
from witness.pci.topology import Bdf
from witness.report.document import with_made
from witness.report.timeline import OUT, WINDOW
from witness.trace.events import ConfigRead, MmioWrite

DOCUMENT = ROOT / "docs" / "linux-diff.md"
FUNCTION = "00:03.0"  # the disk that first writes to

COLUMN = (WIDTH - 3) // 2

INIT, PROBE = "init", "probe"
PHASES = OUT, WINDOW, INIT, PROBE
UNTIL = {
    OUT: "from the next image being in memory to the last bus-master clear of the machine",
    WINDOW: "up to the next kernel's first read of configuration space",
    INIT: "up to the first bus master that is set, or to the first write into a BAR of this function",
    PROBE: "up to Linux's userspace, and to the end of second",
}

LEGEND = (
    "Every write to {}, in order. Not compared: reads, addresses, vectors, the number of notifications.",
    "< only Linux   > only ours   | both, with different values; each followed by its reason",
)

# The policies of our images that have reasons.
KNOWN_OUT, KNOWN_IN = ("keep-msi", "disable-msi"), "disable-msi"

# Our images log to the debug console; this line shows that the next image is in memory, as after kexec -l.
DEBUG_CONSOLE, LOADED = "isa-debugcon", " next image "


def machine() -> Machine:
    """The reference machine, with memory for Linux. Without ioeventfd a disk's notifications are in the trace."""
    return replace(REFERENCE, mib=512, disks=tuple(map(_notified, REFERENCE.disks)))


def _notified(disk: Disk) -> Disk:
    properties = [*filter(None, disk.device.split(",")), "ioeventfd=off"]
    return replace(disk, device=",".join(dict.fromkeys(properties)))


@dataclass(frozen=True)
class PhaseWrites:
    """The writes of one side to the function, by phase, and the number of its reads of configuration space."""

    phases: Mapping[str, list[Write]]
    reads: Mapping[str, int]


@dataclass(frozen=True)
class WritePair:
    """One line of the two columns. Two writes with the same meaning may have different values."""

    left: Write | None
    right: Write | None

    @property
    def sign(self) -> str:
        if self.left is None or self.right is None:
            return ">" if self.left is None else "<"
        return "|" if self.left.compared and self.left.value != self.right.value else " "


@dataclass(frozen=True)
class Difference:
    name: str  # the function, with QEMU's name for the device
    policies: str
    versions: Mapping[str, str]
    lines: list[str]
    unknown: list[str]  # differences without a reason

    @property
    def titles(self) -> list[str]:
        return [*(line for text in LEGEND for line in textwrap.wrap(text.format(self.name), WIDTH)), "",
                f"{'Linux -> kexec -> Linux':{COLUMN}}   first -> second: {self.policies}"]  # fmt: skip

    @property
    def facts(self) -> str:
        return ", ".join(f"{name} {self.versions.get(name, 'unknown')}" for name in ("Linux", "QEMU", "OVMF"))

    @property
    def text(self) -> str:
        """For the document."""
        return "\n".join([self.facts, "", "```", *self.titles, *self.lines, "```"])


def linux_diff(build: Path, function: str, cmdline: str, environment: Mapping[str, str], say: Say, document: bool) -> Outcome:
    bdf = parse_function(function)
    if document and (function, cmdline) != (FUNCTION, ""):
        raise Unusable(f"the document needs {FUNCTION} and the default policies: leave out FUNCTION= and CMDLINE=")
    theirs, ours = handoffs(build, cmdline, Settings.of(environment))
    found = compare(theirs, ours, bdf, exact=not document)
    if document and not found.unknown:
        DOCUMENT.write_text(with_made(DOCUMENT.read_text(encoding="utf-8"), found.text), encoding="utf-8")
    else:
        say(found.facts, "", *found.titles, *found.lines, "")
        say(f"trace: {theirs.run.directory}/trace.log", f"trace: {ours.run.directory}/trace.log")
    outcome = Outcome.FAIL if found.unknown else Outcome.PASS
    say(*(f"no reason known for {text}" for text in found.unknown),
        f"RESULT: {outcome.name} ({len(found.unknown)} differences without a reason; {found.facts})")  # fmt: skip
    return outcome


def handoffs(build: Path, cmdline: str, how: Settings) -> tuple[Seen, Case]:
    """Linux to Linux and first to second, at the same time."""
    words = options(cmdline or built_in(build))
    if words.get("shutdown", KNOWN_OUT[0]) not in KNOWN_OUT or words.get("startup", KNOWN_IN) != KNOWN_IN:
        known = " or ".join(f"handoff.shutdown={policy}" for policy in KNOWN_OUT)
        raise Unusable(f"CMDLINE={cmdline}: there are reasons only for {known}, with handoff.startup={KNOWN_IN}")
    with ThreadPoolExecutor() as pool:
        theirs = pool.submit(again, build, build / "linux" / "diff" / "linux", how)
        ours = run(machine(), build, build / "linux" / "diff" / "ours", cmdline, how)
        seen = theirs.result()
    for record in (seen.run, ours):
        lighten(record.directory, "*.ram")
    if seen.run.outcome is not Outcome.PASS:
        raise Unusable(f"Linux to Linux: {seen.run.detail}")
    if ours.outcome not in (Outcome.PASS, Outcome.FAIL):  # second may have failed to drive a device: its writes count
        raise Unusable(f"first to second: {ours.detail}")
    return seen, Case(ours)


def compare(theirs: Seen, ours: Case, bdf: Bdf, exact: bool) -> Difference:
    for case in (theirs.case, ours):
        if bdf not in case.topology.functions:
            known = " ".join(map(str, sorted(case.topology.functions)))
            raise Unusable(f"FUNCTION={bdf}: the machine has no such function, there are {known}")
    lines, unknown = difference(
        phase_writes(theirs.case, bdf, theirs.mark("loaded").line, theirs.mark("userspace", 1).line),
        phase_writes(ours, bdf, loaded(ours), ours.end + 1),
        Environment(ours.name(bdf), ours.shutdown),
        exact,
    )
    return Difference(ours.name(bdf), f"{ours.shutdown} out, {ours.startup} in", theirs.run.versions, lines, unknown)


def parse_function(text: str) -> Bdf:
    if not re.fullmatch(r"([0-9a-f]{4}:)?[0-9a-f]{2}:[01][0-9a-f]\.[0-7]", text):
        raise Unusable(f"FUNCTION={text}: not a function, such as {FUNCTION}")
    return Bdf.parse(text)


def again(build: Path, directory: Path, how: Settings) -> Seen:
    """Linux hands over to the same Linux."""
    words = "console=ttyS0 linux.script=again"
    return perform(Boot("again", Role.CLAIM, machine(), LINUX, lambda _: [], words, files=(LINUX, INITRD)), build, directory, how)


def loaded(case: Case) -> int:
    """Where first's log shows that the next image is in memory."""
    text = ""
    for event in case.within(MmioWrite, range(case.end + 1)):
        if event.region == DEBUG_CONSOLE:
            text = (text + chr(event.value & 0xFF))[-len(LOADED):]
            if text == LOADED:
                return event.line
    raise Unusable(f"first's log does not have:{LOADED}")


def phase_writes(case: Case, bdf: Bdf, start: int, stop: int) -> PhaseWrites:
    """From line start, with work in flight and the next image in memory, until the next kernel has booted."""
    hop = next((hop for hop in case.handed_over if hop.window.start > start), None)
    if hop is None:
        raise Unusable("the trace shows no handoff")
    entered = next((read.line for read in case.within(ConfigRead, range(hop.window.start, stop))), hop.inward.start)
    own = function_events(case)[bdf]
    driven = next((e.line for e in own if isinstance(e, MmioWrite) and e.line >= entered), hop.inward.start)
    edges = (start, hop.window.start, entered, min(driven, hop.inward.start), stop)
    ranges = {phase: range(*edge) for phase, edge in zip(PHASES, zip(edges, edges[1:]))}
    return PhaseWrites(
        {phase: writes(case, bdf, lines) for phase, lines in ranges.items()},
        {phase: sum(isinstance(e, ConfigRead) and e.line in lines for e in own) for phase, lines in ranges.items()},
    )


def paired(left: Sequence[Write], right: Sequence[Write]) -> Iterator[WritePair]:
    """Pairs by meaning. Where both sides differ, Linux's writes come first."""
    a, b = [write.what for write in left], [write.what for write in right]
    for tag, i, i_stop, j, j_stop in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from map(WritePair, left[i:i_stop], right[j:j_stop])
        else:
            yield from (WritePair(write, None) for write in left[i:i_stop])
            yield from (WritePair(None, write) for write in right[j:j_stop])


def difference(
    linux: PhaseWrites, ours: PhaseWrites, environment: Environment, exact: bool, reasons: Sequence[Reason] = REASONS
) -> tuple[list[str], list[str]]:
    """The two columns, and the differences without a reason."""
    known = [reason for reason in reasons if reason.applies(environment)]
    lines: list[str] = []
    unknown: list[str] = []
    given: set[Reason] = set()
    for phase in PHASES:
        lines += ["", f"{phase}: {UNTIL[phase]}"]
        rows = list(paired(linux.phases[phase], ours.phases[phase]))
        lines += [] if rows else ["  (nothing on either side)"]
        for part, reason in explained(phase, rows, known):
            lines += [_columns(row, exact).rstrip() for row in part]
            if reason:
                lines += reason.text(reason in given)
                given.add(reason)
            elif part[0].sign != " ":
                lines.append("      ? no reason known")
                unknown.append(f"{phase}: {_columns(part[0], exact=True).strip()}")
        if exact:
            lines.append(f"  ({linux.reads[phase]} and {ours.reads[phase]} reads of its configuration space, not compared)")
    return lines, unknown


def explained(
    phase: str, rows: Sequence[WritePair], reasons: Sequence[Reason]
) -> Iterator[tuple[Sequence[WritePair], Reason | None]]:
    """The rows, in parts with one reason each. A reason covers the longest sequence of differences that it matches, at most
    reason.times times."""
    left = {reason: reason.times for reason in reasons}
    at = 0
    while at < len(rows):
        sign = rows[at].sign
        stop = next((i for i in range(at, len(rows)) if rows[i].sign != sign), len(rows))
        found: tuple[int, Reason | None] = (1, None)
        if sign != " ":
            text = "".join(f"{_what(row)}\n" for row in rows[at:stop])
            matches = [(reason.covers(Side(sign), phase, text), reason) for reason in reasons if left[reason]]
            found = max(matches, key=lambda match: match[0], default=found)
            found = found if found[0] else (1, None)
        count, reason = found
        if reason:
            left[reason] -= 1
        yield rows[at:at + count], reason
        at += count


def _what(row: WritePair) -> str:
    """As reasons match it: with the values if these differ."""
    if row.left and row.right:
        return f"{row.left.what} {row.left.value} | {row.right.value}"
    write = row.left or row.right
    assert write
    return write.what


def _columns(row: WritePair, exact: bool) -> str:
    left, right = (write.shown(exact) if write else "" for write in (row.left, row.right))
    return f"{left:{COLUMN}} {row.sign} {right}"
