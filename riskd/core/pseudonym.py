"""Pseudonyms: keyed hashes under which histories are stored, so that a stolen store identifies nobody.

A pseudonym is a BLAKE2b hash (RFC 7693), keyed with the deployment's pepper, over tenant, identity domain, kind and
value. So the same person has unrelated pseudonyms in two tenants or two domains. What accounts share (`ENTITIES`) is
stored under a short pseudonym of 48 bits, which subjects' histories and the decision log contain, too; so histories
can be rebuilt from the log (decision 0080).

A new pepper adds a layer: existing pseudonyms are hashed once more, with the new pepper. So stored records can be moved
without anybody's raw identifier, and an old pepper alone no longer links anything (decision 0036).
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
"""Length of the shortest pepper accepted."""
SEAL_BYTES: Final = 8
"""Length of a seal."""
_BOUND: Final = 4096
"""Most entries of a cache."""
_SHORT: Final = 6
"""Length in bytes of a short pseudonym."""
ENTITIES: Final = ("address", "network", "device", "fingerprint")
"""Kinds whose pseudonym has only `PLACE` bytes: the short pseudonym, and two bytes for tenant, domain and table."""

POPULARITY: Final = ("country", "agent", "browser", "os", "device_class", "language", "timezone", "screen")
"""Tables whose values have popularity records. Addresses, networks and ASNs have histories instead."""


class Keys(Struct, frozen=True, kw_only=True):
    """The pseudonyms under which an attempt's histories are stored; b'' where absent. `popularity` is by table, and
    `counted` by counter."""

    subject: bytes
    domain: bytes
    address: bytes
    network: bytes
    device: bytes = b""
    fingerprint: bytes = b""
    asn: bytes = b""
    popularity: dict[str, bytes] = {}
    counted: dict[str, bytes] = {}


class Layer:
    """Hashes pseudonyms once more, with a later pepper. Thread-safe.

    The short pseudonym and the place at the start of the result depend only on those at the start of the input. So
    they can be moved, too, where nothing else of a pseudonym is stored.
    """

    def __init__(self, pepper: bytes) -> None:
        """`pepper`: 16 to 64 secret bytes."""
        # Copying a keyed hasher costs a fifth of creating one.
        self._short, self._place, self._even, self._odd = (
            blake2b(digest_size=size, key=pepper) for size in (_SHORT, PLACE - _SHORT, 8, 9)
        )

    def over(self, digest: bytes) -> bytes:
        """A pseudonym under one more layer.

        The length shows whether the number of layers is even or odd: 16 bytes become 17 and 17 become 16, those of
        `ENTITIES` 8 and 9. An entity's short pseudonym and the two bytes after it are hashed separately.
        """
        if len(digest) < 2 * PLACE:
            parity = b"\0" if len(digest) == PLACE else b""
            return _hashed(self._short, digest[:_SHORT]) + _hashed(self._place, digest[_SHORT:PLACE]) + parity
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
    """Remembers what recent pseudonyms and places were before the last layer: the latest few ten thousand."""

    def __init__(self) -> None:
        self._newer: dict[bytes, bytes] = {}
        self._older: dict[bytes, bytes] = {}

    def note(self, after: bytes, before: bytes) -> None:
        """Remember a pseudonym `after` the last layer, and what it was before."""
        if len(self._newer) >= 8 * _BOUND:
            self._older, self._newer = self._newer, {}
        self._newer[after] = before

    def before(self, after: bytes) -> bytes | None:
        """What a pseudonym was before the last layer; None if that is not remembered."""
        return self._newer.get(after) or self._older.get(after)


class Pseudonyms:
    """Makes pseudonyms with one pepper and its layers. Thread-safe."""

    def __init__(self, pepper: bytes, layers: Sequence[bytes] = (), origins: Origins | None = None) -> None:
        """`pepper` and `layers`: 16 to 64 secret bytes each, the oldest first.

        During a rotation, `origins` is told what each pseudonym was before the last layer.
        """
        self._keyed = blake2b(digest_size=16, key=pepper)
        self._seal = blake2b(digest_size=SEAL_BYTES, key=pepper, person=b"seal")
        self._layers = tuple([Layer(layer) for layer in layers])
        self._origins = origins
        self._common: dict[tuple[str, str, str, str], bytes] = {}
        self._tags: dict[tuple[str, str, str], bytes] = {}

    def digest(self, tenant: str, domain: str, kind: str, value: str) -> bytes:
        """The pseudonym of a value: 16 bytes, or 8 for `ENTITIES`; one more under an odd number of layers.

        The tenant is length-prefixed, so that different arguments never hash the same text.
        """
        text = f"{len(tenant)}:{tenant}{domain}:{kind}:{value}"
        found = _hashed(self._keyed, text.encode("utf-8", "surrogatepass"))
        if kind in ENTITIES:
            found = found[:_SHORT] + (self._tags.get((tenant, domain, kind)) or self._tag(tenant, domain, kind))
        if self._origins is not None:
            return self._layered(found)[-1]
        for layer in self._layers:
            found = layer.over(found)
        return found

    def at_each_layer(self, tenant: str, domain: str, kind: str, value: str) -> list[bytes]:
        """The pseudonym under 0, 1, ... layers, oldest first. The log has older ones: its lines are not rewritten."""
        text = f"{len(tenant)}:{tenant}{domain}:{kind}:{value}"
        found = _hashed(self._keyed, text.encode("utf-8", "surrogatepass"))
        return self._layered(found[:_SHORT] + self._tag(tenant, domain, kind) if kind in ENTITIES else found)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The later peppers, oldest first."""
        return self._layers

    def layers_under(self, tenant: str, domain: str, kind: str, value: str, text: str) -> int | None:
        """The number of layers under which `text` is the short pseudonym of a value; None if there is none."""
        shorts = [short(digest) for digest in self.at_each_layer(tenant, domain, kind, value)]
        return shorts.index(text) if text in shorts else None

    def from_short(self, tenant: str, domain: str, kind: str, text: str) -> bytes:
        """The pseudonym of one of `ENTITIES`, from its short pseudonym `text`, both under all layers."""
        tag = bytes(_SHORT) + self._tag(tenant, domain, kind)
        for layer in self._layers:
            tag = layer.over(tag)
        return a2b_base64(text) + tag[_SHORT:]

    def _tag(self, tenant: str, domain: str, kind: str) -> bytes:
        """The two bytes after an entity's short pseudonym, which differ between tenants, domains and tables."""
        found = self._tags.get((tenant, domain, kind))
        if found is None:
            if len(self._tags) >= _BOUND:
                self._tags.clear()
            text = f"{len(tenant)}:{tenant}{domain}:table:{kind}".encode("utf-8", "surrogatepass")
            found = self._tags[tenant, domain, kind] = _hashed(self._keyed, text)[: PLACE - _SHORT]
        return found

    def _without_layers(self, tenant: str, domain: str, kind: str, value: str) -> bytes:
        """The pseudonym without layers, for values in histories that many share, such as user agents. They identify
        nobody, so a rotation does not change them; the keys of their popularity records do get layers."""
        quadruple = (tenant, domain, kind, value)
        return self.at_each_layer(*quadruple)[0] if self._layers else self.common(*quadruple)

    def receipt_pseudonyms(self, assessment_id: str) -> list[bytes]:
        """The pseudonyms under which the receipt of an assessment may be stored, the likeliest first.

        A receipt lies in its subject's place, with which the assessment id begins: under the number of layers there
        were when the id was issued. The result has one entry for each number of layers added since.
        """
        issued = bytes.fromhex(assessment_id)
        place, rest = issued[:PLACE], issued[PLACE:] + b"\0" * (len(self._layers) % 2)
        found = [place + rest]
        for since in range(len(self._layers) - 1, -1, -1):
            now = before = place
            for layer in self._layers[since:]:
                now, before = layer.over_place(now), now
            found.append(now + rest)
            if self._origins is not None:
                self._origins.note(now, before)
        return found

    def assessment_of(self, receipt: bytes) -> str:
        """The assessment id that leads to a receipt, by its pseudonym. It is the id that was issued, unless a layer was
        added since."""
        return receipt[: 2 * PLACE].hex()

    def _layered(self, digest: bytes) -> list[bytes]:
        """A pseudonym without layers, then under each number of them. Tells `origins` about the last one."""
        digests = [digest]
        for layer in self._layers:
            digests.append(layer.over(digests[-1]))
        if self._origins is not None and self._layers:
            self._origins.note(digests[-1], digests[-2])
            if len(digests[0]) > PLACE:
                self._origins.note(digests[-1][:PLACE], digests[-2][:PLACE])
        return digests

    def seal(self, content: bytes) -> bytes:
        """A keyed hash of `SEAL_BYTES`, by which to recognise the same content without revealing it."""
        return _hashed(self._seal, content)

    def common(self, tenant: str, domain: str, kind: str, value: str) -> bytes:
        """`digest` with a bounded cache, for values that many attempts share."""
        quadruple = (tenant, domain, kind, value)
        if self._origins is not None:
            return self.digest(*quadruple)
        found = self._common.get(quadruple)
        if found is None:
            if len(self._common) >= _BOUND:
                self._common.clear()
            found = self._common[quadruple] = self.digest(*quadruple)
        return found

    def counter_keys(
        self, tenant: str, domain: str, attributes: dict[str, str], counters: Sequence[str]
    ) -> dict[str, bytes]:
        """By counter, the key of the value of its attribute. Counters of absent attributes are left out."""
        return {
            counter: self.digest(tenant, domain, "attribute", f"{counter}:{value}")
            for counter in counters
            if (value := attributes.get(counter))
        }

    def keys(self, attempt: Attempt, address: Address, values: dict[str, str], counters: Sequence[str] = ()) -> Keys:
        """The keys of this attempt's histories.

        `values` are the attempt's plain values by table. It is modified: user agent and issuer are replaced with their
        short pseudonyms, and those of address, network, device and fingerprint are added. Popularity keys are derived
        from the replaced values, so that a receipt need not store both. `counters`: the attributes to count.
        """
        tenant, domain, device = attempt.tenant, attempt.domain, attempt.device
        common, digest, cached = self.common, self.digest, self._common
        asn, agent, issuer = values.get("asn"), values.get("agent"), values.get("issuer")
        if agent:
            values["agent"] = short(self._without_layers(tenant, domain, "user_agent", agent))
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
                table: cached.get((tenant, domain, table, value)) or common(tenant, domain, table, value)
                for table in POPULARITY
                if (value := values.get(table)) is not None
            },
            counted=self.counter_keys(tenant, domain, attempt.attributes, counters) if counters else {},
        )
        values["address"], values["network"] = short(keys.address), short(keys.network)
        if keys.device:
            values["device"] = short(keys.device)
        if keys.fingerprint:
            values["fingerprint"] = short(keys.fingerprint)
        return keys


def short(digest: bytes) -> str:
    """The short form of a pseudonym, used inside histories: its first 48 bits as eight base64 characters."""
    return b2a_base64(digest[:_SHORT], newline=False).decode("ascii")
