"""The time of the history stores for an assessment and an outcome, and the bytes that a subject takes.

Keys are drawn at random, so that caches left by the previous request do not help.
Run: python -m benchmarks.history [--subjects N] [--directory WHERE] [--alternatives]
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Final

import lmdb

from benchmarks import program
from riskd.adapters.lmdb_store import LmdbStore
from riskd.adapters.memory import MemoryStore
from riskd.core.history import ACTIVITY_SECONDS, DAY, Delta, slot
from riskd.core.learn import Lesson, lesson_deltas
from riskd.core.marks import placed
from riskd.core.pseudonym import short
from riskd.core.recall import ACTIVITY, COMMON, PROFILE, RECEIPT
from riskd.core.stored import Swap
from riskd.ports import HistoryStore

NOW: Final = 1_800_000_000.0
VALUES: Final = {
    "asn": "3215", "country": "FR", "agent": "8Hc0Kq3a",
    "browser": "Firefox", "os": "Windows", "device_class": "desktop",
    "language": "fr-FR", "timezone": "Europe/Paris", "screen": "1920x1080", "weekday": "2",
}  # fmt: skip
SHARED: Final = 2000
"""Number of entities that subjects share: networks, ASNs, popular values."""


class World:
    """The keys of subjects and shared entities, and generated sign-ins."""

    def __init__(self, subjects: int, seed: int = 7) -> None:
        self._random = random.Random(seed)
        self.subjects = [self._random.randbytes(16) for _ in range(subjects)]
        self._shared = [self._random.randbytes(16) for _ in range(SHARED)]
        self._domain = self._random.randbytes(16)

    def lesson(self, subject: bytes, time: float) -> Lesson:
        """A sign-in: mostly from the usual device and address, sometimes from another."""
        own = random.Random(subject)
        device, address = own.randbytes(16), own.randbytes(16)
        if self._random.random() < 0.2:
            device, address = self._random.randbytes(16), self._random.randbytes(16)
        shared = tuple(own.choices(self._shared, k=10))
        place = placed(time, 48.857, 2.352, 20.0)
        values = VALUES | {
            "address": short(address), "network": short(shared[0]), "device": short(device),
            "fingerprint": short(address), "hour": str(self._random.randrange(7, 23)),
        }  # fmt: skip
        owners = (device, device[::-1])
        return Lesson(
            time=time,
            subject=subject,
            owners=owners,
            address=address,
            network=shared[0],
            common=shared[1:],
            domain=self._domain,
            values=values,
            place=place,
            typing=(5100, 26010),
        )

    def lessons(self, time: float) -> Iterator[Lesson]:
        """An endless stream of sign-ins of random subjects."""
        while True:
            yield self.lesson(self._random.choice(self.subjects), time)


def velocity(lesson: Lesson) -> list[Delta]:
    """The five deltas that an assessment writes."""
    counts = (("attempt", "", 1), ("attempt_day", "", 1))
    keys = (lesson.subject, *lesson.owners[:1], lesson.address, lesson.network, *lesson.common[:1])
    seen = (("subject", slot(lesson.subject)),)
    return [Delta(key + ACTIVITY, lesson.time, lesson.time + ACTIVITY_SECONDS, counts, (), seen) for key in keys]


def wanted(lesson: Lesson) -> list[bytes]:
    """The records that an assessment reads."""
    device, fingerprint = lesson.owners
    entities = (lesson.subject, lesson.address, lesson.network, device)
    own = [key + kind for key in entities for kind in (PROFILE, ACTIVITY)]
    shared = [key + COMMON for key in (*lesson.common, lesson.domain)]
    return [*own, fingerprint + PROFILE, lesson.common[0] + ACTIVITY, *shared]


def timed(call: Callable[..., object], *arguments: object) -> float:
    started = perf_counter()
    call(*arguments)
    return perf_counter() - started


def show(what: str, seconds: list[float]) -> None:
    ranked = sorted(seconds)
    p50, p99 = (ranked[int(len(ranked) * share)] * 1e6 for share in (0.5, 0.99))
    print(f"  {what:<44} p50 {p50:7.1f} us   p99 {p99:7.1f} us")


def warm(store: HistoryStore, world: World) -> None:
    """Write three sign-ins for every subject, a month apart."""
    for days in (60, 30, 1):
        for subject in world.subjects:
            lesson = world.lesson(subject, NOW - days * DAY)
            store.write(lesson_deltas(lesson, 1), (), lesson.time, 10.0)
            if days == 1:
                store.write(velocity(lesson), (), lesson.time, 10.0)


def measure(store: HistoryStore, world: World, rounds: int) -> None:
    """Time each operation separately, for random subjects."""
    lessons = list(islice(world.lessons(NOW), rounds))
    keys = [random.Random(seed).randbytes(16) + RECEIPT for seed in range(rounds)]
    reads = [(wanted(lesson), (key,)) for lesson, key in zip(lessons, keys, strict=True)]
    show(f"read {len(reads[0][0])} histories and 1 document", [timed(store.read, *read, NOW, 1.0) for read in reads])
    velocities = [velocity(lesson) for lesson in lessons]
    show("write 5 activity deltas", [timed(store.write, deltas, (), NOW, 1.0) for deltas in velocities])
    receipts = [(Swap(key, None, bytes(600), NOW + DAY),) for key in keys]
    both = zip(velocities, receipts, strict=True)
    show("write 5 activity deltas and a receipt", [timed(store.write, *write, NOW, 1.0) for write in both])
    changes = [lesson_deltas(lesson, 1) for lesson in lessons]
    what = f"write {len(changes[0])} profile deltas"
    show(what, [timed(store.write, deltas, (), NOW, 1.0) for deltas in changes])
    show("sweep 1000 records", [timed(store.sweep, NOW, 1000) for _ in range(100)])


def bytes_a_subject(sign_ins: int, subjects: int) -> tuple[float, float]:
    """Bytes of a subject's own history, and of all records of its sign-ins, shared entities included."""
    world = World(subjects)
    store = MemoryStore()
    for subject in world.subjects:
        for number in range(sign_ins):
            lesson = world.lesson(subject, NOW - (sign_ins - number) * DAY)
            store.write((*lesson_deltas(lesson, 1), *velocity(lesson)), (), lesson.time, 1.0)
    own = MemoryStore()
    for subject in world.subjects:
        for number in range(sign_ins):
            own.write(lesson_deltas(world.lesson(subject, NOW - (sign_ins - number) * DAY), 1)[:1], (), NOW, 1.0)
    return own.size()[1] / subjects, store.size()[1] / subjects


