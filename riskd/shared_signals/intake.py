"""What becomes of a token: it is verified, understood, and told, or it is refused. One path for poll and push."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from riskd.core.attempt import SecurityEvent
from riskd.shared_signals.event_types import OTHER, name
from riskd.shared_signals.keys import Keys
from riskd.shared_signals.meaning import OfTheStream, meaning
from riskd.shared_signals.stream import INVALID_REQUEST, Refused, Stream
from riskd.shared_signals.subject import NotForUs
from riskd.shared_signals.token import verify

RECORDED: Final = "recorded"
NOT_USED: Final = "not_used"
OF_THE_STREAM: Final = "of_the_stream"
REFUSED: Final = "refused"
"""What may become of a token."""


class Taken(Struct, frozen=True):
    """What became of a token. `event` is its event's name, `other` where that is not known. `why`: in words, without
    any value of the token. `told` is what riskd is told, `of` what the transmitter says of the stream."""

    result: str
    event: str
    jti: str = ""
    why: str = ""
    err: str = ""
    told: SecurityEvent | None = None
    of: OfTheStream | None = None


def understand(token: str, stream: Stream, keys: Keys, now: float, jti: str = "") -> Taken:
    """What a token means; nothing is told yet. `jti`: the one under which it came, empty where none did.

    Raises Away while the keys of the transmitter cannot be had.
    """
    try:
        verified = verify(token, stream, keys.find, now)
    except Refused as error:
        return _refused(error, OTHER, jti)
    event = name(verified.uri)
    if jti and verified.jti != jti:
        return _refused(Refused(INVALID_REQUEST, "jti is not the one under which the token came"), event, jti)
    try:
        found = meaning(verified, stream, keys.critical)
    except Refused as error:
        return _refused(error, event, verified.jti)
    except NotForUs as error:
        return Taken(result=NOT_USED, event=event, jti=verified.jti, why=str(error))
    if isinstance(found, OfTheStream):
        return Taken(result=OF_THE_STREAM, event=event, jti=verified.jti, of=found)
    return Taken(result=RECORDED, event=event, jti=verified.jti, told=found)


def take(taken: Taken, tell: Callable[[SecurityEvent], None]) -> Taken:
    """Tell what is to be told. `tell` raises Refused for what riskd never takes. Raises Away, as `tell` does."""
    if taken.told is None:
        return taken
    try:
        tell(taken.told)
    except Refused as error:
        return _refused(error, taken.event, taken.jti)
    return taken


def _refused(error: Refused, event: str, jti: str) -> Taken:
    return Taken(result=REFUSED, event=event, jti=jti, why=error.why, err=error.err)
