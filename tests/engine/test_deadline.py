"""The engine answers by the deadline: what it cannot get in time is a gap with its posture.

Test doubles take as long as they are told. The time of an answer has a margin for busy machines, but it must always be
within the caller's deadline.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Final

import pytest
from msgspec.structs import replace

from riskd._proto.riskd.v1 import assessment_pb2, attempt_pb2, risk_pb2
from riskd.core.address import Address
from riskd.core.assess import Release
from riskd.core.assessment import Assessment
from riskd.core.attempt import Outcome
from riskd.core.context import Located
from riskd.core.errors import Unavailable
from riskd.core.requirement import Tier
from riskd.engine import Engine
from riskd.ports import HistoryStore
from riskd.server.grpc_server import Options
from tests.bench import parts
from tests.cases.world import TableGeo, attempt
from tests.doubles import CountingMeter, SlowStore
from tests.server.world import served
from tests.shipped import shipped_release

TIME: Final = 0.4
"""The callers' deadline in seconds."""
MARGIN: Final = 0.25
"""Seconds allowed beyond a part that cannot be interrupted and is slower than the deadline."""
EVER: Final = 60.0
LOGIN: Final = attempt({})


class SlowGeo(TableGeo):
    """Geo databases on a slow disk, whose reads cannot be interrupted."""

    def __init__(self, seconds: float) -> None:
        super().__init__({})
        self._seconds = seconds

    def locate(self, address: Address, when: float) -> Located:
        """As the table, but later."""
        time.sleep(self._seconds)
        return super().locate(address, when)


@pytest.fixture(scope="module")
def release() -> Release:
    return shipped_release()


def engine(release: Release, store: HistoryStore, geo: TableGeo) -> Engine:
    made = parts(
        store=store,
        geo=geo,
        meter=CountingMeter(),
    )
    return Engine(made, release)


def taken(call: Callable[[], Assessment]) -> tuple[Assessment, float]:
    """The answer, and the median of the seconds that it takes."""
    seen = []
    for _ in range(3):
        started = time.monotonic()
        seen.append((call(), time.monotonic() - started))
    return seen[-1][0], median(seconds for _, seconds in seen)


@pytest.mark.parametrize(
    ("reads", "writes", "geo", "causes"),
    [
        (EVER, 0.0, 0.0, {"history:unavailable"}),
        (0.0, EVER, 0.0, {"store:not_written"}),
        (EVER, EVER, 0.0, {"history:unavailable", "store:not_written"}),
        (TIME * 0.5, 0.0, 0.0, set()),
        (EVER, EVER, TIME * 0.5, {"history:unavailable", "store:not_written"}),
        (0.0, 0.0, TIME * 0.5, set()),
    ],
    ids=["slow read", "slow write", "slow read and write", "in time", "slow store and geo", "slow geo"],
)
def test_the_answer_comes_by_the_deadline(
    release: Release, reads: float, writes: float, geo: float, causes: set[str]
) -> None:
    """However slow the store is, the caller gets an answer in time, with the gaps and their postures."""
    slow = engine(release, SlowStore(reads=reads, writes=writes), SlowGeo(geo))
    answer, seconds = taken(lambda: slow.assess(replace(LOGIN, journey="recovery"), TIME))

    gap = "history:unavailable" in causes
    assert seconds < TIME
    assert set(answer.causes) & {"history:unavailable", "store:not_written"} == causes
    history = {missing.why for missing in answer.gaps if missing.source == "history"}
    assert history == ({"unavailable"} if gap else {"none_yet"})
    journey = release.policies["customer"].journeys["recovery"]
    posture = journey.postures["history"] if gap else journey.cold_start
    assert posture is not None
    assert answer.requirement.tier >= posture
    assert (answer.requirement.tier is Tier.IDENTITY_PROOF) == gap
    assert ("MISSING_HISTORY" in {reason.code for reason in answer.reasons}) == gap


def test_nothing_is_waited_for_after_a_slow_geo_lookup(release: Release) -> None:
    """If a geo lookup exceeds the deadline, nothing after it is waited for."""
    slow = engine(release, SlowStore(reads=EVER, writes=EVER), SlowGeo(TIME * 1.5))
    answer, seconds = taken(lambda: slow.assess(LOGIN, TIME))

    assert seconds < TIME * 1.5 + MARGIN
    assert {"history:unavailable", "store:not_written"} <= set(answer.causes)
    assert answer.requirement.tier >= Tier.STEP_UP


@pytest.mark.parametrize(
    ("reads", "writes"),
    [(EVER, 0.0), (0.0, EVER), (TIME * 0.6, TIME * 0.6)],
    ids=["slow read", "slow write", "together"],
)
def test_an_outcome_that_cannot_be_recorded_in_time_is_refused_by_the_deadline(
    release: Release, reads: float, writes: float
) -> None:
    """However the store divides the delay between reading a receipt and writing it, the caller is told in time."""
    store = SlowStore()
    slow = engine(release, store, TableGeo({}))
    outcome = Outcome(assessment_id=slow.assess(LOGIN, TIME).id, kind="session_established")
    store.reads, store.writes = reads, writes
    started = time.monotonic()
    with pytest.raises(Unavailable):
        slow.record(outcome, TIME)
    assert time.monotonic() - started < TIME + MARGIN


def test_a_caller_with_less_time_than_riskd_is_answered_all_the_same(release: Release) -> None:
    """With a deadline below the setting and a slow store, the caller gets an answer instead of DEADLINE_EXCEEDED."""
    slow = engine(release, SlowStore(reads=EVER, writes=EVER), TableGeo({}))
    request = risk_pb2.AssessRequest(
        domain=attempt_pb2.IDENTITY_DOMAIN_CUSTOMER,
        subject="alex",
        journey=attempt_pb2.JOURNEY_RECOVERY,
        network=attempt_pb2.Network(client_ip="192.0.2.7"),
    )
    with served(Options(address="127.0.0.1:0", timeout_s=20.0), behind=slow) as running:
        answers = [running.stub.Assess(request, timeout=2.0) for _ in range(2)]
    assert {answer.requirement.tier for answer in answers} == {assessment_pb2.TIER_IDENTITY_PROOF}
    assert all(answer.degraded for answer in answers)
