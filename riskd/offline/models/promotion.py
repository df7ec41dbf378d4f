"""The gate of `riskd model promote`: where a candidate must not be worse than the champion."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from math import nan
from typing import Final

from msgspec import Struct

from riskd.core.features import NAMES
from riskd.core.forest import Forest
from riskd.core.model import ForestDocument, Split
from riskd.core.score import Scorer
from riskd.offline.evaluation.document import (
    CANDIDATE,
    CHAMPION,
    Difference,
    Estimate,
    Evaluation,
    Judged,
    Part,
    Recall,
    StepUp,
)
from riskd.offline.evaluation.table import late, trained_on
from riskd.wording import quantity

MISCALIBRATED: Final = 0.01
"""An expected calibration error up to this is always accepted."""
SLOWER: Final = 1.25
"""A score may always take up to this many times as long as the champion's."""
TREES, LEAVES = 100, 32
"""Size of a reference forest: a score may always take as long as one of its scores."""
VISIBLE: Final = 0.02
"""A difference of shares of at least this size is pointed out even if it may be chance."""
_ROUNDS: Final = 15
_VECTORS: Final = 200


class Check(Struct, frozen=True):
    """One check of the gate, with its figures in words."""

    name: str
    passed: bool
    said: str


def judged(evaluation: Evaluation | None, candidate: str, champion: str, rate: str) -> Iterator[Check]:
    """The checks that an evaluation of version `candidate` beside `champion` gives, at one of `document.RATES`.

    Recalls are compared at this rate, and honest segments where both models find as many attacks. A recall or a segment
    is worse if the whole 95 % interval of the paired difference is on the wrong side of zero.
    """
    if evaluation is None:
        yield Check("evaluation", False, "is missing: `riskd evaluate --keep` writes it into the bundle")
        return
    mismatch = _mismatch(evaluation, candidate, champion)
    data = evaluation.data
    rows, subjects = quantity(data.rows, "row"), quantity(data.subjects, "subject")
    figures = f"{rows} of {subjects}, {quantity(data.fraud, 'fraud')}, labels from {data.labels}.{late(data)}"
    yield Check("evaluation", not mismatch, mismatch or figures)
    if mismatch:
        return
    old, new = evaluation.models[CHAMPION], evaluation.models[CANDIDATE]
    yield _unseen(evaluation)
    paired = [each for each in evaluation.differences if each.other == CHAMPION and each.rate == rate]
    if not paired:
        yield Check("recall", False, f"the evaluation compares nothing at {rate}")
    yield from (_compared(each, old, new) for each in paired)
    yield _calibrated(old, new)


def _unseen(evaluation: Evaluation) -> Check:
    """The candidate must not have been trained on judged rows. If its bundle does not say, that is said; a champion
    that was trained on some only looks better than it is."""
    both = {name: evaluation.models[name] for name in (CANDIDATE, CHAMPION)}
    said = trained_on(both).strip() or "neither model was trained on any of them"
    seen = evaluation.models[CANDIDATE].seen
    return Check("new rows", not seen, said + (" Evaluate on others." if seen else ""))


def _mismatch(evaluation: Evaluation, candidate: str, champion: str) -> str:
    """Why the evaluation is not one of these two models, or ''."""
    for name, version in ((CANDIDATE, candidate), (CHAMPION, champion)):
        model = evaluation.models.get(name)
        if model is None:
            return f"has no {name}"
        if model.version != version:
            return f"is of {name} {model.version}, and not {version}: evaluate again, with this {name}"
    return ""


def _compared(each: Difference, old: Judged, new: Judged) -> Check:
    """Recall must not be significantly lower, nor the share of honest people who are stepped up significantly higher
    where both models find as many attacks."""
    honest = each.part == "equal_recall"
    worse = 1.0 if honest else -1.0
    name = f"step-ups segment {each.name}" if honest else f"recall {each.part} {each.name}"
    figure = each.difference
    if figure.value is None or figure.low is None or figure.high is None:
        return Check(name, True, "no rows")
    lost = figure.high < 0 if worse < 0 else figure.low > 0
    moved = f"{_points(figure.value)} ({_points(figure.low)} to {_points(figure.high)})"
    unsure = not lost and figure.value * worse >= VISIBLE
    at_rate = f"at {each.rate}"
    where = f"where both find {_percent(old.right_credential.at[each.rate])}" if honest else at_rate
    figures = f"{_shares(old, new, each.part, each)} {where}, {moved} of {figure.total:,}"
    figures += f"; {_shares(old, new, 'segment', each)} {at_rate}" if honest else ""
    return Check(name, not lost, figures + (": may be due to chance; more rows would show" if unsure else ""))


