"""A counter through a running service: the example of docs/policy.md on each store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from riskd._proto.riskd.v1 import risk_pb2
from riskd._proto.riskd.v1.assessment_pb2 import Tier
from riskd._proto.riskd.v1.attempt_pb2 import JOURNEY_REGISTRATION
from riskd.config import data_directory
from tests.docs.counters_example import counting_policy
from tests.e2e.service import attempt, riskd, serving
from tests.redis_servers import RedisServer, cluster, running

PEPPER = "0123456789abcdef0123456789abcdef"


@pytest.fixture(params=["lmdb", "one server", "a cluster"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The settings of a store."""
    with ExitStack() as ended:
        nodes = []
        if request.param == "a cluster":
            nodes = ended.enter_context(cluster(tmp_path / "nodes"))
        elif request.param == "one server":
            nodes = [RedisServer(tmp_path / "node")]
            ended.enter_context(running(*nodes))
        url = "redis://" + ",".join(f"{node.address}" for node in nodes)
        yield {"RISKD_STORE__KIND": "redis", "RISKD_STORE__URL": url} if nodes else {}


def registration(who: str, phone: str = "+4712345678", request_id: str = "") -> risk_pb2.AssessRequest:
    """A registration with a phone number."""
    request = attempt(subject=who, request_id=request_id or who)
    request.journey = JOURNEY_REGISTRATION
    request.attributes["phone"] = phone
    return request


def test_one_phone_number_for_many_accounts(store: dict[str, str], tmp_path: Path) -> None:
    """Whichever worker registers them, the fourth account with one phone number is asked for more, and no account with
    another number; a repeat does not count. The log shows the counts, and decides again."""
    policies = tmp_path / "policies"
    policies.mkdir()
    for source in data_directory("policies").glob("*.yaml"):
        (policies / source.name).write_bytes(source.read_bytes())
    (policies / "customer.yaml").write_text(counting_policy())
    settings = {
        **store,
        "RISKD_PEPPER": PEPPER,
        "RISKD_RELEASE__POLICIES": str(policies),
        "RISKD_ATTRIBUTES__NAMES": "phone,payee_id",
    }
    with serving(tmp_path / "s", 2, settings) as service:
        answers = [service.assess(registration(who)) for who in ("a", "b", "a", "b", "c", "d")]
        other = service.assess(registration("e", "+4787654321"))
        with service.stub() as stub:
            confirmed = risk_pb2.ConfirmedLegitimate()
            stub.RecordOutcome(
                risk_pb2.RecordOutcomeRequest(assessment_id=answers[0].assessment_id, confirmed_legitimate=confirmed),
                timeout=10,
            )
        later = [service.assess(registration(who, request_id="later")) for who in ("a", "b")]
        asked = [Tier.Name(answer.requirement.tier) for answer in answers]
        shown, *owned = (
            riskd("log", "show", answer.assessment_id, "--json", state=service.state, settings=settings)
            for answer in (answers[-1], *later)
        )
        found = riskd(
            "policy", "backtest", str(policies), "--exit-code", "--json", state=service.state, settings=settings
        )

    assert asked == ["TIER_BASELINE"] * 5 + ["TIER_STEP_UP"]
    assert [reason.code for reason in answers[-1].reasons][:1] == ["SHARED_PHONE"]
    assert Tier.Name(other.requirement.tier) == "TIER_BASELINE"
    counted = json.loads(shown.stdout)["assessment"]["facts"]["counted"]
    assert counted["phone.attempts_24h"] == 3.0
    assert counted["phone.subjects_24h"] == pytest.approx(3, abs=0.1)
    own = [json.loads(one.stdout)["assessment"]["facts"]["counted"]["phone.own"] for one in owned]
    assert own == [pytest.approx(2.0), 0.0], "what was confirmed of one account is its own, and no other's"
    assert (found.returncode, json.loads(found.stdout)["counts"]["replayed"]) == (0, 7)
