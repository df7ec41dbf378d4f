"""The cost of waits with a timeout: `python -m benchmarks.turns`.

Measures the turn to write (a lock) against a thread that writes for its callers, the watched pool of handlers, and the
lock on a request id.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from benchmarks import program
from riskd.adapters.lmdb_store import LmdbStore
from riskd.adapters.lmdb_store.turn import Turn
from riskd.core import replies
from riskd.core.attempt import Attempt, Device, Network
from riskd.core.history import WEEK, Delta
from riskd.core.pseudonym import Pseudonyms
from riskd.server.calls.handlers import Handlers

NOW: Final = 1_800_000_000.0
ROUNDS, CALLS = 25, 300


class Lane:
    """The alternative to a lock: a thread that writes, while its caller waits until its deadline."""

    def __init__(self) -> None:
        self._asked: SimpleQueue[tuple[Callable[[], object], threading.Lock]] = SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def run(self, work: Callable[[], object]) -> bool:
        done = threading.Lock()
        done.acquire()
        self._asked.put((work, done))
        return done.acquire(timeout=1.0)

    def _work(self) -> None:
        while True:
            work, done = self._asked.get()
            work()
            done.release()


def main() -> None:
    """Print microseconds: the best of alternating rounds, because the machine is seldom idle."""
    with tempfile.TemporaryDirectory() as place:
        store, turn, lane = LmdbStore(Path(place) / "store"), Turn(Path(place) / "turn"), Lane()
        plain, watched = ThreadPoolExecutor(1), Handlers(1, "bench", held_up_s=1.0)
        pseudonyms = Pseudonyms(b"pepper of the benchmarks")
        attempt = Attempt(
            domain="customer",
            subject="kim",
            journey="login",
            network=Network(client_ip="192.0.2.7"),
            device=Device(user_agent="Mozilla/5.0", device_id="laptop", languages=("en-GB",)),
        )
        number = 0

        def write() -> None:
            nonlocal number
            number = (number + 1) % 5000
            deltas = [Delta(b"%012d%dA" % (number, n), NOW, NOW + WEEK, (("attempt", "", 1),)) for n in range(5)]
            assert store.write(deltas, (), NOW, 1.0)

        def take() -> None:
            assert turn.take(1.0)
            turn.give()

        cases: dict[str, Callable[[], object]] = {
            "take a turn and give it back": take,
            "write 5 deltas, its turn included": write,
            "the same by a thread of its own": lambda: lane.run(write),
            "a handler, as it comes with Python": lambda: plain.submit(int).result(),
            "a handler that is watched": lambda: watched.submit(int).result(),
            "seal of a request id": lambda: pseudonyms.seal(replies.content(attempt)),
        }
        times: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(ROUNDS):
            for name, call in cases.items():
                begun = time.perf_counter()
                for _ in range(CALLS):
                    call()
                times[name].append((time.perf_counter() - begun) / CALLS * 1e6)
        for name, seen in times.items():
            print(f"{name:36} {min(seen):6.1f} us")
        store.close()
        plain.shutdown()
        watched.shutdown()


if __name__ == "__main__":
    program(main)
