"""Drift: shifted signals are named with their day, others are not, and the statistics match their sources."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from scipy import stats

from riskd.adapters.decision_log import FileLogArchive
from riskd.core.drift import Histogram, Reference, stability_index
from riskd.core.errors import InvalidFile
from riskd.core.features import NAMES
from riskd.offline.clusters import design_effects
from riskd.offline.dataset.compact import Dataset
from riskd.offline.dataset.target import Target
from riskd.offline.drift.bins import DAY, SCORE, Batch, Bins, bins_for, cuts_of, reference, thinned
from riskd.offline.drift.compare import Drift, compare
from riskd.offline.drift.log import Against, Selection, Span, count, sample
from riskd.offline.drift.page import HEAD, cells, page
from riskd.offline.drift.statistics import ALPHA, chance_of, chi_square_beyond, holm, since
from riskd.offline.page import are_figures
from riskd.offline.rows import log_odds_of
from tests import decision_log
from tests.decision_log import decision
from tests.offline.drift.world import BEGIN, BUNDLE, MODEL, Shift, rows, write

CUSTOMERS = Span(domains=("customer",))
counts = st.lists(st.integers(0, 10_000), min_size=2, max_size=15).filter(lambda found: sum(found) > 0)


@pytest.fixture(scope="module")
def usual() -> Reference:
    """A reference for the model."""
    return reference("customer", NAMES, MODEL, [rows(1, 8000, users=1200)])


def drift(usual: Reference, batch: Batch, threshold: float = 0.1) -> Drift:
    bins = bins_for(usual, NAMES)
    bins.add(batch, log_odds_of(MODEL, batch.vectors))
    return compare(usual, bins, "hand-set-4", threshold)


SHIFTS = {
    "a measurement": Shift("address_llr", 9, by=0.9),
    "a flag": Shift("new_device", 4, by=1.0),
    "a signal that dies": Shift("typing_deviation", 11, missing=0.9),
    "from the first day": Shift("hour_llr", 0, by=0.9),
    "on the last day": Shift("device_llr", 13, by=1.6),
}


@pytest.mark.parametrize("shift", SHIFTS.values(), ids=SHIFTS.keys())
def test_a_shifted_signal_is_named_with_its_day(usual: Reference, shift: Shift) -> None:
    """Only the shifted signal is named, besides the score that depends on it, with the day on which the shift began.
    From the first day on, the shift is the index less chance; from a later one on, it is larger than that."""
    found = drift(usual, rows(77, 12_000, users=1500, shift=shift))

    named = {signal.name: signal for signal in found.drifted}
    assert named.keys() - {SCORE} == {shift.signal}
    one = named[shift.signal]
    assert one.since == BEGIN + shift.day * DAY
    if shift.missing:
        assert one.missing_now > one.missing_before + 0.1
    if shift.day == 0:
        assert one.shift == pytest.approx(one.index - one.noise)
    else:
        assert one.shift > one.index


@pytest.mark.parametrize(
    ("chance", "told"), [(1.0, "1"), (0.0123, "0.012"), (0.0001, "0.0001"), (0.00009, "< 0.0001"), (8e-70, "< 0.0001")]
)
def test_a_small_chance_is_printed_as_a_bound(usual: Reference, chance: float, told: str) -> None:
    """A chance below 0.0001 is printed as `< 0.0001`, and still counts as a figure in tables."""
    signal = replace(drift(usual, rows(3, 500)).signals[0], chance=chance)
    row = cells(signal)
    assert row[HEAD.index("chance")] == told
    assert are_figures([told])


def test_a_log_that_did_not_change_is_seldom_blamed(usual: Reference) -> None:
    """In twenty logs without drift, no signal is named."""
    assert [seed for seed in range(100, 120) if drift(usual, rows(seed)).drifted] == []


def test_chances_are_chances() -> None:
    """Without drift, the share of signals with a chance below q is about q, although a user's rows are correlated."""
    chances = [
        signal.chance
        for seed in range(12)
        for signal in drift(reference("customer", NAMES, MODEL, [rows(500 + seed)]), rows(600 + seed)).signals
    ]

    for q in (0.5, 0.1, 0.05):
        assert np.mean([chance < q for chance in chances]) == pytest.approx(q, abs=0.35 * q)
    assert np.mean([chance < 0.001 for chance in chances]) < 0.005


