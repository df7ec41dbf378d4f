"""What each event means to riskd, and its subject."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from msgspec import json
from msgspec.structs import replace

from riskd.core.attempt import EVENTS as TOLD_AS
from riskd.core.attempt import SecurityEvent
from riskd.shared_signals.event_types import EVENTS
from riskd.shared_signals.meaning import OfTheStream, meaning
from riskd.shared_signals.stream import FORMATS, Refused, SubjectRule
from riskd.shared_signals.subject import NotUsed, account
from riskd.shared_signals.token import Verified
from tests.shared_signals.transmitter import ALEX, CAEP, HIGH, RISC, SSF, stream

STREAM = stream()
BASE = SecurityEvent(domain="customer", subject="alex@example.com", kind="", issuer=STREAM.issuer, time=5.0)
Content = Mapping[str, object]


def event(uri: str, content: Content, subject: Content | None = None) -> Verified:
    return Verified("t-1", uri, json.encode(content), ALEX if subject is None else subject, 5.0)


TOLD: dict[str, tuple[str, Content, dict[str, object]]] = {
    "high": (CAEP + "risk-level-change", dict(HIGH), {"kind": "risk_level_change", "level": "high"}),
    "low": (
        CAEP + "risk-level-change",
        {"principal": "USER", "current_level": "LOW", "previous_level": "HIGH"},
        {"kind": "risk_level_change", "level": "low"},
    ),
    "compromise": (
        RISC + "credential-compromise",
        {"credential_type": "password"},
        {"kind": "credential_compromise", "credential_type": "password"},
    ),
    "change": (
        CAEP + "credential-change",
        {"credential_type": "fido2-roaming", "change_type": "create", "friendly_name": "Jane's key"},
        {"kind": "credential_change", "credential_type": "fido2-roaming"},
    ),
    "disabled": (RISC + "account-disabled", {}, {"kind": "account_disabled"}),
    "disabled in bulk": (RISC + "account-disabled", {"reason": "bulk-account"}, {"kind": "account_disabled"}),
    "hijacked": (
        RISC + "account-disabled",
        {"reason": "hijacking"},
        {"kind": "account_disabled", "hijacked": True},
    ),
    "enabled": (RISC + "account-enabled", {}, {"kind": "account_enabled"}),
    "recovery": (RISC + "recovery-activated", {}, {"kind": "recovery_activated"}),
    "recovery information": (
        RISC + "recovery-information-changed",
        {},
        {"kind": "recovery_information_changed"},
    ),
}


@pytest.mark.parametrize(("uri", "content", "told"), TOLD.values(), ids=TOLD)
def test_the_meaning_of_each_event(uri: str, content: Content, told: dict[str, object]) -> None:
    """Each event becomes the RecordSecurityEvent that the table says."""
    assert meaning(event(uri, content), STREAM, set()) == replace(BASE, **told)


def test_every_event_of_a_subject_is_among_them() -> None:
    """The table covers every known event about a subject, and every kind in riskd."""
    assert {uri for uri, *_ in TOLD.values()} == {uri for uri in EVENTS if not uri.startswith(SSF)}
    assert {told["kind"] for *_, told in TOLD.values()} == set(TOLD_AS)


@pytest.mark.parametrize(
    ("uri", "content", "told"),
    [
        (SSF + "verification", {"state": "VGhpcyBpcyBhbiBleGFtcGxl"}, OfTheStream("verification")),
        (SSF + "verification", {}, OfTheStream("verification")),
        (SSF + "stream-updated", {"status": "paused", "reason": "x"}, OfTheStream("stream-updated", "paused")),
        (SSF + "stream-updated", {"status": "alex@example.com"}, OfTheStream("stream-updated", "other")),
    ],
)
def test_events_about_the_stream_are_recognised(uri: str, content: Content, told: OfTheStream) -> None:
    """SSF 1.0, section 8.1: events about the stream are recognised with any subject, and foreign text is not passed
    on."""
    assert meaning(event(uri, content, {}), STREAM, {"user"}) == told


@pytest.mark.parametrize(
    ("uri", "content"),
    [
        (CAEP + "session-revoked", {}),
        (CAEP + "device-compliance-change", {"current_status": "not-compliant"}),
        (RISC + "account-purged", {}),
        ("https://example.com/ours", {}),
        *((CAEP + "risk-level-change", {**HIGH, "principal": other}) for other in ("DEVICE", "SESSION", "TENANT")),
    ],
)
def test_other_events_are_of_no_use(uri: str, content: Content) -> None:
    """Other events are not used."""
    with pytest.raises(NotUsed):
        meaning(event(uri, content), STREAM, set())


@pytest.mark.parametrize(
    ("uri", "content"),
    [
        (CAEP + "risk-level-change", {"principal": "USER"}),
        (CAEP + "risk-level-change", {"current_level": "HIGH"}),
        (CAEP + "risk-level-change", {**HIGH, "current_level": "CRITICAL"}),
        (CAEP + "risk-level-change", {**HIGH, "current_level": 3}),
        (RISC + "credential-compromise", {}),
        (CAEP + "credential-change", {"credential_type": ""}),
        (CAEP + "credential-change", {"credential_type": "x" * 65}),
        (RISC + "account-disabled", {"reason": 1}),
        (SSF + "stream-updated", {}),
    ],
)
def test_events_that_lack_something_are_refused(uri: str, content: Content) -> None:
    """Events that lack a required member are refused as invalid."""
    with pytest.raises(Refused, match="invalid_request"):
        meaning(event(uri, content), STREAM, set())


EMAIL = SubjectRule("email", "user", ())
IDP = SubjectRule("iss_sub", "user", ("https://idp.example.com",))
BY_IDP = {"format": "iss_sub", "iss": "https://idp.example.com", "sub": "u-1"}
BY_OTHER = {"format": "iss_sub", "iss": "https://other.example.com", "sub": "u-2"}
NAMED: dict[str, tuple[Content, SubjectRule, str]] = {
    "email": (ALEX, EMAIL, "alex@example.com"),
    "opaque": ({"format": "opaque", "id": "11"}, SubjectRule("opaque", "user", ()), "11"),
    "phone": (
        {"format": "phone_number", "phone_number": "+12065550100"},
        SubjectRule("phone_number", "user", ()),
        "+12065550100",
    ),
    "account": (
        {"format": "account", "uri": "acct:alex@example.com"},
        SubjectRule("account", "user", ()),
        "acct:alex@example.com",
    ),
    "uri": ({"format": "uri", "uri": "urn:u:1"}, SubjectRule("uri", "user", ()), "urn:u:1"),
    "iss_sub": (BY_IDP, IDP, "u-1"),
    "aliases": ({"format": "aliases", "identifiers": [BY_OTHER, ALEX, BY_IDP]}, IDP, "u-1"),
    "complex": ({"format": "complex", "user": ALEX, "device": {"format": "opaque", "id": "d"}}, EMAIL, ALEX["email"]),
    "complex, as drafts wrote it": ({"user": ALEX, "session": {"format": "opaque", "id": "s"}}, EMAIL, ALEX["email"]),
    "aliases in a complex": (
        {"format": "complex", "user": {"format": "aliases", "identifiers": [ALEX, BY_IDP]}},
        IDP,
        "u-1",
    ),
    "another member": ({"format": "complex", "owner": ALEX}, SubjectRule("email", "owner", ()), ALEX["email"]),
}


@pytest.mark.parametrize(("identifier", "rule", "subject"), NAMED.values(), ids=NAMED)
def test_a_subject_is_the_account_that_it_names(identifier: Content, rule: SubjectRule, subject: str) -> None:
    """The account is read from the subject in the stream's format (RFC 9493; SSF 1.0, section 3)."""
    assert account(identifier, rule, set()) == subject


