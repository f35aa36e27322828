# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a timeline shows what happened, in its order, and nothing else: what it says of a bit at a tick is what the registers held
there, no message or interrupt is missing or counted twice, and however much happens it stays short.

It could be false where events are summed up, where a level comes back within a tick, where a message is nobody's, where firmware or
a function that nobody drives fills the lanes, or where a run never came as far as an image.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict
from pathlib import Path
from typing import Callable

import pytest
from tests.witness.lab_results import story
from tests.witness.scene import (
    BELOW, BRIDGE, COMMAND, CONTROL, EDU, MESSAGES, ROUTER, TABLE, VIRTIO, Scene, gsi, memory_write, msi,
)  # fmt: skip

from witness.evidence.case import Case
from witness.pci.registers import PCI_COMMAND_INTX_DISABLE
from witness.report.timeline import BITS, DEBUGCON, TICKS_MAX, Landed, Point, Timeline, timeline
from witness.trace.events import Msi, PicInterrupt

IRQ_11 = "pic_interrupt irq 11 intno 43"


def lane(shown: Timeline, name: str) -> list[tuple[int, int | str]]:
    return next(([(point.at, point.value) for point in lane.points] for lane in shown.lanes if lane.name == name), [])


def lines(shown: Timeline) -> list[int]:
    return [tick.line for tick in shown.ticks]


def level(points: list[Point], at: int) -> int | str:
    """After this tick."""
    return [point.value for point in points if point.at <= at][-1]


def toggled(scene: Scene, times: int) -> None:
    """second switches edu's MSI off and on, so often, each time with a message."""
    for _ in range(times):
        for value in (0x80, 0x81):
            scene.register("toggle", EDU, CONTROL, value)
        scene.add("message", msi(MESSAGES[EDU]))


def test_phases_and_images(scene: Scene) -> None:
    case = Case(scene.run())
    shown, hop = timeline(case), case.hops[0]
    assert [name for _, name in lane(shown, "handoff: phase")] == ["driving", "out", "window", "in"]
    begins = [shown.ticks[at].line for at, _ in lane(shown, "handoff: phase")]
    entered = case.entry_lines["first"]
    assert begins[0] == entered and begins[2] == case.entry_lines["second"] and begins[3] == hop.inward.start
    assert [name for _, name in lane(shown, "handoff: image")] == ["first", "second"]
    assert lines(shown) == sorted(lines(shown)) and lines(shown)[0] == entered and lines(shown)[-1] == case.end


def test_each_change_of_the_handoff_has_its_tick(scene: Scene) -> None:
    case = Case(scene.run())
    hop = case.hops[0]
    changes = {c.line for c in case.changes(range(hop.out.start, hop.window.stop)) if c.bdf != BRIDGE and c.set | c.cleared}
    assert changes <= set(lines(timeline(case)))


@pytest.mark.parametrize("policy", ["keep-msi", "disable-msi", "none"])
@pytest.mark.parametrize("busy", [0, 200])
def test_every_level_is_what_the_register_held(tmp_path: Path, policy: str, busy: int) -> None:
    """Each bit, after each tick, against the registers before the next."""
    case = story(tmp_path, policy, lambda scene: toggled(scene, busy))
    shown = timeline(case)
    levels = {lane.name: lane.points for lane in shown.lanes if lane.kind == "level"}
    compared = 0
    for bdf in case.topology.functions:
        for register, mask, word in BITS:
            points = levels.get(f"{case.name(bdf)}: {word}", [])
            for at, line in enumerate(lines(shown)[1:] if points else []):
                assert level(points, at) == bool(case.history.value(bdf, register, line) & mask), (bdf, word, at)
                compared += 1
    assert compared >= 50


@pytest.mark.parametrize("busy", [0, 200])
def test_no_pulse_is_lost_or_counted_twice(tmp_path: Path, busy: int) -> None:
    case = story(tmp_path, "disable-msi", lambda scene: toggled(scene, busy))
    shown = timeline(case)
    since = range(case.entry_lines["first"], case.end + 1)
    taken = [value for name in ("10", "11") for _, value in lane(shown, f"8259: IRQ {name} taken")]
    assert sum(map(int, taken)) == len(list(case.within(PicInterrupt, since))) > 1000
    carried = [str(v) for one in shown.lanes if one.name.endswith(": messages") for v in (point.value for point in one.points)]
    counts = [int(count or 1) for text in carried for _, _, count in (part.partition(" ×") for part in text.split(", "))]
    assert sum(counts) == len(list(case.within(Msi, since)))


