"""Background work that runs repeatedly."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from riskd import releases
from riskd.adapters.decision_log import writer
from riskd.adapters.decision_log.writer import Bounds, FileDecisionLog
from riskd.adapters.lmdb_store import LmdbStore
from riskd.adapters.null import NullMeter
from riskd.adapters.redis_store import Access, RedisStore, servers
from riskd.adapters.redis_store.servers import Servers
from riskd.core.activation import ActivationRequest
from riskd.core.errors import Unavailable
from riskd.core.history import Delta
from riskd.core.lineup import Lineup
from riskd.engine import Engine, shadow
from riskd.host import background
from riskd.host.background import counting, every, start_thread
from riskd.releases import Follower, following
from riskd.server import json_log
from riskd.server.processes import reloading
from tests.bench import parts
from tests.cases.world import NOW, attempt
from tests.e2e.service import eventually
from tests.redis_servers import RedisServer, running
from tests.releases.candidates import created, settings
from tests.releases.candidates import releases as releases_of
from tests.shipped import shipped_release

PATIENCE = 10.0
DELTA: Final = Delta(b"placeofa" + b"key.....A", NOW, NOW + 60, (("attempt", "", 1),))


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Counts the failures in this context."""
    found: Counter[str] = Counter()
    with counting(lambda part: found.update([part])):
        yield found


class Once:
    """A replacement for a method that raises an unexpected error the first time, and then works."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
        self.failed, self.done = threading.Event(), threading.Event()
        original = getattr(owner, name)

        def stand_in(*args: object, **kwargs: object) -> object:
            if not self.failed.is_set():
                self.failed.set()
                raise ZeroDivisionError
            found = original(*args, **kwargs)
            self.done.set()
            return found

        monkeypatch.setattr(owner, name, stand_in)

    def went_on(self) -> None:
        """Wait for both calls."""
        assert self.failed.wait(PATIENCE)
        assert self.done.wait(PATIENCE)


def a_shadow(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    """The shadow scores the next attempt."""
    once = Once(monkeypatch, shadow, "assess")
    release = shipped_release()
    engine = Engine(parts(), release)
    engine.install(Lineup(release, shadow=release))
    with closing(engine):
        for number in range(2):
            engine.assess(attempt({"subject": f"s-{number}"}), 10.0)
        once.went_on()


def a_follower(monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
    """The follower installs the next activation."""
    monkeypatch.setattr(releases, "AGAIN", 0.01)
    release, installed = created(state, "2m"), list[Lineup]()
    once = Once(monkeypatch, Follower, "_prepare")
    with following(releases_of(state), "one") as follower:
        follower.follow(None, installed.append, lambda _: None)
        releases_of(state).activate(ActivationRequest(release=release, actor="test"))
        once.went_on()
        assert [lineup.active.id for lineup in installed] == [release]


def the_keeper_of_the_log(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """The log's keeper syncs, and deletes what exceeds the bounds."""
    monkeypatch.setattr(writer, "SYNC_SECONDS", 0.01)
    pruned = Once(monkeypatch, FileDecisionLog, "_prune")
    synced = Once(monkeypatch, FileDecisionLog, "_sync")
    with closing(FileDecisionLog(directory, 0, NullMeter(), Bounds(segment_bytes=1))) as log:
        synced.went_on()
        for _ in range(2):
            assert log.append(b"{}")
        pruned.went_on()


