"""Pseudonyms: histories are kept under keyed hashes, so that a stolen store names nobody.

BLAKE2b (RFC 7693), keyed with the deployment's pepper, over tenant, identity domain, kind and value:
the same person in two tenants or two domains has two unrelated pseudonyms. What accounts share (`ENTITIES`) lies under
the 48 bits by which their histories and the decision log know it, so that histories can be made again of the log
(decision 0080).

A pepper that is changed becomes a layer over the pseudonyms that were there: they are hashed once more, under the new
pepper. So what is stored can be given its new pseudonyms without anybody's raw identifier, and whoever has the old
pepper alone can link nothing any more (decision 0036).
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from msgspec import Struct

from riskd.core.address import Address
from riskd.core.attempt import Attempt
from riskd.core.stored import PLACE

PEPPER_BYTES: Final = 16
"""Shortest pepper accepted."""
SEAL_BYTES: Final = 8
_BOUND: Final = 4096
_SHORT: Final = 6
ENTITIES: Final = ("address", "network", "device", "fingerprint")
"""What has a pseudonym of `PLACE` bytes: the short one, and two that say tenant, domain and table."""

POPULARITY: Final = ("country", "agent", "browser", "os", "device_class", "language", "timezone", "screen")
"""Tables whose values have a popularity record of their own. Addresses, networks and ASNs are entities."""


class Keys(Struct, frozen=True, kw_only=True):
    """Where an attempt's histories lie. Each is a pseudonym; b'' where absent."""

    subject: bytes
    domain: bytes
    address: bytes
    network: bytes
    device: bytes = b""
    fingerprint: bytes = b""
    asn: bytes = b""
    popularity: dict[str, bytes] = {}


class Layer:
    """A pepper that came later: it hashes pseudonyms once more. Safe to share between threads.

    What a pseudonym begins with then depends on what it began with alone, so that short pseudonyms and places, which
    are all that is kept of some, get the same layer.
    """

    def __init__(self, pepper: bytes) -> None:
        """`pepper`: 16 to 64 secret bytes."""
        # A copy of a keyed hasher costs a fifth of a new one.
        self._short, self._place, self._even, self._odd = (
            blake2b(digest_size=size, key=pepper) for size in (_SHORT, PLACE - _SHORT, 8, 9)
        )

    def over(self, digest: bytes) -> bytes:
        """A pseudonym under one more layer: 17 bytes where it had 16, 16 where it had 17, so that it shows; and so
        with the 8 and 9 of an entity, whose two parts get their layers apart."""
        if len(digest) < 2 * PLACE:
            mark = b"\0" if len(digest) == PLACE else b""
            return _hashed(self._short, digest[:_SHORT]) + _hashed(self._place, digest[_SHORT:PLACE]) + mark
        first, second = self._short.copy(), self._place.copy()
        rest = (self._odd if len(digest) == 16 else self._even).copy()
        first.update(digest[:_SHORT])
        second.update(digest[:PLACE])
        rest.update(digest)
        return first.digest() + second.digest() + rest.digest()

    def over_place(self, place: bytes) -> bytes:
        """The place of a pseudonym under one more layer."""
        return _hashed(self._short, place[:_SHORT]) + _hashed(self._place, place)

    def over_short(self, text: str) -> str:
        """A short pseudonym under one more layer."""
        return short(_hashed(self._short, a2b_base64(text)))


def _hashed(keyed: blake2b, content: bytes) -> bytes:
    hasher = keyed.copy()
    hasher.update(content)
    return hasher.digest()


class Origins:
    """What pseudonyms, and places, were before the last layer came over them: the latest few ten thousand."""

    def __init__(self) -> None:
        self._newer: dict[bytes, bytes] = {}
        self._older: dict[bytes, bytes] = {}

    def note(self, after: bytes, before: bytes) -> None:
        """Remember what a pseudonym was before."""
        if len(self._newer) >= 8 * _BOUND:
            self._older, self._newer = self._newer, {}
        self._newer[after] = before

    def before(self, after: bytes) -> bytes | None:
        """What a pseudonym was before; None where it is not remembered."""
        return self._newer.get(after) or self._older.get(after)


