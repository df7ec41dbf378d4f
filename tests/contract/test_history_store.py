"""The contract of every `HistoryStore`."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from threading import Barrier, Thread
from typing import Final

import pytest

from riskd.core import stored
from riskd.core.errors import Unavailable
from riskd.core.history import (
    DAY,
    EMPTY,
    HOUR,
    PROFILE_TABLES,
    SKETCH,
    SLOTS,
    TABLES,
    WEEK,
    Delta,
    History,
    fold,
    inverse,
)
from riskd.core.marks import MARKS
from riskd.core.stored import Change, Swap
from riskd.core.tallies import Tallies
from riskd.ports import HistoryStore, IncompleteRead, IncompleteWrite
from riskd.transfer import transfer
from tests.contract.conftest import OPENERS, REMOTE, Losing
from tests.redis_servers import owned

NOW = 1_800_000_000.0
LATER = NOW + WEEK
SOON = 5.0
KEY, OTHER = bytes(16) + b"P", b"\xff" * 16 + b"A"
BESIDE = bytes(16) + b"A"
"""A key in the same place as KEY."""
PAPER, SECOND = b"\x77" * 16 + b"R", b"\x77" * 16 + b"Y"
"""Two documents in one place."""


def attempts(key: bytes, n: int = 1, expires: float = LATER) -> Delta:
    return Delta(key, NOW, expires, (("attempt", "", n),))


def history(store: HistoryStore, key: bytes, now: float = NOW) -> History:
    (found,), _ = store.read((key,), (), now, SOON)
    return found


def document(store: HistoryStore, key: bytes, now: float = NOW) -> bytes | None:
    _, (found,) = store.read((), (key,), now, SOON)
    return found


def count(store: HistoryStore, key: bytes) -> int:
    return sum(history(store, key).tallies.of("attempt").get("", [])[1:])


def test_an_empty_store_remembers_nothing(store: HistoryStore) -> None:
    """Before any write, a read gives an empty history or None for each key, and a read without keys gives nothing."""
    assert store.read((KEY, OTHER), (KEY,), NOW, SOON) == ([EMPTY, EMPTY], [None])
    assert store.read((), (), NOW, SOON) == ([], [])


def test_records_of_one_place_are_found_together(store: HistoryStore) -> None:
    """`held` lists the live records whose keys begin with a place, in order, up to a limit."""
    place, other = b"\0format.", b"\0format/"
    keys = [place + b"a" * 8 + b"A", place + b"a" * 8 + b"P", place + b"r" * 16 + PAPER]
    swaps = [Swap(keys[2], None, b"text", LATER), Swap(place + b"gone", None, b"text", NOW + 1)]
    assert store.write([attempts(keys[1]), attempts(keys[0]), attempts(other + b"A")], swaps, NOW, SOON)

    assert store.held(place, NOW + 1, 10) == keys
    assert store.held(place, NOW + 1, 2) == keys[:2]
    assert store.held(b"nowhere.", NOW, 10) == []


def test_writes_are_read_back(store: HistoryStore) -> None:
    """A read gives histories folded from their deltas, in the order of the keys, and documents as they were written."""
    visited = Delta(KEY, NOW, LATER, (), (("visit", (NOW, 1.5)),), (("who", SLOTS[0]),))
    deltas = [attempts(KEY), attempts(OTHER, 3), visited]
    assert store.write(deltas, (Swap(PAPER, None, b"\0text\xff", LATER),), NOW, SOON)

    expected = History()
    fold(expected, deltas[0])
    fold(expected, deltas[2])
    (other, absent, found), documents = store.read((OTHER, b"Pabsent", KEY), (PAPER, SECOND), NOW, SOON)

    assert found == expected
    assert absent == EMPTY
    assert other.tallies == Tallies(attempt={"": [int(NOW // 600), 3]})
    assert documents == [b"\0text\xff", None]


def test_writing_nothing_succeeds(store: HistoryStore) -> None:
    """A write without deltas and swaps succeeds and stores nothing."""
    assert store.write((), (), NOW, SOON)
    assert store.size()[0] == 0


def test_records_end_at_their_expiry(store: HistoryStore) -> None:
    """A record is there until just before its expiry, and gone at exactly that time."""
    store.write([attempts(KEY, expires=LATER)], (Swap(PAPER, None, b"text", LATER),), NOW, SOON)
    before = LATER - 2**-20

    assert history(store, KEY, before) != EMPTY
    assert document(store, PAPER, before) == b"text"
    assert history(store, KEY, LATER) == EMPTY
    assert document(store, PAPER, LATER) is None


def test_expired_records_are_as_good_as_absent(store: HistoryStore) -> None:
    """A write at or after the expiry starts a new record, for histories and documents."""
    store.write([attempts(KEY, 5, NOW + 10)], (Swap(PAPER, None, b"old", NOW + 10),), NOW, SOON)

    assert store.write([attempts(KEY, 1)], (Swap(PAPER, None, b"new", LATER),), NOW + 10, SOON)
    assert count(store, KEY) == 1
    assert document(store, PAPER) == b"new"


@pytest.mark.parametrize("expiries", [(10, 20), (20, 10)])
def test_a_history_lives_as_long_as_its_latest_delta(store: HistoryStore, expiries: tuple[int, int]) -> None:
    """A history expires with the latest expiry of its deltas, whatever their order."""
    for seconds in expiries:
        store.write([attempts(KEY, expires=NOW + seconds)], (), NOW, SOON)

    assert history(store, KEY, NOW + 19.9) != EMPTY
    assert history(store, KEY, NOW + 20) == EMPTY


def test_a_shorter_keep_moves_the_expiry_forward(store: HistoryStore) -> None:
    """A delta with `keep` brings a later expiry forward, but never before its own expiry, and delays no earlier one."""
    for expires, keep, end in ((LATER, math.inf, LATER), (NOW + 5, 10.0, NOW + 10), (NOW + 8, 60.0, NOW + 10)):
        store.write([Delta(KEY, NOW, expires, (("attempt", "", 1),), keep=keep)], (), NOW, SOON)
        assert history(store, KEY, end - 2**-20) != EMPTY
        assert history(store, KEY, end) == EMPTY
    store.write([Delta(KEY, NOW, NOW + 30, (("attempt", "", 1),), keep=1.0)], (), NOW, SOON)
    assert history(store, KEY, NOW + 29) != EMPTY


def test_a_delta_drops_what_is_past_its_retention(store: HistoryStore) -> None:
    """A delta with `keep` drops older timestamps and, in a profile, whole weeks from every table, including tables that
    it does not touch."""
    began, weeks = int(NOW // WEEK), 20
    for week in range(weeks):
        time = (began + week) * WEEK + HOUR
        country = ("country", "SE" if week == 2 else "NO", 2)
        typed = (("typing", "n", 1),) if week < 4 else ()
        counts = (("sign_in", "", 1), country, *typed)
        store.write([Delta(KEY, time, LATER, counts, (("visit", (time,)),))], (), NOW, SOON)
    marked = Delta(OTHER, NOW, LATER, (), (("payment", (NOW,)), ("recovered", (NOW + 2 * WEEK,))))
    store.write([marked], (), NOW, SOON)
    for keep, gone in ((math.inf, 0), (18 * WEEK, 1), (17 * WEEK, 2), (15 * WEEK + DAY, 3), (15 * WEEK, 4)):
        time = (began + weeks - 1) * WEEK + 2 * HOUR
        store.write([Delta(KEY, time, LATER, (("sign_in", "", 1),), keep=keep)], (), NOW, SOON)
        found = history(store, KEY)
        assert found.tallies.of("sign_in")[""][0] == began + gone
        assert found.tallies.of("typing").get("n", [began + 4, 1])[0] == began + gone
        assert ("SE" in found.tallies.of("country")) == (gone < 3)
        assert len(found.marks["visit"]) == MARKS

    store.write([Delta(OTHER, NOW + 2 * WEEK, LATER, (("attempt", "", 1),), keep=WEEK)], (), NOW, SOON)
    left = history(store, OTHER)
    assert left.marks == {"recovered": [(NOW + 2 * WEEK,)]}


def test_an_attempt_drops_counts_that_no_window_sees(store: HistoryStore) -> None:
    """A delta with `keep` drops the counts of activity that are older than their tables keep, including those of tables
    that it does not touch: of an account in use, nothing remains of a failure of last month."""
    tried = (("attempt", "", 1), ("attempt_day", "", 1))
    rare = (("failure", "", 1), ("failure_day", "", 1), ("journey_day", "payment", 1))
    began = NOW // (2 * HOUR) * 2 * HOUR
    store.write([Delta(KEY, began, LATER, (*tried, *rare), keep=30 * DAY)], (), NOW, SOON)
    for later, left in (
        (70 * 60 - 1, {"failure", "failure_day", "journey_day"}),
        (70 * 60, {"failure_day", "journey_day"}),
        (26 * HOUR - 1, {"failure_day", "journey_day"}),
        (26 * HOUR, set()),
    ):
        store.write([Delta(KEY, began + later, LATER, tried, keep=30 * DAY)], (), NOW, SOON)
        found = history(store, KEY).tallies
        assert {name for name in ("failure", "failure_day", "journey_day") if getattr(found, name)} == left
        assert found.attempt


def test_a_delta_that_has_expired_begins_nothing(store: HistoryStore) -> None:
    """A delta that has already expired creates no record."""
    assert store.write([attempts(KEY, expires=NOW)], (), NOW, SOON)
    assert store.size()[0] == 0


def test_nothing_read_is_shared_with_the_store(store: HistoryStore) -> None:
    """Changing a history that was read does not affect the next reader."""
    store.write([attempts(KEY)], (), NOW, SOON)
    first = history(store, KEY)
    first.tallies.of("attempt")[""][1] = 99
    first.marks["visit"] = [(NOW,)]

    assert count(store, KEY) == 1
    assert history(store, KEY) != first


def test_nothing_written_is_shared_with_the_store(store: HistoryStore) -> None:
    """A caller may reuse its buffers after a write."""
    deltas, swaps = [attempts(KEY)], [Swap(PAPER, None, b"text", LATER)]
    store.write(deltas, swaps, NOW, SOON)
    deltas.clear()
    swaps.clear()

    assert count(store, KEY) == 1
    assert document(store, PAPER) == b"text"


def test_taking_back_everything_leaves_no_record(store: HistoryStore) -> None:
    """A delta followed by its inverse leaves the previous state; if there was none, no record."""
    delta = Delta(KEY, NOW, LATER, (("country", "NO", 3),), (("visit", (NOW,)),))
    store.write([delta], (), NOW, SOON)
    store.write([inverse(delta)], (), NOW, SOON)

    assert history(store, KEY) == EMPTY
    assert store.size()[0] == 0


def test_taking_back_from_what_is_gone_changes_nothing(store: HistoryStore) -> None:
    """Fraud confirmed after an erasure does not bring the record back."""
    delta = Delta(KEY, NOW, LATER, (("country", "NO", 3),))
    store.write([delta], (), NOW, SOON)
    store.erase([KEY])

    assert store.write([inverse(delta)], (), NOW, SOON)
    assert history(store, KEY) == EMPTY


def test_a_swap_replaces_what_was_read(store: HistoryStore) -> None:
    """A swap that expects the current content replaces it and sets the new expiry."""
    assert store.write((), [Swap(PAPER, None, b"one", LATER)], NOW, SOON)
    assert store.write((), [Swap(PAPER, b"one", b"two", NOW + 5)], NOW, SOON)

    assert document(store, PAPER, NOW + 4) == b"two"
    assert document(store, PAPER, NOW + 5) is None


@pytest.mark.parametrize("expected", [None, b"other", b""])
def test_a_failed_swap_changes_nothing(store: HistoryStore, expected: bytes | None) -> None:
    """If one document is not as expected, no delta and no other swap of the write is applied."""
    store.write([attempts(KEY)], [Swap(PAPER, None, b"one", LATER)], NOW, SOON)
    swaps = [Swap(SECOND, None, b"fine", LATER), Swap(PAPER, expected, b"two", LATER)]

    assert not store.write([attempts(KEY), attempts(OTHER)], swaps, NOW, SOON)
    assert count(store, KEY) == 1
    assert history(store, OTHER) == EMPTY
    assert document(store, PAPER) == b"one"
    assert document(store, SECOND) is None


def test_expecting_a_document_where_there_is_none_fails(store: HistoryStore) -> None:
    """Expecting empty content is not the same as expecting no document."""
    assert not store.write((), [Swap(PAPER, b"", b"text", LATER)], NOW, SOON)
    assert store.write((), [Swap(PAPER, None, b"", LATER)], NOW, SOON)
    assert document(store, PAPER) == b""
    assert not store.write((), [Swap(PAPER, None, b"text", LATER)], NOW, SOON)


def test_of_many_first_writers_one_wins(store: HistoryStore) -> None:
    """Of eight threads that expect no document at the same time, one succeeds, and only its deltas count."""
    gate = Barrier(8)
    won: list[bytes] = []

    def race(number: int) -> None:
        gate.wait()
        if store.write([attempts(KEY)], [Swap(PAPER, None, b"%d" % number, LATER)], NOW, 10.0):
            won.append(b"%d" % number)

    run(8, race)
    assert [document(store, PAPER)] == won
    assert count(store, KEY) == 1


def test_threads_lose_no_count(store: HistoryStore) -> None:
    """Counts written by eight threads to the same histories add up."""

    def hammer(_: int) -> None:
        for _ in range(50):
            assert store.write([attempts(KEY), attempts(OTHER)], (), NOW, 10.0)

    run(8, hammer)
    assert (count(store, KEY), count(store, OTHER)) == (400, 400)


def test_a_read_is_one_snapshot(store: HistoryStore) -> None:
    """Histories in one place that are always written together are always read in the same state."""
    seen: list[bool] = []

    def read(number: int) -> None:
        for _ in range(100):
            if number == 0:
                store.write([attempts(KEY), attempts(BESIDE)], (), NOW, 10.0)
            else:
                (one, two), _ = store.read((KEY, BESIDE), (), NOW, 10.0)
                seen.append(one == two)

    run(4, read)
    assert len(seen) == 300
    assert all(seen)


def run(threads: int, work: Callable[[int], None]) -> None:
    """Run `work` in several threads at once, each with its number."""
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as failure:
            failures.append(failure)

    running = [Thread(target=guarded, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert failures == []


def test_erased_is_gone(store: HistoryStore) -> None:
    """Erasing returns how many of the keys existed, removes histories and documents, and leaves the rest."""
    store.write([attempts(KEY), attempts(OTHER)], [Swap(PAPER, None, b"text", LATER)], NOW, SOON)

    assert store.erase([KEY, PAPER, b"Pabsent", KEY]) == 2
    assert history(store, KEY) == EMPTY
    assert history(store, OTHER) != EMPTY
    assert document(store, PAPER) is None
    assert store.erase([KEY]) == 0
    assert store.size()[0] == 1


def test_a_walk_meets_every_key(store: HistoryStore) -> None:
    """Walking with any step size visits every key and ends; an empty store has none."""
    assert store.walk(b"", 3) == ([], b"")
    keys = {b"\0%03d" % number for number in range(40)}
    store.write([attempts(key, expires=LATER) for key in keys], (), NOW, SOON)

    for limit in (1, 7, 40, 100):
        found: list[bytes] = []
        step, cursor = store.walk(b"", limit)
        found += step
        while cursor:
            step, cursor = store.walk(cursor, limit)
            found += step
        assert set(found) == keys


def test_records_are_replaced_whole(store: HistoryStore) -> None:
    """A loaded record can be moved with its expiry: written at another key and deleted at the old one."""
    store.write([attempts(KEY, 3)], (Swap(PAPER, None, b"text", LATER),), NOW, SOON)
    (record, paper, absent) = store.load((KEY, PAPER, OTHER))
    assert record is not None
    assert (paper, absent) == (stored.pack(LATER, b"text"), None)
    assert (stored.expiry(record), stored.history(record, NOW)) == (LATER, history(store, KEY))

    assert store.replace([Change(OTHER, None, record), Change(KEY, record, None)])
    assert (count(store, OTHER), history(store, KEY)) == (3, EMPTY)
    assert store.load((KEY, OTHER)) == [None, record]


def test_a_failed_replacement_changes_nothing(store: HistoryStore) -> None:
    """If one record is not exactly as it was loaded, nothing in its place is changed; replacing nothing succeeds."""
    store.write([attempts(KEY), attempts(BESIDE)], (), NOW, SOON)
    record, beside = store.load((KEY, BESIDE))
    store.write([attempts(KEY)], (), NOW, SOON)

    assert not store.replace([Change(BESIDE, beside, None), Change(KEY, record, None)])
    assert not store.replace([Change(KEY, b"", b"new"), Change(BESIDE, beside, None)])
    assert (count(store, KEY), store.load((BESIDE,))) == (2, [beside])
    assert store.replace([])


@pytest.mark.parametrize("store", [name for name in OPENERS if name != "cluster"], indirect=True)
def test_a_failed_replacement_changes_no_place(store: HistoryStore) -> None:
    """In an atomic store, if one record is not exactly as it was loaded, nothing in any place is changed."""
    assert store.atomic()
    store.write([attempts(KEY)], (Swap(PAPER, None, b"text", LATER),), NOW, SOON)
    (record,) = store.load((KEY,))
    store.write([attempts(KEY)], (), NOW, SOON)

    assert not store.replace([Change(PAPER, stored.pack(LATER, b"text"), None), Change(KEY, record, None)])
    assert not store.replace([Change(SECOND, b"", b"new"), Change(OTHER, None, record)])
    assert (count(store, KEY), document(store, PAPER), history(store, OTHER)) == (2, b"text", EMPTY)


def test_sweeping_removes_only_expired_records(sweeping_store: HistoryStore) -> None:
    """A sweep over everything removes the expired histories and documents, and nothing else."""
    deltas = [attempts(b"P%03d" % number, expires=NOW + 1 + number % 2) for number in range(150)]
    sweeping_store.write(deltas, [Swap(PAPER, None, b"text", NOW + 1)], NOW, SOON)

    assert sweeping_store.sweep(NOW, 1000) == 0
    assert sweeping_store.sweep(NOW + 1, 1000) == 76
    assert sweeping_store.size()[0] == 75
    assert history(sweeping_store, b"P001") != EMPTY


def test_sweeping_continues_where_it_stopped(sweeping_store: HistoryStore) -> None:
    """Small sweeps continue where the last one stopped, remove at most their limit, cover everything, and start
    over."""
    sweeping_store.write([attempts(b"P%03d" % number, expires=NOW + 1) for number in range(100)], (), NOW, SOON)

    removed = [sweeping_store.sweep(NOW + 1, 9) for _ in range(12)]
    assert sum(removed) == 100
    assert max(removed) <= 9

    sweeping_store.write([attempts(b"P050", expires=NOW + 1)], (), NOW, SOON)
    assert sum(sweeping_store.sweep(NOW + 1, 9) for _ in range(3)) == 1


@pytest.mark.parametrize("store", ["lmdb", *REMOTE], indirect=True)
def test_a_sweep_goes_on_where_another_process_stopped(store: HistoryStore) -> None:
    """A process that is given the place where another stopped goes on from there, to the end, whatever it swept
    itself."""
    store.write([attempts(b"%08dentity..P" % number) for number in range(100)], (), NOW, SOON)
    cursor, steps = b"", 0
    while cursor or not steps:
        store.swept = b""
        store.sweep(NOW, 9)
        store.swept = cursor
        store.sweep(NOW, 9)
        cursor, steps = store.swept, steps + 1
        assert steps < 100
    assert steps > 3


def test_expired_records_go_although_others_of_their_place_stay(store: HistoryStore) -> None:
    """Sweeps delete the expired records of subjects who stay away, however many a subject has, and no others."""
    places = [b"%08d" % number for number in range(60)]
    for ends in (NOW + 100, NOW + 200):
        for place in places:
            receipts = [Swap(b"%se%07dR" % (place, number), None, b"text", ends) for number in range(3)]
            store.write([attempts(place + b"entity..P")], receipts, NOW, SOON)
        assert sum(store.sweep(ends - 1, 25) for _ in range(12)) == 0
        store.write([], [Swap(b"%sm%07dR" % (places[0], number), None, b"", ends) for number in range(2000)], NOW, SOON)
        assert sum(store.sweep(ends, 1000) for _ in range(4)) == 2180
        assert len([key for place in places for key in store.held(place, NOW, 9)]) == len(places)
        assert store.load([place + b"entity..P" for place in places]).count(None) == 0


def test_sweeping_an_empty_store_finds_nothing(store: HistoryStore) -> None:
    """Sweeping an empty store returns 0."""
    assert [store.sweep(NOW, 10) for _ in range(3)] == [0, 0, 0]


def test_one_record_stays_small(store: HistoryStore) -> None:
    """The record of one subject is bounded, however many distinct values it shows."""
    for number in range(2000):
        time = NOW - 3 * WEEK + number * HOUR / 4
        counts = tuple((table, f"{number}-{'x' * 20}", 1) for table in PROFILE_TABLES)
        marks = (("place", (time, 1.0, 2.0, 3.0)),)
        store.write([Delta(KEY, time, LATER, counts, marks, (("address", SLOTS[number % len(SLOTS)]),))], (), NOW, SOON)

    found = history(store, KEY)
    for name, table in PROFILE_TABLES.items():
        assert len(found.tallies.of(name)) <= table.capacity
    assert len(found.marks["place"]) == MARKS
    assert len(found.sketches["address"]) <= SKETCH.capacity
    assert store.size()[0] == 1


def test_size_grows_with_what_is_held(store: HistoryStore) -> None:
    """Every store counts the same number of records, and at least the bytes of their contents."""
    assert store.size()[0] == 0
    for number in range(20):
        assert store.write((), [Swap(b"R%d" % number, None, bytes(1000), LATER)], NOW, SOON)
    records, size = store.size()

    assert records == 20
    assert size >= 20_000


@pytest.mark.parametrize("value", ["", "日本語", "Zürich\u0301", "a\0b", "\U0001f600" * 40, "x" * 4000, "' OR 1=1 --"])
def test_values_are_kept_as_they_are(store: HistoryStore, value: str) -> None:
    """Any text can be a value."""
    store.write([Delta(KEY, NOW, LATER, (("country", value, 1),))], (), NOW, SOON)
    found = history(store, KEY)

    assert list(found.tallies.of("country")) == [value]


@pytest.mark.parametrize("key", [b"P", b"P" + b"\xff" * 16, PAPER + bytes(39), bytes(17)])
def test_keys_are_any_bytes(store: HistoryStore, key: bytes) -> None:
    """Keys may hold any bytes, up to 40."""
    store.write([attempts(key)], [Swap(key + b"d", None, key, LATER)], NOW, SOON)

    assert count(store, key) == 1
    assert document(store, key + b"d") == key
    assert store.erase([key, key + b"d"]) == 2


def test_no_time_left_is_unavailable(store: HistoryStore) -> None:
    """If the deadline has passed, the call raises Unavailable and changes nothing."""
    for timeout in (0.0, -1.0):
        with pytest.raises(Unavailable):
            store.read((KEY,), (), NOW, timeout)
        with pytest.raises(Unavailable):
            store.write([attempts(KEY)], (), NOW, timeout)
    assert history(store, KEY) == EMPTY


def test_closing_twice_is_closing_once(store: HistoryStore) -> None:
    """Closing is idempotent."""
    store.write([attempts(KEY)], (), NOW, SOON)
    store.close()
    store.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_all_stores_keep_equal_histories(all_stores: list[HistoryStore]) -> None:
    """Thousands of random operations give the same answers and the same histories in every store, and fill every
    table."""
    random, now, full = Random(6), NOW, set[str]()
    for number in range(4_000):
        now += random.expovariate(1 / 900)
        operation = drawn(random, all_stores[0], now)
        first, *others = [operation(store) for store in all_stores]
        assert others == [first] * len(others), number
        if isinstance(first, tuple):
            full.update(*[overflowing(one) for one in first[0] if one])
    remembered = [store.read(PROFILES, PAPERS, now, SOON) for store in all_stores]
    assert any(remembered[0][0])
    assert all(one == remembered[0] for one in remembered)
    assert full == set(TABLES)


def overflowing(history: History) -> set[str]:
    """The tables that are full, so that one more value needs an eviction."""
    return {name for name, table in TABLES.items() if len(history.tallies.of(name)) == table.capacity}


PLACES = [b"place  %d" % number for number in range(3)]
PROFILES = [place + b"entity" + kind for place in PLACES for kind in (b"P", b"A")]
PAPERS = [place + b"unique" + kind for place in PLACES for kind in (b"R", b"Y")]


def drawn(random: Random, store: HistoryStore, now: float) -> Callable[[HistoryStore], object]:
    """A random write, read, listing of a place, transfer, erasure or sweep."""
    choice = random.random()
    if choice < 0.7:
        deltas, swaps = drawn_write(random, store, now)
        return lambda one: one.write(deltas, swaps, now, SOON)
    if choice < 0.705:
        keys = random.sample(PROFILES + PAPERS, 2)
        return lambda one: (one.erase(keys), None)[1]
    if choice < 0.71:
        source, target = random.sample(PROFILES, 2)
        return lambda one: moved(one, source, target, now)
    if choice < 0.8:
        return lambda one: (one.sweep(now, 1000), None)[1]
    if choice < 0.85:
        place = random.choice(PLACES)
        return lambda one: one.held(place, now, 3)
    return lambda one: one.read(PROFILES, PAPERS, now, SOON)


def moved(store: HistoryStore, source: bytes, target: bytes, now: float) -> int:
    """Transfer a record, unless the target has one. Some stores still have expired ones, which are deleted first."""
    for key, record in zip((source, target), store.load((source, target)), strict=True):
        if record is not None and stored.expired(record, now):
            store.erase([key])
    return transfer(store, source, (target,), lambda record, there: [there[0] or record])


def drawn_write(random: Random, store: HistoryStore, now: float) -> tuple[list[Delta], list[Swap]]:
    """Deltas, and swaps in one place. If a swap is to fail, all deltas are in its place, because a cluster does not
    undo all of those in others (`HistoryStore.write`)."""
    deltas = [drawn_delta(random, now) for _ in range(random.randrange(4))]
    place = random.choice(PLACES)
    swaps, refused = [], False
    for paper in random.sample([paper for paper in PAPERS if paper.startswith(place)], random.randrange(3)):
        there = document(store, paper, now)
        expected = random.choice([None, there])
        refused = refused or expected != there
        swaps.append(Swap(paper, expected, random.randbytes(9), now + random.choice([0, HOUR, WEEK])))
    return [delta for delta in deltas if not refused or delta.key.startswith(place)], swaps


def drawn_delta(random: Random, now: float) -> Delta:
    """A delta with counts of several tables, marks and sketches, recent or old; some take back."""
    time, expires = (
        now - random.choice([0, 0, HOUR, 26 * HOUR, WEEK, 5 * WEEK, 26 * WEEK, 30 * WEEK]),
        now + random.choice([0, HOUR, WEEK]),
    )
    tables = random.sample(sorted(TABLES), 6)
    counts = tuple((table, drawn_value(random, TABLES[table].capacity), random.randint(1, 3)) for table in tables)
    if random.random() < 0.5:  # a sign-in, in which some tables share the account's tally
        counts = (("sign_in", "", 1), *((table, value, random.choice([1, 1, n])) for table, value, n in counts))
    mark = (time,) if random.random() < 0.5 else (time, random.choice([0.5, 2.0]), 1 / 3)
    delta = Delta(
        random.choice(PROFILES),
        time,
        expires,
        counts,
        (("visit", mark),),
        ((random.choice(["who", "owner"]), random.choice(SLOTS)),),
        keep=random.choice([*[math.inf] * 40, HOUR, WEEK, 5 * WEEK, 26 * WEEK]),
    )
    return inverse(delta) if random.random() < 0.2 else delta


def drawn_value(random: Random, capacity: int) -> str:
    """One of slightly more values than the table holds; some differ only in case, some are beyond the basic plane."""
    return random.choice(["", "a", "B", "\u00e9", "\uffee", "\U0001f511", "Z"]) + str(
        random.randrange(capacity // 4 + 1)
    )


def test_marks_are_ordered_alike(store: HistoryStore) -> None:
    """Marks of one second are ordered by their value, those without one come last, four of a kind are kept, and
    repetitions change nothing."""
    at = int(NOW)
    marks = [(at, 2), (at,), (at + 60, 0), (at, 0), (at, 1), (at - DAY, 2), (at + 60, 0)]
    for order in (marks, marks[::-1]):
        store.erase([OTHER])
        for mark in order:
            store.write(
                [Delta(OTHER, mark[0], LATER, (), (("reported", mark), ("profile_update", mark[:1])))], (), NOW, SOON
            )
        found = history(store, OTHER)
        assert found.marks["reported"] == [(at + 60, 0), (at, 2), (at, 1), (at, 0)]
        assert found.marks["profile_update"] == [(at + 60,), (at,), (at - DAY,)]
        assert all(type(number) is int for kept in found.marks.values() for mark in kept for number in mark)


OWN, NEAR, FAR = (place + b"entity..A" for first in (0, 6000, 12_000) for place in owned(first, first + 4000, 1))
"""Keys of places on each of three masters. What is tested is the place `FAR`, which gets lost."""
LOST: Final = FAR[: stored.PLACE]
NEW: Final = [Swap(OWN[:-1] + b"R", None, b"receipt", LATER), Swap(OWN[:-1] + b"Y", None, b"reply", LATER)]


def counts(store: HistoryStore) -> tuple[int, ...]:
    return tuple(count(store, key) for key in (OWN, NEAR, FAR))


def test_a_read_returns_what_can_be_read(partial: tuple[HistoryStore, Losing]) -> None:
    """If one place cannot be reached, a read raises `IncompleteRead` with all that the others hold. If nothing can be
    read, and for `load`, it is `Unavailable` as a whole."""
    store, losing = partial
    everything = [attempts(OWN), attempts(NEAR), attempts(FAR)]
    assert store.write(everything, NEW, NOW, SOON)
    (own, near, far), papers = whole = store.read((OWN, NEAR, FAR), [swap.key for swap in NEW], NOW, SOON)
    assert EMPTY not in (own, near, far)
    with losing(LOST):
        with pytest.raises(IncompleteRead) as caught:
            store.read((OWN, FAR, NEAR), [swap.key for swap in NEW], NOW, SOON)
        assert (caught.value.histories, caught.value.documents) == ([own, EMPTY, near], papers)
        assert caught.value.unread == {FAR}
        assert caught.value.problems
        assert store.read((OWN, NEAR), (), NOW, SOON) == ([own, near], [])
        with pytest.raises(Unavailable) as failed:
            store.read((FAR,), (), NOW, SOON)
        assert not isinstance(failed.value, IncompleteRead)
    assert store.read((OWN, NEAR, FAR), [swap.key for swap in NEW], NOW, SOON) == whole


@pytest.mark.parametrize("replacing", [False, True], ids=["new documents", "a document replaced"])
def test_a_write_applies_what_can_be_applied(partial: tuple[HistoryStore, Losing], replacing: bool) -> None:
    """If a place other than that of the swaps cannot be reached, a write raises `IncompleteWrite`: the swaps, and the
    deltas of all other places, are applied, once."""
    store, losing = partial
    swaps = NEW
    if replacing:
        assert store.write((), NEW, NOW, SOON)
        swaps = [Swap(NEW[0].key, b"receipt", b"taught", LATER)]
    with losing(LOST), pytest.raises(IncompleteWrite):
        store.write([attempts(FAR), attempts(OWN), attempts(NEAR)], swaps, NOW, SOON)
    assert counts(store) == (1, 1, 0)
    assert [document(store, swap.key) for swap in swaps] == [swap.document for swap in swaps]


def test_a_write_whose_documents_are_lost_is_unavailable(partial: tuple[HistoryStore, Losing]) -> None:
    """If the place of the swaps cannot be reached, the write is `Unavailable` and keeps no document."""
    store, losing = partial
    swaps = [Swap(FAR[:-1] + b"R", None, b"receipt", LATER)]
    with losing(LOST), pytest.raises(Unavailable) as failed:
        store.write([attempts(OWN), attempts(NEAR), attempts(FAR)], swaps, NOW, SOON)
    assert not isinstance(failed.value, IncompleteWrite)
    assert document(store, swaps[0].key) is None
    assert count(store, FAR) == 0


def test_a_refused_write_leaves_no_count_although_a_place_is_lost(partial: tuple[HistoryStore, Losing]) -> None:
    """A write whose swap is refused returns False and counts nowhere, also while another place cannot be reached."""
    store, losing = partial
    assert store.write((), NEW, NOW, SOON)
    with losing(LOST):
        assert not store.write([attempts(OWN), attempts(NEAR), attempts(FAR)], NEW, NOW, SOON)
    assert counts(store) == (0, 0, 0)
