# SPDX-License-Identifier: BSD-2-Clause
"""What devices wrote into RAM while an image waited at a point, and the owner of that memory."""

from __future__ import annotations

from typing import Iterable, Iterator, Sequence

from witness.boot.protocol import BOOT_PARAMS_SIZE, CODE32_START, INIT_SIZE, PAGE, e820
from witness.lab.experiment import Value, exactly
from witness.lab.observation import Observation
from witness.lab.stage import Action
from witness.machine.record import Ram
from witness.report.timeline import Landed

# RAM is compared in chunks of this size, and page by page where they differ.
CHUNK = 1 << 20


def landed(what: str, addresses: Sequence[int], expected: int) -> Value:
    """How many bytes were written; the evidence is where."""
    return exactly(what, len(addresses), expected, f"0x{addresses[0]:x}-0x{addresses[-1]:x}" if addresses else "")


def show(seen: Observation, point: str, addresses: Sequence[int], owner: str = "") -> None:
    """In the timeline, at this point."""
    if addresses:
        seen.landed.append(Landed(seen.mark(point).line, f"{len(addresses)} bytes{owner}"))


def keep(name: str) -> Action:
    """Keeps all RAM at a point."""
    return lambda stage: stage.keep_ram(name)


def written(seen: Observation, params: int, before: str = "before", after: str = "after") -> list[int]:
    """The addresses of the bytes that differ between two copies of RAM, kept while the image with these boot_params waited: only
    devices write then, except in the image itself, which runs."""
    old, new = seen.ram(before), seen.ram(after)
    header = old.read(range(params, params + BOOT_PARAMS_SIZE))
    start, size = (int.from_bytes(header[field:field + 4], "little") for field in (CODE32_START, INIT_SIZE))
    pages = changed_pages(old, new, seen.run.machine.mib << 20)
    return [at for page in pages if page not in range(start, start + size) for at in _differing(page, old, new)]


def first_params(seen: Observation) -> int:
    """boot_params of the image in first's place."""
    return seen.run.entries[0].registers["RSI"]


def changed_pages(before: Ram, after: Ram, size: int) -> list[int]:
    """Pages of the first size bytes that differ."""
    return [
        page
        for chunk in range(0, size, CHUNK) if _differ(chunk, CHUNK, before, after)
        for page in range(chunk, chunk + CHUNK, PAGE) if _differ(page, PAGE, before, after)
    ]  # fmt: skip


def _differ(start: int, size: int, before: Ram, after: Ram) -> bool:
    addresses = range(start, start + size)
    return before.read(addresses) != after.read(addresses)


def _differing(page: int, old: Ram, new: Ram) -> Iterator[int]:
    addresses = range(page, page + PAGE)
    return (at for at, was, now in zip(addresses, old.read(addresses), new.read(addresses)) if was != now)


def memory(seen: Observation, point: str, kind: int, copy: str = "before") -> list[range]:
    """Memory of a type, in the map of the image that names its boot_params at the point; copy: of RAM, kept there."""
    params = seen.mark(point).value
    return [extent for extent, has in e820(seen.ram(copy).read(range(params, params + BOOT_PARAMS_SIZE))) if has == kind]


def inside(addresses: Iterable[int], extents: Sequence[range]) -> list[int]:
    return [address for address in addresses if any(address in extent for extent in extents)]
