"""What the charts and tables of reports show is what the reports say."""

from __future__ import annotations

import itertools
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Final

import pytest
from msgspec.structs import replace

from riskd.core.attempt import JOURNEYS
from riskd.core.features import NAMES as FEATURES
from riskd.offline.charts import WIDTH
from riskd.offline.evaluation.table import NAMES
from riskd.offline.intervals import Share
from riskd.offline.labels import FRAUD
from riskd.offline.policies import charts
from riskd.offline.policies.page import page
from riskd.offline.policies.redecide import redecide
from riskd.offline.policies.report import report
from riskd.offline.policies.tally import Tally
from riskd.wording import date
from tests.offline.drawn import SHIPPED, assessment
from tests.offline.made_pages import ODD, SVG, backtest, backtested, drift, drifted, evaluated, parsed, words


def test_a_drifted_signal_is_drawn_as_its_figures_say() -> None:
    """Bars are as high as their shares, days go from left to right, and a point is the higher the larger its index."""
    histogram, by_day = (each for each in parsed(drifted()).iter(f"{SVG}svg") if each.get("role") == "img")
    bars = [
        (float(re.findall(r"([\d.]+)%", words(each))[-1]), float(each.get("height", "")), float(each.get("y", "")))
        for each in histogram.iter(f"{SVG}rect")
    ]
    tallest = max(bars)
    assert len(bars) > 10
    for share, height, top in bars:
        assert height == pytest.approx(tallest[1] * share / tallest[0], abs=0.2)
        assert top + height == pytest.approx(tallest[1] + tallest[2], abs=0.2)
    days = [(float(each.get("cx", "")), float(each.get("cy", "")), words(each)) for each in by_day.iter(f"{SVG}circle")]
    assert [x for x, _, _ in days] == sorted(x for x, _, _ in days)
    assert [said[:10] for _, _, said in days] == sorted(said[:10] for _, _, said in days)
    by_index = sorted(days, key=lambda day: float(re.findall(r"index ([\d.]+)", day[2])[0]))
    assert [y for _, y, _ in by_index] == pytest.approx(sorted((y for _, y, _ in days), reverse=True), abs=0.2)
    assert by_index[-1][1] < by_index[0][1] - 50


def keys(page: str, title: str) -> list[str]:
    """The names in the legend of a chart."""
    (figure,) = (each for each in parsed(page).iter("figure") if words(next(each.iter("figcaption"))) == title)
    return [words(each) for each in figure.iter("li")]


def test_legends_name_what_is_drawn() -> None:
    """The legend of a chart names both sides of a backtest, all models, or what is good and what is fraud."""
    assert keys(backtest(), "Share of decisions challenged, by day") == ["recorded", "candidate"]
    curve = keys(evaluated(), "Attacks with a right credential found (up) by share of good ones challenged (across)")
    assert [name.partition(" (")[0] for name in curve] == [*NAMES.values()]
    scores = keys(backtest(), "login: decisions by score, good and fraud each on its own scale")
    assert [name.partition(",")[0] for name in scores] == ["good", "fraud"]


def pictures(page: str) -> dict[str, ET.Element]:
    """The charts of a page by their titles."""
    drawn = (each for each in parsed(page).iter(f"{SVG}svg") if each.get("role") == "img")
    return {each.get("aria-label", ""): each for each in drawn}


def scale(picture: ET.Element, value: Callable[[str], float] = float) -> Callable[[float], float]:
    """Where a value lies, by the labels of the axis below, which have to lie on one line themselves."""
    labels = [each for each in picture.iter(f"{SVG}text") if each.get("text-anchor") == "middle"]
    ticks = [(value(words(each).removesuffix(" %")), float(each.get("x", ""))) for each in labels]
    (first, left), (last, right) = ticks[0], ticks[-1]

    def at(shown: float) -> float:
        return left + (shown - first) * (right - left) / (last - first)

    assert [x for _, x in ticks] == pytest.approx([at(tick) for tick, _ in ticks], abs=0.2)
    assert first < last
    assert left < right
    return at


