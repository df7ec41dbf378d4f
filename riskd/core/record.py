"""The records of the decision log: one JSON object per line, enough to reproduce an answer and to replay the attempt.

The log has the subject's pseudonym, the network of the address and the parsed user agent, not the raw values. NaN (a
missing feature) is written as null.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from riskd.core import attempt as words
from riskd.core.attempt import Behaviour, Outside, ReportedPlace, Risk
from riskd.core.bounds import (
    Counted,
    CountName,
    Id,
    Latitude,
    Longitude,
    Milliseconds,
    Moment,
    Number,
    Offset,
    Pseudonym,
    Radius,
    Seconds,
    Share,
    Short,
    Units,
    is_id,
    malformed_name,
)
from riskd.core.context import Agent, Missing, Place, Route
from riskd.core.errors import UNDECODABLE
from riskd.core.validation import FUTURE_S, ITEMS
from riskd.core.vocabulary import (
    Attestation,
    Binding,
    Domain,
    Event,
    Journey,
    Level,
    Outcome,
    Purpose,
    Result,
    Table,
    TierName,
    Withheld,
)


class Facts(Struct, frozen=True, omit_defaults=True):
    """The context of an attempt, without the histories."""

    now: Moment
    network: str
    """The /24 or /48 of the client's address."""
    values: dict[Table, str]
    place: Place | None
    route: Route | None
    agent: Agent | None
    missing: tuple[Missing, ...]
    stale: tuple[str, ...] = ()
    counted: dict[CountName, Counted] = {}
    unread: tuple[str, ...] = ()
    """`Remembered.unread`."""


