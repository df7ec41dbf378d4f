"""Histories: folding deltas gives the same result in any order, memory is bounded, and it fades."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.core.history import (
    ACTIVITY_TABLES,
    HOUR,
    OLDEST,
    OWNERS,
    PROFILE_TABLES,
    SKETCH,
    SLOTS,
    TABLES,
    WEEK,
    WEEKLY_CAP,
    Delta,
    History,
    Table,
    cardinality,
    counted_since,
    decode,
    distinct,
    encode,
    fold,
    inverse,
    newest,
    owners,
    slot,
    trusted,
    units,
    window,
)
from riskd.core.marks import MARKS, placed, where
from riskd.core.tallies import LETTERS, SEEN, Tallies

law = settings(max_examples=60)
START = 3000 * WEEK
"""The beginning of a period of every table."""
KEY = b"P"
names = st.sampled_from(sorted(TABLES))
moments = st.tuples(st.integers(0, 20).map(lambda step: START + step * 1000.0), st.floats(0, 9))
Fact = tuple[float, tuple[str, int], tuple[float, float]]
"""Time, value seen, timestamp."""
sights = st.tuples(st.sampled_from(["who", "owner"]), st.sampled_from(SLOTS))


def remembered(*deltas: Delta) -> History:
    history = History()
    for delta in deltas:
        fold(history, delta)
    return history


def counted(value: str, week: int, n: int = 1, table: str = "country") -> Delta:
    return Delta(KEY, START + week * WEEK, math.inf, ((table, value, n),))


KEEP, CAPACITY = PROFILE_TABLES["country"].keep, PROFILE_TABLES["country"].capacity


@st.composite
def counting(draw: st.DrawFn, n: st.SearchStrategy[int]) -> list[Delta]:
    """Deltas to one table within its bounds: no more values than its capacity, no more periods than it keeps."""
    name = draw(names)
    table = TABLES[name]
    values = st.integers(0, table.capacity - 1).map(str)
    times = st.floats(START, START + table.keep * table.period, exclude_max=True)
    one = st.builds(lambda time, value, count: Delta(KEY, time, math.inf, ((name, value, count),)), times, values, n)
    return draw(st.lists(one, max_size=12))


@st.composite
def anything(draw: st.DrawFn) -> list[Delta]:
    """Deltas at any time with any values, beyond every bound, given and taken back."""
    counts = st.tuples(names, st.text(max_size=2), st.integers(-3, 5))
    marks = st.tuples(st.sampled_from(["visit", "place"]), moments)
    one = st.builds(
        Delta,
        st.just(KEY),
        st.floats(0, 2 * START),
        st.just(math.inf),
        st.lists(counts, max_size=6).map(tuple),
        st.lists(marks, max_size=3).map(tuple),
        st.lists(sights, max_size=3).map(tuple),
        st.booleans(),
    )
    return draw(st.lists(one, max_size=30))


@law
@given(counting(st.integers(1, 5)), st.randoms(use_true_random=False), st.data())
def test_counts_commute(deltas: list[Delta], random: Random, data: st.DataObject) -> None:
    """Counts are the same in every order, as long as a delta is taken back after it was given."""
    taken = data.draw(st.sets(st.sampled_from(range(len(deltas))))) if deltas else set()
    events, seen = [*range(len(deltas)), *taken], set()
    random.shuffle(events)
    history = History()
    for at in events:
        fold(history, inverse(deltas[at]) if at in seen else deltas[at])
        seen.add(at)

    assert history == remembered(*(delta for at, delta in enumerate(deltas) if at not in taken))


@law
@given(st.lists(st.tuples(st.floats(0, 2 * START), sights, moments), max_size=20), st.randoms(use_true_random=False))
def test_marks_and_sketches_commute(
    facts: list[tuple[float, tuple[str, int], tuple[float, float]]], random: Random
) -> None:
    """Distinct values and newest timestamps are the same in every order, however far apart and however many."""
    deltas = [Delta(KEY, time, math.inf, (), (("place", mark),), (sight,)) for time, sight, mark in facts]
    shuffled = random.sample(deltas, len(deltas))

    assert remembered(*shuffled) == remembered(*deltas)


@law
@given(counting(st.integers(1, 5)), st.data())
def test_taking_back_is_the_inverse(deltas: list[Delta], data: st.DataObject) -> None:
    """Taking back one delta leaves exactly what all the others taught."""
    if not deltas:
        return
    taken = data.draw(st.sampled_from(range(len(deltas))))
    others = deltas[:taken] + deltas[taken + 1 :]

    assert remembered(*deltas, inverse(deltas[taken])) == remembered(*others)


def sums(history: History, table: str) -> dict[tuple[str, int], int]:
    """Every count of a table by value and period."""
    values = history.tallies.of(table)
    return {(value, tally[0] + at): n for value, tally in values.items() for at, n in enumerate(tally[1:]) if n}


lessons = st.tuples(
    st.sampled_from("abcdefghijklm"),  # more values than the table's capacity
    st.integers(0, 60),  # more weeks than the table keeps
    st.integers(1, 3),
)


@law
@given(st.lists(st.tuples(lessons, st.booleans(), st.integers(0, 30)), max_size=30), st.booleans())
def test_nothing_of_a_fraud_remains(events: list[tuple[tuple[str, int, int], bool, int]], restarted: bool) -> None:
    """Even if values were evicted, expired or a history was reset before a fraud is taken back, no count is negative or
    above what honest sign-ins taught."""
    history = History()
    honest: dict[str, list[int]] = {}
    due: list[tuple[int, Delta]] = []
    for step, ((value, week, n), fraud, delay) in enumerate(events):
        lesson = counted(value, week, n)
        for _, late in [one for one in due if one[0] <= step]:
            fold(history, inverse(late))
        due = [one for one in due if one[0] > step]
        if restarted and step == len(events) // 2:
            history = History()
        fold(history, lesson)
        if fraud:
            due.append((step + delay, lesson))
        else:
            honest.setdefault(value, [0] * 100)[week] += n
    for _, late in due:
        fold(history, inverse(late))

    taught = {(value, START // WEEK + week): n for value, weeks in honest.items()
              for week, n in enumerate(weeks)}  # fmt: skip
    for at, n in sums(history, "country").items():
        assert 0 < n <= taught.get(at, 0)


@law
@given(st.lists(st.tuples(lessons, st.booleans()), max_size=30), st.randoms(use_true_random=False))
def test_fraud_is_taken_back_across_weeks(events: list[tuple[tuple[str, int, int], bool]], random: Random) -> None:
    """If no value was evicted, taking back frauds leaves exactly the honest counts in the periods that are kept."""
    events = [((value, week, n), fraud) for (value, week, n), fraud in events if value < "i"]
    frauds = [counted(*lesson) for lesson, fraud in events if fraud]
    random.shuffle(frauds)
    everything = remembered(*(counted(*lesson) for lesson, _ in events), *map(inverse, frauds))
    honest = remembered(*(counted(*lesson) for lesson, fraud in events if not fraud))

    end = max((week for (_, week, _), _ in events), default=0) + START // WEEK - KEEP
    kept = {at: n for at, n in sums(honest, "country").items() if at[1] > end}
    assert {at: n for at, n in sums(everything, "country").items() if at[1] > end} == kept


def test_marks_are_taken_back() -> None:
    """Taking back removes the timestamp that was taught and no other; one that was never taught changes nothing."""
    first, second = (Delta(KEY, START, math.inf, (), (("visit", (START + day,)),)) for day in (1.0, 2.0))

    assert remembered(first, second, inverse(first)) == remembered(second)
    assert remembered(first, inverse(first)) == History()
    assert remembered(first, inverse(second)) == remembered(first)


@law
@given(
    st.lists(st.tuples(st.sampled_from(["visit", "place"]), st.integers(0, 20)), max_size=8),
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 20), st.integers(1, 3)), max_size=8),
    st.integers(0, 20),
)
def test_keep_drops_exactly_what_is_older(
    visits: list[tuple[str, int]], taught: list[tuple[str, int, int]], keep: int
) -> None:
    """A delta with `keep` drops timestamps and profile weeks before that time, and nothing at or after it."""
    marked = [Delta(KEY, START, math.inf, (), ((kind, (START + at * WEEK,)),)) for kind, at in visits]
    lessons = [
        Delta(KEY, START + week * WEEK, math.inf, (("sign_in", "", n), ("country", value, n)))
        for value, week, n in taught
    ]
    last = Delta(KEY, START + 20 * WEEK, math.inf, (("sign_in", "", 1),), keep=keep * WEEK)
    since = last.time - last.keep
    before, after = remembered(*marked), remembered(*marked, *lessons, last)

    kept = {kind: [mark for mark in marks if mark[0] >= since] for kind, marks in before.marks.items()}
    assert after.marks == {kind: marks for kind, marks in kept.items() if marks}
    assert after.tallies == remembered(*[lesson for lesson in lessons if lesson.time >= since], last).tallies


@law
@given(anything())
def test_a_history_stays_within_its_bounds(deltas: list[Delta]) -> None:
    """No table, sketch or list of timestamps exceeds its bound."""
    history = remembered(*deltas)

    for name, table in TABLES.items():
        values = history.tallies.of(name)
        assert len(values) <= table.capacity
        assert all(len(tally) - 1 <= table.keep for tally in values.values())
    assert all(len(marks) <= MARKS for marks in history.marks.values())
    for name, last in history.sketches.items():
        assert max(last.values()) - min(last.values()) < (OWNERS if name == "owner" else SKETCH).keep
        assert all(slot in SLOTS for slot in last)


@law
@given(anything())
def test_tallies_are_canonical(deltas: list[Delta]) -> None:
    """Equal histories have equal representations: no leading or trailing zeros, no empty tables, the account's tally
    stored once, newest timestamps first."""
    history = remembered(*deltas)

    for name in TABLES:
        values = history.tallies.of(name)
        assert values or getattr(history.tallies, name) is None
        assert all(len(tally) > 1 and tally[1] and tally[-1] for tally in values.values())
        assert name not in SEEN or history.tallies.account not in (getattr(history.tallies, name) or {}).values()
    for marks in history.marks.values():
        assert marks
        assert marks == sorted(set(marks), reverse=True)


@law
@given(anything())
def test_each_table_counts_independently_of_the_others(deltas: list[Delta]) -> None:
    """Sharing the account's tally is invisible: each table has the counts that it would have on its own."""
    history = remembered(*deltas)

    for name in TABLES:
        own = [replace(delta, counts=tuple(count for count in delta.counts if count[0] == name)) for delta in deltas]
        assert history.tallies.of(name) == remembered(*own).tallies.of(name)


