"""The token that a receiver sends to a transmitter when it polls: read from a file, or obtained with OAuth."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import quote_plus, urlencode

from msgspec import Struct

from riskd.shared_signals.decoding import Unreadable, decode
from riskd.shared_signals.stream import TRANSMITTER, Away, Credentials
from riskd.shared_signals.web import Web

TOKEN_BYTES: Final = 16 * 1024
SECONDS: Final = 10.0
"""Timeout of a request to a token endpoint."""
DEFAULT_SECONDS: Final = 60.0
"""How long a token is used if its lifetime is not stated."""
USED: Final = 0.8
"""The share of its lifetime for which a token is used."""


class _Granted(Struct, frozen=True):
    """A token endpoint's answer (RFC 6749, section 5.1)."""

    access_token: str
    expires_in: float = DEFAULT_SECONDS / USED


def tokens_in(file: str) -> list[str]:
    """The tokens that a file holds now, one per line. The first is the one to send; all of them are accepted.

    Raises OSError, and ValueError if there are none.
    """
    with Path(file).open("rb") as opened:
        content = opened.read(TOKEN_BYTES + 1)
    tokens = [line for line in map(str.strip, content.decode("ascii", "replace").splitlines()) if line]
    if not tokens or len(content) > TOKEN_BYTES or not all(map(fits_header, tokens)):
        raise ValueError("holds no token")
    return tokens


def fits_header(token: str) -> bool:
    """Whether an HTTP header can hold the token."""
    return bool(token) and token.isascii() and token.isprintable() and " " not in token


class Bearer:
    """The token for one stream. For one thread."""

    def __init__(self, source: str | Credentials, web: Web, clock: Callable[[], float] = time.monotonic) -> None:
        """`source`: a file, which is read each time, or credentials to obtain a token with (RFC 6749, section 4.4)."""
        self._source = source
        self._web = web
        self._clock = clock
        self._token = ""
        self._until = 0.0

    def token(self) -> str:
        """The token to send. Raises Away."""
        if isinstance(self._source, str):
            return _read(self._source)
        if self._clock() >= self._until:
            granted = self._grant(self._source)
            self._token, self._until = granted.access_token, self._clock() + USED * granted.expires_in
        return self._token

    def forget(self) -> None:
        """The transmitter refused the token: obtain another the next time."""
        self._until = 0.0

    def _grant(self, source: Credentials) -> _Granted:
        known = f"{quote_plus(source.client_id)}:{quote_plus(_read(source.secret_file))}"
        form = {"grant_type": "client_credentials", **({"scope": source.scope} if source.scope else {})}
        headers = {
            "Authorization": f"Basic {b64encode(known.encode()).decode()}",
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        answer = self._web.ask(source.token_endpoint, SECONDS, urlencode(form).encode(), headers)
        if answer.status != HTTPStatus.OK:
            raise Away(TRANSMITTER, f"its token endpoint answers {answer.status}")
        try:
            granted = decode(answer.body, _Granted)
        except Unreadable:
            raise Away(TRANSMITTER, "its token endpoint gives no token") from None
        if not fits_header(granted.access_token):
            raise Away(TRANSMITTER, "its token endpoint gives no token")
        return granted


def _read(file: str) -> str:
    try:
        return tokens_in(file)[0]
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it holds no token"
        raise Away(TRANSMITTER, f"the token file for it cannot be used: {why}") from None
