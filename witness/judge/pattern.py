# SPDX-License-Identifier: BSD-2-Clause
"""The pattern that the first image writes to the disk: 64 KiB, every sector with its number.

A sector holds the signature, its number, a seed common to all sectors, and pseudo-random data from both: a sector that
was lost, swapped, repeated or left over from another run does not match.
"""

from __future__ import annotations

import struct

SECTOR = 512
SIZE = 64 << 10
SIGNATURE = b"PCI-HANDOFF DISK"
HEAD = struct.Struct("<16sQQ")
WORDS = (SECTOR - HEAD.size) // 8
MASK = (1 << 64) - 1


def sector(number: int, seed: int) -> bytes:
    words = []
    x = seed ^ (number + 1) * 0x9E3779B97F4A7C15 & MASK or 1
    for _ in range(WORDS):  # xorshift64
        x ^= x << 13 & MASK
        x ^= x >> 7
        x ^= x << 17 & MASK
        words.append(x)
    return HEAD.pack(SIGNATURE, number, seed) + struct.pack(f"<{WORDS}Q", *words)


def check(disk: bytes) -> list[str]:
    """What is wrong with a disk's first 64 KiB; nothing if it holds the pattern."""
    signature, _, seed = HEAD.unpack_from(disk)
    if signature != SIGNATURE:
        return ["sector 0 does not have the signature"]
    bad = [n for n in range(SIZE // SECTOR) if disk[n * SECTOR:][:SECTOR] != sector(n, seed)]
    return [f"{len(bad)} of {SIZE // SECTOR} sectors differ from the pattern, the first is {bad[0]}"] if bad else []
