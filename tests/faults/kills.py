"""SIGKILL of workers and supervisors under load, and a check that everything acknowledged is kept."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Final, TypeVar

import grpc
from msgspec import Struct

from riskd._proto.riskd.v1 import risk_pb2, risk_pb2_grpc
from riskd.adapters.lmdb_store import LmdbStore
from riskd.core import record
from riskd.core.history import DAY
from riskd.core.recall import PROFILE, RECEIPT
from riskd.core.stored import PLACE
from tests.decision_log import read_segments
from tests.e2e.service import EAGER, Service, attempt, eventually, serving

CALLERS: Final = 4
WORKERS: Final = 2
BACK_S: Final = 120.0
"""Time for a worker to restart. After many deaths the back-off is up to 10 s, and the machine is busy."""
PAUSE_S: Final = 0.02
"""Pause of a caller between two sign-ins, to leave CPU to others."""
_Answer = TypeVar("_Answer")
_AGAIN: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,  # one worker serves for two meanwhile
    }
)


class Found(Struct, frozen=True, kw_only=True):
    """The result of a campaign. `lost` counts what was acknowledged and is missing."""

    workers_killed: int
    supervisors_killed: int
    assessments: int
    outcomes: int
    tries: int
    seconds: float
    lost_in_log: int
    lost_in_store: int
    orphans: int
    """Processes that outlived their supervisor."""


class Caller:
    """Signs in as a new subject each time, reports an outcome, and retries until it gets an answer."""

    def __init__(self, number: int, where: Callable[[], str], stop: threading.Event) -> None:
        self.assessed: list[str] = []
        self.settled: list[str] = []
        self.tries = 0
        self._begun = 0
        self._number = number
        self._where = where
        self._stop = stop

    def run(self) -> None:
        """Sign in until told to stop."""
        with ExitStack() as stack:
            address, stub = "", None
            while not self._stop.wait(PAUSE_S):
                if stub is None or address != self._where():
                    address = self._where()
                    channel = stack.enter_context(grpc.insecure_channel(address, EAGER))
                    stub = risk_pb2_grpc.RiskServiceStub(channel)
                self._once(stub, address)

    def _once(self, stub: risk_pb2_grpc.RiskServiceStub, address: str) -> None:
        def moved() -> bool:
            return address != self._where()

        self._begun += 1  # always a new id: a repeat would get the first answer, and its causes
        name = f"{self._number}-{self._begun}"
        answer = self._insist(lambda: stub.Assess(attempt(subject=name, request_id=name), timeout=5), moved)
        if answer is None or answer.degraded:
            return
        self.assessed.append(answer.assessment_id)
        outcome = risk_pb2.RecordOutcomeRequest(assessment_id=answer.assessment_id)
        outcome.confirmed_legitimate.SetInParent()
        if self._insist(lambda: stub.RecordOutcome(outcome, timeout=5), moved) is not None:
            self.settled.append(answer.assessment_id)

    def _insist(self, call: Callable[[], _Answer], moved: Callable[[], bool]) -> _Answer | None:
        while not (self._stop.is_set() or moved()):
            self.tries += 1
            try:
                return call()
            except grpc.RpcError as error:
                if error.code() not in _AGAIN:
                    raise
                time.sleep(PAUSE_S)
        return None


class Killer:
    """A service under load, whose processes are killed one after another."""

    def __init__(self, state: Path, seed: int) -> None:
        self._state = state
        self._random = Random(seed)
        self._stack = ExitStack()
        self.orphans = 0
        self.service = self._started()

    def worker(self) -> None:
        """Kill a worker at a random moment, and wait until all serve again."""
        time.sleep(self._random.random() * 0.3)
        victim = self._random.choice(self.service.workers())
        os.kill(victim, signal.SIGKILL)
        deadline = time.monotonic() + BACK_S
        while victim in self.service.workers() or not self._ready():
            assert time.monotonic() < deadline, "a worker did not come back"
            time.sleep(0.05)

    def supervisor(self) -> None:
        """Kill the supervisor, check that no worker outlives it, and start a new service on the same state."""
        time.sleep(self._random.random() * 0.3)
        children = [*self.service.workers()]
        self.service.process.kill()
        self.service.process.wait()
        deadline = time.monotonic() + 5.0
        while any(map(_alive, children)) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.orphans += sum(map(_alive, children))
        self._stack.close()
        self.service = self._started()

    def end(self) -> None:
        """Stop the service as an operator would."""
        assert self.service.stop() == 0

    def __enter__(self) -> Killer:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _started(self) -> Service:
        return self._stack.enter_context(serving(self._state, WORKERS))

    def _ready(self) -> bool:
        with suppress(OSError):
            return self.service.metric("riskd_workers_serving") == WORKERS
        return False


@contextmanager
def callers(where: Callable[[], str]) -> Iterator[list[Caller]]:
    """Callers that generate load until this context ends; unexpected errors are raised then."""
    stop, failures = threading.Event(), list[BaseException]()
    crew = [Caller(number, where, stop) for number in range(CALLERS)]

    def run(caller: Caller) -> None:
        try:
            caller.run()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(caller,)) for caller in crew]
    for thread in threads:
        thread.start()
    try:
        yield crew
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]


def campaign(
    state: Path, workers: int, supervisors: int, seed: int, told: Callable[[int], None] = lambda _: None
) -> Found:
    """Kill workers and supervisors in random order under load, then look for everything that was acknowledged."""
    begun = time.monotonic()
    with Killer(state, seed) as killer:
        order = [killer.worker] * workers + [killer.supervisor] * supervisors
        Random(seed).shuffle(order)
        with callers(lambda: killer.service.address) as crew:
            for count, kill in enumerate(order, 1):
                kill()
                told(count)
            goal = [len(caller.settled) + 3 for caller in crew]
            eventually(lambda: all(len(caller.settled) >= enough for caller, enough in zip(crew, goal, strict=True)))
        killer.end()
    assessed = {each for caller in crew for each in caller.assessed}
    settled = {each for caller in crew for each in caller.settled}
    lost_in_log, lost_in_store = _lost(state, assessed, settled)
    return Found(
        workers_killed=workers,
        supervisors_killed=supervisors,
        assessments=len(assessed),
        outcomes=len(settled),
        tries=sum(caller.tries for caller in crew),
        seconds=time.monotonic() - begun,
        lost_in_log=lost_in_log,
        lost_in_store=lost_in_store,
        orphans=killer.orphans,
    )


def _lost(state: Path, assessed: set[str], settled: set[str]) -> tuple[int, int]:
    """The number of acknowledged answers that are missing from the log, and from the store."""
    lines = [record.decode(line) for line in read_segments(state / "decisions")]
    taught = {line.assessment_id: line.taught for line in lines if isinstance(line, record.OutcomeRecord)}
    decided = {line.id for line in lines if isinstance(line, record.AssessmentRecord | record.RepeatRecord)}
    assert any(taught.values()), "nothing was taught, so no loss could be seen"
    store, missing = LmdbStore(state / "store"), 0
    try:
        for one in assessed:
            place = bytes.fromhex(one)[:PLACE]
            held = store.held(place, time.time() - DAY, 99)
            missing += bytes.fromhex(one) + RECEIPT not in held
            missing += bool(one in settled and taught.get(one) and not any(key.endswith(PROFILE) for key in held))
    finally:
        store.close()
    return len(assessed - decided) + len(settled - set(taught)), missing


def _alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
