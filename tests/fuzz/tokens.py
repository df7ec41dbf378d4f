"""Targets that read what a transmitter of shared signals sends: its tokens, their claims, and its keys."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import Final

import msgspec
from joserfc import jwk, jws
from joserfc.jwk import Key

from riskd.shared_signals.decoding import Unreadable, decode
from riskd.shared_signals.keys import MOST_KEYS, _KeySet, usable
from riskd.shared_signals.meaning import meaning
from riskd.shared_signals.stream import Push, Stream, SubjectRule
from riskd.shared_signals.token import verify
from tests.cases.world import NOW

_STREAM: Final = Stream(
    name="idp",
    issuer="https://idp.example.com",
    audience="riskd",
    jwks_uri="",
    domain="customer",
    tenant="",
    subject=SubjectRule("email", "user", ()),
    critical=(),
    delivery=Push("/idp", ""),
)


def token(data: bytes) -> None:
    """Verify a security event token and interpret it."""
    event = verify(data.decode("utf-8", "replace"), _STREAM, _keys, NOW)
    meaning(event, _STREAM, {"tenant"})


@cache
def _signed() -> tuple[Key, bytes]:
    key = jwk.generate_key("EC", "P-256")
    claims = {
        "iss": _STREAM.issuer,
        "aud": [_STREAM.audience],
        "iat": NOW,
        "jti": "t-1",
        "sub_id": {"format": "complex", "user": {"format": "email", "email": "alex@example.com"}},
        "events": {
            "https://schemas.openid.net/secevent/caep/event-type/risk-level-change": {
                "principal": "USER",
                "current_level": "HIGH",
                "event_timestamp": NOW,
            }
        },
    }
    header = {"alg": "ES256", "typ": "secevent+jwt", "kid": "one"}
    return key, jws.serialize_compact(header, msgspec.json.encode(claims), key).encode()


def _keys(*_: str) -> list[Key]:
    return [_signed()[0]]


def claims(data: bytes) -> None:
    """Verify a token with arbitrary signed claims, hostile or broken."""
    signed = jws.serialize_compact({"alg": "ES256", "typ": "secevent+jwt", "kid": "one"}, data, _signed()[0])
    token(signed.encode())


def tokens() -> list[bytes]:
    """A valid token."""
    return [_signed()[1]]


def payloads() -> list[bytes]:
    """The claims of a valid token."""
    return [msgspec.json.encode(msgspec.json.decode(jws.extract_compact(_signed()[1]).payload))]


def keys(data: bytes) -> None:
    """Read the key set of a transmitter."""
    with suppress(Unreadable):
        list(map(usable, decode(data, _KeySet).keys[:MOST_KEYS]))


def key_sets() -> list[bytes]:
    """A key of each kind."""
    made = [jwk.generate_key(*kind) for kind in (("EC", "P-256"), ("RSA", 2048), ("OKP", "Ed25519"))]
    return [msgspec.json.encode({"keys": [key.as_dict(private=False, kid="one", use="sig") for key in made]})]
