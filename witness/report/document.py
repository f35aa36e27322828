# SPDX-License-Identifier: BSD-2-Clause
"""Documents in docs/ with a part that is made from a run, between two marks; the rest is written by hand."""

from __future__ import annotations

BEGIN, END = "<!-- made by make docs -->", "<!-- end of what make docs made -->"


def made(document: str) -> str:
    """The part between the marks."""
    return document.partition(BEGIN)[2].partition(END)[0]


def with_made(document: str, text: str) -> str:
    """The document with this text between the marks."""
    before, _, rest = document.partition(BEGIN)
    return f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}"
