"""Bands from a friction budget: the promised friction holds, and too small a log is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.adapters.policy_file import read_policy, with_bands
from riskd.core import record
from riskd.core.features import NAMES
from riskd.core.policy import Policy
from riskd.offline.intervals import most_hits
from riskd.offline.labels import FRAUD, GOOD
from riskd.offline.policies.backtest import Backtest, passes
from riskd.offline.policies.calibrate import TAIL, Calibration, Samples, calibrate, collect
from riskd.offline.policies.redecide import redecide
from tests.decision_log import outcome, write
from tests.offline.drawn import COMPILER, NOW, SHIPPED, TEXT, assessment, records


def sampled(log: list[record.AssessmentRecord], policy: Policy = SHIPPED, label: int = GOOD) -> Samples:
    samples = Samples()
    for one in log:
        samples.add(policy, one, redecide(policy, one), label)
    return samples


def challenged(policy: Policy, log: list[record.AssessmentRecord]) -> int:
    """The number of decisions that the core would challenge."""
    rulings = [redecide(policy, one).ruling for one in log]
    return sum(ruling.raised and not ruling.requirement.satisfied for ruling in rulings)


def rebanded(found: Calibration) -> Policy:
    assert found.new is not None
    return read_policy("calibrated", with_bands("policy", TEXT, {found.journey: found.new}), COMPILER)


@settings(max_examples=25)
@given(st.lists(records(), min_size=1, max_size=6), st.sampled_from(["login", "payment", "session"]), st.data())
def test_the_core_challenges_as_many_as_were_promised(
    log: list[record.AssessmentRecord], name: str, data: st.DataObject
) -> None:
    """Whatever sessions, gaps and rules there are, the new policy challenges as many good decisions as reported, within
    the budget."""
    log = [replace(one, journey=name) for one in log] * 10
    budget = data.draw(st.sampled_from([0.3, 0.6, 0.95]))
    found = calibrate(sampled(log), SHIPPED, name, budget)
    if found.refused:
        assert challenged(read_policy("no bands", without_bands(name), COMPILER), log) > most_hits(
            len(log), budget, TAIL
        )
        return
    assert found.friction is not None
    old, new = found.friction
    assert challenged(SHIPPED, log) == old.hits
    assert challenged(rebanded(found), log) == new.hits <= most_hits(len(log), budget, TAIL)
    assert new.high <= budget


@pytest.mark.parametrize("score", [0.3, 0.6, 0.9, 0.999999999, 1 - 2**-50])
@pytest.mark.parametrize("name", ["login", "payment", "session"])
def test_a_score_that_is_to_be_below_a_band_is_below_it(name: str, score: float) -> None:
    """Also where log-odds and back are rounded to the score itself, and where scores have hardly room between them."""
    log = [assessment(0, journey=name, score=each) for each in (math.nextafter(score, 1.0), score)] * 10
    found = calibrate(sampled(log), SHIPPED, name, 0.95)
    assert found.friction is not None
    assert challenged(rebanded(found), log) == found.friction[1].hits <= most_hits(len(log), 0.95, TAIL)


def without_bands(name: str) -> str:
    """The shipped policy with bands of a journey that no score reaches."""
    edges = calibrate(sampled([]), SHIPPED, name, 0.5).old
    return with_bands("policy", TEXT, {name: {tier: 1 - 0.001 / 2**at for at, tier in enumerate(edges)}})


@settings(max_examples=20)
@given(st.lists(st.floats(0.0001, 0.9), min_size=300, max_size=500), st.sampled_from([0.02, 0.05, 0.2]))
@example([math.nextafter(0.0001, 1), *[0.0001] * 299], 0.02)
def test_the_bands_are_the_strictest_within_the_budget(scores: list[float], budget: float) -> None:
    """Lowering the first band by one more score, with all that equal it but for rounding, could exceed the budget."""
    samples, plain = Samples(), assessment(0)
    redecided = redecide(SHIPPED, plain)
    for score in scores:
        samples.add(SHIPPED, replace(plain, score=score), redecided, GOOD)
    found = calibrate(samples, SHIPPED, "login", budget)
    assert found.new is not None
    assert found.friction is not None
    within = [score for score in scores if score < found.new["STEP_UP"]]
    equal = [score for score in within if math.isclose(score, max(within))]
    assert found.friction[1].hits + len(equal) > most_hits(len(scores), budget, TAIL)


def test_the_distances_of_bands_are_kept() -> None:
    """The bands keep their distances in log-odds, whatever the budget."""
    log = [assessment(number, score=(number + 1) / 2002) for number in range(2000)]
    found = calibrate(sampled(log), SHIPPED, "login", 0.1)
    assert found.new is not None

    def odds(edge: float) -> float:
        return edge / (1 - edge)

    for tier in ("PHISHING_RESISTANT", "DENY"):
        ratio = odds(found.old[tier]) / odds(found.old["STEP_UP"])
        assert odds(found.new[tier]) / odds(found.new["STEP_UP"]) == pytest.approx(ratio, rel=0.05)


def test_the_true_friction_is_within_the_budget_as_often_as_promised() -> None:
    """Over 400 samples of a known distribution, the budget is exceeded in about one of twenty."""
    random, budget, trials = Random(7), 0.05, 400
    exceeded, plain = 0, assessment(0)
    redecided = redecide(SHIPPED, plain)
    for _ in range(trials):
        samples = Samples()
        for _ in range(200):
            samples.add(SHIPPED, replace(plain, score=random.random()), redecided, GOOD)
        found = calibrate(samples, SHIPPED, "login", budget)
        assert found.new is not None
        exceeded += 1 - found.new["STEP_UP"] > budget
    assert exceeded / trials <= 0.05 + 3 * (0.05 * 0.95 / trials) ** 0.5


ALIKE: Final[dict[str, Callable[[record.AssessmentRecord, int], record.AssessmentRecord]]] = {
    "account": lambda one, number: replace(one, subject=f"{number:032x}"),
    "network": lambda one, number: replace(one, facts=replace(one.facts, network=f"192.0.{number}.0/24")),
    "day": lambda one, number: replace(one, time=NOW + number * 86_400),
}
"""Makes a decision one of this account, network or day."""


@pytest.mark.slow
def test_alike_decisions_of_one_account_are_no_further_evidence() -> None:
    """Also where every account has ten decisions, all alike, the budget is exceeded in about one of twenty samples."""
    random, budget, trials = Random(7), 0.1, 100
    redecided = redecide(SHIPPED, assessment(0))
    accounts = [ALIKE["account"](assessment(0), number) for number in range(150)]
    exceeded = 0
    for _ in range(trials):
        samples = Samples()
        for account in accounts:
            one = replace(account, score=random.random())
            for _ in range(10):
                samples.add(SHIPPED, one, redecided, GOOD)
        found = calibrate(samples, SHIPPED, "login", budget)
        assert found.new is not None
        exceeded += 1 - found.new["STEP_UP"] > budget
    assert exceeded / trials <= 0.05 + 3 * (0.05 * 0.95 / trials) ** 0.5


@pytest.mark.parametrize("kind", ALIKE)
def test_alike_decisions_that_are_too_few_are_counted_as_what_they_are_worth(kind: str) -> None:
    """A log that would do if its decisions were independent is refused if those of an account, of a network or of a day
    are alike; it says how many there are in effect, and a log of as many more is enough."""
    redecided = redecide(SHIPPED, assessment(0))

    def of(many: int) -> Calibration:
        samples = Samples()
        for number in range(many):
            one = ALIKE[kind](assessment(0, score=0.9 if number % 100 == 0 else 0.001), number)
            for _ in range(10):
                samples.add(SHIPPED, one, redecided, GOOD)
        return calibrate(samples, SHIPPED, "login", 0.02)

    refused = of(100)
    told = re.match(r"1,000 good decisions, as much as (\d+) independent ones, cannot show", refused.refused)
    assert told is not None
    assert int(told[1]) == pytest.approx(100, rel=0.3)
    assert of(100 + math.ceil(refused.needed / 10)).new is not None


@pytest.mark.parametrize("budget", [0.001, 0.01, 0.05])
def test_too_little_data_is_refused_and_what_is_needed_is_enough(budget: float) -> None:
    """Too small a log is refused with the number of good decisions missing; exactly that many are enough."""
    log = [assessment(number) for number in range(10)]
    refused = calibrate(sampled(log), SHIPPED, "login", budget)
    assert refused.new is None
    assert refused.refused
    grown = sampled(log)
    one = assessment(99)
    redecided = redecide(SHIPPED, one)
    for _ in range(refused.needed - 1):
        grown.add(SHIPPED, one, redecided, GOOD)
    assert calibrate(grown, SHIPPED, "login", budget).needed == 1
    grown.add(SHIPPED, one, redecided, GOOD)
    assert calibrate(grown, SHIPPED, "login", budget).new is not None


def test_challenges_by_rules_above_the_budget_are_reported() -> None:
    """If rules alone exceed the budget, that is reported, and no more data is asked for."""
    vector = list(assessment(0).vector)
    vector[COLUMN] = 1.0
    log = [
        assessment(number, vector=tuple(vector) if number % 10 == 0 else assessment(0).vector) for number in range(600)
    ]
    found = calibrate(sampled(log), SHIPPED, "login", 0.02)
    assert "rules, gaps and cold start by themselves challenge 10 %" in found.refused
    assert (found.needed, found.new) == (0, None)


COLUMN: Final = NAMES.index("tor")


def test_a_journey_without_bands_has_nothing_to_set() -> None:
    """A journey without bands is refused with that reason."""
    assert calibrate(Samples(), read_policy("p", BARE, COMPILER), "login", 0.1).refused == "the journey has no bands"


BARE: Final = re.sub(
    r"(?<=  login:\n    floor: BASELINE\n)    bands:\n(?:      .*\n)+", "    bands: {}\n", TEXT, count=1
)


def test_verdicts_are_taken_from_the_log(tmp_path: Path) -> None:
    """Good and fraudulent decisions are counted by their outcomes; the rest is ignored, or presumed good on request."""
    write(
        tmp_path / "1.jsonl",
        *(assessment(number, score=0.5) for number in range(4)),
        outcome(0, NOW, "challenge_passed"),
        outcome(1, NOW, "confirmed_fraud"),
        outcome(2, NOW, "challenge_failed"),
    )
    backtest = Backtest(log=tmp_path, policies=(("customer.yaml", TEXT),))
    (samples,) = passes(backtest, collect)
    assert {key[2]: sample.total for key, sample in samples.by_journey.items()} == {GOOD: 1, FRAUD: 1}
    assert samples.tally.counts["without_verdict"] == 2
    (presumed,) = passes(backtest, lambda plan, path: collect(plan, path, presumed=True))
    assert {key[2]: sample.total for key, sample in presumed.by_journey.items()} == {GOOD: 2, FRAUD: 1}


@pytest.mark.parametrize("presumed", [False, True])
def test_bands_do_not_depend_on_attempts_with_a_wrong_credential(tmp_path: Path, *, presumed: bool) -> None:
    """Attempts whose credential was wrong are counted apart, whatever was reported of them, also where decisions
    without an outcome are presumed good: bands, friction and recall are as if they had not been made."""
    log: list[record.Record] = [assessment(number, score=(number + 1) / 402) for number in range(400)]
    log += [outcome(number, NOW, "confirmed_fraud" if number > 390 else "challenge_passed") for number in range(400)]
    kinds = ("session_established", "challenge_failed", "confirmed_fraud")
    wrong: list[record.Record] = [
        assessment(number, score=0.9, credential_result="failed") for number in range(1000, 1400)
    ]
    wrong += [outcome(number, NOW, kinds[number % 3]) for number in range(1000, 1200)]
    write(tmp_path / "without" / "1.jsonl", *log)
    write(tmp_path / "with" / "1.jsonl", *log, *wrong)
    found = []
    for name in ("without", "with"):
        backtest = Backtest(log=tmp_path / name, policies=(("customer.yaml", TEXT),))
        samples = Samples()
        for part in passes(backtest, lambda plan, path: collect(plan, path, presumed=presumed)):
            samples += part
        found.append(calibrate(samples, SHIPPED, "login", 0.1))
    assert (found[0].new is not None, found[0].wrong_credential, found[1].wrong_credential) == (True, 0, 400)
    assert found[0] == replace(found[1], wrong_credential=0)


def test_only_the_numbers_of_bands_change_in_the_text() -> None:
    """Only the numbers of bands change in the policy's text, and a byte order mark moves nothing."""
    changed = with_bands("policy", TEXT, {"login": {"STEP_UP": 0.031}})
    assert changed == TEXT.replace("STEP_UP: 0.02 #", "STEP_UP: 0.031 #")
    assert with_bands("policy", f"\ufeff{TEXT}", {"login": {"STEP_UP": 0.031}}) == changed
