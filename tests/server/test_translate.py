"""Translation between wire messages and core values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import get_args, get_type_hints

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import fields, replace

from riskd._proto.riskd.v1 import assessment_pb2, attempt_pb2, risk_pb2
from riskd.core import attempt as words
from riskd.core.assessment import Assessment, Reason
from riskd.core.attempt import Attempt, Outcome, SecurityEvent
from riskd.core.context import Missing
from riskd.core.requirement import Requirement, Terms, Tier
from riskd.core.validation import event_violations
from riskd.server import translate

WELL_KNOWN = ("google.protobuf.Timestamp", "google.protobuf.Duration")
TIMESTAMPS = st.builds(Timestamp, seconds=st.integers(-(2**62), 2**62), nanos=st.integers(-(2**31), 2**31 - 1))


def core_paths(struct: type[Struct], prefix: str = "") -> Iterator[str]:
    """Path of every field of a struct and of its nested structs."""
    hints = get_type_hints(struct)
    for field in fields(struct):
        inner = [kind for kind in get_args(hints[field.name]) or (hints[field.name],) if isinstance(kind, type)]
        nested = [kind for kind in inner if issubclass(kind, Struct)]
        if nested:
            yield from core_paths(nested[0], f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def described(message: str) -> Descriptor:
    """The descriptor of a message."""
    return risk_pb2.DESCRIPTOR.message_types_by_name[message]


def wire_paths(message: Descriptor, prefix: str = "") -> Iterator[str]:
    """Path of every field of a message and of its nested messages."""
    for field in message.fields:
        inner = field.message_type
        if inner is None or inner.full_name in WELL_KNOWN or inner.GetOptions().map_entry:
            yield prefix + field.name
        else:
            yield from wire_paths(inner, f"{prefix}{field.name}.")


def value_at(struct: object, path: str) -> object:
    """The core's value at a path; None below an absent part."""
    for name in path.split("."):
        struct = getattr(struct, name) if struct is not None else None
    return struct


def say(message: Message, path: str) -> None:
    """Set a value other than the default at a wire path."""
    *parts, last = path.split(".")
    for part in parts:
        message = getattr(message, part)
        message.SetInParent()
    field = message.DESCRIPTOR.fields_by_name[last]
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        getattr(message, last)["plan"] = "gold"
    elif field.message_type is not None:
        getattr(message, last).FromSeconds(1_700_000_000)
    elif field.is_repeated:
        getattr(message, last).append("x" if field.cpp_type == FieldDescriptor.CPPTYPE_STRING else 7)
    else:
        setattr(message, last, "x" if field.cpp_type == FieldDescriptor.CPPTYPE_STRING else 3)


def same(left: object, right: object) -> bool:
    """Equality, with NaN equal to itself."""
    return left == right or (left != left and right != right)  # noqa: PLR0124


CORE_PATHS = tuple(core_paths(Attempt))


def test_every_core_field_is_on_the_wire_and_nothing_else_is() -> None:
    """The wire has exactly the fields of the core."""
    assert {translate.wire_path(path) for path in CORE_PATHS} == set(wire_paths(described("AssessRequest")))


@pytest.mark.parametrize("path", CORE_PATHS)
def test_each_wire_field_moves_its_core_field_and_no_other(path: str) -> None:
    """Setting a wire field changes exactly the core field of that name."""
    silent, said = risk_pb2.AssessRequest(), risk_pb2.AssessRequest()
    for part in translate.wire_path(path).split(".")[:-1]:
        getattr(silent, part).SetInParent()
    say(said, translate.wire_path(path))
    before, after = translate.attempt(silent), translate.attempt(said)
    moved = {each for each in CORE_PATHS if not same(value_at(before, each), value_at(after, each))}
    assert moved == {path}


