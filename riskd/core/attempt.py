"""The attempt: one request, as values. Vocabulary and shape only; `validation` says what is acceptable. What the log
keeps as it came has its `bounds`, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from riskd.core.bounds import Count, Latitude, Longitude, Metres, Milliseconds, Seconds

DOMAINS: Final = ("customer", "workforce", "machine")
JOURNEYS: Final = ("registration", "login", "recovery", "profile_update", "payment", "session")
CREDENTIAL_RESULTS: Final = ("not_checked", "succeeded", "failed")
ATTESTATIONS: Final = ("", "failed", "software", "hardware")
RISK_LEVELS: Final = ("", "low", "medium", "high")
if TYPE_CHECKING:
    Risk = str
else:  # see `vocabulary`
    Risk = Literal[RISK_LEVELS]
PROTOCOLS: Final = ("", "oidc", "saml", "oauth2", "social")
OUTCOMES: Final = (
    "challenge_passed",
    "challenge_failed",
    "challenge_abandoned",
    "session_established",
    "sign_in_abandoned",
    "confirmed_fraud",
    "confirmed_legitimate",
    "recovery_completed",
    "recovery_failed",
)
EVENTS: Final = (
    "risk_level_change",
    "credential_compromise",
    "credential_change",
    "account_disabled",
    "account_enabled",
    "recovery_activated",
    "recovery_information_changed",
)
"""Security events, as CAEP 1.0 and RISC 1.0 name them."""
EVENT_WORDS: Final = {
    "level": ("risk_level_change",),
    "credential_type": ("credential_compromise", "credential_change"),
    "hijacked": ("account_disabled",),
}
"""What some events say beside their kind."""
PURPOSES: Final = ("security", "device", "location", "behaviour", "sharing")
"""What a signal is used for. `security` (address, credential, velocity, sequence) rests on the
legitimate interest in protecting the account and needs no consent; the others can be withheld."""


class Device(Struct, frozen=True, kw_only=True, gc=False):
    """What the client says of itself. `validation` bounds the lengths."""

    user_agent: str = ""
    platform: str = ""
    """Client hint Sec-CH-UA-Platform, unquoted."""
    mobile: bool | None = None
    """Client hint Sec-CH-UA-Mobile."""
    device_id: str = ""
    """First-party identifier that the caller keeps in a cookie or keystore."""
    fingerprint: str = ""
    screen: str = ""
    """Width x height in CSS pixels, `1920x1080`."""
    languages: tuple[str, ...] = ()
    """BCP 47 tags, preferred first."""
    timezone: str = ""
    """IANA name, `Europe/Oslo`."""
    attestation: str = ""
    """One of `ATTESTATIONS`: the caller's verdict on a platform attestation."""


class Network(Struct, frozen=True, kw_only=True, gc=False):
    """Where the connection came from."""

    client_ip: str = ""
    forwarded: tuple[str, ...] = ()
    """X-Forwarded-For as received, client first. Only its length and consistency are used."""
    ja4: str = ""
    rtt_ms: float | None = None


class ReportedPlace(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Coordinates that the client reported. Degrees (WGS 84) and metres."""

    latitude: Latitude
    longitude: Longitude
    accuracy_m: Metres | None = None


class Behaviour(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """How the form was filled in."""

    typing_intervals_ms: tuple[Milliseconds, ...] = ()
    pointer_events: Count | None = None
    pasted: bool | None = None
    form_seconds: Seconds | None = None
    form_failures: Count | None = None
    """Failed tries on this very form."""


class Session(Struct, frozen=True, kw_only=True, gc=False):
    """The session that the attempt belongs to. Times are seconds since the Unix epoch."""

    id: str = ""
    start_time: float | None = None
    authentication_time: float | None = None
    acr: str = ""
    amr: tuple[str, ...] = ()


class Federation(Struct, frozen=True, kw_only=True, gc=False):
    """The upstream assertion, when somebody else authenticated the subject."""

    issuer: str = ""
    protocol: str = ""
    acr: str = ""
    amr: tuple[str, ...] = ()
    authentication_time: float | None = None
    issue_time: float | None = None


class Outside(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What others say: breach corpora, shared signals (CAEP risk-level-change), partners."""

    credential_breached: bool | None = None
    risk_level: Risk = ""
    """One of `RISK_LEVELS` (CAEP 1.0 names)."""


class Attempt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request: who is trying what, from where, with what, how, and on whose word.

    Only `domain`, `subject`, `journey` and `network.client_ip` are required; everything else that is
    absent becomes a gap. `time` is seconds since the Unix epoch; None means now.
    """

    domain: str
    subject: str
    journey: str
    network: Network
    tenant: str = ""
    request_id: str = ""
    time: float | None = None
    credential_result: str = "not_checked"
    device: Device | None = None
    place: ReportedPlace | None = None
    behaviour: Behaviour | None = None
    session: Session | None = None
    federation: Federation | None = None
    outside: Outside | None = None
    consent: tuple[str, ...] | None = None
    """Purposes granted; None means that the caller vouches for all that it sent."""
    attributes: dict[str, str] = {}


class Outcome(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happened after an assessment. `kind` is one of `OUTCOMES`."""

    assessment_id: str
    kind: str
    tenant: str = ""
    time: float | None = None
    amr: tuple[str, ...] = ()
    """Methods used to pass the challenge (RFC 8176 values)."""
    seconds: float | None = None
    """Time that the person took."""


class SecurityEvent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What another party says of a subject (RFC 8417). `kind` is one of `EVENTS`; `EVENT_WORDS` tells which say more.

    `time` is when it happened, seconds since the Unix epoch; None means now.
    """

    domain: str
    subject: str
    kind: str
    tenant: str = ""
    time: float | None = None
    issuer: str = ""
    """Who says so: `iss` of the security event token."""
    level: str = ""
    """One of `RISK_LEVELS`, the first excepted."""
    credential_type: str = ""
    """`credential_type` of CAEP 1.0: `password`, `pin`, `fido2-roaming` and so on."""
    hijacked: bool = False
    """Somebody has taken the account over."""
