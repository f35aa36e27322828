# SPDX-License-Identifier: BSD-2-Clause
"""PCI functions in Python: QEMU's x-pci-proxy-dev forwards every access to configuration space and to a BAR over a socket.

What a device answers is a method, so a lying device takes a few lines. A remote device that ends closes its socket: QEMU continues
and reads all ones from it. Under TCG it can raise neither INTx nor MSI, and nothing here does DMA.
"""

from __future__ import annotations

import dataclasses
import socket
import struct
import threading
from contextlib import contextmanager
from typing import Iterator

from witness.machine.description import Machine
from witness.pci.registers import (
    PCI_BASE_ADDRESS_0, PCI_CAPABILITY_LIST, PCI_CAP_ID_MSI, PCI_CAP_ID_MSIX, PCI_COMMAND, PCI_STATUS, PCI_STATUS_CAP_LIST,
    VIRTIO_VENDOR,
)  # fmt: skip
from witness.pci.topology import Bdf

CONFIG_SIZE = 256
PCI_CAP_ID_VNDR = 0x09

# I/O, memory, bus master, INTx disable.
COMMAND_WRITABLE = 0x0407

# include/hw/remote/mpqemu-link.h of QEMU 7.2. A header (command, size, padding between them), then size bytes; RET brings a u64.
HEADER = struct.Struct("=i4xQ")
SYNC_SYSMEM, RET, CFG_WRITE, CFG_READ, BAR_WRITE, BAR_READ, SET_IRQFD, DEVICE_RESET = range(8)
CONFIG_ACCESS = struct.Struct("=IIi")  # offset, value, size
BAR_ACCESS = struct.Struct("=QQI?3x")  # address, value, size, memory or I/O
ANSWERED = {CFG_WRITE, CFG_READ, BAR_WRITE, BAR_READ, DEVICE_RESET}


class RemoteDevice:
    """A conventional function on the root bus that does what its registers say. Subclasses change that.

    What firmware must not see begins with `lie`: OVMF follows a capability list that loops for ever (measured).
    """

    vendor, device, class_code = 0x1234, 0x0BAD, 0xFF0000
    bars: dict[int, int] = {}  # number: bytes of memory, a power of 2
    io_bars: dict[int, int] = {}

    def __init__(self, slot: int, function: int = 0, more: str = "") -> None:
        self.bdf = Bdf(0, slot, function)
        self.lies = False
        self.error: BaseException | None = None
        self.config = bytearray(CONFIG_SIZE)
        self.writable = bytearray(CONFIG_SIZE)
        self.memory = {number: bytearray(size) for number, size in {**self.bars, **self.io_bars}.items()}
        self.put(0, struct.pack("<HHHH", self.vendor, self.device, 0, 0))
        self.put(0x09, self.class_code.to_bytes(3, "little"))
        self.put(0x2C, struct.pack("<HH", self.vendor, self.device))
        self.let_write(PCI_COMMAND, COMMAND_WRITABLE.to_bytes(2, "little"))
        self.let_write(0x3C, b"\xff")
        for number, contents in self.memory.items():
            self.put(self._bar(number), bytes([number in self.io_bars]))
            self.let_write(self._bar(number), (-len(contents) & 0xFFFF_FFFF).to_bytes(4, "little"))
        self._ours, self._qemus = socket.socketpair()
        self._more = more
        self._thread = threading.Thread(target=self._serve, name=f"remote {self.bdf}", daemon=True)

    # --- what the device answers ---

    def lie(self) -> None:
        self.lies = True

    def read_config(self, offset: int, size: int) -> int:
        return int.from_bytes(self.config[offset : offset + size], "little")

    def write_config(self, offset: int, size: int, value: int) -> None:
        for i, byte in enumerate(value.to_bytes(size, "little"), offset):
            self.config[i] = self.config[i] & ~self.writable[i] | byte & self.writable[i]

    def read_bar(self, number: int, offset: int, size: int) -> int:
        return int.from_bytes(self.memory[number][offset : offset + size], "little")

    def write_bar(self, number: int, offset: int, size: int, value: int) -> None:
        self.memory[number][offset : offset + size] = value.to_bytes(size, "little")

    # --- to build one ---

    def put(self, offset: int, data: bytes) -> None:
        self.config[offset : offset + len(data)] = data

    def let_write(self, offset: int, mask: bytes) -> None:
        self.writable[offset : offset + len(mask)] = mask

    def link(self, *capabilities: tuple[int, bytes]) -> None:
        """A list of capabilities in this order: where each is, and its bytes without the pointer to the next."""
        self.config[PCI_STATUS] |= PCI_STATUS_CAP_LIST
        pointer = PCI_CAPABILITY_LIST
        for at, data in capabilities:
            self.config[pointer] = at
            self.put(at, (data[:1] + b"\0" + data[1:])[: CONFIG_SIZE - at])
            pointer = at + 1

    # --- QEMU's side ---

    @property
    def argument(self) -> str:
        where = f"addr={self.bdf.device:#x}.{self.bdf.function}"
        return ",".join(filter(None, ("x-pci-proxy-dev", where, f"fd={self.fd}", self._more)))

    @property
    def fd(self) -> int:
        return self._qemus.fileno()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ours.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._ours.close()
        self._qemus.close()
        if self.error:
            raise self.error

    def _serve(self) -> None:
        try:
            while header := self._receive(HEADER.size):
                command, size = HEADER.unpack(header)
                value = self._answer(command, self._receive(size))
                if command in ANSWERED:
                    self._ours.sendall(HEADER.pack(RET, 8) + (value & (1 << 64) - 1).to_bytes(8, "little"))
        except OSError:
            pass  # QEMU has ended
        except BaseException as error:
            self.error = error
            self._ours.shutdown(socket.SHUT_RDWR)

    def _receive(self, size: int) -> bytes:
        """Nothing once QEMU has closed its end. Descriptors that come with a message (RAM, irqfds) are dropped by recv."""
        data = b""
        while len(data) < size and (chunk := self._ours.recv(size - len(data))):
            data += chunk
        return data

    def _answer(self, command: int, data: bytes) -> int:
        if command in (CFG_READ, CFG_WRITE):
            offset, value, size = CONFIG_ACCESS.unpack(data)
            if command == CFG_READ:
                return self.read_config(offset, size)
            self.write_config(offset, size, value & (1 << 8 * size) - 1)
        elif command in (BAR_READ, BAR_WRITE):
            address, value, size, is_memory = BAR_ACCESS.unpack(data)
            number, offset = self._find_bar(address, is_memory)
            if command == BAR_READ:
                return self.read_bar(number, offset, size)
            self.write_bar(number, offset, size, value & (1 << 8 * size) - 1)
        return 0

    def _find_bar(self, address: int, is_memory: bool) -> tuple[int, int]:
        for number, contents in self.memory.items():
            base = int.from_bytes(self.config[self._bar(number) :][:4], "little") & ~0xF
            if (number in self.bars) == is_memory and address in range(base, base + len(contents)):
                return number, address - base
        raise LookupError(f"{self.bdf}: no BAR is at {address:#x}")

    @staticmethod
    def _bar(number: int) -> int:
        return PCI_BASE_ADDRESS_0 + 4 * number