def test_a_value_of_every_sign_in_shares_the_accounts_tally() -> None:
    """A value that comes with every sign-in shares the account's tally while both counts are equal."""
    counts = (("sign_in", "", 2), ("country", "NO", 2), ("os", "iOS", 1), ("hour", "7", 2))
    together = Delta(KEY, START, math.inf, counts)
    alone = Delta(KEY, START + WEEK, math.inf, (("sign_in", "", 1),))
    history = remembered(together)
    assert msgspec.msgpack.decode(encode(history)) == [
        {"s": {"": [3000, 2]}, "c": {"NO": []}, "p": {"iOS": [3000, 1]}, "h": {"7": [3000, 2]}}, {}, {}]  # fmt: skip

    fold(history, alone)
    assert history.tallies.country == {"NO": [3000, 2]}
    fold(history, counted("NO", 1))
    assert history.tallies.country == {"NO": []}
    assert history.tallies.of("country") == {"NO": [3000, 2, 1]}


@law
@given(anything())
def test_encoding_keeps_everything(deltas: list[Delta]) -> None:
    """Decoding gives back what was encoded, and two decoded copies share no state."""
    history = remembered(*deltas)
    stored = encode(history)

    assert decode(stored) == history
    assert decode(stored).tallies is not decode(stored).tallies


