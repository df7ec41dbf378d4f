"""A wrong system clock refuses nobody and deletes nothing; correcting it restores everything."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest

from riskd.adapters.decision_log import Bounds, FileDecisionLog
from riskd.adapters.memory import MemoryStore
from riskd.adapters.null import NullMeter
from riskd.core.assess import Release
from riskd.core.history import DAY, HOUR
from riskd.core.learn import UNITS
from riskd.host.clock import CLOCK_REST, CLOCK_STEP, Clock
from riskd.housekeeping import TURN, Sweeper
from riskd.ports import HistoryStore
from tests.bench import LOGIN, Bench, release, store
from tests.cases.world import NOW
from tests.contract.hammer import SHARED, counted
from tests.decision_log import read_segments

__all__ = ["release", "store"]


@pytest.mark.parametrize("step", [-400 * DAY, -DAY, -HOUR, HOUR, DAY, 400 * DAY], ids=lambda step: f"{step / DAY:+g} d")
def test_a_clock_jump_while_serving(step: float, release: Release, store: HistoryStore) -> None:
    """While the clock is wrong, attempts are answered and outcomes accepted; once it is corrected, earlier learning
    counts again."""
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
    """Counts failures by part, and looks at the store."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def failed(self, part: str) -> None:
        self.seen[part] += 1

    def stored(self, records: int, size: int) -> None:
        self.seen["looked"] += 1


def test_sweeps_delete_nothing_for_an_hour_after_a_clock_jump() -> None:
    """After a clock jump of a year, the sweep waits an hour before it deletes what seems expired, so that the clock can
    be corrected."""
    wall, booted, meter, store, stop = [NOW], [1000.0], Failures(), MemoryStore(), threading.Event()
    sweeper = Sweeper(store, meter, Clock(lambda: wall[0], lambda: booted[0]), 60.0)
    assert store.write(counted(*SHARED), (), NOW, 1.0)
    sweeper.sweep(stop)
    assert meter.seen == {"looked": 1}

    wall[0] += 365 * DAY
    sweeper.sweep(stop)
    assert meter.seen == {"looked": 2, "clock": 1}
    for _ in range(round(CLOCK_REST / 60) - 1):
        wall[0], booted[0] = wall[0] + 60, booted[0] + 60
        sweeper.sweep(stop)
    assert set(store.walk(b"", 9)[0]) == {*SHARED, TURN}

    wall[0], booted[0] = wall[0] + 60, booted[0] + 60
    sweeper.sweep(stop)
    assert store.walk(b"", 9)[0] == [TURN]
    assert meter.seen["clock"] == 1


def test_small_steps_add_up() -> None:
    """A clock that is set wrong in parts, each too small for a step, counts as stepped once they sum up to one."""
    wall = [NOW]
    clock = Clock(lambda: wall[0], lambda: 1000.0)
    found = []
    for _ in range(4):
        wall[0] += CLOCK_STEP / 3
        found.append(clock.stepped(wall[0]))
    assert found == [False, False, False, True]


def test_no_log_segment_is_deleted_for_age_after_a_clock_jump(tmp_path: Path) -> None:
    """After a clock jump of a year, no log segment is deleted as older than `log.keep_days` while the clock can be
    corrected."""
    wall = [NOW]
    log = FileDecisionLog(tmp_path, 0, NullMeter(), Bounds(keep_seconds=90 * DAY), lambda: wall[0])
    assert log.append(b"{}")
    log.close()
    wall[0] += 365 * DAY
    log._prune()
    assert list(read_segments(tmp_path)) == [b"{}"]