def test_every_format_is_among_them() -> None:
    """The table covers every format."""
    assert {rule.format for _, rule, _ in NAMED.values()} == FORMATS.keys()


NAMELESS: dict[str, tuple[Content, SubjectRule]] = {
    "none": ({}, EMAIL),
    "another format": (BY_IDP, EMAIL),
    "another issuer": (BY_OTHER, IDP),
    "no issuer": ({"format": "iss_sub", "sub": "u-1"}, IDP),
    "empty": ({"format": "email", "email": ""}, EMAIL),
    "long": ({"format": "email", "email": "a" * 257}, EMAIL),
    "no text": ({"format": "email", "email": 5}, EMAIL),
    "no member": ({"format": "email"}, EMAIL),
    "no user": ({"format": "complex", "device": ALEX}, EMAIL),
    "a user that is text": ({"format": "complex", "user": "alex@example.com"}, EMAIL),
    "aliases of aliases": (
        {"format": "aliases", "identifiers": [{"format": "aliases", "identifiers": [ALEX]}]},
        EMAIL,
    ),
    "aliases of text": ({"format": "aliases", "identifiers": ["alex@example.com"]}, EMAIL),
    "aliases of none": ({"format": "aliases"}, EMAIL),
    "aliases without an end": ({"format": "aliases", "identifiers": [BY_IDP] * 16 + [ALEX]}, EMAIL),
}


@pytest.mark.parametrize(("identifier", "rule"), NAMELESS.values(), ids=NAMELESS)
def test_a_subject_that_names_no_account_is_of_no_use(identifier: Content, rule: SubjectRule) -> None:
    """A subject without an account is not used, and the reason quotes nothing of it."""
    with pytest.raises(NotUsed) as why:
        account(identifier, rule, set())
    assert "example" not in str(why.value)
    assert "u-" not in str(why.value)


def test_an_unknown_critical_member_discards_the_event() -> None:
    """SSF 1.0, section 7.1: an event whose subject has an unknown critical member is discarded."""
    whole = {"format": "complex", "user": ALEX, "tenant": {"format": "opaque", "id": "t"}}
    assert account(whole, EMAIL, {"user", "session"}) == "alex@example.com"
    with pytest.raises(NotUsed, match="critical"):
        account(whole, EMAIL, {"user", "tenant"})