def shapes(picture: ET.Element, tag: str, kind: str) -> list[tuple[list[float], str]]:
    """The numbers and the words of marks of a class."""
    names = ("x", "y", "width", "height", "points", "transform", "d")
    return [
        (numbers(" ".join(each.get(name, "") for name in names)), words(each))
        for each in picture.iter(SVG + tag)
        if re.fullmatch(kind, each.get("class", ""))
    ]


def numbers(text: str) -> list[float]:
    return [float(each) for each in re.findall(r"-?\d+(?:\.\d+)?", text)]


@pytest.mark.parametrize(
    ("title", "figure"),
    [
        ("Friction: good decisions that are challenged", "friction"),
        ("Recall: confirmed fraud that is challenged", "recall"),
    ],
)
def test_shares_are_read_off_their_axis(title: str, figure: str) -> None:
    """Each journey has a bar for each side, which ends at its share, and whose interval goes from bound to bound. One
    without fraud has no recall."""
    picture, told = pictures(backtest())[title], []
    at = scale(picture)
    written = [words(each) for each in picture.iter(f"{SVG}text") if each.get("text-anchor") == "start"]
    bars, bounds = shapes(picture, "rect", "[rc]"), shapes(picture, "path", "i")
    for ((x, _, width, _), said), ((low, _, high), _), number in zip(bars, bounds, written, strict=True):
        name, _, share = said.partition(": ")
        told.append(tuple(name.split(", ")))
        percent, lower, upper, _ = numbers(share)
        assert [x, x + width, low, high] == pytest.approx([at(0), at(percent), at(lower), at(upper)], abs=0.5)
        assert number == f"{percent:g} %"
        (one,) = (one for one in backtested().domains[0].journeys if one.value == told[-1][0])
        assert share.startswith(str(getattr(getattr(one, told[-1][1]), figure)))
    shown = [journey for journey in JOURNEYS if (figure, journey) != ("recall", "recovery")]
    assert told == list(itertools.product(shown, ("recorded", "candidate")))


@pytest.mark.parametrize(
    ("high", "end"),
    [(0.7, "100"), (0.5004, "50"), (0.3, "50"), (0.11, "20"), (0.1, "10"), (0.0021, "0.5"), (0.0, "0.0001")],
)
def test_an_axis_ends_at_a_round_share(high: float, end: str) -> None:
    """The axis of shares ends at 1, 2 or 5 times a power of ten that no bound exceeds by more than a thousandth."""
    share = Share(0, 9, 0.0, 0.0, high)
    picture = ET.fromstring(charts.shares("t", [("a", share, share), ("b", NOBODY, NOBODY)])).find(
        f".//{SVG}svg[@role]"
    )
    assert picture is not None
    labels = [words(each) for each in picture.iter(f"{SVG}text")]
    assert labels[2] == f"{end} %"
    assert labels[3:] == ["a", "0 %", "0 %"]


NOBODY: Final = Share(0, 0, None, 0.0, 1.0)


def odds(probability: float) -> float:
    return math.log(probability / (1 - probability))


@pytest.mark.parametrize("journey", JOURNEYS)
def test_scores_and_bands_are_read_off_their_axis(journey: str) -> None:
    """Each bar spans its bin, bars of a kind are as high as their counts, and each band begins at its score."""
    (scores,) = (one for one in backtested().domains[0].scores if one.journey == journey)
    picture = pictures(backtest())[f"{journey}: decisions by score, good and fraud each on its own scale"]
    at = scale(picture, lambda said: odds(float(said)))
    for kind, expected in (("g", sum(scores.good)), ("f", sum(scores.fraud))):
        bars = [(place, numbers(said)) for place, said in shapes(picture, "rect", kind) if said]
        tallest, most = (max((bar[at][-1] for bar in bars), default=0) for at in (0, 1))
        assert sum(count for _, (*_, count) in bars) == expected
        for (x, y, width, height), (low, high, count) in bars:
            assert (x, x + width + 1) == pytest.approx((at(odds(low)), at(odds(high))), abs=1)
            assert (height, y + height) == pytest.approx((tallest * count / most, bars[0][0][1] + bars[0][0][3]))
    edges = [x for (x, *_), _ in shapes(picture, "path", "e")]
    assert edges == pytest.approx([at(odds(edge)) for edge in scores.edges.values()], abs=0.2)
    named = {words(each): float(each.get("x", "")) for each in picture.iter(f"{SVG}text") if "from" in words(each)}
    assert [*named] == [f"{tier} from {edge:g}" for tier, edge in scores.edges.items()]
    assert all(abs(x - edge) < 5 for x, edge in zip(named.values(), edges, strict=True))


