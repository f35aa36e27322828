# SPDX-License-Identifier: BSD-2-Clause
"""results.json of the lab, of Linux's experiments and of the bench, for other programs. docs/results.md describes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Mapping

# Incremented when a field is removed or changes its meaning.
SCHEMA = 1

Facts = Mapping[str, Any]


def write_results(results: Facts, directory: Path) -> None:
    text = json.dumps({"schema": SCHEMA, **results}, indent=1)
    (directory / "results.json").write_text(f"{text}\n", encoding="utf-8")
