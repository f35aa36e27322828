# SPDX-License-Identifier: BSD-2-Clause
"""When an experiment has shown something, and what of the lab can be asked for. No machine runs."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest

from witness.lab.experiment import Conclusion, Role, Shown, Trial, Unshown, Value, at_least, conclude, exactly, reason
from witness.lab.lab import Choice, check_devices
from witness.lab.rounds import differences
from witness.lab.trials import lighten
from witness.machine.description import Machine
from witness.machine.firmware import Firmware
from witness.machine.qemu import Settings, Unusable


def shown(role: Role, agrees: bool = True, why: str = "") -> Shown:
    trial = Trial(role.value, role, Machine(), "image", lambda seen: [])
    return Shown(trial, (exactly("messages", 0, 0 if agrees else 1),), why)


CLAIM, CONTROL, CURE = (shown(role) for role in Role)


@pytest.mark.parametrize(
    "trials, verdict",
    [
        ([CLAIM, CONTROL], Conclusion.HOLDS),
        ([CLAIM, CONTROL, CURE], Conclusion.HOLDS),
        ([shown(Role.CLAIM, agrees=False), CONTROL], Conclusion.REFUTED),
        ([CLAIM, CONTROL, shown(Role.CURE, agrees=False)], Conclusion.REFUTED),
        ([CLAIM, shown(Role.CONTROL, agrees=False)], Conclusion.NOT_SHOWN),
        ([shown(Role.CLAIM, agrees=False), shown(Role.CONTROL, agrees=False)], Conclusion.NOT_SHOWN),
        ([CLAIM, shown(Role.CONTROL, why="point armed was not reached")], Conclusion.COULD_NOT_RUN),
        ([shown(Role.CLAIM, agrees=False, why="QEMU died"), CONTROL], Conclusion.COULD_NOT_RUN),
    ],
)
def test_verdict(trials: list[Shown], verdict: Conclusion) -> None:
    assert conclude(trials) is verdict


@pytest.mark.parametrize(
    "value, agrees",
    [(exactly("n", 1, 1), True), (exactly("n", 1, 0), False), (exactly("n", "off", "off"), True),
     (at_least("n", 2, 2), True), (at_least("n", 1, 2), False)],
)  # fmt: skip
def test_value(value: Value, agrees: bool) -> None:
    assert value.agrees is agrees


def test_judge_that_stumbles_says_where() -> None:
    assert reason(Unshown("point armed was not reached")) == "point armed was not reached"
    try:
        {}["kept"]  # type: ignore[index]
    except KeyError as error:
        assert re.fullmatch(r"KeyError: 'kept' \(test_lab\.py:\d+\)", reason(error))


def test_choice() -> None:
    assert list(Choice.of(["c01"]).experiments) == ["c01"]
    assert len(Choice.of([]).experiments) > 1


def test_unknown_experiment_is_named_beside_those_that_there_are() -> None:
    with pytest.raises(Unusable, match=r"^ONLY=c01,c99: no experiment c99, there are c01 .*$"):
        Choice.of(["c01", "c99"])


def test_devices_of_a_machine() -> None:
    assert {"edu", "pcie-root-port"} <= Machine(devices=("edu,addr=5", "pcie-root-port,id=root")).models()


def test_device_that_this_qemu_lacks_is_named() -> None:
    settings = Settings(Firmware(Path("OVMF.fd"), None))
    check_devices(settings, [Machine(devices=("edu,addr=5",))])
    with pytest.raises(Unusable, match=r"^qemu-system-x86_64 has no device edo$"):
        check_devices(settings, [Machine(devices=("edo,addr=5",))])


def test_what_is_kept_of_a_run(tmp_path: Path) -> None:
    for name in ("trace.log", "ram", "beside/guest.log", "beside/ram", "files/handoff/second.bin", "next.ram"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    lighten(tmp_path)
    left = [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    assert left == ["beside/guest.log", "next.ram", "trace.log"]
    lighten(tmp_path, "*.ram")
    assert not (tmp_path / "next.ram").exists()


def results(value: Value) -> dict[str, object]:
    cases = [{"name": "edu", "values": [asdict(value)]}]
    return {"experiments": [{"id": "c01", "verdict": "holds", "cases": cases}], "matrix": None}


def test_what_differs_between_two_runs() -> None:
    one, same, two = exactly("messages", 1, 1, "trace 7"), exactly("messages", 1, 1, "trace 8"), exactly("messages", 2, 1)
    assert differences(results(one), results(same)) == []
    assert differences(results(one), results(two)) == ["c01 edu: messages: 1 and 2"]
    assert differences(results(exactly("messages", 3, 1)), results(two)) == ["c01 edu: messages: 3 and 2"]


def test_more_than_enough_is_no_difference() -> None:
    enough, more, less = (at_least("milliseconds", measured, 700) for measured in (798, 812, 699))
    assert differences(results(enough), results(more)) == []
    assert differences(results(enough), results(less)) == ["c01 edu: milliseconds: at least 700 and 699"]