@pytest.mark.parametrize("scrap", [b"", b"\xff", b"\x93\x80", b"\x93\x01\x02\x03"])
def test_scraps_are_refused(scrap: bytes) -> None:
    """Bytes that are no history raise DecodeError."""
    with pytest.raises(msgspec.DecodeError):
        decode(scrap)


@pytest.mark.parametrize(
    ("tallies", "marks"),
    [
        ({"s": {"": []}}, {}),
        ({"h": {"10": [480_000]}}, {}),
        ({}, {"visit": []}),
        ({}, {"visit": [[]]}),
    ],
)
def test_what_only_looks_like_a_history_is_refused(tallies: object, marks: object) -> None:
    """MessagePack of the right types raises DecodeError if a tally or a mark lacks what every one has, so that a
    damaged record is a gap for its subject, and not an error in a feature."""
    with pytest.raises(msgspec.DecodeError):
        decode(msgspec.msgpack.encode([tallies, marks, {}]))


def test_every_table_has_a_letter_of_its_own() -> None:
    """In the stored form, each table has its own letter."""
    assert set(Tallies.__struct_fields__) == set(LETTERS) == set(TABLES)
    assert Tallies.__struct_encode_fields__ == tuple(LETTERS.values())
    assert len(set(LETTERS.values())) == len(LETTERS)


