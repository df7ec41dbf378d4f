"""HTML reports: self-contained, accessible and legible."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from riskd.offline import charts
from riskd.offline.evaluation.document import MODELS
from riskd.offline.page import STYLE, Cell, table
from tests.offline.made_pages import SVG, backtest, drifted, evaluated, parsed, rolled_out, words

_LETTER: Final = {"": 0.6 * 13, "n": 0.6 * 12}
"""The width of a letter for each class of label, in a wide font (DejaVu Sans is 0.6 em on average)."""
PAGES: Final[dict[str, Callable[[], str]]] = {
    "backtest": backtest,
    "rollout": rolled_out,
    "drift": drifted,
    "evaluation": evaluated,
}
every_page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())


@every_page
def test_a_page_loads_nothing_and_runs_nothing(page: Callable[[], str]) -> None:
    """The page is well-formed, loads nothing, has no scripts, and escapes foreign text."""
    html = page()
    parsed(html)
    assert not re.search(r"<script|<link|<img|<iframe|\son\w+=|src=|href=|url\(|@import|<b>&amp;\"", html)
    assert "default-src 'none'" in html
    assert "&lt;b&gt;" in html


@every_page
def test_a_page_can_be_found_ones_way_in(page: Callable[[], str]) -> None:
    """The page has a language, one main element and one first heading, its title, and no heading skips a level."""
    root = parsed(page())
    assert root.get("lang") == "en"
    assert len(list(root.iter("main"))) == 1
    assert words(next(root.iter("title"))) == words(next(root.iter("h1")))
    levels = [int(each.tag[1]) for each in root.iter() if re.fullmatch("h[1-6]", each.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert len(levels) > 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


@every_page
def test_each_picture_and_table_says_what_it_shows(page: Callable[[], str]) -> None:
    """Each picture has a visible and an accessible title; each table has a caption and scoped headers."""
    root = parsed(page())
    figures = list(root.iter("figure"))
    assert figures
    for figure in figures:
        (caption,) = figure.iter("figcaption")
        (picture,) = (each for each in figure.iter(f"{SVG}svg") if each.get("role") == "img")
        assert words(caption).strip()
        assert picture.get("aria-label") == words(caption)
    for each in root.iter("table"):
        assert words(next(each.iter("caption"))).strip()
        assert {head.get("scope") for head in each.iter("th")} == {"col", "row"}


@every_page
def test_wide_tables_and_pictures_scroll_by_themselves(page: Callable[[], str]) -> None:
    """Every table and picture is in its own scrollable, focusable and labelled element."""
    root = parsed(page())
    parts = [each for each in root.iter("div") if each.get("class") == "scroll"]
    inside = {id(each) for part in parts for each in part.iter()}
    wide = [each for each in root.iter() if each.tag == "table" or each.get("role") == "img"]
    assert wide
    assert all(id(each) in inside for each in wide)
    for part in parts:
        (named,) = [words(each) for each in part.iter("caption")] or [each.get("aria-label", "") for each in part]
        assert (part.get("tabindex"), part.get("role"), part.get("aria-label")) == ("0", "group", named)


@every_page
def test_labels_lie_within_their_picture(page: Callable[[], str]) -> None:
    """Labels lie within their picture, also in a wide font, and do not overlap."""
    for picture in parsed(page()).iter(f"{SVG}svg"):
        width, height = map(float, (picture.get("viewBox") or "").split()[2:])
        boxes = [(words(each), *_box(each)) for each in picture.iter(f"{SVG}text")]
        for said, left, top, right, bottom in boxes:
            assert left >= -1, said
            assert right <= width + 1, said
            assert top >= -2, said
            assert bottom <= height, said
        for at, (said, left, top, right, bottom) in enumerate(boxes):
            for other, left2, top2, right2, bottom2 in boxes[at + 1 :]:
                apart = right <= left2 or right2 <= left or bottom <= top2 or bottom2 <= top
                assert apart, f"{said} | {other}"


def _box(label: ET.Element) -> tuple[float, float, float, float]:
    """The bounding box of a text, as high as a capital letter."""
    x, y, kind = float(label.get("x", "")), float(label.get("y", "")), label.get("class", "")
    width = len(words(label)) * _LETTER[kind]
    left = x - width * {"start": 0.0, "middle": 0.5, "end": 1.0}[label.get("text-anchor", "")]
    return left, y - 9, left + width, y


@every_page
def test_marks_lie_within_their_picture(page: Callable[[], str]) -> None:
    """Bars, points and lines lie within their picture; bars have no negative size."""
    for picture in parsed(page()).iter(f"{SVG}svg"):
        width, height = map(float, (picture.get("viewBox") or "").split()[2:])
        for x, y in (point for each in picture.iter() for point in _points(each)):
            assert -1 <= x <= width + 1
            assert -1 <= y <= height + 1


def _points(mark: ET.Element) -> Iterator[tuple[float, float]]:
    """The corners of a bar, the middle of a point, and the points of a line."""
    kind, text = mark.tag.removeprefix(SVG), mark.get("points", "") or mark.get("transform", "")
    if kind == "rect":
        x, y, wide, high = (float(mark.get(name, "0")) for name in ("x", "y", "width", "height"))
        assert min(wide, high) >= 0
        yield from ((x, y), (x + wide, y + high))
    elif kind == "circle":
        yield float(mark.get("cx", "")), float(mark.get("cy", ""))
    elif kind == "polyline" or text.startswith("translate"):
        numbers = [float(each) for each in re.findall(r"-?[\d.]+", text)]
        yield from zip(numbers[::2], numbers[1::2], strict=True)


@every_page
def test_each_series_has_a_matching_key(page: Callable[[], str]) -> None:
    """Each key's sample has the class and shape of the marks that it explains."""
    keyed = 0
    for figure in parsed(page()).iter("figure"):
        (picture,) = (each for each in figure.iter(f"{SVG}svg") if each.get("role") == "img")
        samples = {mark for each in figure.iter("li") for mark in _marks(each)}
        drawn = {mark for mark in _marks(picture) if re.match(r"[rcgfm]\d?$|l[rc]$|s s", mark[0])}
        keyed += bool(samples)
        if samples:
            assert drawn <= samples
    assert keyed


