"""Handles a token, polled or pushed: verifies and interprets it, then reports it to riskd or refuses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from riskd.core.attempt import SecurityEvent
from riskd.shared_signals.event_types import OTHER, name
from riskd.shared_signals.keys import Keys
from riskd.shared_signals.meaning import OfTheStream, meaning
from riskd.shared_signals.stream import INVALID_REQUEST, Refused, Stream
from riskd.shared_signals.subject import NotUsed
from riskd.shared_signals.token import verify

RECORDED: Final = "recorded"
NOT_USED: Final = "not_used"
OF_THE_STREAM: Final = "of_the_stream"
REFUSED: Final = "refused"
"""What may become of a token."""


class Error(Struct, frozen=True):
    """What a transmitter is told of a refused token (RFC 8935, section 2.3; RFC 8936, section 2.6)."""

    err: str
    description: str


class Taken(Struct, frozen=True, rename={"report": "told"}):
    """What became of a token. `event`: the event's name, or `other` if unknown. `why`: the reason, without any value of
    the token. `report`: the event to report to riskd, in JSON `told`. `of`: what the transmitter says about the stream
    itself."""

    result: str
    event: str
    jti: str = ""
    why: str = ""
    err: str = ""
    report: SecurityEvent | None = None
    of: OfTheStream | None = None

    @property
    def error(self) -> Error | None:
        """What to tell the transmitter, if the token was refused."""
        return Error(self.err, self.why) if self.result == REFUSED else None


def understand(token: str, stream: Stream, keys: Keys, now: float, jti: str = "") -> Taken:
    """Verify and interpret a token; nothing is reported yet. `jti`: the id it was delivered under, empty for a push.

    Raises Away while the transmitter's keys are unavailable.
    """
    try:
        verified = verify(token, stream, keys.find, now)
    except Refused as error:
        return _refused(error, OTHER, jti)
    event = name(verified.uri)
    if jti and verified.jti != jti:
        return _refused(Refused(INVALID_REQUEST, "jti is not the id under which the token was delivered"), event, jti)
    try:
        content = meaning(verified, stream, keys.critical)
    except Refused as error:
        return _refused(error, event, verified.jti)
    except NotUsed as error:
        return Taken(result=NOT_USED, event=event, jti=verified.jti, why=str(error))
    if isinstance(content, OfTheStream):
        return Taken(result=OF_THE_STREAM, event=event, jti=verified.jti, of=content)
    return Taken(result=RECORDED, event=event, jti=verified.jti, report=content)


def take(taken: Taken, send: Callable[[SecurityEvent], None]) -> Taken:
    """Report what there is to report. `send` raises Refused for what riskd never accepts, and Away, which is passed
    on."""
    if taken.report is None:
        return taken
    try:
        send(taken.report)
    except Refused as error:
        return _refused(error, taken.event, taken.jti)
    return taken


def _refused(error: Refused, event: str, jti: str) -> Taken:
    return Taken(result=REFUSED, event=event, jti=jti, why=error.why, err=error.err)
