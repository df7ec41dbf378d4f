"""Replaying a simulated world with every domain, journey and attack class, written by the real log writer."""

from __future__ import annotations

from pathlib import Path

import pytest

from riskd.adapters.decision_log import DECISIONS
from riskd.config import load
from riskd.offline.buckets import Bucket
from riskd.offline.replay.run import Plan
from riskd.offline.replay.run import run as rerun
from riskd.offline.world.run import run
from riskd.progress import ignore_progress
from riskd.rebuild.order import SegmentReader
from tests.decision_log import read_segments
from tests.offline.town import RELEASE
from tests.offline.world.small import SmallGeo, world


@pytest.mark.slow
def test_a_simulated_log_is_reproduced_byte_for_byte(tmp_path: Path) -> None:
    """With the release that decided, the replay gives the same log, byte for byte."""
    wanted = {"users": 40, "days": 20, "seed": 7, "attack_share": 0.15}
    run(world(**wanted), RELEASE, SmallGeo(), tmp_path / "world", ignore_progress, version="test", varied=None)
    log = tmp_path / "world" / DECISIONS
    settings = load(environ={}, flags={"log.dir": str(log), "state.dir": str(tmp_path / "state")})
    plan = Plan(reader=SegmentReader(settings), settings=settings, out=tmp_path / "again")
    counts = rerun(plan, [Bucket()], lambda _: None)
    assert counts["assessed"] > 300
    assert list(read_segments(tmp_path / "again")) == list(read_segments(log))
