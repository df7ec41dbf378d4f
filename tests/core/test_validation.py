"""Laws of validation: each limit as a number, from both sides, and every violation under its own name."""

from __future__ import annotations

import math
from typing import Any, Final

import pytest
from msgspec import Struct
from msgspec.structs import replace

from riskd.core import attempt as words
from riskd.core.attempt import Attempt, Device, Outcome, SecurityEvent
from riskd.core.validation import event_violations, outcome_violations, violations
from tests.core.builders import NOW, sign_in

WHOLE: Final = sign_in(device=Device(), tenant="acme", time=NOW)
TOLD: Final = Outcome(assessment_id="0123456789abcdef" * 2, kind="challenge_passed")
DECLARED: Final = frozenset(f"a{number}" for number in range(33))

CHARACTERS: Final = {
    **dict.fromkeys(("subject", "tenant", "request_id", "device.device_id", "device.fingerprint"), 256),
    **dict.fromkeys(("session.id", "session.acr", "federation.issuer", "federation.acr"), 256),
    **dict.fromkeys(("device.platform", "device.screen", "device.timezone", "network.ja4"), 64),
    "device.user_agent": 1024,
}
"""Texts, and how long they may be."""
ITEMS: Final = ("network.forwarded", "device.languages", "session.amr", "federation.amr")
"""Lists of up to 16 texts of up to 64 characters."""
RANGES: Final = {
    "network.rtt_ms": (0, 60_000),
    "place.latitude": (-90, 90),
    "place.longitude": (-180, 180),
    "place.accuracy_m": (0, 20_000_000),
    "behaviour.pointer_events": (0, 1_000_000),
    "behaviour.form_seconds": (0, 86_400),
    "behaviour.form_failures": (0, 1_000),
}
MOMENTS: Final = (
    *("time", "session.start_time", "session.authentication_time"),
    *("federation.authentication_time", "federation.issue_time"),
)
"""From 2000 on, and no more than five minutes ahead of the service's clock."""
CHOICES: Final = {
    "domain": words.DOMAINS,
    "journey": words.JOURNEYS,
    "credential_result": words.CREDENTIAL_RESULTS,
    "device.attestation": words.ATTESTATIONS,
    "federation.protocol": words.PROTOCOLS,
    "outside.risk_level": words.RISK_LEVELS,
}
LONG_AGO, SOON, WRONG = 946_684_800.0, NOW + 300, "\0"


def changed(what: Struct, where: str, value: object) -> Any:  # noqa: ANN401
    """With another value at a path."""
    name, _, rest = where.partition(".")
    return replace(what, **{name: changed(getattr(what, name), rest, value) if rest else value})


def named(attempt: Attempt) -> list[str]:
    """The places of the problems."""
    return [problem.where for problem in violations(attempt, NOW, address_known=True, declared=DECLARED)]


def found(where: str, value: object) -> list[str]:
    return named(changed(WHOLE, where, value))


def test_a_whole_attempt_is_acceptable() -> None:
    """The attempt of which the cases below change one value."""
    assert named(WHOLE) == named(Attempt(domain="customer", subject="s", journey="login", network=WHOLE.network)) == []
    assert outcome_violations(TOLD, NOW) == []


@pytest.mark.parametrize("where", CHARACTERS)
def test_a_text_has_a_longest(where: str) -> None:
    """Counted in characters. No text has NUL characters or unpaired surrogates."""
    assert found(where, "å" * CHARACTERS[where]) == []
    for refused in ("x" * (CHARACTERS[where] + 1), "a\0b", "\ud800", "a\udfff"):
        assert found(where, refused) == [where]


@pytest.mark.parametrize("where", ITEMS)
def test_a_list_has_a_longest(where: str) -> None:
    """Each entry is checked, unless there are too many."""
    assert found(where, ("x" * 64,) * 16) == []
    assert found(where, ("x",) * 17) == [where]
    assert found(where, ("x", "x" * 65, "x", "\0")) == [f"{where}[1]", f"{where}[3]"]


@pytest.mark.parametrize("where", RANGES)
def test_a_number_has_a_range(where: str) -> None:
    """Both ends are included; NaN is outside."""
    low, high = RANGES[where]
    assert found(where, low) == found(where, high) == []
    for refused in (math.nextafter(low, -math.inf), math.nextafter(high, math.inf), math.nan, math.inf):
        assert found(where, refused) == [where]


@pytest.mark.parametrize("where", MOMENTS)
def test_a_moment_is_of_this_century_and_not_of_tomorrow(where: str) -> None:
    """Milliseconds, days and clocks that run far ahead are refused."""
    assert found(where, LONG_AGO) == found(where, SOON) == found(where, None) == []
    for refused in (LONG_AGO - 1, SOON + 1, NOW * 1000, math.nan, -math.inf):
        assert found(where, refused) == [where]


@pytest.mark.parametrize("where", CHOICES)
def test_a_word_is_of_its_vocabulary(where: str) -> None:
    """Words of other vocabularies are refused."""
    assert [word for word in CHOICES[where] if found(where, word)] == []
    assert found(where, "otherwise") == found(where, "99") == [where]


@pytest.mark.parametrize("where", ["domain", "journey", "subject", "network.client_ip"])
def test_what_is_required_is_missed(where: str) -> None:
    """Only these four fields are required."""
    assert found(where, "") == [where]