def test_a_storm_is_one_mark(tmp_path: Path) -> None:
    shown = timeline(story(tmp_path, "disable-msi"))
    storm = [(at, value) for at, value in lane(shown, "8259: IRQ 11 taken") if value == 1000]
    assert len(storm) == 1 and "IRQ 11 taken ×1000" in shown.ticks[storm[0][0]].text


def test_what_comes_between_ends_a_mark(tmp_path: Path) -> None:
    """The negative twin: a message amid the storm."""
    case = story(tmp_path, "disable-msi", lambda scene: scene.after_step("jump", IRQ_11, IRQ_11, msi(0x41), IRQ_11))
    assert [value for _, value in lane(timeline(case), "8259: IRQ 11 taken")][1:3] == [2, 1]


def test_a_message_has_its_sender(scene: Scene) -> None:
    scene.after_step("jump", msi(MESSAGES[BELOW]), msi(0x99))
    shown = timeline(Case(scene.run()))
    window = lane(shown, "handoff: phase")[2][0]
    assert (window + 1, "0x42") in lane(shown, f"{BELOW} edu: messages")
    assert lane(shown, "unknown sender: messages") == [(window + 2, "0x99")]


@pytest.mark.parametrize(
    "selected, value, sender",
    [(0x22, 0xA099, "I/O APIC"), (0x23, 0x99, "unknown sender"), (0x01, 0x99, "unknown sender"), (0x22, 0x98, "unknown sender")],
    ids=["low half", "high half", "no entry", "another vector"],
)
def test_the_io_apic_sends_what_its_table_holds(scene: Scene, selected: int, value: int, sender: str) -> None:
    def told(register: int, word: int) -> str:
        return f"memory_region_ops_write cpu 0 mr 0x1 addr {0xFEC00000 + register:#x} value {word:#x} size 4 name 'ioapic'"

    scene.after_step("jump", told(0, selected), told(0x10, value), msi(0x99))
    names = [one.name for one in timeline(Case(scene.run())).lanes]
    assert [name for name in names if name in ("I/O APIC: messages", "unknown sender: messages")] == [f"{sender}: messages"]


@pytest.mark.parametrize("last", [True, False], ids=["last word", "none"])
def test_a_kernel_that_shows_no_entry_has_messages_of_its_own(scene: Scene, last: bool) -> None:
    """What it makes of the disk's table says nothing of the messages before. The twin: an image that changes its mind itself."""
    for vector in (0x98, 0x99):
        words = enumerate((0xFEE00000, 0, vector))
        scene.add("again", *(memory_write("msix-table", TABLE + 4 * i, word, 4) for i, word in words), msi(vector))
        scene.add("word", *[memory_write(DEBUGCON, 0, ord("."), 1)] * (last and vector == 0x98))
    sent = [value for _, value in lane(timeline(Case(scene.run())), f"{VIRTIO} virtio-blk-pci: messages")]
    assert ("0x98" in " ".join(map(str, sent))) is last and "0x99" in " ".join(map(str, sent))


def test_lines_of_pci_and_no_isa(scene: Scene) -> None:
    names = [one.name for one in timeline(Case(scene.run())).lanes]
    assert [name for name in names if name.startswith("INTx")] == ["INTx: GSI 21", "INTx: GSI 22"]


def test_isa_where_there_is_nothing_else(scene: Scene) -> None:
    """On pc the PIIX3 routes PCI's wires to ISA IRQs."""
    run = scene.run()
    for entry in run.entries:
        piix3 = bytearray(entry.configs[ROUTER])
        struct.pack_into("<I", piix3, 0, 0x70008086)
        piix3[0x60:0x64] = 10, 11, 10, 11
        entry.configs[ROUTER] = bytes(piix3)
    names = [one.name for one in timeline(Case(run)).lanes]
    assert {"INTx: IRQ 10", "INTx: IRQ 11"} <= set(names)


