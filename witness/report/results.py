# SPDX-License-Identifier: BSD-2-Clause
"""results.json, which the lab, Linux's experiments and the bench leave for other programs. docs/results.md describes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Mapping

# Another number wherever a field goes, or means something else than before.
SCHEMA = 1

Facts = Mapping[str, Any]


def write_results(results: Facts, directory: Path) -> None:
    text = json.dumps({"schema": SCHEMA, **results}, indent=1)
    (directory / "results.json").write_text(f"{text}\n", encoding="utf-8")
