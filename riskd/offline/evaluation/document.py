"""The evaluation document, `evaluation.json`: the figures of a candidate model and of others on the same rows.

`riskd evaluate` writes it, people and the gate of `riskd model promote` read it, and the bundle keeps it.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from riskd.offline.labels import LabelSource

RATES: Final = {"1%": 0.01, "0.1%": 0.001}
"""The false-positive rates at which recall is reported, by their names in the document."""
CANDIDATE, CHAMPION, FREEMAN, RULES, ISOLATION_FOREST, LARGE_BOOSTED = MODELS = (
    "candidate", "champion", "freeman", "rules", "isolation_forest", "large_boosted"
)  # fmt: skip
"""The models of a document. The first two are bundles, the others baselines made from the same rows."""
RIGHT: Final = "right credential"
"""The name for all attacks whose credential was not wrong: it was right, or it was not checked."""


class Estimate(Struct, frozen=True):
    """A figure with its 95 % interval: the wider of two percentile bootstraps. One draws subjects with all their rows;
    the other draws good rows like that, and attacks by day.

    A bootstrap that drew nobody of the group counts for both ends, so a group of one, two or three of many subjects
    or days has the widest interval. A share of 0 or 1 without any variation has the exact interval of independent rows.
    `total` is the number of rows in the denominator. The figures are None if it is 0.
    """

    total: int
    value: float | None
    low: float | None
    high: float | None


class Recall(Struct, frozen=True):
    """The share of a group of attacks that is found, at each of `RATES`."""

    name: str
    at: dict[str, Estimate]

    @property
    def total(self) -> int:
        """The number of rows in the group."""
        return next(iter(self.at.values())).total


class StepUp(Struct, frozen=True):
    """The share of a segment's good rows above the threshold, for each of `RATES`. Thresholds are set over all
    segments."""

    name: str
    at: dict[str, Estimate]


class OperatingPoint(Struct, frozen=True, kw_only=True):
    """What a band that begins at this score would do on a journey ('' for all journeys).

    `friction` is the share of good rows with at least this score, `recall` that of attacks, and `precision` the share
    of attacks among all such rows; attacks with a wrong credential count in none of them. Precision depends on how
    frequent attacks are in the rows.
    """

    journey: str
    score: float
    friction: Estimate
    recall: Estimate
    precision: Estimate


class Reauthentication(Struct, frozen=True, kw_only=True):
    """What finding this share of the attacks with a right credential costs honest people.

    `median` and `mean` are challenges per subject over the good rows; `share` is the share of all good rows.
    """

    recall: float
    median: float
    mean: float
    share: float


class Point(Struct, frozen=True):
    """The rows in one bin of probability: how many, the mean predicted probability, and the share that were attacks,
    weighed as in `Reliability`."""

    rows: int
    said: float
    found: float


class Reliability(Struct, frozen=True, kw_only=True):
    """How well predicted probabilities match observed shares, in rows without a wrong credential.

    `ece` is the expected calibration error over the `points`, bins of equally many rows; `brier` the mean squared
    error; `reference` the Brier score of a model that predicts the base rate for every row. Frauds are weighed so that
    they are `Data.prior` of all rows, if there is one.
    """

    ece: float
    brier: float
    reference: float
    points: tuple[Point, ...]


class Judged(Struct, frozen=True, kw_only=True):
    """The figures of one model. `version` is that of a bundle, '' for a baseline.

    A try with a wrong credential is refused whatever its score is, so it is not among the good rows. Recall overall, of
    a class and of a depth is over all attacks, to show which runs are recognised; `right_credential` is recall over
    those that could let somebody in.

    `seen` is the share of the judged rows that the model, or one that it was boosted on, was trained or calibrated on;
    None if that is not known. Above 0, the figures are better than they will be on other rows.

    `thresholds` are the raw scores at which `RATES` are met. Rows above the threshold are challenged, and rows at it by
    lot, so that models with few distinct scores are judged at the same rate. `left_out` is the recall of each class by
    a model that was trained without it, and empty if none was trained. `equal_recall` is as `segments`, but at the
    threshold at which the model finds as many attacks with a right credential as the champion at this rate.
    `reliability` is None and `operating` is empty if scores are not probabilities. `curve` is recall over the attacks
    with a right credential at growing false-positive rates.
    """

    version: str
    seen: float | None = None
    thresholds: dict[str, float]
    overall: Recall
    right_credential: Recall
    classes: tuple[Recall, ...]
    depths: tuple[Recall, ...]
    left_out: tuple[Recall, ...] = ()
    segments: tuple[StepUp, ...]
    equal_recall: tuple[StepUp, ...] = ()
    reauthentications: tuple[Reauthentication, ...]
    reliability: Reliability | None
    curve: tuple[tuple[float, float], ...]
    operating: tuple[OperatingPoint, ...] = ()


Part = Literal["overall", "class", "depth", "left_out", "segment", "equal_recall"]


class Difference(Struct, frozen=True, kw_only=True):
    """The candidate's figure minus another model's, and the interval of that difference.

    Both figures are resampled together. `part` and `name` say which figure: a recall, or for `equal_recall` a share of
    step-ups. `rate` is one of `RATES`.
    """

    other: str
    part: Part
    name: str
    rate: str
    difference: Estimate


class Goal(Struct, frozen=True, kw_only=True):
    """A goal for one class of attack, whether the candidate meets it, and by which margin (negative: missed).

    `sure` means that the whole interval of the margin agrees.
    """

    name: str
    attack: str
    margin: float
    met: bool
    sure: bool


class Data(Struct, frozen=True, kw_only=True):
    """The evaluated rows. `sha256` is over all their columns; `first` and `last` are epoch seconds.

    `labels`: from the `truth` of a simulation or the `outcomes` of a log. `unreported`: the share of all fraud that is
    probably not reported yet, and counts as good. `prior`: the share of fraud at which probabilities were judged, that
    where the candidate will serve; None: as in the rows. `wrong_credential`: the good rows that no figure counts.
    `attacks` and `segments` count all rows by name; `schema` names the feature schema.
    """

    sha256: str
    schema: str
    labels: LabelSource
    rows: int
    good: int
    wrong_credential: int
    fraud: int
    unknown: int
    prior: float | None = None
    unreported: float = 0.0
    subjects: int
    first: float
    last: float
    attacks: dict[str, int]
    segments: dict[str, int]


class Evaluation(Struct, frozen=True, kw_only=True):
    """The document. `code`: the version of riskd that evaluated; `resamples`: the number of bootstrap samples."""

    format: Literal["riskd.evaluation/2"] = "riskd.evaluation/2"
    domain: str
    code: str
    seed: int
    resamples: int
    data: Data
    models: dict[str, Judged]
    differences: tuple[Difference, ...]
    goals: tuple[Goal, ...] = ()
