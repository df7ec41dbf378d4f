"""An evaluation as one HTML file with pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Final

from riskd.offline.charts import WIDTH, date, figure, text
from riskd.offline.evaluation.document import CANDIDATE, CHAMPION, RATES, Evaluation, Judged, Point, Recall
from riskd.offline.evaluation.examples import Example, Importance
from riskd.offline.evaluation.table import NAMES, share
from riskd.offline.page import document, table, tiles

_LEFT: Final = 190
_TOP: Final = 24
"""Features of the picture of contributions."""
_WORDS: Final = """
<p><small>A row is <b>found</b> when it scores above the threshold that this share of good rows passes (<b>false
positives</b>); at the threshold a lot decides, so that models with few distinct scores are judged at the same rate.
Intervals are 95 % bootstraps over subjects; attacks of one campaign resemble each other, so true ones are wider.
Freeman is the published formula over address and user agent, from riskd's own log-likelihood ratios. Rules of thumb
count a new device, a new country and impossible travel. Large boosted trees are 400 trees of the same rows without
bounds. Simulated attackers are not real ones: compare models by these figures, and expect less in the
field.</small></p>
"""


def page(found: Evaluation, importances: Sequence[Importance], examples: Sequence[Example]) -> str:
    """The evaluation as a document. Everything that comes from logs or bundles is escaped."""
    candidate = found.models[CANDIDATE]
    return document(
        f"{candidate.version}, {found.domain}",
        "".join(
            [
                tiles(_figures(found)),
                _WORDS,
                _key(found.models),
                _recall_curve(found.models),
                *(
                    _dots(f"Recall at {rate} false positives, by class of attack", found.models, "classes", rate)
                    for rate in RATES
                ),
                _dots("Recall at 1% false positives, by depth of history", found.models, "depths", "1%"),
                _left_out(found),
                _segments(found),
                _costs(found.models),
                _calibration(found.models),
                _goals(found),
                _contributions(importances),
                _examples(examples),
            ]
        ),
    )


def _figures(found: Evaluation) -> list[tuple[str, str]]:
    data, candidate = found.data, found.models[CANDIDATE]
    return [
        (f"{data.rows:,}", f"assessments, {date(data.first)} to {date(data.last)}"),
        (f"{data.fraud:,}", f"attacks by {data.labels}, {data.good:,} good ones"),
        *((share(candidate.overall.at[rate]), f"of attacks found at {rate} false positives") for rate in RATES),
    ]


def _key(models: Mapping[str, Judged]) -> str:
    return (
        "<p>"
        + " ".join(
            f'<span class="key k{at}">{escape(_name(name, model))}</span>'
            for at, (name, model) in enumerate(models.items())
        )
        + "</p>"
    )


def _name(name: str, model: Judged) -> str:
    return f"{NAMES[name]} ({model.version})" if model.version else NAMES[name]


def _recall_curve(models: Mapping[str, Judged]) -> str:
    """Recall over the false-positive rate, the latter on a logarithmic scale."""
    left, width, base, tall = 50, WIDTH - 80, 230, 210
    low = min(rate for model in models.values() for rate, _ in model.curve)

    def x(rate: float) -> float:
        return left + width * (1 - math.log10(max(rate, low)) / math.log10(low))

    parts = [f'<path class="a" d="M{left} {base}H{left + width}M{left} {base - tall}V{base}"/>']
    parts += [text(left - 6, base - tall * tick + 4, f"{tick:.0%}", "end", "n") for tick in (0.0, 0.25, 0.5, 0.75, 1.0)]
    for rate in (0.0001, 0.001, 0.01, 0.1, 1.0):
        parts.append(f'<path class="e a" d="M{x(rate):.1f} {base - tall}V{base}"/>')
        parts.append(text(x(rate), base + 14, f"{rate * 100:g} %", "middle", "n"))
    for at, model in enumerate(models.values()):
        points = " ".join(f"{x(rate):.1f},{base - tall * recall:.1f}" for rate, recall in model.curve)
        parts.append(f'<polyline class="s{at}" points="{points}"/>')
    return figure("Attacks found (up) by share of good ones challenged (across)", base + 24, parts)


def _dots(title: str, models: Mapping[str, Judged], part: str, rate: str) -> str:
    """One row a group, one dot a model, with its interval."""
    groups: list[list[Recall]] = [
        [getattr(model, part)[number] for model in models.values()]
        for number in range(len(getattr(next(iter(models.values())), part)))
    ]
    step, width = 11 * len(models) + 12, WIDTH - _LEFT - 60
    parts = [
        text(_LEFT + width * tick, len(groups) * step + 14, f"{tick * 100:.0f} %", "middle", "n")
        for tick in (0, 0.5, 1)
    ]
    parts += [f'<path class="a" d="M{_LEFT + width * tick:.1f} 0V{len(groups) * step}"/>' for tick in (0, 0.5, 1)]
    for row, group in enumerate(groups):
        parts.append(text(_LEFT - 10, row * step + step / 2, f"{group[0].name} ({group[0].at[rate].total:,})", "end"))
        for at, each in enumerate(group):
            found, y = each.at[rate], row * step + 11 * at + 10
            if found.value is None or found.low is None or found.high is None:
                continue
            low, middle, high = (_LEFT + width * value for value in (found.low, found.value, found.high))
            said = escape(f"{NAMES[list(models)[at]]}: {share(found)}")
            parts.append(f'<path class="i" d="M{low:.1f} {y}H{high:.1f}"/>')
            parts.append(f'<circle class="m{at}" cx="{middle:.1f}" cy="{y}" r="4"><title>{said}</title></circle>')
    return figure(title, len(groups) * step + 24, parts)


def _left_out(found: Evaluation) -> str:
    candidate = found.models[CANDIDATE]
    head = (
        "class",
        "left out of training",
        "trained with it",
        *(NAMES[name] for name in found.models if name != CANDIDATE),
    )

    def of(model: Judged, attack: str) -> str:
        return next(share(each.at["1%"]) for each in model.classes if each.name == attack)

    rows = [
        (each.name, share(each.at["1%"]), *(of(model, each.name) for model in found.models.values()))
        for each in candidate.left_out
    ]
    return table("Recall at 1% false positives of a class that training did not have", head, rows)


def _segments(found: Evaluation) -> str:
    shown = [name for name in (CANDIDATE, CHAMPION, "large_boosted") if name in found.models]
    head = ("segment", "rows", *(f"{NAMES[name]} {rate}" for rate in RATES for name in shown))
    rows = [
        (
            first.name,
            f"{first.at['1%'].total:,}",
            *(share(found.models[name].segments[at].at[rate]) for rate in RATES for name in shown),
        )
        for at, first in enumerate(found.models[CANDIDATE].segments)
    ]
    return table("Honest attempts challenged, by segment, at the threshold of all", head, rows)


def _costs(models: Mapping[str, Judged]) -> str:
    head = ("attacks found", *(NAMES[name] for name in models))
    rows = [
        (
            f"{first.recall:.0%}",
            *(
                f"{cost.mean:.2f} ({cost.median:.0f}), {cost.share:.1%}"
                for model in models.values()
                for cost in [model.reauthentications[at]]
            ),
        )
        for at, first in enumerate(next(iter(models.values())).reauthentications)
    ]
    return table("Challenges of an honest subject: mean (median), and of all good attempts", head, rows)


def _calibration(models: Mapping[str, Judged]) -> str:
    """Said and found probability of each bin, both on a logarithmic scale."""
    told = [(at, model.reliability) for at, model in enumerate(models.values()) if model.reliability]
    left, width, base, tall, low = 60, 320, 250, 230, 1e-4

    def place(value: float) -> float:
        return 1 - math.log10(min(max(value, low), 1.0)) / math.log10(low)

    def at_point(point: Point) -> tuple[float, float]:
        return left + width * place(point.said), base - tall * place(point.found)

    parts = [f'<path class="e" d="M{left} {base}L{left + width} {base - tall}"/>']
    for tick in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        parts.append(text(left + width * place(tick), base + 14, f"{tick:g}", "middle", "n"))
        parts.append(text(left - 6, base - tall * place(tick) + 4, f"{tick:g}", "end", "n"))
    for number, reliability in told:
        for point in reliability.points:
            x, y = at_point(point)
            said = f"said {point.said:.4g}, found {point.found:.4g} of {point.rows:,}"
            parts.append(f'<circle class="m{number}" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{said}</title></circle>')
    names = list(models)
    rows = [(NAMES[names[at]], f"{each.ece:.4f}", f"{each.brier:.5f}", f"{each.reference:.5f}") for at, each in told]
    picture = figure("Probability said (across) and share of attacks found (up)", base + 24, parts)
    return picture + table("Probabilities", ("model", "calibration error", "Brier score", "of the base rate"), rows)


def _goals(found: Evaluation) -> str:
    rows = [
        (
            goal.name,
            goal.attack,
            f"{goal.margin * 100:+.1f} points",
            ("yes" if goal.met else "no") + ("" if goal.sure else ", within the interval"),
        )
        for goal in found.goals
    ]
    return table("Goals: recall at 1% false positives at least as good", ("as", "class", "margin", "reached"), rows)


def _contributions(importances: Sequence[Importance]) -> str:
    shown = importances[:_TOP]
    top = max((max(each.good, each.fraud) for each in shown), default=1.0)
    width: Callable[[float], float] = lambda value: (WIDTH - _LEFT - 60) * value / top  # noqa: E731 - a scale
    parts = []
    for row, each in enumerate(shown):
        y = row * 26 + 4
        parts.append(text(_LEFT - 8, y + 14, each.feature, "end"))
        for offset, kind, value in ((0, "g", each.good), (10, "f", each.fraud)):
            parts.append(f'<rect class="{kind}" x="{_LEFT}" y="{y + offset}" width="{width(value):.1f}" height="9"/>')
            parts.append(text(_LEFT + width(value) + 4, y + offset + 8, f"{value:.2f}", "start", "n"))
    keys = '<p><span class="key kg">good</span> <span class="key kf">fraud</span></p>'
    return keys + figure(
        "What moves the candidate's score: mean absolute contribution, log-odds", len(shown) * 26 + 8, parts
    )


def _examples(examples: Sequence[Example]) -> str:
    rows = [
        (
            each.id,
            each.attack,
            "challenged" if each.found else "let pass",
            f"{each.probability:.4f}",
            ", ".join(f"{name} = {value:.3g}: {by:+.2f}" for name, value, by in each.moves),
        )
        for each in examples
    ]
    head = ("assessment", "class", "at 1% false positives", "score", "what moved it most, log-odds")
    return table("A dozen decisions, drawn by lot, explained", head, rows)
