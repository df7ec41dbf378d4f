"""Polls a transmitter for its tokens (RFC 8936), and acknowledges a token only after riskd has recorded it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from itertools import islice
from typing import Final

from msgspec import Struct, json

from riskd.shared_signals.bearer import Bearer
from riskd.shared_signals.decoding import Unreadable, decode
from riskd.shared_signals.desk import Desk
from riskd.shared_signals.intake import Error, Taken
from riskd.shared_signals.stream import KEYS, TRANSMITTER, Away, Poll
from riskd.shared_signals.web import Answer, Web

MOST: Final = 64
"""How many tokens to ask for at a time."""
LONGEST_WAIT: Final = 120.0
"""Timeout, in seconds, of a poll that the transmitter may answer late, when it has something (long polling)."""
SECONDS: Final = 10.0
"""Timeout of a poll that is to be answered at once."""
LONGEST_PAUSE: Final = 60.0
"""The longest pause between two attempts while something fails, seconds."""


class _Question(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A poll request (RFC 8936, section 2.2)."""

    max_events: int
    return_immediately: bool
    ack: list[str] = []
    set_errs: dict[str, Error] = {}


class _Sets(Struct, frozen=True):
    """The part of a poll response that is needed (RFC 8936, section 2.3)."""

    sets: dict[str, object] = {}


def ask(
    web: Web,
    endpoint: str,
    bearer: Bearer,
    *,
    most: int,
    at_once: bool,
    ack: list[str] | None = None,
    errs: Mapping[str, Error] = {},
) -> Answer:
    """Send one poll request. Raises Away."""
    headers = {
        "Authorization": f"Bearer {bearer.token()}",
        "Content-Type": "application/json",
        "Accept": "application/json",
        **({"Content-Language": "en"} if errs else {}),  # of the error descriptions (RFC 8936, section 2.6)
    }
    body = json.encode(_Question(most, at_once, ack or [], dict(errs)))
    answer = web.ask(endpoint, SECONDS if at_once else LONGEST_WAIT, body, headers)
    if answer.status == HTTPStatus.UNAUTHORIZED:
        bearer.forget()
    return answer


class Poller:
    """Polls one stream until stopped. A token that riskd has not recorded is not acknowledged, so it is delivered
    again."""

    def __init__(self, desk: Desk, poll: Poll) -> None:
        self._desk = desk
        self._poll = poll
        self._web = Web(desk.stream.ca_file)
        self._bearer = Bearer(poll.bearer, self._web)
        self._waiting: dict[str, str] = {}
        self._taken: dict[str, Taken] = {}
        self._last: frozenset[str] = frozenset()

    def run(self, stop: threading.Event) -> None:
        """Poll until `stop` is set, then acknowledge what was recorded."""
        failures = 0
        while not stop.is_set():
            began = time.monotonic()
            try:
                more = self._round(stop)
            except Away as error:
                if not stop.is_set():
                    self._desk.failed(error)
                failures += 1
                pause = min(LONGEST_PAUSE, 0.5 * 2 ** min(failures, 10))
                stop.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 (to spread the tries, not to hide)
                continue
            failures = 0
            self._desk.recovered()
            if not more:
                stop.wait(max(0.0, self._poll.interval_s - (time.monotonic() - began)))
        if self._taken:
            with suppress(Away):
                self._ask(Web(self._desk.stream.ca_file), most=0, at_once=True)

    def hang_up(self) -> None:
        """End the request in progress. Thread-safe."""
        self._web.hang_up()

    def _round(self, stop: threading.Event) -> bool:
        """Poll once and handle what came. Returns whether to poll again at once: the answer had tokens that are new.

        While tokens wait to be recorded, no more are asked for.
        """
        fresh = False
        if not self._waiting:
            answer = self._ask(self._web, most=MOST, at_once=False)
            self._desk.heard()
            came = islice(answer.sets.items(), MOST)
            self._waiting = {jti: each if isinstance(each, str) else "" for jti, each in came}
            fresh = not self._waiting.keys() <= self._last
        self._take(stop)
        return fresh

    def _ask(self, web: Web, *, most: int, at_once: bool) -> _Sets:
        """Poll, and acknowledge the tokens that were handled. They count as acknowledged once an answer came."""
        errs = {jti: each.error for jti, each in self._taken.items() if each.error is not None}
        ack = [jti for jti in self._taken if jti not in errs]
        answer = ask(web, self._poll.endpoint, self._bearer, most=most, at_once=at_once, ack=ack, errs=errs)
        if answer.status != HTTPStatus.OK:
            raise Away(TRANSMITTER, f"it answers {answer.status}")
        try:
            sets = decode(answer.body, _Sets)
        except Unreadable:
            raise Away(TRANSMITTER, "its answer does not follow RFC 8936") from None
        self._last = frozenset(self._taken)
        self._taken = {}
        return sets

    def _take(self, stop: threading.Event) -> None:
        """Handle the waiting tokens while riskd is available. A token whose key is unavailable is dropped, to be
        delivered again."""
        late: Away | None = None
        while self._waiting and not stop.is_set():
            jti, each = next(iter(self._waiting.items()))
            try:
                self._taken[jti] = self._desk.take(each, jti)
            except Away as error:
                if error.part != KEYS:
                    raise
                late = error
            del self._waiting[jti]
        if late is not None:
            raise late