@contextmanager
def attached(machine: Machine, *devices: RemoteDevice) -> Iterator[Machine]:
    """The machine with these devices, which answer until the end of the block."""
    for device in devices:
        device.start()
    try:
        yield dataclasses.replace(machine, devices=machine.devices + tuple(device.argument for device in devices))
    finally:
        for device in devices:
            device.stop()


def msi() -> bytes:
    """64 bits of address, one vector."""
    return struct.pack("<BHQH", PCI_CAP_ID_MSI, 0x0080, 0, 0)


def msix(table: int, entries: int = 2) -> bytes:
    """Table and PBA as offset and BAR number: the low three bits."""
    return struct.pack("<BHII", PCI_CAP_ID_MSIX, entries - 1, table, table + 0x400)


class RemoteEdu(RemoteDevice):
    """docs/specs/edu.txt of QEMU, without its interrupts and transfers."""

    device, class_code = 0x11E8, 0x00FF00
    bars = {0: 1 << 20}
    IDENTIFICATION, IRQ_STATUS, IRQ_RAISE, IRQ_ACK, DMA_COMMAND = 0x00, 0x24, 0x60, 0x64, 0x98
    RUN = 1

    def __init__(self, slot: int) -> None:
        super().__init__(slot)
        self.link((0x40, msi()))
        self.let_write(0x42, b"\x01\0" + b"\xff" * 10)
        super().write_bar(0, self.IDENTIFICATION, 4, 0x010000ED)

    def write_bar(self, number: int, offset: int, size: int, value: int) -> None:
        status = self.read_bar(number, self.IRQ_STATUS, 4)
        if offset == self.IRQ_RAISE:
            super().write_bar(number, self.IRQ_STATUS, 4, status | value)
        elif offset == self.IRQ_ACK:
            super().write_bar(number, self.IRQ_STATUS, 4, status & ~value)


class RemoteVirtioBlk(RemoteDevice):
    """A disk by the modern transport (virtio 1.2, 4.1.4) that takes requests and never completes one.

    Revision 0, which no modern device has, keeps the firmware's driver away: it would wait for ever. Ours does not read it.
    """

    vendor, device, class_code = VIRTIO_VENDOR, 0x1042, 0x010000
    bars = {0: 4096}
    COMMON, ISR, CONFIG, NOTIFY, TABLE = 0, 0x100, 0x200, 0x300, 0x800
    FEATURE_SELECT, FEATURE, STATUS, QUEUE_SIZE = 0x00, 0x04, 0x14, 0x18
    VERSION_1 = 1  # in the upper half

    def __init__(self, slot: int, msix_table: int = TABLE) -> None:
        super().__init__(slot)
        structures = [(1, self.COMMON, 56), (2, self.NOTIFY, 4), (3, self.ISR, 4), (4, self.CONFIG, 64)]
        places = {kind: 0x40 + 0x14 * kind for kind, _, _ in structures}
        virtio = [(places[kind], self._structure(kind, offset, size)) for kind, offset, size in structures]
        self.link((0x40, msix(msix_table)), *virtio)
        self.let_write(0x42, b"\0\xc0")
        self.write_bar(0, self.QUEUE_SIZE, 2, 128)
        self.write_bar(0, self.CONFIG, 8, 1 << 14)  # sectors

    @staticmethod
    def _structure(kind: int, offset: int, size: int) -> bytes:
        """struct virtio_pci_cap in BAR 0, with the notify multiplier that only kind 2 has."""
        return struct.pack("<BBBB3xIII", PCI_CAP_ID_VNDR, 20, kind, 0, offset, size, 0)

    def read_bar(self, number: int, offset: int, size: int) -> int:
        if offset == self.FEATURE:
            return self.VERSION_1 if super().read_bar(number, self.FEATURE_SELECT, 4) else 0
        return super().read_bar(number, offset, size)