def test_treating_rows_as_independent_would_raise_false_alarms(usual: Reference) -> None:
    """If a user's rows were treated as independent, chances would be far too small."""
    found = [signal for seed in range(200, 206) for signal in drift(usual, rows(seed, users=60)).signals]
    naive = [
        chance_of(
            signal.index,
            msgspec.structs.replace(signal.before, effect=1.0, effect_rms=1.0),
            Histogram(cuts=signal.before.cuts, counts=signal.now),
        )[1]
        for signal in found
    ]

    assert np.mean([chance < 0.01 for chance in naive]) > 0.3
    assert np.mean([signal.chance < 0.01 for signal in found]) < 0.06


@given(counts, st.integers(1, 1000))
def test_equal_shares_have_no_index(before: list[int], times: int) -> None:
    """Equal shares have an index of 0 for any number of rows, except for the half count added per bin."""
    assert stability_index(before, before) == 0
    more = [times * each for each in before]
    assert 0 <= stability_index(before, more) <= len(before)


@given(counts, st.data())
def test_the_index_is_symmetric_and_never_negative(before: list[int], data: st.DataObject) -> None:
    """The index is symmetric, never negative, and finite for empty bins."""
    now = data.draw(st.lists(st.integers(0, 10_000), min_size=len(before), max_size=len(before)))
    index = stability_index(before, now)

    assert index >= 0
    assert math.isfinite(index)
    assert index == pytest.approx(stability_index(now, before))


def test_the_index_is_that_of_the_textbooks() -> None:
    """0.6/0.4 against 0.5/0.5 is (0.1 ln 1.2 + -0.1 ln 0.8) = 0.0405."""
    assert stability_index([50_000, 50_000], [60_000, 40_000]) == pytest.approx(0.040546, abs=1e-4)


@given(st.floats(0, 1000), st.floats(0.3, 40))
def test_chances_beyond_are_those_of_chi_square(value: float, degrees: float) -> None:
    """Tail probabilities equal SciPy's, far out as well."""
    assert chi_square_beyond(value, degrees) == pytest.approx(
        float(stats.chi2.sf(value, degrees)), rel=1e-9, abs=1e-300
    )


def test_independent_rows_have_an_effect_of_one() -> None:
    """Independent rows have a design effect of one, and rows in groups of four one of four."""
    dice = np.random.default_rng(3)
    share = [0.5, 0.3, 0.15, 0.05]
    alone = np.mean([design_effects(dice.multinomial(200, share, size=64)) for _ in range(40)], axis=0)
    fours = np.mean([design_effects(4 * dice.multinomial(50, share, size=64)) for _ in range(40)], axis=0)

    assert alone == pytest.approx([1, 1], abs=0.12)
    assert fours == pytest.approx([4, 4], rel=0.1)


@given(st.dictionaries(st.text(min_size=1), st.floats(0, 1), max_size=30))
def test_holm_is_between_bonferroni_and_none(chances: dict[str, float]) -> None:
    """Holm names every signal that Bonferroni does, and none whose own chance is above `ALPHA`."""
    found = holm(chances)
    assert {name for name, chance in chances.items() if chance <= ALPHA / len(chances)} <= found
    assert all(chances[name] <= ALPHA for name in found)


def test_holm_asks_less_of_each_further_signal() -> None:
    """Of four signals the rarest must be below a quarter of `ALPHA`, the next below a third, then a half; the first
    that is not ends the list."""
    chances = {"a": ALPHA / 4, "b": ALPHA / 3, "c": ALPHA / 2, "d": ALPHA}
    assert holm(chances) == {"a", "b", "c", "d"}
    assert holm(chances | {"b": ALPHA / 2.9}) == {"a"}
    assert holm(chances | {"a": ALPHA / 3}) == set()


