"""An evaluation as Markdown, for a terminal, a review or a model card."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from riskd.offline.evaluation.document import (
    CANDIDATE,
    CHAMPION,
    LARGE_BOOSTED,
    RATES,
    RIGHT,
    Data,
    Estimate,
    Evaluation,
    Judged,
    Recall,
)
from riskd.wording import date, quantity

NAMES: Final = {
    "candidate": "candidate",
    "champion": "champion",
    "freeman": "Freeman",
    "rules": "rules of thumb",
    "isolation_forest": "isolation forest",
    "large_boosted": "large boosted trees",
}
LATE: Final = 0.05
"""From this share of unreported fraud on, reports say what it does."""
COSTS: Final = "challenges of an honest subject, mean (median), and share of all good attempts"


def markdown(evaluation: Evaluation) -> str:
    """The whole evaluation."""
    data, models = evaluation.data, evaluation.models
    lines = [
        f"# {models[CANDIDATE].version}, {evaluation.domain}",
        "",
        (
            f"{quantity(data.rows, 'assessment')} of {quantity(data.subjects, 'subject')},"
            f" {date(data.first)} to {date(data.last)}:"
            f" {counts(data)}, {data.unknown:,} unlabelled and not judged."
            f" Intervals: 95 %, {evaluation.resamples} bootstraps of subjects, and of days of attacks."
            f"{notes(evaluation)}"
        ),
        "",
        *_section("Recall by class of attack", recalls(models)),
        *_section("Recall by depth of history", recalls(models, "depths")),
        *_section("With the class left out of training", table(*left_out(evaluation))),
        *_section("Honest attempts above the threshold, by segment", table(*segments(models))),
        *_section(
            "Honest attempts challenged where all models find what the champion does",
            table(*segments(models, "equal_recall")),
        ),
        *_section(f"What finding more costs: {COSTS}", table(*costs(models))),
        *_section(f"Probabilities{where(data)}", table(*reliability(models))),
        *_section("What a band that begins at a score would do", table(*bands(models))),
        *_section("Goals at 1 % false positives", table(*goals(evaluation))),
    ]
    return "\n".join(lines)


def counts(data: Data) -> str:
    """How many rows are good and fraudulent, and which of these no figure counts."""
    wrong = f" ({data.wrong_credential:,} with a wrong credential, not judged)" if data.wrong_credential else ""
    return f"{data.good:,} good{wrong}, {data.fraud:,} fraud by {data.labels}"


def notes(evaluation: Evaluation) -> str:
    """Sentences, each after a space, on what makes the figures better or worse than they would be on other rows."""
    stopped = (
        " Attackers who were stopped are mostly unlabelled: recall is that of what the model of the time let through, "
        "and favours a model that differs from it."
    )
    by_outcomes = evaluation.data.labels == "outcomes"
    return late(evaluation.data) + trained_on(evaluation.models) + (stopped if by_outcomes else "")


def late(data: Data) -> str:
    """A sentence on fraud that is not reported yet, after a space; '' if it is little."""
    if data.unreported < LATE:
        return ""
    return (
        f" About {data.unreported:.0%} of the fraud is probably not reported yet: it counts as good, and recall is "
        "better than it looks, above all at 0.1 %. Judge older attempts: --until leaves out the latest."
    )


def where(data: Data) -> str:
    """Where probabilities were judged; '' for the rows as they are."""
    return "" if data.prior is None else f", where {data.prior * 100:.3g} % of attempts are attacks"


def trained_on(models: Mapping[str, Judged]) -> str:
    """Sentences, each after a space, on models that were trained on some of the judged rows, and on bundles of which
    this is not known; '' if there are none."""
    some = [f"{NAMES[name]} ({model.seen:.2%})" for name, model in models.items() if model.seen]
    unknown = [NAMES[name] for name in (CANDIDATE, CHAMPION) if name in models and models[name].seen is None]
    told = f" Trained on some of these rows, and so better here than on others: {', '.join(some)}." if some else ""
    return told + (f" Unknown whether trained on these rows: {', '.join(unknown)}." if unknown else "")


def figures(evaluation: Evaluation, rate: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table that fits a terminal: recall at one rate, in percent, without intervals."""
    groups = [("", group) for group in _groups(evaluation.models, "classes")]
    groups += [("depth ", group) for group in _groups(evaluation.models, "depths")[2:]]
    rows = []
    for kind, group in groups:
        values = [each.at[rate].value for each in group]
        percentages = ["-" if value is None else f"{value * 100:.1f}" for value in values]
        rows.append([kind + group[0].name, f"{group[0].total:,}", *percentages])
    return [f"% found at {rate}", "rows", *(NAMES[name] for name in evaluation.models)], rows


