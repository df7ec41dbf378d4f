"""An event from a transmitter affects the subject's next sign-in."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest

from riskd._proto.riskd.v1 import risk_pb2, risk_pb2_grpc
from riskd._proto.riskd.v1.assessment_pb2 import Tier
from riskd.server.identity.callers import token_hash
from tests.e2e.service import attempt, eventually, serving
from tests.shared_signals.process import receiving
from tests.shared_signals.transmitter import (
    BEARER,
    HIGH,
    RISC,
    bearer_file,
    transmitting,
)

CALLERS = """\
[web]
token_sha256 = ["{web}"]
methods = ["assessor"]
tenants = [""]

[receiver]
token_sha256 = ["{receiver}"]
methods = ["event_reporter"]
tenants = [""]
"""
STREAMS = """\
streams:
  idp:
    issuer: {issuer}
    audience: https://riskd.example.com
    domain: customer
    subject: {{format: email}}
    poll: {{endpoint: {issuer}/poll, token_file: stream.token, interval: 1s}}
"""
ALEX = {"format": "email", "email": "alex@example.com"}
OTHER = {"format": "email", "email": "other@example.com"}


@pytest.mark.slow
def test_a_reported_risk_raises_the_next_sign_in(tmp_path: Path) -> None:
    """A HIGH risk level raises the subject's score and tier, LOW takes that back, and no other subject is affected; the
    receiver's caller may only report events."""
    (tmp_path / "callers.toml").write_text(CALLERS.format(web=token_hash("web"), receiver=token_hash("receiver")))
    (tmp_path / "caller.token").write_text("receiver")
    bearer_file(tmp_path)
    settings = {"RISKD_SERVER__CALLERS": str(tmp_path / "callers.toml")}
    with transmitting() as transmitter, serving(tmp_path / "state", workers=2, settings=settings) as service:
        streams = tmp_path / "streams.yaml"
        streams.write_text(STREAMS.format(issuer=transmitter.issuer))

        def signs_in(subject: str) -> risk_pb2.AssessResponse:
            with service.stub() as stub:
                return stub.Assess(attempt(subject=subject), timeout=5, metadata=(("authorization", "Bearer web"),))

        def tells(content: dict[str, object], subject: dict[str, str]) -> None:
            sent = transmitter.queue(content=content, sub_id=subject)
            eventually(lambda: sent in transmitter.acknowledged)

        before = signs_in("alex@example.com")
        token = str(tmp_path / "caller.token")
        with receiving(str(streams), service.address, "--token-file", token):
            tells({**HIGH, "event_timestamp": time.time() - 60}, ALEX)
            raised = signs_in("alex@example.com")
            assert raised.score > before.score
            assert raised.requirement.tier > before.requirement.tier
            assert signs_in("somebody@example.com").requirement.tier == before.requirement.tier
            tells({**HIGH, "current_level": "LOW", "event_timestamp": time.time() - 30}, ALEX)
            assert signs_in("alex@example.com").requirement.tier == before.requirement.tier
            hijacked = transmitter.queue(RISC + "account-disabled", {"reason": "hijacking"}, sub_id=OTHER)
            eventually(lambda: hijacked in transmitter.acknowledged)
            assert signs_in("other@example.com").requirement.tier == raised.requirement.tier
        assert transmitter.refused == {}
        with service.channel() as channel, pytest.raises(grpc.RpcError) as refused:
            risk_pb2_grpc.RiskServiceStub(channel).Assess(
                attempt(), timeout=5, metadata=(("authorization", "Bearer receiver"),)
            )
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert Tier.Name(raised.requirement.tier) != "TIER_BASELINE"
        assert "alex" not in (tmp_path / "state" / "events.jsonl").read_text()
        assert BEARER not in (tmp_path / "state" / "events.jsonl").read_text()
