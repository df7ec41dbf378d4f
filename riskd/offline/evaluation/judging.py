"""Compares scores on the same rows: recall at a false-positive rate, by class and history, and step-ups by segment, at
this rate and at the champion's recall.

Every figure is computed once over all rows, and again over each bootstrap sample. A sample draws subjects with all
their rows. Attacks of one campaign resemble each other, too, so they are drawn again by day, and the wider interval
counts. All models use the same samples, so that differences between two models have intervals of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from riskd.core.forest import Forest
from riskd.core.history import DAY
from riskd.offline.evaluation.document import (
    CHAMPION,
    RATES,
    RIGHT,
    Difference,
    Estimate,
    Judged,
    OperatingPoint,
    Part,
    Point,
    Recall,
    Reliability,
    StepUp,
)
from riskd.offline.evaluation.operating import Floats, Ranked, cost, shares
from riskd.offline.intervals import share
from riskd.offline.rows import FRAUD, GOOD, HONEST, Rows, scores_of

DEPTHS: Final = {"none": 0.0, "1 to 4": 5.0, "5 to 19": 20.0, "20 and more": np.inf}
"""Names of history depths, in decayed sign-ins, each with its upper bound."""
RECALLS: Final = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Shares of attacks found for which the cost to honest people is reported."""
SCORES: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Scores at which a policy's band may begin, for which the effect is reported."""
CURVE: Final = tuple(float(rate) for rate in np.round(np.geomspace(1e-4, 1.0, 41), 6))
BINS: Final = 15
EVERY: Final = ""
"""The journey of an operating point over all journeys."""
ANY: Final = "fraud"
"""The name for attacks of unknown class."""
Often = NDArray[np.uint8]
"""How often each row was drawn, in one byte: 200 samples of a million rows are held at once."""
Figures = NDArray[np.float64]
"""A figure over all rows, then over each sample; shape (2, 1 + samples), with frauds by subject and by day."""
_LEVEL: Final = (0.025, 0.975)


class Scored(Struct, frozen=True, kw_only=True):
    """A model's scores of the rows: higher is riskier. `probabilities`: None if it gives none.

    `left_out`: for a class of attack, the scores by the same recipe trained without it.
    """

    version: str = ""
    scores: Floats
    probabilities: Floats | None = None
    left_out: dict[str, Floats] = {}


def scored_by(forest: Forest, rows: Rows, version: str = "") -> Scored:
    """The scores of a served forest."""
    columns = scores_of(forest, rows.vectors)
    return Scored(version=version, scores=columns[:, 0], probabilities=columns[:, 1])


class _Key(Struct, frozen=True):
    part: Part
    name: str
    rate: str


class _Draw(Struct, frozen=True):
    """How often each good row and each fraud was drawn: good rows by subject, frauds by subject and by day."""

    good: Often
    frauds: tuple[Often, Often]


def judge(
    rows: Rows,
    scored: Mapping[str, Scored],
    *,
    seed: int,
    resamples: int,
    candidate: str,
    prior: float | None = None,
) -> tuple[dict[str, Judged], tuple[Difference, ...]]:
    """The figures of each model, and the differences of `candidate` from each other model.

    Ignored are rows whose label is unknown, and good rows with a wrong credential. There must be at least one good and
    one fraudulent row besides. `prior`: the share of fraud at which probabilities are judged; None: as in the rows.
    """
    frame = _Frame(rows)
    draws = [frame.everything(), *(frame.draw(seed, number) for number in range(resamples))]
    figures = {
        name: {key: values for part in _parts(frame, one, draws) for key, values in part.items()}
        for name, one in scored.items()
    }
    if CHAMPION in figures:
        recalls = {rate: figures[CHAMPION][_Key("overall", RIGHT, rate)] for rate in RATES}
        for name, one in scored.items():
            figures[name] |= frame.at_recall(one.scores, draws, recalls)
    models = {name: _judged(frame, one, figures[name], draws, prior) for name, one in scored.items()}
    differences = tuple(
        Difference(
            other=other,
            part=key.part,
            name=key.name,
            rate=key.rate,
            difference=_estimate(frame.total(key), values - _counterpart(found, key), least=-1.0),
        )
        for other, found in figures.items()
        if other != candidate
        for key, values in figures[candidate].items()
        if key.part == "left_out" or (key in found and key.part != "segment")
    )
    return models, differences


