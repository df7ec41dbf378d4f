"""A record is transferred exactly once, whoever takes part, in whatever order, and whoever dies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskd.adapters.memory import MemoryStore
from riskd.adapters.rekeying import move
from riskd.core.history import WEEK, Delta
from riskd.core.pseudonym import Layer
from riskd.core.recall import ACTIVITY, ASIDE, NOTE, PROFILE, SHARE
from riskd.core.rekey import moved_key
from riskd.core.stored import PLACE, Change, expiry
from riskd.ports import PATIENCE
from riskd.subjects import empty
from riskd.transfer import note_key
from tests.cases.world import NOW
from tests.interleaved import Cluster, Process, run
from tests.office import total

LAYER = Layer(b"the second of the peppers")
OLD = b"of anne.the rest" + PROFILE
NEW = moved_key(OLD, LAYER)
DEVICE = b"a device"


def teach(store: MemoryStore, *keys: bytes) -> None:
    for key in keys:
        assert store.write((Delta(key, NOW, NOW + WEEK, (("sign_in", "", 1),)),), (), NOW, 1.0)


def units(store: MemoryStore, key: bytes) -> int:
    (record,) = store.load((key,))
    return 0 if record is None else total(record)


orders = st.lists(st.integers(0, 4), max_size=60)
deaths = st.lists(st.one_of(st.just(10**6), st.integers(0, 12)), min_size=3, max_size=3)


@given(orders, deaths)
def test_a_move_counts_once_for_any_number_of_movers(order: list[int], dying: list[int]) -> None:
    """Three processes move a record, any of which may die at any call, while one that has not heard of the new pepper
    counts under the old key, and another under the new one. In the end everything has counted once."""

    def count(key: bytes) -> Callable[[MemoryStore], None]:
        def work(mine: MemoryStore) -> None:
            for _ in range(3):
                mine.load(())
                teach(mine, key)

        return work

    store = Cluster()
    teach(store, OLD, OLD)
    movers = [Process(store, lambda mine: move(mine, OLD, LAYER), after) for after in dying]
    run([*movers, Process(store, count(OLD)), Process(store, count(NEW))], order)
    while move(store, OLD, LAYER):
        pass
    assert units(store, NEW) == 8
    assert len(store.walk(b"", 9)[0]) <= 1 + sum(after < 13 for after in dying), "only who died left a note"


def test_all_calls_of_a_move_end_by_one_deadline() -> None:
    """The store gets no more time for a call than what its caller's timeout has left."""
    given: list[float] = []

    class Timed(Cluster):
        def load(self, keys: Sequence[bytes], timeout: float = PATIENCE) -> list[bytes | None]:
            given.append(timeout)
            return super().load(keys, timeout)

        def replace(self, changes: Sequence[Change], timeout: float = PATIENCE) -> bool:
            given.append(timeout)
            return super().replace(changes, timeout)

    store = Timed()
    teach(store, OLD)
    assert move(store, OLD, LAYER, 1.0) == 1
    assert given == sorted(given, reverse=True)
    assert given[0] <= 1.0


@pytest.mark.parametrize("begun", range(10))
def test_a_slow_mover_brings_nothing_erased_back(begun: int) -> None:
    """A move that stops at any call, while another one completes it and erases the record, restores nothing of it."""

    def erase(mine: MemoryStore) -> None:
        move(mine, OLD, LAYER)
        mine.erase((NEW,))

    for stops in range(10):
        store = Cluster()
        teach(store, OLD)
        fast, slow = Process(store, erase), Process(store, lambda mine: move(mine, OLD, LAYER))
        run([fast, slow], [0] * begun + [1] * stops)
        assert store.walk(b"", 9)[0] == []