def test_days_are_drawn_as_their_figures_say() -> None:
    """Each side's line goes through the share of each day, of the decisions without a wrong credential, from the
    first day on the left to the last on the right."""
    groups = backtested().domains[0].days
    picture = pictures(backtest())["Share of decisions challenged, by day"]
    ((left, base, right, _, top, _), _), *_ = shapes(picture, "path", "a")
    highest, _, first, last = (words(each) for each in picture.iter(f"{SVG}text"))
    assert [first, last] == [date(int(groups[at].value) * 86_400) for at in (0, -1)]
    for kind, side in (("lr", "recorded"), ("lc", "candidate")):
        ((line, _),) = shapes(picture, "polyline", kind)
        shares = [
            100 * getattr(group, side).challenged / max(group.decisions - group.wrong_credential, 1) for group in groups
        ]
        step = (right - left) / (len(groups) - 1)
        assert line[::2] == pytest.approx([left + at * step for at in range(len(groups))], abs=0.1)
        assert [(base - y) / (base - top) * numbers(highest)[0] for y in line[1::2]] == pytest.approx(shares, abs=0.1)


def test_recall_is_read_off_its_axis() -> None:
    """Each model has a mark at its recall, with its interval and its number, for each class that has rows."""
    picture = pictures(evaluated())["Recall at 1% false positives, by class of attack"]
    labels = [each for each in picture.iter(f"{SVG}text") if each.get("text-anchor") == "middle"][::2]
    at = scale(picture)
    assert len(labels) == 3
    marks, bounds = shapes(picture, "path", r"m\d"), shapes(picture, "path", "i")
    right = [words(each) for each in picture.iter(f"{SVG}text") if (each.get("x"), each.get("class")) == ("756.0", "n")]
    for ((x, y, *_), said), ((low, line, high), _), number in zip(marks, bounds, right, strict=True):
        share, lower, upper = numbers(said.partition(": ")[2])
        assert (x, low, high) == pytest.approx((at(share), at(lower), at(upper)), abs=0.1)
        assert (line, number) == (y, f"{share:.1f} %")
    assert [said.partition(":")[0] for _, said in marks] == [*NAMES.values()] * 2
    drawn = [each.get("class", "") for each in picture.iter(f"{SVG}path")]
    assert [kind for kind in drawn if re.match(r"m\d", kind)] == [f"m{number}" for number in range(len(NAMES))] * 2


def test_probabilities_are_read_off_their_axes() -> None:
    """A mark of the calibration chart lies at its prediction and at what was found, and on the diagonal if they are
    equal. Models without probabilities have none."""
    title = "Probability predicted (across) and share of attacks found (up)"
    calibrated = [name for model, name in NAMES.items() if model != "rules"]
    assert [name.partition(" (")[0] for name in keys(evaluated(), title)] == calibrated
    picture = pictures(evaluated())[title]
    at = scale(picture, lambda said: math.log10(float(said)))
    ((left, base, right, top), _), *_ = shapes(picture, "path", "e")
    for (x, y, *_), said in shapes(picture, "path", r"m\d"):
        predicted, found, _ = numbers(said)
        assert x == pytest.approx(at(math.log10(predicted)), abs=0.1)
        assert (base - y) / (base - top) == pytest.approx((at(math.log10(found)) - left) / (right - left), abs=0.001)


