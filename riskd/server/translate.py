"""Translates wire messages to core values and back. Never fails on a request: `core.validation` checks the values.

What the core has no value for is translated to one that validation refuses: an unknown enum number becomes its digits,
and an invalid time, duration or coordinate becomes NaN.
"""

from __future__ import annotations

import math
import re
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import Struct

from riskd._proto.riskd.v1 import assessment_pb2, attempt_pb2, risk_pb2
from riskd.core.assessment import Assessment
from riskd.core.attempt import (
    ATTESTATIONS,
    CREDENTIAL_RESULTS,
    DOMAINS,
    JOURNEYS,
    PROTOCOLS,
    RISK_LEVELS,
    Attempt,
    Behaviour,
    Device,
    Federation,
    Network,
    Outcome,
    Outside,
    ReportedPlace,
    SecurityEvent,
    Session,
)
from riskd.core.context import Missing
from riskd.core.requirement import Requirement


class _Words(dict[int, str]):
    """The core's word for each number of an enum. An unknown number becomes its digits."""

    def __missing__(self, number: int) -> str:
        return str(number)


DOMAIN_WORDS: Final = _Words(enumerate(("", *DOMAINS)))
_JOURNEYS: Final = _Words(enumerate(("", *JOURNEYS)))
_CREDENTIAL_RESULTS: Final = _Words(enumerate((CREDENTIAL_RESULTS[0], *CREDENTIAL_RESULTS)))
_ATTESTATIONS: Final = _Words(enumerate(ATTESTATIONS))
_RISK_LEVELS: Final = _Words(enumerate(RISK_LEVELS))
_PROTOCOLS: Final = _Words(enumerate(PROTOCOLS))
_CHALLENGES: Final = _Words(enumerate(("", "challenge_passed", "challenge_failed", "challenge_abandoned")))
_RECOVERIES: Final = _Words(enumerate(("", "recovery_completed", "recovery_failed")))

_NAN: Final = float("nan")
_NANOS: Final = 1_000_000_000
_MILLIS: Final = 1_000_000
_TIMESTAMPS: Final = range(-62_135_596_800, 253_402_300_800)
"""Seconds of a valid Timestamp: the years 1 to 9999."""
_DURATIONS: Final = range(-315_576_000_000, 315_576_000_001)
"""Seconds of a valid Duration: 10 000 years either way."""
_OUT_OF_RANGE: Final = 1 << 99
"""Nanoseconds beyond the range of every message, in place of NaN and infinity."""
_TEMPLATES: Final = 1024
"""Most response templates that are cached. A few dozen combinations of requirement and gaps are usual, 1 KiB each."""


def attempt(request: risk_pb2.AssessRequest) -> Attempt:
    """The attempt in a request, not validated."""
    present = request.HasField
    return Attempt(
        domain=DOMAIN_WORDS[request.domain],
        subject=request.subject,
        journey=_JOURNEYS[request.journey],
        network=_network(request.network),
        tenant=request.tenant,
        request_id=request.request_id,
        time=_moment(request.event_time) if present("event_time") else None,
        credential_result=_CREDENTIAL_RESULTS[request.credential_result],
        device=_device(request.device) if present("device") else None,
        place=_place(request.place) if present("place") else None,
        behaviour=_behaviour(request.behaviour) if present("behaviour") else None,
        session=_session(request.session) if present("session") else None,
        federation=_federation(request.federation) if present("federation") else None,
        outside=_outside(request.outside) if present("outside") else None,
        consent=tuple(request.consent.purposes) if present("consent") else None,
        attributes=dict(request.attributes),
        registration_time=_moment(request.registration_time) if present("registration_time") else None,
    )


def _device(device: attempt_pb2.Device) -> Device:
    return Device(
        user_agent=device.user_agent,
        platform=device.platform,
        mobile=device.mobile if device.HasField("mobile") else None,
        device_id=device.device_id,
        fingerprint=device.fingerprint,
        screen=device.screen,
        languages=tuple(device.languages),
        timezone=device.timezone,
        attestation=_ATTESTATIONS[device.attestation],
    )


def _network(network: attempt_pb2.Network) -> Network:
    return Network(
        client_ip=network.client_ip,
        forwarded=tuple(network.forwarded),
        ja4=network.ja4,
        rtt_ms=_duration(network.rtt, _MILLIS) if network.HasField("rtt") else None,
    )


def _place(place: attempt_pb2.ReportedPlace) -> ReportedPlace:
    present = place.HasField
    return ReportedPlace(
        latitude=place.latitude if present("latitude") else _NAN,
        longitude=place.longitude if present("longitude") else _NAN,
        accuracy_m=place.accuracy_m if present("accuracy_m") else None,
    )


