"""Handler threads: as many as configured, and a spare one while all of them are stuck."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from time import monotonic

import pytest

from riskd.server.calls.handlers import SPARES, Handlers, held_up

HELD_UP = 0.05


@pytest.fixture
def disk() -> Iterator[threading.Event]:
    """An event that stands for a disk; waiting for it is a hanging disk."""
    event = threading.Event()
    yield event
    event.set()


def answered(future: Future[str]) -> str:
    return future.result(5.0)


@pytest.mark.parametrize(
    ("busy_s", "threads", "held"),
    [((), 1, False), ((9,), 1, True), ((1,), 1, False), ((9,), 2, False), ((9, 1), 2, False), ((9, 8), 2, True)],
)
def test_held_up_is_a_pool_whose_every_thread_is(busy_s: tuple[float, ...], threads: int, held: bool) -> None:
    """A pool is held up once all its threads have been busy for longer than the bound; one that is free can go on."""
    begun = {number: monotonic() - seconds for number, seconds in enumerate(busy_s)}
    assert held_up(begun, threads, 5.0) == held


def test_a_stuck_handler_gets_a_spare(disk: threading.Event) -> None:
    """While the only thread waits for a disk, a spare one answers later calls; in the end the first call is answered,
    too."""
    with Handlers(1, "test", held_up_s=HELD_UP) as pool:
        first = pool.submit(disk.wait, 10.0)
        with pytest.raises(TimeoutError):
            first.result(2 * HELD_UP)
        assert [answered(pool.submit(str, number)) for number in range(3)] == ["0", "1", "2"]
        disk.set()
        assert first.result(5.0)


def test_busy_is_not_held_up(disk: threading.Event) -> None:
    """Calls behind one that has just begun wait for it; no spare thread is started."""
    with Handlers(1, "test", held_up_s=60.0) as pool:
        first, second = pool.submit(disk.wait, 10.0), pool.submit(threading.get_ident)
        assert wait([second], 2 * HELD_UP).not_done
        disk.set()
        assert first.result(5.0)
        assert second.result(5.0) == pool.submit(threading.get_ident).result(5.0)


def test_spares_are_few(disk: threading.Event) -> None:
    """However many calls hang, the number of threads is bounded."""
    with Handlers(1, "test", held_up_s=0.0) as pool:
        hanging = []
        for _ in range(SPARES + 4):
            hanging.append(pool.submit(disk.wait, 10.0))
            wait(hanging[-1:], 2 * HELD_UP)
        assert len(pool._threads) == 1 + SPARES
        disk.set()


def test_errors_are_the_caller_s(disk: threading.Event) -> None:
    """An exception of a call reaches its caller, and the thread is free again."""
    with Handlers(1, "test", held_up_s=HELD_UP) as pool:
        with pytest.raises(ValueError, match="x"):
            pool.submit(int, "x").result(5.0)
        assert pool._begun == {}