@pytest.mark.parametrize("after", range(10))
def test_one_move_takes_all_that_is_there(after: int) -> None:
    """Wherever an earlier move has died, and although a worker counted under the old key since, one move leaves
    nothing behind."""
    store = Cluster()
    teach(store, OLD)
    run([Process(store, lambda mine: move(mine, OLD, LAYER), after)], [])
    teach(store, OLD)
    move(store, OLD, LAYER)
    assert units(store, NEW) == 2
    assert store.load((OLD, OLD + ASIDE)) == [None, None]


@pytest.mark.parametrize("begun", range(10))
def test_a_move_whose_target_changes_meanwhile_tries_again(begun: int) -> None:
    """A move has not ended before everything is under the new key, whenever a worker counts there."""

    def count(mine: MemoryStore) -> None:
        mine.load(())
        teach(mine, NEW)

    store = Cluster()
    teach(store, OLD)
    run([Process(store, lambda mine: move(mine, OLD, LAYER)), Process(store, count)], [0] * begun + [1] * 2)
    assert units(store, NEW) == 2
    assert store.load((OLD, OLD + ASIDE)) == [None, None]


@given(orders, deaths)
def test_a_share_is_taken_back_once(order: list[int], dying: list[int]) -> None:
    """Two subjects are erased, one by two processes, of which any may die. In the end each one's share has been
    subtracted from the device once."""
    store, (anne, bert) = Cluster(), (b"place a.", b"place b.")
    for who in (anne, anne, bert):
        teach(store, who + DEVICE + SHARE, DEVICE + PROFILE, DEVICE + ACTIVITY)
    teach(store, *[DEVICE + PROFILE] * 4)
    run(
        [
            Process(store, lambda mine, who=who: empty(mine, who), after)  # type: ignore[misc]
            for who, after in zip((anne, anne, bert), dying, strict=True)
        ],
        order,
    )
    for who in (anne, bert):
        empty(store, who)
        assert store.held(who, NOW, 9) == []
    assert units(store, DEVICE + PROFILE) == 4


@pytest.mark.parametrize("after", range(12))
def test_a_share_is_not_moved_once_it_is_taken_out(after: int) -> None:
    """Wherever an erasure has died, after a move of the pepper and the erasure again the device has what others taught
    it: a share that had left the device is not moved, as if it were still to be taken out."""
    store, anne, phone = Cluster(), b"of anne.", b"a phone.the rest"
    share, device = anne + phone + SHARE, phone + PROFILE
    for key in (share, share, *[device] * 5):
        teach(store, key)
    run([Process(store, lambda mine: empty(mine, anne), after)], [])
    for key in (share, device):
        move(store, key, LAYER)
    for key in (share, moved_key(share, LAYER)):
        empty(store, key[:PLACE])
    assert units(store, moved_key(device, LAYER)) == 3
    assert [key for key in store.walk(b"", 9)[0] if key[-1:] != NOTE] == [moved_key(device, LAYER)]


def test_what_was_put_aside_elsewhere_is_completed_here() -> None:
    """A transfer that a cluster left half done is completed by a store that changes all at once."""
    cluster, store = Cluster(), MemoryStore()
    teach(cluster, OLD)
    run([Process(cluster, lambda mine: move(mine, OLD, LAYER), 4)], [])
    (aside,) = cluster.load((OLD + ASIDE,))
    assert aside is not None
    assert store.replace([Change(OLD + ASIDE, None, aside)])
    teach(store, OLD)
    assert move(store, OLD, LAYER) == 2
    assert units(store, NEW) == 2
    assert store.walk(b"", 9)[0] == [NEW]


def test_a_note_outlives_what_it_is_about() -> None:
    """A note is there as long as the record whose transfer it notes, wherever that has stopped."""
    store = Cluster()
    teach(store, OLD)
    run([Process(store, lambda mine: move(mine, OLD, LAYER), 4)], [])
    noted = [expiry(record) for record in store.load((note_key(NEW, OLD), OLD + ASIDE)) if record is not None]
    assert len(noted) == 2
    assert noted[0] > noted[1]