def _behaviour(behaviour: attempt_pb2.Behaviour) -> Behaviour:
    present = behaviour.HasField
    return Behaviour(
        typing_intervals_ms=tuple(behaviour.typing_intervals_ms),
        pointer_events=behaviour.pointer_events if present("pointer_events") else None,
        pasted=behaviour.pasted if present("pasted") else None,
        form_seconds=_duration(behaviour.form_duration) if present("form_duration") else None,
        form_failures=behaviour.form_failures if present("form_failures") else None,
    )


def _session(session: attempt_pb2.Session) -> Session:
    present = session.HasField
    return Session(
        id=session.id,
        start_time=_moment(session.start_time) if present("start_time") else None,
        authentication_time=_moment(session.authentication_time) if present("authentication_time") else None,
        acr=session.acr,
        amr=tuple(session.amr),
    )


def _federation(federation: attempt_pb2.Federation) -> Federation:
    present = federation.HasField
    return Federation(
        issuer=federation.issuer,
        protocol=_PROTOCOLS[federation.protocol],
        acr=federation.acr,
        amr=tuple(federation.amr),
        authentication_time=_moment(federation.authentication_time) if present("authentication_time") else None,
        issue_time=_moment(federation.issue_time) if present("issue_time") else None,
    )


def _outside(outside: attempt_pb2.Outside) -> Outside:
    breached = outside.credential_breached if outside.HasField("credential_breached") else None
    return Outside(credential_breached=breached, risk_level=_RISK_LEVELS[outside.risk_level])


def outcome(request: risk_pb2.RecordOutcomeRequest) -> Outcome:
    """The outcome in a request, not validated."""
    kind = request.WhichOneof("outcome") or ""
    amr: tuple[str, ...] = ()
    seconds: float | None = None
    if kind == "challenge":
        challenge = request.challenge
        kind = _CHALLENGES[challenge.result]
        amr = tuple(challenge.amr)
        seconds = _duration(challenge.duration) if challenge.HasField("duration") else None
    elif kind == "recovery":
        kind = _RECOVERIES[request.recovery.result]
    return Outcome(
        assessment_id=request.assessment_id,
        kind=kind,
        tenant=request.tenant,
        time=_moment(request.event_time) if request.HasField("event_time") else None,
        amr=amr,
        seconds=seconds,
    )


def security_event(request: risk_pb2.RecordSecurityEventRequest) -> SecurityEvent:
    """The security event in a request, not validated."""
    kind = request.WhichOneof("event") or ""
    level = _RISK_LEVELS[request.risk_level_change.current_level] if kind == "risk_level_change" else ""
    credential_type = ""
    if kind == "credential_compromise":
        credential_type = request.credential_compromise.credential_type
    elif kind == "credential_change":
        credential_type = request.credential_change.credential_type
    return SecurityEvent(
        domain=DOMAIN_WORDS[request.domain],
        subject=request.subject,
        kind=kind,
        tenant=request.tenant,
        time=_moment(request.event_time) if request.HasField("event_time") else None,
        issuer=request.issuer,
        level=level,
        credential_type=credential_type,
        hijacked=request.account_disabled.hijacked,
    )


def timestamp(moment: float) -> Timestamp | None:
    """Epoch seconds as a Timestamp, rounded to milliseconds. None for 0, which means never."""
    if not moment:
        return None
    time = Timestamp()
    time.FromMilliseconds(round(moment * 1000))
    return time


def _moment(time: Timestamp) -> float:
    """A Timestamp in epoch seconds, NaN if it is not a valid one."""
    seconds, nanos = time.seconds, time.nanos
    valid = seconds in _TIMESTAMPS and 0 <= nanos < _NANOS
    return (seconds * _NANOS + nanos) / _NANOS if valid else _NAN


def _duration(duration: Duration, unit: int = _NANOS) -> float:
    """A Duration in units of `unit` nanoseconds (seconds by default), NaN if it is not a valid one."""
    seconds, nanos = duration.seconds, duration.nanos
    valid = seconds in _DURATIONS and -_NANOS < nanos < _NANOS and seconds * nanos >= 0
    return (seconds * _NANOS + nanos) / unit if valid else _NAN


class Answers:
    """Builds responses. Thread-safe.

    Most of a response repeats from answer to answer (requirement, gaps, release). So responses are copied from cached
    templates, which takes 3 us instead of 12.
    """

    def __init__(self) -> None:
        self._templates: dict[tuple[object, ...], risk_pb2.AssessResponse] = {}

    def response(self, assessment: Assessment) -> risk_pb2.AssessResponse:
        """The response for an assessment."""
        response = risk_pb2.AssessResponse()
        response.CopyFrom(self._template(assessment))
        response.assessment_id = assessment.id
        response.score = assessment.score
        response.level = _LEVELS.get(assessment.level, attempt_pb2.RISK_LEVEL_UNSPECIFIED)
        add = response.reasons.add
        for reason in assessment.reasons:
            add(code=reason.code, contribution=reason.contribution, text=reason.text)
        until = response.valid_until_time
        whole, rest = divmod(assessment.valid_until, 1)
        until.seconds, until.nanos = int(whole), int(rest * _NANOS)
        return response

    def _template(self, like: Assessment) -> risk_pb2.AssessResponse:
        """A response with the fields that assessments like this one share, from the cache if possible."""
        key = (like.requirement, like.gaps, like.coverage, like.causes, like.next_signals, like.release, like.model)
        template = self._templates.get(key)
        if template is None:
            if len(self._templates) >= _TEMPLATES:
                self._templates.clear()
            template = self._templates[key] = risk_pb2.AssessResponse(
                requirement=_requirement(like.requirement),
                gaps=[_gap(gap) for gap in like.gaps],
                coverage=like.coverage,
                degraded=bool(like.causes),
                causes=like.causes,
                next_signals=like.next_signals,
                release=like.release,
                model=like.model,
            )
        return template


