# SPDX-License-Identifier: BSD-2-Clause
"""Claim: QEMU's text becomes the events that it reports, with the traps of QEMU 7.2's trace taken into account.

It could be false where two trace points share a name or one lacks a fact: no width in pci_cfg_write, one region for
MSIs and for a CPU's local APIC, reads that the harness itself makes. Provoked line by line; the lines are QEMU's own.
"""

from tests.witness.scene import GO, STOP, config_write, memory_write, msi

from witness.pci.topology import Bdf
from witness.trace.events import (
    BarMap, BlockRequest, ConfigRead, ConfigWrite, GsiLevel, MmioWrite, Msi, Parser, PicInterrupt, RunState, parse,
)  # fmt: skip

EDU = Bdf(0, 5, 0)


def test_config_write_has_the_width_of_its_access() -> None:
    for size in (1, 2, 4):
        assert parse(config_write(EDU, 4, 0x403, size)) == [ConfigWrite(2, EDU, "edu", 4, 0x403, size)]


def test_config_write_through_ports() -> None:
    lines = [memory_write("pci-conf-data", 0xCFE, 0x81, 2), "pci_cfg_write edu 00:05.0 @0x42 <- 0x81"]
    assert parse(lines) == [ConfigWrite(2, EDU, "edu", 0x42, 0x81, 2)]


def test_width_is_not_taken_from_another_access() -> None:
    unanswered = memory_write("pcie-mmcfg-mmio", 0xB00F8006, 0, 4)
    assert parse([unanswered, *config_write(EDU, 4, 0, 2)]) == [ConfigWrite(3, EDU, "edu", 4, 0, 2)]
    assert parse([unanswered, "pci_cfg_write edu 00:05.0 @0x4 <- 0x0"]) == [ConfigWrite(2, EDU, "edu", 4, 0, 0)]


def test_message_and_local_apic_share_a_name() -> None:
    lines = [msi(0x41), memory_write("apic-msi", 0xFEE000B0, 0, 4), memory_write("apic-msi", 0xFEE01000, 0x42, 4)]
    assert parse(lines) == [Msi(1, 0xFEE00000, 0x41), Msi(3, 0xFEE01000, 0x42)]


def test_accesses_of_the_harness_are_not_the_guests() -> None:
    read, write = "pci_cfg_read edu 00:05.0 @0x4 -> 0x403", "pci_cfg_write edu 00:05.0 @0x4 <- 0x407"
    events = parse([read, STOP, read, GO, read])
    assert [e.line for e in events if isinstance(e, ConfigRead)] == [1, 5]
    events = parse([write, STOP, write, GO, write])
    assert [e.line for e in events if isinstance(e, ConfigWrite)] == [1, 5]
    assert [e for e in events if isinstance(e, RunState)] == [RunState(2, "debug"), RunState(4, "running")]


def test_a_log_is_no_event_where_nobody_asks_but_other_registers_of_a_console_are() -> None:
    letters = [memory_write("serial", 0x3F8, 0x6C, 1), memory_write("isa-debugcon", 0xE9, 0x6C, 1)]
    scratch = memory_write("serial", 0x3FF, 0x5A, 1)
    parser = Parser(consoles=False)
    assert [parser.event(1, line) for line in letters] == [None, None]
    assert parser.event(3, scratch) == MmioWrite(3, 0x3FF, 0x5A, 1, "serial")
    assert len(parse([*letters, scratch])) == 3


def test_requests_of_a_disk() -> None:
    lines = [
        "virtio_blk_handle_read vdev 0x55b958601a40 req 0x7f0c sector 0 nsectors 128",
        "virtio_blk_handle_write vdev 0x55b958601a40 req 0x7f0d sector 8 nsectors 1",
        "virtio_blk_rw_complete vdev 0x55b958601a40 req 0x7f0c ret 0",
        "virtio_blk_req_complete vdev 0x55b958601a40 req 0x7f0c status 0",
    ]
    assert parse(lines) == [BlockRequest(1, 0x7F0C, False), BlockRequest(2, 0x7F0D, False), BlockRequest(4, 0x7F0C, True)]


def test_the_rest() -> None:
    lines = [
        "pci_update_mappings_add virtio-blk-pci 00:03.0 4,0xe020000000+0x4000",
        "pci_update_mappings_del virtio-blk-pci 00:03.0 4,0xe020000000+0x4000",
        "ioapic_set_irq vector: 21 level: 1",
        "pic_interrupt irq 10 intno 42",
        memory_write("edu-mmio", 0xC0100098, 7, 4),
    ]
    virtio = Bdf(0, 3, 0)
    assert parse(lines) == [
        BarMap(1, virtio, 4, 0xE020000000, 0x4000, True),
        BarMap(2, virtio, 4, 0xE020000000, 0x4000, False),
        GsiLevel(3, 21, 1),
        PicInterrupt(4, 10),
        MmioWrite(5, 0xC0100098, 7, 4, "edu-mmio"),
    ]


def test_other_lines_are_passed_over() -> None:
    assert parse(["", "qemu: warning: something", "virtio_notify vdev 0x1 vq 0x2", "pci_cfg_write garbled"]) == []