def recalls(models: Mapping[str, Judged], part: str = "classes", names: Mapping[str, str] = NAMES) -> str:
    """Recall of each group of attacks, by each model and at each rate."""
    head = ["attacks", "rows", *(f"{names[name]} {rate}" for rate in RATES for name in models)]
    return table(
        head,
        (
            [group[0].name, f"{group[0].total:,}", *(share(each.at[rate]) for rate in RATES for each in group)]
            for group in _groups(models, part)
        ),
    )


def _groups(models: Mapping[str, Judged], part: str) -> list[tuple[Recall, ...]]:
    """All attacks, those with a right credential, and each group of a part: its recall by every model."""
    columns = ((model.overall, model.right_credential, *getattr(model, part)) for model in models.values())
    return list(zip(*columns, strict=True))


def table(head: Sequence[str], rows: Iterable[list[str]]) -> str:
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


Table = tuple[list[str], list[list[str]]]
"""The head of a table, and its rows."""


def left_out(evaluation: Evaluation) -> Table:
    """Recall at 1 % false positives of each class of attack that training did not have."""
    candidate = evaluation.models[CANDIDATE]
    others = [name for name in evaluation.models if name != CANDIDATE]
    head = ["class left out", "rows", "candidate", *(NAMES[name] for name in others), "trained with it"]

    def of(model: Judged, attack: str) -> str:
        return next(share(each.at["1%"]) for each in model.classes if each.name == attack)

    rows = [
        [
            each.name,
            f"{each.total:,}",
            share(each.at["1%"]),
            *(of(evaluation.models[name], each.name) for name in (*others, CANDIDATE)),
        ]
        for each in candidate.left_out
    ]
    return head, rows


def segments(models: Mapping[str, Judged], part: str = "segments") -> Table:
    """The share of each honest segment above the threshold of all, or with `equal_recall` above that at which the model
    finds as many attacks as the champion."""
    shown = {name: models[name] for name in (CANDIDATE, CHAMPION, LARGE_BOOSTED) if name in models}
    head = ["segment", "rows", *(f"{NAMES[name]} {rate}" for rate in RATES for name in shown)]
    rows = [
        [
            each[0].name,
            f"{each[0].at['1%'].total:,}",
            *(share(one.at[rate]) for rate in RATES for one in each),
        ]
        for each in zip(*(getattr(model, part) for model in shown.values()), strict=True)
    ]
    return head, rows


def costs(models: Mapping[str, Judged]) -> Table:
    """Challenges of honest people for each share of the attacks with a right credential that is found."""
    head = [f"{RIGHT}: found", *(NAMES[name] for name in models)]
    rows = [
        [
            f"{each[0].recall:.0%}",
            *(f"{cost.mean:.2f} ({cost.median:.0f}), {cost.share:.1%}" for cost in each),
        ]
        for each in zip(*(model.reauthentications for model in models.values()), strict=True)
    ]
    return head, rows


def bands(models: Mapping[str, Judged]) -> Table:
    """The operating points of each model with probabilities, by journey and score."""
    scored = {name: model.operating for name, model in models.items() if model.operating}
    figures = ("friction", "recall", "precision")
    head = ["journey", "score from", *(f"{NAMES[name]} {figure}" for name in scored for figure in figures)]
    rows = [
        [
            f"{each[0].journey or 'all journeys'}, {each[0].friction.total:,} good, {each[0].recall.total:,} fraud",
            f"{each[0].score:g}",
            *(share(getattr(point, figure)) for point in each for figure in figures),
        ]
        for each in zip(*scored.values(), strict=True)
    ]
    return head, rows


def reliability(models: Mapping[str, Judged]) -> Table:
    """Errors of predicted probabilities."""
    rows = [
        [NAMES[name], f"{each.ece:.4f}", f"{each.brier:.5f}", f"{each.reference:.5f}"]
        for name, model in models.items()
        if (each := model.reliability)
    ]
    return ["model", "calibration error", "Brier score", "base rate's Brier score"], rows


def goals(evaluation: Evaluation) -> Table:
    """The goals of the candidate."""
    rows = [
        [
            goal.name,
            goal.attack,
            f"{goal.margin * 100:+.1f}",
            ("yes" if goal.met else "no") + ("" if goal.sure else ", within the interval"),
        ]
        for goal in evaluation.goals
    ]
    return ["at least as good", "class", "margin in points", "reached"], rows
