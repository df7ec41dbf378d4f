"""A service over a long time, as `benchmarks.years` lives through it, under short retentions."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from msgspec.structs import replace

from benchmarks.years import SEGMENT_DAYS, Life
from riskd.config import Settings
from riskd.core.history import DAY, HOUR
from riskd.core.retention import Retention
from riskd.wiring import load_release

BRIEF: Final = Retention(profile=14 * DAY, sequence=3 * DAY, receipt=5 * DAY, reply=HOUR, log=7 * DAY)
DAYS: Final = 60


def test_nothing_is_left_over_and_nothing_grows(tmp_path: Path) -> None:
    """Months after the longest retention a service keeps as much as at its end: no expired record, no content that a
    later attempt should have dropped, no older line of the log."""
    release = load_release(Settings())
    policies = {domain: replace(policy, retention=BRIEF) for domain, policy in release.policies.items()}
    with Life(tmp_path, 15, replace(release, policies=policies)) as life:
        months = list(life.months(DAYS))
    assert [month.left_over for month in months] == [0] * len(months)
    first, *_, last = months
    assert set(last.records) == {"profile", "common", "activity", "share", "receipt"}
    assert sum(last.records.values()) < 1.2 * sum(first.records.values())
    assert last.store_bytes < 1.2 * first.store_bytes
    assert last.log_days <= BRIEF.log / DAY + SEGMENT_DAYS
