"""Evaluation figures equal a plain recomputation, at exact rates, with intervals over subjects."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.core.attempt import CREDENTIAL_RESULTS
from riskd.core.features import vector
from riskd.core.forest import Forest
from riskd.core.model import ForestDocument, Steps
from riskd.offline.evaluation.document import RATES, Difference, Judged, Recall
from riskd.offline.evaluation.examples import examples
from riskd.offline.evaluation.judging import DEPTHS, RECALLS, Scored, depth_of, judge, reliability, scored_by
from riskd.offline.evaluation.judging import SCORES as SCORES_OF_BANDS
from riskd.offline.evaluation.operating import Floats, Ranked, cost
from riskd.offline.models import baselines
from riskd.offline.policies.tally import WRONG_CREDENTIAL, counted_as
from riskd.offline.rows import FRAUD, GOOD, UNKNOWN, Rows
from tests.core.builders import World, sign_in
from tests.decision_log import decision
from tests.offline.made_rows import ATTACKS, BEGAN, rows

SCORES = st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 3.0]), min_size=1, max_size=40)


def chance(score: float, good: Iterable[float], rate: float) -> float:
    """The probability that a score is challenged if `rate` of the good ones are, by going down the scores."""
    everybody = sorted(good, reverse=True)
    allowed = rate * len(everybody)
    for level in sorted(set(everybody), reverse=True):
        level_above = sum(value > level for value in everybody)
        level_at = everybody.count(level)
        if level_above + level_at >= allowed - 1e-9:
            return 1.0 if score > level else (allowed - level_above) / level_at if score == level else 0.0
    return 1.0


def wrong(made: Rows) -> list[bool]:
    """Which rows had a wrong credential."""
    return [value == 1.0 for value in made.vectors[:, made.names.index("credential_failed")].tolist()]


def judged(made: Rows, scores: Floats, resamples: int = 0, **more: Scored) -> dict[str, Judged]:
    scored = {"candidate": Scored(scores=scores), **more}
    return judge(made, scored, seed=1, resamples=resamples, candidate="candidate")[0]


def test_a_forest_is_judged_by_what_it_would_answer() -> None:
    """A forest is ranked by its log-odds and calibrated by its probabilities, row by row."""
    made = rows(50)
    document = ForestDocument(
        baseline=-1.0,
        references={"tor": 0.0, "history_depth": None},
        calibration=((-2.0, 0.01), (3.0, 0.7)),
        steps=(
            Steps(feature="tor", cuts=(0.5,), values=(0.0, 2.0), missing=0.5),
            Steps(feature="history_depth", cuts=(5.0, 20.0), values=(0.5, 0.0, -0.5), missing=1.0),
        ),
    )
    forest = Forest(document, made.names)
    scored = scored_by(forest, made, "7")

    assert scored.probabilities is not None
    assert scored.version == "7"
    told = [*zip(scored.scores.tolist(), scored.probabilities.tolist(), strict=True)]
    assert told == [forest.score(vector) for vector in made.vectors.tolist()]
    assert len({score for score, _ in told}) > 1


@given(SCORES, st.floats(0.001, 1.0))
def test_exactly_the_rate_is_challenged(scores: list[float], rate: float) -> None:
    """With or without ties, the chances of the good rows add up to the rate."""
    values = np.array(scores)
    chances = Ranked(values).threshold(rate, np.ones(len(values))).challenged(values)

    assert chances.mean() == pytest.approx(rate)
    expected = [chance(score, scores, rate) for score in scores]
    np.testing.assert_allclose(chances, expected, atol=1e-9)


@given(SCORES, st.integers(0, 2**32 - 1))
def test_a_weight_is_so_many_rows(scores: list[float], seed: int) -> None:
    """A row of weight three counts as three rows, and one of weight zero not at all."""
    values = np.array(scores)
    weights = np.random.default_rng(seed).integers(0, 4, len(values))
    if not weights.sum():
        weights[0] = 1
    repeated = np.repeat(values, weights)
    once = Ranked(repeated).threshold(0.3, np.ones(len(repeated))).challenged(values)

    np.testing.assert_allclose(Ranked(values).threshold(0.3, weights.astype(np.float64)).challenged(values), once)


@pytest.mark.parametrize("coarse", [False, True], ids=["fine", "ties"])
def test_figures_are_what_a_plain_count_says(coarse: bool) -> None:
    """Recall by class and depth, and step-ups by segment, equal a recomputation row by row, in which good rows with a
    wrong credential do not count. Attacks with one do, except where recall is of those with a right one."""
    made = rows(1_500)
    made = replace(made, labels=np.where(np.arange(1_500) % 7 == 0, UNKNOWN, made.labels).astype(np.int8))
    scores = baselines.rules(made) if coarse else np.nan_to_num(made.vectors[:, made.names.index("address_llr")])
    found = judged(made, scores)["candidate"]
    failed = wrong(made)
    people = [at for at in range(1_500) if made.labels[at] == GOOD and not failed[at]]
    good = [float(scores[at]) for at in people]
    depths = depth_of(made)
    assert 0 < len(people) < np.count_nonzero(made.labels == GOOD)

    def share(chosen: Iterable[int], rate: float) -> float:
        each = [chance(float(scores[at]), good, rate) for at in chosen]
        return sum(each) / len(each)

    frauds = [at for at in range(1_500) if made.labels[at] == FRAUD]
    groups: list[tuple[Recall, list[int]]] = [(found.overall, frauds)]
    groups += [(found.right_credential, [at for at in frauds if not failed[at]])]
    groups += [(each, [at for at in frauds if made.attacks[at] == each.name]) for each in found.classes]
    groups += [(each, [at for at in frauds if depths[at] == each.name]) for each in found.depths]
    assert [each.name for each in found.classes] == list(ATTACKS)
    for group, chosen in groups:
        for name, rate in RATES.items():
            assert group.at[name].total == len(chosen)
            assert group.at[name].value == pytest.approx(share(chosen, rate), abs=1e-6)
    for segment in found.segments:
        honest = [at for at in people if segment.name == "everybody" or segment.name in made.segments[at].split()]
        assert segment.at["1%"].total == len(honest)
        assert segment.at["1%"].value == pytest.approx(share(honest, 0.01), abs=1e-6)


def test_operating_points_are_what_a_plain_count_says() -> None:
    """Friction, recall and precision of a band equal a count of the rows with at least its score, on each journey,
    without rows whose credential was wrong."""
    made = rows(1_500)
    made = replace(made, journeys=np.where(np.arange(1_500) % 3 == 0, "payment", made.journeys))
    made = replace(made, labels=np.where(np.arange(1_500) % 7 == 0, UNKNOWN, made.labels).astype(np.int8))
    failed = wrong(made)
    made.journeys[next(at for at in range(1_500) if failed[at] and made.labels[at] == FRAUD)] = "session"
    odds = np.nan_to_num(made.vectors[:, made.names.index("address_llr")]) - 4.0
    chances = np.round(1 / (1 + np.exp(-odds)), 3)  # so that some are exactly at an edge
    scored = {"candidate": Scored(scores=odds, probabilities=chances), "other": Scored(scores=odds)}
    models, differences = judge(made, scored, seed=1, resamples=3, candidate="candidate")
    points = models["candidate"].operating
    assert [(each.journey, each.score) for each in points] == [
        (journey, score) for journey in ("", "login", "payment") for score in SCORES_OF_BANDS
    ]
    for each in points:
        chosen = [at for at in range(1_500) if each.journey in ("", made.journeys[at]) and not failed[at]]
        good = [chances[at] >= each.score for at in chosen if made.labels[at] == GOOD]
        fraud = [chances[at] >= each.score for at in chosen if made.labels[at] == FRAUD]
        assert (each.friction.total, each.recall.total) == (len(good), len(fraud))
        assert each.precision.total == sum(good) + sum(fraud)
        assert each.friction.value == pytest.approx(sum(good) / len(good), abs=1e-6)
        assert each.recall.value == pytest.approx(sum(fraud) / len(fraud), abs=1e-6)
        if each.precision.total:
            assert each.precision.value == pytest.approx(sum(fraud) / each.precision.total, abs=1e-6)
    assert models["other"].operating == ()
    assert {each.part for each in differences} <= {"overall", "class", "depth"}


@pytest.mark.parametrize("result", CREDENTIAL_RESULTS)
def test_a_record_and_its_vector_agree_on_the_wrong_credential(result: str) -> None:
    """An evaluation knows only vectors, and the policy tools records: the same attempts have a wrong credential."""
    attempt = sign_in(credential_result=result)
    of_vector = replace(rows(1), vectors=np.array([vector(attempt, World().context(attempt))])).wrong_credential
    of_record = counted_as(decision(1, BEGAN, credential_result=result), 0) == WRONG_CREDENTIAL
    assert of_vector.tolist() == [of_record]


def test_nothing_depends_on_good_rows_with_a_wrong_credential() -> None:
    """Whatever a model says of owners who mistype, every figure stays the same: nobody challenges them."""
    made = rows(1_500)
    scores = np.nan_to_num(made.vectors[:, made.names.index("address_llr")])
    mistyped = np.array(wrong(made)) & (made.labels == GOOD)

    def figures(raised: Floats) -> Judged:
        scored = Scored(scores=raised, probabilities=1 / (1 + np.exp(-raised)))
        return judge(made, {"champion": scored}, seed=1, resamples=3, candidate="champion", prior=0.01)[0]["champion"]

    assert figures(np.where(mistyped, 99.0, scores)) == figures(scores)


def test_probabilities_are_judged_in_rows_without_a_wrong_credential() -> None:
    """With a prior, frauds are weighed so that they are that share of all rows, and then those with a wrong credential
    are left out. Without one, rows are as they are."""
    made = rows(3_000)
    said = np.clip(0.5 + made.vectors[:, made.names.index("hour_llr")] / 10, 0.01, 0.99)
    right, good, fraud = ~np.array(wrong(made)), made.labels == GOOD, made.labels == FRAUD
    weight = 0.02 / 0.98 * good.sum() / fraud.sum()
    share = weight * (fraud & right).sum() / (weight * (fraud & right).sum() + (good & right).sum())
    for prior, among in ((0.02, float(share)), (None, None)):
        scored = {"candidate": Scored(scores=said, probabilities=said)}
        found = judge(made, scored, seed=1, resamples=0, candidate="candidate", prior=prior)[0]["candidate"].reliability
        expected = reliability(said[good & right], said[fraud & right], among)
        assert found is not None
        assert (found.ece, found.brier, found.reference) == pytest.approx(
            (expected.ece, expected.brier, expected.reference)
        )


def test_owners_who_mistype_are_no_example_of_a_challenge() -> None:
    """Of the examples of a model that challenges everybody, none is a good row with a wrong credential."""
    made = rows(300)
    steps = (Steps(feature="tor", cuts=(0.5,), values=(0.0, 1.0), missing=0.0),)
    forest = Forest(ForestDocument(baseline=0.0, references={"tor": 0.0}, steps=steps), made.names)
    mistyped = {str(made.ids[at]) for at in range(300) if made.labels[at] == GOOD and wrong(made)[at]}
    shown = {each.id for seed in range(20) for each in examples(forest, made, -1.0, seed) if each.attack == "honest"}
    assert len(shown) > 30
    assert not shown & mistyped


def test_attacks_that_let_nobody_in_are_no_security() -> None:
    """Where every attack has a wrong credential, they are found as usual, and nothing is said of probabilities, of
    bands or of equal recall."""
    made = rows(600)
    made.vectors[made.labels == FRAUD, made.names.index("credential_failed")] = 1.0
    scores = np.nan_to_num(made.vectors[:, made.names.index("address_llr")])
    found = judged(made, scores, 2, champion=Scored(scores=scores, probabilities=scores))["champion"]

    assert found.overall.at["1%"].value
    assert found.right_credential.at["1%"].value is None
    assert (found.reliability, found.operating, found.curve) == (None, (), ())
    assert {each.at["1%"].value for each in found.equal_recall} == {None}


def at_equal_recall(made: Rows, candidate: Floats, champion: Floats, resamples: int = 0) -> list[Difference]:
    """The differences in step-ups at the champion's recall for each segment, at 1 %."""
    scored = {"candidate": Scored(scores=candidate), "champion": Scored(scores=champion)}
    _, differences = judge(made, scored, seed=1, resamples=resamples, candidate="candidate")
    return [each for each in differences if (each.part, each.rate) == ("equal_recall", "1%")]