def _counterpart(figures: Mapping[_Key, Figures], key: _Key) -> Figures:
    """The same figure of another model. For a class left out of training, a model that was not trained without it is
    represented by its usual recall of that class."""
    return figures[key] if key in figures else figures[_Key("class", key.name, key.rate)]


def _parts(frame: _Frame, one: Scored, draws: list[_Draw]) -> list[dict[_Key, Figures]]:
    parts = [frame.figures(one.scores, draws, frame.keys)]
    for attack, scores in one.left_out.items():
        if attack in frame.attacks:
            parts.append(frame.figures(scores, draws, [_Key("left_out", attack, rate) for rate in RATES]))
    return parts


class _Frame:
    """The evaluated rows, divided into groups once."""

    def __init__(self, rows: Rows) -> None:
        right = ~rows.wrong_credential
        chosen, fraud = (rows.labels == GOOD) & right, rows.labels == FRAUD
        self.good, self.fraud = np.flatnonzero(chosen), np.flatnonzero(fraud)
        self.right: NDArray[np.bool_] = right[self.fraud]
        self._good_to_fraud = np.count_nonzero(rows.labels == GOOD) / len(self.fraud)
        _, subjects = np.unique(rows.subjects, return_inverse=True)
        self.subjects: NDArray[np.intp] = subjects
        _, self._days = np.unique(rows.times[self.fraud] // DAY, return_inverse=True)
        attacks = np.where(rows.attacks[self.fraud] == HONEST, ANY, rows.attacks[self.fraud])
        depths = depth_of(rows)[self.fraud]
        self.attacks = tuple(map(str, np.unique(attacks)))
        segments = [set(each.split()) for each in rows.segments[self.good]]
        names = sorted({name for each in segments for name in each})
        everyone = [("everybody", np.ones(len(self.good), dtype=np.bool_))]
        self._groups: dict[Part, dict[str, Floats]] = {
            "overall": {"all": np.ones(len(self.fraud)), RIGHT: self.right.astype(np.float64)},
            "class": {name: (attacks == name).astype(np.float64) for name in self.attacks},
            "depth": {name: (depths == name).astype(np.float64) for name in DEPTHS},
            "segment": {
                name: mask.astype(np.float64)
                for name, mask in [*everyone, *((name, np.array([name in s for s in segments])) for name in names)]
            },
        }
        self._groups |= {"left_out": self._groups["class"], "equal_recall": self._groups["segment"]}
        self._journeys = (EVERY, *map(str, np.unique(rows.journeys[chosen | (fraud & right)])))
        self._good_on, self._fraud_on = (
            np.array([(rows.journeys[side] == name) | (name == EVERY) for name in self._journeys], dtype=np.float64)
            for side in (self.good, self.fraud)
        )
        self._fraud_on *= self.right
        self.keys = [
            _Key(part, name, rate)
            for part, groups in self._groups.items()
            if part not in ("left_out", "equal_recall")
            for name in groups
            for rate in RATES
        ]

    def reliability(self, probabilities: Floats, prior: float | None) -> Reliability:
        """How well probabilities match, in rows without a wrong credential, if fraud is `prior` of all rows."""
        good, fraud = probabilities[self.good], probabilities[self.fraud][self.right]
        if prior is not None:
            weight = prior / (1 - prior) * self._good_to_fraud * len(fraud)
            prior = weight / (weight + len(good))
        return reliability(good, fraud, prior)

    def total(self, key: _Key) -> int:
        """The number of rows in a figure's denominator."""
        return int(self._groups[key.part][key.name].sum())

    def everything(self) -> _Draw:
        """Each row once."""
        frauds = np.ones(len(self.fraud), dtype=np.uint8)
        return _Draw(np.ones(len(self.good), dtype=np.uint8), (frauds, frauds))

    def draw(self, seed: int, number: int) -> _Draw:
        """How often each row is in a bootstrap sample: as many subjects (or days) as there are, drawn with replacement,
        with all their rows."""
        random = np.random.default_rng((seed, number))
        by_subject, by_day = _often(random, self.subjects), _often(random, self._days)
        return _Draw(by_subject[self.good], (by_subject[self.fraud], by_day))

    def figures(self, scores: Floats, draws: list[_Draw], keys: list[_Key]) -> dict[_Key, Figures]:
        """Each figure over each sample."""
        good, fraud = scores[self.good], scores[self.fraud]
        ranked = Ranked(good)
        estimates = {key: np.full((2, len(draws)), np.nan) for key in keys}
        for rate, wanted in RATES.items():
            of_rate = [key for key in keys if key.rate == rate]
            honest = [key for key in of_rate if key.part == "segment"]
            attacks = [key for key in of_rate if key.part != "segment"]
            honest_groups, attack_groups = (
                np.array([self._groups[key.part][key.name] for key in chosen]) for chosen in (honest, attacks)
            )
            for number, draw in enumerate(draws):
                threshold = ranked.threshold(wanted, draw.good.astype(np.float64))
                if honest:
                    chances = threshold.challenged(good)
                    found = shares(chances, draw.good.astype(np.float64), honest_groups)
                    for key, value in zip(honest, found, strict=True):
                        estimates[key][:, number] = value
                chances = threshold.challenged(fraud)
                for way, often in enumerate(draw.frauds):
                    found = shares(chances, often.astype(np.float64), attack_groups)
                    for key, value in zip(attacks, found, strict=True):
                        estimates[key][way, number] = value
        return estimates

    def at_recall(self, scores: Floats, draws: list[_Draw], recalls: Mapping[str, Figures]) -> dict[_Key, Figures]:
        """The share of each segment above the highest threshold that finds as many attacks with a right credential, for
        each rate of `recalls`. The threshold is that of the sample, as is the recall."""
        good, ranked = scores[self.good], Ranked(scores[self.fraud])
        groups = np.array([*self._groups["segment"].values()])
        estimates = {
            _Key("equal_recall", name, rate): np.full((2, len(draws)), np.nan)
            for rate in recalls
            for name in self._groups["segment"]
        }
        for rate, recall in recalls.items():
            of_rate = [values for key, values in estimates.items() if key.rate == rate]
            for (way, number), wanted in np.ndenumerate(recall):
                if np.isnan(wanted):
                    continue
                draw = draws[number]
                threshold = ranked.threshold(float(wanted), (draw.frauds[way] * self.right).astype(np.float64))
                found = shares(threshold.challenged(good), draw.good.astype(np.float64), groups)
                for values, value in zip(of_rate, found, strict=True):
                    values[way, number] = value
        return estimates

    def operating(self, probabilities: Floats, draws: list[_Draw]) -> tuple[OperatingPoint, ...]:
        """The operating points of all journeys, then of each, at each of `SCORES`."""
        good, everyone = _beyond(probabilities[self.good], self._good_on, (draw.good for draw in draws))
        both = [
            _beyond(probabilities[self.fraud], self._fraud_on, (draw.frauds[way] for draw in draws)) for way in (0, 1)
        ]
        fraud, attacks = (np.stack(each) for each in zip(*both, strict=True))

        def estimate(part: Floats, whole: Floats, place: tuple[int, int]) -> Estimate:
            part, whole = (np.broadcast_to(each, fraud.shape)[..., place[0], place[1]] for each in (part, whole))
            with np.errstate(invalid="ignore"):
                return _estimate(int(whole[0, 0]), part / whole)

        return tuple(
            OperatingPoint(
                journey=journey,
                score=score,
                friction=estimate(good, everyone, (row, column)),
                recall=estimate(fraud, attacks, (row, column)),
                precision=estimate(fraud, good + fraud, (row, column)),
            )
            for row, journey in enumerate(self._journeys)
            for column, score in enumerate(SCORES)
        )


def _often(random: np.random.Generator, clusters: NDArray[np.intp]) -> Often:
    """How often each row is drawn with its cluster, if as many clusters as there are are drawn with replacement."""
    count = int(clusters.max()) + 1
    drawn = np.bincount(random.integers(count, size=count), minlength=count)
    often: Often = np.minimum(drawn, 255).astype(np.uint8)[clusters]
    return often


def _beyond(probabilities: Floats, groups: Floats, often: Iterable[Often]) -> tuple[Floats, Floats]:
    """How many rows of each group have at least each of `SCORES`, and how many there are, over each sample; shape
    (samples, groups, scores)."""
    beyond = (probabilities[:, None] >= np.array(SCORES)).astype(np.float64)
    sums = [(each @ beyond, each.sum(axis=1, keepdims=True)) for each in (groups * weights for weights in often)]
    hits, totals = (np.array(each) for each in zip(*sums, strict=True))
    return hits, totals


def depth_of(rows: Rows) -> NDArray[np.str_]:
    """The name in `DEPTHS` for each row's history."""
    column = rows.vectors[:, rows.names.index("history_depth")]
    depth = np.nan_to_num(column, nan=0.0)
    names = np.array(list(DEPTHS))
    edges = [1e-9, *list(DEPTHS.values())[1:-1]]
    named: NDArray[np.str_] = names[np.searchsorted(edges, depth, side="right")]
    return named


def _estimate(total: int, values: Figures, least: float = 0.0) -> Estimate:
    """The figure over all rows, which is the first value, and quantiles of the others, those of the bootstraps.

    A bootstrap that drew nobody of the group says nothing, so it counts as the least possible value for the lower bound
    and as the largest, 1, for the upper one. Otherwise the attacks on one subject would give an interval of no width.
    Of the two ways to draw, the wider interval counts. A share of 0 or 1 in every sample has the exact interval of so
    many independent rows (Clopper and Pearson 1934).
    """
    value = float(values[0, 0])
    if not total or np.isnan(value):
        return Estimate(total, None, None, None)
    drawn = values[:, 1:] if values.shape[1] > 1 else values
    lows, highs = (
        np.quantile(np.nan_to_num(drawn, nan=end), at, axis=1) for at, end in zip(_LEVEL, (least, 1.0), strict=True)
    )
    wider = int(np.argmax(highs - lows))
    low, high = float(lows[wider]), float(highs[wider])
    if low == high == value in (0.0, 1.0) and least == 0.0:
        exact = share(round(value * total), total)
        low, high = exact.low, exact.high
    return Estimate(total, *(float(np.round(each, 6)) for each in (value, low, high)))


def _judged(
    frame: _Frame, one: Scored, figures: Mapping[_Key, Figures], draws: list[_Draw], prior: float | None
) -> Judged:
    def estimates(part: Part) -> dict[str, dict[str, Estimate]]:
        by_name: dict[str, dict[str, Estimate]] = {}
        for key, values in figures.items():
            if key.part == part:
                by_name.setdefault(key.name, {})[key.rate] = _estimate(frame.total(key), values)
        return by_name

    good, fraud = one.scores[frame.good], one.scores[frame.fraud][frame.right]
    ranked, once = Ranked(good), np.ones(len(good))
    probabilities = one.probabilities if len(fraud) else None
    overall = estimates("overall")
    return Judged(
        version=one.version,
        thresholds={name: ranked.threshold(rate, once).score for name, rate in RATES.items()},
        overall=Recall("all", overall["all"]),
        right_credential=Recall(RIGHT, overall[RIGHT]),
        classes=tuple(Recall(name, at) for name, at in estimates("class").items()),
        depths=tuple(Recall(name, at) for name, at in estimates("depth").items()),
        left_out=tuple(Recall(name, at) for name, at in estimates("left_out").items()),
        segments=tuple(StepUp(name, at) for name, at in estimates("segment").items()),
        equal_recall=tuple(StepUp(name, at) for name, at in estimates("equal_recall").items()),
        reauthentications=tuple(cost(good, fraud, frame.subjects[frame.good], recall) for recall in RECALLS),
        reliability=None if probabilities is None else frame.reliability(probabilities, prior),
        operating=() if probabilities is None else frame.operating(probabilities, draws),
        curve=tuple(
            (rate, round(float(ranked.threshold(rate, once).challenged(fraud).mean()), 6))
            for rate in CURVE
            if len(fraud)
        ),
    )


def reliability(good: Floats, fraud: Floats, prior: float | None = None) -> Reliability:
    """How well probabilities match observed shares, in bins of equally many rows.

    Rows with the same probability may be in two bins; each counts as the share of attacks among all of them. With a
    prior, frauds are weighed so that they are this share of all rows.
    """
    predicted = np.concatenate([good, fraud])
    observed = np.concatenate([np.zeros(len(good)), np.ones(len(fraud))])
    odds = 1.0 if prior is None else prior / (1 - prior) * len(good) / len(fraud)
    weights = np.where(observed == 1.0, odds, 1.0)
    _, tie = np.unique(predicted, return_inverse=True)
    alike = (np.bincount(tie, observed * weights) / np.bincount(tie, weights))[tie]
    order = np.argsort(predicted, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    points = [
        Point(len(part), *(float(np.average(each[part], weights=weights[part])) for each in (predicted, alike)))
        for part in parts
    ]
    misses = [
        float(weights[part].sum()) * abs(point.said - point.found) for part, point in zip(parts, points, strict=True)
    ]
    base = float(np.average(observed, weights=weights))
    return Reliability(
        ece=sum(misses) / float(weights.sum()),
        brier=float(np.average((predicted - observed) ** 2, weights=weights)),
        reference=base * (1 - base),
        points=tuple(points),
    )
