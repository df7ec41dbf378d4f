"""The values of a receiver: its streams, and the ways in which a token can fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

FORMATS: Final[Mapping[str, str]] = {
    "iss_sub": "sub",
    "email": "email",
    "opaque": "id",
    "phone_number": "phone_number",
    "account": "uri",
    "uri": "uri",
}
"""Formats of subject identifiers that can name an account (RFC 9493, section 3.2), and the member that holds the
name."""
INVALID_REQUEST: Final = "invalid_request"
INVALID_KEY: Final = "invalid_key"
INVALID_ISSUER: Final = "invalid_issuer"
INVALID_AUDIENCE: Final = "invalid_audience"
AUTHENTICATION_FAILED: Final = "authentication_failed"
"""Error codes of RFC 8935, section 2.4, which RFC 8936 shares."""


class SubjectRule(Struct, frozen=True):
    """Which part of a subject identifier becomes riskd's `subject`: the identifier of one `format`.

    `member`: where it is in a complex subject. `issuers`: the values of `iss` that are accepted in an `iss_sub`
    identifier.
    """

    format: str
    member: str
    issuers: tuple[str, ...]


class Credentials(Struct, frozen=True):
    """What the receiver exchanges for a token at the transmitter (OAuth 2.0 client credentials). `scope` may be
    empty."""

    token_endpoint: str
    client_id: str
    secret_file: str
    scope: str


class Poll(Struct, frozen=True):
    """Delivery by polling (RFC 8936). `bearer`: a file with the token to send, or the credentials to obtain one.

    `interval_s`: seconds to wait after a poll that brought nothing new.
    """

    endpoint: str
    bearer: str | Credentials
    interval_s: int


class Push(Struct, frozen=True):
    """Delivery by push (RFC 8935) to this path. The transmitter must send the token that is in the file."""

    path: str
    token_file: str


class Stream(Struct, frozen=True):
    """One transmitter's stream. `jwks_uri` is empty if the transmitter's configuration names it.

    `critical`: members of complex subjects that must be understood, besides those that the configuration names.
    `ca_file`: authorities of the transmitter's certificate; empty for the system's. `most`: how many events the
    receiver reports to riskd per minute; further ones wait at the transmitter.
    """

    name: str
    issuer: str
    audience: str
    jwks_uri: str
    domain: str
    tenant: str
    subject: SubjectRule
    critical: tuple[str, ...]
    delivery: Poll | Push
    ca_file: str = ""
    most: int = 600


class Refused(Exception):
    """A token that will never be accepted. `err` is a code of RFC 8935; `why` contains no value of the token."""

    def __init__(self, err: str, why: str) -> None:
        super().__init__(f"{err}: {why}")
        self.err = err
        self.why = why


TRANSMITTER: Final = "transmitter"
KEYS: Final = "keys"
RISKD: Final = "riskd"
CALLER: Final = "caller"
PACE: Final = "pace"
PARTS: Final = (TRANSMITTER, KEYS, RISKD, CALLER, PACE)
"""What a token may be waiting for: the transmitter, its keys, the riskd service, the right to call riskd, or the next
minute, when the stream has used up its rate."""


class Away(Exception):
    """A token cannot be handled now, because `part` (one of `PARTS`) is unavailable. The transmitter keeps the
    token."""

    def __init__(self, part: str, why: str) -> None:
        super().__init__(f"{part}: {why}")
        self.part = part
        self.why = why
