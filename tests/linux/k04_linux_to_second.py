# SPDX-License-Identifier: BSD-2-Clause
from __future__ import annotations
from witness.lab.experiment import Experiment, Role, Value, exactly
from witness.linux.trial import FIRST, LINUX, Boot, Seen
from witness.machine import REFERENCE
from witness.record import Outcome
from dataclasses import replace

MACHINE = replace(REFERENCE, mib=512)
BIG = replace(REFERENCE, mib=6144)

WORDS = "console=ttyS0 linux.script=kexec linux.next=second linux.words=handoff.next= linux.load="
FILES = ("first.bin", "second.bin", "next.cpio")

def judge(seen: Seen) -> list[Value]:
    seen.need(Outcome.PASS, Outcome.FAIL)
    return [exactly("x", seen.run.outcome, 0)]


EXPERIMENT = Experiment(
    title="Linux hands over to second",
    source="s",
    falsified_by="f",
    provoked_by="p",
    reading="r",
    trials=(
        Boot("kexec_load", Role.CLAIM, MACHINE, LINUX, judge, WORDS + "-c,-l", files=FILES, ends_in="guest"),
        Boot("kexec_file_load", Role.CLAIM, MACHINE, LINUX, judge, WORDS + "-s,-l", files=FILES, ends_in="guest"),
        Boot("above 4 GiB", Role.CLAIM, BIG, LINUX, judge, WORDS + "-c,-l", files=FILES, ends_in="guest"),
        Boot("above 4 GiB file", Role.CONTROL, replace(BIG, extra=("-cpu", "max", "-smp", "2")), LINUX, judge, WORDS + "-s,-l", files=FILES, ends_in="guest"),
    ),
)
