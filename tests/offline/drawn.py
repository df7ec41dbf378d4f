"""The shipped customer policy, and generated decisions by it."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from riskd.adapters.cel_rules import CelCompiler
from riskd.adapters.policy_file import load_policy
from riskd.config import data_directory
from riskd.core import record
from riskd.core.attempt import JOURNEYS
from riskd.core.context import Agent, Missing, Place, Route
from riskd.core.features import FEATURES, NAMES
from tests.decision_log import WHENCE, decided, decision

FILE: Final = data_directory("policies") / "customer.yaml"
TEXT: Final = FILE.read_text(encoding="utf-8")
COMPILER: Final = CelCompiler(NAMES)
SHIPPED: Final = load_policy(FILE, COMPILER)
NOW: Final = 1_800_000_000.0
ASKED: Final = ("tor", "hosting", "new_device", "new_country", "automated_agent", "hours_since_recovery")
"""Features that generated records have; the others are missing."""

authentications = st.none() | st.builds(
    record.Authentication,
    acr=st.sampled_from(["", "mfa", "phrh"]),
    amr=st.sampled_from([(), ("pwd",), ("pwd", "otp"), ("hwk", "pin"), ("kba",)]),
    authentication_time=st.sampled_from([None, NOW - 60, NOW - 90_000]),
)
values = st.fixed_dictionaries({name: st.sampled_from([None, 0.0, 1.0]) for name in ASKED})
gaps = st.dictionaries(
    st.sampled_from(["history", "session", "device_id", "reputation"]), st.sampled_from(["not_sent", "none_yet"])
)


@st.composite
def records(draw: st.DrawFn) -> record.AssessmentRecord:
    """A generated decision by the shipped policy."""
    given = draw(values)
    undecided = decision(
        0,
        NOW,
        id=draw(st.binary(min_size=16, max_size=16)).hex(),
        tenant=draw(st.sampled_from(["", "acme"])),
        journey=draw(st.sampled_from(JOURNEYS)),
        credential_result=draw(st.sampled_from(["not_checked", "succeeded", "failed"])),
        facts=record.Facts(
            now=NOW,
            network="192.0.2.0/24",
            values=WHENCE,
            place=draw(st.none() | st.just(Place("NO", 0.0, 0.0, 1.0))),
            route=draw(st.none() | st.just(Route(64_500, anonymizer="vpn"))),
            agent=draw(st.none() | st.just(Agent("Firefox"))),
            missing=tuple(Missing(source, why) for source, why in draw(gaps).items()),
            stale=draw(st.sampled_from([(), ("place",), ("place", "route")])),
        ),
        vector=tuple(given.get(feature.name) for feature in FEATURES),
        score=draw(st.floats(0, 1)),
        session=draw(authentications),
        federation=draw(authentications),
    )
    return decided(SHIPPED, undecided)


logs = st.lists(records(), max_size=4)


def assessment(number: int, journey: str = "login", **changes: object) -> record.AssessmentRecord:
    """A plain decision by the shipped policy; `changes` are fields of the record."""
    return decided(SHIPPED, decision(number, NOW + number, journey=journey, **changes))
