"""A risk that one deployment saw and its flow transmitted counts at another."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

import riskd
from riskd.core.attempt import OUTCOMES
from riskd.core.caep import LEVELS, Events
from riskd.server.translate import Answers
from riskd.shared_signals.receiver import Address, Receiver
from riskd.shared_signals.stream import Poll
from tests.core.answers import WHEN, answers
from tests.e2e.service import eventually
from tests.e2e.step_up import page_code
from tests.shared_signals.transmitter import ALEX, AUDIENCE, Transmitter, bearer_file, rsa_key, stream, transmitting

PAGE: Final = page_code()
THIEF: Final = riskd.Attempt(
    domain="customer",
    subject=ALEX["email"],
    journey="login",
    credential_result="succeeded",
    network=riskd.Network(client_ip="203.0.113.7"),
    device=riskd.Device(user_agent="python-requests/2.32.3"),
)
OWNER: Final = replace(THIEF, device=riskd.Device(user_agent="Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"))
MADE: Final = Answers()


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[tuple[riskd.Engine, riskd.Engine]]:
    """Two deployments that share nothing."""
    here, there = ({"state.dir": str(tmp_path / one), "store.kind": "memory", "geo.dir": "/none"} for one in "ab")
    with riskd.open_engine(settings=here) as one, riskd.open_engine(settings=there) as other:
        yield one, other


@pytest.fixture
def transmitter() -> Iterator[Transmitter]:
    with transmitting() as found:
        yield found


def send(transmitter: Transmitter, told: Events | None, answer: riskd.Assessment) -> str:
    """What a flow does with an event: signed by the page's code, and kept until it is acknowledged."""
    assert told is not None
    token = PAGE["security_event_token"](told, ALEX, answer.id, transmitter.issuer, AUDIENCE, rsa_key(), "one")
    claims = PAGE["jwt"].decode(token, options={"verify_signature": False})
    assert claims["txn"] == answer.id
    return transmitter.put(claims["jti"], token)


def test_what_one_deployment_saw_counts_at_another(
    engines: tuple[riskd.Engine, riskd.Engine], transmitter: Transmitter, tmp_path: Path
) -> None:
    """A thief gives up at the challenge of one deployment; the event of it makes another ask the account for more. The
    owner passes, and the event of that takes it back."""
    here, there = engines
    usual = there.assess(OWNER, timeout=10).requirement.tier
    polled = stream(transmitter.issuer, Poll(transmitter.endpoint, bearer_file(tmp_path), 1))
    stop = threading.Event()
    receives = threading.Thread(
        target=Receiver([polled], lambda event: there.record_event(event, timeout=10)).run,
        args=(stop, Address("127.0.0.1", 0)),
    )
    receives.start()
    try:
        seen = here.assess(THIEF, timeout=10)
        told = riskd.risk_level_change(seen, "", "challenge_abandoned", time=time.time() - 2)
        sent = send(transmitter, told, seen)
        eventually(lambda: sent in transmitter.acknowledged)
        assert there.assess(OWNER, timeout=10).requirement.tier > usual
        told = riskd.risk_level_change(seen, "HIGH", "confirmed_legitimate", time=time.time())
        sent = send(transmitter, told, seen)
        eventually(lambda: sent in transmitter.acknowledged)
        assert there.assess(OWNER, timeout=10).requirement.tier == usual
    finally:
        stop.set()
        receives.join(10)
    assert transmitter.refused == {}


@given(answers, st.sampled_from(["", *LEVELS]), st.sampled_from(["", *OUTCOMES]))
def test_the_code_of_the_page_makes_the_same_event(answer: riskd.Assessment, before: str, outcome: str) -> None:
    """docs/step-up.md has code for callers over gRPC; it makes the event that riskd makes in process."""
    made = PAGE["risk_level_change"](MADE.response(answer), before, outcome, WHEN)
    assert made == riskd.risk_level_change(answer, before, outcome, time=WHEN)