@pytest.mark.parametrize("coarse", [False, True], ids=["fine", "ties"])
def test_segments_are_compared_where_both_models_find_as_many(coarse: bool) -> None:
    """At the champion's recall of attacks with a right credential, each model's threshold is the highest that finds as
    many, with ties by lot, and step-ups are those of a plain count."""
    made = rows(800)
    better, worse = (np.nan_to_num(made.vectors[:, made.names.index(name)]) for name in ("device_llr", "hour_llr"))
    worse = worse + better / 3
    better, worse = (np.round(each) if coarse else each for each in (better, worse))
    scored = {"candidate": Scored(scores=better), "champion": Scored(scores=worse)}
    models, differences = judge(made, scored, seed=1, resamples=0, candidate="candidate")
    failed = wrong(made)
    people = [at for at in range(800) if made.labels[at] == GOOD and not failed[at]]
    thieves = [at for at in range(800) if made.labels[at] == FRAUD and not failed[at]]
    for name, rate in RATES.items():
        honest = worse[people].tolist()
        recall = sum(chance(score, honest, rate) for score in worse[thieves].tolist()) / len(thieves)
        assert models["champion"].right_credential.at[name].value == pytest.approx(recall, abs=1e-6)
        for model, scores in (("candidate", better), ("champion", worse)):
            found = scores[thieves].tolist()
            for segment in models[model].equal_recall:
                of = [at for at in people if segment.name in ("everybody", *made.segments[at].split())]
                told = sum(chance(float(scores[at]), found, recall) for at in of) / len(of)
                assert segment.at[name].total == len(of)
                assert segment.at[name].value == pytest.approx(told, abs=1e-6)
    before, after = (
        next(each for each in models[model].equal_recall if each.name == "vpn").at["1%"].value
        for model in ("champion", "candidate")
    )
    vpn = next(each for each in differences if (each.part, each.name, each.rate) == ("equal_recall", "vpn", "1%"))
    assert vpn.difference.value == pytest.approx(after - before, abs=1e-6)  # type: ignore[operator]


