"""An evaluation as Markdown, for a terminal, a review or a model card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from riskd.offline.charts import date
from riskd.offline.evaluation.document import CANDIDATE, CHAMPION, RATES, Estimate, Evaluation, Judged, Recall
from riskd.wording import quantity

NAMES: Final = {
    "candidate": "candidate",
    "champion": "champion",
    "freeman": "Freeman",
    "rules": "rules of thumb",
    "isolation_forest": "isolation forest",
    "large_boosted": "large boosted trees",
}


def markdown(evaluation: Evaluation) -> str:
    """The whole evaluation."""
    data = evaluation.data
    lines = [
        f"# {evaluation.models[CANDIDATE].version}, {evaluation.domain}",
        "",
        (
            f"{quantity(data.rows, 'assessment')} of {quantity(data.subjects, 'subject')},"
            f" {date(data.first)} to {date(data.last)}:"
            f" {data.good:,} good, {data.fraud:,} fraud by {data.labels}, {data.unknown:,} unlabelled and not judged."
            f" Intervals: 95 %, {evaluation.resamples} bootstraps of the subjects."
        ),
        "",
        *_section("Recall by class of attack", recalls(evaluation.models)),
        *_section("Recall by depth of history", recalls(evaluation.models, "depths")),
        *_section("With the class left out of training", _left_out(evaluation)),
        *_section("Honest attempts above the threshold, by segment", _segments(evaluation)),
        *_section("What finding more costs: challenges of honest people", _costs(evaluation)),
        *_section("Probabilities", _reliability(evaluation)),
        *_section("What a band that begins at a score would do", _operating(evaluation)),
        *_section("Goals at 1 % false positives", _goals(evaluation)),
    ]
    return "\n".join(lines)


def figures(evaluation: Evaluation, rate: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table that fits a terminal: recall at one rate, in percent, without intervals."""
    models = list(evaluation.models.values())
    groups = [("", "classes", number) for number in range(1 + len(models[0].classes))]
    groups += [("depth ", "depths", number) for number in range(1, 1 + len(models[0].depths))]
    rows = []
    for kind, part, number in groups:
        each = [(model.overall, *getattr(model, part))[number] for model in models]
        values = [one.at[rate].value for one in each]
        percentages = ["-" if value is None else f"{value * 100:.1f}" for value in values]
        rows.append([kind + each[0].name, f"{_total(each[0]):,}", *percentages])
    return [f"% found at {rate}", "rows", *(NAMES[name] for name in evaluation.models)], rows


def recalls(models: Mapping[str, Judged], part: str = "classes", names: Mapping[str, str] = NAMES) -> str:
    """Recall of each group of attacks, by each model and at each rate."""
    head = ["attacks", "rows", *(f"{names[name]} {rate}" for rate in RATES for name in models)]
    first = next(iter(models.values()))
    groups: list[Sequence[Recall]] = [
        [(model.overall, *getattr(model, part))[number] for model in models.values()]
        for number in range(1 + len(getattr(first, part)))
    ]
    return table(
        head,
        (
            [group[0].name, f"{_total(group[0]):,}", *(share(each.at[rate]) for rate in RATES for each in group)]
            for group in groups
        ),
    )


def table(head: Sequence[str], rows: Iterator[list[str]]) -> str:
    """A Markdown table with aligned columns; '' without rows."""
    cells = [list(head), *rows]
    if len(cells) == 1:
        return ""
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = "|" + "|".join("-" * (width + 1) + (":" if at else "-") for at, width in enumerate(widths)) + "|"
    return "\n".join([line(cells[0]), rule, *map(line, cells[1:])])


def share(estimate: Estimate) -> str:
    """`28.5 % (26.1 to 31.0)`; `-` if there are no rows."""
    if estimate.value is None:
        return "-"
    if estimate.low is None or estimate.high is None or estimate.low == estimate.high == estimate.value:
        return f"{estimate.value * 100:.1f} %"
    return f"{estimate.value * 100:.1f} % ({estimate.low * 100:.1f} to {estimate.high * 100:.1f})"