def test_a_drift_report_begins_with_its_main_figures() -> None:
    """The figures at the top say how many signals have drifted, and what was compared with what."""
    assert words(next(parsed(drifted()).iter("h2"))) == f"customer: model {ODD}"
    assert tiles(drifted()) == [
        [
            [f"1 of {len(FEATURES) + 1}", "signals have drifted, by 0.1 or more"],
            ["3,000", "decisions, 2024-10-04 to 2024-10-17"],
            ["2,000", "decisions compared with, 2024-10-04 to 2024-10-17: the reference of the model"],
        ]
    ]


def test_each_signal_is_in_one_table_with_its_figures() -> None:
    """Signals that have drifted come first, with the day on which it began; the others have no such day."""
    shown = tables(drifted())
    assert [*shown] == ["Signals that have drifted", "Signals that have not"]
    (moved,), others = shown.values()
    assert {moved, *others} == {*FEATURES, "score"}
    row = shown["Signals that have drifted"][moved]
    assert (moved, row["drifted"], row["since"]) == ("device_llr", "yes", "2024-10-15")
    (signal,) = drift().drifted
    figures = (signal.shift, signal.index, signal.noise, signal.distance)
    assert [float(row[name]) for name in ("shift", "index", "by chance", "K-S")] == pytest.approx(figures, abs=0.001)
    assert (row["chance"], signal.chance < 0.0001) == ("< 0.0001", True)
    missing = [float(share) for row in others.values() for share in re.findall(r"[\d.]+", row["missing"])]
    expected = [(one.missing_before, one.missing_now) for one in drift().signals if not one.drifted]
    assert missing == pytest.approx([100 * share for pair in expected for share in pair], abs=0.051)
    assert {(row["drifted"], row["since"], row["shift"]) for row in others.values()} == {("", "", "")}


def test_a_drifted_signal_has_its_bins_and_its_day() -> None:
    """Both sides of each bin stand above its name, and a line marks the day on which the change began."""
    bins, by_day = pictures(drifted()).values()
    names = [words(each) for each in bins.iter(f"{SVG}text") if each.get("text-anchor") == "middle"]
    assert names[0] == "missing"
    assert names[-1] == names[-2].replace("≤", ">")
    said = [(kind, words(each)) for each in bins.iter(f"{SVG}rect") if (kind := each.get("class"))]
    for kind, side in (("r", "in the reference"), ("c", "now")):
        labels = [label for of, label in said if of == kind]
        assert [label.partition(":")[0] for label in labels] == names
        assert all(label.endswith(f"% {side}") for label in labels)
        assert sum(numbers(label)[-1] for label in labels) == pytest.approx(100, abs=0.1)
    assert keys(drifted(), "device_llr: share of each range of values") == ["reference", "now"]
    days = {words(each)[:10]: float(each.get("cx", "")) for each in by_day.iter(f"{SVG}circle")}
    (((line, *_), _),) = shapes(by_day, "path", "e")
    assert line == pytest.approx(days["2024-10-15"], abs=0.1)
    assert [words(each) for each in by_day.iter(f"{SVG}text")][2:] == ["since 2024-10-15", min(days), max(days)]


def test_the_recall_curve_is_read_off_its_axes() -> None:
    """The curve of each model goes through its points."""
    picture = pictures(evaluated())[
        "Attacks with a right credential found (up) by share of good ones challenged (across)"
    ]
    at = scale(picture, lambda said: math.log10(float(said)))
    ((_, base, *_, top, _), _), *_ = shapes(picture, "path", "a")
    curves = [shapes(picture, "polyline", f"s s{number}") for number in range(len(NAMES))]
    for number, ((line, _),) in enumerate(curves):
        assert line[::2] == pytest.approx([at(math.log10(percent)) for percent in (0.01, 1, 100)], abs=0.1)
        heights = [(base - y) / (base - top) for y in line[1::2]]
        assert heights == pytest.approx([0.0, 0.5 - number / 20, 1.0], abs=0.001)


def test_contributions_are_as_long_as_their_numbers() -> None:
    """Bars of contributions are as long as their numbers, for good attempts and for fraud."""
    picture = pictures(evaluated())["What moves the candidate's score: mean absolute contribution, log-odds"]
    bars = [width for (_, _, width, _), _ in shapes(picture, "rect", "[gf]")]
    written = [float(words(each)) for each in picture.iter(f"{SVG}text") if each.get("class") == "n"]
    assert bars == pytest.approx([max(bars) * number / max(written) for number in written], abs=0.1)
    assert written[:4] == [3.0, 99.0, 1.5, 49.5]
    assert WIDTH / 2 < max(bars) < WIDTH


