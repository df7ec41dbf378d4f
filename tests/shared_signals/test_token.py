"""A token with any mistake is refused with the right code of RFC 8935, and has no effect."""

from __future__ import annotations

import base64
import json
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.core.attempt import SecurityEvent
from riskd.shared_signals.keys import usable
from riskd.shared_signals.meaning import meaning
from riskd.shared_signals.stream import Refused, SubjectRule
from riskd.shared_signals.token import TOKEN_BYTES, Find, verify
from tests.shared_signals.transmitter import AUDIENCE, CAEP, HIGH, RISC, PrivateKey, jwk, rsa_key, sign, stream
from tests.shared_signals.transmitter import claims as claims_of

STREAM = stream()
ISSUER = STREAM.issuer
NOW = time.time()
P256, ED = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
P384 = ec.generate_private_key(ec.SECP384R1())


def known(key: PrivateKey, **more: object) -> Find:
    """The keys of a transmitter with one key, whatever id is requested."""
    found = usable(jwk(key, "one", **more))
    assert found is not None
    return lambda *_: [found]


RSA = known(rsa_key())


def claims(
    issuer: str, /, event: str = CAEP + "risk-level-change", content: object = HIGH, **more: object
) -> dict[str, object]:
    """The claims of a token that is valid at `NOW`."""
    return claims_of(issuer, event, content, **{"iat": int(NOW), **more})


def refusal(token: str, find: Find = RSA) -> str:
    """The code with which a token is refused."""
    with pytest.raises(Refused) as refused:
        verify(token, STREAM, find, NOW)
    return refused.value.err


@pytest.mark.parametrize(
    ("key", "alg"),
    [(rsa_key(), "RS256"), (rsa_key(), "PS256"), (P256, "ES256"), (ED, "Ed25519")],
    ids=lambda x: str(x)[:9],
)
def test_a_valid_token_is_read(key: PrivateKey, alg: str) -> None:
    """A valid token is read with every supported algorithm, also with a key restricted to it."""
    told = claims(ISSUER, jti="t-1", iat=NOW - 60)
    for find in (known(key), known(key, alg=alg)):
        event = verify(sign(told, key, alg), STREAM, find, NOW)
        assert (event.jti, event.uri, json.loads(event.content)) == ("t-1", CAEP + "risk-level-change", HIGH)
        assert event.subject == {"format": "email", "email": "alex@example.com"}
        assert event.at == pytest.approx(NOW - 60)


def test_the_example_of_the_specification_is_read() -> None:
    """The example of CAEP 1.0, section 3.8.2, is read as it is."""
    told = {
        "iss": "https://idp.example.com/123456789/",
        "jti": "24c63fb56e5a2d77a6b512616ca9fa24",
        "iat": 1615305159,
        "aud": "https://sp.example.com/caep",
        "txn": "8675309",
        "sub_id": {"format": "iss_sub", "iss": "https://idp.example.com/3456789/", "sub": "jane.doe@example.com"},
        "events": {
            "https://schemas.openid.net/secevent/caep/event-type/risk-level-change": {
                "current_level": "LOW",
                "previous_level": "HIGH",
                "event_timestamp": 1615304991,
                "principal": "USER",
                "risk_reason": "PASSWORD_FOUND_IN_DATA_BREACH",
            }
        },
    }
    rule = SubjectRule("iss_sub", "user", ("https://idp.example.com/3456789/",))
    ours = replace(stream(subject=rule), audience="https://sp.example.com/caep")
    assert meaning(verify(sign(told), ours, RSA, NOW), ours, set()) == SecurityEvent(
        domain="customer",
        subject="jane.doe@example.com",
        kind="risk_level_change",
        time=1615304991.0,
        issuer="https://idp.example.com/123456789/",
        level="low",
    )


@pytest.mark.parametrize("typ", ["secevent+jwt", "SECEVENT+JWT", "application/secevent+jwt"])
def test_the_type_is_a_media_type(typ: str) -> None:
    """RFC 7515, section 4.1.9: the type is case-insensitive, with or without the prefix `application/`."""
    assert verify(sign(claims(ISSUER), typ=typ), STREAM, RSA, NOW).uri


@pytest.mark.parametrize("audience", [AUDIENCE, [AUDIENCE], ["https://other.example.com", AUDIENCE]])
def test_the_audience_may_be_several(audience: object) -> None:
    """SSF 1.0, section 4.2.3: the audience may be one or several."""
    assert verify(sign(claims(ISSUER, aud=audience)), STREAM, RSA, NOW).uri


def test_unknown_claims_are_ignored() -> None:
    """SSF 1.0, section 4.3.3: unknown claims, members and headers are ignored."""
    told = claims(ISSUER, content={**HIGH, "more": [1, {"a": None}]}, extra={"deep": [1, 2]})
    assert verify(sign(told, x5t="abc", other="x"), STREAM, RSA, NOW).uri


