# SPDX-License-Identifier: BSD-2-Clause
"""Claim: each policy, going out and coming in, does what its signature says, and the traces of any two differ.

False if a signature also fits another policy: then exchanging the two would fail no test. Provoked on the reference machine, which
has MSI-X on (virtio), MSI on (edu), functions with neither, and a bridge, by a run of each policy. The twins are all the exchanges:
one policy's trace, judged as another's.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations

import pytest
from tests.guest.conftest import BUILD, Boot, as_if, boot_into, failures, log_has, run_to

from witness.evidence.case import Case
from witness.judge.engine import Result, Verdict
from witness.judge.policies import SHUTDOWN, STARTUP
from witness.judge.rules import RULES
from witness.machine.description import Machine, Rng
from witness.machine.qemu import Session
from witness.machine.record import Entry, Run
from witness.trace.events import ConfigWrite

OUT = ("out-signature", "out-order", "out-device", "handed")
IN = ("startup",)


def end_behind_startup(session: Session, entry: Entry) -> None:
    """What second's drivers do is no policy's, and a storm of interrupts under some."""
    if entry.name == "second":
        run_to(session, entry, "kernel_drive")
        session.qmp.command("quit")


@cache
def done(out: str, inward: str) -> Run:
    directory = BUILD / "test" / f"policies-{out}-{inward}"
    record = boot_into(directory, cmdline=f"handoff.shutdown={out} handoff.startup={inward}", at_entry=end_behind_startup)
    for ram in (directory / "ram", *directory.glob("*.ram")):
        ram.unlink()  # not needed here
    assert record.events
    return record


def judged(record: Run, ids: tuple[str, ...], out: str, inward: str) -> list[Verdict]:
    """By the rules that read a signature, as if this had been the policy."""
    case = Case(as_if(record, cmdline=f"handoff.shutdown={out} handoff.startup={inward}"))
    return [verdict for rule in RULES if rule.id in ids and (verdict := rule.verdict(case))]


def red(verdicts: list[Verdict]) -> list[str]:
    return [f"{v.id}: {v.result.value}: {v.evidence}" for v in verdicts if v.result is not Result.PASS]


@pytest.mark.parametrize("out", SHUTDOWN)
def test_what_is_done_going_out_is_the_policy(out: str) -> None:
    verdicts = judged(done(out, "disable-msi"), OUT + IN, out, "disable-msi")
    assert red(verdicts) == []
    assert "out-signature" in [verdict.id for verdict in verdicts]
    # No function kept bus master that the policy clears. tests/guest/test_liars.py has the twin.
    assert not log_has(done(out, "disable-msi"), "bus master still on")


@pytest.mark.parametrize("inward", STARTUP)
def test_what_is_done_coming_in_is_the_policy(inward: str) -> None:
    verdicts = judged(done("keep-msi", inward), OUT + IN, "keep-msi", inward)
    assert red(verdicts) == []
    assert "startup" in [verdict.id for verdict in verdicts]


@pytest.mark.parametrize("one, other", permutations(SHUTDOWN, 2))
def test_twin_going_out_no_policy_passes_for_another(one: str, other: str) -> None:
    assert red(judged(done(one, "disable-msi"), OUT, other, "disable-msi"))


@pytest.mark.parametrize("one, other", permutations(STARTUP, 2))
def test_twin_coming_in_no_policy_passes_for_another(one: str, other: str) -> None:
    assert red(judged(done("keep-msi", one), IN, "keep-msi", other))


# Messages that can be masked one by one (ioh3420), and a device whose only interrupt is INTx.
OTHERS = Machine(
    rngs=(Rng("rng", 8, "max-bytes=16,period=500,vectors=0"),),
    devices=("edu,addr=5", "ioh3420,id=root,addr=7,chassis=1", "edu,bus=root"),
    # By the machine's own clock: under `none` edu's message must come when startup is over, not as the host's load has it.
    extra=("-icount", "shift=3,sleep=off"),
)


def test_hardened_masks_messages_and_drivers_enable_intx_again(boot: Boot) -> None:
    record = boot(machine=OTHERS, cmdline="handoff.shutdown=none handoff.startup=hardened", fresh=True)
    assert failures(record) == []
    case = Case(record)
    port = next(function for function in case.topology.functions.values() if function.msi_mask)
    assert port.msi_mask in [(w.offset, w.value) for w in case.within(ConfigWrite, case.handed_over[0].window) if w.bdf == port.bdf]
