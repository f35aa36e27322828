# SPDX-License-Identifier: BSD-2-Clause
"""Documents in docs/ of which a part is made from a run, between two marks; the rest is written."""

from __future__ import annotations

BEGIN, END = "<!-- made by make docs -->", "<!-- end of what make docs made -->"


def made(document: str) -> str:
    """The part that is made."""
    return document.partition(BEGIN)[2].partition(END)[0]


def with_made(document: str, text: str) -> str:
    """The document with this in its place."""
    before, _, rest = document.partition(BEGIN)
    return f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}"
