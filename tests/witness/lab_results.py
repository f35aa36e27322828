# SPDX-License-Identifier: BSD-2-Clause
"""Results of a lab, as build/lab/results.json has them: of every kind of verdict, case and cell, with text that is hostile to HTML.
The timelines are those of two stories."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable

from tests.witness.scene import EDU, MESSAGES, Scene, gsi, handoff, msi

from witness.evidence.case import Case
from witness.report.timeline import Landed, Timeline, timeline

HOSTILE = """<script>alert("1")</script> & 'quoted' | {{ 7 * 7 }} </title>"""

HAZARDS = (
    "stray MSI", "unhandled INTx", "IRQ disabled", "DMA to reserved RAM", "DMA to other RAM", "work lost", "device unusable",
    "QEMU aborted",
)  # fmt: skip
OUT = ("none", "keep-msi", "disable-msi", "disable-msi-only", "intx-off", "reset", "drain", "bridges-only")
IN = ("none", "disable-msi", "hardened")
DEVICES = ("edu", "virtio-blk", "virtio-net", "nvme", "ahci", "serial", "port")

VERDICTS = ("holds", "holds", "refuted", "not shown", "could not run", "holds")
CLAIMS, LIMITS = 12, 6

Facts = dict[str, Any]


def story(directory: Path, policy: str, change: Callable[[Scene], None] = lambda scene: None) -> Case:
    """Of a handoff in which, under disable-msi, edu's transfer ends as INTx in the window, and storms."""
    scene = handoff(Scene(directory), policy)
    if policy == "disable-msi":
        scene.after_step("jump", *gsi(21, 1))
        scene.after_step(f"master-{EDU}", *1000 * ["pic_interrupt irq 11 intno 43"], *gsi(21, 0))
    elif policy == "none":
        scene.after_step("jump", msi(MESSAGES[EDU]))
    change(scene)
    return Case(scene.run())


def stories(directory: Path) -> dict[str, Timeline]:
    made = {}
    for policy in ("keep-msi", "disable-msi", "none"):
        (directory / policy).mkdir()
        case = story(directory / policy, policy)
        made[policy] = timeline(case, landed=[Landed(case.end - 1, "256 bytes of 00:05.0 edu")])
    return made


def value(what: str, measured: int | str, expected: str, agrees: bool = True) -> Facts:
    return {"what": what, "measured": measured, "expected": expected, "agrees": agrees, "evidence": "trace 25149-25177"}


def case(id: str, name: str, role: str, line: Timeline | None, agrees: bool = True, why: str = "") -> Facts:
    values = [value("MSI in the window", int((role == "claim") != agrees), "0" if role == "claim" else "at least 1", agrees)]
    if role != "cure":
        values.append(value("GSI 21 raised and unhandled", 0 if role == "claim" else 1, "0" if role == "claim" else "1"))
    directory = f"{id}/{name}"
    return {
        "name": name, "role": role, "agrees": agrees, "why": why, "values": values if line else [],
        "timeline": asdict(line) if line else None, "vcd": f"{directory}.vcd" if line else None, "directory": directory,
    }  # fmt: skip


def experiment(kind: str, number: int, lines: dict[str, Timeline]) -> Facts:
    id, verdict = f"{kind[0]}{number:02}", VERDICTS[number % len(VERDICTS)]
    runs = verdict != "could not run"
    cases = [
        case(id, "bus master cleared", "claim", lines["keep-msi"] if runs else None, verdict != "refuted",
             "" if runs else "this QEMU has no such device" if verdict != "refuted" else "one message came"),
        case(id, "bus master left on", "control", lines["disable-msi"], verdict != "not shown"),
    ]  # fmt: skip
    if number % 3 == 0:
        cases.append(case(id, "reset first", "cure", lines["none"]))
    return {
        "id": id, "kind": kind, "verdict": verdict, "known": "holds", "cases": cases,
        "title": "A cleared bus master suppresses messages, since a message is a write to memory" + f" ({HOSTILE})" * (number == 1),
        "source": "the patch: “make sure device does not send MSI interrupts (MSI is a memory write and so is suppressed ...)”",
        "falsified_by": "a message of the function in the trace while its bus master is off",
        "provoked_by": "edu raises its interrupt after bus master was cleared, with MSI on",
        "reading": "A kernel that clears bus master need not disable MSI to be rid of messages. What was suppressed is lost.",
    }  # fmt: skip


def cell(number: int, out: str, inward: str, device: str) -> Facts:
    shown = max(0, number % 13 - 8)
    outcome = "QEMU died" if number % 41 == 40 else "could not run" if number % 29 == 28 else "ran"
    return {
        "out": out, "in": inward, "device": device, "outcome": outcome,
        "why": {"ran": "", "QEMU died": "assertion in hw/dma/edu.c", "could not run": "this device has no reset"}[outcome],
        "hazards": {hazard: number if index < shown and outcome == "ran" else 0 for index, hazard in enumerate(HAZARDS)},
        "notes": ["the line was up at the jump"] if number % 17 == 0 else [],
        "signature": "" if outcome != "ran" else "2 writes to MSI control more" if number % 37 == 36 else "as expected",
        "timeline": None, "directory": None if outcome == "ran" else f"matrix/{out}/{inward}/{device}",
    }  # fmt: skip


def results(directory: Path) -> Facts:
    lines = stories(directory)
    numbers = [("claim", n) for n in range(1, CLAIMS + 1)] + [("limit", n) for n in range(1, LIMITS + 1)]
    triples = [(out, inward, device) for out in OUT for inward in IN for device in DEVICES]
    return {
        "versions": {"git": "f967dc1", "QEMU": "7.2.22", "OVMF": "2022.11-6+deb12u2"},
        "experiments": [experiment(kind, number, lines) for kind, number in numbers],
        "matrix": {
            "out": [{"name": name, "history": f"what Linux did, and when: {name}"} for name in OUT],
            "in": [{"name": name, "history": f"since when: {name}"} for name in IN],
            "devices": list(DEVICES),
            "hazards": list(HAZARDS),
            "cells": [cell(number, *triple) for number, triple in enumerate(triples)],
        },
    }