@pytest.mark.parametrize(
    ("enum", "known"),
    [
        (attempt_pb2.IdentityDomain.DESCRIPTOR, words.DOMAINS),
        (attempt_pb2.Journey.DESCRIPTOR, words.JOURNEYS),
        (attempt_pb2.CredentialResult.DESCRIPTOR, words.CREDENTIAL_RESULTS),
        (attempt_pb2.Attestation.DESCRIPTOR, words.ATTESTATIONS[1:]),
        (attempt_pb2.RiskLevel.DESCRIPTOR, words.RISK_LEVELS[1:]),
        (attempt_pb2.FederationProtocol.DESCRIPTOR, words.PROTOCOLS[1:]),
        (assessment_pb2.Tier.DESCRIPTOR, tuple(tier.name.lower() for tier in Tier)),
    ],
    ids=lambda value: value.name if isinstance(value, EnumDescriptor) else "",
)
def test_enum_values_are_those_of_the_core_in_order(enum: EnumDescriptor, known: tuple[str, ...]) -> None:
    """Enum values are the core's words with the enum's prefix, numbered in the core's order from 1."""
    prefix = "".join(f"_{letter}" if letter.isupper() else letter.upper() for letter in enum.name)[1:]
    expected = ["UNSPECIFIED", *(word.upper() for word in known)]
    assert [(value.name, value.number) for value in enum.values] == [
        (f"{prefix}_{word}", number) for number, word in enumerate(expected)
    ]


def test_unspecified_is_the_core_s_default() -> None:
    """Fields that are not set get the core's defaults."""
    attempt = translate.attempt(risk_pb2.AssessRequest())
    assert attempt == Attempt(domain="", subject="", journey="", network=words.Network())


@given(st.integers(7, 2**31 - 1))
def test_an_unknown_number_arrives_as_its_digits(number: int) -> None:
    """An unknown enum number, from a later client, becomes its digits, so that the error can name it."""
    request = risk_pb2.AssessRequest()
    request.MergeFromString(b"\x18" + _varint(number))
    assert translate.attempt(request).domain == str(number)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


SCALARS: dict[int, st.SearchStrategy[object]] = {
    FieldDescriptor.CPPTYPE_STRING: st.text(max_size=5),
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_ENUM: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
}


def anything(message: Descriptor) -> st.SearchStrategy[dict[str, object]]:
    """Any content of a message: any subset of fields, any enum numbers, any floats."""
    said: dict[str, st.SearchStrategy[object]] = {}
    for field in message.fields:
        inner = field.message_type
        if inner is not None and inner.GetOptions().map_entry:
            said[field.name] = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)
            continue
        one = SCALARS[field.cpp_type] if inner is None else anything(inner)
        said[field.name] = st.lists(one, max_size=3) if field.is_repeated else one
    return st.fixed_dictionaries({}, optional=said)


@given(*(anything(described(f"{name}Request")) for name in ("Assess", "RecordOutcome", "RecordSecurityEvent")))
def test_translation_is_total(request: dict[str, object], outcome: dict[str, object], event: dict[str, object]) -> None:
    """Every message can be translated; refusing it is left to validation."""
    assert isinstance(translate.attempt(risk_pb2.AssessRequest(**request)), Attempt)  # type: ignore[arg-type]
    assert isinstance(translate.outcome(risk_pb2.RecordOutcomeRequest(**outcome)), Outcome)  # type: ignore[arg-type]
    told = risk_pb2.RecordSecurityEventRequest(**event)  # type: ignore[arg-type]
    assert isinstance(translate.security_event(told), SecurityEvent)


MOMENTS = st.none() | st.integers(-62_135_596_800_000, 253_402_300_799_999).map(lambda millis: millis / 1e3)
SECONDS = st.none() | st.integers(-(10**15), 10**15).map(lambda micros: micros / 1e6)
SHORT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
LISTED = st.lists(SHORT, max_size=3).map(tuple)
ATTEMPTS = st.builds(
    Attempt,
    domain=st.sampled_from(words.DOMAINS),
    subject=SHORT,
    journey=st.sampled_from(words.JOURNEYS),
    network=st.builds(words.Network, client_ip=SHORT, forwarded=LISTED, ja4=SHORT, rtt_ms=SECONDS),
    tenant=SHORT,
    request_id=SHORT,
    time=MOMENTS,
    credential_result=st.sampled_from(words.CREDENTIAL_RESULTS),
    device=st.none()
    | st.builds(
        words.Device,
        user_agent=SHORT,
        mobile=st.none() | st.booleans(),
        languages=LISTED,
        attestation=st.sampled_from(words.ATTESTATIONS),
    ),
    place=st.none()
    | st.builds(
        words.ReportedPlace,
        latitude=st.floats(-90, 90),
        longitude=st.floats(-180, 180),
        accuracy_m=st.none() | st.floats(0, 100),
    ),
    behaviour=st.none()
    | st.builds(
        words.Behaviour,
        typing_intervals_ms=st.lists(st.floats(0, 1000, width=32), max_size=4).map(tuple),
        pointer_events=st.none() | st.integers(0, 1000),
        pasted=st.none() | st.booleans(),
        form_seconds=SECONDS,
        form_failures=st.none() | st.integers(0, 9),
    ),
    session=st.none()
    | st.builds(
        words.Session,
        id=SHORT,
        start_time=MOMENTS,
        authentication_time=MOMENTS,
        amr=LISTED,
        binding=st.sampled_from(words.BINDINGS),
    ),
    federation=st.none()
    | st.builds(
        words.Federation, issuer=SHORT, protocol=st.sampled_from(words.PROTOCOLS), amr=LISTED, issue_time=MOMENTS
    ),
    outside=st.none()
    | st.builds(
        words.Outside,
        credential_breached=st.none() | st.booleans(),
        risk_level=st.sampled_from(words.RISK_LEVELS),
    ),
    consent=st.none() | LISTED,
    attributes=st.dictionaries(SHORT, SHORT, max_size=3),
)


