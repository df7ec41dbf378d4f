"""Verifies a security event token: a JWT (RFC 8417) with the restrictions of SSF 1.0, section 4."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, TypeAlias

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
from riskd.shared_signals.keys import KINDS, NAMES
from riskd.shared_signals.stream import (
    AUTHENTICATION_FAILED,
    INVALID_AUDIENCE,
    INVALID_ISSUER,
    INVALID_KEY,
    INVALID_REQUEST,
    Refused,
    Stream,
)

Find: TypeAlias = Callable[[str, str], Iterable[Key]]
"""Finds the keys that may have signed a token, by the key id that it names ("" if none) and its algorithm
(`Keys.find`)."""
TOKEN_BYTES: Final = 32 * 1024
JTI_CHARACTERS: Final = 256
TYPE: Final = "secevent+jwt"
AHEAD_SECONDS: Final = 300.0
"""How far a transmitter's clock may be ahead of ours."""
_CLOCKS: Final = "the transmitter's clock is more than five minutes ahead of this machine's"
MILLISECONDS_FROM: Final = 1e11
"""A time this large is in milliseconds: drafts before CAEP 1.0 had `event_timestamp` in them."""


class _Claims(Struct, frozen=True):
    """The claims that riskd reads. All others are ignored, as SSF 1.0 requires."""

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
    """The member that every event may have (CAEP 1.0, section 2)."""

    event_timestamp: float | UnsetType = UNSET


class Verified(Struct, frozen=True):
    """The content of a valid token: event type `uri`, the event as JSON `content`, and its time `at` in epoch seconds.

    `subject` is empty if the token has none.
    """

    jti: str
    uri: str
    content: bytes
    subject: Mapping[str, object]
    at: float


class _Registry(JWSRegistry):
    max_header_length = 8 * 1024  # some transmitters include their certificate chain (x5c)

    def get_alg(self, name: str) -> JWSAlgModel:
        """An algorithm that is allowed, also by its old name."""
        return super().get_alg(NAMES.get(name, name))


_REGISTRY: Final = _Registry(algorithms=tuple(KINDS), strict_check_header=False)


def verify(token: str, stream: Stream, find: Find, now: float) -> Verified:
    """Verify a token and return what it says. `find`: finds keys; `now`: epoch seconds.

    Raises Refused for an invalid token, and whatever `find` raises.
    """
    claims = _claims(_payload(token, find))
    if claims.iss != stream.issuer:
        raise Refused(INVALID_ISSUER, "iss is not the issuer of this stream")
    if stream.audience not in ([claims.aud] if isinstance(claims.aud, str) else claims.aud):
        raise Refused(INVALID_AUDIENCE, "aud does not name this receiver")
    for name, value in (("sub", claims.sub), ("exp", claims.exp)):
        if value is not UNSET:
            raise Refused(INVALID_REQUEST, f"the claim {name} is not allowed: this may be a token of another kind")
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


def _payload(token: str, find: Find) -> bytes:
    """The payload of a token that one of the transmitter's keys signed."""
    keys: Iterator[Key] | None = None
    why = Refused(INVALID_KEY, "the key that the token names does not fit the token's algorithm")
    if len(token) > TOKEN_BYTES:
        raise Refused(INVALID_REQUEST, f"the token has more than {TOKEN_BYTES} bytes")
    if not token.isascii():
        raise Refused(INVALID_REQUEST, "is not a signed token: three parts in base64url")

    def key(signed: GuestProtocol) -> Key:
        nonlocal keys
        headers = signed.headers()
        kind = str(headers.get("typ", "")).lower().removeprefix("application/")
        if kind != TYPE:
            raise Refused(INVALID_REQUEST, f"typ must be {TYPE}")
        if keys is None:
            alg = str(headers["alg"])
            keys = iter(find(str(headers.get("kid", "")), NAMES.get(alg, alg)))
        candidate = next(keys, None)
        if candidate is None:
            raise why
        return candidate

    while True:
        try:
            return deserialize_compact(token, key, registry=_REGISTRY).payload
        except BadSignatureError:
            why = Refused(AUTHENTICATION_FAILED, "the signature does not match any key that the token may mean")
        except (InvalidKeyTypeError, InvalidKeyCurveError, UnsupportedKeyAlgorithmError, UnsupportedKeyOperationError):
            continue
        except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
            what = f"is not a signed token in three parts, or its alg is not one of {', '.join(KINDS)}"
            raise Refused(INVALID_REQUEST, what) from None


def _claims(payload: bytes) -> _Claims:
    try:
        return decode(payload, _Claims)
    except Unreadable as error:
        raise Refused(INVALID_REQUEST, f"the claims are not those of a security event: {error}") from None


def _event(events: Mapping[str, Raw]) -> tuple[str, bytes]:
    """The event's URI and content. If it has alternative URIs (SSF 1.0, section 4), the one that riskd knows."""
    known = [uri for uri in events if uri in EVENTS]
    if not events or len(known) > 1:
        raise Refused(INVALID_REQUEST, f"events must hold one event that riskd knows, not {len(known)}")
    uri = next(iter(known or events))
    return uri, bytes(events[uri])


def _happened(claims: _Claims, content: bytes, now: float) -> float:
    """When the event happened, by the event itself, else by the token; at most `now`, whatever the transmitter's clock
    says."""
    try:
        timestamp = decode(content, _Event).event_timestamp
    except Unreadable as error:
        raise Refused(INVALID_REQUEST, f"the event does not follow CAEP and RISC: {error}") from None
    times = (timestamp, claims.toe, claims.iat)
    at = next(time for time in times if not isinstance(time, UnsetType))
    seconds = at / 1000 if at >= MILLISECONDS_FROM else at
    if not 0 <= seconds <= now + AHEAD_SECONDS:
        raise Refused(INVALID_REQUEST, f"the time of the event lies in the future: {_CLOCKS}")
    return min(seconds, now)
