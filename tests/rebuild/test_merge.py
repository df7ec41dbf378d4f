"""Merging one store's records into another's: what is added, and when nothing is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.adapters.memory import MemoryStore
from riskd.core.errors import Unavailable
from riskd.core.history import DAY, Delta, decode
from riskd.core.recall import ACTIVITY, PROFILE, RECEIPT, REPLY
from riskd.core.stored import NOBODY, PLACE, Change, Swap, document, payload
from riskd.ports import PATIENCE
from riskd.rebuild import merge
from riskd.rebuild.merge import Rebuilt, conclude, read_rebuilt
from tests.cases.world import NOW

WHO = bytes(range(16))
BEGUN = Rebuilt(until=NOW, origin="of this log")


def taught(store: MemoryStore, key: bytes, units: int, expires: float = NOW + DAY) -> None:
    assert store.write((Delta(key, NOW - DAY, expires, (("sign_in", "", units),)),), (), NOW - DAY, 1.0)


def put(store: MemoryStore, key: bytes, text: bytes, expires: float = NOW + DAY) -> None:
    assert store.write((), (Swap(key, None, text, expires),), NOW - DAY, 1.0)


def units(store: MemoryStore, key: bytes) -> int | None:
    (record,) = store.load((key,))
    return None if record is None else sum(decode(payload(record)).tallies.of("sign_in")[""][1:])


def merged(staging: MemoryStore, store: MemoryStore, so_far: Rebuilt = BEGUN) -> Rebuilt:
    return merge.merge(staging, store, so_far, NOW, lambda _: None)


def test_histories_are_added_and_documents_of_the_store_stay() -> None:
    """Histories are added together; of two receipts or replies, the store's own, which is newer, stays."""
    staging, store = MemoryStore(), MemoryStore()
    for kind in (PROFILE, ACTIVITY):
        taught(staging, WHO + kind, 3)
    taught(store, WHO + PROFILE, 2)
    for kind in (RECEIPT, REPLY):
        put(staging, WHO + kind, b"before")
        put(store, WHO + kind, b"since")
        put(staging, WHO[::-1] + kind, b"before")
    done = merged(staging, store)

    assert (units(store, WHO + PROFILE), units(store, WHO + ACTIVITY)) == (5, 3)
    for kind in (RECEIPT, REPLY):
        kept = [document(record, NOW) for record in store.load((WHO + kind, WHO[::-1] + kind))]
        assert kept == [b"since", b"before"]
    assert done.ended
    assert read_rebuilt(store) == done


def test_expired_records_are_not_merged() -> None:
    """Expired records of either store are not added to anything."""
    staging, store = MemoryStore(), MemoryStore()
    ended, began, alone = (bytes([number]) * 16 + PROFILE for number in (1, 2, 3))
    taught(staging, ended, 3, NOW)
    taught(store, ended, 2)
    taught(staging, began, 3)
    taught(store, began, 2, NOW)
    taught(staging, alone, 3, NOW)
    put(staging, NOBODY + b"bookmark", b"of the store of its own")
    merged(staging, store)

    assert (units(store, ended), units(store, began), units(store, alone)) == (2, 3, None)
    assert store.load((NOBODY + b"bookmark",)) == [None]


def test_steps_of_any_number_add_each_record_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the step size, each record is added once and reported; merging again adds nothing."""
    for step in (1, 3, 10, 64):
        monkeypatch.setattr(merge, "STEP", step)
        staging, store, told = MemoryStore(), MemoryStore(), list[int]()
        keys = [bytes([number]) * 16 + PROFILE for number in range(10)]
        for key in keys:
            taught(staging, key, 3)
            taught(store, key, 2)
        done = merge.merge(staging, store, BEGUN, NOW, told.append)
        assert merged(staging, store, done) == done
        assert {units(store, key) for key in keys} == {5}
        assert (sum(told), done.records) == (10, 10)


class Killed(BaseException):
    """The process was killed."""


class Cluster(MemoryStore):
    """Changes one place after the other. Before each, the next event happens: a sign-in there, or a kill."""

    def __init__(self, events: Iterator[str]) -> None:
        super().__init__()
        self.events = events

    def replace(self, changes: Sequence[Change], timeout: float = PATIENCE) -> bool:
        places: dict[bytes, list[Change]] = {}
        for change in changes:
            places.setdefault(change.key[:PLACE], []).append(change)
        done = True
        for of_place in places.values():
            self._happens(of_place[0].key)
            done = super().replace(of_place, timeout) and done
        return done

    def atomic(self) -> bool:
        return False

    def erase(self, keys: Sequence[bytes]) -> int:
        for key in keys:
            self._happens(key)
        return super().erase(keys)

    def _happens(self, key: bytes) -> None:
        event = next(self.events, "")
        if event == "killed":
            raise Killed
        if event and key[-1:] == PROFILE:
            taught(self, key, 1)


@given(
    st.lists(st.sampled_from(["", "", "", "sign-in", "killed"]), max_size=80),
    st.lists(st.sampled_from([1, 3, 64]), min_size=80, max_size=80),
)
def test_a_cluster_gets_each_record_once(events: list[str], steps: list[int]) -> None:
    """Killed between any two places of a step, and continued with steps of other sizes beside sign-ins, a merge adds
    each record once, and leaves no note where it was not killed."""
    staging, store, so_far = MemoryStore(), Cluster(iter(events)), BEGUN
    keys = [bytes([number]) * 16 + PROFILE for number in range(1, 9)]
    for key in keys:
        taught(staging, key, 100)
        taught(store, key, 200)
    for step in steps:
        merge.STEP, usual = step, merge.STEP  # type: ignore[misc]
        try:
            so_far = merged(staging, store, read_rebuilt(store) or BEGUN)
        except Killed:
            continue
        finally:
            merge.STEP = usual  # type: ignore[misc]
        break
    assert so_far.ended
    assert [(units(store, key) or 0) // 100 for key in keys] == [3] * len(keys)
    assert "killed" in events or set(store.walk(b"", 99)[0]) == {*keys, merge.KEY}


class Busy(MemoryStore):
    """A store in which another writer always wins."""

    def replace(self, changes: Sequence[Change], timeout: float = PATIENCE) -> bool:
        return False


@pytest.mark.parametrize("store", [MemoryStore(), Busy()], ids=["another store", "busy"])
def test_a_replaced_store_is_reported(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store without the note of this rebuild is another store: nothing is added to it, and it is not marked as
    complete."""
    monkeypatch.setattr(merge, "TRIES", 3)
    staging, half = MemoryStore(), replace(BEGUN, records=7)
    taught(staging, WHO + PROFILE, 3)
    for ask in (lambda: merged(staging, store, half), lambda: conclude(store, half)):
        with pytest.raises(Unavailable, match="was replaced by another store"):
            ask()
    assert store.size()[0] == 0


def test_a_complete_store_is_marked() -> None:
    """A completed rebuild is recorded in the store."""
    staging, store = MemoryStore(), MemoryStore()
    taught(staging, WHO + PROFILE, 3)
    done = merged(staging, store)
    conclude(store, done)
    assert read_rebuilt(store) == replace(done, complete=True)