@given(ATTEMPTS)
def test_an_attempt_survives_the_wire(attempt: Attempt) -> None:
    """An attempt is the same after a round trip over the wire, including absent fields."""
    sent = translate.request(attempt).SerializeToString()
    assert translate.attempt(risk_pb2.AssessRequest.FromString(sent)) == attempt


def test_an_unknown_enum_name_is_an_error() -> None:
    """A client that uses an unknown word gets an error before it sends."""
    with pytest.raises(ValueError, match="journey: no such value: 'logon'"):
        translate.request(Attempt(domain="customer", subject="u", journey="logon", network=words.Network()))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300, -1e12, 4e14])
@pytest.mark.parametrize("name", ["time", "rtt", "form"])
def test_a_time_that_the_wire_lacks_cannot_be_said(name: str, value: float) -> None:
    """Nor is another said in its place."""
    attempt = Attempt(
        domain="customer",
        subject="u",
        journey="login",
        network=words.Network(rtt_ms=value * 1000 if name == "rtt" else None),
        time=value if name == "time" else None,
        behaviour=words.Behaviour(form_seconds=value) if name == "form" else None,
    )
    with pytest.raises(ValueError, match="no such"):
        translate.request(attempt)


@given(TIMESTAMPS)
def test_a_moment_is_exact_to_the_microsecond_or_nan(time: Timestamp) -> None:
    """A Timestamp is exact to the microsecond, or NaN if it is out of range."""
    moment = translate.attempt(risk_pb2.AssessRequest(event_time=time)).time
    assert moment is not None
    try:
        expected = time.ToNanoseconds() / 1e9
    except ValueError:
        expected = math.nan
    assert math.isclose(moment, expected, abs_tol=1e-6) or (math.isnan(moment) and math.isnan(expected))


@pytest.mark.parametrize(
    ("seconds", "nanos", "milliseconds"),
    [
        (0, 43_000_000, 43.0),
        (0, 0, 0.0),
        (-1, -500_000_000, -1500.0),
        (1, -1, math.nan),
        (0, 1_000_000_000, math.nan),
        (2**60, 0, math.nan),
    ],
)
def test_durations(seconds: int, nanos: int, milliseconds: float) -> None:
    """A Duration is its length, or NaN if its parts contradict each other."""
    request = risk_pb2.AssessRequest(network=attempt_pb2.Network(rtt=Duration(seconds=seconds, nanos=nanos)))
    assert same(translate.attempt(request).network.rtt_ms, milliseconds)


def test_half_a_place_is_no_place() -> None:
    """A missing coordinate becomes NaN, not zero."""
    place = translate.attempt(risk_pb2.AssessRequest(place=attempt_pb2.ReportedPlace(latitude=60.0))).place
    assert place is not None
    assert place.latitude == 60.0
    assert math.isnan(place.longitude)


def test_absent_and_empty_consent_differ() -> None:
    """An absent consent is None; an empty one grants nothing."""
    assert translate.attempt(risk_pb2.AssessRequest()).consent is None
    assert translate.attempt(risk_pb2.AssessRequest(consent=attempt_pb2.Consent())).consent == ()


