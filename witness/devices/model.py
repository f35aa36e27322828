# SPDX-License-Identifier: BSD-2-Clause
"""The protocol of a kind of device. One file of this folder implements it for each kind; `__init__.py` lists them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from typing import Callable, Iterable, Iterator, Mapping, Union

from witness.evidence.case import Case
from witness.evidence.interrupts import Message, line_handled, own_messages, sent
from witness.machine.record import Ram
from witness.pci.registers import Register
from witness.pci.topology import Bdf, Function
from witness.trace.events import MmioWrite


MESSAGE_KINDS = {Register.MSI: "MSI", Register.MSIX: "MSI-X"}


class Reset(Enum):
    """How a driver of ours stops what the previous owner left running, by writes into a BAR."""

    NONE = "none"  # no register in a BAR
    ACKNOWLEDGE = "acknowledge"  # no reset: it acknowledges a pending interrupt and waits for the rest
    REGISTER = "register"


class Effect(Enum):
    """The effect of a write into a BAR."""

    RESET = "reset"
    DISABLE = "disable"  # stops interrupts or requests, as a driver does before or after the reset itself
    TRIGGER = "trigger"  # an interrupt may follow
    ACKNOWLEDGE = "acknowledge"
    OFFER = "offer"  # gives a buffer to the device again
    OTHER = "other"


class Load(Enum):
    """The functions that must have work in flight when a kernel of ours hands over."""

    NONE = "none"
    ANY = "any"  # at least one of the kind
    EACH = "each"


@dataclass(frozen=True)
class Extent:
    """A named piece of RAM."""

    what: str
    addresses: range

    def __str__(self) -> str:
        return f"{self.what} 0x{self.addresses.start:x}-0x{self.addresses.stop:x}"

    def overlaps(self, other: Extent) -> bool:
        return self.addresses.start < other.addresses.stop and other.addresses.start < self.addresses.stop


@dataclass(frozen=True)
class Landing:
    """RAM that a submitted request entitles the device to write, and what it may write there."""

    addresses: range
    content: bytes | None  # None: unknown, it comes from outside

    def landed(self, ram: Ram) -> int:
        """How many of its bytes are in this RAM."""
        return len(self.addresses) if ram.read(self.addresses) == self.content else 0


@dataclass(frozen=True)
class Request:
    """Work that a device was given and has not completed.

    Three sets must not be mixed:
    - what may land while bus master is off: `writes` of requests that are not `gated`;
    - what has to be reserved: all `writes`, and the structures;
    - the addresses that a device holds: these, and those that it was given before.
    """

    writes: tuple[Landing, ...]
    gated: bool  # QEMU holds it back while bus master is off
    taken: bool = True  # by the device; else it waits where the driver put it
    line: int = 0  # where the driver submitted it; 0 where the trace alone does not show it


@dataclass(frozen=True)
class Drive:
    """The part of a run in which an image drives a function, and RAM at its end, where that was kept.

    The last image's buffers hold the results of its work; an image that hands over has submitted them again.
    """

    case: Case
    function: Function
    lines: range
    ram: Ram | None
    last: bool
    triggers: Callable[[MmioWrite], bool]  # whether any device may interrupt because of a write

    def writes(self, region: str = "") -> list[MmioWrite]:
        return self.case.writes_to(self.function.bdf, self.lines, region)

    def sent(self, by: Register, messages: Iterable[Message], lines: range) -> bool:
        return sent(self.case, self.function.bdf, by, messages, lines)

    def line_handled(self, triggers: list[int]) -> bool:
        return line_handled(self.case, self.function, triggers, self.lines.stop, self.triggers)

    def no_interrupt(
        self, by: tuple[Register, ...], triggers: list[int], messages: Iterable[Message] | None = None
    ) -> Iterator[str]:
        """Since the first trigger: by the first of these that the function has (its own messages, or those given), else by its
        line, where it has one."""
        register = next((register for register in by if register in self.function.offsets), None)
        if register:
            own = own_messages(self.case, self.function, self.lines) if messages is None else messages
            if not triggers or not self.sent(register, own, range(triggers[0], self.lines.stop)):
                yield f"no {MESSAGE_KINDS[register]} message of its own"
        elif self.function.interrupt_line is not None and not self.line_handled(triggers):
            yield "no INTx raised, handled and lowered"


# How the writes of two drivers to a register are compared: by names of its values; by the value itself, as part of the write
# (MEANING) or apart from it (COMPARED); without the value, an address that differs from run to run (VARIES).
MEANING, COMPARED, VARIES = range(3)
RegisterNames = Mapping[int, tuple[str, Union[int, Mapping[int, str]]]]


class DeviceModel(ABC):
    """One kind of device. The default methods are for a device without the feature."""

    kind: str
    reset = Reset.REGISTER
    load = Load.EACH
    regions: tuple[str, ...] = ()  # QEMU's names of its register regions; of virtio, their prefix
    mask = 0xFFF  # the part of an address that is the register's offset
    registers: RegisterNames = {}

    @abstractmethod
    def matches(self, function: Function) -> bool:
        """Whether a function is of this kind, by its configuration space."""

    def drivable(self, case: Case, function: Function) -> bool:
        """Whether the driver can drive it: an AHCI controller without a disk, for example, it cannot."""
        return True

    @abstractmethod
    def effect(self, write: MmioWrite) -> Effect:
        """The effect of a write into its registers."""

    def may_interrupt(self, case: Case, function: Function, line: int) -> bool:
        """Whether its own registers enable its line at this place of the trace."""
        return True

    def busy(self, register: Callable[[int, int], int]) -> bool:
        """Whether its status reports so. register(bar, offset) reads 32 bits of a register without side effects."""
        return False

    def structures(self, case: Case, function: Function, lines: range) -> list[Extent]:
        """Rings, lists and DMA targets that it was given in these lines and still has, from the trace alone."""
        return []

    def requests(self, case: Case, function: Function, lines: range, ram: Ram | None) -> list[Request]:
        """Requests of these lines that are not completed, by RAM at their end. Without RAM: those that the trace alone shows."""
        return []

    def unfinished(self, case: Case, function: Function, lines: range, before: Ram, after: Ram) -> int:
        """How many requests of these lines are not completed in the RAM `after`."""
        return len(self.requests(case, function, lines, after))

    def allowed_while_leaving(self, case: Case, function: Function, write: MmioWrite) -> bool:
        """Whether a handler, not the policy, may write this during shutdown."""
        return False

    @abstractmethod
    def not_driven(self, drive: Drive) -> Iterator[str]:
        """The evidence of a driver's work that is missing."""


class NetworkModel(DeviceModel):
    @abstractmethod
    def frames(self, case: Case, bdf: Bdf, lines: range, ram: Ram) -> tuple[int, set[bytes]] | None:
        """The number of frames returned as sent, and the frames returned as received. None: no rings were set up."""


def is_register(write: MmioWrite, region: str, mask: int, *registers: int) -> bool:
    return write.region == region and write.address & mask in registers


def wide(registers: Mapping[int, int], low: int) -> int:
    """The value of a 64-bit register that is written in halves."""
    return registers.get(low, 0) | registers.get(low + 4, 0) << 32


def since_last_but_one(case: Case, bdf: Bdf, write: MmioWrite) -> range:
    """From the last but one write to the function: a second frame's interrupt may come before the first one's buffer is
    offered."""
    before = case.writes_to(bdf, range(write.line))
    return range(before[-2].line if len(before) > 1 else 0, write.line)
