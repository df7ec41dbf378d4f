"""The calls of `riskd demo` to an overloaded service."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest

from riskd._proto.riskd.v1 import risk_pb2
from riskd.cli.client import story, swap
from riskd.cli.client.status import NO_ANSWER
from riskd.core.errors import Unavailable


class Busy:
    """A service that refuses each attempt the first time, or always."""

    def __init__(self, *, ever: bool) -> None:
        self.ever, self.lock = ever, threading.Lock()
        self.seen: Counter[bytes] = Counter()

    def assess(self, request: risk_pb2.AssessRequest, context: grpc.ServicerContext) -> risk_pb2.AssessResponse:
        """Refuse or answer the attempt."""
        with self.lock:
            self.seen[request.SerializeToString()] += 1
            again = self.seen[request.SerializeToString()] > 1
        if not (self.ever and again):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the call waited too long for its turn")
        return risk_pb2.AssessResponse(model="busy")


@contextmanager
def serving(busy: Busy) -> Iterator[str]:
    """Serve it; gives the address."""
    server = grpc.server(ThreadPoolExecutor(8))
    handler = grpc.unary_unary_rpc_method_handler(
        busy.assess, risk_pb2.AssessRequest.FromString, risk_pb2.AssessResponse.SerializeToString
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("riskd.v1.RiskService", {"Assess": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait(10)


def test_an_overloaded_call_is_retried() -> None:
    """The demo retries calls that the service refuses as overloaded."""
    with serving(Busy(ever=True)) as target, swap.calling(target) as told:
        assert swap.until(lambda: told.answers["busy"] >= 3, 20.0)
    assert told.errors == []


def test_a_demo_without_an_answer_ends_with_an_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the service never answers, the demo ends with an error message and a client's exit code, and so does its
    training."""
    with serving(Busy(ever=False)) as target:
        assert story.play(target) == NO_ANSWER
        with pytest.raises(Unavailable, match="RESOURCE_EXHAUSTED: the call waited too long"):
            swap.score(target)
    assert capsys.readouterr().err.startswith("riskd: RESOURCE_EXHAUSTED: the call waited too long")
