"""A process that may start no more threads, as at the limit of its cgroup: it keeps working and reports the failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from riskd._proto.riskd.v1 import risk_pb2
from riskd.adapters.lmdb_store import LmdbStore
from riskd.adapters.null import NullMeter
from riskd.core.assessment import Assessment
from riskd.core.attempt import Attempt
from riskd.core.history import WEEK, Delta
from riskd.core.lineup import Lineup
from riskd.engine import Engine
from riskd.host import background
from riskd.server.calls.handlers import Handlers, Limits, Turns
from tests.bench import parts
from tests.cases.world import attempt
from tests.faults.floods import DATA, END_HEADERS, HEADERS, Peer, call, frame
from tests.server.world import ANYWHERE, ASSESSMENT, ListMeter, Running, served
from tests.shipped import shipped_release

LOGIN = risk_pb2.AssessRequest(subject="u-1")
DELTA = Delta(b"someone." + b"A", 1.8e9, 1.8e9 + WEEK, (("attempt", "", 1),))


@contextmanager
def no_threads() -> Iterator[None]:
    """Make every start of a thread fail, by a stack size that no machine can provide."""
    threading.stack_size(1 << 46)
    try:
        yield
    finally:
        threading.stack_size(0)


@pytest.fixture(autouse=True)
def reported(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test reports failures of background work, and no others."""
    monkeypatch.setattr(background, "QUIET_SECONDS", 0.0)
    failures: list[str] = []
    with background.counting(failures.append):
        yield
    assert set(failures) == {background.PART}


@pytest.fixture
def running() -> Iterator[Running]:
    with served(ANYWHERE) as service:
        service.stub.Assess(LOGIN, timeout=10)
        yield service


def eventually(done: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not done():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_batch_is_answered_without_another_thread(running: Running) -> None:
    """If no thread can be started, a batch is answered by the thread that received it, and so are later calls."""
    with no_threads():
        batch = risk_pb2.BatchAssessRequest(requests=[LOGIN] * 3)
        assert len(running.stub.BatchAssess(batch, timeout=10).results) == 3
        assert running.stub.Assess(LOGIN, timeout=10).assessment_id == ASSESSMENT.id
    assert len(running.stub.BatchAssess(batch, timeout=10).results) == 3


def test_a_borrowed_thread_gives_way_to_nobody() -> None:
    """A batch that is answered by the thread that received it does not give way to calls that wait for that thread."""
    sign_ins, pool = Turns(), Handlers(1, "BatchAssess", held_up_s=60.0)
    sign_ins.lane("Assess", Limits(), ListMeter()).submit(str)
    batches, begun = pool.lane("BatchAssess", Limits(), ListMeter()), time.monotonic()
    with no_threads():
        batches.submit(sign_ins.give_way, 5.0)
    assert time.monotonic() - begun < 5.0
    assert sign_ins.due


def test_a_borrowed_thread_is_given_back_whatever_happens() -> None:
    """If the call that it runs fails, a borrowed thread is as it was before: its later work gives way again."""
    sign_ins, pool = Turns(), Handlers(1, "BatchAssess", held_up_s=60.0)
    sign_ins.lane("Assess", Limits(), ListMeter()).submit(str)
    with no_threads(), pytest.raises(ZeroDivisionError):
        pool.lane("BatchAssess", Limits(), ListMeter()).submit(divmod, 1, 0)
    begun = time.monotonic()
    sign_ins.give_way(0.05)
    assert time.monotonic() - begun >= 0.05


def test_a_stream_without_a_thread_is_refused(running: Running) -> None:
    """If no thread can be started for it, a new stream is refused with RESOURCE_EXHAUSTED, so that its caller can go
    elsewhere. Calls are answered, and so is the next stream once there are threads; the refused one is over."""
    peer = Peer(f"127.0.0.1:{running.service.port}")
    with no_threads():
        headers = call("/riskd.v1.RiskService/StreamAssess")
        peer.socket.sendall(frame(HEADERS, END_HEADERS, 1, headers) + frame(DATA, 0, 1, b"\0\0\0\0\0"))
        eventually(lambda: "RESOURCE_EXHAUSTED" in {code for *_, code in running.meter.codes})
        assert running.stub.Assess(LOGIN, timeout=10).assessment_id == ASSESSMENT.id
    peer.close()
    asked = iter([risk_pb2.StreamAssessRequest(request=LOGIN)])
    (answered,) = running.stub.StreamAssess(asked, timeout=10)
    assert len(answered.results) == 1
    streams = [code for method, *_, code in running.meter.codes if method.endswith("StreamAssess")]
    assert streams == ["RESOURCE_EXHAUSTED", "OK"]


def test_reflection_without_a_thread_is_refused(running: Running) -> None:
    """If no thread can be started for it, a reflection stream is refused, and later calls are answered."""
    peer = Peer(f"127.0.0.1:{running.service.port}")
    with no_threads(), closing(peer):
        headers = call("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        peer.socket.sendall(frame(HEADERS, END_HEADERS, 1, headers))
        assert peer.hears(b"too many calls are waiting")
    assert running.stub.Assess(LOGIN, timeout=10).assessment_id == ASSESSMENT.id


def test_a_hanging_call_gets_a_substitute_thread_later() -> None:
    """While a call hangs and no substitute for its thread can be started, others wait; once a thread can be started,
    they are answered."""
    on = threading.Event()

    def answer(one: Attempt) -> Assessment:
        assert one.subject != "held" or on.wait(20)
        return ASSESSMENT

    with served(replace(ANYWHERE, timeout_s=0.1)) as running:
        running.stub.Assess(LOGIN, timeout=10)
        eventually(lambda: any(thread.name == "watch" for thread in threading.enumerate()))
        running.engine.answer = answer
        held = running.stub.Assess.future(risk_pb2.AssessRequest(subject="held"), timeout=20)
        with no_threads():
            time.sleep(1.0)
        assert running.stub.Assess(LOGIN, timeout=10).assessment_id == ASSESSMENT.id
        on.set()
        assert held.result(10).assessment_id == ASSESSMENT.id


class Moves(NullMeter):
    """Records what became of each shadow assessment."""

    def __init__(self) -> None:
        self.reported: list[str] = []

    def shadowed(self, domain: str, move: str) -> None:
        self.reported.append(move)


def test_without_a_thread_only_the_shadow_is_dropped() -> None:
    """If no thread can be started, an attempt is answered without its shadow assessment; the next attempt has one."""
    release, meter = shipped_release(), Moves()
    engine = Engine(parts(meter=meter), release)
    engine.install(Lineup(release, shadow=release))
    with closing(engine):
        with no_threads():
            engine.assess(attempt({"subject": "s-1"}), 10.0)
        engine.assess(attempt({"subject": "s-2"}), 10.0)
    assert meter.reported == ["dropped", "same"]


def test_a_later_write_starts_the_sync_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write succeeds even if no thread can be started to sync it; the next write starts that thread."""
    synced = threading.Event()
    original = LmdbStore._sync

    def sync(store: LmdbStore) -> None:
        original(store)
        synced.set()

    monkeypatch.setattr(LmdbStore, "_sync", sync)
    with closing(LmdbStore(tmp_path / "store", 16 << 20, sync_seconds=0.01)) as store:
        with no_threads():
            assert store.write((DELTA,), (), 1.8e9, 1.0)
        assert store.write((DELTA,), (), 1.8e9, 1.0)
        assert synced.wait(10)
