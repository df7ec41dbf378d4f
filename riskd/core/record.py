"""What the decision log says: one JSON object a line, enough to reproduce the score and the ruling, and to live
through the attempt again.

The subject appears as its pseudonym, the address as its network, the user agent as parsed. NaN (a
missing feature) is written as null.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from riskd.core import attempt as words
from riskd.core.assessment import Assessment
from riskd.core.attempt import Attempt, Behaviour, Federation, Outside, ReportedPlace, Risk, Session
from riskd.core.bounds import (
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
    misnamed,
)
from riskd.core.context import Agent, Missing, Place, Route
from riskd.core.errors import UNDECODABLE
from riskd.core.pseudonym import SEAL_BYTES
from riskd.core.validation import FUTURE_S, ITEMS
from riskd.core.vocabulary import (
    Attestation,
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


class Facts(Struct, frozen=True):
    """The context as it was, histories excepted."""

    now: Moment
    network: str
    """The /24 or /48 of the client's address."""
    values: dict[Table, str]
    place: Place | None
    route: Route | None
    agent: Agent | None
    missing: tuple[Missing, ...]


class Authentication(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a session or an assertion says of how somebody authenticated, and when.

    Fields as in `attempt.Session` and `attempt.Federation`, whose other fields are not recorded.
    """

    acr: str = ""
    amr: tuple[str, ...] = ()
    authentication_time: Moment | None = None
    issuer: str = ""
    start_time: Moment | None = None
    protocol: str = ""
    issue_time: Moment | None = None


class Signals(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What features ask of an attempt and the rest of its record does not say: granted signals, and nothing raw that
    names anybody. Fields as in `attempt`, except where told. `logged.relived` makes an attempt
    of them again."""

    consent: tuple[Purpose, ...] | None = None
    systems: str = ""
    """The words of the user agent that hints are held against; see `consistency.systems`."""
    platform: str = ""
    mobile: bool | None = None
    languages: tuple[str, ...] = ()
    attestation: Attestation = ""
    offset_min: Offset | None = None
    """`Context.device_offset_min`."""
    forwarded: Annotated[int, Meta(ge=0, le=ITEMS)] = 0
    """Length of the chain of proxies."""
    forged: bool = False
    """The chain begins with another address than the client's."""
    ja4: str = ""
    rtt_ms: Milliseconds | None = None
    edge: tuple[Latitude, Longitude, Radius] | None = None
    """Where the round trip was measured: degrees, and kilometres of uncertainty."""
    reported: ReportedPlace | None = None
    behaviour: Behaviour | None = None
    """Typing intervals in ascending order: what was typed cannot be told from them."""
    outside: Outside | None = None


class AssessmentRecord(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="assessment"):
    """One assessment. `vector` is in the order of the release's feature table. What has a default is left out of the
    line while it has it: an attempt without session, assertion and attributes spends no byte on them."""

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
    """Log-odds by feature; only where the tier rose, where asked, and on a sample of one in sixteen."""
    gaps: tuple[Missing, ...]
    coverage: Share
    causes: tuple[str, ...]
    release: str
    model: str
    session: Authentication | None = None
    federation: Authentication | None = None
    attributes: dict[str, str] = {}
    """The declared custom attributes that the attempt carried: rules may ask for any of them."""
    lists: tuple[str, ...] = ()
    """The lists of the policy that the attempt was on."""
    withheld: Withheld = ""
    """The tier that would have been required if the journey had not been learning."""
    signals: Signals | None = None
    """None where they are not recorded (`log.signals`), and in lines of riskd 0.1.0 before them."""
    written: Moment | None = None
    """Epoch seconds by the service's clock, where the attempt named another `time`."""


class OutcomeRecord(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="outcome"):
    """One outcome. `taught` is what the assessment has taught in total, in units; `written` as of an assessment."""

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
    """A first answer that was given again, to a request id that was repeated.

    It follows the record of its assessment. Where a process died between keeping an answer and logging it,
    this is all that the log has of it.
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
    """What another party said of a subject, as in `attempt.SecurityEvent`; `written` as of an assessment. `keyed`: the
    short pseudonym of the identity domain, which tells under which pepper the subject has its own. `caller`: who told
    it, by its name in the callers file; empty where nobody is asked, in process, and in lines of riskd 0.1.0."""

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


def session(said: Session | None) -> Authentication | None:
    """What is recorded of a session."""
    if said is None:
        return None
    return Authentication(
        acr=said.acr, amr=said.amr, authentication_time=said.authentication_time, start_time=said.start_time
    )


def federation(said: Federation | None) -> Authentication | None:
    """What is recorded of an assertion. Its issuer is: another policy may trust it."""
    if said is None:
        return None
    return Authentication(
        acr=said.acr,
        amr=said.amr,
        authentication_time=said.authentication_time,
        issuer=said.issuer,
        protocol=said.protocol,
        issue_time=said.issue_time,
    )


class ShadowRecord(Struct, frozen=True, kw_only=True, tag_field="type", tag="shadow"):
    """What a release in shadow would have answered, on the facts of the assessment of the same `id`; it decided
    nothing. It follows that record, after other lines perhaps. `beside`: the release that did decide."""

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


def repeated(attempt: Attempt, answer: Assessment, now: float) -> RepeatRecord:
    """What is recorded of an answer that is given again."""
    return RepeatRecord(
        id=answer.id,
        time=now,
        tenant=attempt.tenant,
        domain=attempt.domain,
        journey=attempt.journey,
        request_id=attempt.request_id,
        score=answer.score,
        level=answer.level,
        tier=answer.requirement.tier.name,
        satisfied=answer.requirement.satisfied,
        reasons=tuple(reason.code for reason in answer.reasons),
        causes=answer.causes,
        release=answer.release,
        model=answer.model,
    )


Lived = AssessmentRecord | OutcomeRecord | SecurityEventRecord
"""Of these histories are made; the others changed nothing."""
Record = Lived | RepeatRecord | ShadowRecord
_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final[msgspec.json.Decoder[Record]] = msgspec.json.Decoder(Record)


def written(record: Record) -> float:
    """When a line was written, by the service's clock; epoch seconds."""
    at = record.written if isinstance(record, Lived) else None
    return record.time if at is None else at


def left_out(record: Record) -> str:
    """What a reader of histories counts a line as that is none of `Lived`."""
    return "repeats" if isinstance(record, RepeatRecord) else "shadow"


def encode(record: Record) -> bytes:
    """One line, without the newline."""
    return _ENCODER.encode(record)


def decode(line: bytes) -> Record:
    """Back from `encode`; a missing feature is None. Raises msgspec.DecodeError of what riskd never wrote: whoever
    reads a log may take every record for one that an engine made."""
    try:
        record = _DECODER.decode(line)
        if not line.isascii():
            line.decode()  # also what no field has
    except UNDECODABLE as error:
        raise msgspec.DecodeError(str(error)) from error
    amiss = ""
    if isinstance(record, Lived) and record.time > written(record) + FUTURE_S:
        amiss = "the time is beyond when it was written - at `$.time`"
    elif isinstance(record, AssessmentRecord):
        amiss = misnamed(record.id, record.subject, record.facts.network, record.facts.values)
        if record.facts.now != record.time:
            amiss = "the time is another - at `$.facts.now`"
    elif isinstance(record, OutcomeRecord):
        amiss = "" if is_id(record.assessment_id) else f"{record.assessment_id!r:.40} is none - at `$.assessment_id`"
    elif isinstance(record, SecurityEventRecord) and record.kind in words.EVENT_WORDS["level"] and not record.level:
        amiss = "a level is missing - at `$.level`"
    if amiss:
        raise msgspec.DecodeError(amiss)
    return record


def others(kind: type[Record]) -> tuple[bytes, ...]:
    """How lines of all other kinds begin, as riskd writes them: whoever looks for one kind need not decode those."""
    return tuple(begin for each, begin in _BEGINNINGS.items() if each is not kind)


_BEGINNINGS: Final = {
    kind: f'{{"type":"{kind.__struct_config__.tag}"'.encode()
    for kind in (AssessmentRecord, OutcomeRecord, RepeatRecord, ShadowRecord, SecurityEventRecord)
}


_REPLY_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")
_REPLY_DECODER: Final = msgspec.msgpack.Decoder(Assessment)


def content(attempt: Attempt) -> bytes:
    """What makes a repeat the same attempt: all that says what is tried, from where, with what and on whose word.

    Left out is what a caller who sends it again may have measured again: times, places, round trips, behaviour.
    """
    return _REPLY_ENCODER.encode(
        (
            attempt.journey,
            attempt.credential_result,
            attempt.network.client_ip,
            attempt.device,
            attempt.session,
            attempt.federation,
            attempt.attributes,
        )
    )


def encode_reply(assessment: Assessment, seal: bytes) -> bytes:
    """An answer as it is kept for repeated requests, behind the seal of the `content` that it answers."""
    return seal + _REPLY_ENCODER.encode(assessment)


def decode_reply(stored: bytes) -> Assessment:
    """The answer of `encode_reply`. Raises msgspec.DecodeError."""
    try:
        return _REPLY_DECODER.decode(stored[SEAL_BYTES:])
    except UNDECODABLE as error:
        raise msgspec.DecodeError(str(error)) from error
