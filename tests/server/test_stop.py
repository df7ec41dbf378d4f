"""A service that stops waits for its answers, but not for clients that have vanished."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from riskd._proto.riskd.v1 import risk_pb2
from riskd.server.grpc_server import QUIET_SECONDS
from tests.faults.floods import Peer, pings
from tests.server.world import ASSESSMENT, Running, served

GRACE: float = 30.0


@contextmanager
def service_with_a_silent_client() -> Iterator[Running]:
    """A service with one connection whose client answers nothing."""
    with served() as running:
        peer = Peer(f"127.0.0.1:{running.service.port}")
        running.stub.Assess(risk_pb2.AssessRequest(), timeout=10)
        yield running
        peer.close()


@pytest.mark.slow
def test_a_silent_connection_does_not_delay_the_stop() -> None:
    """A connection whose client does not answer is closed long before the grace period ends."""
    with service_with_a_silent_client() as running:
        begun = time.monotonic()
        running.service.stop(GRACE)
        assert time.monotonic() < begun + GRACE / 2


@pytest.mark.slow
def test_a_flood_of_pings_does_not_delay_the_stop() -> None:
    """A client that floods its connection with pings, which gRPC then cannot close, does not delay the stop."""
    over = threading.Event()

    def flood(peer: Peer) -> None:
        while not over.is_set() and peer.sent < 10_000_000:
            peer.flood(pings(), peer.sent + 10_000, reads=True)

    with served() as running:
        peer = Peer(f"127.0.0.1:{running.service.port}")
        flooding = threading.Thread(target=flood, args=(peer,))
        flooding.start()
        running.stub.Assess(risk_pb2.AssessRequest(), timeout=10)
        begun = time.monotonic()
        stopping = threading.Thread(target=running.service.stop, args=(GRACE,))
        stopping.start()
        stopping.join(GRACE / 2)
        over.set()
        flooding.join()
        peer.close()
        assert time.monotonic() < begun + GRACE / 2
        stopping.join()


@pytest.mark.slow
def test_a_call_in_progress_is_answered_before_the_stop() -> None:
    """A call in progress is answered within the grace period, although there is a silent connection."""
    with service_with_a_silent_client() as running:
        begun, on = running.engine.hold(lambda _: True)
        call = running.stub.Assess.future(risk_pb2.AssessRequest(), timeout=20)
        assert begun.wait(10)
        stopping = threading.Thread(target=running.service.stop, args=(GRACE,))
        stopping.start()
        time.sleep(1.5 * QUIET_SECONDS)
        on.set()
        assert call.result(10).assessment_id == ASSESSMENT.id
        stopping.join(GRACE / 2)
        assert not stopping.is_alive()


def test_without_calls_the_service_stops_at_once() -> None:
    """If all clients answer and no call is in progress, the service stops at once."""
    with served() as running:
        running.stub.Assess(risk_pb2.AssessRequest(), timeout=10)
        begun = time.monotonic()
        running.service.stop(GRACE)
        assert time.monotonic() < begun + QUIET_SECONDS
