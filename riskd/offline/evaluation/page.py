"""An evaluation as one HTML file with charts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from operator import itemgetter
from typing import Final

from riskd.offline.charts import WIDTH, bars, figure, mark, room, text
from riskd.offline.evaluation import table as tables
from riskd.offline.evaluation.document import CANDIDATE, CHAMPION, RATES, RIGHT, Evaluation, Judged, Point, Recall
from riskd.offline.evaluation.examples import Example, Importance
from riskd.offline.evaluation.table import NAMES, share
from riskd.offline.page import document, table, tiles
from riskd.wording import date

_TOP: Final = 24
"""How many features the chart of contributions shows."""
_WORDS: Final = """
<p><small>An attack is <b>found</b> when it scores above the threshold that this share of good rows exceeds (<b>false
positives</b>). A try with a wrong credential challenges nobody and lets nobody in: good rows with one are not counted,
and the other attacks, those with a <b>right credential</b> or an unchecked one, have a recall of their own. Rows at
the threshold are drawn by lot, so that models with few distinct scores are judged at the same rate. Intervals are 95 %
bootstraps: of subjects and, because attacks of one campaign resemble each other, of the days of attacks; the wider
counts. Freeman is the published formula over address and user agent, from riskd's own log-likelihood ratios. Rules of
thumb count a new device, a new country and impossible travel. Large boosted trees are 400 trees on the same rows
without riskd's limits. <b>Friction</b>, <b>recall</b> and <b>precision</b> of a band are the shares of good rows and
of attacks with at least its score, and of attacks among both, all without wrong credentials; where attacks are rarer
than in these rows, precision is lower. Simulated attackers are not real ones: use these figures to compare models, and
expect lower ones in production.</small></p>
"""


def page(evaluation: Evaluation, importances: Sequence[Importance], examples: Sequence[Example]) -> str:
    """The evaluation as an HTML document. Everything that comes from logs or bundles is escaped."""
    candidate, models = evaluation.models[CANDIDATE], evaluation.models
    notes = tables.notes(evaluation).strip()
    return document(
        f"Evaluation of {candidate.version}, {evaluation.domain}",
        "".join(
            [
                tiles(_figures(evaluation)),
                f"<p>{escape(notes)}</p>" if notes else "",
                _WORDS,
                "<h2>Attacks that are found</h2>",
                _recall_curve(models),
                *(
                    _dots(f"Recall at {rate} false positives, by class of attack", models, "classes", rate)
                    for rate in RATES
                ),
                _dots("Recall at 1% false positives, by depth of history", models, "depths", "1%"),
                table("Recall at 1% false positives of a class left out of training", *tables.left_out(evaluation)),
                table("Goals: recall at 1% false positives", *tables.goals(evaluation)),
                "<h2>What honest people are asked</h2>",
                table("Honest attempts challenged, by segment, at the threshold of all", *tables.segments(models)),
                table(
                    "Honest attempts challenged where each model finds what the champion finds at this rate",
                    *tables.segments(models, "equal_recall"),
                ),
                table(tables.COSTS.capitalize(), *tables.costs(models)),
                "<h2>Where bands may begin</h2>",
                _bands(models),
                "<h2>Whether probabilities hold</h2>",
                _calibration(evaluation),
                "<h2>What moves scores</h2>",
                _contributions(importances),
                _examples(examples),
            ]
        ),
    )


def _figures(evaluation: Evaluation) -> list[tuple[str, str]]:
    data, candidate = evaluation.data, evaluation.models[CANDIDATE]
    return [
        (f"{data.rows:,}", f"assessments, {date(data.first)} to {date(data.last)}"),
        (f"{data.fraud:,}", f"attacks by {data.labels}, {data.good:,} good ones"),
        *(
            (
                share(getattr(candidate, part).at[rate]),
                f"of attacks{which} found at {rate} false positives{_beside(evaluation, part, rate)}",
            )
            for rate in RATES
            for part, which in (("right_credential", f" with a {RIGHT}"), ("overall", ""))
        ),
        *(
            [(f"{sum(goal.met for goal in evaluation.goals)} of {len(evaluation.goals)}", "goals reached")]
            if evaluation.goals
            else []
        ),
    ]


def _beside(evaluation: Evaluation, part: str, rate: str) -> str:
    champion = evaluation.models.get(CHAMPION)
    return f"; the champion {share(getattr(champion, part).at[rate])}" if champion else ""


def _key(models: Mapping[str, Judged], *, line: bool) -> list[tuple[str, str]]:
    """Legend entries of the models: the line of a curve, or a mark."""
    return [
        (
            f'<path class="s s{at}" d="M0 6H24"/>' if line else mark(at, 12, 6),
            f"{NAMES[name]} ({model.version})" if model.version else NAMES[name],
        )
        for at, (name, model) in enumerate(models.items())
    ]


def _recall_curve(models: Mapping[str, Judged]) -> str:
    """Recall over the false-positive rate, on a logarithmic x axis."""
    left, width, base, tall = 50, WIDTH - 80, 230, 210
    low = min(rate for model in models.values() for rate, _ in model.curve)

    def x(rate: float) -> float:
        return left + width * (1 - math.log10(max(rate, low)) / math.log10(low))

    parts = [f'<path class="a" d="M{left} {base}H{left + width}M{left} {base - tall}V{base}"/>']
    parts += [text(left - 6, base - tall * tick + 2, f"{tick:.0%}", "end", "n") for tick in (0.0, 0.25, 0.5, 0.75, 1.0)]
    for rate in (0.0001, 0.001, 0.01, 0.1, 1.0):
        parts.append(f'<path class="e a" d="M{x(rate):.1f} {base - tall}V{base}"/>')
        parts.append(text(x(rate), base + 18, f"{rate * 100:g} %", "middle", "n"))
    for at, model in enumerate(models.values()):
        points = " ".join(f"{x(rate):.1f},{base - tall * recall:.1f}" for rate, recall in model.curve)
        parts.append(f'<polyline class="s s{at}" points="{points}"/>')
    title = f"Attacks with a {RIGHT} found (up) by share of good ones challenged (across)"
    return figure(title, base + 28, parts, _key(models, line=True))


def _dots(title: str, models: Mapping[str, Judged], part: str, rate: str) -> str:
    """One row per group, one dot per model, with its interval."""
    groups: list[tuple[Recall, ...]] = list(zip(*(getattr(model, part) for model in models.values()), strict=True))
    names = [f"{group[0].name} ({group[0].total:,})" for group in groups]
    left, top, row = room(names), 20, 14
    step, width = row * len(models) + 14, WIDTH - left - 70
    base = top + len(groups) * step
    parts = []
    for tick in (0, 0.5, 1):
        x = left + width * tick
        parts.append(f'<path class="a" d="M{x:.1f} {top}V{base}"/>')
        parts += [text(x, y, f"{tick * 100:.0f} %", "middle", "n") for y in (top - 6, base + 16)]
    for number, (name, group) in enumerate(zip(names, groups, strict=True)):
        above = top + number * step
        parts.append(f'<path class="a" d="M0 {above}H{WIDTH}"/>')
        parts.append(text(left - 10, above + step / 2 + 4, name, "end"))
        for at, each in enumerate(group):
            estimate, y = each.at[rate], above + row * (at + 1)
            if estimate.value is None or estimate.low is None or estimate.high is None:
                continue
            low, middle, high = (left + width * value for value in (estimate.low, estimate.value, estimate.high))
            parts.append(f'<path class="i" d="M{low:.1f} {y}H{high:.1f}"/>')
            parts.append(mark(at, middle, y, f"{NAMES[list(models)[at]]}: {share(estimate)}"))
            parts.append(text(WIDTH - 4, y + 4, f"{estimate.value * 100:.1f} %", "end", "n"))
    return figure(title, base + 24, parts, _key(models, line=False))


def _bands(models: Mapping[str, Judged]) -> str:
    (_, *head), rows = tables.bands(models)
    return "".join(
        table(f"A band that begins at a score: {journey}", head, [cells for _, *cells in group])
        for journey, group in groupby(rows, key=itemgetter(0))
    )


def _calibration(evaluation: Evaluation) -> str:
    """Predicted probability and observed share of each bin, both on a logarithmic axis."""
    models = evaluation.models
    calibrated = [(at, model.reliability) for at, model in enumerate(models.values()) if model.reliability]
    left, width, base, tall, low = 60, 320, 250, 230, 1e-4

    def place(value: float) -> float:
        return 1 - math.log10(min(max(value, low), 1.0)) / math.log10(low)

    def at_point(point: Point) -> tuple[float, float]:
        return left + width * place(point.said), base - tall * place(point.found)

    parts = [f'<path class="e" d="M{left} {base}L{left + width} {base - tall}"/>']
    for tick in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        parts.append(text(left + width * place(tick), base + 18, f"{tick:g}", "middle", "n"))
        parts.append(text(left - 6, base - tall * place(tick) + 2, f"{tick:g}", "end", "n"))
    for number, reliability in calibrated:
        for point in reliability.points:
            label = f"predicted {point.said:.4g}, found {point.found:.4g} of {point.rows:,}"
            parts.append(mark(number, *at_point(point), label))
    key = [sample for sample, model in zip(_key(models, line=False), models.values(), strict=True) if model.reliability]
    picture = figure("Probability predicted (across) and share of attacks found (up)", base + 28, parts, key)
    return picture + table(f"Probabilities{tables.where(evaluation.data)}", *tables.reliability(models))


def _contributions(importances: Sequence[Importance]) -> str:
    shown = importances[:_TOP]
    top = max((max(each.good, each.fraud) for each in shown), default=1.0)
    left = room(each.feature for each in shown)
    scale = (WIDTH - left - 60) / top
    parts = []
    for row, each in enumerate(shown):
        y = row * 34 + 4
        parts.append(text(left - 8, y + 16, each.feature, "end"))
        for offset, kind, value in ((0, "g", each.good), (13, "f", each.fraud)):
            long = value * scale
            parts.append(f'<rect class="{kind}" x="{left}" y="{y + offset}" width="{long:.1f}" height="10"/>')
            parts.append(text(left + long + 5, y + offset + 9, f"{value:.2f}", "start", "n"))
    title = "What moves the candidate's score: mean absolute contribution, log-odds"
    return figure(title, len(shown) * 34 + 8, parts, bars("good", "fraud"))


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
