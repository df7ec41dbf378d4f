"""A service that stops waits for answers, and not for those who are gone without a word."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from riskd._proto.riskd.v1 import risk_pb2
from riskd.core.assessment import Assessment
from riskd.core.attempt import Attempt
from riskd.server.grpc_server import QUIET_SECONDS
from tests.faults.floods import Peer
from tests.server.world import ASSESSMENT, Running, served

GRACE: float = 30.0


@contextmanager
def beside_the_silent() -> Iterator[Running]:
    """A service with a connection that answers nothing."""
    with served() as running:
        peer = Peer(f"127.0.0.1:{running.service.port}")
        running.stub.Assess(risk_pb2.AssessRequest(), timeout=10)
        yield running
        peer.close()


@pytest.mark.slow
def test_connections_that_do_not_answer_are_closed() -> None:
    """Long before the end of the grace."""
    with beside_the_silent() as running:
        begun = time.monotonic()
        running.service.stop(GRACE)
        assert time.monotonic() < begun + GRACE / 2


@pytest.mark.slow
def test_whatever_is_under_way_is_answered() -> None:
    """However long it takes, within the grace."""
    begun, on = threading.Event(), threading.Event()

    def answer(_: Attempt) -> Assessment:
        begun.set()
        assert on.wait(20)
        return ASSESSMENT

    with beside_the_silent() as running:
        running.engine.answer = answer
        call = running.stub.Assess.future(risk_pb2.AssessRequest(), timeout=20)
        assert begun.wait(10)
        stopping = threading.Thread(target=running.service.stop, args=(GRACE,))
        stopping.start()
        time.sleep(1.5 * QUIET_SECONDS)
        on.set()
        assert call.result(10).assessment_id == ASSESSMENT.id
        stopping.join(GRACE / 2)
        assert not stopping.is_alive()


def test_nothing_is_waited_for_where_nothing_is() -> None:
    """Clients that answer are gone at once."""
    with served() as running:
        running.stub.Assess(risk_pb2.AssessRequest(), timeout=10)
        begun = time.monotonic()
        running.service.stop(GRACE)
        assert time.monotonic() < begun + QUIET_SECONDS