def test_stored_histories_are_plain_messagepack() -> None:
    """The stored form is maps, arrays, integers, floats and strings, which any other implementation can read."""
    mark = placed(START + 0.5, 48.8571, -2.3522, 20.04)
    counts, slots = (("attempt", "", 2), ("country", "NO", 1)), (("who", SLOTS[3]),)
    seen = Delta(KEY, START, math.inf, counts, (("place", mark),), slots)

    assert msgspec.msgpack.decode(encode(remembered(seen)), strict=False) == [
        {"c": {"NO": [3000, 1]}, "A": {"": [START // 600, 2]}},
        {"place": [[START, 48857, -2352, 200]]},
        {"who": {67: START // (2 * HOUR)}},
    ]


def test_a_record_with_an_unknown_table_is_refused() -> None:
    """A record with an unknown table, from a later version, is refused, because the next write would lose that
    table."""
    with pytest.raises(msgspec.ValidationError):
        decode(msgspec.msgpack.encode([{"?": {"": [3000, 1]}}]))


@law
@given(st.floats(-90, 90), st.floats(-180, 180), st.floats(0, 20_000))
def test_a_place_is_remembered_to_a_hundred_metres(latitude: float, longitude: float, radius_km: float) -> None:
    """A place keeps half a thousandth of a degree and its radius keeps 50 m, finer than any geo database."""
    latitude_too, longitude_too, radius_too = where(placed(START, latitude, longitude, radius_km))

    assert abs(latitude_too - latitude) <= 0.000501
    assert abs(longitude_too - longitude) <= 0.000501
    assert abs(radius_too - radius_km) <= 0.0501


def test_counting_nothing_leaves_nothing() -> None:
    """A count of zero does not record the value."""
    assert remembered(Delta(KEY, START, math.inf, (("typing", "square", 0),))).tallies.typing is None


FILLING = [counted(f"filling {n}", week, 9) for n in range(CAPACITY - 2) for week in (KEEP - 2, KEEP - 1)]
"""All but two of the table's values, none of which is evicted before the values below."""


@pytest.mark.parametrize(
    ("goes", "stays", "why"),
    [
        ([(0, 5), (1, 5)], [(KEEP, 1)], "expired values before values used in one period"),
        ([(0, 5), (2, 5)], [(KEEP - 3, 1)], "a value expires when it leaves the periods that the table keeps"),
        (
            [(KEEP, 9)],
            [(3, 1), (4, 1)],
            "values used in one period before those used in several, whatever their counts and recency",
        ),
        ([(5, 9)], [(6, 1)], "the least recent of those used in one period"),
        ([(5, 9), (7, 9)], [(6, 1), (8, 1)], "the least recent of those used in several periods"),
        ([(5, 1)], [(5, 2)], "the rarest of those equally recent"),
        ([(5, 2), (7, 1)], [(3, 3), (7, 1)], "the rarest over all periods"),
    ],
)
def test_a_full_table_evicts_in_order(goes: list[tuple[int, int]], stays: list[tuple[int, int]], why: str) -> None:
    """A full table evicts expired values first, then those used in one period, then in several; each time the least
    recent, then the rarest."""
    pair = [counted("goes", *use) for use in goes] + [counted("stays", *use) for use in stays]
    newcomer = counted("new", KEEP + 2)

    for order in (FILLING + pair, pair[::-1] + FILLING):
        kept = remembered(*order, newcomer).tallies.of("country")
        assert len(kept) == CAPACITY
        assert {"new", "stays"} <= kept.keys(), why
        assert "goes" not in kept, why


def test_eviction_ties_are_broken_by_utf8_order() -> None:
    """Otherwise equal values are evicted in the order of their UTF-8 bytes, so that every store evicts the same one."""
    pair = ["\uffff", "\U00010000"]  # UTF-16 would order them the other way round
    kept = remembered(*FILLING, *(counted(value, 5) for value in pair), counted("new", KEEP - 1)).tallies.of("country")

    assert pair[1] in kept
    assert pair[0] not in kept


@law
@given(
    st.sampled_from([name for name, table in sorted(PROFILE_TABLES.items()) if table.capacity > 1]),
    st.lists(st.tuples(st.integers(0, 99), st.integers(0, 3)), min_size=1, max_size=60),
    st.data(),
)
def test_values_used_in_one_week_evict_at_most_one_regular_value(
    name: str, crowd: list[tuple[int, int]], data: st.DataObject
) -> None:
    """However many values are used in a single week, they evict at most one that was used in several."""
    capacity = PROFILE_TABLES[name].capacity
    own = [f"own {n}" for n in range(data.draw(st.integers(1, capacity)))]
    habit = [counted(value, week, table=name) for value in own for week in (0, 1)]
    strangers = [counted(f"{value} in week {week}", 2 + week, table=name) for value, week in crowd]

    kept = remembered(*habit, *strangers).tallies.of(name)

    assert len(kept.keys() & set(own)) >= min(len(own), capacity - 1)


def recent(history: History, table: str, value: str, now: float, seconds: float) -> float:
    return window(table, now, seconds).count(getattr(history.tallies, table), value)


@law
@given(
    st.sampled_from(sorted(ACTIVITY_TABLES)),
    st.lists(st.floats(START, START + 30 * HOUR), max_size=30),
    st.floats(START, START + 30 * HOUR),
    st.floats(0.1, 1.0),
)
def test_recent_counts_what_is_inside(name: str, times: list[float], now: float, share: float) -> None:
    """In any window that a table covers, each attempt counts by the share of its period inside the window."""
    table = TABLES[name]
    seconds = share * (table.keep - 1) * table.period
    past = sorted(time for time in times if time <= now)
    history = remembered(*(Delta(KEY, time, math.inf, ((name, "", 1),)) for time in past))
    since = (now - seconds) / table.period
    expected = sum(min(max(time // table.period + 1 - since, 0.0), 1.0) for time in past)

    assert window(name, now, seconds).count(getattr(history.tallies, name)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("seconds_later", "expected"),
    [(0, 1.0), (599, 1.0), (3600, 1.0), (3900, 0.5), (4199.4, 0.001), (4200, 0.0), (9000, 0.0)],
)
def test_an_attempt_leaves_the_hour_gradually(seconds_later: float, expected: float) -> None:
    """An attempt's period of ten minutes fades linearly as it leaves the window."""
    history = remembered(Delta(KEY, START, math.inf, (("attempt", "", 1),)))

    hour = window("attempt", START + seconds_later, HOUR)
    assert hour.count(history.tallies.attempt) == pytest.approx(expected, abs=1e-6)


def test_recent_knows_nothing_of_the_future_or_of_others() -> None:
    """Attempts after `now` are not recent, nor are those of another value or table."""
    later = Delta(KEY, START + 4 * HOUR, math.inf, (("journey_day", "payment", 3),))
    history = remembered(Delta(KEY, START, math.inf, (("journey_day", "payment", 2),)), later)

    day, payments = window("journey_day", START, 24 * HOUR), history.tallies.journey_day

    assert day.count(payments, "payment") == 2.0
    assert window("journey_day", START + 4 * HOUR, 24 * HOUR).count(payments, "payment") == 5.0
    assert window("journey_day", START - HOUR * 3, 24 * HOUR).count(payments, "payment") == 0.0
    assert day.count(payments, "login") == 0.0
    assert window("attempt", START, HOUR).count(history.tallies.attempt) == 0.0


tallies = st.lists(st.integers(0, 30), min_size=1, max_size=25).map(lambda counts: [3000, 1, *counts])
weeks = st.integers(-2, 60).map(lambda age: START + age * WEEK)


@law
@given(tallies, weeks, st.integers(0, 60))
def test_familiarity_fades(tally: list[int], now: float, later: int) -> None:
    """After the last lesson, familiarity falls every week and is zero after half a year."""
    over = max(now, START + 26 * WEEK)

    assert units(tally, over + later * WEEK) <= units(tally, over)
    assert trusted(tally, over + later * WEEK) <= trusted(tally, over)
    assert units(tally, START + 53 * WEEK) == 0.0


@law
@given(tallies, weeks, st.integers(0, 24), st.integers(1, 5))
def test_more_is_never_less(tally: list[int], now: float, week: int, n: int) -> None:
    """One more proof never lowers the worth of a value, whenever it came."""
    more = remembered(
        *(Delta(KEY, START + at * WEEK, math.inf, (("sign_in", "", count),)) for at, count in enumerate(tally[1:])),
        Delta(KEY, START + week * WEEK, math.inf, (("sign_in", "", n),)),
    ).tallies.of("sign_in")[""]

    assert units(more, now) >= units(tally, now)
    assert trusted(more, now) >= trusted(tally, now)


@law
@given(tallies, weeks)
def test_trust_is_at_most_what_was_learned(tally: list[int], now: float) -> None:
    """The poison guard only lowers what was learned, and a week earns at most its cap."""
    assert 0.0 <= trusted(tally, now) <= units(tally, now)
    assert units(tally, now) <= WEEKLY_CAP * (len(tally) - 1)


def test_a_new_value_is_on_probation() -> None:
    """A new value counts a third in its first week, two thirds in its second and fully from the third, however often it
    was proven."""
    tally = [3000, WEEKLY_CAP * 5]
    ages = [trusted(tally, START + age * WEEK) / units(tally, START + age * WEEK) for age in range(4)]

    assert ages == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0])
    assert units(tally, START) == WEEKLY_CAP


@law
@given(tallies, weeks)
def test_units_are_counted_for_half_a_year(tally: list[int], now: float) -> None:
    """`counted_since` counts units fully for 26 weeks, and then not at all."""
    week = int(now // WEEK)
    expected = sum(n for at, n in enumerate(tally[1:], tally[0]) if at >= week - 26)

    assert counted_since({"laptop": tally}, "laptop", int(now // WEEK) - OLDEST) == expected


@law
@given(tallies, weeks)
def test_units_are_what_each_week_earned_as_far_as_it_has_not_faded(tally: list[int], now: float) -> None:
    """Each week earns at most ten units, which halve every thirteen weeks and expire after half a year; future weeks
    count nothing."""
    ages = {int(now // WEEK) - at: n for at, n in enumerate(tally[1:], tally[0])}
    expected = sum(min(n, WEEKLY_CAP) * 2.0 ** (-age / 13) for age, n in ages.items() if 0 <= age <= OLDEST)

    assert units(tally, now) == pytest.approx(expected)


def test_half_is_forgotten_after_a_quarter() -> None:
    """The half-life is 13 weeks."""
    assert units([3000, 4], START + 13 * WEEK) == pytest.approx(2.0)
    assert units(None, START) == trusted(None, START) == units([], START) == 0
    assert counted_since(None, "", 3000) == counted_since({}, "", 3000) == 0


@pytest.mark.parametrize("count", [1, 4, 16, 32, 52, 80])
def test_sketches_estimate_distinct_values(count: int) -> None:
    """Estimates are unbiased, with the standard error of linear counting for 52 slots (Whang et al. 1990, eq. 10)."""
    load = count / 52
    error = math.sqrt(52 * (math.exp(load) - load - 1))
    random = Random(count)
    estimates = [cardinality(len({random.randrange(52) for _ in range(count)})) for _ in range(500)]

    assert sum(estimates) / 500 == pytest.approx(count, abs=0.06 * count + 0.02)
    assert math.sqrt(sum((estimate - count) ** 2 for estimate in estimates) / 500) <= 1.25 * error + 0.15


def test_sketches_saturate() -> None:
    """A full sketch estimates 205, never infinity."""
    assert cardinality(52) == pytest.approx(52 * math.log(52))
    assert str(cardinality(0)) == "0.0"


def test_pseudonyms_fill_all_slots_alike() -> None:
    """Two bytes choose one of 52 slots, evenly to within a thousandth."""
    chosen = Counter(slot(bytes((high, low))) for high in range(256) for low in range(256))

    assert sorted(chosen) == list(SLOTS)
    assert max(chosen.values()) / min(chosen.values()) <= 1.001


@pytest.mark.parametrize(("name", "table"), [("who", SKETCH), ("owner", OWNERS)])
def test_a_sketch_forgets_what_no_window_sees(name: str, table: Table) -> None:
    """A value last seen before the kept periods frees its slot, and no other value does."""
    one, other, last = SLOTS[:3]
    seen = [(one, 0), (other, 1), (last, table.keep - 1)]
    history = remembered(
        *(Delta(KEY, START + at * table.period, math.inf, (), (), ((name, slot),)) for slot, at in seen)
    )
    assert history.sketches[name].keys() == {one, other, last}

    fold(history, Delta(KEY, START + table.keep * table.period, math.inf, (), (), ((name, last),)))
    assert history.sketches[name].keys() == {other, last}


def test_distinct_values_leave_the_window() -> None:
    """Values count in whole periods of two hours, until the end of their period leaves the window."""
    history = remembered(
        Delta(KEY, START, math.inf, (), (), (("who", 1), ("who", 2))),
        Delta(KEY, START + 5 * HOUR, math.inf, (), (), (("who", 2), ("who", 3))),
    )
    three, two = cardinality(3), cardinality(2)

    assert distinct(history, "who", START + 5 * HOUR, 24 * HOUR) == three
    assert distinct(history, "who", START + 26 * HOUR - 1, 24 * HOUR) == three
    assert distinct(history, "who", START + 26 * HOUR, 24 * HOUR) == two
    assert distinct(history, "nobody", START, HOUR) == 0.0


@law
@given(st.lists(moments, max_size=10), st.integers(0, 25).map(lambda step: START + step * 1000.0))
def test_newest_is_the_latest_that_has_happened(marks: list[tuple[float, float]], now: float) -> None:
    """The newest timestamp is the latest one that is not in the future."""
    history = remembered(*(Delta(KEY, START, math.inf, (), (("place", mark),)) for mark in marks))
    kept = [mark for mark in history.marks.get("place", []) if mark[0] <= now]

    assert newest(history, "place", now) == max(kept, default=None)


def test_owners_are_counted_for_five_weeks() -> None:
    """Each owner proven at an address counts once, for five weeks after their last proof."""
    history = remembered(
        Delta(KEY, START, math.inf, (), (), (("owner", 1), ("owner", 2))),
        Delta(KEY, START + 3 * WEEK, math.inf, (), (), (("owner", 2), ("owner", 3))),
    )
    three, two = cardinality(3), cardinality(2)

    assert owners(history, START + 3 * WEEK) == owners(history, START + 5 * WEEK - 1) == three
    assert owners(history, START + 5 * WEEK) == owners(history, START + 8 * WEEK - 1) == two
    assert owners(history, START + 8 * WEEK) == owners(History(), START) == 0.0
