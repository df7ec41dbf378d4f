"""Training: which rows may be used, their weights, and the equality of exported forest and estimator."""

from __future__ import annotations

from math import isnan, nan
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.adapters.model_file import load_model, read_forest, read_manifest, read_reference, read_training
from riskd.core.errors import InvalidFile, InvalidModel, InvalidSettings
from riskd.core.features import DEFINITIONS, FEATURES, NAMES
from riskd.core.forest import Forest
from riskd.offline import rows as table
from riskd.offline.evaluation.document import CHAMPION
from riskd.offline.rows import FRAUD, GOOD, UNKNOWN, Rows, joined, scores_of
from riskd.offline.training import train as training
from riskd.offline.training.bundle import Origin, on_holdout, save
from riskd.offline.training.calibration import fit_curve
from riskd.offline.training.export import log_odds
from riskd.offline.training.recipe import Recipe, Training, checked
from riskd.offline.training.split import as_of, split
from riskd.offline.training.train import Trained, fit, prepare, train
from riskd.offline.training.weights import Delay, reporting_delay, unreported, weights
from tests.offline.made_rows import ATTACKS, BEGAN, DAY, rows

SMALL = Recipe(trees=12, leaves=6, min_rows=20)
BASE = read_forest(Path(__file__).parents[3] / "models" / "customer" / "hand-set-4")


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train([rows()], SMALL, BASE)


def test_nothing_is_learnt_from_the_embargo_or_later() -> None:
    """Training rows are older than their border minus the embargo, and every part is later than the one before."""
    parts = split(rows(), replace(SMALL, embargo_days=3.0))

    assert parts.train.times.max() < parts.trained - 3 * DAY
    assert parts.tuning.times.min() >= parts.trained
    assert parts.tuning.times.max() < parts.tuned - 3 * DAY
    assert parts.holdout.times.min() >= parts.tuned


def test_the_parts_of_a_split_are_not_copied() -> None:
    """A split takes no memory for vectors: its parts share those of the log."""
    whole = rows()
    parts = split(whole, SMALL)
    for part in (parts.train, parts.tuning, parts.holdout):
        assert np.shares_memory(part.vectors, whole.vectors)


