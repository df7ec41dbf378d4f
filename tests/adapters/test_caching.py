"""What a caching store may be late with, and what never."""

from __future__ import annotations

from riskd.adapters.caching import CachingStore
from riskd.adapters.memory import MemoryStore
from riskd.core.history import Delta
from riskd.core.recall import COMMON, PROFILE

NOW = 1_800_000_000.0
ONE = (("sign_in", "", 1),)
COUNTRY, SUBJECT = b"c" * 16 + COMMON, b"s" * 16 + PROFILE


def taught(key: bytes) -> Delta:
    return Delta(key, NOW, NOW + 1e6, ONE)


def units(store: CachingStore, key: bytes, now: float) -> int:
    (history,), _ = store.read((key,), (), now, 1.0)
    return history.tallies.of("sign_in")[""][1] if history else 0


def test_others_changes_to_a_common_value_are_seen_after_its_staleness() -> None:
    """What another worker teaches of a country may go unseen for five seconds, and no longer."""
    shared = MemoryStore()
    ours, theirs = CachingStore(shared, seconds=5.0), CachingStore(shared, seconds=5.0)
    assert units(ours, COUNTRY, NOW) == 0
    theirs.write((taught(COUNTRY),), (), NOW, 1.0)

    assert units(ours, COUNTRY, NOW + 4.9) == 0
    assert units(ours, COUNTRY, NOW + 5.0) == 1


def test_a_person_s_history_is_never_late() -> None:
    """Only common values are remembered: of a subject, every change is seen at once."""
    shared = MemoryStore()
    ours, theirs = CachingStore(shared), CachingStore(shared)
    assert units(ours, SUBJECT, NOW) == 0
    theirs.write((taught(SUBJECT),), (), NOW, 1.0)

    assert units(ours, SUBJECT, NOW) == 1


def test_own_changes_are_seen_at_once() -> None:
    """A worker reads what it wrote, erasures included."""
    store = CachingStore(MemoryStore())
    assert units(store, COUNTRY, NOW) == 0
    store.write((taught(COUNTRY),), (), NOW, 1.0)
    assert units(store, COUNTRY, NOW) == 1
    store.erase((COUNTRY,))
    assert units(store, COUNTRY, NOW) == 0


def test_memory_is_bounded() -> None:
    """However many values are asked for, no more than the bound are remembered, and all are answered."""
    store = CachingStore(MemoryStore(), bound=10)
    for number in range(100):
        key = number.to_bytes(16, "big") + COMMON
        store.write((taught(key),), (), NOW, 1.0)
        assert units(store, key, NOW) == 1

    assert len(store._remembered) <= 10


def test_a_clock_that_steps_back_forgets() -> None:
    """A history remembered in what is now the future is read again."""
    shared = MemoryStore()
    ours = CachingStore(shared)
    assert units(ours, COUNTRY, NOW) == 0
    shared.write((taught(COUNTRY),), (), NOW, 1.0)

    assert units(ours, COUNTRY, NOW - 3600) == 1
