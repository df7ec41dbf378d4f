"""Validation: each limit from both sides, and every violation reported under the name of its field."""

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

WHOLE: Final = sign_in(device=Device(), tenant="acme", time=NOW, registration_time=None)
TOLD: Final = Outcome(assessment_id="0123456789abcdef" * 2, kind="challenge_passed")
DECLARED: Final = frozenset(f"a{number}" for number in range(33))

CHARACTERS: Final = {
    **dict.fromkeys(("subject", "tenant", "request_id", "device.device_id", "device.fingerprint"), 256),
    **dict.fromkeys(("session.id", "session.acr", "federation.issuer", "federation.acr"), 256),
    **dict.fromkeys(("device.platform", "device.screen", "device.timezone", "network.ja4"), 64),
    "device.user_agent": 1024,
}
"""Text fields and their maximum length."""
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
"""Times from the year 2000 to five minutes ahead of the service's clock."""
CHOICES: Final = {
    "domain": words.DOMAINS,
    "journey": words.JOURNEYS,
    "credential_result": words.CREDENTIAL_RESULTS,
    "device.attestation": words.ATTESTATIONS,
    "federation.protocol": words.PROTOCOLS,
    "outside.risk_level": words.RISK_LEVELS,
}
LONG_AGO, SOON, WRONG = 946_684_800.0, NOW + 300, "\0"
OLDEST: Final = 31_536_000.0


def changed(what: Struct, where: str, value: object) -> Any:  # noqa: ANN401
    """A copy with another value at a path."""
    name, _, rest = where.partition(".")
    return replace(what, **{name: changed(getattr(what, name), rest, value) if rest else value})


def named(attempt: Attempt) -> list[str]:
    """The names of the fields that are refused."""
    return [problem.where for problem in violations(attempt, NOW, address_known=True, declared=DECLARED)]


def found(where: str, value: object) -> list[str]:
    return named(changed(WHOLE, where, value))


def test_a_whole_attempt_is_acceptable() -> None:
    """The attempt and the outcome that the cases below start from are valid."""
    assert named(WHOLE) == named(Attempt(domain="customer", subject="s", journey="login", network=WHOLE.network)) == []
    assert outcome_violations(TOLD, NOW) == []


@pytest.mark.parametrize("where", CHARACTERS)
def test_a_text_has_a_maximum_length(where: str) -> None:
    """The limit counts characters; NUL and lone surrogates are refused at any length."""
    assert found(where, "å" * CHARACTERS[where]) == []
    for refused in ("x" * (CHARACTERS[where] + 1), "a\0b", "\ud800", "a\udfff"):
        assert found(where, refused) == [where]


@pytest.mark.parametrize("where", ITEMS)
def test_a_list_has_a_maximum_length(where: str) -> None:
    """Each entry is checked by its index, unless there are too many entries."""
    assert found(where, ("x" * 64,) * 16) == []
    assert found(where, ("x",) * 17) == [where]
    assert found(where, ("x", "x" * 65, "x", "\0")) == [f"{where}[1]", f"{where}[3]"]


@pytest.mark.parametrize("where", RANGES)
def test_a_number_has_a_range(where: str) -> None:
    """Both ends are accepted; NaN and infinity are refused."""
    low, high = RANGES[where]
    assert found(where, low) == found(where, high) == []
    for refused in (math.nextafter(low, -math.inf), math.nextafter(high, math.inf), math.nan, math.inf):
        assert found(where, refused) == [where]


@pytest.mark.parametrize("where", MOMENTS)
def test_a_time_is_after_2000_and_not_in_the_future(where: str) -> None:
    """Milliseconds, times before 2000 and clocks more than five minutes ahead are refused."""
    assert found(where, LONG_AGO) == found(where, SOON) == found(where, None) == []
    for refused in (LONG_AGO - 1, SOON + 1, NOW * 1000, math.nan, -math.inf):
        assert found(where, refused) == [where]