def test_scores_are_those_of_one_row_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many rows are scored a chunk at a time, each as it would be alone."""
    monkeypatch.setattr(table, "_CHUNK", 7)
    forest, vectors = Forest(BASE, NAMES), rows(100).vectors
    for size in (0, 1, 7, 8, 100):
        expected = [forest.score(vector.tolist()) for vector in vectors[:size]]
        assert [tuple(each) for each in scores_of(forest, vectors[:size]).tolist()] == expected


def test_labels_are_those_of_the_day() -> None:
    """Labels that became known after the border are unknown in training; the holdout has all labels."""
    whole = rows(delay_days=10.0)
    parts = split(whole, SMALL)

    for part, moment in ((parts.train, parts.trained), (parts.tuning, parts.tuned)):
        assert (part.known[part.labels != UNKNOWN] <= moment).all()
        late = np.isin(whole.ids, part.ids) & (whole.known > moment)
        assert late.any()
        assert set(part.ids[part.labels == UNKNOWN]) == set(whole.ids[late])
    assert (parts.holdout.labels != UNKNOWN).all()


@given(st.floats(0, 60))
def test_looking_at_the_end_of_time_changes_nothing(days: float) -> None:
    """As of a later day there are never fewer labels, and in the end all are known."""
    whole = rows(200)
    earlier, later = as_of(whole, BEGAN + days * DAY), as_of(whole, BEGAN + 1000 * DAY)

    assert (later.labels == whole.labels).all()
    assert set(np.flatnonzero(earlier.labels != UNKNOWN)) <= set(np.flatnonzero(later.labels != UNKNOWN))


def test_too_few_labels_are_refused_with_what_to_do() -> None:
    """A log without fraud is refused once, not for each part; one shorter than its embargo for the parts that lack
    rows; both with what to do."""
    honest = rows()
    honest = honest.where(honest.labels == GOOD)
    with pytest.raises(InvalidFile, match=r"all rows: 0 fraudulent rows, .*report more outcomes") as caught:
        split(honest, SMALL)
    assert len(caught.value.problems) == 1
    with pytest.raises(InvalidFile, match="all rows: 0 good rows") as caught:
        split(honest.where(honest.times < 0), SMALL)
    assert len(caught.value.problems) == 2
    with pytest.raises(InvalidFile, match=r"train: 0 good rows.*fewer --embargo-days"):
        split(rows(), replace(SMALL, embargo_days=59.0))


def test_a_recipe_out_of_bounds_is_refused_with_every_problem() -> None:
    """All bad values of a recipe are reported at once by their flags."""
    with pytest.raises(InvalidSettings) as caught:
        checked(
            trees=0,
            leaves=100,
            class_weights={"targeted": nan, "stuffing": 2.0, "vpn": -1.0},
            holdout=0.8,
            tuning=0.5,
            prior=0.9,
        )

    flags = [problem.where for problem in caught.value.problems]
    assert flags == ["--trees", "--leaves", "--prior", "--weight", "--weight", "--holdout and --tuning"]
    with pytest.raises(InvalidSettings, match=r"--trees and --raising: .* more than riskd serves"):
        checked(trees=4_000, raising=4_000)


def test_delays_are_estimated_although_late_ones_are_unseen() -> None:
    """The product-limit estimator in reverse time finds the true delays, which a plain count would underestimate."""
    whole, looked = rows(60_000, delay_days=10.0), BEGAN + 25 * DAY
    seen = as_of(whole.where(whole.times < looked), looked)
    ages = np.array([2.0, 5.0, 10.0]) * DAY
    truth = (1 - np.exp(-ages / (10 * DAY))) / (1 - np.exp(-25 / 10))
    found = reporting_delay([(seen, looked)]).known(ages)
    fraud = seen.where(seen.labels == FRAUD)
    counted = np.array([(fraud.known - fraud.times <= age).mean() for age in ages])

    assert np.abs(found - truth).max() < 0.04
    assert np.abs(counted - truth).max() > 0.1


def test_fraud_that_is_not_reported_yet_is_estimated_from_what_is() -> None:
    """Of frauds that are reported after ten days on average, the estimate finds about as many unreported as there are:
    more among the youngest rows, and none if fraud is known at once."""
    shares = []
    for delay_days in (0.0, 10.0):
        whole, looked = rows(60_000, delay_days=delay_days), BEGAN + 60 * DAY
        seen = as_of(whole, looked)
        delay = reporting_delay([(seen, looked)])
        for since in (0, 45):
            late = whole.times >= BEGAN + since * DAY
            fraud = late & (whole.labels == FRAUD)
            true = float(np.mean(whole.known[fraud] > looked))
            found = unreported(seen.where(late), looked - whole.times[late], delay)
            assert found == pytest.approx(true, abs=0.03)
            shares.append(true)
    assert shares == sorted(shares)
    assert shares[-1] > 0.4


def test_the_weight_of_a_good_row_grows_with_its_age() -> None:
    """A good row's weight is the share of fraud known by its age; unlabelled rows weigh nothing, classes by the root of
    their size."""
    whole = rows(2_000)
    whole = replace(whole, labels=np.where(np.arange(2_000) % 10 == 0, UNKNOWN, whole.labels).astype(np.int8))
    ages = whole.times.max() - whole.times
    delay = Delay((DAY, 5 * DAY), (0.3, 1.0))
    found = weights(whole, ages, delay, 0.2)
    good, fraud = whole.labels == GOOD, whole.labels == FRAUD

    assert (found[whole.labels == UNKNOWN] == 0).all()
    assert (found[good & (ages < DAY)] == 0).all()
    old, middle = found[good & (ages >= 5 * DAY)], found[good & (ages >= DAY) & (ages < 5 * DAY)]
    np.testing.assert_allclose(middle, 0.3 * old[0])
    assert found[fraud].sum() / found.sum() == pytest.approx(0.2)
    each = [found[fraud & (whole.attacks == attack)] for attack in ATTACKS]
    parts = [weighed.sum() / np.sqrt(len(weighed)) for weighed in each]
    np.testing.assert_allclose(parts, parts[0])
    assert found.sum() == pytest.approx((good | fraud).sum())


def test_a_class_weighs_so_many_times_what_it_would() -> None:
    """A named class gets a multiple of its weight within the total of all fraud; others keep their proportions."""
    whole = rows(2_000, delay_days=0.0)
    ages, fraud = np.zeros(2_000), whole.labels == FRAUD
    alike, heavier = (weights(whole, ages, Delay(), 0.2, named) for named in ({}, {"targeted": 3.0}))
    mass = {attack: [part[whole.attacks == attack].sum() for part in (alike, heavier)] for attack in ATTACKS}
    times = {attack: after / before for attack, (before, after) in mass.items()}

    assert times["targeted"] == pytest.approx(3 * times["stuffing"])
    assert times["stuffing"] == pytest.approx(times["vpn_in_country"])
    assert heavier[fraud].sum() / heavier.sum() == pytest.approx(0.2)


def test_every_journey_has_the_same_odds_and_one_without_fraud_teaches_nothing() -> None:
    """On each journey fraud has the same share of the weight; a journey without fraud has no weight."""
    whole = rows(3_000, delay_days=0.0)
    fraud = whole.labels == FRAUD
    lots = np.random.default_rng(99).random(3_000)
    busy = np.where(fraud, lots < 0.9, lots < 0.3)
    journeys = np.where(busy, "login", np.where((lots < 0.95) | fraud, "session", "payment"))
    whole = replace(whole, journeys=journeys)
    found = weights(whole, np.zeros(3_000), Delay(), 0.2)

    for journey in ("login", "session"):
        here = journeys == journey
        assert found[here & fraud].sum() / found[here].sum() == pytest.approx(0.2)
    assert (journeys == "payment").any()
    assert found[journeys == "payment"].sum() == 0.0


def test_without_a_delay_all_good_rows_weigh_the_same() -> None:
    """If labels are known at once, all good rows weigh the same."""
    at_once = rows(2_000, delay_days=0.0)
    delay = reporting_delay([(at_once, at_once.times.max())])

    assert len(set(weights(at_once, at_once.times.max() - at_once.times, delay, 0.2)[at_once.labels == GOOD])) == 1


def test_the_served_forest_scores_as_the_trained_one(trained: Trained) -> None:
    """On unseen rows, the exported log-odds equal the base's plus the estimator's to 1e-9."""
    material = prepare([rows()], SMALL, BASE)
    fitted = fit(material, SMALL)
    unseen = rows(seed=9).vectors
    expected = fitted.log_odds(unseen, training.base_log_odds(BASE, NAMES, unseen))

    np.testing.assert_allclose(log_odds(trained.document, NAMES, unseen), expected, rtol=0, atol=1e-9)
    assert trained.document.steps == BASE.steps
    assert len(trained.document.trees) == SMALL.trees


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_so_much_of_the_base_is_kept_as_the_recipe_says(share: float) -> None:
    """The served log-odds are the recipe's share of the base plus the trees."""
    recipe = replace(SMALL, base_share=share)
    material = prepare([rows()], recipe, BASE)
    unseen = rows(seed=9).vectors
    kept = share * training.base_log_odds(BASE, NAMES, unseen)
    fitted = fit(material, recipe)

    np.testing.assert_allclose(
        log_odds(training.exported(fitted, material), NAMES, unseen), fitted.log_odds(unseen, kept), rtol=0, atol=1e-9
    )