def test_a_candidate_that_finds_fewer_must_challenge_more() -> None:
    """Where a candidate finds fewer attacks than the champion at the same rate, its step-ups at the champion's recall
    are of more people than at that rate; where it finds more, of fewer."""
    made = rows(3_000)
    better, worse = (np.nan_to_num(made.vectors[:, made.names.index(name)]) for name in ("device_llr", "hour_llr"))
    for candidate, champion, side in ((worse, better, 1), (better, worse, -1)):
        everybody, *_ = at_equal_recall(made, candidate, champion, 20)
        assert everybody.name == "everybody"
        bounds = (everybody.difference.low, everybody.difference.high)
        assert all(bound is not None and bound * side > 0.001 for bound in bounds)


@pytest.mark.parametrize(("champion", "everybody"), [(-1.0, 0.0), (1.0, 1.0)], ids=["finds none", "finds all"])
def test_a_champion_may_find_nothing_or_everything(champion: float, everybody: float) -> None:
    """Where the champion finds no attack with a right credential, as many are found without challenging anybody. Where
    it finds all, a candidate that has one of them last must challenge everybody."""
    made = rows(1_500)
    thieves = (made.labels == FRAUD) & ~np.array(wrong(made))
    last = np.where(np.arange(1_500) == np.flatnonzero(thieves)[0], -99.0, np.linspace(-1.0, 1.0, 1_500))
    scored = {
        "candidate": Scored(scores=last),
        "champion": Scored(scores=np.where(thieves, 50.0 * champion, np.linspace(-1.0, 1.0, 1_500))),
    }
    models, _ = judge(made, scored, seed=1, resamples=0, candidate="candidate")

    assert models["champion"].right_credential.at["1%"].value == max(champion, 0.0)
    assert {each.at["1%"].value for each in models["candidate"].equal_recall} == {everybody}
    assert {each.at["1%"].value for each in models["champion"].equal_recall} == {0.0}