_LEVELS: Final = {
    "low": attempt_pb2.RISK_LEVEL_LOW,
    "medium": attempt_pb2.RISK_LEVEL_MEDIUM,
    "high": attempt_pb2.RISK_LEVEL_HIGH,
}


def _requirement(requirement: Requirement) -> assessment_pb2.Requirement:
    terms = requirement.terms
    return assessment_pb2.Requirement(
        tier=f"TIER_{requirement.tier.name}",
        aal=terms.aal,
        acr_values=terms.acr_values,
        max_age=None if terms.max_age_s is None else Duration(seconds=terms.max_age_s),
        amr=[assessment_pb2.AmrCombination(methods=methods) for methods in terms.amr],
        satisfied=requirement.satisfied,
    )


def _gap(gap: Missing) -> assessment_pb2.Gap:
    return assessment_pb2.Gap(source=gap.source, why=gap.why)


_RENAMED: Final = {
    "time": "event_time",
    "consent": "consent.purposes",
    "network.rtt_ms": "network.rtt",
    "behaviour.form_seconds": "behaviour.form_duration",
    "kind": "outcome",
    "amr": "challenge.amr",
    "seconds": "challenge.duration",
    "risk_level_change.level": "risk_level_change.current_level",
}
_SUBSCRIPT: Final = re.compile(r"\[.*", re.DOTALL)


def wire_path(where: str) -> str:
    """The request's field for a path in the core's values: `consent[0]` becomes `consent.purposes[0]`."""
    name = _SUBSCRIPT.sub("", where)
    return _RENAMED.get(name, name) + where[len(name) :]


_ENUMS: Final = {
    "domain": DOMAIN_WORDS,
    "journey": _JOURNEYS,
    "credential_result": _CREDENTIAL_RESULTS,
    "device.attestation": _ATTESTATIONS,
    "federation.protocol": _PROTOCOLS,
    "outside.risk_level": _RISK_LEVELS,
}


def request(attempt: Attempt) -> risk_pb2.AssessRequest:
    """The request for an attempt, the inverse of `attempt`. Used by clients and not optimised.

    Raises ValueError for a word, time or duration that the wire cannot express.
    """
    message = risk_pb2.AssessRequest()
    _fill(message, attempt, "")
    return message


def _fill(message: risk_pb2.AssessRequest, part: Struct, prefix: str) -> None:
    """Set the fields of `message` from `part`, whose path is `prefix`."""
    for name in part.__struct_fields__:
        value, path = getattr(part, name), prefix + name
        if isinstance(value, Struct):
            getattr(message, name).SetInParent()
            _fill(message, value, f"{path}.")
        elif value is not None:
            _set(message, path, value)


def _set(message: Message, path: str, value: str | float | tuple[str, ...] | dict[str, str]) -> None:
    *parts, name = wire_path(path).split(".")
    for part in parts:
        message = getattr(message, part)
        message.SetInParent()
    if isinstance(value, tuple):
        getattr(message, name).extend(value)
    elif isinstance(value, dict):
        getattr(message, name).update(value)
    elif isinstance(value, str):
        setattr(message, name, _number(path, value) if path in _ENUMS else value)
    elif message.DESCRIPTOR.fields_by_name[name].message_type is not None:
        _set_time(getattr(message, name), path, value)
    else:
        setattr(message, name, value)


def _set_time(message: Timestamp | Duration, path: str, value: float) -> None:
    rest, whole = math.modf(value)
    unit = _MILLIS if path.endswith("_ms") else _NANOS
    nanos = int(whole) * unit + round(rest * unit) if math.isfinite(value) else _OUT_OF_RANGE
    if nanos // _NANOS not in (_TIMESTAMPS if isinstance(message, Timestamp) else _DURATIONS):
        raise ValueError(f"{path}: no such time: {value:g}")
    message.FromNanoseconds(nanos)


def _number(path: str, word: str) -> int:
    found = [number for number, known in _ENUMS[path].items() if known == word]
    if not found:
        raise ValueError(f"{path}: no such value: {word!r}")
    return found[-1]
