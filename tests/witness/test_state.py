# SPDX-License-Identifier: BSD-2-Clause
"""Claim: registers, hops and wiring come out of the trace as they were in the machine.

It could be false where a write covers a register in part, where a driver's init looks like a shutdown, where a handoff
ends with the trace, or where a pin is wired through bridges.
"""

import pytest
from tests.witness.scene import BELOW, BRIDGE, COMMAND, CONTROL, EDU, VIRTIO, config, config_write

from witness.pci.registers import Register
from witness.pci.topology import Bdf, Function, Topology
from witness.trace.events import BarMap, ConfigWrite, parse
from witness.trace.phases import Clock, Hop, hops
from witness.trace.state import Bars, Change, History

TOPOLOGY = Topology.of((bdf, config(bdf, 7, 0)) for bdf in (VIRTIO, EDU, BRIDGE, BELOW))


def history(*writes: tuple[Bdf, int, int, int]) -> History:
    found = History(TOPOLOGY.functions)
    for event in parse(line for write in writes for line in config_write(*write)):
        assert isinstance(event, ConfigWrite)
        found.apply(event)
    return found


def changes(*writes: tuple[Bdf, int, int]) -> list[Change]:
    return history(*((*write, 2) for write in writes)).changes


def test_a_byte_changes_half_a_register() -> None:
    h = history((EDU, COMMAND, 0x0407, 2), (EDU, COMMAND + 1, 0x00, 1), (EDU, COMMAND, 0x03, 1))
    assert [(c.old, c.new) for c in h.changes] == [(0, 0x407), (0x407, 0x7), (0x7, 0x3)]


def test_a_wide_write_reaches_the_register_in_its_upper_half() -> None:
    h = history((EDU, CONTROL - 2, 0x00810005, 4))
    assert [(c.register, c.new) for c in h.changes] == [(Register.MSI, 0x81)]


def test_a_write_of_unknown_width_reaches_the_register_that_it_hits_and_no_other() -> None:
    """A 16-bit write to what is below MSI's control, and one to the control itself, each without its access in the trace."""
    for offset, reached in ((CONTROL - 2, []), (CONTROL, [Register.MSI])):
        found = History(TOPOLOGY.functions)
        for event in parse(config_write(EDU, offset, 0x81)[1:]):
            assert isinstance(event, ConfigWrite) and event.size == 0
            assert [change.register for change in found.apply(event)] == reached


def test_values_before_between_and_after() -> None:
    h = history((EDU, COMMAND, 7, 2), (EDU, COMMAND, 3, 2))
    assert [h.value(EDU, Register.COMMAND, line) for line in (0, 2, 3, 4, 5)] == [0, 0, 7, 7, 3]
    assert h.masters(4) == [EDU]
    assert h.masters(5) == []


def test_what_was_read_counts_more_than_what_was_written() -> None:
    h = history((EDU, COMMAND, 0xFFFF, 2))
    h.observe(10, [Function(EDU, config(EDU, 0x403, 0x81))])
    assert h.value(EDU, Register.COMMAND, 11) == 0x403
    assert h.signalling(11) == [(EDU, Register.MSI)]


ON, OFF, SET = (EDU, CONTROL, 0x81), (EDU, COMMAND, 3), (EDU, COMMAND, 7)


def test_a_hop() -> None:
    found = hops(changes(SET, ON, OFF, (VIRTIO, COMMAND, 3), SET), 20)
    assert found == [Hop(1, range(6, 7), range(7, 10), range(10, 21))]


@pytest.mark.parametrize("armed, found", [({}, 0), ({"armed": True}, 1)])
def test_a_clock_waits_for_messages_unless_it_is_told_not_to(armed: dict[str, bool], found: int) -> None:
    clock = Clock(**armed)
    assert len([edges for change in changes(SET, OFF, SET) if (edges := clock.read(change))]) == found


def test_a_hop_that_never_ends() -> None:
    assert hops(changes(SET, ON, OFF), 20) == [Hop(1, range(6, 7), range(7, 21), range(21, 21))]


