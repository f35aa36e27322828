# SPDX-License-Identifier: BSD-2-Clause
"""One boot with a real Linux, and what it reports.

Firmware starts Debian's kernel, or first, which hands over to it. Userspace is tests/linux/guest/init: it reports its points on
COM2 and waits there at each, as the images of the lab do, and it sends texts in addition: what Linux itself reports.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Mapping

from witness.boot.protocol import KERNEL_VERSION
from witness.evidence import guestlog
from witness.evidence.case import Before, Case
from witness.lab.experiment import Trial, Unshown
from witness.lab.observation import Mark, Observation, com2_lines
from witness.lab.stage import Dialogue
from witness.machine.qemu import AtEntry, Session, Settings, Unusable, configs
from witness.machine.record import Outcome, Run
from witness.pci.topology import Bdf, Topology
from witness.report.timeline import IN, OUT, WINDOW, last_lines

# In the build; firmware starts one of them.
LINUX = "linux/vmlinuz"
FIRST = "linux/handoff.efi"  # with second and Linux in it

INITRD = "linux/initrd"

# In Linux's file system.
FILES = "handoff"

# The prefixes of userspace's lines.
POINT, TITLE, TEXT, VERDICT = "+", "=", "|", "!"

# An image of the lab waits at points, too (tests/claims/lab.c:lab_point).
_IMAGES_POINT = re.compile(r"\w+ 0x[0-9a-f]+")

# Enough for three kernels on a busy host.
TIMEOUT_MIN_S = 240

# In front of Linux's command line. After a panic Linux resets the machine at once, which ends the run before the timeout. And it
# does not check whether the timer ticks while it counts to four million: on a busy host it may not.
FIRST_WORDS = "panic=-1 no_timer_check"
_PANICKED = re.compile(r"Kernel panic - not syncing: (.*)")

# It separates our image's options from the next kernel's command line.
FOREIGN = " -- "


@dataclass(frozen=True)
class Boot(Trial):
    """image is LINUX or FIRST; words are its command line without FIRST_WORDS, and name a script of tests/linux/guest/."""

    files: tuple[str, ...] = ()  # of the build, for Linux in /handoff
    ends_in: str = "linux"  # the verdict that ends the run: of "linux", which powers off, or "guest", an image of ours
    beside: Boot | None = None  # performed before it, for comparison: Seen.beside


@dataclass
class Conversation:
    """What userspace reported, in order."""

    points: list[str] = field(default_factory=list)
    texts: dict[str, list[list[str]]] = field(default_factory=dict)  # by title, each time
    verdicts: list[str] = field(default_factory=list)
    functions: list[tuple[Bdf, bytes]] = field(default_factory=list)  # configuration space, when userspace began

    def take(self, line: str) -> str | None:
        """The point where userspace or an image waits, if this line reports one."""
        line = line.rstrip("\r")
        if line.startswith(TITLE):
            self.texts.setdefault(line[1:], []).append([])
            self._text = self.texts[line[1:]][-1]
        elif line.startswith(TEXT) and self.texts:
            self._text.append(line[1:])
        elif line.startswith(VERDICT):
            self.verdicts.append(line[1:])
        elif is_point(line):
            self.points.append(line.removeprefix(POINT))
            return self.points[-1]
        return None


def is_point(line: str) -> bool:
    return line.startswith(POINT) or bool(_IMAGES_POINT.fullmatch(line))


def point(text: str) -> tuple[str, int]:
    """`NAME` or `NAME VALUE`."""
    name, _, value = text.partition(" ")
    return name, int(value or "0", 0)


def perform(trial: Boot, build: Path, directory: Path, how: Settings) -> Seen:
    """Boot, and perform the action at each point."""
    check_built(build, trial)
    beside = perform(trial.beside, build, directory / "beside", how) if trial.beside else None
    start = _LinuxDialogue(trial.points, trial, build)
    record = start.run(trial.machine, build, directory, trial.words, replace(how, timeout=max(how.timeout, TIMEOUT_MIN_S)))
    record.versions["Linux"] = version(build)
    if record.outcome is Outcome.TIMEOUT:
        record.detail += f"; Linux's last point: {start.said.points[-1] if start.said.points else 'none'}{panicked(record)}"
    return Seen(record, start.said, start.kept, beside)


def check_built(build: Path, trial: Boot) -> None:
    """Refuse a trial if a file of the build is missing."""
    for name in (LINUX, INITRD, trial.image, *trial.files):
        if not (build / name).is_file():
            raise Unusable(f"{build / name} is missing: run make linux-parts")


def panicked(record: Run) -> str:
    """The last Linux panic, to be appended to the detail."""
    found = [match[1] for match in map(_PANICKED.search, console(record)) if match]
    return f"; Linux panicked: {found[-1]}" if found else ""


def version(build: Path) -> str:
    """The kernel's version, from its file: `6.1.0-56-cloud-amd64 (…) #1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)`."""
    file = (build / LINUX).read_bytes()
    at = int.from_bytes(file[KERNEL_VERSION:][:2], "little") + 0x200
    text = file[at:file.index(b"\0", at)].decode("ascii")
    found = re.search(r"Debian (\S+)", text)
    return found[1] if found else text.partition(" ")[0]