def tables(page: str) -> dict[str, dict[str, dict[str, str]]]:
    """Cells by caption, heading of the row, and heading of the column."""
    found = {}
    for each in parsed(page).iter("table"):
        head, *rows = ([words(cell) for cell in row] for row in each.iter("tr"))
        found[words(next(each.iter("caption")))] = {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}
    return found


def tiles(page: str) -> list[list[list[str]]]:
    """Each group of highlighted figures, with what they are."""
    groups = (each for each in parsed(page).iter("ul") if each.get("class") == "tiles")
    return [[[*figure.itertext()] for figure in group] for group in groups]


def test_an_evaluation_begins_with_its_main_figures() -> None:
    """The figures at the top say what was judged, what was found beside the champion, and which goals were reached."""
    assert words(next(parsed(evaluated()).iter("h1"))) == f"Evaluation of {ODD}, customer"
    right = "attacks with a right credential"
    assert tiles(evaluated()) == [
        [
            ["1,000", "assessments, 1970-01-01 to 1970-01-02"],
            ["100", "attacks by outcomes, 900 good ones"],
            ["50.0 % (40.0 to 60.0)", f"of {right} found at 1% false positives; the champion 20.0 % (10.0 to 30.0)"],
            ["50.0 % (40.0 to 60.0)", "of attacks found at 1% false positives; the champion 40.0 % (30.0 to 50.0)"],
            ["30.0 % (20.0 to 40.0)", f"of {right} found at 0.1% false positives; the champion 10.0 % (0.0 to 20.0)"],
            ["30.0 % (20.0 to 40.0)", "of attacks found at 0.1% false positives; the champion 30.0 % (20.0 to 40.0)"],
            ["1 of 2", "goals reached"],
        ]
    ]
    curve = keys(evaluated(), "Attacks with a right credential found (up) by share of good ones challenged (across)")
    assert curve[:2] == [f"candidate ({ODD})", "champion"]


def test_step_ups_are_shown_at_the_rate_and_at_equal_recall() -> None:
    """Each segment has its step-ups at the threshold of all, and in a table of their own those where the model finds
    what the champion finds."""
    at_rate, at_recall = (each["vpn"] for title, each in tables(evaluated()).items() if title.startswith("Honest"))
    assert (at_rate["champion 1%"], at_rate["candidate 0.1%"]) == ("50.0 % (40.0 to 60.0)", "30.0 % (20.0 to 40.0)")
    assert (at_recall["champion 1%"], at_recall["candidate 0.1%"]) == ("2.0 % (1.0 to 3.0)", "1.0 % (0.0 to 2.0)")


def test_a_backtest_begins_with_its_main_figures() -> None:
    """The figures at the top say how much was decided again, what differs, what was left out, and what comes of it."""
    root = parsed(backtest())
    assert words(next(root.iter("h1"))) == f"Backtest of {ODD}"
    assert words(next(root.iter("h2"))) == f"customer: candidate {ODD}, scored by {ODD}"
    whole, domain = tiles(backtest())
    assert whole == [
        ["90", "decisions, 2027-01-15 to 2027-02-15"],
        ["17", "differ from the recorded ones (18.9 %)"],
        ["1,075", "outcomes; labels are from the outcomes"],
        ["12", "left out: not chosen"],
        ["1", "left out: unreadable"],
        ["3", "older than a counter"],
    ]
    assert [[figure.partition(" (")[0], what] for figure, what in domain] == [
        ["63 → 61", "challenged"],
        ["11 / 6", "stricter / laxer tiers"],
        ["90.6 %", "friction on 32 good ones"],
        ["70.6 %", "recall of 17 frauds"],
    ]
    several = "Several releases made these decisions, which may explain differences: "
    assert f"{several}r (80), {ODD} (10)." in [words(each) for each in root.iter("p")]


