"""The keys of a transmitter: fetched when a token needs an unknown one, but not more often than once a minute."""

from __future__ import annotations

import threading
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Final, TypeVar
from urllib.parse import urlsplit, urlunsplit

from joserfc.errors import JoseError
from joserfc.jwk import DictKey, ECKey, JWKRegistry, Key, OKPKey, RSAKey
from msgspec import Struct

from riskd.shared_signals.decoding import Unreadable, decode
from riskd.shared_signals.stream import INVALID_KEY, KEYS, Away, Refused, Stream
from riskd.shared_signals.web import Web

AGAIN_SECONDS: Final = 60.0
"""At least this long between two fetches, so that a flood of tokens with unknown keys causes no flood of fetches."""
FRESH_SECONDS: Final = 24 * 3600.0
"""Keys older than this are fetched again, so that a withdrawn key stops being accepted."""
FETCH_SECONDS: Final = 10.0
MOST_KEYS: Final = 64
MOST_TRIED: Final = 8
"""How many keys are tried on one token: verifying an RSA signature takes some tenths of a millisecond."""
RSA_BITS: Final = 2048
"""Size of the smallest RSA key that is accepted (CAEP interoperability profile 1.0, section 2.6)."""
MOST_RSA_BITS: Final = 8192
"""Size of the largest RSA key that is accepted: the cost of verifying grows with it."""
PUBLIC: Final = ("kty", "n", "e", "crv", "x", "y", "kid", "use", "key_ops", "alg")
"""The members of a key that are read. Private members are not: the library would search for the factors of RSA numbers
that an attacker made up, which may take hours."""
NAMES: Final = {"EdDSA": "Ed25519"}
"""Current names of algorithms (RFC 9864), by their old names (RFC 8037)."""
KINDS: Final[Mapping[str, type[Key]]] = {"RS256": RSAKey, "PS256": RSAKey, "ES256": ECKey, "Ed25519": OKPKey}
"""The signature algorithms that are accepted, with their type of key. The CAEP interoperability profile requires RS256;
the others are those of RFC 7518 and RFC 9864, under whose old name Ed25519 is accepted, too. No algorithm is symmetric,
and `none` is not accepted."""
_Read = TypeVar("_Read")


class _Configuration(Struct, frozen=True):
    """The part of a transmitter's configuration that is needed (SSF 1.0, section 7.1)."""

    issuer: str
    jwks_uri: str
    critical_subject_members: list[str] = []


class _KeySet(Struct, frozen=True):
    """A JSON Web Key set (RFC 7517, section 5)."""

    keys: list[dict[str, object]]


def configuration_url(issuer: str) -> str:
    """Where an issuer's configuration is: the issuer's path follows the well-known one (SSF 1.0, section 7.2.1)."""
    parts = urlsplit(issuer)
    return urlunsplit((parts.scheme, parts.netloc, "/.well-known/ssf-configuration" + parts.path.rstrip("/"), "", ""))


