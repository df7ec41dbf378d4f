"""Attackers who take their time: what their attempts gain them later, and what they cost the owner.

Each attack is played against an engine with the shipped policies and models and a clock of its own. The victim has
signed in on one device at home for eight weeks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from math import log
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.adapters.memory import MemoryStore
from riskd.core import learn
from riskd.core.assess import Release
from riskd.core.assessment import Assessment
from riskd.core.attempt import Outcome
from riskd.core.features import FEATURES, NAMES, vector
from riskd.core.forest import Forest
from riskd.core.history import DAY, HOUR
from riskd.core.requirement import Tier
from riskd.engine import Engine
from tests.bench import parts, release
from tests.cases.world import NOW, TableGeo, attempt, facts
from tests.models.stories import model
from tests.shipped import shipped_release

__all__ = ["release"]
HOMES: Final[dict[str, dict[str, Any]]] = {
    "alex": {"who": "alex", "with": "laptop", "from": "home"},
    "sam": {"who": "sam", "with": "laptop", "from": "home"},
    "batch": {"who": "batch", "with": "service", "from": "cloud"},
}
"""How each owner always came."""
THIEF: Final = {"with": "copied_browser", "from": "london_proxy"}
"""A copy of the owner's browser on a line in the owner's country."""


class Service:
    """An engine, its clock, and accounts with eight weeks of sign-ins."""

    def __init__(self, release: Release) -> None:
        self.now, self._store, self._release = NOW, MemoryStore(), release
        for day in range(56, 0, -2):
            for home in HOMES.values():
                self.teach(home, day)
        self._engine = Engine(parts(store=self._store, clock=lambda: self.now), release)

    def twin(self) -> Service:
        """Another one to which the same has happened."""
        twin = Service(self._release)
        twin.now, twin._store._records = self.now, dict(self._store._records)
        return twin

    def teach(self, words: dict[str, Any], days_ago: float) -> None:
        """A proven sign-in of earlier."""
        one, then = attempt(words), NOW - days_ago * DAY
        keys, context = facts(one, TableGeo({}), then, self._store)
        self._store.write(learn.lesson_deltas(learn.lesson(one, context, keys), 1), (), NOW, 1.0)

    def assess(self, **words: object) -> Assessment:
        self.now += 0.01
        return self._engine.assess(attempt(words), 10.0)

    def passes(self, **words: object) -> Assessment:
        """Somebody does what is required, and it is reported."""
        answer = self.assess(**words)
        self._tell(answer, "challenge_passed")
        self._tell(answer, "session_established")
        return answer

    def _tell(self, answer: Assessment, kind: str) -> None:
        self.now += 0.01
        self._engine.record(Outcome(assessment_id=answer.id, kind=kind), 10.0)

    def owner(self, who: str, journey: str) -> Assessment:
        """The owner at home."""
        return self.assess(**at_home(who, journey))

    def seen(self, **words: object) -> dict[str, float]:
        """The features of an attempt, by name."""
        one = attempt(words)
        return dict(zip(NAMES, vector(one, facts(one, TableGeo({}), self.now, self._store)[1]), strict=True))


def at_home(who: str, journey: str) -> dict[str, Any]:
    """The owner's attempt at home, within an hour-old session if the journey needs one."""
    words: dict[str, Any] = HOMES[who] | {"journey": journey}
    if journey == "recovery":
        words["credential_result"] = "not_checked"
    elif journey != "login":
        words["session"] = {"start_time": "1h ago", "authentication_time": "1h ago", "amr": ["pwd"]}
    return words


def guesses(service: Service, who: str) -> None:
    """Two hundred wrong passwords at once, from a hundred addresses."""
    for number in range(200):
        address = {"client_ip": f"5.9.{number % 100}.10"}
        service.assess(who=who, **{"from": "hosting", "with": "script"}, network=address, credential_result="failed")


def recoveries(service: Service, who: str) -> None:
    """Forty recoveries of the account, none of them completed."""
    for _ in range(40):
        service.assess(who=who, **THIEF, journey="recovery", credential_result="not_checked")


def beside(service: Service, who: str) -> None:
    """Somebody behind the owner's address fails on a hundred accounts, on the owner's, and in its recoveries."""
    here = {"from": HOMES[who]["from"], "with": "script", "credential_result": "failed"}
    for number in range(200):
        service.assess(who=who, **here, subject=f"other-{number % 100}")
    for journey in ("login", "recovery"):
        for _ in range(60):
            service.assess(who=who, **here, journey=journey)


ATTACKS: Final[Mapping[str, Callable[[Service, str], None]]] = {"guesses": guesses, "recoveries": recoveries}
JOURNEYS: Final = ("login", "recovery", "profile_update", "payment", "session")
ASKED: Final = {("alex", "payment"): Tier.STEP_UP}
"""Where guesses or recoveries by others cost the owner more than the floor: one code."""