def test_each_figure_of_a_backtest_stands_below_its_name() -> None:
    """The tables of a backtest have each figure in the row and column that name it."""
    shown = tables(backtest())
    assert shown["By journey"]["all"] == {
        "decisions": "90", "good": "32", "fraud": "17", "wrong credential": "9", "stricter": "11", "laxer": "6",
        "challenged": "63 → 61", "denied": "11 → 9", "unproven": "15 → 13", "friction on good": "84.4 → 90.6 %",
        "recall of fraud": "82.4 → 70.6 %", "precision": "34.1 → 29.3 %",
    }  # fmt: skip
    (note,) = {each.get("title") for each in parsed(backtest()).iter("td") if words(each) == "84.4 → 90.6 %"} - {None}
    assert note is not None
    assert re.fullmatch(r"84.4 % \(.+\) → 90.6 % \(.+\) of 32", note)
    (moves,) = (rows for caption, rows in shown.items() if caption.startswith("Recorded tier (down)"))
    assert {name: {to: said for to, said in row.items() if said} for name, row in moves.items()} == {
        "BASELINE": {"BASELINE": "17", "PHISHING_RESISTANT": "4 ↑"},
        "STEP_UP": {"STEP_UP": "27", "PHISHING_RESISTANT": "3 ↑"},
        "PHISHING_RESISTANT": {
            "BASELINE": "3 ↓", "STEP_UP": "1 ↓", "PHISHING_RESISTANT": "13", "IDENTITY_PROOF": "4 ↑"
        },
        "IDENTITY_PROOF": {"IDENTITY_PROOF": "7"},
        "DENY": {"BASELINE": "2 ↓", "DENY": "9"},
    }  # fmt: skip
    (rules,) = (rows for caption, rows in shown.items() if caption.startswith("Alone"))
    assert {name: said.partition(" (")[0] for name, said in rules["tor"].items()} == {
        "tier": "STEP_UP", "hits": "9", "alone": "4", "good": "2", "fraud": "2", "wrong credential": "2",
        "unproven": "3", "precision": "50 %", "recall": "20 %",
    }  # fmt: skip
    assert shown["Rules that hit together"]["hosting_network and tor"] == {
        "together": "3", "of the rarer one's hits": "50 %"
    }  # fmt: skip
    assert shown["Examples of each move, drawn at random"]["0000000000000000000000000001d4c0"] == {
        "day": "2027-01-16", "journey": "payment", "country": "", "score": "0.0010",
        "tier": "BASELINE → PHISHING_RESISTANT", "why": "band", "outcome": "good",
    }  # fmt: skip


def test_examples_of_an_evaluation_are_explained() -> None:
    """An example says what it was, whether it was found, its score, and what moved it."""
    (example,) = tables(evaluated())["A dozen decisions, drawn by lot, explained"].values()
    assert (example["class"], example["at 1% false positives"], example["score"]) == (ODD, "challenged", "0.5000")
    assert re.match(r"\w+ = 1.23e\+03: -2.25, ", example["what moved it most, log-odds"])


def test_a_candidate_that_challenges_nobody_has_no_precision() -> None:
    """Without challenges there is a recall, of nothing, and no precision to compare."""
    journey = SHIPPED.journeys["login"]
    lax = replace(journey, bands=replace(journey.bands, edges=(0.97, 0.98, 0.99)))
    candidate = replace(SHIPPED, journeys={**SHIPPED.journeys, "login": lax})
    tally, one = Tally(), assessment(1, score=0.2)
    tally.add(candidate, one, redecide(candidate, one), FRAUD)
    html = page(report("log", tally, [candidate]))
    login, *_ = tables(html)["By journey"].values()
    assert (login["challenged"], login["recall of fraud"], login["precision"]) == ("1 → 0", "100 → 0 %", "-")
    (moves,) = (rows for caption, rows in tables(html).items() if caption.startswith("Recorded tier (down)"))
    assert [*moves] == ["BASELINE", "PHISHING_RESISTANT"]
    assert words(next(parsed(html).iter("h2"))) == f"customer: candidate {SHIPPED.version}"
    assert "Several releases" not in html
