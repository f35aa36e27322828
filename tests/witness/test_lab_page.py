# SPDX-License-Identifier: BSD-2-Clause
"""Claim: the page shows every result, as what it is, to whoever reads it in whatever way: valid HTML, nothing that runs, nothing
from elsewhere, each verdict in words, and nothing that could not run looks as if it had passed.

It could be false where a text ends an element, where a result is absent, or where colour alone says it.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any, Callable, Iterator
from xml.etree.ElementTree import Element

import html5lib  # type: ignore[import]
import jinja2
import pytest
from tests.witness.documented import EXPERIMENTS, disagreements
from tests.witness.lab_results import CLAIMS, DEVICES, HOSTILE, IN, LIMITS, OUT, Facts

from witness.report.page import write_page
from witness.report.results import SCHEMA
from witness.report.table import kinds, place

GOOD = {"holds", "agrees", "heat-0"}


@pytest.fixture(scope="module")
def show(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Facts], Element]:
    """The document's root, from a parser that accepts no fault."""
    path = tmp_path_factory.mktemp("page") / "index.html"

    def parsed(results: Facts) -> Element:
        write_page(results, path)
        parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
        root: Element = parser.parse(path.read_text(encoding="utf-8"))
        return root

    return parsed


@pytest.fixture(scope="module")
def page(results: Facts, show: Callable[[Facts], Element]) -> Element:
    return show(results)


def classes(element: Element) -> set[str]:
    return set(element.get("class", "").split())


def of_class(root: Element, name: str) -> list[Element]:
    return [element for element in root.iter() if name in classes(element)]


def text(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


def tags(element: Element) -> Iterator[str]:
    return (one.tag.rpartition("}")[2] for one in element.iter() if isinstance(one.tag, str))


def by_id(root: Element, id: str) -> Element:
    return next(element for element in root.iter() if element.get("id") == id)


def test_results_are_as_a_lab_has_them(results: Facts) -> None:
    assert disagreements({"schema": SCHEMA, **results}, EXPERIMENTS) == []


def test_every_experiment_in_table_and_section(page: Element, results: Facts) -> None:
    rows = [row for table in of_class(page, "verdicts") for row in table.iter("tr") if row.find("th[@scope='row']") is not None]
    assert len(rows) == len(of_class(page, "experiment")) == CLAIMS + LIMITS
    for row, experiment in zip(rows, results["experiments"]):
        link = next(row.iter("a"))
        assert link.get("href") == f"#{experiment['id']}" and text(link) == experiment["title"]
        assert experiment["verdict"] in text(of_class(row, "badge")[0]) and experiment["reading"] in text(row)
        section = text(by_id(page, experiment["id"]))
        assert all(experiment[key] in section for key in ("title", "source", "falsified_by", "provoked_by", "reading"))


def test_every_case_and_value(page: Element, results: Facts) -> None:
    for experiment in results["experiments"]:
        section = by_id(page, experiment["id"])
        assert len(of_class(section, "case")) == len(experiment["cases"])
        shown = [(text(of_class(v, "number")[0]), text(of_class(v, "expected")[0])) for v in of_class(section, "value")]
        values = [value for case in experiment["cases"] for value in case["values"]]
        expected = [(str(v["measured"]), f"{'expected' if v['agrees'] else 'not'} {v['expected']}") for v in values]
        assert sorted(shown) == sorted(expected)
        assert len(of_class(section, "wrong")) == sum(not value["agrees"] for value in values)
        timelines = [case["timeline"] for case in experiment["cases"] if case["timeline"]]
        assert list(tags(section)).count("svg") == len(timelines)
        assert len(of_class(section, "tick")) == sum(len(timeline["ticks"]) for timeline in timelines)


def test_every_cell(page: Element, results: Facts) -> None:
    cells = [cell for cell in of_class(page, "matrix")[0].iter("td") if cell.find("a") is not None]
    assert len(cells) == len(OUT) * len(IN) * len(DEVICES) == len(results["matrix"]["cells"])
    for shown, cell in zip(cells, results["matrix"]["cells"]):
        link = next(shown.iter("a"))
        told = by_id(page, link.get("href", "#")[1:])
        assert all(f"{hazard}: {cell['hazards'][hazard]}" in text(told) for hazard in kinds(cell))
        assert all(note in text(told) for note in [*cell["notes"], cell["why"]])
        assert text(told).endswith(link.get("title", "").partition(": ")[2])
        assert ("≠" in text(shown)) == (cell["signature"] not in ("", "as expected"))


def test_what_could_not_run_is_never_green(page: Element, results: Facts) -> None:
    for badge in of_class(page, "badge"):
        word = text(badge).split(" ", 1)[1]
        assert classes(badge) - {"badge"} == {word.replace(" ", "-")}
        assert bool(GOOD & classes(badge)) == (word in ("holds", "agrees"))
    cells = [cell for cell in of_class(page, "matrix")[0].iter("td") if cell.find("a") is not None]
    for shown, cell in zip(cells, results["matrix"]["cells"]):
        assert bool(GOOD & classes(shown)) == (cell["outcome"] == "ran" and not kinds(cell))
    for experiment in results["experiments"]:
        if experiment["verdict"] == "could not run":
            first = of_class(by_id(page, experiment["id"]), "case")[0]
            assert "could not run" in text(first) and experiment["cases"][0]["why"] in text(first)


def test_an_absent_cell_is_no_pass(results: Facts, show: Callable[[Facts], Element]) -> None:
    results = copy.deepcopy(results)
    gone = next(cell for cell in results["matrix"]["cells"] if cell["outcome"] == "ran" and not kinds(cell))
    results["matrix"]["cells"].remove(gone)
    cells = [cell for cell in of_class(show(results), "matrix")[0].iter("td") if cell.find("a") is not None]
    title = f"{' → '.join(place(gone)[:2])}, {gone['device']}: could not run: not in the results"
    shown = next(cell for cell in cells if next(cell.iter("a")).get("title") == title)
    assert "not-run" in classes(shown) and not GOOD & classes(shown)


def test_what_results_lack_is_an_error(results: Facts, tmp_path: Path) -> None:
    results = copy.deepcopy(results)
    del results["experiments"][0]["reading"]
    with pytest.raises(jinja2.UndefinedError):
        write_page(results, tmp_path / "index.html")


def test_nothing_runs_and_nothing_is_fetched(page: Element) -> None:
    names = set(tags(page))
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "use", "image", "foreignObject"}
    for element in page.iter():
        assert not [name for name in element.keys() if name.startswith("on") or name == "style"]
        for name in ("href", "src", "{http://www.w3.org/1999/xlink}href"):
            assert re.match(r"#[\w-]+$|\./[^:]*$", element.get(name, "#ok")), element.get(name)
    assert not re.search(r"url\(|@import", "".join(text(style) for style in page.iter("style")))