CHALLENGE, RECOVERY = risk_pb2.Challenge, risk_pb2.Recovery
OUTCOMES = {
    "challenge_passed": {"challenge": CHALLENGE(result=CHALLENGE.RESULT_PASSED)},
    "challenge_failed": {"challenge": CHALLENGE(result=CHALLENGE.RESULT_FAILED)},
    "challenge_abandoned": {"challenge": CHALLENGE(result=CHALLENGE.RESULT_ABANDONED)},
    "session_established": {"session_established": risk_pb2.SessionEstablished()},
    "sign_in_abandoned": {"sign_in_abandoned": risk_pb2.SignInAbandoned()},
    "confirmed_fraud": {"confirmed_fraud": risk_pb2.ConfirmedFraud()},
    "confirmed_legitimate": {"confirmed_legitimate": risk_pb2.ConfirmedLegitimate()},
    "recovery_completed": {"recovery": RECOVERY(result=RECOVERY.RESULT_COMPLETED)},
    "recovery_failed": {"recovery": RECOVERY(result=RECOVERY.RESULT_FAILED)},
    "": {},
}


@pytest.mark.parametrize("kind", [*words.OUTCOMES, ""])
def test_every_outcome_can_be_sent(kind: str) -> None:
    """Each kind of outcome has one form on the wire; no form gives no kind."""
    request = risk_pb2.RecordOutcomeRequest(assessment_id="a", **OUTCOMES[kind])  # type: ignore[arg-type]
    assert translate.outcome(request) == Outcome(assessment_id="a", kind=kind)


@pytest.mark.parametrize("silent", [CHALLENGE(), RECOVERY()])
def test_a_missing_result_is_no_outcome(silent: risk_pb2.Challenge | risk_pb2.Recovery) -> None:
    """A challenge or recovery without a result has no kind; an unknown result keeps its number."""
    name = type(silent).__name__.lower()
    assert translate.outcome(risk_pb2.RecordOutcomeRequest(**{name: silent})).kind == ""  # type: ignore[arg-type]
    silent.MergeFromString(b"\x08\x11")
    assert translate.outcome(risk_pb2.RecordOutcomeRequest(**{name: silent})).kind == "17"  # type: ignore[arg-type]


def test_a_challenge_carries_methods_and_time() -> None:
    """The core gets all fields of a challenge, under the same paths."""
    request = risk_pb2.RecordOutcomeRequest(
        assessment_id="a",
        tenant="t",
        event_time=Timestamp(seconds=1_700_000_000),
        challenge=CHALLENGE(result=CHALLENGE.RESULT_PASSED, amr=["hwk"], duration=Duration(seconds=9)),
    )
    assert translate.outcome(request) == Outcome(
        assessment_id="a", kind="challenge_passed", tenant="t", time=1.7e9, amr=("hwk",), seconds=9.0
    )
    named = {translate.wire_path(field.name) for field in fields(Outcome)} - {"outcome"}
    assert named <= set(wire_paths(described("RecordOutcomeRequest")))


EVENTS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "risk_level_change": ({"current_level": "RISK_LEVEL_HIGH"}, {"level": "high"}),
    "credential_compromise": ({"credential_type": "password"}, {"credential_type": "password"}),
    "credential_change": ({"credential_type": "fido2-roaming"}, {"credential_type": "fido2-roaming"}),
    "account_disabled": ({"hijacked": True}, {"hijacked": True}),
    "account_enabled": ({}, {}),
    "recovery_activated": ({}, {}),
    "recovery_information_changed": ({}, {}),
}


@pytest.mark.parametrize("kind", words.EVENTS)
def test_every_security_event_can_be_sent(kind: str) -> None:
    """Each kind of event has one form on the wire, and violations name its fields."""
    wire, core = EVENTS[kind]
    request = risk_pb2.RecordSecurityEventRequest(
        domain="IDENTITY_DOMAIN_WORKFORCE",
        subject="kim",
        tenant="acme",
        issuer="https://idp.example",
        event_time=Timestamp(seconds=1_700_000_000),
        **{kind: wire},
    )
    usual = SecurityEvent(
        domain="workforce", subject="kim", kind=kind, tenant="acme", time=1.7e9, issuer="https://idp.example"
    )
    assert translate.security_event(request) == replace(usual, **core)
    silent = risk_pb2.RecordSecurityEventRequest(event_time=Timestamp(seconds=1 << 60), **{kind: {}})  # type: ignore[arg-type]
    found = {translate.wire_path(each.where) for each in event_violations(translate.security_event(silent), 1.7e9)}
    fields_there = {f"{kind}.{name}" for name in wire} - {"account_disabled.hijacked"}
    assert found == {"domain", "subject", "event_time", *fields_there}


