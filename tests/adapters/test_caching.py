"""Which changes a caching store may see late, and which it always sees at once."""

from __future__ import annotations

import pytest

from riskd.adapters import caching
from riskd.adapters.caching import QUIET_SECONDS, CachingStore
from riskd.adapters.memory import MemoryStore
from riskd.adapters.null import NullMeter
from riskd.core.errors import Problem, Unavailable
from riskd.core.history import EMPTY, Delta
from riskd.core.recall import COMMON, PROFILE
from riskd.core.stored import PLACE, Change
from riskd.ports import IncompleteRead, IncompleteWrite
from tests.doubles import CountingMeter, PartialStore

NOW = 1_800_000_000.0
ONE = (("sign_in", "", 1),)
COUNTRY, SUBJECT = b"c" * 16 + COMMON, b"s" * 16 + PROFILE
OTHER, THIRD = b"o" * 16 + COMMON, b"t" * 16 + COMMON


def taught(key: bytes) -> Delta:
    return Delta(key, NOW, NOW + 1e6, ONE)


def units(store: CachingStore, key: bytes, now: float) -> int:
    (history,), _ = store.read((key,), (), now, 1.0)
    return sum(history.tallies.account[1:])


def test_others_changes_to_a_common_value_are_seen_after_its_staleness() -> None:
    """Another worker's change to a common value may go unseen for at most five seconds."""
    shared = MemoryStore()
    ours, theirs = CachingStore(shared, NullMeter(), seconds=5.0), CachingStore(shared, NullMeter(), seconds=5.0)
    assert units(ours, COUNTRY, NOW) == 0
    theirs.write((taught(COUNTRY),), (), NOW, 1.0)

    assert units(ours, COUNTRY, NOW + 4.9) == 0
    assert units(ours, COUNTRY, NOW + 5.0) == 1


def test_a_person_s_history_is_never_late() -> None:
    """Only common values are cached: changes to a subject's history are seen at once."""
    shared = MemoryStore()
    ours, theirs = CachingStore(shared, NullMeter()), CachingStore(shared, NullMeter())
    assert units(ours, SUBJECT, NOW) == 0
    theirs.write((taught(SUBJECT),), (), NOW, 1.0)

    assert units(ours, SUBJECT, NOW) == 1


def test_own_changes_are_seen_at_once() -> None:
    """A worker reads its own writes, replacements and erasures at once."""
    store = CachingStore(MemoryStore(), NullMeter())
    assert units(store, COUNTRY, NOW) == 0
    store.write((taught(COUNTRY),), (), NOW, 1.0)
    assert units(store, COUNTRY, NOW) == 1
    (record,) = store.load((COUNTRY,))
    assert store.replace((Change(COUNTRY, record, None),))
    assert units(store, COUNTRY, NOW) == 0
    assert store.replace((Change(COUNTRY, None, record),))
    assert units(store, COUNTRY, NOW) == 1
    store.erase((COUNTRY,))
    assert units(store, COUNTRY, NOW) == 0


def test_the_share_of_hits_is_counted() -> None:
    """Reads of common values are counted as cache hits or misses; those of subjects are not counted."""
    meter = CountingMeter()
    store = CachingStore(MemoryStore(), meter)
    for _ in range(3):
        store.read((COUNTRY, SUBJECT), (), NOW, 1.0)
    assert meter.told == {("recalled", "memory"): 2, ("recalled", "store"): 1}


def test_memory_is_bounded() -> None:
    """The cache is bounded, and values beyond the bound are still answered."""
    store = CachingStore(MemoryStore(), NullMeter(), bound=10)
    for number in range(100):
        key = number.to_bytes(16, "big") + COMMON
        store.write((taught(key),), (), NOW, 1.0)
        assert units(store, key, NOW) == 1

    assert len(store._cache) <= 10


def test_a_clock_that_steps_back_forgets() -> None:
    """If the clock steps back, an entry cached in what is now the future is read again."""
    shared = MemoryStore()
    ours = CachingStore(shared, NullMeter())
    assert units(ours, COUNTRY, NOW) == 0
    shared.write((taught(COUNTRY),), (), NOW, 1.0)

    assert units(ours, COUNTRY, NOW - 3600) == 1


def test_what_cannot_be_read_is_as_it_was() -> None:
    """A common value whose place cannot be read is as it was when it was last read, hours later too; one that never
    was read, and what is nobody else's business, are unread. Nothing unread is remembered as absent."""
    shared = PartialStore()
    store = CachingStore(shared, NullMeter())
    shared.write((taught(COUNTRY), taught(OTHER), taught(SUBJECT)), (), NOW, 1.0)
    ((known,), _) = store.read((COUNTRY,), (), NOW, 1.0)
    assert known != EMPTY
    shared.unread = lambda place: place in (COUNTRY[:PLACE], SUBJECT[:PLACE])
    for quiet in (10.0, 20.0):
        assert units(store, OTHER, NOW + quiet) == 1
    for later in (30.0, 60.0, 3600.0):
        with pytest.raises(IncompleteRead) as part:
            store.read((SUBJECT, COUNTRY, OTHER), (), NOW + later, 1.0)
        assert part.value.unread == {SUBJECT}
        subject, country, other = part.value.histories
        assert (subject, country, other != EMPTY) == (EMPTY, known, True)
    shared.unread = lambda place: place == THIRD[:PLACE]
    shared.write((taught(THIRD),), (), NOW, 1.0)
    for _ in range(2):
        with pytest.raises(IncompleteRead) as part:
            store.read((THIRD, SUBJECT), (), NOW, 1.0)
        assert part.value.unread == {THIRD}
    shared.unread = lambda _: False
    assert units(store, THIRD, NOW) == 1


def test_own_changes_are_seen_even_if_the_write_failed() -> None:
    """After a write that reached only some places, a worker reads common values again."""
    shared = PartialStore()
    store = CachingStore(shared, NullMeter())
    assert units(store, COUNTRY, NOW) == 0
    shared.unwritten = lambda place: place == OTHER[:PLACE]
    with pytest.raises(IncompleteWrite):
        store.write((taught(COUNTRY), taught(OTHER)), (), NOW, 1.0)
    assert units(store, COUNTRY, NOW) == 1


def test_why_a_store_fails_is_logged_once_in_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The first call that fails is logged with the reason, reads and writes alike, and others only after a while. The
    message has the remedy, too: a program that embeds riskd may print nothing else."""
    moment = 100.0
    monkeypatch.setattr(caching, "monotonic", lambda: moment)
    shared = PartialStore()
    store = CachingStore(shared, NullMeter())
    with shared.losing(SUBJECT[:PLACE]):
        for step in (0.0, 1.0, QUIET_SECONDS):
            moment += step
            for keys in ((SUBJECT,), (SUBJECT, COUNTRY)):
                with pytest.raises(Unavailable):
                    store.read(keys, (), NOW, 1.0)
            with pytest.raises(Unavailable):
                store.write((taught(SUBJECT),), (), NOW, 1.0)
    assert units(store, SUBJECT, NOW) == 0
    assert [(each.message, vars(each)["fields"]) for each in caplog.records] == [
        ("store_failed: store: down (wait)", {"problems": (Problem("store", "down", "wait"),)})
    ] * 2
