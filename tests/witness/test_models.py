# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a device is known by its row in the table alone. A kind that is made up here is judged by every rule about devices.

It could be false of a rule that asks for a kind by itself: the made-up one would pass it unseen.
"""

from __future__ import annotations

from typing import Callable, Iterator

import pytest
from tests.witness.scene import BELOW, Scene

from witness import devices
from witness.devices import DeviceModel, Drive, Effect, Extent, Landing, Request, Reset
from witness.evidence.case import Case
from witness.machine.record import Ram
from witness.pci.topology import Function
from witness.trace.events import MmioWrite


class Mailbox(DeviceModel):
    """The device below the story's bridge, as a device of another kind."""

    kind = "mailbox"
    reset = Reset.NONE
    waiting: tuple[Request, ...] = (Request((Landing(range(0x7000, 0x7010), None),), gated=True),)
    structure = range(0x4000, 0x4010)
    complaint = ""

    def matches(self, function: Function) -> bool:
        return function.bdf == BELOW

    def effect(self, write: MmioWrite) -> Effect:
        return Effect.RESET if write.region == "edu-mmio" and write.address & 0xFF == 0x64 else Effect.OTHER

    def structures(self, case: Case, function: Function, lines: range) -> list[Extent]:
        return [Extent("mailbox", self.structure)] if lines.start == 0 else []

    def requests(self, case: Case, function: Function, lines: range, ram: Ram | None) -> list[Request]:
        return list(self.waiting)

    def not_driven(self, drive: Drive) -> Iterator[str]:
        if self.complaint:
            yield self.complaint


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Mailbox:
    model = Mailbox()
    monkeypatch.setattr(devices, "MODELS", [model, *devices.MODELS])
    return model


def test_it_is_driven(scene: Scene, mailbox: Mailbox) -> None:
    assert (BELOW, mailbox) in [(function.bdf, model) for function, model in devices.working(Case(scene.run()))]
    assert scene.failed() == set()


def nothing_in_flight(mailbox: Mailbox, scene: Scene) -> None:
    mailbox.waiting = ()


def not_driven(mailbox: Mailbox, scene: Scene) -> None:
    mailbox.complaint = "its flag never went up"


def not_reserved(mailbox: Mailbox, scene: Scene) -> None:
    mailbox.waiting = (Request((Landing(range(0x9000, 0x9010), None),), gated=True),)


def structure_not_reserved(mailbox: Mailbox, scene: Scene) -> None:
    mailbox.structure = range(0x9000, 0x9010)


def not_reset(mailbox: Mailbox, scene: Scene) -> None:
    mailbox.reset = Reset.REGISTER


BREAKS: list[tuple[Callable[[Mailbox, Scene], None], set[str]]] = [
    (nothing_in_flight, {"load"}),
    (not_driven, {"driven-first", "driven-next"}),
    (not_reserved, {"reserved"}),
    (structure_not_reserved, {"reserved"}),
    (not_reset, {"reset"}),
]


@pytest.mark.parametrize("break_it, rules", BREAKS)
def test_it_is_judged(scene: Scene, mailbox: Mailbox, break_it: Callable[[Mailbox, Scene], None], rules: set[str]) -> None:
    break_it(mailbox, scene)
    assert scene.failed() == rules
