# SPDX-License-Identifier: BSD-2-Clause
"""Results as one HTML page: no scripts, no external resources, timelines as inline SVG. The template is page.html."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Mapping, Sequence

from witness.report import table
from witness.report.timeline import Lane, Point, Tick, Timeline

TEMPLATE = "page.html"

# In pixels. Ticks share the width of a desktop screen; one is wider where a text of its lanes needs it.
ROOM, TICK_MIN, TICK_MAX = 860, 15, 48
CHARACTER, PADDING = 6.4, 14
AXIS, HEADING, ROW = 50, 20, 20
UP, DOWN = 4, 16  # of a lane's row
SPIKE = 5  # the width of a level that changes back within its tick

# The number of shades; higher counts have the last one.
HEAT_MAX = 4

# Signs in addition to the words, to see the state of many at a glance.
SIGNS = {
    "holds": "✓", "agrees": "✓", "refuted": "✗", "does not agree": "✗", "not shown": "?", "could not run": "–",
}  # fmt: skip


@dataclass(frozen=True)
class Topic:
    """The page's own texts."""

    title: str
    heading: str
    about: str
    kinds: dict[str, tuple[str, str]]  # of experiments: heading, and caption of the table
    has_matrix: bool


LAB_PAGE = Topic(
    "the lab",
    "The lab: hazards of a handoff of PCI devices",
    "Every claim of “PCI/MSI: Don't disable MSI/MSI-X at shutdown” (M. Tsirkin, 2015), and every limit of it, as an experiment on "
    "QEMU. A verdict comes from QEMU's trace, from RAM and from the disk, never from the guest's own report, and counts only if "
    "the control shows the opposite.",
    {"claim": (table.KINDS["claim"], "Claims of the patch"), "limit": (table.KINDS["limit"], "Limits of the patch")},
    True,
)
LINUX_PAGE = Topic(
    "Linux on either side",
    "A real Linux on either side of the handoff",
    "Debian's unmodified kernel takes over from the images of pci-handoff, and hands over to them, by kexec and after a crash. "
    "A verdict comes from QEMU's trace, from RAM, from the disk and from what Linux reports, and counts only if the control shows "
    "the opposite. Our images are believed only in how a run ended; all else that they report is compared with that evidence.",
    {"linux": (table.KINDS["linux"], "Handoffs between Linux and the images")},
    False,
)


@dataclass(frozen=True)
class Column:
    """A column of the drawing."""

    x: float
    width: float
    tick: Tick


@dataclass(frozen=True)
class Label:
    x: float
    text: str


@dataclass(frozen=True)
class Span:
    """A text, as wide as it is valid."""

    x: float
    width: float
    text: str


@dataclass
class DrawnRow:
    """A lane, or the heading of a group of lanes."""

    y: int
    height: int
    kind: str
    name: str
    path: str = ""
    labels: list[Label] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)


@dataclass(frozen=True)
class Drawing:
    width: float
    height: int
    columns: list[Column]
    rows: list[DrawnRow]


def write_page(results: Mapping[str, Any], path: Path) -> None:
    # Here, because make run does not install it.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # A field that results.json lacks is an error, not an empty place.
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"draw": lambda facts: draw(Timeline.of(facts)), "state": table.state, "agreeing": table.agreeing}
    page = environment.get_template(TEMPLATE)
    cells = {table.place(cell): cell for cell in results["matrix"]["cells"]} if results["matrix"] else {}

    def cell(out: str, inward: str, device: str) -> Mapping[str, Any]:
        return cells.get((out, inward, device)) or table.absent(out, inward, device)

    subject = LINUX_PAGE if any(experiment["kind"] in LINUX_PAGE.kinds for experiment in results["experiments"]) else LAB_PAGE
    words = {"subject": subject, "signs": SIGNS, "symbol": table.symbol, "in_full": table.in_full, "unlike": table.unlike}
    text = page.render(results, ordered=table.ordered_versions(results), cell=cell, heat=heat, price=table.PRICE, **words)
    path.write_text(text, encoding="utf-8")


def heat(cell: Mapping[str, Any]) -> str:
    """The class of a cell, by its number of harms, if that is known."""
    if cell["outcome"] == "ran":
        harms = len(table.harms(cell))
        return f"heat-{min(harms, HEAT_MAX)}" if harms or not table.kinds(cell) else "paid"
    return "died" if cell["outcome"] == "QEMU died" else "not-run"


# --- timelines ---


def draw(timeline: Timeline) -> Drawing:
    edges = _edges(timeline)
    rows, y = [], AXIS
    for group, lanes in groupby(timeline.lanes, key=lambda lane: lane.name.partition(": ")[0]):
        rows.append(DrawnRow(y, HEADING, "group", group))
        y += HEADING
        for lane in lanes:
            rows.append(_row(lane, y, edges))
            y += ROW
    columns = [Column(x, stop - x, tick) for x, stop, tick in zip(edges, edges[1:], timeline.ticks)]
    return Drawing(edges[-1], y + 1, columns, rows)


def _edges(timeline: Timeline) -> list[float]:
    """The start of each tick, and the end of the last."""
    size = len(timeline.ticks)
    widths = [min(max(ROOM / size, TICK_MIN), TICK_MAX)] * size
    for lane in timeline.lanes:
        if lane.kind == "level":
            continue
        for point, stop in _spans(lane.points, size):
            needed = len(str(point.value)) * CHARACTER + PADDING
            widths[point.at] += max(0.0, needed - sum(widths[point.at:stop]))
    edges = [0.0]
    for width in widths:
        edges.append(round(edges[-1] + width, 1))
    return edges


def _spans(points: Sequence[Point], size: int) -> list[tuple[Point, int]]:
    """Each point, with the tick of the next."""
    return list(zip(points, [*(point.at for point in points[1:]), size]))


def _row(lane: Lane, y: int, edges: list[float]) -> DrawnRow:
    row = DrawnRow(y, ROW, lane.kind, lane.name.partition(": ")[2])
    if lane.kind == "level":
        row.path = _level(lane.points, y, edges)
    elif lane.kind == "text":
        spans = _spans(lane.points, len(edges) - 1)
        row.spans = [Span(edges[p.at], round(edges[stop] - edges[p.at], 1), str(p.value)) for p, stop in spans]
    else:
        row.path = " ".join(f"M{edges[p.at] + 3:.1f},{y + DOWN} v{UP - DOWN} l-2.5,5 h5 l-2.5,-5" for p in lane.points)
        counts = [(p, f"×{p.value}" if isinstance(p.value, int) else p.value) for p in lane.points]
        row.labels = [Label(edges[p.at] + 8, text) for p, text in counts if text != "×1"]
    return row


def _level(points: Sequence[Point], y: int, edges: list[float]) -> str:
    """Steps from the left edge to the right one. The fill, closed along the low level, shows where it is high."""
    low = y + DOWN
    path, last = f"M{edges[0]},{low}", -1
    for point in points:
        x = edges[point.at] + (SPIKE if point.at == last else 0)
        path += f" H{x:.1f} V{y + UP if point.value else low}"
        last = point.at
    return f"{path} H{edges[-1]}" + (f" V{low}" if points[-1].value else "")
