# SPDX-License-Identifier: BSD-2-Clause
"""docs/results.md against results.json: each field that is there is documented with its type, and each documented one is there."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any, Iterator

DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "results.md"
ROW = re.compile(r"^\| `([^`]+)` \| ([^|,]+)(?:,[^|]*)? \|", re.MULTILINE)

IN_EACH, EXPERIMENTS, BENCH = "In each", "Of the lab and of Linux", "Of the bench"


def documented(*sections: str) -> dict[str, set[str]]:
    """The types of each field."""
    parts = dict(part.split("\n", 1) for part in DOCUMENT.read_text(encoding="utf-8").split("\n## ")[1:])
    return {field: set(types.split(" or ")) for section in sections for field, types in ROW.findall(parts[section])}


def kind(value: Any) -> str:
    if isinstance(value, list):
        return " and ".join(sorted({f"list of {kind(item)}s" for item in value})) or "list"
    names = {dict: "object", str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    return names[type(value)]


def fields(value: Any, path: str, known: dict[str, set[str]]) -> Iterator[tuple[str, str]]:
    """As the document names them, and of which type they are."""
    for key, part in value.items() if isinstance(value, dict) else ():
        named, any_key = (f"{path}.{name}".lstrip(".") for name in (key, "*"))
        field = any_key if named not in known and any_key in known else named
        yield field, kind(part)
        yield from fields(part, field, known)
    for item in value if isinstance(value, list) else ():
        yield from fields(item, f"{path}[]", known)


def disagreements(results: Any, *sections: str, under: str = "") -> list[str]:
    """under: where the fields begin that are looked at."""
    known = documented(IN_EACH, *sections)
    found: dict[str, set[str]] = defaultdict(set)
    for field, type_ in fields(results, "", known):
        found[field].add(type_)
    # An object is documented by its fields, where its keys are names.
    named = {field: types for field, types in found.items() if field.startswith(under) and (field in known or types != {"object"})}
    wrong = [f"{field} is not documented" for field in named if field not in known]
    wrong += [f"{field} is not there" for field in known if field.startswith(under) and field not in found]
    for field in named.keys() & known.keys():
        allowed = known[field] | ({"integer"} if "number" in known[field] else set())
        allowed |= {"list"} if any(one.startswith("list of") for one in allowed) else set()
        wrong += [f"{field} is a {type_}" for type_ in found[field] - allowed]
    return sorted(wrong)
