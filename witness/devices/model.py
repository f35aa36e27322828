# SPDX-License-Identifier: BSD-2-Clause
"""What the witness has to know of a kind of device. One file of this folder answers for each kind; `__init__.py` lists them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from typing import Callable, Iterable, Iterator, Mapping, Union

from witness.evidence.case import Case
from witness.evidence.interrupts import Message, line_taken, own_messages, sent
from witness.machine.record import Ram
from witness.pci.registers import Register
from witness.pci.topology import Bdf, Function
from witness.trace.events import MmioWrite


MESSAGE_KINDS = {Register.MSI: "MSI", Register.MSIX: "MSI-X"}


class Reset(Enum):
    """How a driver of ours ends what the previous owner left running, by writes into a BAR."""

    NONE = "none"  # there is nothing in a BAR
    ACKNOWLEDGE = "acknowledge"  # no reset: a pending interrupt is acknowledged, and the rest awaited
    REGISTER = "register"


class Effect(Enum):
    """What a write into a BAR does."""

    RESET = "reset"
    QUIET = "quiet"  # stops interrupts or requests, as a driver does before or after the reset proper
    START = "start"  # an interrupt may be due to it
    ACKNOWLEDGE = "acknowledge"
    OFFER = "offer"  # a buffer is the device's again
    OTHER = "other"


class Load(Enum):
    """Which functions have work in flight when a kernel of ours leaves."""

    NONE = "none"
    ANY = "any"  # one of the kind at least
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
    content: bytes | None  # None: it comes from outside, and nobody can tell beforehand

    def landed(self, ram: Ram) -> int:
        """The bytes that are there."""
        return len(self.addresses) if ram.read(self.addresses) == self.content else 0


@dataclass(frozen=True)
class Request:
    """Work that a device was given and has not brought to its end.

    Three sets that must not be mixed: what may land although bus master is off is in `writes` where it is not `gated`; what has to
    be reserved is all of `writes`, and the structures; what a device knows the address of is these, and what it was given before.
    """

    writes: tuple[Landing, ...]
    gated: bool  # QEMU holds it back while bus master is off
    taken: bool = True  # by the device; else it waits where the driver laid it
    line: int = 0  # where the device was told of it; 0 where the trace alone does not tell


@dataclass(frozen=True)
class Drive:
    """A part of a run in which an image drives a function, and RAM as it was at the end of it, where that was kept.

    The last image leaves its buffers as its work left them; one that hands over has armed them anew.
    """

    case: Case
    function: Function
    lines: range
    ram: Ram | None
    last: bool
    begins: Callable[[MmioWrite], bool]  # whether a write tells any device to interrupt

    def writes(self, region: str = "") -> list[MmioWrite]:
        return self.case.writes_to(self.function.bdf, self.lines, region)

    def sent(self, by: Register, messages: Iterable[Message], lines: range) -> bool:
        return sent(self.case, self.function.bdf, by, messages, lines)

    def line_taken(self, triggers: list[int]) -> bool:
        return line_taken(self.case, self.function, triggers, self.lines.stop, self.begins)

    def no_interrupt(
        self, by: tuple[Register, ...], triggers: list[int], messages: Iterable[Message] | None = None
    ) -> Iterator[str]:
        """Since the first trigger, by the first of these that the function has (its own messages, or those given), else by its
        line, where it has one."""
        register = next((register for register in by if register in self.function.offsets), None)
        if register:
            own = own_messages(self.case, self.function, self.lines) if messages is None else messages
            if not triggers or not self.sent(register, own, range(triggers[0], self.lines.stop)):
                yield f"no {MESSAGE_KINDS[register]} message of its own"
        elif self.function.interrupt_line is not None and not self.line_taken(triggers):
            yield "no INTx raised, taken and lowered"


# What a register's value means, for who compares what two drivers write: words for values; the value itself (TELLING), or beside
# the name (BESIDE); an address, which differs from run to run (NOWHERE).
TELLING, BESIDE, NOWHERE = range(3)
RegisterNames = Mapping[int, tuple[str, Union[int, Mapping[int, str]]]]


class DeviceModel(ABC):
    """One kind of device. Methods that are not overridden answer for a device that has nothing of the sort."""

    kind: str
    reset = Reset.REGISTER
    load = Load.EACH
    regions: tuple[str, ...] = ()  # QEMU's names of its registers; of virtio's, how they begin
    mask = 0xFFF  # of an address in them: the register
    registers: RegisterNames = {}

    @abstractmethod
    def matches(self, function: Function) -> bool:
        """Whether a function is of this kind, by its configuration space."""

    def drivable(self, case: Case, function: Function) -> bool:
        """Whether there is something to drive."""
        return True

    @abstractmethod
    def effect(self, write: MmioWrite) -> Effect:
        """Of a write into its registers."""

    def may_interrupt(self, case: Case, function: Function, line: int) -> bool:
        """Whether it can raise its line at this place of the trace, by what its own registers hold."""
        return True

    def busy(self, register: Callable[[int, int], int]) -> bool:
        """Whether it says so itself. register(bar, offset) reads one, of 32 bits, where to read changes nothing."""
        return False

    def structures(self, case: Case, function: Function, lines: range) -> list[Extent]:
        """Rings, lists and targets that it was given in these lines and still has, from the trace alone."""
        return []

    def requests(self, case: Case, function: Function, lines: range, ram: Ram | None) -> list[Request]:
        """What was given to it in these lines and has not ended, by RAM as it is then. Without RAM: what the trace alone tells
        of."""
        return []

    def unfinished(self, case: Case, function: Function, lines: range, before: Ram, after: Ram) -> int:
        """How much of the work of these lines it has not ended in RAM as it is after."""
        return len(self.requests(case, function, lines, after))

    def allowed_while_leaving(self, case: Case, function: Function, write: MmioWrite) -> bool:
        """Whether a handler, not the policy, may write this while a kernel leaves."""
        return False

    @abstractmethod
    def not_driven(self, drive: Drive) -> Iterator[str]:
        """What must show where a driver has worked, and does not."""


class NetworkModel(DeviceModel):
    @abstractmethod
    def frames(self, case: Case, bdf: Bdf, lines: range, ram: Ram) -> tuple[int, set[bytes]] | None:
        """How many frames it returned as sent, and those that it returned as received. None: no rings were set up."""


def is_register(write: MmioWrite, region: str, mask: int, *registers: int) -> bool:
    return write.region == region and write.address & mask in registers


def wide(registers: Mapping[int, int], low: int) -> int:
    """Of a register of 64 bits that is written in halves."""
    return registers.get(low, 0) | registers.get(low + 4, 0) << 32


def since_last_but_one(case: Case, bdf: Bdf, write: MmioWrite) -> range:
    """From the last write to the function but one: a second frame's interrupt may come before the buffer of the first is
    offered."""
    before = case.writes_to(bdf, range(write.line))
    return range(before[-2].line if len(before) > 1 else 0, write.line)