def test_the_longest_id_and_no_subject_are_read() -> None:
    """An id may have 256 characters, and a token may have no subject, as one about its stream."""
    event = verify(sign(claims(ISSUER, jti="j" * 256, sub_id=None)), STREAM, RSA, NOW)
    assert (event.jti, event.subject) == ("j" * 256, {})


def unsigned(header: dict[str, object], payload: bytes = b"{}") -> str:
    parts = (json.dumps(header).encode(), payload, b"signature")
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def test_an_event_may_have_other_names() -> None:
    """SSF 1.0, section 4, on the claim `events`: if an event has alternative URIs, the known one counts."""
    names = {"https://example.com/risk": {"x": 1}, CAEP + "risk-level-change": HIGH}
    event = verify(sign(claims(ISSUER, events=names)), STREAM, RSA, NOW)
    assert (event.uri, json.loads(event.content)) == (CAEP + "risk-level-change", HIGH)


@pytest.mark.parametrize("content", [{"event_timestamp": "2026-11-27T08:00:00Z"}, {"event_timestamp": 1e12 * NOW}, [1]])
def test_an_event_of_no_use_may_be_as_it_likes(content: object) -> None:
    """The content of an unknown event is not checked; its time is that of the token."""
    told = claims(ISSUER, "https://example.com/ours", content, iat=NOW - 60)
    assert verify(sign(told), STREAM, RSA, NOW).at == pytest.approx(NOW - 60)


def nested(deep: int) -> str:
    """A token whose header is deeply nested."""
    header = base64.urlsafe_b64encode(b"[" * deep + b"]" * deep).rstrip(b"=").decode()
    return f"{header}.e30.AA"


HEADER: dict[str, object] = {"alg": "RS256", "kid": "one", "typ": "secevent+jwt"}
WRONG = {
    "empty": ("", "invalid_request"),
    "two parts": ("a.b", "invalid_request"),
    "no base64": ("!!!.???.***", "invalid_request"),
    "not ASCII": (sign(claims(ISSUER)) + "é", "invalid_request"),
    "too long": (sign(claims(ISSUER, more="x" * TOKEN_BYTES)), "invalid_request"),
    "a header that is a list": (unsigned({}).replace("e30", "W10", 1), "invalid_request"),
    "a header without an end": (nested(1050), "invalid_request"),
    "a header without an algorithm": (unsigned({"typ": "secevent+jwt"}), "invalid_request"),
    "a key id that is a number": (unsigned({**HEADER, "kid": 1}), "invalid_request"),
    "a critical header": (sign(claims(ISSUER), crit=["x"], x=1), "invalid_request"),
    "a payload that is not encoded": (unsigned({**HEADER, "b64": False, "crit": ["b64"]}), "authentication_failed"),
    "unsigned": (sign(claims(ISSUER), alg="none"), "invalid_request"),
    "signed by the public key as a secret": (unsigned({**HEADER, "alg": "HS256"}), "invalid_request"),
    "another EdDSA": (sign(claims(ISSUER), ed448.Ed448PrivateKey.generate(), alg="EdDSA"), "invalid_key"),
    "RS512": (sign(claims(ISSUER), alg="RS512"), "invalid_request"),
    "ES384": (sign(claims(ISSUER), P384, alg="ES384"), "invalid_request"),
    "ES256, by name": (sign(claims(ISSUER), P256, alg="ES256"), "invalid_key"),
    "another key": (sign(claims(ISSUER), rsa_key(1)), "authentication_failed"),
    "another payload": (
        ".".join(
            (
                *sign(claims(ISSUER)).split(".")[:1],
                *sign(claims(ISSUER, jti="x")).split(".")[1:2],
                *sign(claims(ISSUER)).split(".")[2:],
            )
        ),
        "authentication_failed",
    ),
    "a token of another kind": (sign(claims(ISSUER), typ="JWT"), "invalid_request"),
    "an access token": (sign(claims(ISSUER), typ="at+jwt"), "invalid_request"),
    "no type": (sign(claims(ISSUER), typ=None), "invalid_request"),
    "another issuer": (sign(claims("https://idp.example.com/")), "invalid_issuer"),
    "another audience": (sign(claims(ISSUER, aud="https://other.example.com")), "invalid_audience"),
    "other audiences": (sign(claims(ISSUER, aud=["a", "b"])), "invalid_audience"),
    "no audience": (sign(claims(ISSUER, aud=[])), "invalid_audience"),
    "sub": (sign(claims(ISSUER, sub="alex")), "invalid_request"),
    "exp": (sign(claims(ISSUER, exp=NOW + 60)), "invalid_request"),
    "no iss": (sign(claims(ISSUER, iss=None)), "invalid_request"),
    "no aud": (sign(claims(ISSUER, aud=None)), "invalid_request"),
    "no iat": (sign(claims(ISSUER, iat=None)), "invalid_request"),
    "no jti": (sign(claims(ISSUER, jti=None)), "invalid_request"),
    "no events": (sign(claims(ISSUER, events=None)), "invalid_request"),
    "events of none": (sign(claims(ISSUER, events={})), "invalid_request"),
    "two events": (
        sign(claims(ISSUER, events={CAEP + "risk-level-change": HIGH, RISC + "account-enabled": {}})),
        "invalid_request",
    ),
    "an event that is a list": (sign(claims(ISSUER, content=[])), "invalid_request"),
    "an empty jti": (sign(claims(ISSUER, jti="")), "invalid_request"),
    "a long jti": (sign(claims(ISSUER, jti="j" * 257)), "invalid_request"),
    "iat in the future": (sign(claims(ISSUER, iat=NOW + 301)), "invalid_request"),
    "iat in the future, of an event in the past": (
        sign(claims(ISSUER, iat=NOW + 301, content={**HIGH, "event_timestamp": NOW})),
        "invalid_request",
    ),
    "iat before all times": (sign(claims(ISSUER, iat=-1)), "invalid_request"),
    "a time that is text": (sign(claims(ISSUER, iat="now")), "invalid_request"),
    "toe in the future": (sign(claims(ISSUER, toe=NOW + 4000)), "invalid_request"),
    "an event of the future": (
        sign(claims(ISSUER, content={**HIGH, "event_timestamp": NOW + 301})),
        "invalid_request",
    ),
    "a subject that is text": (sign(claims(ISSUER, sub_id="alex")), "invalid_request"),
    "claims that are a list": (sign(b"[]"), "invalid_request"),
    "claims that are no JSON": (sign(b"{"), "invalid_request"),
    "claims that are not UTF-8": (sign(b'{"iss": "\xff"}'), "invalid_request"),
    "claims without an end": (sign(b"[" * 20_000), "invalid_request"),
    "a number without an end": (sign(b'{"iss": "i", "iat": 1e999}'), "invalid_request"),
}


