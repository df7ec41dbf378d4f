"""HTML reports: self-contained, accessible and legible."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from functools import cache
from typing import Final

import pytest
from msgspec.structs import replace

from riskd.core.attempt import JOURNEYS
from riskd.core.features import NAMES
from riskd.core.policy import Bands
from riskd.core.requirement import Tier
from riskd.offline import charts
from riskd.offline.drift import page as drift_page
from riskd.offline.drift.bins import bins_for, reference, scored
from riskd.offline.drift.compare import compare
from riskd.offline.evaluation import page as evaluation_page
from riskd.offline.evaluation.document import (
    CANDIDATE,
    CHAMPION,
    MODELS,
    Estimate,
    Evaluation,
    Goal,
    Judged,
    OperatingPoint,
    Point,
    Reauthentication,
    Recall,
    Reliability,
)
from riskd.offline.evaluation.examples import Example, Importance
from riskd.offline.evaluation.table import notes
from riskd.offline.outcomes import LABELS
from riskd.offline.page import STYLE, Cell, table
from riskd.offline.policies import page as backtest_page
from riskd.offline.policies.replay import replay
from riskd.offline.policies.report import report
from riskd.offline.policies.tally import Tally
from tests.offline.drawn import SHIPPED, assessment
from tests.offline.drift.world import MODEL, Shift, rows
from tests.offline.made_evaluation import evaluation, model

_SVG: Final = "{http://www.w3.org/2000/svg}"
_LETTER: Final = {"": 0.6 * 13, "n": 0.6 * 12}
"""The width of a letter for each class of label, in a wide font (DejaVu Sans is 0.6 em on average)."""
_ODD: Final = "<b>&\"'_</b>"


@cache
def backtest() -> str:
    """A month of decisions on every journey with some fraud, and bands far to the right that are close together."""
    bands = Bands((0.94, 0.945, 0.949), (Tier.BASELINE, Tier.PHISHING_RESISTANT, Tier.IDENTITY_PROOF, Tier.DENY))
    session = replace(SHIPPED.journeys["session"], bands=bands)
    candidate = replace(SHIPPED, version=_ODD, journeys={**SHIPPED.journeys, "session": session})
    tally = Tally()
    for number in range(90):
        score = (0.001, 0.03, 0.2, 0.7)[number % 4]
        one = assessment(number * 30_000, JOURNEYS[number % 6], score=score)
        tally.add(candidate, one, replay(candidate, one), number % len(LABELS))
    tally.counts["replayed"] = 90
    return backtest_page.page(report(_ODD, tally, [candidate]))


@cache
def drifted() -> str:
    """One signal that moved on the last days, one that is often missing, and unchanged ones."""
    bins = bins_for(reference("customer", NAMES, MODEL, [rows(1, 2000)]), NAMES)
    batch = rows(2, 3000, shift=Shift("device_llr", 11, by=2.0))
    bins.add(batch, scored(MODEL, batch.vectors))
    found = compare(reference("customer", NAMES, MODEL, [rows(1, 2000)]), bins, _ODD)
    assert found.drifted
    return drift_page.page(_ODD, [found])


@cache
def evaluated() -> str:
    """Six models, with long class and feature names, and missing figures."""
    names = sorted(NAMES, key=len)[-20:]
    moves = tuple((name, 1234.5, -2.25) for name in names[:5])
    return evaluation_page.page(
        _evaluation(),
        [Importance(feature=name, good=3.0 / (at + 1), fraud=99.0 / (at + 1)) for at, name in enumerate(names)],
        [Example(id="a" * 32, attack=_ODD, found=True, probability=0.5, moves=moves)],
    )


def _evaluation() -> Evaluation:
    found = evaluation()
    goals = (Goal(name="as the champion", attack="spraying", margin=-0.5, met=False, sure=True),)
    return replace(found, models={name: _judged(name) for name in MODELS}, goals=goals)


def _judged(name: str) -> Judged:
    figures = (Estimate(123_456, 1.0, 0.0, 1.0), Estimate(7, 0.0, 0.0, 0.5), Estimate(0, None, None, None))
    groups = tuple(
        Recall(each, {"1%": figure, "0.1%": figure})
        for each, figure in zip(("stuffing_residential", "spraying", _ODD), figures, strict=True)
    )
    cost = Reauthentication(recall=0.5, median=0.0, mean=0.25, share=0.01)
    points = (Point(10, 0.0, 0.0), Point(10, 1.0, 1.0))
    bands = tuple(
        OperatingPoint(journey=journey, score=0.02, friction=figures[0], recall=figures[1], precision=figures[2])
        for journey in ("", _ODD)
    )
    return replace(
        model(_ODD if name == "candidate" else ""),
        operating=bands if name in (CANDIDATE, CHAMPION) else (),
        classes=groups,
        depths=groups,
        left_out=groups[:1],
        reauthentications=(cost,),
        reliability=Reliability(ece=0.1, brier=0.1, reference=0.2, points=points),
        curve=((0.0001, 0.0), (0.01, 0.5), (1.0, 1.0)),
    )


PAGES: Final[dict[str, Callable[[], str]]] = {"backtest": backtest, "drift": drifted, "evaluation": evaluated}
every_page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())


def parsed(page: str) -> ET.Element:
    return ET.fromstring(page.partition("\n")[2])


def words(element: ET.Element) -> str:
    return "".join(element.itertext())


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
    """The page has a language, one main element and one first heading, and no heading skips a level."""
    root = parsed(page())
    assert root.get("lang") == "en"
    assert len(list(root.iter("main"))) == 1
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
        (picture,) = (each for each in figure.iter(f"{_SVG}svg") if each.get("role") == "img")
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
    assert all(part.get("tabindex") == "0" and part.get("role") and part.get("aria-label") for part in parts)


@every_page
def test_labels_lie_within_their_picture(page: Callable[[], str]) -> None:
    """Labels lie within their picture, also in a wide font, and do not overlap."""
    for picture in parsed(page()).iter(f"{_SVG}svg"):
        width, height = map(float, (picture.get("viewBox") or "").split()[2:])
        boxes = [(words(each), *_box(each)) for each in picture.iter(f"{_SVG}text")]
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
    for picture in parsed(page()).iter(f"{_SVG}svg"):
        width, height = map(float, (picture.get("viewBox") or "").split()[2:])
        for x, y in (point for each in picture.iter() for point in _points(each)):
            assert -1 <= x <= width + 1
            assert -1 <= y <= height + 1


def _points(mark: ET.Element) -> Iterator[tuple[float, float]]:
    """The corners of a bar, the middle of a point, and the points of a line."""
    kind, text = mark.tag.removeprefix(_SVG), mark.get("points", "") or mark.get("transform", "")
    if kind == "rect":
        x, y, wide, high = (float(mark.get(name, "0")) for name in ("x", "y", "width", "height"))
        assert min(wide, high) >= 0
        yield from ((x, y), (x + wide, y + high))
    elif kind == "circle":
        yield float(mark.get("cx", "")), float(mark.get("cy", ""))
    elif kind == "polyline" or text.startswith("translate"):
        numbers = [float(each) for each in re.findall(r"-?[\d.]+", text)]
        yield from zip(numbers[::2], numbers[1::2], strict=True)


def test_an_evaluation_says_what_makes_its_figures_better_or_worse() -> None:
    """The page of an evaluation has the remarks of its report."""
    remarks = notes(_evaluation()).strip()
    assert "Attackers who were stopped" in remarks
    assert f"<p>{remarks}</p>" in evaluated()


def test_a_drifted_signal_is_drawn_as_its_figures_say() -> None:
    """Bars are as high as their shares, days go from left to right, and a point is the higher the larger its index."""
    histogram, by_day = (each for each in parsed(drifted()).iter(f"{_SVG}svg") if each.get("role") == "img")
    bars = [
        (float(re.findall(r"([\d.]+)%", words(each))[-1]), float(each.get("height", "")), float(each.get("y", "")))
        for each in histogram.iter(f"{_SVG}rect")
    ]
    tallest = max(bars)
    assert len(bars) > 10
    for share, height, top in bars:
        assert height == pytest.approx(tallest[1] * share / tallest[0], abs=0.2)
        assert top + height == pytest.approx(tallest[1] + tallest[2], abs=0.2)
    days = [
        (float(each.get("cx", "")), float(each.get("cy", "")), words(each)) for each in by_day.iter(f"{_SVG}circle")
    ]
    assert [x for x, _, _ in days] == sorted(x for x, _, _ in days)
    assert [said[:10] for _, _, said in days] == sorted(said[:10] for _, _, said in days)
    by_index = sorted(days, key=lambda day: float(re.findall(r"index ([\d.]+)", day[2])[0]))
    assert [y for _, y, _ in by_index] == pytest.approx(sorted((y for _, y, _ in days), reverse=True), abs=0.2)
    assert by_index[-1][1] < by_index[0][1] - 50


@every_page
def test_each_series_has_a_matching_key(page: Callable[[], str]) -> None:
    """Each key's sample has the class and shape of the marks that it explains."""
    keyed = 0
    for figure in parsed(page()).iter("figure"):
        (picture,) = (each for each in figure.iter(f"{_SVG}svg") if each.get("role") == "img")
        samples = {mark for each in figure.iter("li") for mark in _marks(each)}
        drawn = {mark for mark in _marks(picture) if re.match(r"[rcgfm]\d?$|l[rc]$|s s", mark[0])}
        keyed += bool(samples)
        if samples:
            assert drawn <= samples
    assert keyed


def _marks(part: ET.Element) -> Iterator[tuple[str, str]]:
    for each in part.iter():
        kind = each.get("class", "")
        if each.tag.removeprefix(_SVG) in ("rect", "path", "polyline") and kind:
            yield kind, (each.get("d") or "") if kind.startswith("m") else ""


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


def test_figures_are_right_aligned_and_words_left_aligned() -> None:
    """Figures are right-aligned and words left-aligned; a cell keeps its note and kind."""
    html = table("c", ("", "n", "w"), [("a", "1,234", "x"), ("b", Cell("-", note="none", kind="up"), "2 of them")])
    kinds = [(words(each), each.get("class")) for each in ET.fromstring(html).iter("td")]
    assert kinds == [("1,234", None), ("x", "w"), ("-", "up"), ("2 of them", "w")]
    assert 'title="none"' in html
