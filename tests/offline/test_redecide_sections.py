"""Decisions with lists, trusted networks, tenants and learning are reproduced from their records alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.adapters.cel_rules import CelCompiler
from riskd.adapters.policy_file import load_policy
from riskd.core import record
from riskd.core.assess import Release
from riskd.core.attempt import Device, Network
from riskd.core.features import NAMES
from riskd.core.history import DAY
from riskd.core.policy import Policy
from riskd.core.score import Scorer
from riskd.engine import Engine
from riskd.offline.policies.redecide import redecide
from tests.adapters.sections import write
from tests.bench import parts
from tests.cases.world import NOW, attempt
from tests.doubles import CountingMeter, ListLog
from tests.shipped import shipped_release

LOGIN: Final = attempt({})
OLD: Final = (
    "  - {name: old, when: account_days >= 180.0, then: STEP_UP, reason: OLD, text: Old., journeys: [login, payment]}\n"
)
ADDRESSES: Final = ("192.0.2.65", "192.0.2.1", "198.51.100.9", "203.0.113.9", LOGIN.network.client_ip)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    directory = tmp_path_factory.mktemp("policies")
    path = write(directory)
    path.write_text(path.read_text().replace("[192.0.2.0/24]", "[192.0.2.64/26, 198.51.0.0/16]") + OLD)
    return load_policy(path, CelCompiler(NAMES))


@pytest.fixture(scope="module")
def scorers() -> Mapping[str, Scorer]:
    return shipped_release().scorers


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(
        {
            "network": st.builds(Network, client_ip=st.sampled_from(ADDRESSES)),
            "tenant": st.sampled_from(["", "acme", "other"]),
            "journey": st.sampled_from(["login", "payment"]),
            "registration_time": st.sampled_from([None, NOW - 179 * DAY, NOW - 180 * DAY]),
            "device": st.builds(Device, device_id=st.sampled_from(["", "laptop", "tablet"])),
        }
    ),
    st.booleans(),
)
def test_the_record_says_all_that_was_decided_by(
    policy: Policy, scorers: Mapping[str, Scorer], asked: dict[str, Any], trusting: bool
) -> None:
    """Tier, hits and reasons are reproduced, even if the recorded network is wider than a list's entry."""
    if trusting:
        policy = replace(policy, trusted_networks=frozenset({"office"}))
    log, meter = ListLog(), CountingMeter()
    made = parts(
        log=log,
        meter=meter,
    )
    release = Release("r", {"customer": policy}, scorers)
    answer = Engine(made, release).assess(replace(LOGIN, consent=("device",), **asked), 10.0)
    (line,) = log.lines
    kept = record.decode(line)
    assert isinstance(kept, record.AssessmentRecord)
    again = redecide(policy, kept)
    assert again.ruling.tier is answer.requirement.tier
    assert tuple(hit.rule for hit in again.hits if not hit.shadow) == kept.hits
    assert again.ruling.requirement.satisfied == kept.satisfied
    withheld = again.ruling.withheld.name if again.ruling.withheld else ""
    assert withheld == kept.withheld
    assert meter.told["withheld", "customer", kept.journey, withheld] == bool(withheld)
    assert ("LEARNING_MODE" in kept.reasons) == bool(withheld)