class Keys:
    """The keys of one stream's transmitter. Thread-safe."""

    def __init__(self, stream: Stream, web: Web, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._web = web
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: tuple[Key, ...] = ()
        self._tried = self._fetched = -float("inf")
        self._critical = frozenset(stream.critical)

    @property
    def critical(self) -> frozenset[str]:
        """Members of complex subjects that must be understood, as far as is known yet."""
        return self._critical

    def find(self, kid: str, alg: str) -> Iterator[Key]:
        """At most `MOST_TRIED` keys that may have signed a token with this key id and algorithm (one of `KINDS`).

        Keys may share an id, and neither a key nor a token needs one (RFC 7517, section 4.5; RFC 7515, section 4.1.4).
        Then every key of that type is a candidate: first the known ones, then those of a new fetch. Raises Refused if
        the transmitter has no such key, and Away while that is unknown: other threads do not wait for a fetch in
        progress.
        """
        seen = self._fetched
        if self._clock() - seen >= FRESH_SECONDS or not self._named(kid):
            self._renew(seen)
            seen = self._fetched
        if not self._named(kid):
            raise Refused(INVALID_KEY, "no usable key of the transmitter has the id that the token names")
        yield from self._meant(kid, alg)
        if all(key.kid != kid for key in self._keys):
            self._renew(seen)
            yield from self._meant(kid, alg)

    def fetch(self) -> int:
        """Fetch the keys now. Returns how many are usable. Raises Away."""
        with self._lock:
            self._refresh()
            return len(self._keys)

    def _renew(self, seen: float) -> None:
        """Fetch the keys, unless another thread has fetched them since the time `seen`."""
        if not self._lock.acquire(blocking=False):
            raise Away(KEYS, "they are being fetched")
        try:
            if self._fetched == seen:
                self._refresh()
        finally:
            self._lock.release()

    def _refresh(self) -> None:
        now = self._clock()
        if now - self._tried < AGAIN_SECONDS:
            raise Away(KEYS, "they were fetched less than a minute ago")
        self._tried = now
        self._fetch()
        self._fetched = now

    def _named(self, kid: str) -> list[Key]:
        """The keys with this id; if there are none, the keys that may have it, because the key or the token names no
        id."""
        return [key for key in self._keys if key.kid == kid] or [key for key in self._keys if not (kid and key.kid)]

    def _meant(self, kid: str, alg: str) -> list[Key]:
        kind = KINDS[alg]
        fitting = [key for key in self._named(kid) if isinstance(key, kind) and key.alg in (None, alg)]
        return fitting[:MOST_TRIED]

    def _fetch(self) -> None:
        stream, jwks_uri = self._stream, self._stream.jwks_uri
        if not jwks_uri:
            configuration = self._read(configuration_url(stream.issuer), _Configuration, "configuration")
            if configuration.issuer != stream.issuer:
                raise Away(KEYS, "the transmitter's configuration names another issuer")
            jwks_uri = configuration.jwks_uri
            if urlsplit(stream.issuer).scheme == "https" and not jwks_uri.lower().startswith("https:"):
                raise Away(KEYS, "the jwks_uri in the transmitter's configuration is not https")
            self._critical = frozenset((*stream.critical, *configuration.critical_subject_members))
        published = self._read(jwks_uri, _KeySet, "key set").keys[:MOST_KEYS]
        keys = [key for key in map(usable, published) if key is not None]
        if not keys:
            raise Away(KEYS, "the transmitter's key set has no usable key")
        self._keys = tuple(keys)

    def _read(self, url: str, kind: type[_Read], what: str) -> _Read:
        try:
            answer = self._web.ask(url, FETCH_SECONDS, headers={"Accept": "application/json"})
        except Away as error:
            raise Away(KEYS, f"the transmitter's {what} cannot be fetched: {error.why}") from None
        if answer.status != HTTPStatus.OK:
            raise Away(KEYS, f"the transmitter answers {answer.status} to the request for its {what}")
        try:
            return decode(answer.body, kind)
        except Unreadable:
            raise Away(KEYS, f"the transmitter's {what} is not valid") from None


def usable(jwk: dict[str, object]) -> Key | None:
    """A key that can verify signatures: RSA of 2048 to 8192 bits, P-256 or Ed25519. None for any other."""
    texts: DictKey = {}
    for name in PUBLIC:
        value = jwk.get(name)
        if isinstance(value, str) or (isinstance(value, list) and all(isinstance(each, str) for each in value)):
            texts[name] = value
    if texts.get("kty") not in ("RSA", "EC", "OKP") or not RSA_BITS <= _rsa_bits(texts) <= MOST_RSA_BITS:
        return None
    if isinstance(alg := texts.get("alg"), str):
        texts["alg"] = NAMES.get(alg, alg)
    try:
        key = JWKRegistry.import_key(texts)
        key.check_use("sig")
    except (JoseError, ValueError, TypeError, KeyError, OverflowError):
        return None
    if isinstance(key, ECKey):
        return key if key.curve_name == "P-256" else None
    if isinstance(key, OKPKey):
        return key if key.curve_name == "Ed25519" else None
    return key if isinstance(key, RSAKey) else None


def _rsa_bits(jwk: DictKey) -> int:
    """The size of an RSA key, computed before the library warns of a short one. Keys of other types pass as large
    enough."""
    modulus = jwk.get("n")
    if jwk.get("kty") != "RSA" or not isinstance(modulus, str):
        return RSA_BITS
    try:
        return int.from_bytes(urlsafe_b64decode(modulus + "=" * (-len(modulus) % 4))).bit_length()
    except ValueError:
        return 0