def _section(title: str, body: str) -> Iterator[str]:
    if body:
        yield from (f"## {title}", "", body, "")


def _total(each: Recall) -> int:
    return next(iter(each.at.values())).total


def _left_out(evaluation: Evaluation) -> str:
    candidate = evaluation.models[CANDIDATE]
    others = [name for name in evaluation.models if name not in (CANDIDATE, CHAMPION, "large_boosted")]
    head = ["class left out", "rows", "candidate", "champion", *(NAMES[name] for name in others), "trained with it"]

    def row(each: Recall) -> list[str]:
        known = [evaluation.models[name] for name in (CHAMPION, *others) if name in evaluation.models]
        shares = [share(_of(model, each.name).at["1%"]) for model in (*known, candidate)]
        return [each.name, f"{_total(each):,}", share(each.at["1%"]), *shares]

    return table(head, (row(each) for each in candidate.left_out))


def _of(model: Judged, attack: str) -> Recall:
    return next(each for each in model.classes if each.name == attack)


def _segments(evaluation: Evaluation) -> str:
    shown = {
        name: evaluation.models[name] for name in (CANDIDATE, CHAMPION, "large_boosted") if name in evaluation.models
    }
    head = ["segment", "rows", *(f"{NAMES[name]} {rate}" for rate in RATES for name in shown)]

    def rows() -> Iterator[list[str]]:
        for number, first in enumerate(evaluation.models[CANDIDATE].segments):
            each = [model.segments[number] for model in shown.values()]
            total = next(iter(first.at.values())).total
            yield [first.name, f"{total:,}", *(share(one.at[rate]) for rate in RATES for one in each)]

    return table(head, rows())


def _costs(evaluation: Evaluation) -> str:
    head = ["attacks found", *(f"{NAMES[name]}, mean (median) a subject" for name in evaluation.models)]

    def rows() -> Iterator[list[str]]:
        for number, first in enumerate(evaluation.models[CANDIDATE].reauthentications):
            costs = [model.reauthentications[number] for model in evaluation.models.values()]
            yield [f"{first.recall:.0%}", *(f"{each.mean:.2f} ({each.median:.0f}), {each.share:.1%}" for each in costs)]

    return table(head, rows())


def bands(models: Mapping[str, Judged]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Head and rows of a table of operating points, each row with a title of its journey. Models without probabilities
    are left out."""
    scored = {name: model.operating for name, model in models.items() if model.operating}
    head = ["score from", *(f"{NAMES[name]} {what}" for name in scored for what in ("friction", "recall", "precision"))]
    rows = [
        (
            f"{first.journey or 'all journeys'}, {first.friction.total:,} good, {first.recall.total:,} fraud",
            [
                f"{first.score:g}",
                *(share(figure) for each in points for figure in (each.friction, each.recall, each.precision)),
            ],
        )
        for points in zip(*scored.values(), strict=True)
        for first in points[:1]
    ]
    return head, rows


def _operating(evaluation: Evaluation) -> str:
    head, rows = bands(evaluation.models)
    return table(["journey", *head], ([journey, *cells] for journey, cells in rows))


def _reliability(evaluation: Evaluation) -> str:
    rows = (
        [NAMES[name], f"{each.ece:.4f}", f"{each.brier:.5f}", f"{each.reference:.5f}"]
        for name, model in evaluation.models.items()
        if (each := model.reliability)
    )
    return table(["model", "calibration error", "Brier score", "base rate's Brier score"], rows)


def _goals(evaluation: Evaluation) -> str:
    rows = (
        [goal.name, goal.attack, f"{goal.margin * 100:+.1f}", _verdict(met=goal.met, sure=goal.sure)]
        for goal in evaluation.goals
    )
    return table(["at least as good", "class", "margin in points", "reached"], rows)


def _verdict(*, met: bool, sure: bool) -> str:
    return ("yes" if met else "no") + ("" if sure else ", within the interval")
