"""Verifies a security event token: a JWT (RFC 8417) as SSF 1.0, section 4, has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from joserfc.errors import (
    BadSignatureError,
    InvalidKeyCurveError,
    InvalidKeyTypeError,
    JoseError,
    UnsupportedKeyAlgorithmError,
    UnsupportedKeyOperationError,
)
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import GuestProtocol, Key
from joserfc.jws import JWSRegistry, deserialize_compact
from msgspec import UNSET, Raw, Struct, UnsetType

from riskd.shared_signals.decoding import Unreadable, decode
from riskd.shared_signals.event_types import EVENTS
from riskd.shared_signals.keys import NAMES
from riskd.shared_signals.stream import (
    AUTHENTICATION_FAILED,
    INVALID_AUDIENCE,
    INVALID_ISSUER,
    INVALID_KEY,
    INVALID_REQUEST,
    Refused,
    Stream,
)

TOKEN_BYTES: Final = 32 * 1024
JTI_CHARACTERS: Final = 256
ALGORITHMS: Final = ("RS256", "PS256", "ES256", "Ed25519")
"""Of signatures that are taken: RS256 as the CAEP interoperability profile demands, and the others by RFC 7518 and
RFC 9864, by which Ed25519 is also called by its old name. None is symmetric, and `none` is none of them."""
TYPE: Final = "secevent+jwt"
AHEAD_SECONDS: Final = 300.0
"""By which a transmitter's clock may be ahead of ours."""
_CLOCKS: Final = "the transmitter's clock is more than five minutes ahead of this machine's"
MILLISECONDS_FROM: Final = 1e11
"""A time from here on is of milliseconds, as drafts before CAEP 1.0 had `event_timestamp`."""


class _Claims(Struct, frozen=True):
    """The claims that count; all others are ignored, as SSF 1.0 demands."""

    iss: str
    aud: str | list[str]
    iat: float
    jti: str
    events: dict[str, Raw]
    sub_id: dict[str, object] | UnsetType = UNSET
    toe: float | UnsetType = UNSET
    sub: Raw | UnsetType = UNSET
    exp: Raw | UnsetType = UNSET


class _Event(Struct, frozen=True):
    """What every event may have (CAEP 1.0, section 2)."""

    event_timestamp: float | UnsetType = UNSET


class Verified(Struct, frozen=True):
    """Of a token that is right. `uri` names the event, `content` is its JSON. `at`: epoch seconds.

    `subject` is empty where the token has none.
    """

    jti: str
    uri: str
    content: bytes
    subject: Mapping[str, object]
    at: float


class _Registry(JWSRegistry):
    max_header_length = 8 * 1024  # some show their certificate chain, x5c

    def get_alg(self, name: str) -> JWSAlgModel:
        """An algorithm that is allowed."""
        return super().get_alg(NAMES.get(name, name))


_REGISTRY: Final = _Registry(algorithms=ALGORITHMS, strict_check_header=False)


def verify(token: str, stream: Stream, find: Callable[[str], Key], now: float) -> Verified:
    """What a token says. `find` is asked for the key by its id; `now`: epoch seconds.

    Raises Refused for a token that is wrong, and whatever `find` raises.
    """
    claims = _claims(_payload(token, find))
    if claims.iss != stream.issuer:
        raise Refused(INVALID_ISSUER, "iss is not the issuer of this stream")
    if stream.audience not in ([claims.aud] if isinstance(claims.aud, str) else claims.aud):
        raise Refused(INVALID_AUDIENCE, "aud does not name this receiver")
    for name, value in (("sub", claims.sub), ("exp", claims.exp)):
        if value is not UNSET:
            raise Refused(INVALID_REQUEST, f"the claim {name} must not be there: this may be a token of another kind")
    if not 0 < len(claims.jti) <= JTI_CHARACTERS:
        raise Refused(INVALID_REQUEST, f"jti must have 1 to {JTI_CHARACTERS} characters")
    if not 0 <= claims.iat <= now + AHEAD_SECONDS:
        raise Refused(INVALID_REQUEST, f"iat lies in the future: {_CLOCKS}")
    uri, content = _event(claims.events)
    return Verified(
        jti=claims.jti,
        uri=uri,
        content=content,
        subject={} if isinstance(claims.sub_id, UnsetType) else claims.sub_id,
        at=_happened(claims, content if uri in EVENTS else b"{}", now),
    )


def _payload(token: str, find: Callable[[str], Key]) -> bytes:
    """Of a token by one of the transmitter's keys."""
    if len(token) > TOKEN_BYTES:
        raise Refused(INVALID_REQUEST, f"the token has more than {TOKEN_BYTES} bytes")
    if not token.isascii():
        raise Refused(INVALID_REQUEST, "is no signed token, in three parts of base64url")

    def key(signed: GuestProtocol) -> Key:
        headers = signed.headers()
        kind = str(headers.get("typ", "")).lower().removeprefix("application/")
        if kind != TYPE:
            raise Refused(INVALID_REQUEST, f"typ must be {TYPE}")
        return find(str(headers.get("kid", "")))

    try:
        return deserialize_compact(token, key, registry=_REGISTRY).payload
    except BadSignatureError:
        raise Refused(AUTHENTICATION_FAILED, "the signature is not by the key that the token names") from None
    except (InvalidKeyTypeError, InvalidKeyCurveError, UnsupportedKeyAlgorithmError, UnsupportedKeyOperationError):
        raise Refused(INVALID_KEY, "the key that the token names is not for this algorithm") from None
    except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
        what = f"is no signed token in three parts, or its alg is none of {', '.join(ALGORITHMS)}"
        raise Refused(INVALID_REQUEST, what) from None


def _claims(payload: bytes) -> _Claims:
    try:
        return decode(payload, _Claims)
    except Unreadable as error:
        raise Refused(INVALID_REQUEST, f"the claims are not those of a security event: {error}") from None


def _event(events: Mapping[str, Raw]) -> tuple[str, bytes]:
    """The one that is told; of alternative URIs for it (SSF 1.0, section 4) that which is known."""
    known = [uri for uri in events if uri in EVENTS]
    if not events or len(known) > 1:
        raise Refused(INVALID_REQUEST, f"events must have one event, and has {len(known)}")
    uri = next(iter(known or events))
    return uri, bytes(events[uri])


def _happened(claims: _Claims, content: bytes, now: float) -> float:
    """When it happened, as the event says, else the token; never later than now, whatever the clocks say."""
    try:
        told = decode(content, _Event).event_timestamp
    except Unreadable as error:
        raise Refused(INVALID_REQUEST, f"the event is not as CAEP and RISC have it: {error}") from None
    times = (told, claims.toe, claims.iat)
    at = next(time for time in times if not isinstance(time, UnsetType))
    seconds = at / 1000 if at >= MILLISECONDS_FROM else at
    if not 0 <= seconds <= now + AHEAD_SECONDS:
        raise Refused(INVALID_REQUEST, f"the time of the event lies in the future: {_CLOCKS}")
    return min(seconds, now)