def test_the_most_shifted_signals_come_first(usual: Reference) -> None:
    """Signals that have drifted come before all others, and each group begins with the largest shift."""
    found = drift(usual, rows(77, 12_000, users=1500, shift=Shift("device_llr", 0, by=1.2)))
    assert [signal.name for signal in found.signals[: len(found.drifted)]] == [each.name for each in found.drifted]
    assert found.signals[0].name == "device_llr"
    for group in (found.drifted, [signal for signal in found.signals if not signal.drifted]):
        indices = [max(signal.index, signal.shift) for signal in group]
        assert indices == sorted(indices, reverse=True)


@settings(max_examples=50)
@given(st.integers(0, 9), st.integers(0, 2**32 - 1))
def test_a_change_is_dated(day: int, seed: int) -> None:
    """A change of shares is dated to its first day."""
    dice = np.random.default_rng(seed)
    days = [(each, dice.multinomial(300, [0.3, 0.7] if each >= day else [0.7, 0.3])) for each in range(10)]
    assert since([7000, 3000], days) == day


@given(st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=1, max_size=300))
def test_every_value_has_one_place(values: list[float]) -> None:
    """NumPy and the core put each value into the same bin, and the bins hold all rows."""
    column = np.array(values)
    cuts = cuts_of(column)
    assert list(cuts) == sorted(set(cuts))
    bins = Bins({"x": cuts}, ("x",))
    bins.add(Batch(np.zeros(len(values)), [str(at) for at in range(len(values))], column[:, None]), column)
    histogram = bins.histograms()["x"]
    one_by_one = [0] * len(histogram.counts)
    for value in values:
        one_by_one[histogram.bin_of(value)] += 1

    assert list(histogram.counts) == one_by_one


def test_parts_add_up(usual: Reference) -> None:
    """Counts of parts add up to those of the whole, in any order, whether they are counted together or apart."""
    whole = rows(9, 2000)
    moment = float(whole.times[700])
    parts = [whole.between(0.0, moment), whole.between(moment), whole.between(math.inf)]
    assert [len(part.times) for part in parts] == [700, 1300, 0]
    found = []
    for order in ([whole], parts, parts[::-1]):
        apart, together = bins_for(usual, NAMES), bins_for(usual, NAMES)
        for part in order:
            bins = bins_for(usual, NAMES)
            for each in (bins, together):
                each.add(part, log_odds_of(MODEL, part.vectors))
            apart += bins
        for total in (apart, together):
            days = {day: counts.tolist() for day, counts in sorted(total.days.items())}
            found.append((total.histograms(), days, total.rows, total.began, total.ended))

    assert all(each == found[0] for each in found)
    assert found[0][2:] == (2000, whole.times[0], whole.times[-1])


def test_a_log_is_read_as_its_rows(usual: Reference, tmp_path: Path) -> None:
    """The number of segments, processes and batches does not matter, and skipped lines are counted by reason."""
    batch = rows(31, 3000, shift=Shift("address_llr", 7, by=1.0))
    log = write(tmp_path / "log", batch, segments=3)
    write(log, rows(32, 50), domain="workforce", segments=1)
    with (log / "20240101T000009.000000-x.jsonl").open("wb") as torn:
        torn.write(b'{"type":"assessment","id":1}\n{"type":"outcome"}\n')
    against = {"customer": Against(reference=usual, bundle=BUNDLE)}
    for workers in (1, 2):
        counted = count(Selection(log=str(log), span=CUSTOMERS, workers=workers), against)
        found = compare(usual, counted.bins["customer"], "hand-set-4")

        assert found == drift(usual, batch)
        assert counted.left_out == {"other_domain": 50, "unreadable": 1}


