"""The keys of a transmitter: fetched when one is needed that is not known, at most once in a while."""

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
"""Between two fetches: a flood of tokens by unknown keys is no flood of fetches."""
FRESH_SECONDS: Final = 24 * 3600.0
"""After so long keys are fetched anew: one that was withdrawn signs nothing any more."""
FETCH_SECONDS: Final = 10.0
MOST_KEYS: Final = 64
MOST_TRIED: Final = 8
"""Keys by which one token is tried: a signature by RSA costs some tenths of a millisecond."""
RSA_BITS: Final = 2048
"""Of the smallest RSA key that is taken (CAEP interoperability profile 1.0, section 2.6)."""
MOST_RSA_BITS: Final = 8192
"""Of the largest: what a signature costs grows with it."""
PUBLIC: Final = ("kty", "n", "e", "crv", "x", "y", "kid", "use", "key_ops", "alg")
"""Members of a key that are read. What is secret of one is not: of numbers that somebody made up for it, the factors
may be sought for hours."""
NAMES: Final = {"EdDSA": "Ed25519"}
"""Old names of algorithms (RFC 8037), by those of now (RFC 9864)."""
KINDS: Final[Mapping[str, type[Key]]] = {"RS256": RSAKey, "PS256": RSAKey, "ES256": ECKey, "Ed25519": OKPKey}
"""Of signatures that are taken, the kind of key: RS256 as the CAEP interoperability profile demands, the others by RFC
7518 and RFC 9864, by which Ed25519 is also called by its old name. None is symmetric, and `none` is none of them."""
_Read = TypeVar("_Read")


class _Configuration(Struct, frozen=True):
    """Of a transmitter (SSF 1.0, section 7.1); the rest is not needed."""

    issuer: str
    jwks_uri: str
    critical_subject_members: list[str] = []


class _KeySet(Struct, frozen=True):
    """RFC 7517, section 5."""

    keys: list[dict[str, object]]


def configuration_url(issuer: str) -> str:
    """Where an issuer's configuration is: its path follows the well-known one (SSF 1.0, section 7.2.1)."""
    parts = urlsplit(issuer)
    return urlunsplit((parts.scheme, parts.netloc, "/.well-known/ssf-configuration" + parts.path.rstrip("/"), "", ""))


class Keys:
    """Of one stream's transmitter. For many threads."""

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
        """The keys by which a token may be signed that names this id and this one of `KINDS`, `MOST_TRIED` at most.

        Several may share an id, and neither a key nor a token need have one (RFC 7517, section 4.5; RFC 7515, section
        4.1.4): then all of that kind may be meant, and after those that are known, those that are fetched anew. Raises
        Refused for a key that the transmitter does not have, and Away while that cannot be known: nobody waits for a
        fetch but whoever fetches.
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
        """Fetch them now; how many can be used. Raises Away."""
        with self._lock:
            self._refresh()
            return len(self._keys)

    def _renew(self, seen: float) -> None:
        """Fetch them, unless somebody has since that time."""
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
            raise Away(KEYS, "they were fetched just now, and are not fetched again so soon")
        self._tried = now
        self._fetch()
        self._fetched = now

    def _named(self, kid: str) -> list[Key]:
        """Those of this id; else those that may have it, for one of the two says nothing."""
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
                raise Away(KEYS, "the transmitter's configuration names keys that are not at https")
            self._critical = frozenset((*stream.critical, *configuration.critical_subject_members))
        found = self._read(jwks_uri, _KeySet, "key set").keys[:MOST_KEYS]
        keys = [key for key in map(usable, found) if key is not None]
        if not keys:
            raise Away(KEYS, "the transmitter's key set has no key that can be used")
        self._keys = tuple(keys)

    def _read(self, url: str, kind: type[_Read], what: str) -> _Read:
        try:
            answer = self._web.ask(url, FETCH_SECONDS, headers={"Accept": "application/json"})
        except Away as error:
            raise Away(KEYS, f"the transmitter has no {what} for us: {error.why}") from None
        if answer.status != HTTPStatus.OK:
            raise Away(KEYS, f"the transmitter answers {answer.status} where its {what} should be")
        try:
            return decode(answer.body, kind)
        except Unreadable:
            raise Away(KEYS, f"what the transmitter has for its {what} is none") from None


def usable(jwk: dict[str, object]) -> Key | None:
    """A public key that may verify: RSA of 2048 bits or more, P-256, Ed25519. None for any other."""
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
    """Of the modulus, before the library warns of a short one; as many as are needed of a key of another kind."""
    modulus = jwk.get("n")
    if jwk.get("kty") != "RSA" or not isinstance(modulus, str):
        return RSA_BITS
    try:
        return int.from_bytes(urlsafe_b64decode(modulus + "=" * (-len(modulus) % 4))).bit_length()
    except ValueError:
        return 0