def _shares(old: Judged, new: Judged, part: Part, each: Difference) -> str:
    """The figures of both models of the group that a difference is about."""
    return " -> ".join(_percent(_estimate(judged, part, each)) for judged in (old, new))


def _estimate(judged: Judged, part: Part, each: Difference) -> Estimate | None:
    parts: dict[Part, Sequence[Recall | StepUp]] = {
        "overall": (judged.overall, judged.right_credential),
        "class": judged.classes,
        "depth": judged.depths,
        "left_out": judged.left_out,
        "segment": judged.segments,
        "equal_recall": judged.equal_recall,
    }
    return next((one.at[each.rate] for one in parts[part] if one.name == each.name), None)


def _percent(estimate: Estimate | None) -> str:
    return "-" if estimate is None or estimate.value is None else f"{estimate.value * 100:.1f} %"


def _points(value: float) -> str:
    return f"{value * 100:+.1f}"


def _calibrated(old: Judged, new: Judged) -> Check:
    if new.reliability is None:
        return Check("calibration", False, "the evaluation has no calibration figures")
    ece, brier = new.reliability.ece, new.reliability.brier
    before = old.reliability.ece if old.reliability else MISCALIBRATED
    limit = max(before, MISCALIBRATED)
    figures = f"expected error {before:.4f} -> {ece:.4f}, at most {limit:.4f}; Brier {brier:.5f}"
    return Check("calibration", ece <= limit, figures)


def quick(candidate: Scorer, champion: Scorer) -> Check:
    """A score must take at most 1.25 times as long as the champion's, or as long as with 100 trees of 32 leaves.

    The three are timed in turns, so that other load affects each equally. The fastest round counts, because other load
    can only slow a round down.
    """
    vectors = drawn(candidate, champion)
    largest = yardstick()
    new, old, limit = clocked((candidate, champion, largest), vectors)
    allowed = max(SLOWER * old, limit)
    figures = f"{new * 1e6:.1f} us a score, {new / old:.2f} times the champion's; at most {allowed / old:.2f} times"
    return Check("latency", new <= allowed, figures)


def clocked(scorers: Sequence[Scorer], vectors: Sequence[Sequence[float]]) -> list[float]:
    """Seconds per score for each scorer, in its fastest round; the scorers take turns."""
    taken: list[list[float]] = [[] for _ in scorers]
    for _ in range(_ROUNDS):
        for scorer, times in zip(scorers, taken, strict=True):
            begun = time.perf_counter()
            for vector in vectors:
                scorer.score(vector)
            times.append((time.perf_counter() - begun) / len(vectors))
    return [min(times) for times in taken]


def drawn(*scorers: Scorer) -> list[list[float]]:
    """A fixed set of vectors in which about half of the features differ from their usual value."""
    dice = random.Random(0)  # noqa: S311 - no secret
    usual = scorers[0].references
    return [
        [value if dice.random() < 0.5 else dice.choice((0.0, 0.5, 1.0, 5.0, 40.0, nan)) for value in usual]
        for _ in range(_VECTORS)
    ]


def yardstick() -> Forest:
    """A forest of `TREES` balanced trees with `LEAVES` leaves, over all features."""
    dice = random.Random(1)  # noqa: S311 - no secret
    trees = tuple(_balanced(dice) for _ in range(TREES))
    return Forest(ForestDocument(baseline=0.0, references=dict.fromkeys(NAMES, 0.0), trees=trees), NAMES)


def _balanced(dice: random.Random) -> tuple[Split | float, ...]:
    """Level by level: the children of node n are 2n + 1 and 2n + 2."""
    splits = [
        Split(
            feature=dice.choice(NAMES),
            threshold=dice.uniform(0, 10),
            missing_left=dice.random() < 0.5,
            left=2 * at + 1,
            right=2 * at + 2,
        )
        for at in range(LEAVES - 1)
    ]
    return (*splits, *(dice.uniform(-0.1, 0.1) for _ in range(LEAVES)))