@cache
def attacked(attack: str, who: str) -> Service:
    """After an attack on an account."""
    service = Service(shipped_release())
    ATTACKS[attack](service, who)
    return service


@pytest.mark.parametrize("journey", JOURNEYS)
@pytest.mark.parametrize("who", HOMES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_nobody_can_keep_the_owner_out(release: Release, attack: str, who: str, journey: str) -> None:
    """Whoever has no password and is elsewhere may guess and begin recoveries without end: on the owner's own
    device at home every journey asks for its floor, but for a customer's payment, which asks for a code."""
    floor = Service(release).owner(who, journey).requirement.tier

    assert attacked(attack, who).twin().owner(who, journey).requirement.tier in (floor, ASKED.get((who, journey)))


PEOPLE: Final = {"alex": "customer", "sam": "workforce"}
"""The domain of each owner who is a person."""


@cache
def besieged(who: str) -> Service:
    """After all attacks on an account, from elsewhere and from behind the same address."""
    service = Service(shipped_release())
    for attack in (*ATTACKS.values(), beside):
        attack(service, who)
    return service


@pytest.mark.parametrize("journey", JOURNEYS)
@pytest.mark.parametrize("who", PEOPLE)
def test_nobody_gets_anything_denied_to_the_owner(who: str, journey: str) -> None:
    """Whoever has no password may guess, begin recoveries, and fail behind the owner's address, all at once: nothing
    is denied to a customer or to staff on the known device at home."""
    assert besieged(who).twin().owner(who, journey).requirement.tier is not Tier.DENY


OTHERS: Final = (
    *(each.name for each in FEATURES if each.group == "velocity" and each.reads != ("device",)),
    *("shared_accounts", "recovery_attempts_24h", "hours_since_registration"),
)
"""Features that others can change, without knowing the account's device."""


@cache
def home(who: str, journey: str) -> tuple[dict[str, float], Forest, float]:
    """An owner's features at home, the model, and the log-odds from which the journey is denied."""
    bands = shipped_release().policies[PEOPLE[who]].journeys[journey].bands
    denied = dict(zip(bands.tiers[1:], bands.edges, strict=True))[Tier.DENY]
    usual = Service(shipped_release()).seen(**at_home(who, journey))
    return usual, model(PEOPLE[who]), log(denied / (1 - denied))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(PEOPLE)),
    st.sampled_from(JOURNEYS),
    st.fixed_dictionaries({name: st.floats(0, 1000) for name in OTHERS}),
)
def test_no_count_of_what_others_do_denies_the_owner(who: str, journey: str, counts: dict[str, float]) -> None:
    """Whatever the counts of what others do, all together: on the known device at home, customers and staff stay at
    least a quarter of a unit of log-odds below where the journey is denied."""
    usual, forest, denied = home(who, journey)
    began = float(journey in ("profile_update", "payment")) + 1.0
    found = {**usual, **counts, "sensitive_kinds_24h": began, "address_llr": 0.0}

    assert forest.score(list(found.values()))[0] < denied - 0.25


@pytest.mark.parametrize("who", HOMES)
def test_attempts_of_others_are_forgotten_within_a_day(release: Release, who: str) -> None:
    """Twenty-six hours after the last attempt the owner's score is what it would be without any."""
    attacked, quiet = Service(release), Service(release)
    for attack in (*ATTACKS.values(), beside):
        attack(attacked, who)
    attacked.now = quiet.now = attacked.now + 26 * HOUR

    assert attacked.owner(who, "login").score == quiet.owner(who, "login").score


@pytest.mark.parametrize("strange", [{"with": "new_phone"}, {"device": {"device_id": ""}}])
def test_guessing_is_still_seen_on_a_strange_device(release: Release, strange: dict[str, Any]) -> None:
    """The owner's known device is spared, not the account: on another device, or without one, the right password that
    follows five wrong ones is asked for more."""
    service = Service(release)
    guesses(service, "alex")

    assert "PASSWORD_GUESSING" in {reason.code for reason in service.assess(**HOMES["alex"] | strange).reasons}


@pytest.mark.parametrize("days", [30, 60, 90, 182])
def test_one_pass_gains_little_however_short_the_retention(release: Release, days: int) -> None:
    """One pass with a code does not make a thief's device the owner's, also not when all that is remembered of the
    account is as young as that pass: the odds stay above a quarter of what they were."""
    policy = release.policies["customer"]
    policy = replace(policy, retention=replace(policy.retention, profile=days * DAY))
    service = Service(replace(release, policies={**release.policies, "customer": policy}))
    first = service.passes(**THIEF)
    scores = []
    for _ in range(0, days + 14, 2):
        service.now += 2 * DAY
        service.passes()
        scores.append(service.assess(**THIEF).score)

    assert min(scores) > first.score / 4