def decayed(events: list[tuple[float, float]]) -> float:
    """The usual decaying counter, a float and the time of its newest event, with a half-life of 13 weeks."""
    total, newest = 0.0, 0.0
    for time, n in events:
        age = abs(time - newest) / (91 * DAY)
        if time > newest:
            total, newest = total * 2**-age + n, time
        else:
            total += n * 2**-age
    return total


def floats(events: int = 100, orders: int = 1000) -> None:
    """Print the error of a decaying float when events come in another order, and when all are taken back."""
    rng = random.Random(1)
    sums, left = set(), 0
    happened = [(rng.random() * 182 * DAY, rng.choice([1.0, 3.0])) for _ in range(events)]
    for _ in range(orders):
        rng.shuffle(happened)
        sums.add(decayed(happened))
        left += decayed(happened + [(time, -n) for time, n in happened]) != 0.0
    print(f"a decayed float, {events} events in {orders} orders: {len(sums)} different sums")
    print(f"  taken back again: not nothing in {left} of {orders}")


RECORD: Final = bytes(200)


def alternatives(directory: Path, records: int = 100_000, rounds: int = 1000) -> None:
    """Compare LMDB with SQLite, by when a commit is durable. Each round changes five records and reads 21."""
    rng = random.Random(7)
    keys = [rng.randbytes(17) for _ in range(records)]
    turns = [rng.sample(keys, 21) for _ in range(rounds)]
    for what, sync, metasync in (
        ("each commit", True, True),
        ("each commit, its meta page later", True, False),
        ("every second", False, False),
    ):
        with lmdb.open(str(directory / what), 1 << 30, sync=sync, metasync=metasync) as environment:
            put_all(environment, sorted(keys))
            print(f"LMDB, durable {what}")
            show("change 5", [timed(put_all, environment, turn[:5]) for turn in turns])
            show("read 21", [timed(get_all, environment, turn) for turn in turns])
    for synchronous in ("FULL", "NORMAL", "OFF"):
        base = sqlite3.connect(directory / f"{synchronous}.sqlite", isolation_level=None)
        base.execute("PRAGMA journal_mode=WAL")
        base.execute(f"PRAGMA synchronous={synchronous}")
        base.execute("CREATE TABLE records (key BLOB PRIMARY KEY, record BLOB) WITHOUT ROWID")
        replace_all(base, sorted(keys))
        print(f"SQLite, write-ahead log, synchronous={synchronous}")
        show("change 5", [timed(replace_all, base, turn[:5]) for turn in turns])
        show("read 21", [timed(select_all, base, turn) for turn in turns])
        base.close()


def put_all(environment: lmdb.Environment, keys: list[bytes]) -> None:
    with environment.begin(write=True) as transaction:
        for key in keys:
            transaction.put(key, RECORD)


def get_all(environment: lmdb.Environment, keys: list[bytes]) -> None:
    with environment.begin() as transaction:
        for key in keys:
            transaction.get(key)


def replace_all(base: sqlite3.Connection, keys: list[bytes]) -> None:
    base.execute("BEGIN IMMEDIATE")
    base.executemany("REPLACE INTO records VALUES (?, ?)", [(key, RECORD) for key in keys])
    base.execute("COMMIT")


def select_all(base: sqlite3.Connection, keys: list[bytes]) -> None:
    base.execute("BEGIN")
    for key in keys:
        base.execute("SELECT record FROM records WHERE key = ?", (key,)).fetchone()
    base.execute("COMMIT")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=4000)
    parser.add_argument("--directory", type=Path, default=None)
    parser.add_argument("--alternatives", action="store_true", help="compare ways to make a commit durable instead")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        if arguments.alternatives:
            alternatives(Path(directory))
            floats()
            return
        for store in (MemoryStore(), LmdbStore(Path(directory) / "history")):
            compare(store, arguments.subjects, arguments.rounds)
    print("bytes a subject: its own profile / everything that its sign-ins left")
    for sign_ins in (1, 10, 100):
        own, everything = bytes_a_subject(sign_ins, 2000 // sign_ins)
        print(f"  {sign_ins:>3} sign-ins: {own:.0f} / {everything:.0f}")


def compare(store: HistoryStore, subjects: int, rounds: int) -> None:
    """Fill a store and measure it."""
    world = World(subjects)
    seconds = timed(warm, store, world)
    records, size = store.size()
    print(f"{type(store).__name__}, {subjects} subjects")
    print(f"  {records} records, {size / 2**20:.0f} MiB, filled at {4 * subjects / seconds:.0f} writes/s")
    measure(store, world, rounds)
    store.close()


if __name__ == "__main__":
    program(main)