def test_a_dataset_is_read_as_its_log(usual: Reference, tmp_path: Path) -> None:
    """A dataset and a simulation's directory give the same rows as the log."""
    log = write(tmp_path / "decisions", rows(31, 1500))
    archive = FileLogArchive(log, 1.0, 1.0)
    Dataset(Target.open(str(tmp_path / "set")), log, archive, 4).compact({}, lambda _: None)
    against = {"customer": Against(reference=usual, bundle=BUNDLE)}
    span = Span(domains=("customer",), since=BEGIN + DAY, until=BEGIN + 9 * DAY)
    found = [
        count(Selection(log=str(place), span=span), against).bins["customer"]
        for place in (log, tmp_path, tmp_path / "set")
    ]
    drawn = [sample(Selection(log=str(place), span=span), 300)["customer"] for place in (log, tmp_path / "set")]

    assert found[0].rows == found[1].rows == found[2].rows > 700
    assert found[0].histograms() == found[1].histograms() == found[2].histograms()
    assert sorted(drawn[0].times.tolist()) == sorted(drawn[1].times.tolist())


def test_a_dataset_leaves_out_what_its_log_leaves_out(usual: Reference, tmp_path: Path) -> None:
    """Decisions of a version with other features are counted as such, in a log and in its dataset."""
    log = write(tmp_path / "decisions", rows(31, 300))
    others = [decision(10**6 + at, BEGIN + at * DAY, vector=(1.0,)) for at in range(12)]
    others.append(decision(9, BEGIN + DAY, domain="machine", vector=()))
    decision_log.write(log / "20240101T000009.000000-x.jsonl", *others)
    archive = FileLogArchive(log, 1.0, 1.0)
    Dataset(Target.open(str(tmp_path / "set")), log, archive, 4).compact({}, lambda _: None)
    against = {"customer": Against(reference=usual, bundle=BUNDLE)}
    span = Span(domains=("customer",), since=BEGIN + DAY, until=BEGIN + 9 * DAY)
    for place in (log, tmp_path / "set"):
        assert count(Selection(log=str(place), span=span), against).left_out["other_features"] == 8


def test_a_span_of_days_is_a_span_of_days(usual: Reference, tmp_path: Path) -> None:
    """Rows before `since` or from `until` on are skipped and counted."""
    log = write(tmp_path / "log", rows(33, 1400))
    span = Span(domains=("customer",), since=BEGIN + 3 * DAY, until=BEGIN + 5 * DAY)
    counted = count(Selection(log=str(log), span=span), {"customer": Against(reference=usual, bundle=BUNDLE)})

    assert sorted(counted.bins["customer"].days) == [20_003, 20_004]
    assert counted.left_out["not_chosen"] + counted.bins["customer"].rows == 1400


def test_a_sample_is_bounded_and_the_same(tmp_path: Path) -> None:
    """A sample has at most the requested rows, covers all days, and does not depend on the order."""
    batch = rows(34, 3000)
    log = write(tmp_path / "log", batch, segments=4)
    found = sample(Selection(log=str(log), span=CUSTOMERS), 500)["customer"]
    again = next(thinned([batch], 500))

    assert len(found.times) == 500
    assert sorted(found.times.tolist()) == sorted(again.times.tolist())
    assert len(np.unique(found.times // DAY)) == 14


def test_a_log_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A missing log is refused by name."""
    with pytest.raises(InvalidFile, match="not a directory"):
        count(Selection(log=str(tmp_path / "gone"), span=CUSTOMERS), {})


def test_the_reference_is_small(usual: Reference) -> None:
    """A reference is small and survives encoding."""
    text = msgspec.json.encode(usual)
    assert len(text) < 60_000
    assert msgspec.json.decode(text, type=Reference) == usual


def test_the_page_loads_nothing(usual: Reference) -> None:
    """The page is one self-contained file with every signal, and charts for each drifted one."""
    found = drift(usual, rows(77, 6000, shift=Shift("address_llr", 9, by=1.2)))
    text = page("<decisions>", [found])

    assert "&lt;decisions&gt;" in text
    assert text.count("<figure>") == 2 * len(found.drifted)
    assert all(f">{name}</th>" in text.replace("<wbr/>", "") for name in (*NAMES, SCORE))
    assert "since 2024-10-13" in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