def test_only_functions_that_somebody_drives(scene: Scene) -> None:
    assert not any(str(BRIDGE) in one.name for one in timeline(Case(scene.run())).lanes)


def test_a_write_makes_a_function_matter(scene: Scene) -> None:
    scene.before_step("enter-first", f"pci_update_mappings_add pcie-root-port {BRIDGE} 0,0xd0000000+0x1000")
    scene.after_step("enter-first", memory_write("shpc", 0xD0000000, 1, 4))
    shown = timeline(Case(scene.run()))
    assert [value for _, value in lane(shown, f"{BRIDGE} pcie-root-port: BM")] == [1, 0, 1]


def test_much_stays_short_and_the_handoff_fine(scene: Scene) -> None:
    fine = timeline(Case(scene.run()))
    toggled(scene, 200)
    shown = timeline(Case(scene.run()))
    assert len(shown.ticks) <= TICKS_MAX + 1
    inward = dict((name, at) for at, name in lane(shown, "handoff: phase"))["in"]
    assert shown.ticks[:inward] == fine.ticks[:inward]


def test_the_handoff_gets_coarser_last(scene: Scene) -> None:
    """Although more happens in the window than behind it."""
    scene.after_step("jump", *25 * [*gsi(21, 1), *gsi(21, 0)])
    toggled(scene, 15)
    shown = timeline(Case(scene.run()))
    window, inward = (at for at, name in lane(shown, "handoff: phase") if name in ("window", "in"))
    assert inward - window >= 50 and len(shown.ticks) <= TICKS_MAX + 1


def test_a_change_without_a_write(scene: Scene) -> None:
    """As a reset makes one: the registers at second's entry are not those that first left."""
    run = scene.run()
    found = bytearray(run.entries[1].configs[EDU])
    found[COMMAND + 1] &= ~(PCI_COMMAND_INTX_DISABLE >> 8)
    run.entries[1].configs[EDU] = bytes(found)
    case = Case(run)
    shown = timeline(case)
    at = lines(shown).index(case.entry_lines["second"])
    assert (at, 0) in lane(shown, f"{EDU} edu: INTx Disable")


def test_a_level_that_comes_back_within_a_tick_shows(scene: Scene) -> None:
    """first raises and lowers its lines while it drives, which is one tick."""
    assert lane(timeline(Case(scene.run())), "INTx: GSI 21")[:2] == [(0, 1), (0, 0)]


def test_marks_of_an_experiment(scene: Scene) -> None:
    case = Case(scene.run())
    first, second = case.entry_lines["first"], case.entry_lines["second"]
    shown = timeline(case, [(first + 5, "armed"), (second, "released")])
    assert [name for _, name in lane(shown, "handoff: phase")] == ["driving", "armed", "released"]
    assert [shown.ticks[at].line for at, _ in lane(shown, "handoff: phase")][1:] != [] and len(shown.ticks) <= TICKS_MAX + 1


def test_what_landed(scene: Scene) -> None:
    case = Case(scene.run())
    line = case.hops[0].window.start
    shown = timeline(case, landed=[Landed(line, "64 bytes"), Landed(line, "64 bytes")])
    assert [(shown.ticks[at].line, value) for at, value in lane(shown, "memory: DMA landed")] == [(line, "64 bytes ×2")]


def test_a_run_that_saw_no_image(scene: Scene) -> None:
    run = scene.run()
    run.entries.clear()
    assert [name for _, name in lane(timeline(Case(run)), "handoff: phase")] == ["firmware"]


def test_an_empty_trace(scene: Scene) -> None:
    scene.steps.clear()
    assert len(timeline(Case(scene.run())).ticks) == 2


def test_survives_json(scene: Scene) -> None:
    shown = timeline(Case(scene.run()))
    assert Timeline.of(json.loads(json.dumps(asdict(shown)))) == shown


def test_shared_line_that_is_already_up(tmp_path: Path) -> None:
    """A second function that asserts the line repeats its level: no edge."""
    change: Callable[[Scene], None] = lambda scene: scene.after_step("jump", *gsi(21, 1))
    once, twice = (timeline(story(tmp_path, "disable-msi", c)) for c in (lambda scene: None, change))
    assert [v for _, v in lane(once, "INTx: GSI 21")] == [v for _, v in lane(twice, "INTx: GSI 21")]
