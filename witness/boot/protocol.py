# SPDX-License-Identifier: BSD-2-Clause
"""The Linux/x86 boot protocol: an image file, and the boot_params that it is entered with.

Documentation/x86/boot.rst; the offsets are those of struct boot_params (asm/bootparam.h), the same in the file and in
memory.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

PAGE = 4096
BOOT_PARAMS_SIZE = PAGE

# Offsets of the fields, in the order of the structure. EXT_ holds the upper half of an address or size.
ACPI_RSDP_ADDR = 0x070
EXT_RAMDISK_IMAGE = 0x0C0  # with its size
EXT_CMD_LINE_PTR = 0x0C8
E820_ENTRIES = 0x1E8
SETUP_SECTS = 0x1F1
HEADER_MAGIC = 0x202
KERNEL_VERSION = 0x20E
CODE32_START = 0x214  # where the loader has placed the image
RAMDISK_IMAGE = 0x218  # with its size
CMD_LINE_PTR = 0x228
CMDLINE_SIZE = 0x238
SETUP_DATA = 0x250
PREF_ADDRESS = 0x258
INIT_SIZE = 0x260
E820_TABLE = 0x2D0

HEADER = b"HdrS"

E820_RAM = 1
# A type of this project's own (boot/bootparam.h): RAM that a paused device of the previous kernel may still write to.
E820_DMA = 0xF0504349

# The entry's offset from the load address. An image is entered with interrupts off.
ENTRY_64 = 0x200
RFLAGS_IF = 1 << 9


@dataclass(frozen=True)
class Image:
    """A kernel image in a file, and its preferred address."""

    name: str
    payload: bytes  # what is copied to the load address
    preferred: int
    init_size: int

    @classmethod
    def load(cls, name: str, path: Path) -> Image:
        data = path.read_bytes()
        if data[HEADER_MAGIC:][:4] != HEADER:
            raise ValueError(f"{path}: no Linux setup header")
        sectors = data[SETUP_SECTS] or 4  # boot.rst: 0 means 4
        preferred, init_size = struct.unpack_from("<QI", data, PREF_ADDRESS)
        return cls(name, data[(sectors + 1) * 512:], preferred, init_size)

    @property
    def entry(self) -> int:
        return self.preferred + ENTRY_64


def e820(boot_params: bytes) -> list[tuple[range, int]]:
    """The memory map as (addresses, type)."""
    entries = struct.iter_unpack("<QQI", boot_params[E820_TABLE:][: 20 * boot_params[E820_ENTRIES]])
    return [(range(address, address + size), kind) for address, size, kind in entries]


def ramdisk(boot_params: bytes) -> range:
    """The initrd's addresses; empty without one."""
    address, size = struct.unpack_from("<II", boot_params, RAMDISK_IMAGE)
    high_address, high_size = struct.unpack_from("<II", boot_params, EXT_RAMDISK_IMAGE)
    start = address | high_address << 32
    return range(start, start + (size | high_size << 32))