def test_typing_is_bounded_in_number_and_in_time() -> None:
    """Up to 512 intervals of up to ten minutes; one that is not a number makes all invalid."""
    where = "behaviour.typing_intervals_ms"
    for accepted in ((), (0.0, 600_000.0), (1.0,) * 512):
        assert found(where, accepted) == []
    for refused in ((1.0,) * 513, (-0.1, 1.0), (1.0, 600_000.1), (1.0, math.nan), (math.nan, 1.0), (math.inf,)):
        assert found(where, refused) == [where]


def test_consent_names_purposes() -> None:
    """Known purposes, at most sixteen."""
    assert found("consent", words.PURPOSES) == found("consent", ()) == found("consent", None) == []
    assert found("consent", ("device", "fun")) == ["consent[1]"]
    assert found("consent", ("device",) * 16) == []
    assert found("consent", ("device",) * 17) == ["consent"]


def test_attributes_are_declared_and_few() -> None:
    """Up to 32, with names from the settings and values as long as identifiers."""
    names = sorted(DECLARED)
    assert found("attributes", dict.fromkeys(names[:32], "x" * 256)) == []
    assert found("attributes", dict.fromkeys(names, "x")) == ["attributes"]
    assert found("attributes", {"a1": "x" * 257, "b": "x"}) == ["attributes[a1]", "attributes[b]"]


def test_every_violation_is_told_at_once() -> None:
    """However many there are, each under its name."""
    wrong = WHOLE
    for where in (*CHARACTERS, *CHOICES):
        wrong = changed(wrong, where, WRONG)
    for where in (*RANGES, *MOMENTS):
        wrong = changed(wrong, where, math.nan)

    assert sorted(named(wrong)) == sorted([*CHARACTERS, *CHOICES, *RANGES, *MOMENTS])


@pytest.mark.parametrize(
    ("where", "accepted", "refused"),
    [
        ("kind", words.OUTCOMES, ("", "session", "CHALLENGE_PASSED")),
        ("assessment_id", ("0" * 32, "abcdef" + "9" * 26), ("", "0" * 31, "0" * 33, "A" * 32, "g" * 32, " " * 32)),
        ("tenant", ("", "x" * 256), ("x" * 257, WRONG)),
        ("time", (None, LONG_AGO, SOON), (LONG_AGO - 1, SOON + 1, math.nan)),
        ("amr", ((), ("x" * 64,) * 16), (("x",) * 17,)),
        ("seconds", (None, 0, 86_400), (-0.1, 86_400.1, math.nan)),
    ],
)
def test_an_outcome_has_limits_as_well(where: str, accepted: tuple[object, ...], refused: tuple[object, ...]) -> None:
    """From both sides, each under its name."""
    assert [value for value in accepted if outcome_violations(changed(TOLD, where, value), NOW)] == []
    for value in refused:
        assert [problem.where for problem in outcome_violations(changed(TOLD, where, value), NOW)] == [where], value


RAISED: Final = SecurityEvent(domain="customer", subject="kim", kind="risk_level_change", level="high")


@pytest.mark.parametrize(
    ("where", "accepted", "refused"),
    [
        ("domain", words.DOMAINS, ("", "people")),
        ("subject", ("kim", "x" * 256), ("", "x" * 257, WRONG)),
        ("tenant", ("", "x" * 256), ("x" * 257, WRONG)),
        ("issuer", ("", "x" * 256), ("x" * 257, WRONG)),
        ("time", (None, LONG_AGO, SOON), (LONG_AGO - 1, SOON + 1, math.nan)),
    ],
)
def test_a_security_event_has_limits_as_well(
    where: str, accepted: tuple[object, ...], refused: tuple[object, ...]
) -> None:
    """From both sides, each under its name. No event is too old."""
    assert [value for value in accepted if event_violations(changed(RAISED, where, value), NOW)] == []
    for value in refused:
        assert [problem.where for problem in event_violations(changed(RAISED, where, value), NOW)] == [where], value


SAID: Final[dict[str, dict[str, tuple[object, ...]]]] = {
    "risk_level_change": {"level": ("low", "medium", "high")},
    "credential_compromise": {"credential_type": ("password", "fido2-roaming", "x" * 64)},
    "credential_change": {"credential_type": ("pin",)},
    "account_disabled": {"hijacked": (True, False)},
    "account_enabled": {},
    "recovery_activated": {},
    "recovery_information_changed": {},
}
NOT_SAID: Final[dict[str, tuple[object, ...]]] = {
    "level": ("", "LOW", "critical"),
    "credential_type": ("", "x" * 65, WRONG),
    "hijacked": (),
}


@pytest.mark.parametrize("kind", words.EVENTS)
def test_a_security_event_says_what_its_kind_says(kind: str) -> None:
    """It has all fields of its kind, valid, and none of another kind."""
    usual = {name: values[0] for name, values in SAID[kind].items()}
    event = SecurityEvent(domain="customer", subject="kim", kind=kind, **usual)  # type: ignore[arg-type]
    for name, refused in NOT_SAID.items():
        given = SAID[kind].get(name)
        others = (*refused, *(() if given else ("high", True)[name == "hijacked" :][:1]))
        for value in given or ():
            assert event_violations(changed(event, name, value), NOW) == []
        for value in others:
            found = [problem.where for problem in event_violations(changed(event, name, value), NOW)]
            assert found == ([f"{kind}.{name}"] if given or value else []), (name, value)


def test_an_event_of_no_kind_says_so_alone() -> None:
    """If the kind is unknown, the fields that depend on it are not checked."""
    for kind in ("", "session_revoked", "RISK_LEVEL_CHANGE"):
        assert [problem.where for problem in event_violations(changed(RAISED, "kind", kind), NOW)] == ["event"]