def test_recall_and_threshold_are_those_of_the_sample() -> None:
    """In every sample the champion is judged at its own recall there, so that it challenges as many people as at the
    rate, less those between its threshold and the next attack."""
    made = rows(4_000)
    scores = np.nan_to_num(made.vectors[:, made.names.index("device_llr")])
    everybody = judged(made, scores, 100, champion=Scored(scores=scores))["champion"].equal_recall[0].at["1%"]

    assert everybody.low is not None
    assert everybody.high is not None
    assert 0.009 < everybody.low <= everybody.high <= 0.01


def test_depths_are_cut_where_they_say() -> None:
    """Rows without history have depth `none`, and each bound belongs to the deeper group."""
    made = rows(6)
    column = made.names.index("history_depth")
    made.vectors[:, column] = [np.nan, 0.4, 4.9, 5.0, 19.9, 20.0]

    assert depth_of(made).tolist() == ["none", "1 to 4", "1 to 4", "5 to 19", "5 to 19", "20 and more"]
    assert set(depth_of(rows(500))) <= set(DEPTHS)


def test_intervals_are_of_subjects_and_of_days_and_not_of_rows() -> None:
    """Ten copies of a row under one subject or on one day count as one observation; under ten subjects on ten days, as
    ten."""
    made = rows(600)
    copies = made.where(np.repeat(np.arange(600), 10))
    subjects, days = np.arange(6_000).astype(str), np.tile(np.arange(10) * 61 * 86_400.0, 600)
    apart = replace(copies, subjects=subjects, times=copies.times + days)
    of_one_subject = replace(apart, subjects=np.repeat(made.ids, 10))
    on_one_day = replace(apart, times=np.repeat(np.arange(600) * 86_400.0, 10))

    def width(which: Rows) -> float:
        scores = np.nan_to_num(which.vectors[:, which.names.index("address_llr")])
        at = judged(which, scores, 100)["candidate"].overall.at["1%"]
        assert at.low is not None
        assert at.high is not None
        assert at.value is not None
        assert at.low <= at.value <= at.high
        return at.high - at.low

    assert width(of_one_subject) > 2 * width(apart)
    assert width(on_one_day) > 1.5 * width(apart)