def test_an_account_is_registered_before_the_attempt() -> None:
    """An account may be older than 2000, but not from 1970, where times that are not set lie. It is at most five
    minutes younger than the attempt, whenever that was."""
    earlier = changed(WHOLE, "time", NOW - 86_400)
    for accepted in (OLDEST, NOW, SOON, None):
        assert found("registration_time", accepted) == []
    for refused in (0.0, OLDEST - 1, SOON + 1, NOW * 1000, math.nan, -math.inf):
        assert found("registration_time", refused) == ["registration_time"]
    assert named(changed(earlier, "registration_time", SOON - 86_400)) == []
    assert named(changed(earlier, "registration_time", SOON - 86_399)) == ["registration_time"]


@pytest.mark.parametrize("where", CHOICES)
def test_a_choice_is_of_its_vocabulary(where: str) -> None:
    """Each value of the vocabulary is accepted and any other is refused."""
    assert [word for word in CHOICES[where] if found(where, word)] == []
    assert found(where, "otherwise") == found(where, "99") == [where]


@pytest.mark.parametrize("where", ["domain", "journey", "subject", "network.client_ip"])
def test_required_fields_must_be_present(where: str) -> None:
    """Exactly these four fields are required; one that is absent is called missing."""
    without = changed(WHOLE, where, "")
    (problem,) = violations(without, NOW, address_known=True, declared=DECLARED)
    assert (problem.where, problem.what) == (where, "missing")


def test_typing_is_bounded_in_number_and_in_time() -> None:
    """Up to 512 intervals of up to ten minutes are accepted; one bad interval refuses the list."""
    where = "behaviour.typing_intervals_ms"
    for accepted in ((), (0.0, 600_000.0), (1.0,) * 512):
        assert found(where, accepted) == []
    for refused in ((1.0,) * 513, (-0.1, 1.0), (1.0, 600_000.1), (1.0, math.nan), (math.nan, 1.0), (math.inf,)):
        assert found(where, refused) == [where]


def test_consent_names_purposes() -> None:
    """Consent holds up to sixteen known purposes."""
    assert found("consent", words.PURPOSES) == found("consent", ()) == found("consent", None) == []
    assert found("consent", ("device", "fun")) == ["consent[1]"]
    assert found("consent", ("device",) * 16) == []
    assert found("consent", ("device",) * 17) == ["consent"]


def test_attributes_are_declared_and_few() -> None:
    """Up to 32 attributes are accepted, with names declared in the settings and values of up to 256 characters."""
    names = sorted(DECLARED)
    assert found("attributes", dict.fromkeys(names[:32], "x" * 256)) == []
    assert found("attributes", dict.fromkeys(names, "x")) == ["attributes"]
    assert found("attributes", {"a1": "x" * 257, "b": "x"}) == ["attributes[a1]", "attributes[b]"]


def test_every_violation_is_reported_at_once() -> None:
    """All violations of an attempt are reported, each under its field."""
    wrong = WHOLE
    for where in (*CHARACTERS, *CHOICES):
        wrong = changed(wrong, where, WRONG)
    for where in (*RANGES, *MOMENTS, "registration_time"):
        wrong = changed(wrong, where, math.nan)

    assert sorted(named(wrong)) == sorted([*CHARACTERS, *CHOICES, *RANGES, *MOMENTS, "registration_time"])


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
    """The limits of an outcome from both sides, each reported under its field."""
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
    """The limits of a security event from both sides; no event since 2000 is too old."""
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
    """An event must have the fields of its kind, with valid values, and none of another kind."""
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


def test_an_event_of_unknown_kind_reports_only_that() -> None:
    """If the kind is unknown, only that is reported, since the other fields depend on it."""
    for kind in ("", "session_revoked", "RISK_LEVEL_CHANGE"):
        assert [problem.where for problem in event_violations(changed(RAISED, "kind", kind), NOW)] == ["event"]
