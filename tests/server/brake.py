"""Holds the calls of a server in their queue, so that their order and refusals do not depend on time."""

from __future__ import annotations

import grpc
import pytest

from riskd.core.assessment import Assessment
from riskd.core.attempt import Attempt, Outcome
from riskd.engine.reported import Recorded
from riskd.server.calls.handlers import Turns
from tests.server.world import ASSESSMENT, Running


class Brake:
    """Holds all calls in the queue until `go`, and records the order in which the engine gets them."""

    def __init__(self, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        self.order: list[str] = []
        self._running = running
        self._held = True
        due = vars(Turns)["due"].fget
        monkeypatch.setattr(Turns, "due", property(lambda turns: not self._held and due(turns)))
        settled(running)
        running.engine.answer = self._assess
        running.engine.record = self._record  # type: ignore[method-assign]  # as an assessment

    def _assess(self, attempt: Attempt) -> Assessment:
        self.order.append(attempt.subject)
        return ASSESSMENT

    def _record(self, outcome: Outcome, timeout: float) -> Recorded:
        self.order.append(outcome.assessment_id)
        return Recorded(outcome.assessment_id, 0)

    def hold(self) -> None:
        """Hold the calls that come from now on."""
        self._held = True

    def go(self) -> None:
        self._held = False
        settled(self._running)


def settled(running: Running) -> None:
    """Wait until the server has received all calls so far, both refused and waiting ones."""
    last: grpc.UnaryUnaryMultiCallable[bytes, bytes] = running.channel.unary_unary("/riskd.v1.RiskService/Nothing")
    for _ in range(2):
        with pytest.raises(grpc.RpcError):
            last(b"", timeout=10)
