from __future__ import annotations

import re
import sys
from html.parser import HTMLParser

import polars as pl
import pytest

from modicum.errors import ResourceError
from modicum.page import NOTHING, Page


class Outline(HTMLParser):
    """Collects tags, and fails on tags that do not close."""

    void = frozenset({"meta", "br", "path", "use", "rect"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.void:
            assert self.open.pop() == tag


def outline(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Outline()
    parser.feed(html)
    assert not parser.open
    return parser.tags


def full_page() -> Page:
    page = Page("A <title>", "The lead & more.")
    page.section("Part")
    page.text("<script>alert(1)</script>")
    page.table(pl.DataFrame({"name": ["x"], "n": [1234567], "share": [0.12345]}), "Some <table>")
    for _ in range(2):
        page.figure(lambda axes: axes.bar(["a", "b"], [1, 2]), "Bars", 'two "bars"')
    return page


def test_page_is_well_formed_and_escaped():
    html = full_page().html()
    tags = outline(html)
    names = [tag for tag, _ in tags]
    assert names.count("h1") == 1 and names.count("table") == 1 and names.count("caption") == 1
    assert "script" not in names
    assert "&lt;script&gt;" in html and "A &lt;title&gt;" in html
    assert ("html", {"lang": "en"}) in tags


def test_page_asks_nothing_of_the_network():
    html = full_page().html()
    loads = [
        value
        for _, attrs in outline(html)
        for key, value in attrs.items()
        if key in ("src", "href", "xlink:href") and not (value or "").startswith("#")
    ]
    assert loads == []
    assert "@import" not in html and not re.search(r"url\((?!#)", html)


def test_pictures_are_named_and_share_no_ids():
    pytest.importorskip("matplotlib")
    tags = outline(full_page().html())
    images = [attrs for tag, attrs in tags if tag == "svg"]
    assert [(a["role"], a["aria-label"]) for a in images] == [("img", 'two "bars"')] * 2
    ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {a["xlink:href"][1:] for _, a in tags if "xlink:href" in a}
    assert targets <= set(ids)


def test_same_parts_same_bytes():
    assert full_page().html() == full_page().html()


def test_picture_follows_the_theme():
    pytest.importorskip("matplotlib")
    html = full_page().html()
    assert "currentColor" in html and "#000000" not in html


def test_numbers_are_readable_and_stand_right():
    page = Page("t")
    page.table(
        pl.DataFrame(
            {
                "count": [1234567, None],
                "metric": [0.12345, 0.0],
                "seconds": [12.345, float("nan")],
                "whole": [2.0, float("inf")],
                "small": [1e-7, 2.5e-9],
                "flag": [True, False],
            }
        )
    )
    cells = re.findall(r'<td( class="number")?>([^<]*)</td>', page.html())
    assert [text for _, text in cells] == [
        *("1,234,567", "0.1235", "12.35", "2", "1.000e-07", "yes"),
        *(NOTHING, "0.0000", NOTHING, "∞", "2.500e-09", "no"),
    ]
    assert [bool(style) for style, _ in cells[:6]] == [True] * 5 + [False]


def test_empty_tables_are_tables():
    page = Page("t")
    page.table(pl.DataFrame())
    page.table(pl.DataFrame(schema={"a": pl.String}))
    outline(page.html())


def test_without_matplotlib_the_page_says_what_draws_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = Page("t")
    page.figure(lambda axes: None, "Caption", "alt")
    html = page.html()
    outline(html)
    assert "modicum[plots]" in html and "Caption" in html and "<svg" not in html


def test_write_replaces_whole_files_and_leaves_nothing_aside(tmp_path):
    path = tmp_path / "new" / "report.html"
    assert full_page().write(path) == path
    Page("second").write(str(path))
    assert path.read_text(encoding="utf-8") == Page("second").html()
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_write_names_the_path_it_cannot_reach(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"file.report\.html"):
        Page("t").write(tmp_path / "file" / "report.html")
