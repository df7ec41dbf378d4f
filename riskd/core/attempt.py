"""What callers send: attempts, outcomes and security events, as plain values, with their vocabularies.

`validation` checks them. Fields that the log stores unchanged have types from `bounds`, by which damaged log lines are
recognised.
"""

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
"""The fields that only some events have, and the kinds of event that have them."""
PURPOSES: Final = ("security", "device", "location", "behaviour", "sharing")
"""Purposes of signals. `security` (address, credential, velocity, sequence) needs no consent, as it rests on the
legitimate interest in protecting the account. A person can refuse the others."""
OPTIONAL: Final = PURPOSES[1:]
"""The purposes that need consent."""


class Device(Struct, frozen=True, kw_only=True, gc=False):
    """What the client reports about itself."""

    user_agent: str = ""
    platform: str = ""
    """Client hint Sec-CH-UA-Platform, without quotes."""
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
    """One of `ATTESTATIONS`: the result of the caller's check of a platform attestation."""


class Network(Struct, frozen=True, kw_only=True, gc=False):
    """Where the connection came from."""

    client_ip: str = ""
    forwarded: tuple[str, ...] = ()
    """X-Forwarded-For as received, client first. Used are its length, and whether it begins with `client_ip`."""
    ja4: str = ""
    rtt_ms: float | None = None


class ReportedPlace(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Coordinates that the client reported: degrees (WGS 84), and the accuracy radius in metres."""

    latitude: Latitude
    longitude: Longitude
    accuracy_m: Metres | None = None


class Behaviour(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """How the sign-in form was filled in."""

    typing_intervals_ms: tuple[Milliseconds, ...] = ()
    pointer_events: Count | None = None
    pasted: bool | None = None
    form_seconds: Seconds | None = None
    form_failures: Count | None = None
    """Failed attempts on this form before this one."""


class Session(Struct, frozen=True, kw_only=True, gc=False):
    """The session that the attempt belongs to. Times are epoch seconds; `amr` are RFC 8176 methods."""

    id: str = ""
    start_time: float | None = None
    authentication_time: float | None = None
    acr: str = ""
    amr: tuple[str, ...] = ()


class Federation(Struct, frozen=True, kw_only=True, gc=False):
    """The assertion of an upstream identity provider that authenticated the subject. Times are epoch seconds."""

    issuer: str = ""
    protocol: str = ""
    acr: str = ""
    amr: tuple[str, ...] = ()
    authentication_time: float | None = None
    issue_time: float | None = None


class Outside(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What third parties report: breach corpora, shared signals (CAEP risk-level-change), partners."""

    credential_breached: bool | None = None
    risk_level: Risk = ""
    """One of `RISK_LEVELS`, which are the levels of CAEP 1.0, or '' for no report."""


class Attempt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request: who attempts what, from where, with which device, how, and authenticated by whom.

    Only `domain`, `subject`, `journey` and `network.client_ip` are required; anything else that is absent becomes a
    gap. `time` is in epoch seconds; None means now.

    - `domain`: customer, workforce or machine
    - `journey`: registration, login, recovery, profile_update, payment or session
    - `credential_result`: not_checked, succeeded or failed
    - `consent`: the granted ones of security, device, location, behaviour and sharing; None: all
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
    """The purposes that the person granted. None: the caller vouches that all signals sent may be used."""
    attributes: dict[str, str] = {}
    registration_time: float | None = None
    """When the account was registered, as the caller knows it, in epoch seconds."""


class Outcome(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happened after an assessment. `time` is in epoch seconds; None means now.

    `kind`: challenge_passed, challenge_failed, challenge_abandoned, session_established, sign_in_abandoned,
    confirmed_fraud, confirmed_legitimate, recovery_completed or recovery_failed.
    """

    assessment_id: str
    kind: str
    tenant: str = ""
    time: float | None = None
    amr: tuple[str, ...] = ()
    """The methods by which the challenge was passed (RFC 8176 values)."""
    seconds: float | None = None
    """How long the person took."""


class SecurityEvent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What another party reports about a subject, as in a security event token (RFC 8417).

    `kind`: risk_level_change (with `level`), credential_compromise or credential_change (with `credential_type`),
    account_disabled (with `hijacked`), account_enabled, recovery_activated or recovery_information_changed. `time` is
    when it happened, in epoch seconds; None means now.
    """

    domain: str
    subject: str
    kind: str
    tenant: str = ""
    time: float | None = None
    issuer: str = ""
    """The reporting party: `iss` of the security event token."""
    level: str = ""
    """One of `RISK_LEVELS` except ''."""
    credential_type: str = ""
    """`credential_type` of CAEP 1.0: `password`, `pin`, `fido2-roaming` and so on."""
    hijacked: bool = False
    """Whether the account was disabled because somebody took it over."""
