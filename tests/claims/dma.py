# SPDX-License-Identifier: BSD-2-Clause
"""What devices wrote into RAM while an image waited at a point."""

from __future__ import annotations

from typing import Iterator

from witness.boot.protocol import INIT_SIZE
from witness.lab.observation import Observation
from witness.machine.record import Ram

PAGE = 4096

# In boot_params: where the image was put.
CODE32_START = 0x214


def written(seen: Observation, params: int, before: str = "before", after: str = "after") -> list[int]:
    """The addresses of the bytes that differ between two copies of RAM, kept while the image with these boot_params waited: nothing
    but devices writes then, except in the image itself, which runs."""
    old, new = seen.ram(before), seen.ram(after)
    image = _image(old, params)
    return [at for page in _pages(seen, old, new) if page not in image for at in _differing(page, old, new)]


def first_params(seen: Observation) -> int:
    """Those of the image in first's place."""
    return seen.run.entries[0].registers["RSI"]


def _image(ram: Ram, params: int) -> range:
    start, size = (int.from_bytes(ram.read(range(params + at, params + at + 4)), "little") for at in (CODE32_START, INIT_SIZE))
    return range(start, start + size)


def _pages(seen: Observation, old: Ram, new: Ram) -> Iterator[int]:
    for page in range(0, seen.run.machine.mib << 20, PAGE):
        addresses = range(page, page + PAGE)
        if old.read(addresses) != new.read(addresses):
            yield page


def _differing(page: int, old: Ram, new: Ram) -> Iterator[int]:
    addresses = range(page, page + PAGE)
    return (at for at, was, now in zip(addresses, old.read(addresses), new.read(addresses)) if was != now)
