"""What the history stores cost: reads and writes as an assessment and an outcome make them, and bytes a subject.

Every key is drawn at random, so that nothing is found where the last request left it.
Run: python -m benchmarks.history [--subjects N] [--directory WHERE]
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Final

from riskd.adapters.lmdb_store import LmdbStore
from riskd.adapters.memory import MemoryStore
from riskd.core.history import ACTIVITY_SECONDS, DAY, Delta
from riskd.core.learn import Lesson, taught
from riskd.core.pseudonym import short
from riskd.ports import HistoryStore, Swap

NOW: Final = 1_800_000_000.0
VALUES: Final = {
    "asn": "3215", "country": "FR", "agent": "8Hc0Kq3a",
    "browser": "Firefox", "os": "Windows", "device_class": "desktop",
    "language": "fr-FR", "timezone": "Europe/Paris", "screen": "1920x1080", "weekday": "2",
}  # fmt: skip
SHARED: Final = 2000
"""Entities that many subjects have in common: networks, ASNs, popular values."""


class World:
    """Keys of subjects and of what they share, and the traffic of their sign-ins."""

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
        place = (time, 48.857, 2.352, 20.0)
        values = VALUES | {
            "address": short(address), "network": short(shared[0]), "device": short(device),
            "fingerprint": short(address), "hour": str(self._random.randrange(7, 23)),
        }  # fmt: skip
        owners = (device, device[::-1])
        return Lesson(time, subject, owners, (address, *shared), self._domain, values, place, (5100, 26010))

    def lessons(self, time: float) -> Iterator[Lesson]:
        """Sign-ins of random subjects, for ever."""
        while True:
            yield self.lesson(self._random.choice(self.subjects), time)


def velocity(lesson: Lesson) -> list[Delta]:
    """The five deltas of an assessment."""
    counts = (("attempt", "", 1), ("attempt_day", "", 1))
    keys = (lesson.subject, *lesson.owners[:1], *lesson.shared[:3])
    return [
        Delta(b"A" + key, lesson.time, lesson.time + ACTIVITY_SECONDS, counts, (), (("who", key[0] & 63),))
        for key in keys
    ]


def wanted(lesson: Lesson) -> list[bytes]:
    """The 21 records that an assessment reads."""
    profiles = [b"P" + key for key in (lesson.subject, *lesson.owners, *lesson.shared, lesson.domain)]
    return profiles + [b"A" + key for key in (lesson.subject, *lesson.owners, *lesson.shared[:3])]


def timed(call: Callable[..., object], *arguments: object) -> float:
    started = perf_counter()
    call(*arguments)
    return perf_counter() - started


def show(what: str, seconds: list[float]) -> None:
    ranked = sorted(seconds)
    p50, p99 = (ranked[int(len(ranked) * share)] * 1e6 for share in (0.5, 0.99))
    print(f"  {what:<44} p50 {p50:7.1f} us   p99 {p99:7.1f} us")


def warm(store: HistoryStore, world: World) -> None:
    """Three sign-ins for every subject, a month apart."""
    for days in (60, 30, 1):
        for subject in world.subjects:
            lesson = world.lesson(subject, NOW - days * DAY)
            store.write(taught(lesson, 1), (), lesson.time, 10.0)
            if days == 1:
                store.write(velocity(lesson), (), lesson.time, 10.0)


def measure(store: HistoryStore, world: World, rounds: int) -> None:
    """Each operation on its own, for random subjects."""
    lessons = list(islice(world.lessons(NOW), rounds))
    keys = [b"R" + random.Random(seed).randbytes(16) for seed in range(rounds)]
    reads = [(wanted(lesson), (key,)) for lesson, key in zip(lessons, keys, strict=True)]
    show("read 21 histories and 1 document", [timed(store.read, *read, NOW, 1.0) for read in reads])
    velocities = [velocity(lesson) for lesson in lessons]
    show("write 5 activity deltas", [timed(store.write, deltas, (), NOW, 1.0) for deltas in velocities])
    receipts = [(Swap(key, None, bytes(600), NOW + DAY),) for key in keys]
    both = zip(velocities, receipts, strict=True)
    show("write 5 activity deltas and a receipt", [timed(store.write, *write, NOW, 1.0) for write in both])
    taughts = [taught(lesson, 1) for lesson in lessons]
    what = f"write {len(taughts[0])} profile deltas"
    show(what, [timed(store.write, deltas, (), NOW, 1.0) for deltas in taughts])
    show("sweep 1000 records", [timed(store.sweep, NOW, 1000) for _ in range(100)])


def bytes_a_subject(sign_ins: int, subjects: int) -> tuple[float, float]:
    """Size of a subject's own history, and of all that its sign-ins leave, shared entities included."""
    world = World(subjects)
    store = MemoryStore()
    for subject in world.subjects:
        for number in range(sign_ins):
            lesson = world.lesson(subject, NOW - (sign_ins - number) * DAY)
            store.write((*taught(lesson, 1), *velocity(lesson)), (), lesson.time, 1.0)
    own = MemoryStore()
    for subject in world.subjects:
        for number in range(sign_ins):
            own.write(taught(world.lesson(subject, NOW - (sign_ins - number) * DAY), 1)[:1], (), NOW, 1.0)
    return own.size()[1] / subjects, store.size()[1] / subjects


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=4000)
    parser.add_argument("--directory", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        for store in (MemoryStore(), LmdbStore(Path(directory) / "history")):
            world = World(arguments.subjects)
            filled = timed(warm, store, world)
            records, size = store.size()
            print(f"{type(store).__name__}, {arguments.subjects} subjects")
            print(
                f"  {records} records, {size / 2**20:.0f} MiB, filled at {4 * arguments.subjects / filled:.0f} writes/s"
            )
            measure(store, world, arguments.rounds)
            store.close()
    print("bytes a subject: its own profile / everything that its sign-ins left")
    for sign_ins in (1, 10, 100):
        own, everything = bytes_a_subject(sign_ins, 2000 // sign_ins)
        print(f"  {sign_ins:>3} sign-ins: {own:.0f} / {everything:.0f}")


if __name__ == "__main__":
    main()