class Pseudonyms:
    """Makes pseudonyms with one pepper and its layers. Safe to share between threads."""

    def __init__(self, pepper: bytes, layers: Sequence[bytes] = (), origins: Origins | None = None) -> None:
        """`pepper`, `layers`: 16 to 64 secret bytes each, the oldest first. `origins` learns what each pseudonym was
        before the last layer, while records are still being moved."""
        self._keyed = blake2b(digest_size=16, key=pepper)
        self._seal = blake2b(digest_size=SEAL_BYTES, key=pepper, person=b"seal")
        self._layers = tuple([Layer(layer) for layer in layers])
        self._origins = origins
        self._common: dict[tuple[str, str, str, str], bytes] = {}
        self._tags: dict[tuple[str, str, str], bytes] = {}

    def digest(self, tenant: str, domain: str, kind: str, value: str) -> bytes:
        """16 bytes, of `ENTITIES` 8; under an odd number of layers one more. The parts are length-delimited, so no two
        quadruples collide by concatenation."""
        text = f"{len(tenant)}:{tenant}{domain}:{kind}:{value}"
        found = _hashed(self._keyed, text.encode("utf-8", "surrogatepass"))
        if kind in ENTITIES:
            found = found[:_SHORT] + (self._tags.get((tenant, domain, kind)) or self._tag(tenant, domain, kind))
        if self._origins is not None:
            return self._layered(found)[-1]
        for layer in self._layers:
            found = layer.over(found)
        return found

    def ages(self, tenant: str, domain: str, kind: str, value: str) -> list[bytes]:
        """The pseudonym under each number of layers, the oldest first: what was written before has not changed."""
        text = f"{len(tenant)}:{tenant}{domain}:{kind}:{value}"
        found = _hashed(self._keyed, text.encode("utf-8", "surrogatepass"))
        return self._layered(found[:_SHORT] + self._tag(tenant, domain, kind) if kind in ENTITIES else found)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The peppers that came later, the oldest first."""
        return self._layers

    def age(self, tenant: str, domain: str, kind: str, value: str, text: str) -> int | None:
        """Under how many of the layers a short pseudonym is that of a value; None: it never was."""
        shorts = [short(digest) for digest in self.ages(tenant, domain, kind, value)]
        return shorts.index(text) if text in shorts else None

    def known(self, tenant: str, domain: str, kind: str, text: str) -> bytes:
        """The pseudonym of one of `ENTITIES` by its short one, as both are now."""
        tag = bytes(_SHORT) + self._tag(tenant, domain, kind)
        for layer in self._layers:
            tag = layer.over(tag)
        return a2b_base64(text) + tag[_SHORT:]

    def _tag(self, tenant: str, domain: str, kind: str) -> bytes:
        """What keeps entities of two tenants, domains or tables apart whose short pseudonyms are the same."""
        found = self._tags.get((tenant, domain, kind))
        if found is None:
            if len(self._tags) >= _BOUND:
                self._tags.clear()
            text = f"{len(tenant)}:{tenant}{domain}:table:{kind}".encode("utf-8", "surrogatepass")
            found = self._tags[tenant, domain, kind] = _hashed(self._keyed, text)[: PLACE - _SHORT]
        return found

    def _first(self, tenant: str, domain: str, kind: str, value: str) -> bytes:
        """The pseudonym without layers, of what many share and nobody is known by: it names a popularity record, whose
        own key has them."""
        quadruple = (tenant, domain, kind, value)
        return self.ages(*quadruple)[0] if self._layers else self.common(*quadruple)

    def papers(self, assessment_id: str) -> list[bytes]:
        """Where the receipt of an assessment may lie, the likeliest first: beside the subject's histories, whose place
        the id begins with, under as many layers as there were when it was given out."""
        given = bytes.fromhex(assessment_id)
        place, rest = given[:PLACE], given[PLACE:] + b"\0" * (len(self._layers) % 2)
        found = [place + rest]
        for since in range(len(self._layers) - 1, -1, -1):
            at = before = place
            for layer in self._layers[since:]:
                at, before = layer.over_place(at), at
            found.append(at + rest)
            if self._origins is not None:
                self._origins.note(at, before)
        return found

    def assessment_of(self, paper: bytes) -> str:
        """The assessment id that leads to where a receipt lies (`papers`): the one that was given out, unless a layer
        came since."""
        return paper[: 2 * PLACE].hex()

    def _layered(self, found: bytes) -> list[bytes]:
        ages = [found]
        for layer in self._layers:
            ages.append(layer.over(ages[-1]))
        if self._origins is not None and self._layers:
            self._origins.note(ages[-1], ages[-2])
            if len(ages[0]) > PLACE:
                self._origins.note(ages[-1][:PLACE], ages[-2][:PLACE])
        return ages

    def seal(self, content: bytes) -> bytes:
        """`SEAL_BYTES` that tell whether another content is the same, and nothing else of it."""
        return _hashed(self._seal, content)

    def common(self, tenant: str, domain: str, kind: str, value: str) -> bytes:
        """`digest` for values that many attempts share, through a bounded memory."""
        quadruple = (tenant, domain, kind, value)
        if self._origins is not None:
            return self.digest(*quadruple)
        found = self._common.get(quadruple)
        if found is None:
            if len(self._common) >= _BOUND:
                self._common.clear()
            found = self._common[quadruple] = self.digest(*quadruple)
        return found

    def keys(self, attempt: Attempt, address: Address, values: dict[str, str]) -> Keys:
        """Where this attempt's histories lie.

        `values` are the attempt's plain values by table; those that could identify somebody (user agent,
        issuer, device, address) are replaced or completed, in place, by their short pseudonyms. So what has a
        popularity record has the key of its value, and a receipt need not hold both.
        """
        tenant, domain, device = attempt.tenant, attempt.domain, attempt.device
        common, digest, met = self.common, self.digest, self._common
        asn, agent, issuer = values.get("asn"), values.get("agent"), values.get("issuer")
        if agent:
            values["agent"] = short(self._first(tenant, domain, "user_agent", agent))
        if issuer:
            values["issuer"] = short(common(tenant, domain, "issuer", issuer))
        keys = Keys(
            subject=digest(tenant, domain, "subject", attempt.subject),
            domain=common(tenant, domain, "domain", ""),
            address=digest(tenant, domain, "address", address.text),
            network=digest(tenant, domain, "network", address.network),
            device=digest(tenant, domain, "device", device.device_id) if device and device.device_id else b"",
            fingerprint=digest(tenant, domain, "fingerprint", device.fingerprint)
            if device and device.fingerprint
            else b"",
            asn=common(tenant, domain, "asn", asn) if asn else b"",
            popularity={
                table: met.get((tenant, domain, table, value)) or common(tenant, domain, table, value)
                for table in POPULARITY
                if (value := values.get(table)) is not None
            },
        )
        values["address"], values["network"] = short(keys.address), short(keys.network)
        if keys.device:
            values["device"] = short(keys.device)
        if keys.fingerprint:
            values["fingerprint"] = short(keys.fingerprint)
        return keys


def short(digest: bytes) -> str:
    """Eight characters that stand for a pseudonym inside a history (48 bits)."""
    return b2a_base64(digest[:_SHORT], newline=False).decode("ascii")