@pytest.mark.parametrize("resamples", [1, 2, 3])
def test_a_group_that_no_bootstrap_draws_could_be_anything(resamples: int) -> None:
    """With few bootstraps, a group of one subject may be in none of them: then its interval is the whole range."""
    made = rows(400)
    lonely = np.flatnonzero(made.labels == FRAUD)[0]
    subjects, journeys = made.subjects.copy(), made.journeys.astype("<U12")
    subjects[lonely], journeys[lonely] = "f" * 32, "payment"
    made = replace(made, subjects=subjects, journeys=journeys)
    scores = np.linspace(-3.0, 3.0, 400)
    widths = set()
    for seed in range(6):
        scored = {"candidate": Scored(scores=scores, probabilities=1 / (1 + np.exp(-scores)))}
        models, _ = judge(made, scored, seed=seed, resamples=resamples, candidate="candidate")
        for point in models["candidate"].operating:
            for figure in (point.friction, point.recall, point.precision):
                assert figure.value is None or (figure.low is not None and figure.low <= figure.high)  # type: ignore[operator]
        widths |= {(at.recall.low, at.recall.high) for at in models["candidate"].operating if at.journey == "payment"}
    assert (0.0, 1.0) in widths


@pytest.mark.parametrize("what", ["subjects", "days"])
@pytest.mark.parametrize(("many", "sure"), [(1, False), (2, False), (3, False), (40, True)])
def test_the_attacks_on_a_few_subjects_or_days_prove_nothing(what: str, many: int, sure: bool) -> None:
    """Where one model finds every attack of a class and the other none, the interval of the difference excludes zero
    only if the class hit more than three subjects, on more than three days, however many attacks there were. That of
    the recall is then exact."""
    made = rows(2_000)
    rare = "targeted"
    of_class = np.flatnonzero(made.attacks == rare)
    names, times = made.subjects.copy(), made.times.copy()
    if what == "subjects":
        names[of_class] = np.resize([f"{number:032x}" for number in range(many)], len(of_class))
    else:
        times[of_class] = np.resize(BEGAN + 86_400.0 * np.arange(many), len(of_class))
    base = np.nan_to_num(made.vectors[:, made.names.index("device_llr")])
    blind, seeing = (np.where(made.attacks == rare, score, base) for score in (-99.0, 99.0))
    models, differences = judge(
        replace(made, subjects=names, times=times),
        {"candidate": Scored(scores=blind), "champion": Scored(scores=seeing)},
        seed=1,
        resamples=200,
        candidate="candidate",
    )
    told = next(each.difference for each in differences if (each.name, each.rate) == (rare, "1%"))
    recall = next(each.at["1%"] for each in models["champion"].classes if each.name == rare)

    assert (told.value, recall.value) == (-1.0, 1.0)
    assert (told.low, told.high) == ((-1.0, -1.0) if sure else (-1.0, 1.0))
    exact = 0.025 ** (1 / len(of_class))
    assert (recall.low, recall.high) == pytest.approx((exact if sure else 0.0, 1.0), abs=1e-6)


