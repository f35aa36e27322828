# SPDX-License-Identifier: BSD-2-Clause
"""A guest's log on one screen: without the lines of DETAIL, which are no errors, and without what a later image repeats."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Iterable, Iterator

BDF = r"[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]"

# Register changes, lines that another line sums up for all functions, and lines that are the same in every run on one machine.
DETAIL = re.compile(
    rf"\w+ +(?:pci {BDF} .* -> 0x[0-9a-f]+ \(.*\)|pci {BDF} virtio status .* before the reset"
    rf"|\w+ {BDF} \S+: bus master (?:on|off), .*|machine: .*|irq: .*, 0 stale .*|PCI segment .*|image \S+)$"
)
BEGINNING = re.compile(r"(\w+) +image \1@")
DEVICE = re.compile(rf"(?P<head>\w+ +(?:\w+ )?)(?P<bdf>{BDF}) (?P<text>[\w-]+: .*)$")
NUMBER = re.compile(r"(?<![\w:.])(?:0x[0-9a-f]+|\d+)(?![:.]?\w)")  # not in an address or a name

SHOWN = 2  # images; of later ones only new lines


def brief(log: Iterable[str]) -> list[str]:
    lines: list[str] = []
    known: set[str] = set()
    images = list(_images(log))
    for number, image in enumerate(images):
        new = {line: NUMBER.sub("0", line.partition(" ")[2].strip()) for line in _together(image)}
        shown = [line for line, shape in new.items() if number < SHOWN or shape not in known]
        known.update(new.values())
        if number == SHOWN:
            lines.append(f"{len(images) - SHOWN} more images, only new lines are shown:")
        lines += shown
    return lines


def _images(log: Iterable[str]) -> Iterator[list[str]]:
    """The lines of each image; the first's come after the loader's."""
    lines: list[str] = []
    begun = False
    for line in log:
        if BEGINNING.match(line):
            if begun:
                yield lines
                lines = []
            begun = True
        lines.append(line.replace(" 0000:", " "))
    yield lines


def _together(image: Iterable[str]) -> Iterator[str]:
    """Lines of several devices that differ only in numbers become one. The numbers are in the order of the functions."""
    groups: dict[str, list[re.Match[str] | None]] = defaultdict(list)
    for line in image:
        if not DETAIL.match(line):
            device = DEVICE.match(line)
            groups[NUMBER.sub("0", device["head"] + device["text"]) if device else line].append(device)
    for line, matches in groups.items():
        devices = [device for device in matches if device]
        yield _shared(devices) if devices else line


def _shared(devices: list[re.Match[str]]) -> str:
    columns = zip(*(NUMBER.findall(device["text"]) for device in devices))
    numbers = ("/".join(column if len(set(column)) > 1 else column[:1]) for column in columns)
    text: str = NUMBER.sub(lambda _: next(numbers), devices[0]["text"])
    return f"{devices[0]['head']}{', '.join(device['bdf'] for device in devices)} {text}"
