"""Security events from outside: reported by hand, counted, used, shown and erased."""

from __future__ import annotations

import json
from pathlib import Path

from riskd._proto.riskd.v1 import assessment_pb2
from riskd.core.record import SecurityEventRecord
from tests.e2e.service import attempt, riskd, serving

IDP = "https://idp.example"


def test_a_reported_account_is_asked_for_more(tmp_path: Path) -> None:
    """An event reported by `riskd events tell` to one worker affects every later login; support and analysts can see
    it, and an erasure removes it."""
    about = ("--domain", "customer", "--subject", "anne")
    with serving(tmp_path / "s", workers=2) as service:
        assert service.assess(attempt(subject="anne")).requirement.tier == assessment_pb2.TIER_BASELINE
        tell = (
            "events",
            "tell",
            "risk_level_change",
            *about,
            "--level",
            "high",
            "--issuer",
            IDP,
            "--target",
            service.address,
        )
        assert riskd(*tell, "--timeout", "10", state=service.state).stdout == "recorded\n"
        answers = [service.assess(attempt(subject="anne")) for _ in range(6)]
        assert {answer.requirement.tier for answer in answers} == {assessment_pb2.TIER_PHISHING_RESISTANT}
        assert {"RISK_REPORTED"} <= {reason.code for reason in answers[0].reasons}
        refused = riskd("events", "tell", "risk_level_change", *about, "--target", service.address, state=service.state)
        assert (refused.returncode, refused.stdout) == (2, "")

        count = {"domain": "customer", "kind": "risk_level_change"}
        assert service.metric("riskd_security_events_total", **count) == 1.0
        handled = {"grpc_method": "RecordSecurityEvent", "grpc_code": "OK"}
        assert service.metric("grpc_server_handled_total", **handled) == 1.0
        (line,) = [line for line in service.decisions() if isinstance(line, SecurityEventRecord)]
        assert (line.kind, line.level, line.issuer) == ("risk_level_change", "high", IDP)

        shown = riskd("subject", "show", "anne", "--domain", "customer", "--json", state=service.state)
        assert [step["kind"] for step in json.loads(shown.stdout)["sensitiveSteps"]] == ["reported_high"]
        why = riskd("log", "show", answers[0].assessment_id, "--json", state=service.state)
        assert [each["issuer"] for each in json.loads(why.stdout)["events"]] == [IDP]
        found = riskd("log", "find", "anne", "--domain", "customer", "--events", "--json", state=service.state)
        assert [each["kind"] for each in json.loads(found.stdout)] == ["risk_level_change"]

        erased = riskd("subject", "erase", "anne", "--domain", "customer", "--yes", "--json", state=service.state)
        assert erased.returncode == 0, erased.stderr
        assert service.assess(attempt(subject="anne")).requirement.tier == assessment_pb2.TIER_BASELINE
        found = riskd("log", "find", "anne", "--domain", "customer", "--events", state=service.state)
        assert (found.returncode, IDP in found.stdout) == (1, False)
