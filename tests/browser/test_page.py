# SPDX-License-Identifier: BSD-2-Clause
"""Claim: in a browser the page is what it says: all of it is there, on a desk and on a phone, by day and by night; it does
not widen the window, nothing is too faint, and nothing is fetched.

It could be false where a table or a drawing widens the page, where a colour of one scheme stands on one of the other, or where a
cell leads to what stays folded.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Iterator

import pytest
from tests.browser.chromium import Page
from tests.witness import lab_results
from tests.witness.lab_results import Facts

from witness.report.page import write_page

BUILD = Path(os.environ.get("O") or "build")
SHOTS = BUILD / "browser"

# Made-up results with one of everything; and those of `make lab`, where it has last run all of it, and of `make linux`.
TITLES = {"made-up": "the lab", "lab": "the lab", "linux": "Linux on either side"}
MEASURED = {"lab": BUILD / "lab" / "results.json", "linux": BUILD / "linux" / "runs" / "results.json"}


def measured(source: str) -> Facts:
    found: Facts = json.loads(MEASURED[source].read_text(encoding="utf-8"))
    return found


def is_whole(source: str) -> bool:
    return MEASURED[source].is_file() and (source != "lab" or measured(source)["matrix"] is not None)


SOURCES = ["made-up", *filter(is_whole, MEASURED)]

WIDTHS = {"phone": 360, "desk": 1280}
SCHEMES = ("light", "dark")

# Elements that reach beyond the window, and stand in no box that scrolls by itself.
BEYOND = """[...document.body.querySelectorAll("*")].filter(e => !e.closest(".scroll") && !e.closest("thead")
    && e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.outerHTML.slice(0, 80))"""

# Elements with a text of their own whose contrast with their background is below 4.5 (WCAG 2.1, 1.4.3).
FAINT = """(() => {
    const rgba = c => c.match(/[0-9.]+/g).map(Number);
    const linear = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const light = c => 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
    const background = e => {
        for (; e; e = e.parentElement) {
            const c = rgba(getComputedStyle(e).backgroundColor);
            if (c.length < 4 || c[3] > 0) return c;
        }
        return [255, 255, 255];
    };
    const own = e => [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim());
    return [...document.body.querySelectorAll("*:not(svg *)")].filter(own).filter(e => {
        const [a, b] = [light(rgba(getComputedStyle(e).color)), light(background(e))].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05) < 4.5;
    }).map(e => e.outerHTML.slice(0, 80));
})()"""


@pytest.fixture(scope="module", params=SOURCES)
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Facts:
    if request.param in MEASURED:
        return measured(request.param)
    return lab_results.results(tmp_path_factory.mktemp("stories"))


@pytest.fixture(scope="module")
def file(results: Facts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "index.html"
    write_page(results, path)
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with Page(tmp_path_factory.mktemp("profile")) as page:
        yield page


def count(page: Page, selector: str) -> int:
    return int(page.ask(f"document.querySelectorAll({selector!r}).length"))


def test_all_of_it_is_there(request: pytest.FixtureRequest, page: Page, file: Path, results: Facts) -> None:
    page.open(file, WIDTHS["desk"])
    cases = [case for experiment in results["experiments"] for case in experiment["cases"]]
    assert count(page, ".verdicts tbody tr") == count(page, "article.experiment") == len(results["experiments"])
    assert count(page, ".case") == len(cases)
    assert count(page, "svg") == sum(case["timeline"] is not None for case in cases)
    assert count(page, "svg .tick") == sum(len(case["timeline"]["ticks"]) for case in cases if case["timeline"])
    matrix = results["matrix"] or {"out": [], "in": [], "devices": []}
    assert count(page, ".matrix td a") == len(matrix["out"]) * len(matrix["in"]) * len(matrix["devices"])
    assert page.ask("document.title") == f"pci-handoff: {TITLES[request.node.callspec.params['results']]}"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("place", WIDTHS)
def test_it_fits_and_can_be_read(page: Page, file: Path, place: str, scheme: str) -> None:
    page.open(file, WIDTHS[place], scheme=scheme)
    page.ask("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert page.ask("document.documentElement.scrollWidth") == WIDTHS[place]
    assert page.ask(BEYOND) == []
    assert page.ask(FAINT) == []
    dark = page.ask("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("place", WIDTHS)
def test_screenshots(request: pytest.FixtureRequest, page: Page, file: Path, place: str, scheme: str) -> None:
    """For inspection."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    shot = SHOTS / f"{request.node.callspec.params['results']}-{place}-{scheme}.png"
    page.open(file, WIDTHS[place], 2000, scheme)
    page.screenshot(shot)
    assert struct.unpack(">II", shot.read_bytes()[16:24]) == (WIDTHS[place], 2000)


@pytest.mark.parametrize(
    "style, question",
    [(".verdicts { width: 40rem }", BEYOND), (".badge { color: #fff; background: #eee }", FAINT)],
    ids=["wide", "faint"],
)
def test_the_questions_find_what_they_ask_for(page: Page, results: Facts, tmp_path: Path, style: str, question: str) -> None:
    """The negative twin: a page that is too wide, and one that is too faint."""
    path = tmp_path / "index.html"
    write_page(results, path)
    path.write_text(path.read_text(encoding="utf-8").replace("</style>", f"{style}</style>"), encoding="utf-8")
    page.open(path, WIDTHS["phone"])
    assert page.ask(question)


def test_a_cell_leads_to_its_words(page: Page, file: Path, results: Facts) -> None:
    page.open(file, WIDTHS["phone"])
    if not results["matrix"]:
        assert page.ask("document.querySelectorAll('.matrix').length") == 0
        return
    unfolded = "document.getElementById('cell-1-1-1').closest('details').open"
    assert not page.ask(unfolded)
    page.ask("new Promise(done => { onhashchange = () => done(); document.querySelector('.matrix td a').click(); })")
    assert page.ask("document.querySelector(':target').id") == "cell-1-1-1" and page.ask(unfolded)


def test_nothing_is_fetched(page: Page, file: Path) -> None:
    page.open(file, WIDTHS["desk"])
    assert page.requests == [file.absolute().as_uri()]
