"""The evaluation document: what `evaluation.json` says of a candidate model, beside others, on the same rows.

It is written by `riskd evaluate`, read by people and by the gate of `riskd model promote`, and kept in the bundle.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

RATES: Final = {"1%": 0.01, "0.1%": 0.001}
"""The false-positive rates at which recall is told, by the name that the document uses."""
CANDIDATE, CHAMPION, FREEMAN, RULES, ISOLATION_FOREST, LARGE_BOOSTED = MODELS = (
    "candidate", "champion", "freeman", "rules", "isolation_forest", "large_boosted"
)  # fmt: skip
"""The models of a document. The first two are bundles, the others baselines made from the same rows."""


class Estimate(Struct, frozen=True):
    """A figure with its 95 % interval: a percentile bootstrap over subjects, whose rows are not independent.

    `total` counts the rows that it is a share of. There is no figure of nothing.
    """

    total: int
    value: float | None
    low: float | None
    high: float | None


class Recall(Struct, frozen=True):
    """Attacks that have something in common, and the share of them that is found at each of `RATES`."""

    name: str
    at: dict[str, Estimate]


class StepUp(Struct, frozen=True):
    """The share of a segment's honest rows that score above the threshold of each of `RATES`, set over all segments."""

    name: str
    at: dict[str, Estimate]


class Reauthentication(Struct, frozen=True, kw_only=True):
    """What finding this share of all attacks costs honest people.

    `median` and `mean` are challenges a subject over the rows judged, `share` is of all honest rows.
    """

    recall: float
    median: float
    mean: float
    share: float


class Point(Struct, frozen=True):
    """Rows of one bin of probability: how many, what was said on average, and the share that were attacks."""

    rows: int
    said: float
    found: float


class Reliability(Struct, frozen=True, kw_only=True):
    """How far probabilities can be taken at their word.

    `ece` is the expected calibration error over the `points`, bins of equally many rows; `brier` the mean squared
    error; `reference` the Brier score of a model that says the base rate of every row.
    """

    ece: float
    brier: float
    reference: float
    points: tuple[Point, ...]


class Judged(Struct, frozen=True, kw_only=True):
    """One model's figures. `version` is that of a bundle, '' for a baseline.

    `thresholds` are the raw scores at which `RATES` are met; a row is challenged above them, and at them by lot, so
    that models with few distinct scores are judged at the same rate. `left_out` has the recall of each class by a
    model that was trained without it; empty where nothing was trained. `reliability` is None where scores are no
    probabilities. `curve` is recall over all attacks at growing false-positive rates.
    """

    version: str
    thresholds: dict[str, float]
    overall: Recall
    classes: tuple[Recall, ...]
    depths: tuple[Recall, ...]
    left_out: tuple[Recall, ...] = ()
    segments: tuple[StepUp, ...]
    reauthentications: tuple[Reauthentication, ...]
    reliability: Reliability | None
    curve: tuple[tuple[float, float], ...]


Part = Literal["overall", "class", "depth", "left_out", "segment"]


class Difference(Struct, frozen=True, kw_only=True):
    """The candidate's figure less another model's, resampled in pairs: the interval is that of the difference.

    `part` and `name` say which figure: a recall, or for `segment` a share of step-ups. `rate` is one of `RATES`.
    """

    other: str
    part: Part
    name: str
    rate: str
    difference: Estimate


class Goal(Struct, frozen=True, kw_only=True):
    """A sentence that the candidate is held to for one class, whether it is met, and the margin (negative: missed).

    `sure` says that the interval of the margin leaves no doubt about it.
    """

    name: str
    attack: str
    margin: float
    met: bool
    sure: bool


class Data(Struct, frozen=True, kw_only=True):
    """The rows that were judged. `sha256` is over all their columns; `first` and `last` are epoch seconds.

    `labels` says whose word the labels are: `truth` of a simulation, or `outcomes` of a log. `attacks` and
    `segments` count rows by name; `schema` names the feature table.
    """

    sha256: str
    schema: str
    labels: Literal["truth", "outcomes"]
    rows: int
    good: int
    fraud: int
    unknown: int
    subjects: int
    first: float
    last: float
    attacks: dict[str, int]
    segments: dict[str, int]


class Evaluation(Struct, frozen=True, kw_only=True):
    """The document. `code` is the version of riskd that judged, `resamples` the size of the bootstrap."""

    format: Literal["riskd.evaluation/1"] = "riskd.evaluation/1"
    domain: str
    code: str
    seed: int
    resamples: int
    data: Data
    models: dict[str, Judged]
    differences: tuple[Difference, ...]
    goals: tuple[Goal, ...] = ()