def hostile(value: Any, keep: str = "") -> Any:
    """Every free text replaced."""
    if isinstance(value, dict):
        fixed = ("kind", "verdict", "role", "outcome", "id", "hazards", "timeline")
        return {key: one if key in fixed else hostile(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [hostile(one, keep) for one in value]
    return HOSTILE if isinstance(value, str) and value else value


def test_hostile_text(results: Facts, show: Callable[[Facts], Element]) -> None:
    """It stays text, wherever it stands; in links to files, too."""
    page = show({**results, "experiments": hostile(results["experiments"]), "versions": {HOSTILE: HOSTILE}})
    test_nothing_runs_and_nothing_is_fetched(page)
    shown = " ".join(HOSTILE.split())
    assert text(page).count(shown) > 5 * (CLAIMS + LIMITS) and "49" not in text(next(page.iter("h1")))


def test_each_id_once_and_each_link_leads_somewhere(page: Element) -> None:
    ids = [id for element in page.iter() if (id := element.get("id"))]
    assert len(set(ids)) == len(ids)
    links = [link.get("href", "") for link in page.iter("a")]
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids) and len(links) > 100
    named = [id for element in page.iter() for id in element.get("aria-labelledby", "").split()]
    assert set(named) <= set(ids)


def test_for_who_does_not_see_it(page: Element) -> None:
    """Headings without gaps, captions, scopes, and a title and a description for each drawing."""
    levels = [int(tag[1]) for tag in tags(page) if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:]))
    for table in page.iter("table"):
        assert table.find("caption") is not None and all(head.get("scope") for head in table.iter("th"))
    for drawing in (element for element in page.iter() if isinstance(element.tag, str) and element.tag.endswith("svg")):
        assert drawing.get("role") == "img" and [tag for tag in tags(drawing)][1:3] == ["title", "desc"]
    assert page.get("lang") == "en"


def test_results_without_a_matrix(results: Facts, show: Callable[[Facts], Element]) -> None:
    page = show({**results, "matrix": None, "experiments": []})
    assert not of_class(page, "matrix") and "Not in these results" in text(page)