def the_store_on_disk(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """The store syncs."""
    once = Once(monkeypatch, LmdbStore, "_sync")
    with closing(LmdbStore(directory, 16 << 20, sync_seconds=0.01)) as store:
        assert store.write((DELTA,), (), NOW, 1.0)
        once.went_on()


def redis(monkeypatch: pytest.MonkeyPatch, directory: Path, owner: object, name: str) -> None:
    """Redis is reached despite the error, by the thread that looks for servers or the one that connects."""
    once = Once(monkeypatch, owner, name)
    server = RedisServer(directory / "redis")

    def works() -> bool:
        with suppress(Unavailable):
            return store.write((DELTA,), (), NOW, 1.0)
        return False

    with running(server), closing(RedisStore([server.address], Access())) as store:
        eventually(works)
        once.went_on()


def who_looks_for_redis(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    redis(monkeypatch, directory, Servers, "_discover")


def who_connects_to_redis(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    redis(monkeypatch, directory, servers, "connect")


def work_every_so_often(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    """Periodic work: expiry, compaction, drift, rebuild, and watched files."""

    class Work:
        @staticmethod
        def look(_: threading.Event) -> None: ...

    once = Once(monkeypatch, Work, "look")
    with every(0.01, lambda stop: Work.look(stop), "counting"):
        once.went_on()


class Reloads(NullMeter):
    """Records whether each reload succeeded."""

    def __init__(self) -> None:
        self.good: list[bool] = []

    def reloaded(self, *, good: bool) -> None:
        self.good.append(good)


def a_reload(monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
    """A worker reports that the reload failed, and reloads its files at the next signal."""
    once, meter = Once(monkeypatch, reloading, "relocate"), Reloads()
    with closing(Engine(parts(), shipped_release())) as engine:
        for _ in range(2):
            reloading.reload(settings(state), engine, releases_of(state), meter, leads=False)
    once.went_on()
    assert meter.good == [False, True]


@pytest.mark.parametrize(
    "thread",
    [
        a_reload,
        a_shadow,
        a_follower,
        the_keeper_of_the_log,
        the_store_on_disk,
        who_looks_for_redis,
        who_connects_to_redis,
        work_every_so_often,
    ],
    ids=lambda each: each.__name__,
)
def test_unexpected_errors_do_not_end_background_tasks(
    thread: Callable[[pytest.MonkeyPatch, Path], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An unexpected error is logged with its place and counted, and the work continues."""
    with caplog.at_level(logging.ERROR), counted() as failures:
        thread(monkeypatch, tmp_path)
    events = [each for each in caplog.records if each.name == "riskd.background"]
    assert events
    assert {each.message.partition(":")[0] for each in events} == {"work_failed"}
    assert {each.exc_info[0] for each in events if each.exc_info} == {ZeroDivisionError}
    assert failures == {"background": len(events)}


def test_work_that_fails_says_which(caplog: pytest.LogCaptureFixture) -> None:
    """The log entry names the work that failed."""
    with caplog.at_level(logging.ERROR), every(0.01, _refuse, "counting"):
        eventually(lambda: bool(caplog.records))
    assert caplog.records[0].fields == {"work": "counting"}  # type: ignore[attr-defined]


def _refuse(_: threading.Event) -> None:
    raise ZeroDivisionError


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_all_the_same_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """If any other thread ends with an exception, the thread hook counts it."""
    monkeypatch.setattr(threading, "excepthook", json_log._uncaught_in_thread)
    with counted() as failures:
        thread = threading.Thread(target=_refuse, args=(threading.Event(),))
        thread.start()
        thread.join()
    assert failures == {"background": 1}


def test_leaving_the_context_stops_the_work() -> None:
    """Leaving the context tells the running work to stop, and waits for it."""
    begun, ended = threading.Event(), threading.Event()

    def work(stop: threading.Event) -> None:
        begun.set()
        assert stop.wait(PATIENCE)
        ended.set()

    with every(0.01, work, "waiting"):
        assert begun.wait(PATIENCE)
    assert ended.is_set()


def test_work_without_an_interval_is_never_done() -> None:
    """An interval of 0 means never: no thread is started, and the work is not done."""
    done, before = list[object](), set(threading.enumerate())
    with every(0.0, done.append, "a test"):
        assert set(threading.enumerate()) <= before
    assert done == []


def test_a_thread_that_is_started_is_returned() -> None:
    """Whoever starts a thread can wait for the end of its work, which is done with the arguments given."""
    done = list[object]()
    thread = start_thread(done.append, "a test", 7)
    assert thread is not None
    thread.join(PATIENCE)
    assert (done, thread.name, thread.daemon) == ([7], "a test", True)


def test_a_lack_of_threads_is_logged_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call may fail to start a thread; the first event is enough, and other failures are still logged."""
    failures: list[str] = []
    with counting(failures.append):
        monkeypatch.setattr(background, "QUIET_SECONDS", 0.0)
        background.log_no_thread("first")
        monkeypatch.setattr(background, "QUIET_SECONDS", 3600.0)
        for _ in range(3):
            background.log_no_thread("again")
        logging.getLogger(background.LOGGER).error("work_failed")
    logging.getLogger(background.LOGGER).error("work_failed")  # nobody counts any more
    assert len(failures) == 2


def test_whoever_gets_no_thread_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """If a thread cannot be started, its work is not done, and an event says which and what to allow."""
    monkeypatch.setattr(background, "QUIET_SECONDS", 0.0)
    done = list[object]()
    threading.stack_size(1 << 46)  # which no machine can provide
    try:
        assert start_thread(done.append, "a test", 7) is None
    finally:
        threading.stack_size(0)
    assert (done, caplog.messages) == (
        [],
        ["no_thread: a test (allow the user or the container more threads)"],
    )
