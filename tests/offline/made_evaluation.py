"""Evaluations with chosen figures, and such that are soon done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from riskd.offline.evaluation.document import (
    CANDIDATE,
    CHAMPION,
    RIGHT,
    Data,
    Difference,
    Estimate,
    Evaluation,
    Judged,
    Part,
    Recall,
    Reliability,
    StepUp,
)
from riskd.offline.models import baselines

NOTHING: Final = Estimate(0, None, None, None)


@contextmanager
def few_trees() -> Iterator[None]:
    """The models with which a candidate is compared get few trees, for laws that are not about what those find."""
    with patch.multiple(baselines, LARGE_TREES=5, FOREST_TREES=5):
        yield


def about(value: float, low: float, high: float) -> Estimate:
    return Estimate(900, value, low, high)


def model(version: str, ece: float = 0.005) -> Judged:
    """Figures of one model; the promotion gate uses recall figures only in its messages."""
    at = {"1%": about(0.5, 0.4, 0.6), "0.1%": about(0.3, 0.2, 0.4)}
    return Judged(
        version=version,
        thresholds={},
        overall=Recall("all", at),
        right_credential=Recall(RIGHT, at),
        classes=(Recall("spraying", at),),
        depths=(Recall("below 3", at),),
        left_out=(Recall("spraying", at),),
        segments=(StepUp("vpn", at),),
        equal_recall=(StepUp("vpn", {"1%": about(0.02, 0.01, 0.03), "0.1%": about(0.01, 0.0, 0.02)}),),
        reauthentications=(),
        reliability=Reliability(ece=ece, brier=0.01, reference=0.02, points=()),
        curve=(),
    )


def difference(part: Part, name: str, figure: Estimate, rate: str = "1%", other: str = CHAMPION) -> Difference:
    return Difference(other=other, part=part, name=name, rate=rate, difference=figure)


def evaluation(*differences: Difference, ece: float = 0.005) -> Evaluation:
    data = Data(
        sha256="", schema="", labels="outcomes", rows=1000, good=900, wrong_credential=0, fraud=100, unknown=0,
        subjects=50, first=0.0, last=1.0, attacks={}, segments={},
    )  # fmt: skip
    return Evaluation(
        domain="customer",
        code="0.1.0",
        seed=1,
        resamples=200,
        data=data,
        models={CANDIDATE: model("new", ece), CHAMPION: model("old")},
        differences=differences or (difference("overall", "all", about(0.0, -0.01, 0.01)),),
    )


BETTER, EQUAL = about(0.05, 0.01, 0.09), about(0.0, -0.02, 0.02)
UNSURE, LOST = about(-0.05, -0.12, 0.02), about(-0.05, -0.09, -0.01)
