# SPDX-License-Identifier: BSD-2-Clause
"""Claim: evidence other than the trace is read correctly: rings in RAM, the disk's pattern, how a run ended, a kept run.

It could be false at the seams: a ring that has wrapped, requests that overtake each other, a QEMU that dies in a way
that looks like a guest's verdict, a guest that says one thing and exits with another.
"""

import struct
from pathlib import Path

import pytest
from tests.witness.scene import AVAIL, DESC, USED, VIRTIO

from witness.devices.virtio import Queue, in_flight
from witness.judge import pattern
from witness.machine.firmware import NotFound, find
from witness.machine.record import Outcome, Ram, Run, classify

QUEUE = Queue(VIRTIO, 0, 0, 4, DESC, AVAIL, USED)


def heads(tmp_path: Path, available: list[int], used: list[int]) -> set[int]:
    """The heads in flight after these were made available and used, in order. Each is a chain of one descriptor."""
    ram = bytearray(0x10000)
    for head in range(QUEUE.size):
        struct.pack_into("<QIHH", ram, DESC + 16 * head, 0x1000 * head, 1, 0, 0)
    for base, step, ring in ((AVAIL, 2, available), (USED, 8, used)):
        struct.pack_into("<H", ram, base + 2, len(ring))
        for i, head in enumerate(ring):
            struct.pack_into("<H", ram, base + 4 + step * (i % QUEUE.size), head)
    path = tmp_path / "ram"
    path.write_bytes(ram)
    return {chain[0].address >> 12 for chain in in_flight(QUEUE, Ram(path))}


def test_requests_in_flight(tmp_path: Path) -> None:
    assert heads(tmp_path, [0, 1, 2], []) == {0, 1, 2}
    assert heads(tmp_path, [0, 1, 2], [1]) == {0, 2}
    assert heads(tmp_path, [0, 1, 2], [2, 0, 1]) == set()


def test_requests_in_flight_when_the_ring_has_wrapped(tmp_path: Path) -> None:
    assert heads(tmp_path, [0, 1, 2, 3, 0, 1], [0, 1, 2, 3, 1]) == {0}


def test_rings_that_contradict_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="do not show"):
        heads(tmp_path, [0, 0], [])


def test_pattern() -> None:
    disk = b"".join(pattern.sector(n, 7) for n in range(128))
    assert pattern.check(disk) == []
    assert pattern.check(bytes(65536)) == ["sector 0 does not have the signature"]
    assert pattern.check(disk[:-1] + b"?") == ["1 of 128 sectors differ from the pattern, the first is 127"]
    assert pattern.check(pattern.sector(0, 8) + disk[512:])[0].startswith("127 of 128")


@pytest.mark.parametrize(
    "status, log, outcome",
    [
        (33, ["first  hello", "GUEST: pass"], Outcome.PASS),
        (65, ["GUEST: fail"], Outcome.FAIL),
        (97, ["GUEST: error options"], Outcome.ERROR),
        (33, ["GUEST: fail"], Outcome.CRASH),
        (33, [], Outcome.CRASH),
        (0, ["first  hello"], Outcome.CRASH),
        (1, ["first  hello"], Outcome.QEMU_DIED),
        (-6, ["GUEST: pass"], Outcome.QEMU_DIED),
        (134, [], Outcome.QEMU_DIED),
    ],
)
def test_how_a_run_ended(status: int, log: list[str], outcome: Outcome) -> None:
    assert classify(status, log)[0] is outcome


def test_options_end_where_a_foreign_command_line_begins() -> None:
    run = Run(Path(), None, {}, "quiet handoff.next=linux -- handoff.next=second", {})  # type: ignore[arg-type]
    assert run.option("next", "second") == "linux"
    assert run.option("shutdown", "keep-msi") == "keep-msi"


def test_firmware_by_name(tmp_path: Path) -> None:
    code, variables = tmp_path / "CODE.fd", tmp_path / "VARS.fd"
    with pytest.raises(NotFound, match="CODE.fd: no such firmware"):
        find({"OVMF_CODE": str(code)})
    code.write_bytes(b"QFI\xfb")
    assert find({"OVMF_CODE": str(code)}).arguments(tmp_path) == ["-bios", str(code)]
    variables.write_bytes(b"raw")
    run = tmp_path / "run"
    run.mkdir()
    assert find({"OVMF_CODE": str(code), "OVMF_VARS": str(variables)}).arguments(run) == [
        "-drive", f"if=pflash,format=qcow2,readonly=on,file={code}",
        "-drive", f"if=pflash,format=raw,file={run / 'VARS.fd'}",
    ]  # fmt: skip