def test_a_feature_that_cannot_be_learned_keeps_its_weight() -> None:
    """A feature with at most one value in the training rows keeps its full weight, because trees cannot learn it."""
    made = rows()
    vectors = made.vectors.copy()
    once, never, often = (NAMES.index(name) for name in ("proxy", "reported_risk", "new_device"))
    vectors[::2, once], vectors[1::2, once], vectors[:, never] = 0.0, np.nan, np.nan
    vectors[:, often] = np.arange(len(vectors)) % 2
    weights_of = {each.feature: each for each in BASE.steps}

    kept = prepare([replace(made, vectors=vectors)], replace(SMALL, base_share=0.0), BASE).base
    assert kept is not None
    found = {each.feature: each for each in kept.steps}
    for name in ("proxy", "reported_risk"):
        assert found[name] == weights_of[name]
    assert "new_device" in weights_of
    assert "new_device" not in found


def test_an_export_that_was_tampered_with_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An export in which a leaf is off by a millionth is refused."""
    from riskd.offline.training import export

    honest = export._tree

    def tampered(nodes: object, names: tuple[str, ...]) -> tuple[object, ...]:
        tree = honest(nodes, names)  # type: ignore[arg-type]
        return tuple(node + 1e-6 if isinstance(node, float) else node for node in tree)

    monkeypatch.setattr(export, "_tree", tampered)
    with pytest.raises(InvalidModel, match="the export differs from the estimator"):
        train([rows()], SMALL, BASE)


def test_the_base_is_judged_as_it_is_served_whatever_is_kept_of_it(trained: Trained) -> None:
    """The champion is evaluated as a whole, whatever share of it the candidate keeps."""
    none = train([rows()], replace(SMALL, base_share=0.0), BASE)

    assert on_holdout(none, SMALL)[CHAMPION] == on_holdout(trained, SMALL)[CHAMPION]


def test_boosting_on_nothing_needs_no_base() -> None:
    """Without a base, the forest is the trees only, and ranks the holdout well above chance."""
    alone = train([rows()], SMALL)
    said = log_odds(alone.document, NAMES, alone.material.holdout.vectors)
    fraud = alone.material.holdout.labels == FRAUD

    assert alone.document.steps == ()
    assert np.median(said[fraud]) > np.quantile(said[~fraud], 0.95)


@settings(max_examples=60)
@given(data=st.data())
def test_a_riskier_value_never_lowers_the_score(trained: Trained, data: st.DataObject) -> None:
    """A feature with a direction moves log-odds and probability only in that direction."""
    forest = Forest(trained.document, NAMES)
    used = [feature for feature in FEATURES if feature.direction and feature.name in trained.document.references]
    feature = data.draw(st.sampled_from(used))
    row = rows(seed=3).vectors[data.draw(st.integers(0, 5_999))].tolist()
    low, high = sorted(data.draw(st.tuples(st.floats(-10, 4_000), st.floats(-10, 4_000))))
    if feature.direction < 0:
        low, high = high, low
    column = NAMES.index(feature.name)
    safer, riskier = list(row), list(row)
    safer[column], riskier[column] = low, high

    for a, b in zip(forest.score(safer), forest.score(riskier), strict=True):
        assert a <= b + 1e-12


RAISING = replace(SMALL, raising=6)


@pytest.fixture(scope="module")
def raised() -> Trained:
    return train([imitated()], RAISING)


def imitated() -> Rows:
    """Rows with only device and browser. Among new devices, owners have new browsers, and attackers have the owner's
    browser."""
    whole = rows(4_000)
    device, agent = (whole.names.index(name) for name in ("new_device", "agent_llr"))
    random = np.random.default_rng(7)
    fraud = whole.labels == FRAUD
    new = fraud | (random.random(len(whole)) < 0.3)
    vectors = np.full_like(whole.vectors, np.nan)
    vectors[:, device] = new
    vectors[:, agent] = np.where(new & ~fraud, 3.0, -3.0) + random.normal(size=len(whole))
    return replace(whole, vectors=vectors)


def test_raising_trees_find_fraud_that_constrained_trees_miss(raised: Trained) -> None:
    """Attackers who only look safer are found by the raising trees, and hardly by the constrained ones."""
    held = train([imitated()], SMALL)
    holdout = raised.material.holdout
    good, fraud = holdout.labels == GOOD, holdout.labels == FRAUD
    found = []
    for each in (held, raised):
        said = log_odds(each.document, NAMES, holdout.vectors)
        found.append(np.mean(said[fraud] > np.quantile(said[good], 0.99)))

    assert found[0] < 0.1
    assert found[1] > 0.9


@settings(max_examples=60)
@given(data=st.data())
def test_a_riskier_value_never_scores_below_the_constrained_trees(raised: Trained, data: st.DataObject) -> None:
    """The raising trees have no negative leaf, so a riskier value never scores below the constrained trees."""
    held = Forest(replace(raised.document, trees=raised.document.trees[: SMALL.trees]), NAMES)
    whole = Forest(raised.document, NAMES)
    on_top = raised.document.trees[SMALL.trees :]
    row = imitated().vectors[data.draw(st.integers(0, 3_999))].tolist()
    used = [feature for feature in FEATURES if feature.direction and feature.name in raised.document.references]
    feature = data.draw(st.sampled_from(used))
    column, riskier = NAMES.index(feature.name), list(row)
    riskier[column] += feature.direction * data.draw(st.floats(0, 4_000))

    assert len(on_top) == RAISING.raising
    assert all(node >= 0 for tree in on_top for node in tree if isinstance(node, float))
    assert whole.score(row)[0] >= held.score(row)[0] - 1e-12
    assert isnan(riskier[column]) or whole.score(riskier)[0] >= held.score(row)[0] - 1e-12


def test_calibration_improves_the_brier_score(trained: Trained) -> None:
    """On the holdout, calibration improves the Brier score."""
    rows_, document = trained.material.holdout, trained.document
    fraud = rows_.labels == FRAUD

    def brier(forest: Forest) -> float:
        said = np.array([forest.score(row)[1] for row in rows_.vectors.tolist()])
        return float(np.mean((said - fraud) ** 2))

    assert brier(Forest(document, NAMES)) < brier(Forest(replace(document, calibration=()), NAMES))


def test_good_rows_are_sampled_to_the_bound_and_fraud_is_kept() -> None:
    """Good rows are sampled to the bound whatever else is unlabelled, fraud is kept, the order of time stays, and the
    seed determines the sample."""
    bounded = replace(SMALL, most_rows=1_000)
    made = rows()
    made = replace(made, labels=np.where(np.arange(len(made)) % 2, made.labels, UNKNOWN).astype(np.int8))
    whole, less = (prepare([made], recipe, None).train for recipe in (SMALL, bounded))

    assert np.count_nonzero(whole.labels == GOOD) > 1_000
    assert np.count_nonzero(less.labels == GOOD) == 1_000
    assert np.count_nonzero(less.labels == FRAUD) == np.count_nonzero(whole.labels == FRAUD)
    assert (np.diff(less.times) >= 0).all()
    assert less.digest() == prepare([made], bounded, None).train.digest()


def test_scores_that_say_nothing_are_calibrated_to_the_share_of_fraud() -> None:
    """Where the few known frauds have lower scores than good rows, every row gets the share of fraud."""
    random, fraud = np.random.default_rng(5), np.arange(1_000) < 50
    raw = random.normal(-6.0, 1.0, 1_000) - 2.0 * fraud
    said = 1 / (1 + np.exp(-fit_curve(raw, fraud, np.ones(1_000)).at(raw)))

    np.testing.assert_allclose(said, 0.05, rtol=0.05)


def test_a_class_left_out_is_not_seen() -> None:
    """Training without a class equals training on a log without it."""
    whole = rows(delay_days=0.0)
    hidden = replace(whole, labels=np.where(whole.attacks == "targeted", UNKNOWN, whole.labels).astype(np.int8))
    without = fit(prepare([whole], SMALL, BASE), replace(SMALL, without=("targeted",)))
    never = fit(prepare([hidden], SMALL, BASE), SMALL)
    unseen = rows(500, seed=9).vectors

    nothing = np.zeros(500)
    assert (without.log_odds(unseen, nothing) == never.log_odds(unseen, nothing)).all()


def test_logs_are_split_each_in_its_own_time() -> None:
    """Each of several logs is split by its own time, and their subjects stay separate."""
    first, second = rows(seed=1), rows(seed=2)
    later = replace(second, times=second.times + 400 * DAY, known=second.known + 400 * DAY)
    material = prepare([first, later], SMALL, None)

    for part in (material.train, material.holdout):
        assert {subject.split(":")[0] for subject in part.subjects} == {"0", "1"}
    assert not set(joined([first]).subjects) & set(joined([first, second]).subjects)


def saved(path: Path, source: Rows) -> bytes:
    origin = Origin(
        domain="customer",
        sources=("made",),
        data=source.digest(),
        labels="truth",
        base="hand-set-4",
        code="0",
        created="2026-11-26",
    )
    save(path, train([source], SMALL, BASE), SMALL, origin)
    return b"".join(file.read_bytes() for file in sorted(path.iterdir()))


def test_the_same_seed_makes_the_same_bytes(tmp_path: Path) -> None:
    """A bundle depends only on rows and recipe; it loads, and records its data, recipe and reference."""
    source = rows()
    assert saved(tmp_path / "a" / "t1", source) == saved(tmp_path / "b" / "t1", source)

    path = tmp_path / "a" / "t1"
    forest, manifest, raw = load_model(path, DEFINITIONS, domain="customer"), read_manifest(path), read_training(path)
    assert raw is not None
    read = msgspec.json.decode(raw, type=Training)
    assert (forest.version, manifest.kind, manifest.data) == ("t1", "trained", source.digest())
    assert (read.recipe, read.base, read.labels) == (SMALL, "hand-set-4", "truth")
    assert set(read.attacks) == set(ATTACKS)
    reference = read_reference(path)
    assert reference is not None
    assert set(reference.features) == set(NAMES)
    assert 0 < manifest.metrics["recall at 1%"] <= 1


def test_another_order_or_label_is_another_digest() -> None:
    """The digest differs if and only if rows differ in anything."""
    one = rows(50)
    others = [
        one.where(np.arange(50)[::-1]),
        replace(one, labels=(one.labels + 1).astype(np.int8)),
        replace(one, subjects=np.char.add(one.subjects, "x")),
        rows(50, seed=1),
    ]
    assert len({each.digest() for each in (one, *others)}) == 5
    assert rows(50).digest() == one.digest()
