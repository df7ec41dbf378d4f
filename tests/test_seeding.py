"""The histories that benchmarks start with equal those that outcomes would have written."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Final

import pytest
from msgspec.structs import replace

from benchmarks.seeding import SIGN_INS, seed
from benchmarks.traffic import attempt
from riskd.adapters.memory import MemoryStore
from riskd.adapters.null import NullMeter
from riskd.config import load
from riskd.core.attempt import Outcome
from riskd.core.history import WEEK, History, decode
from riskd.core.recall import ACTIVITY, RECEIPT
from riskd.core.stored import expiry, payload
from riskd.engine import Engine
from riskd.wiring import open_engine

NOW: Final = 1_800_000_000.0
SUBJECTS: Final = 12


def profiles(store: MemoryStore) -> dict[bytes, tuple[float, History]]:
    """Records kept for longer than a day, by key, without receipts."""
    keys, _ = store.walk(b"", 10_000)
    found = {key: record for key, record in zip(keys, store.load(keys), strict=True) if record is not None}
    return {
        key: (expiry(record), decode(payload(record)))
        for key, record in found.items()
        if key[-1:] not in (ACTIVITY, RECEIPT)
    }


def test_seeding_writes_what_outcomes_would_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Seeding writes the same histories and expiries as sign-ins with outcomes, for subjects, devices and shared
    values."""
    lived, seeded, now = MemoryStore(), MemoryStore(), [0.0]
    with open_engine(load(flags={"state.dir": str(tmp_path)}), NullMeter()) as engine:
        seed(replace(engine.parts, store=seeded), SUBJECTS, NOW)
        living = Engine(replace(engine.parts, store=lived, clock=lambda: now[0]), engine.release)
        for weeks in range(SIGN_INS, 0, -1):
            now[0] = NOW - weeks * WEEK
            for who in range(SUBJECTS):
                answer = living.assess(attempt(who, Random(7)), 5.0)
                kind = "session_established" if answer.requirement.satisfied else "challenge_passed"
                assert living.record(Outcome(assessment_id=answer.id, kind=kind), 5.0).taught == 1

    assert profiles(seeded) == profiles(lived)
    assert len(profiles(seeded)) > 3 * SUBJECTS