def test_a_difference_to_oneself_is_nothing() -> None:
    """In paired resampling, a model's difference to itself is always zero, also where its recall is its own."""
    made = rows(1_000)
    scores = np.nan_to_num(made.vectors[:, made.names.index("device_llr")])
    _, differences = judge(
        made,
        {"candidate": Scored(scores=scores), "champion": Scored(scores=scores.copy())},
        seed=1,
        resamples=30,
        candidate="candidate",
    )

    assert {(each.difference.value, each.difference.low, each.difference.high) for each in differences} <= {
        (0.0, 0.0, 0.0),
        (None, None, None),
    }
    assert {each.part for each in differences} == {"overall", "class", "depth", "equal_recall"}


def test_a_class_left_out_is_compared_with_what_others_say_of_it() -> None:
    """A left-out class is compared with the other models' recall of that class, each at its own threshold."""
    made = rows(1_500)
    better, worse = (np.nan_to_num(made.vectors[:, made.names.index(name)]) for name in ("device_llr", "hour_llr"))
    models, differences = judge(
        made,
        {"candidate": Scored(scores=better, left_out={"targeted": worse}), "champion": Scored(scores=better)},
        seed=1,
        resamples=0,
        candidate="candidate",
    )
    alone = judged(made, worse)["candidate"]
    expected = next(each for each in alone.classes if each.name == "targeted")
    assert [each.name for each in models["candidate"].left_out] == ["targeted"]
    assert models["candidate"].left_out[0] == expected
    of_class = next(each for each in models["champion"].classes if each.name == "targeted").at["1%"].value
    told = next(each for each in differences if each.part == "left_out" and each.rate == "1%")
    assert told.difference.value == pytest.approx(expected.at["1%"].value - of_class, abs=1e-6)  # type: ignore[operator]


def test_the_same_seed_judges_the_same() -> None:
    """Intervals depend only on rows, scores and seed."""
    made = rows(800)
    scores = np.nan_to_num(made.vectors[:, made.names.index("device_llr")])

    assert judged(made, scores, 20) == judged(made, scores, 20)


@given(st.sampled_from(RECALLS))
def test_challenges_are_counted_by_subject(recall: float) -> None:
    """The cost of a recall is the number of challenges of good rows per subject, including subjects without any."""
    made = rows(600)
    scores = np.nan_to_num(made.vectors[:, made.names.index("device_llr")])
    good, fraud = made.labels == GOOD, made.labels == FRAUD
    _, subjects = np.unique(made.subjects, return_inverse=True)
    found = cost(scores[good], scores[fraud], subjects[good], recall)
    chances = [chance(float(score), scores[fraud].tolist(), recall) for score in scores[good]]
    each: dict[int, float] = {}
    for subject, one in zip(subjects[good].tolist(), chances, strict=True):
        each[subject] = each.get(subject, 0.0) + one

    assert found.mean == pytest.approx(np.mean(list(each.values())), abs=1e-5)
    assert found.median == pytest.approx(np.median(list(each.values())), abs=1e-5)
    assert found.share == pytest.approx(np.mean(chances), abs=1e-5)


def test_honest_probabilities_are_reliable_and_bold_ones_are_not() -> None:
    """Labels drawn from the stated probabilities give almost no calibration error; doubled log-odds give more."""
    random = np.random.default_rng(0)
    odds = random.normal(-2, 1.5, 40_000)
    said = 1 / (1 + np.exp(-odds))
    fraud = random.random(40_000) < said
    bold = 1 / (1 + np.exp(-2 * odds))
    honest, wrong = reliability(said[~fraud], said[fraud]), reliability(bold[~fraud], bold[fraud])

    assert honest.ece < 0.01
    assert wrong.ece > 0.05
    assert honest.brier < wrong.brier
    assert honest.brier == pytest.approx(np.mean((said - fraud) ** 2))
    assert sum(point.rows for point in honest.points) == 40_000


