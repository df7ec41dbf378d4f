"""Pages of reports whose figures are known: of a backtest, of a rollout, of drift and of an evaluation."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from msgspec.structs import replace

from riskd.core.attempt import JOURNEYS
from riskd.core.features import NAMES
from riskd.core.policy import Bands
from riskd.core.record import Record
from riskd.core.requirement import Tier
from riskd.offline.drift import page as drift_page
from riskd.offline.drift.bins import bins_for, reference
from riskd.offline.drift.compare import Drift, compare
from riskd.offline.evaluation import page as evaluation_page
from riskd.offline.evaluation.document import (
    CANDIDATE,
    CHAMPION,
    MODELS,
    RIGHT,
    Estimate,
    Evaluation,
    Goal,
    Judged,
    OperatingPoint,
    Point,
    Reauthentication,
    Recall,
    Reliability,
)
from riskd.offline.evaluation.examples import Example, Importance
from riskd.offline.labels import GOOD, LABELS
from riskd.offline.policies import page as backtest_page
from riskd.offline.policies import rollout_page
from riskd.offline.policies.redecide import redecide
from riskd.offline.policies.report import Report, report
from riskd.offline.policies.rollout import Rollout
from riskd.offline.policies.rollout import compare as compare_releases
from riskd.offline.policies.tally import Tally
from riskd.offline.rows import log_odds_of
from riskd.progress import ignore_progress
from tests.decision_log import SEGMENT, decision, write
from tests.offline.drawn import SHIPPED, assessment
from tests.offline.drift.world import MODEL, Shift, rows
from tests.offline.made_evaluation import evaluation, model

SVG: Final = "{http://www.w3.org/2000/svg}"
ODD: Final = "<b>&\"'_</b>"


def backtest() -> str:
    """The page of the backtest."""
    return backtest_page.page(backtested())


@cache
def backtested() -> Report:
    """A month of decisions on every journey, one of them without fraud, some with a wrong credential. Some rules hit.
    One journey becomes stricter, and one laxer, by bands far to the right that are close together."""
    tiers = (Tier.BASELINE, Tier.PHISHING_RESISTANT, Tier.IDENTITY_PROOF, Tier.DENY)
    session = replace(SHIPPED.journeys["session"], bands=Bands((0.94, 0.945, 0.949), tiers))
    payment = replace(SHIPPED.journeys["payment"], bands=Bands((0.0005, 0.08, 0.5), tiers))
    candidate = replace(SHIPPED, version=ODD, journeys={**SHIPPED.journeys, "session": session, "payment": payment})
    tally = Tally()
    for number in range(90):
        vector = list(assessment(0).vector)
        for name, every in (("tor", 5), ("hosting", 10)):
            vector[NAMES.index(name)] = float(number % every == 0)
        score = (0.001, 0.03, 0.2, 0.7)[number % 7 % 4]
        release = "r" if number % 9 else ODD
        one = assessment(number * 30_000, JOURNEYS[number % 6], score=score, vector=tuple(vector), release=release)
        if number % 11 == 0:
            one = replace(one, credential_result="failed", satisfied=False)
        tally.add(
            candidate, one, redecide(candidate, one), GOOD if one.journey == "recovery" else number // 6 % len(LABELS)
        )
    tally.counts.update(outcomes=1075, events=8, not_chosen=12, unreadable=1, uncounted=3)
    return report(ODD, tally, [candidate], models={"customer": ODD})


@cache
def rolled_out() -> str:
    """The page of a rollout on every journey but one, on which only the active release decided."""
    lines = list[Record]()
    for number in range(600):
        asked = {"tier": "STEP_UP", "satisfied": False} if number % 5 == 0 else {}
        journey, release = JOURNEYS[number % 6], "ab"[number // 6 % 2] if number % 6 else "a"
        lines.append(decision(number, 5.0, journey=journey, subject=f"{number:032x}", release=release, **asked))
    rollout = Rollout(active="a", candidate="b", percent=50, begin=0.0)
    with TemporaryDirectory() as directory:
        write(Path(directory) / SEGMENT, *lines)
        found, _ = compare_releases(Path(directory), rollout, 1, ignore_progress)
    return rollout_page.page(replace(found, rollout=replace(rollout, candidate=ODD)))


@cache
def drifted() -> str:
    """The page of the drift."""
    return drift_page.page(ODD, [drift()])


@cache
def drift() -> Drift:
    """One signal that moved on the last days, one that is often missing, and unchanged ones."""
    before = reference("customer", NAMES, MODEL, [rows(1, 2000)])
    bins = bins_for(before, NAMES)
    batch = rows(2, 3000, shift=Shift("device_llr", 11, by=1.0))
    bins.add(batch, log_odds_of(MODEL, batch.vectors))
    return compare(before, bins, ODD)


@cache
def evaluated() -> str:
    """Six models, with long class and feature names, and missing figures."""
    names = sorted(NAMES, key=len)[-20:]
    moves = tuple((name, 1234.5, -2.25) for name in names[:5])
    return evaluation_page.page(
        _evaluation(),
        [Importance(feature=name, good=3.0 / (at + 1), fraud=99.0 / (at + 1)) for at, name in enumerate(names)],
        [Example(id="a" * 32, attack=ODD, found=True, probability=0.5, moves=moves)],
    )


def _evaluation() -> Evaluation:
    found = evaluation()
    goals = tuple(
        Goal(name="as the champion", attack="spraying", margin=-0.5, met=met, sure=True) for met in (True, False)
    )
    models = {name: _judged(name) for name in MODELS}
    at = {"1%": Estimate(900, 0.4, 0.3, 0.5), "0.1%": Estimate(900, 0.3, 0.2, 0.4)}
    of_right = {"1%": Estimate(400, 0.2, 0.1, 0.3), "0.1%": Estimate(400, 0.1, 0.0, 0.2)}
    models[CHAMPION] = replace(models[CHAMPION], overall=Recall("all", at), right_credential=Recall(RIGHT, of_right))
    return replace(found, models=models, goals=goals, data=replace(found.data, last=100_000.0))


def _judged(name: str) -> Judged:
    """Figures that differ from model to model. Rules of thumb give no probabilities."""
    lower = MODELS.index(name) / 10
    figures = (Estimate(123_456, 0.9 - lower, 0.8 - lower, 1.0 - lower), Estimate(7, 0.0, 0.0, 0.5 - lower / 10))
    groups = tuple(
        Recall(each, {"1%": figure, "0.1%": figure})
        for each, figure in zip(
            ("stuffing_residential", "spraying", ODD), (*figures, Estimate(0, None, None, None)), strict=True
        )
    )
    cost = Reauthentication(recall=0.5, median=0.0, mean=0.25, share=0.01)
    points = (Point(10, 0.001, 0.01), Point(20, 0.1 + lower, 0.5), Point(10, 1.0, 1.0))
    bands = tuple(
        OperatingPoint(
            journey=journey, score=0.02, friction=figures[0], recall=figures[1], precision=groups[2].at["1%"]
        )
        for journey in ("", ODD)
    )
    return replace(
        model(ODD if name == "candidate" else ""),
        operating=bands if name in (CANDIDATE, CHAMPION) else (),
        classes=groups,
        depths=groups,
        left_out=groups[:1],
        reauthentications=(cost,),
        reliability=None if name == "rules" else Reliability(ece=0.1, brier=0.1, reference=0.2, points=points),
        curve=((0.0001, 0.0), (0.01, 0.5 - lower / 2), (1.0, 1.0)),
    )


def parsed(page: str) -> ET.Element:
    return ET.fromstring(page.partition("\n")[2])


def words(element: ET.Element) -> str:
    return "".join(element.itertext())