def test_a_missing_event_has_no_kind() -> None:
    """Without an event the violation names the choice; an unknown level keeps its number."""
    nothing = translate.security_event(risk_pb2.RecordSecurityEventRequest(subject="kim"))
    assert (nothing.kind, nothing.time) == ("", None)
    assert "event" in {each.where for each in event_violations(nothing, 1.7e9)}
    later = risk_pb2.RecordSecurityEventRequest(risk_level_change={"current_level": 17})
    assert translate.security_event(later).level == "17"


TEXTS = st.text(max_size=8)
TEXT_TUPLES = st.lists(TEXTS, max_size=3).map(tuple)
REQUIREMENTS = st.builds(
    Requirement,
    tier=st.sampled_from(Tier),
    terms=st.builds(
        Terms,
        aal=st.integers(0, 3),
        acr_values=TEXT_TUPLES,
        max_age_s=st.none() | st.integers(0, 10**6),
        amr=st.lists(TEXT_TUPLES, max_size=3).map(tuple),
    ),
    satisfied=st.booleans(),
)
ASSESSMENTS = st.builds(
    Assessment,
    id=TEXTS,
    score=st.floats(0, 1),
    level=st.sampled_from(words.RISK_LEVELS),
    requirement=REQUIREMENTS,
    reasons=st.lists(st.builds(Reason, TEXTS, st.floats(-9, 9), TEXTS), max_size=3).map(tuple),
    gaps=st.lists(st.builds(Missing, TEXTS, TEXTS), max_size=3).map(tuple),
    coverage=st.floats(0, 1),
    causes=TEXT_TUPLES,
    next_signals=TEXT_TUPLES,
    release=TEXTS,
    model=TEXTS,
    valid_until=st.floats(0, 4e9),
)


def read(response: risk_pb2.AssessResponse) -> Assessment:
    """Read an answer as a client would."""
    needed = response.requirement
    return Assessment(
        id=response.assessment_id,
        score=response.score,
        level=words.RISK_LEVELS[response.level],
        requirement=Requirement(
            Tier(needed.tier),
            Terms(
                needed.aal,
                tuple(needed.acr_values),
                needed.max_age.seconds if needed.HasField("max_age") else None,
                tuple(tuple(combination.methods) for combination in needed.amr),
            ),
            needed.satisfied,
        ),
        reasons=tuple(Reason(each.code, each.contribution, each.text) for each in response.reasons),
        gaps=tuple(Missing(each.source, each.why) for each in response.gaps),
        coverage=response.coverage,
        causes=tuple(response.causes),
        next_signals=tuple(response.next_signals),
        release=response.release,
        model=response.model,
        valid_until=response.valid_until_time.seconds + response.valid_until_time.nanos / 1e9,
    )


@given(ASSESSMENTS, ASSESSMENTS)
def test_answers_arrive_whole_and_apart(first: Assessment, second: Assessment) -> None:
    """A client reads exactly the assessment; answers built from the same template do not affect each other."""
    answers = translate.Answers()
    twin = replace(second, requirement=first.requirement, gaps=first.gaps, coverage=first.coverage)
    for assessment in (first, second, twin, first):
        response = answers.response(assessment)
        got = read(response)
        assert got.valid_until == pytest.approx(assessment.valid_until, abs=1e-6)
        assert replace(got, valid_until=assessment.valid_until) == assessment
        assert response.degraded == bool(assessment.causes)
        response.Clear()


def test_templates_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of cached templates is bounded."""
    monkeypatch.setattr(translate, "_TEMPLATES", 3)
    answers = translate.Answers()
    plain = Requirement(Tier.BASELINE, Terms(1), satisfied=True)
    for release in range(10):
        answers.response(
            Assessment(
                id="",
                score=0,
                level="low",
                requirement=plain,
                reasons=(),
                gaps=(),
                coverage=1,
                causes=(),
                next_signals=(),
                release=str(release),
                model="",
                valid_until=0,
            )
        )
    assert len(answers._templates) <= 3


@pytest.mark.parametrize(
    ("where", "field"),
    [
        ("subject", "subject"),
        ("time", "event_time"),
        ("consent[2]", "consent.purposes[2]"),
        ("attributes[time]", "attributes[time]"),
        ("session.amr[3]", "session.amr[3]"),
        ("network.rtt_ms", "network.rtt"),
    ],
)
def test_violations_name_the_caller_s_fields(where: str, field: str) -> None:
    """A violation names the field of the message that the caller sent."""
    assert translate.wire_path(where) == field
