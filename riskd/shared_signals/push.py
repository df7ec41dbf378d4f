"""Accepts tokens that transmitters push (RFC 8935): answers 202 only after riskd has recorded the token."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

from msgspec import json

from riskd.host.listener import Reply, Request
from riskd.shared_signals.bearer import tokens_in
from riskd.shared_signals.desk import Desk
from riskd.shared_signals.stream import CALLER, Away, Push
from riskd.shared_signals.token import TOKEN_BYTES

CONNECTIONS: Final = 32
"""How many connections are served at a time."""
SECONDS: Final = 15.0
"""How long a connection may take once others wait."""
BODY_BYTES: Final = TOKEN_BYTES
RETRY_SECONDS: Final = 30
"""When a transmitter may push a token again that could not be handled."""
_JSON: Final = "application/json"


class Pushes:
    """Answers the requests of all pushed streams, by path."""

    def __init__(self, desks: Sequence[tuple[Desk, Push]]) -> None:
        self._desks: Mapping[str, tuple[Desk, Push]] = {push.path: (desk, push) for desk, push in desks}

    def reply(self, request: Request) -> Reply:
        """Answer one request. Thread-safe."""
        endpoint = self._desks.get(request.path)
        if endpoint is None:
            return Reply(HTTPStatus.NOT_FOUND, b"no stream has this path\n")
        if request.method != "POST":
            return Reply(HTTPStatus.METHOD_NOT_ALLOWED, b"push with POST\n", headers={"Allow": "POST"})
        desk, push = endpoint
        try:
            accepted = tokens_in(push.token_file)
        except (OSError, ValueError):
            return _later(desk, Away(CALLER, "the token file for the transmitter cannot be used"))
        if not _authorized(request.headers.get("authorization", ""), accepted):
            return Reply(HTTPStatus.UNAUTHORIZED, b"", headers={"WWW-Authenticate": "Bearer"})
        try:
            taken = desk.take(request.body.decode("ascii", "replace").strip())
        except Away as error:
            return _later(desk, error)
        desk.heard()
        desk.recovered()
        if taken.error is not None:
            return Reply(HTTPStatus.BAD_REQUEST, json.encode(taken.error), _JSON, {"Content-Language": "en"})
        return Reply(HTTPStatus.ACCEPTED)


def _later(desk: Desk, error: Away) -> Reply:
    desk.failed(error)
    return Reply(HTTPStatus.SERVICE_UNAVAILABLE, b"", headers={"Retry-After": str(RETRY_SECONDS)})


def _authorized(authorization: str, accepted: Sequence[str]) -> bool:
    """Whether the header has one of the accepted tokens: an old and a new one may overlap. Compared in constant
    time."""
    scheme, _, token = authorization.partition(" ")
    matches = [hmac.compare_digest(token.strip().encode(), each.encode()) for each in accepted]
    return scheme.lower() == "bearer" and any(matches)
