# SPDX-License-Identifier: BSD-2-Clause
"""The output of `make bench`: rows of budgets, and tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence


@dataclass(frozen=True)
class Row:
    """One line of the result. holds is None where there is no budget."""

    what: str
    measured: str
    budget: str = ""
    limit: str = ""
    holds: bool | None = None


def budget_lines(rows: Sequence[Row]) -> list[str]:
    table = [["", "what", "measured", "budget", "limit"]]
    return aligned(table + [[_judgement(row), row.what, row.measured, row.budget, row.limit] for row in rows])


def _judgement(row: Row) -> str:
    return {True: "ok", False: "OVER", None: ""}[row.holds]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def ratio(ours: float, theirs: float) -> str:
    """The factor from ours to theirs."""
    return f"{theirs / ours:.3g}" if ours else "-"
