"""The clock is set wrong: nobody is refused, nothing is deleted for it, and setting it right brings everything back."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from riskd import wiring
from riskd.adapters.memory import MemoryStore, NullMeter
from riskd.core.assess import Release
from riskd.core.history import DAY, HOUR
from riskd.core.learn import UNITS
from riskd.ports import HistoryStore
from riskd.wiring import CLOCK_REST, _keep
from tests.cases.world import NOW
from tests.contract.hammer import SHARED, counted
from tests.e2e.service import eventually
from tests.test_engine import LOGIN, Bench, release, store

__all__ = ["release", "store"]


@pytest.mark.parametrize("step", [-400 * DAY, -DAY, -HOUR, HOUR, DAY, 400 * DAY], ids=lambda step: f"{step / DAY:+g} d")
def test_a_step_of_the_clock(step: float, release: Release, store: HistoryStore) -> None:
    """While it is wrong attempts are answered and outcomes taken; set right, what was learned before counts again."""
    bench = Bench(release, store)
    first = bench.assess(LOGIN)
    assert bench.tell(first, "session_established") == 1
    before = bench.learned()

    bench.now = NOW + step
    during = bench.assess(LOGIN)
    assert not during.causes
    assert bench.tell(during, "sign_in_abandoned") == 0

    bench.now = NOW + 60
    after = bench.assess(LOGIN)
    assert not after.causes
    assert bench.learned() == before
    assert bench.tell(first, "confirmed_legitimate") == UNITS


class Failures(NullMeter):
    """What failed, and how often there was a look at the store."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def failed(self, part: str) -> None:
        self.seen[part] += 1

    def stored(self, records: int, size: int) -> None:
        self.seen["looked"] += 1


class Clock:
    """`time` as the housekeeping sees it."""

    CLOCK_BOOTTIME = time.CLOCK_BOOTTIME

    def __init__(self) -> None:
        self.wall, self.booted = NOW, 1000.0

    def time(self) -> float:
        return self.wall

    def clock_gettime(self, which: int) -> float:
        return self.booted


def test_nothing_is_swept_after_a_step_until_it_had_time_to_be_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A year ahead by mistake, everything has expired: it is still there when the mistake is mended within an hour."""
    clock, meter, store, stop = Clock(), Failures(), MemoryStore(), threading.Event()
    monkeypatch.setattr(wiring, "time", clock)
    assert store.write(counted(*SHARED), (), NOW, 1.0)
    keeper = threading.Thread(target=_keep, args=(store, meter, 0.001, stop))
    keeper.start()
    eventually(lambda: meter.seen["looked"] > 2)

    clock.wall += 365 * DAY
    eventually(lambda: meter.seen["clock"] == 1)
    looked = meter.seen["looked"]
    eventually(lambda: meter.seen["looked"] > looked + 2)
    assert store.size()[0] == len(SHARED)

    for _ in range(round(CLOCK_REST / 60)):
        clock.wall, clock.booted = clock.wall + 60, clock.booted + 60
    eventually(lambda: store.size()[0] == 0)
    stop.set()
    keeper.join()