@dataclass
class _LinuxDialogue(Dialogue):
    trial: Boot
    build: Path
    said: Conversation = field(default_factory=Conversation)

    def arguments(self, kernel: Path, cmdline: str, directory: Path) -> list[str]:
        arguments = ["-kernel", str(self.build / self.trial.image), "-append"]
        if self.trial.image == LINUX:
            return [*arguments, f"{FIRST_WORDS} {cmdline}", "-initrd", str(self._initrd(directory))]
        ours, foreign, linuxs = cmdline.partition(FOREIGN)
        return [*arguments, f"{ours}{FOREIGN}{FIRST_WORDS} {linuxs}" if foreign else cmdline]

    def _initrd(self, directory: Path) -> Path:
        """Linux's own, followed by an archive of the files; uncompressed, it has to begin at a multiple of four."""
        archive = (self.build / INITRD).read_bytes()
        if self.trial.files:
            folder = directory / "files" / FILES
            folder.mkdir(parents=True, exist_ok=True)
            for name in self.trial.files:
                (folder / Path(name).name).write_bytes((self.build / name).read_bytes())
            names = "\n".join([FILES, *(f"{FILES}/{Path(name).name}" for name in self.trial.files)])
            command = ["cpio", "--quiet", "--create", "--format=newc"]
            made = subprocess.run(command, cwd=folder.parent, input=names.encode(), check=True, capture_output=True)
            archive += bytes(-len(archive) % 4) + made.stdout
        (directory / "initrd").write_bytes(archive)
        return directory / "initrd"

    def watch(self, record: Run, session: Session, at_entry: AtEntry | None) -> None:
        session.gdb.resume()
        self.converse(session)

    def hear(self, session: Session, line: str) -> tuple[str, int] | None:
        reached = self.said.take(line)
        if reached is None:
            return None
        if not self.said.functions:
            self.said.functions = configs(session.qmp)
        return point(reached)

    def ended(self, record: Run, status: int) -> tuple[Outcome, str]:
        verdict = self.said.verdicts[-1] if self.said.verdicts else ""
        if status == 0 and verdict:  # Linux has powered off
            if self.trial.ends_in == "linux":
                return (Outcome.PASS if verdict == "pass" else Outcome.FAIL), f"Linux: {verdict}"
            return Outcome.CRASH, f"Linux ended the run instead of our image: {verdict}"
        outcome, detail = super().ended(record, status)
        if self.trial.ends_in == "linux" and outcome in (Outcome.PASS, Outcome.FAIL):
            return Outcome.CRASH, f"our image ended the run instead of Linux: {detail}"
        return outcome, detail + panicked(record)


def console(record: Run) -> list[str]:
    """COM1: the output of firmware, of our images, and of each Linux."""
    text = (record.directory / "serial.log").read_text(encoding="utf-8", errors="replace")
    return [line.rstrip("\r") for line in text.splitlines()]


def last_line(record: Run) -> str:
    return next((line for line in reversed(console(record)) if line.strip()), "")


class Seen(Observation):
    """The evidence for a judge: the lab's view of the trace, and what Linux reported."""

    def __init__(self, record: Run, said: Conversation, kept: Mapping[str, bytes] = {}, beside: Seen | None = None) -> None:
        self.run, self.said, self.kept, self.beside = record, said, kept, beside
        self.landed = []
        self.case = Case(record, record.events, Before(Topology.of(said.functions), {}, []))

    def need(self, *outcomes: Outcome) -> None:
        """Raises if the run has not ended in one of these outcomes."""
        if self.run.outcome not in (outcomes or (Outcome.PASS,)):
            guest = guestlog.last_line(self.run.log)
            raise Unshown(f"{self.run.detail}; COM1: {last_line(self.run)!r}" + (f"; our image: {guest!r}" if guest else ""))

    def reported(self, title: str, nth: int = -1) -> list[str]:
        """A text that Linux reported, the last time, or the nth."""
        found = self.said.texts.get(title, [])
        if not found or not -len(found) <= nth < len(found):
            raise Unshown(f"Linux did not report: {title}; COM1: {last_line(self.run)!r}")
        return found[nth]

    @cached_property
    def console(self) -> list[str]:
        return console(self.run)

    @cached_property
    def marks(self) -> list[Mark]:
        """The points, with their trace lines."""
        found = ((line, text) for line, text in com2_lines(self.run.events) if is_point(text))
        return [Mark(line, *point(text.removeprefix(POINT))) for line, text in found]

    @property
    def phases(self) -> list[tuple[int, str]]:
        """The points of Linux, and the phases of each handoff."""
        case, left = self.case, last_lines(self.case)
        kernels = [*case.entry_lines.values(), *left]
        # A Linux that powers off clears bus master, too, but no kernel follows.
        hops = [hop for hop in case.hops if max(kernels, default=0) >= hop.out.start]
        spans = [span for hop in hops for span in ((hop.out, OUT), (hop.window, WINDOW), (hop.inward, IN))]
        found = [(lines.start, name) for lines, name in spans if lines]
        for line in left:
            # A kernel that leaves bus master on hands over after its last output, and its handoff is no hop.
            given = next((c.line for c in case.changes(range(line, case.end + 1)) if c.master_set or c.msi_enabled), None)
            if given and not any(hop.out.start <= given and line < hop.inward.start for hop in hops):
                found += [(line + 1, WINDOW), (given, IN)]
        return sorted([*super().phases, *found])