@pytest.mark.parametrize(("token", "err"), WRONG.values(), ids=WRONG)
def test_a_wrong_token_is_refused(token: str, err: str) -> None:
    """Each invalid token is refused with its code."""
    assert refusal(token) == err


@pytest.mark.parametrize(
    "key", [known(P256), known(ED), known(rsa_key(), alg="PS256")], ids=["EC", "OKP", "RSA for PS256"]
)
def test_a_key_is_used_for_what_it_is(key: Find) -> None:
    """A key of another kind or algorithm verifies nothing."""
    assert refusal(sign(claims(ISSUER)), key) == "invalid_key"


@pytest.mark.parametrize("wrong", ["iat in the future", "toe in the future", "an event of the future"])
def test_a_clock_difference_is_mentioned(wrong: str) -> None:
    """A token from the future is refused with a remark about clocks."""
    with pytest.raises(Refused, match="clock is more than five minutes ahead of this machine's"):
        verify(WRONG[wrong][0], STREAM, RSA, NOW)


def test_a_refusal_quotes_nothing() -> None:
    """The text of a refusal quotes no claim."""
    for token, _ in WRONG.values():
        with pytest.raises(Refused) as refused:
            verify(token, STREAM, RSA, NOW)
        assert [text for text in ("alex", "example", "8675309") if text in refused.value.why] == []


@pytest.mark.parametrize(
    ("more", "content", "at"),
    [
        ({"iat": NOW - 30, "toe": NOW - 60}, {"event_timestamp": NOW - 90}, NOW - 90),
        ({"iat": NOW - 30, "toe": NOW - 60}, {}, NOW - 60),
        ({"iat": NOW - 30}, {}, NOW - 30),
        ({"iat": NOW - 30}, {"event_timestamp": (NOW - 90) * 1000}, NOW - 90),
        ({"iat": NOW + 200}, {}, NOW),
    ],
    ids=["event_timestamp", "toe", "iat", "milliseconds of drafts", "a clock that is ahead"],
)
def test_the_time_is_the_event_s(more: dict[str, object], content: dict[str, object], at: float) -> None:
    """CAEP 1.0, section 2: the event's own time counts, else the token's; a time in the future becomes now."""
    token = sign({**claims(ISSUER, content={**HIGH, **content}), **more})
    assert verify(token, STREAM, RSA, NOW).at == pytest.approx(at, abs=0.001)


@given(st.text(max_size=200) | st.from_regex(r"[\w-]{0,60}\.[\w-]{0,60}\.[\w-]{0,60}", fullmatch=True))
def test_any_text_is_refused(token: str) -> None:
    """Any text raises Refused, and no other error."""
    assert refusal(token)


LEAVES = st.none() | st.booleans() | st.floats() | st.integers() | st.text()
ANYTHING = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)


@given(ANYTHING, st.sampled_from(["iss", "aud", "iat", "jti", "events", "sub_id", "toe"]))
def test_any_claim_is_refused_or_read(value: object, name: str) -> None:
    """With any value for one claim, the token is read or raises Refused."""
    whole = {**claims(ISSUER), name: value}
    try:
        event = verify(sign(whole), STREAM, RSA, NOW)
    except Refused:
        return
    assert 0 <= event.at <= NOW