def test_two_hops_each_end_where_the_next_begins() -> None:
    found = hops(changes(SET, ON, OFF, (EDU, CONTROL, 0x80), SET, ON, OFF, SET), 20)
    assert [(hop.out, hop.inward) for hop in found] == [
        (range(6, 7), range(10, 14)),
        (range(14, 15), range(16, 21)),
    ]


def test_firmware_that_toggles_bus_master_is_no_hop() -> None:
    assert hops(changes(SET, OFF, SET), 20) == []


def test_where_nobody_has_msi_every_clear_under_an_image_of_ours_is_a_hop() -> None:
    silent = changes(SET, OFF, SET, OFF, SET, OFF)
    assert hops(silent, 20, entered=5) == [
        Hop(1, range(8, 9), range(9, 10), range(10, 12)),
        Hop(2, range(12, 13), range(13, 21), range(21, 21)),
    ]
    assert hops(silent, 20, entered=13) == []


def test_where_somebody_has_it_only_those_behind_it_are() -> None:
    assert len(hops(changes(SET, OFF, SET, ON, OFF), 20, entered=1)) == 1


def test_msi_switched_off_and_on_again_is_no_hop() -> None:
    again = SET, ON, (EDU, CONTROL, 0x80), ON
    assert hops(changes(*again), 20) == []
    assert hops(changes(*again, OFF, SET), 20) == [Hop(1, range(10, 11), range(11, 12), range(12, 21))]


def test_an_address_belongs_to_whoever_maps_it_then() -> None:
    maps = [(1, EDU, True), (2, EDU, False), (3, BELOW, True)]
    bars = Bars((BarMap(line, bdf, 0, 0xC0000000, 0x1000, mapped) for line, bdf, mapped in maps), end=3)
    assert [bars.owner(0xC0000FFF, line) for line in (1, 2, 3)] == [EDU, None, BELOW]
    assert bars.owner(0xC0001000, 1) is None


def test_wiring_is_q35s() -> None:
    """Measured: INTA of slots 5 and 9 is GSI 21, below a root port in slot 6 the swizzle gives 22."""
    assert (TOPOLOGY.gsi(EDU), TOPOLOGY.gsi(BELOW)) == (21, 22)
    assert TOPOLOGY.upstream(BELOW) == [BRIDGE]


def test_wiring_on_pc_goes_to_isa_irqs() -> None:
    """Measured: with firmware's routes INTA of slot 5 is IRQ 10, of slot 3 is 11."""
    isa = Bdf(0, 1, 0)
    space = bytearray(256)
    space[0:4], space[0x60:0x64] = (0x70008086).to_bytes(4, "little"), bytes((10, 0x80, 11, 11))
    pc = Topology.of([(isa, bytes(space)), *((f.bdf, f.config) for f in TOPOLOGY.functions.values())])
    assert (pc.gsi(EDU), pc.gsi(VIRTIO), pc.gsi(isa)) == (10, 11, None)
    assert pc.gsi(BRIDGE) is None, "PIRQB is disabled"
    assert pc.lines == {10, 11}


def test_a_capability_list_that_loops_ends() -> None:
    space = bytearray(config(EDU, 7, 0x81))
    space[0x41] = 0x40
    assert Function(EDU, bytes(space)).offsets == {Register.COMMAND: 4, Register.MSI: CONTROL}


def test_of_two_capabilities_the_first_counts() -> None:
    space = bytearray(config(EDU, 7, 0x81))
    space[0x41], space[0x60] = 0x60, 0x05
    assert Function(EDU, bytes(space)).offsets == {Register.COMMAND: 4, Register.MSI: CONTROL}


@pytest.mark.parametrize(
    "first, flags, found",
    [(0x3C, 0x81, False), (0xF4, 0x81, False), (0xF0, 0x81, True), (0xEC, 0x181, False), (0xE8, 0x181, True)],
)
def test_a_capability_in_the_header_or_past_the_end_is_none(first: int, flags: int, found: bool) -> None:
    """MSI takes 14 bytes with a 64-bit address, 10 more with masks: the last place for it is the one where it fits."""
    space = bytearray(config(EDU, 7, 0x81))
    space[0x34] = first
    space[first:first + 4] = 0x05, 0x00, *flags.to_bytes(2, "little")
    assert (Register.MSI in Function(EDU, bytes(space)).offsets) is found
