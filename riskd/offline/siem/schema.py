"""The part of OCSF 1.8.0 that riskd uses: classes Authentication (3002) and Detection Finding (2004).

Names, nesting and numbers are the schema's (https://schema.ocsf.io/1.8.0), which explains each; tests validate events
against it. Fields that are None or empty are omitted from the event. Times are milliseconds since the Unix epoch.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from riskd.core.record import Authentication as Authenticated

VERSION: Final = "1.8.0"
CONTROL: Final = "security_control"
INCIDENT: Final = "incident"
OTHER: Final = 99
"""The value for "other" in every enumeration; the text beside it names what has no number."""


class Product(Struct, frozen=True):
    """The product that reports the event."""

    name: str = "riskd"
    vendor_name: str = "riskd"


class Metadata(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Part of every event. The same line of the log always gets the same `uid`."""

    version: str
    product: Product
    uid: str
    correlation_uid: str
    event_code: str
    logged_time: int
    profiles: tuple[str, ...] = ()
    tenant_uid: str = ""


class User(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The account. `uid`: the beginning of the subject's assessment ids; `uid_alt`: its full pseudonym."""

    uid: str
    domain: str
    type_id: int
    uid_alt: str = ""


class Service(Struct, frozen=True):
    """The service that the user signs in to: the identity domain."""

    name: str


class System(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The object `os`."""

    name: str
    type_id: int
    type: str = ""
    version: str = ""


class Location(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The estimated location of the address. `desc` is the region's name, because `region` would be its code."""

    country: str = ""
    city: str = ""
    desc: str = ""
    lat: float | None = None
    long: float | None = None


class AutonomousSystem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The network operator of the address."""

    number: int
    name: str = ""


class Fingerprint(Struct, frozen=True, kw_only=True):
    """The TLS client's JA4."""

    value: str
    algorithm_id: int = OTHER
    algorithm: str = "JA4"


class Endpoint(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The object `network_endpoint`. `name`: the /24 or /48 of the client's address; `uid`: the device's pseudonym."""

    name: str = ""
    uid: str = ""
    type_id: int | None = None
    type: str = ""
    os: System | None = None
    location: Location | None = None
    autonomous_system: AutonomousSystem | None = None
    fingerprints: tuple[Fingerprint, ...] = ()


class Factor(Struct, frozen=True, kw_only=True):
    """The object `auth_factor`."""

    factor_type_id: int
    factor_type: str


class Session(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The session that the attempt belongs to."""

    created_time: int


class Policy(Struct, frozen=True, kw_only=True):
    """What decided. `name`: the identity domain; `uid`: the release. It is not applied while the journey is
    learning."""

    name: str
    uid: str
    is_applied: bool


class Technique(Struct, frozen=True):
    """A technique of MITRE ATT&CK, or a part of one."""

    uid: str
    name: str


class Attack(Struct, frozen=True, omit_defaults=True):
    """What the reasons are signs of."""

    technique: Technique
    sub_technique: Technique | None = None


class Observable(Struct, frozen=True, kw_only=True):
    """A value to search for in other events, and the attribute that contains it."""

    name: str
    type_id: int
    type: str
    value: str


class Enrichment(Struct, frozen=True, kw_only=True):
    """What the geo databases say about the network operator."""

    name: str
    value: str
    type: str
    data: dict[str, bool | str]


class Unmapped(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """riskd's data without a place in OCSF. Names are those of the decision log (`core.record`)."""

    journey: str
    tier: str = ""
    satisfied: bool | None = None
    score: float | None = None
    """The probability, which is also in `risk_score`, in percent."""
    log_odds: float | None = None
    coverage: float | None = None
    model: str = ""
    withheld: str = ""
    reasons: tuple[str, ...] = ()
    hits: tuple[str, ...] = ()
    shadow_hits: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    gaps: dict[str, str] = {}
    """The reason of each gap, by source."""
    causes: tuple[str, ...] = ()
    contributions: dict[str, float] = {}
    """Contributions other than 0."""
    attributes: dict[str, str] = {}
    counted: dict[str, float] = {}
    request_id: str = ""
    session: Authenticated | None = None
    federation: Authenticated | None = None
    address: str = ""
    fingerprint: str = ""
    browser: str = ""
    browser_version: str = ""
    automated: bool = False
    radius_km: float | None = None
    """The uncertainty of `src_endpoint.location`."""
    amr: tuple[str, ...] = ()


class Authentication(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step of a sign-in, or its end. The profile `security_control` marks an assessment, or an owner's
    confirmation."""

    category_uid: int
    class_uid: int
    activity_id: int
    activity_name: str
    type_uid: int
    time: int
    message: str
    status_id: int
    status: str
    severity_id: int
    severity: str
    metadata: Metadata
    user: User
    service: Service
    unmapped: Unmapped
    is_remote: bool
    status_code: str = ""
    status_detail: str = ""
    duration: int | None = None
    is_mfa: bool | None = None
    auth_protocol_id: int | None = None
    auth_protocol: str = ""
    auth_factors: tuple[Factor, ...] = ()
    src_endpoint: Endpoint | None = None
    session: Session | None = None
    action_id: int | None = None
    action: str = ""
    disposition_id: int | None = None
    disposition: str = ""
    risk_score: int | None = None
    risk_level_id: int | None = None
    risk_level: str = ""
    risk_details: str = ""
    is_alert: bool | None = None
    attacks: tuple[Attack, ...] = ()
    policy: Policy | None = None
    observables: tuple[Observable, ...] = ()
    enrichments: tuple[Enrichment, ...] = ()


class RelatedEvent(Struct, frozen=True, kw_only=True):
    """The assessment that a finding is about, by its `metadata.uid` and `type_uid`."""

    uid: str
    type_uid: int


class FindingInfo(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was found. `uid` is the assessment's id."""

    uid: str
    title: str
    created_time: int
    related_events: tuple[RelatedEvent, ...]
    attacks: tuple[Attack, ...] = ()


class Evidence(Struct, frozen=True):
    """The account that was affected."""

    user: User


class DetectionFinding(Struct, frozen=True, kw_only=True):
    """Confirmed fraud."""

    category_uid: int
    class_uid: int
    activity_id: int
    activity_name: str
    type_uid: int
    time: int
    message: str
    metadata: Metadata
    finding_info: FindingInfo
    evidences: tuple[Evidence, ...]
    observables: tuple[Observable, ...]
    unmapped: Unmapped
    severity_id: int
    severity: str
    confidence_id: int
    confidence: str
    is_alert: bool
    verdict_id: int
    verdict: str
    is_suspected_breach: bool


Event = Authentication | DetectionFinding
