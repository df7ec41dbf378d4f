"""Pseudonyms: histories are kept under keyed hashes, so that a stolen store names nobody.

BLAKE2b (RFC 7693), keyed with the deployment's pepper, over tenant, identity domain, kind and value:
the same person in two tenants or two domains has two unrelated pseudonyms.
"""

from __future__ import annotations

from binascii import b2a_base64
from hashlib import blake2b
from typing import Final

from msgspec import Struct

from riskd.core.address import Address
from riskd.core.attempt import Attempt

PEPPER_BYTES: Final = 16
"""Shortest pepper accepted."""
SEAL_BYTES: Final = 8
_BOUND: Final = 4096

POPULARITY: Final = ("country", "agent", "browser", "os", "device_class", "language", "timezone", "screen")
"""Tables whose values have a popularity record of their own. Addresses, networks and ASNs are entities."""


class Keys(Struct, frozen=True, kw_only=True):
    """Where an attempt's histories lie. Each is a 16-byte pseudonym; b'' where absent."""

    subject: bytes
    domain: bytes
    address: bytes
    network: bytes
    device: bytes = b""
    fingerprint: bytes = b""
    asn: bytes = b""
    popularity: dict[str, bytes] = {}


class Pseudonyms:
    """Makes pseudonyms with one pepper. Safe to share between threads."""

    def __init__(self, pepper: bytes) -> None:
        """`pepper`: 16 to 64 secret bytes."""
        self._keyed = blake2b(digest_size=16, key=pepper)
        self._sealing = blake2b(digest_size=SEAL_BYTES, key=pepper, person=b"seal")
        self._common: dict[tuple[str, str, str, str], bytes] = {}

    def digest(self, tenant: str, domain: str, kind: str, value: str) -> bytes:
        """16 bytes. The parts are length-delimited, so no two quadruples collide by concatenation."""
        text = f"{len(tenant)}:{tenant}{domain}:{kind}:{value}"
        keyed = self._keyed.copy()  # half of what another keyed hash would cost
        keyed.update(text.encode("utf-8", "surrogatepass"))
        return keyed.digest()

    def seal(self, content: bytes) -> bytes:
        """`SEAL_BYTES` that tell whether another content is the same, and nothing else of it."""
        sealed = self._sealing.copy()
        sealed.update(content)
        return sealed.digest()

    def common(self, tenant: str, domain: str, kind: str, value: str) -> bytes:
        """`digest` for values that many attempts share, through a bounded memory."""
        quadruple = (tenant, domain, kind, value)
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
            values["agent"] = short(common(tenant, domain, "user_agent", agent))
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
    return b2a_base64(digest[:6], newline=False).decode("ascii")
