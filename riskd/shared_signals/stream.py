"""The values of a receiver: the streams that it listens to, and what it may answer."""

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
"""Formats of subject identifiers that may name an account (RFC 9493, section 3.2), and the member that does."""
INVALID_REQUEST: Final = "invalid_request"
INVALID_KEY: Final = "invalid_key"
INVALID_ISSUER: Final = "invalid_issuer"
INVALID_AUDIENCE: Final = "invalid_audience"
AUTHENTICATION_FAILED: Final = "authentication_failed"
"""Error codes of RFC 8935, section 2.4, which RFC 8936 shares."""


class SubjectRule(Struct, frozen=True):
    """How a subject identifier becomes the `subject` of riskd: the identifier of one format, `member` of a complex one.

    `issuers`: whose `iss` is taken in an `iss_sub`.
    """

    format: str
    member: str
    issuers: tuple[str, ...]


class Credentials(Struct, frozen=True):
    """By which a transmitter gives tokens (OAuth 2.0 client credentials). `scope` may be empty."""

    token_endpoint: str
    client_id: str
    secret_file: str
    scope: str


class Poll(Struct, frozen=True):
    """Delivery by asking (RFC 8936). `bearer`: a file with the token to show, or what one is given for.

    `interval_s`: seconds between two questions that bring nothing.
    """

    endpoint: str
    bearer: str | Credentials
    interval_s: int


class Push(Struct, frozen=True):
    """Delivery to us (RFC 8935): at this path, by whoever shows the token in the file."""

    path: str
    token_file: str


class Stream(Struct, frozen=True):
    """One transmitter's stream. `jwks_uri` is empty where the transmitter's configuration names it.

    `critical`: members of complex subjects that must be understood, besides those that the configuration names.
    `ca_file`: authorities of the transmitter's certificate; empty for those of the machine. `most`: events that riskd
    is told in a minute; what more there is waits at the transmitter.
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
    """A token that can never be taken. `err` is a code of RFC 8935; `why` names no value of the token."""

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
"""Without whom a token cannot be taken: who sends it, their keys, the service, a token or a right to call it, or room
in this minute."""


class Away(Exception):
    """Somebody without whom a token cannot be taken now: the transmitter keeps it. `part` is one of `PARTS`."""

    def __init__(self, part: str, why: str) -> None:
        super().__init__(f"{part}: {why}")
        self.part = part
        self.why = why
