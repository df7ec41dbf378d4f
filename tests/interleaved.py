"""Processes that share a store and make each of their calls when a test says so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from riskd.adapters.memory import MemoryStore
from riskd.core.stored import PLACE, Change
from riskd.ports import PATIENCE


class Killed(BaseException):
    """The process was killed."""


class Cluster(MemoryStore):
    """Changes one place at a time, as a cluster does."""

    def replace(self, changes: Sequence[Change], timeout: float = PATIENCE) -> bool:
        assert len({change.key[:PLACE] for change in changes}) == 1, "a cluster does not change two places at once"
        return super().replace(changes, timeout)

    def atomic(self) -> bool:
        return False


class Process:
    """Work on the records of another store, by a thread that makes each of its calls when it is told to."""

    def __init__(self, store: Cluster, work: Callable[[MemoryStore], object], dies_after: int = 10**6) -> None:
        process, self._left = self, dies_after
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)

        class Stepped(Cluster):
            def __init__(self) -> None:
                super().__init__()
                self._records, self._lock = store._records, store._lock

            def load(self, keys: Sequence[bytes], timeout: float = PATIENCE) -> list[bytes | None]:
                process._wait()
                return super().load(keys, timeout)

            def replace(self, changes: Sequence[Change], timeout: float = PATIENCE) -> bool:
                process._wait()
                return super().replace(changes, timeout)

            def erase(self, keys: Sequence[bytes]) -> int:
                process._wait()
                return super().erase(keys)

            def held(self, place: bytes, now: float, limit: int) -> list[bytes]:
                process._wait()
                return super().held(place, now, limit)

        self._thread = threading.Thread(target=self._run, args=(work, Stepped()))
        self._thread.start()
        self._stopped.acquire()

    def _run(self, work: Callable[[MemoryStore], object], store: MemoryStore) -> None:
        try:
            work(store)
        except Killed:
            pass
        finally:
            self.over = True
            self._stopped.release()

    over = False

    def _wait(self) -> None:
        self._stopped.release()
        self._go.acquire()
        self._left -= 1
        if self._left < 0:
            raise Killed

    def step(self) -> None:
        """Let it make one call, if it is not over."""
        if not self.over:
            self._go.release()
            self._stopped.acquire()
        if self.over:
            self._thread.join()


def run(processes: Sequence[Process], order: Sequence[int]) -> None:
    """Let the processes make their calls in this order, then the rest of each."""
    for number in order:
        processes[number % len(processes)].step()
    for process in processes:
        while not process.over:
            process.step()