def _marks(part: ET.Element) -> Iterator[tuple[str, str]]:
    for each in part.iter():
        kind = each.get("class", "")
        if each.tag.removeprefix(SVG) in ("rect", "path", "polyline") and kind:
            yield kind, (each.get("d") or "") if kind.startswith("m") else ""


def test_an_evaluation_says_what_makes_its_figures_better_or_worse() -> None:
    """The page of an evaluation has the remarks of its report."""
    assert "Attackers who were stopped are mostly unlabelled" in evaluated()


def test_no_two_series_differ_in_colour_alone() -> None:
    """Series differ in mark shape, dash or fill, not only in colour."""
    shapes = {re.sub(r"m\d", "", charts.mark(number, 0, 0)) for number in range(len(MODELS))}
    assert len(shapes) == len(MODELS)
    dashes = [_declared(f".s{number}").get("stroke-dasharray", "") for number in range(len(MODELS))]
    widths = [_declared(f".s{number}").get("stroke-width", "") for number in range(len(MODELS))]
    assert len(set(zip(dashes, widths, strict=True))) == len(MODELS)
    assert _declared(".lr").get("stroke-dasharray") != _declared(".lc").get("stroke-dasharray")
    assert _declared(".f").get("fill-opacity") != _declared(".g").get("fill-opacity")


def _declared(selector: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", STYLE):
        if selector in (each.strip() for each in selectors.split(",")):
            found |= dict(re.findall(r"([\w-]+): ([^;]+);", body))
    return found


@pytest.mark.parametrize("ground", ["#ffffff", "#1e1e1e", "#121212"])
def test_colours_and_text_have_enough_contrast(ground: str) -> None:
    """Colours 3:1, small and faint words 4.5:1 (WCAG 2.2, 1.4.11 and 1.4.3).

    On white, and on what browsers have for dark.
    """
    colours = re.findall(r"--\w+: (#[0-9a-f]{6});", STYLE)
    assert len(colours) >= 10
    for colour in colours:
        assert _contrast(_channels(colour), _channels(ground)) >= 3, colour
    ink = (0.0, 0.0, 0.0) if ground == "#ffffff" else (1.0, 1.0, 1.0)
    for faint in (float(_declared(name)["opacity"]) for name in ("small", ".same")):
        assert _contrast(_over(ink, faint, _channels(ground)), _channels(ground)) >= 4.5
    for tint in (_declared(name)["background"] for name in (".up", ".down")):
        under = _over(_channels(tint), int(tint[7:9], 16) / 255, _channels(ground))
        assert _contrast(ink, under) >= 4.5


Colour = tuple[float, float, float]


def _channels(colour: str) -> Colour:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return red, green, blue


def _over(ink: Colour, opacity: float, ground: Colour) -> Colour:
    red, green, blue = (opacity * above + (1 - opacity) * below for above, below in zip(ink, ground, strict=True))
    return red, green, blue


def _contrast(one: Colour, other: Colour) -> float:
    """The contrast ratio of WCAG 2.2."""
    low, high = sorted(
        sum(
            weight * (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4)
            for weight, each in zip((0.2126, 0.7152, 0.0722), colour, strict=True)
        )
        for colour in (one, other)
    )
    return (high + 0.05) / (low + 0.05)


def test_long_words_get_a_wide_column() -> None:
    """A column with more than fifty characters in a cell is wide; a table without rows is left out."""
    head = ("name", "w", "long")
    html = table("c", head, [("a", "x" * 50, "x"), ("b", "x", "x" * 51), ("c", "x", "x")])
    assert [each.get("class") for each in ET.fromstring(html).iter("th") if each.get("scope") == "col"] == [
        "w",
        "w",
        "w long",
    ]
    assert table("c", head, []) == ""


def test_figures_are_right_aligned_and_words_left_aligned() -> None:
    """Figures are right-aligned and words left-aligned; a cell keeps its note and kind."""
    html = table("c", ("", "n", "w"), [("a", "1,234", "x"), ("b", Cell("-", note="none", kind="up"), "2 of them")])
    kinds = [(words(each), each.get("class")) for each in ET.fromstring(html).iter("td")]
    assert kinds == [("1,234", None), ("x", "w"), ("-", "up"), ("2 of them", "w")]
    assert 'title="none"' in html