def test_probabilities_are_judged_at_the_share_of_fraud_where_they_serve() -> None:
    """Probabilities that are right where fraud is rare are as reliable in rows with much of it as in others, if these
    are judged at that prior; the figures equal those of rows in which frauds are as rare."""
    random = np.random.default_rng(0)
    odds = random.normal(-5, 1.5, 400_000)
    said = 1 / (1 + np.exp(-odds))
    fraud = random.random(400_000) < said
    rare = float(fraud.mean())
    some = np.flatnonzero(~fraud)[::10]  # ten times as much fraud
    naive, judged_there = reliability(said[some], said[fraud]), reliability(said[some], said[fraud], rare)
    everywhere = reliability(said[~fraud], said[fraud])

    assert naive.ece > 0.05
    assert judged_there.ece < 0.005
    assert judged_there.brier == pytest.approx(everywhere.brier, rel=0.05)
    assert judged_there.reference == pytest.approx(everywhere.reference)
    assert reliability(said[~fraud], said[fraud], rare).ece == pytest.approx(everywhere.ece)


def test_few_distinct_probabilities_are_as_reliable_as_many() -> None:
    """Labels drawn from four probabilities give almost no calibration error, in whatever order the rows are."""
    random = np.random.default_rng(0)
    said = random.choice([0.02, 0.05, 0.1, 0.4], 40_000, p=[0.7, 0.1, 0.1, 0.1])
    fraud = random.random(40_000) < said
    found = reliability(said[~fraud], said[fraud])

    assert found.ece < 0.01
    assert sum(point.rows * point.found for point in found.points) == pytest.approx(fraud.sum())
    again = reliability(said[~fraud][::-1], said[fraud][::-1])
    assert again.ece == pytest.approx(found.ece)


def test_freeman_ranks_by_both_ratios_and_leaves_newcomers_alone() -> None:
    """ln S is the sum of both ratios minus the logarithm of the history's depth; without history there is no score."""
    made = rows(400)
    column = {name: made.vectors[:, made.names.index(name)] for name in ("address_llr", "agent_llr", "history_depth")}
    found, known = baselines.freeman(made), ~np.isnan(column["history_depth"])

    expected = column["address_llr"] + column["agent_llr"] - np.log(column["history_depth"])
    np.testing.assert_allclose(found[known], expected[known])
    assert found[~known].max() < found[known].min()


def test_rules_of_thumb_are_counted() -> None:
    """A new device, a new country and travel faster than an airliner count one each; what is missing counts nothing."""
    made = rows(6)
    matches = {
        "new_device": [0.0, 1.0, 0.0, 0.0, 1.0, np.nan],
        "new_country": [0.0, 0.0, 1.0, 0.0, 1.0, np.nan],
        "speed_kmh": [805.0, 0.0, 0.0, 806.0, 3_000.0, np.nan],
    }
    for name, values in matches.items():
        made.vectors[:, made.names.index(name)] = values

    assert baselines.rules(made).tolist() == [0.0, 1.0, 1.0, 1.0, 3.0, 0.0]


def test_the_isolation_forest_ranks_by_rarity() -> None:
    """A row that is unlike all others has a higher score than nine in ten of them, and one without any value that of a
    row of medians."""
    made = rows(1_000)
    rare, gaps, usual = made.vectors[0].copy(), made.vectors[0].copy(), made.vectors[0].copy()
    present = ~np.isnan(made.vectors).all(axis=0)
    rare[present], gaps[:] = 50.0, np.nan
    usual[present] = np.nanmedian(made.vectors[:, present], axis=0)
    others = made.where(np.arange(3, 1_000))
    judged = replace(made, vectors=np.vstack([[rare, gaps, usual], others.vectors]))
    found = baselines.isolation_forest(others, judged, 0)

    assert (found[0] > found[3:]).mean() > 0.9
    assert found[1] == pytest.approx(found[2], abs=0.02)
    assert found[1] < np.median(found[3:])


def test_the_document_survives_its_own_file() -> None:
    """An evaluation is the same after being written and read."""
    made = rows(600)
    found = judged(made, baselines.freeman(made), 5)

    assert msgspec.json.decode(msgspec.json.encode(found), type=dict[str, Judged]) == found