class Authentication(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a session or an assertion says about how and when somebody authenticated.

    Fields are as in `attempt.Session` and `attempt.Federation`; their other fields are not logged.
    """

    acr: str = ""
    amr: tuple[str, ...] = ()
    authentication_time: Moment | None = None
    issuer: str = ""
    start_time: Moment | None = None
    protocol: str = ""
    issue_time: Moment | None = None
    binding: Binding = ""


class Signals(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What features read of an attempt and the rest of its record does not have, so that it can be replayed.

    Only signals with consent are logged, and no raw identifiers. Fields are as in `attempt` unless described here.
    `logged.attempt_of` restores the attempt.
    """

    consent: tuple[Purpose, ...] | None = None
    systems: str = ""
    """The words of the user agent that client hints are compared with; see `consistency.systems`."""
    platform: str = ""
    mobile: bool | None = None
    languages: tuple[str, ...] = ()
    attestation: Attestation = ""
    offset_min: Offset | None = None
    """`Context.device_offset_min`."""
    forwarded: Annotated[int, Meta(ge=0, le=ITEMS)] = 0
    """Length of X-Forwarded-For."""
    forged: bool = False
    """X-Forwarded-For begins with another address than the client's."""
    ja4: str = ""
    rtt_ms: Milliseconds | None = None
    edge: tuple[Latitude, Longitude, Radius] | None = None
    """Where the round-trip time was measured: latitude and longitude in degrees, uncertainty in kilometres."""
    reported: ReportedPlace | None = None
    behaviour: Behaviour | None = None
    """With typing intervals in ascending order, so that they do not reveal what was typed."""
    outside: Outside | None = None


class AssessmentRecord(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="assessment"):
    """One assessment. `vector` is in the order of `features.FEATURES`. Fields with their default are not written."""

    id: str
    time: Moment
    tenant: str
    domain: Domain
    journey: Journey
    subject: str
    request_id: str
    credential_result: Result
    facts: Facts
    vector: tuple[float | None, ...]
    log_odds: Number
    score: Share
    level: Level
    tier: TierName
    satisfied: bool
    hits: tuple[str, ...]
    shadow_hits: tuple[str, ...]
    reasons: tuple[str, ...]
    contributions: dict[str, Number] | None
    """Log-odds by feature. Null unless the tier was raised, it was asked for, or the assessment is one of a random
    sample of one in sixteen."""
    gaps: tuple[Missing, ...]
    coverage: Share
    causes: tuple[str, ...]
    release: str
    model: str
    session: Authentication | None = None
    federation: Authentication | None = None
    attributes: dict[str, str] = {}
    """The attempt's custom attributes, all of which rules may use."""
    registration_time: Moment | None = None
    lists: tuple[str, ...] = ()
    """The policy's lists that the attempt was on."""
    withheld: Withheld = ""
    """The tier that would have been required if the journey had not been learning."""
    probation: bool = False
    """Whether the device was not yet the account's own: proofs without a key on such devices are spaced."""
    signals: Signals | None = None
    """None if they are not logged (setting `log.signals`), and in lines of riskd 0.1.0 from before they were."""
    written: Moment | None = None
    """When the line was written, in epoch seconds by the service's clock; None if that is `time`."""

    @property
    def wrong_credential(self) -> bool:
        """Whether the caller refuses the attempt whatever the answer is, because its credential was wrong."""
        return self.credential_result == "failed"

    @property
    def challenged(self) -> bool:
        """Whether more than BASELINE is required, which the attempt has not met, and which can be asked for."""
        return not (self.satisfied or self.tier == "BASELINE" or self.wrong_credential)


class OutcomeRecord(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="outcome"):
    """One outcome. `taught` are the units that its assessment has taught in total; `written` as in assessments."""

    assessment_id: str
    time: Moment
    tenant: str
    domain: Domain
    journey: Journey
    kind: Outcome
    amr: tuple[str, ...]
    seconds: Seconds | None
    taught: Units
    written: Moment | None = None


class RepeatRecord(Struct, frozen=True, kw_only=True, tag_field="type", tag="repeat"):
    """A stored answer that was returned again for a repeated request id.

    It comes after the record of its assessment. If a process died between storing an answer and logging it, this is
    its only record in the log.
    """

    id: Id
    time: Moment
    tenant: str
    domain: Domain
    journey: Journey
    request_id: str
    score: Share
    level: Level
    tier: TierName
    satisfied: bool
    reasons: tuple[str, ...]
    causes: tuple[str, ...]
    release: str
    model: str


class SecurityEventRecord(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="event"):
    """A security event, with the fields of `attempt.SecurityEvent`; `written` as in assessments.

    `keyed` is the short pseudonym of the identity domain, by which to recognise the pepper of the subject's pseudonym.
    `caller` is who sent the event, by its name in the callers file; empty without authentication, in process, and in
    lines of riskd 0.1.0.
    """

    time: Moment
    tenant: str
    domain: Domain
    subject: Pseudonym
    keyed: Short
    kind: Event
    issuer: str
    level: Risk = ""
    credential_type: str = ""
    hijacked: bool = False
    caller: str = ""
    written: Moment | None = None


class ShadowRecord(Struct, frozen=True, kw_only=True, tag_field="type", tag="shadow"):
    """What a release in shadow would have answered, on the facts of the assessment with the same `id`.

    It comes after that record, not necessarily on the next line. `beside` is the release that decided.
    """

    id: Id
    time: Moment
    tenant: str
    domain: Domain
    journey: Journey
    log_odds: Number
    score: Share
    level: Level
    tier: TierName
    satisfied: bool
    hits: tuple[str, ...]
    shadow_hits: tuple[str, ...]
    causes: tuple[str, ...]
    release: str
    model: str
    beside: str


HistoryRecord = AssessmentRecord | OutcomeRecord | SecurityEventRecord
"""The records from which histories can be rebuilt. The others changed no history."""
Record = HistoryRecord | RepeatRecord | ShadowRecord
_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final[msgspec.json.Decoder[Record]] = msgspec.json.Decoder(Record)


def written(record: Record) -> float:
    """When a record was written, in epoch seconds by the service's clock."""
    at = record.written if isinstance(record, HistoryRecord) else None
    return record.time if at is None else at


def skipped_as(record: Record) -> str:
    """The name under which readers of `HistoryRecord` records count a record of another kind, which they skip."""
    return "repeats" if isinstance(record, RepeatRecord) else "shadow"


def encode(record: Record) -> bytes:
    """One line, without the newline."""
    return _ENCODER.encode(record)


def decode(line: bytes) -> Record:
    """The inverse of `encode`; a missing feature is None.

    Raises msgspec.DecodeError for a line that no engine can have written, so that readers can rely on every record.
    """
    try:
        record = _DECODER.decode(line)
        if not line.isascii():
            line.decode()  # text outside the known fields must be UTF-8, too
    except UNDECODABLE as error:
        raise msgspec.DecodeError(str(error)) from error
    flaw = ""
    if isinstance(record, HistoryRecord) and record.time > written(record) + FUTURE_S:
        flaw = "later than when the line was written - at `$.time`"
    elif isinstance(record, AssessmentRecord):
        flaw = malformed_name(record.id, record.subject, record.facts.network, record.facts.values)
        if record.facts.now != record.time:
            flaw = "not the time of the line - at `$.facts.now`"
    elif isinstance(record, OutcomeRecord):
        flaw = (
            "" if is_id(record.assessment_id) else f"{record.assessment_id!r:.40} is not an id - at `$.assessment_id`"
        )
    elif isinstance(record, SecurityEventRecord) and record.kind in words.EVENT_WORDS["level"] and not record.level:
        flaw = "a level is missing - at `$.level`"
    if flaw:
        raise msgspec.DecodeError(flaw)
    return record


def other_beginnings(*kinds: type[Record]) -> tuple[bytes, ...]:
    """The beginnings of lines of all other kinds, so that a reader of these kinds can skip those without decoding."""
    return tuple(begin for kind, begin in _BEGINNINGS.items() if kind not in kinds)


_BEGINNINGS: Final = {
    kind: f'{{"type":"{kind.__struct_config__.tag}"'.encode()
    for kind in (AssessmentRecord, OutcomeRecord, RepeatRecord, ShadowRecord, SecurityEventRecord)
}
