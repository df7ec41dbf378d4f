"""Leaving a signal out gains nothing: a client that omits, refuses or garbles signals is asked for no less than one
that sends values that the account never had. This holds for the shipped policies and models of all three domains, and
for every device signal that the account's history can be compared with. It does not hold for signals that cost nothing
to forge, where silence and a good lie are worth the same: a clock and a place that fit the address, hints that fit the
user agent, a form filled in at leisure; nor for attestation, which no history remembers (docs/learning.md)."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.adapters.memory import MemoryStore
from riskd.core import learn, signals
from riskd.core.assess import Decision, Release, assess
from riskd.core.attempt import DOMAINS, JOURNEYS, Attempt, Device
from riskd.core.features import NAMES
from tests.cases.world import NOW, WORLD, TableGeo, attempt, facts
from tests.shipped import shipped_release

OWNERS: Final[dict[str, list[dict[str, Any]]]] = {
    "customer": [{"with": "laptop", "from": "home"}, {"with": "phone", "from": "mobile"}],
    "workforce": [{"who": "sam", "with": "laptop", "from": "home"}],
    "machine": [{"who": "batch", "with": "service", "from": "cloud", "device": {"fingerprint": "f", "screen": "1x1"}}],
}
"""The devices that each account was always used with, in turn."""
LINES: Final = ("home", "mobile", "london_proxy", "madrid", "sydney", "hosting", "vpn", "tor", "cloud")
DATABASES: Final = [{}, {"place": "not_installed"}, {"place": "not_installed", "route": "not_installed"}]
NEVER_SEEN: Final[dict[str, dict[str, Any]]] = {
    "device_id": {"device_id": "of-nobody"},
    "fingerprint": {"fingerprint": "of-nobody"},
    "screen": {"screen": "1x2"},
    "languages": {"languages": ("eo",)},
    "timezone": {"timezone": "Etc/Nowhere"},
}
"""Values that nobody ever had."""
AGENTS: Final = (WORLD["with"]["foreign_browser"]["user_agent"], WORLD["with"]["script"]["user_agent"])
NO_AGENT: Final = ("", "~~~", "Mozilla/5.0 Chrome/153.0.0.0")
"""A user agent that is missing, unreadable, or without its operating system."""
SESSION: Final = {"start_time": "3h ago", "authentication_time": "3h ago", "amr": ["pwd", "otp"]}
law = settings(max_examples=200)


@cache
def release() -> Release:
    return shipped_release()


@cache
def history(domain: str) -> MemoryStore:
    """A store with the account's history and those of thirty others."""
    store = MemoryStore()
    for day in range(60, 0, -2):
        kits = OWNERS[domain]
        one = attempt({"time": f"{day}d ago"} | kits[day // 2 % len(kits)])
        other = replace(one, subject=f"other-{day}", device=replace(one.device or Device(), device_id=f"d-{day}"))
        for each in (one, other):
            keys, context = facts(each, TableGeo({}), NOW - day * 86_400, store)
            store.write(learn.lesson_deltas(learn.lesson(each, context, keys), 1), (), NOW, 1.0)
    return store


def decide(one: Attempt, geo: TableGeo) -> Decision:
    judged = signals.consented(one)
    keys, context = facts(judged, geo, NOW, history(one.domain))
    return assess(judged, context, keys, release(), "0" * 32)


@st.composite
def attempts(draw: st.DrawFn) -> tuple[Attempt, TableGeo]:
    """Anybody on any line, with any part of the owner's device, and without signals that cost nothing to forge."""
    domain = draw(st.sampled_from(DOMAINS))
    kit = OWNERS[domain][0]
    journey, line = draw(st.sampled_from(JOURNEYS)), draw(st.sampled_from(LINES))
    credential = draw(st.sampled_from(["succeeded", "not_checked", "failed"]))
    words = kit | {"from": line, "journey": journey, "credential_result": credential}
    if journey in ("session", "payment", "profile_update"):
        words["session"] = SESSION
    own = attempt(words).device
    assert own is not None
    mixed = replace(own, platform="", mobile=None, attestation="")
    for change in NEVER_SEEN.values():
        if draw(st.booleans()):
            mixed = replace(mixed, **change)
    mixed = replace(mixed, user_agent=draw(st.sampled_from([own.user_agent, *AGENTS])))
    return replace(attempt(words), device=mixed), TableGeo(draw(st.sampled_from(DATABASES)))


def stranger(one: Attempt, out: set[str]) -> Attempt:
    """The attempt with never-seen values of these signals."""
    device = one.device or Device()
    for name in out:
        device = replace(device, **NEVER_SEEN[name])
    return replace(one, device=device)


def asked(decision: Decision) -> tuple[int, float]:
    """Tier and score, the score rounded so that equal ones compare equal."""
    return int(decision.assessment.requirement.tier), round(decision.assessment.score, 9)


def no_less(less: Decision, strange: Decision) -> bool:
    return all(said >= told for said, told in zip(asked(less), asked(strange), strict=True))


@law
@given(attempts(), st.sets(st.sampled_from(sorted(NEVER_SEEN)), min_size=1))
def test_leaving_signals_out_gains_nothing_over_unknown_values(scene: tuple[Attempt, TableGeo], out: set[str]) -> None:
    """Omitting any device signals gives neither a lower tier nor a lower score than sending never-seen values, also
    beside the account's own identifier."""
    one, geo = scene
    assert one.device is not None
    silent = replace(one.device, **{name: () if name == "languages" else "" for name in out})

    assert no_less(decide(replace(one, device=silent), geo), decide(stranger(one, out), geo))


@law
@given(attempts(), st.sampled_from(NO_AGENT))
def test_a_spoilt_user_agent_is_asked_no_less_than_a_strange_one(scene: tuple[Attempt, TableGeo], spoilt: str) -> None:
    """A missing or garbled user agent is asked for no less than some unknown browser or tool."""
    one, geo = scene
    assert one.device is not None
    strange = [decide(replace(one, device=replace(one.device, user_agent=agent)), geo) for agent in AGENTS]
    told = decide(replace(one, device=replace(one.device, user_agent=spoilt)), geo)

    assert any(no_less(told, other) for other in strange)


@law
@given(attempts(), st.sampled_from([("security",), ("security", "location", "behaviour", "sharing")]))
def test_refusing_consent_gains_nothing_over_an_unknown_device(
    scene: tuple[Attempt, TableGeo], consent: tuple[str, ...]
) -> None:
    """Refusing the purpose `device` gains a stranger no more than sending an unknown device."""
    one, geo = scene
    strange = one.device
    assert strange is not None
    for change in NEVER_SEEN.values():
        strange = replace(strange, **change)

    assert no_less(decide(replace(one, consent=consent), geo), decide(replace(one, device=strange), geo))


@pytest.mark.parametrize("domain", DOMAINS)
def test_an_attempt_without_signals_is_told_apart_from_the_owner(domain: str) -> None:
    """On an unknown line without any device signals, the tier is above the owner's at home, with the reason
    LEFT_OUT."""
    kit = OWNERS[domain][0]
    owner, nobody = attempt(kit), replace(attempt(kit | {"from": "london_proxy"}), device=None)
    there, not_there = decide(owner, TableGeo({})), decide(nobody, TableGeo({}))

    assert there.assessment.requirement.tier == release().policies[domain].journeys["login"].floor
    assert not_there.assessment.requirement.tier > there.assessment.requirement.tier
    assert "LEFT_OUT" in {reason.code for reason in not_there.assessment.reasons}
    assert not_there.vector[NAMES.index("device_left_out")] == 1.0
