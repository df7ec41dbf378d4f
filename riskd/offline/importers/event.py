"""What a reader makes of an exported record: an event to learn from, or the reason why it is skipped."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, TypeAlias

from msgspec import Struct

from riskd.core.learn import STRONG

REASONS: Final = {
    "other_event": "not an event that histories learn from",
    "another_step": "a step of a sign-in that another event describes as a whole",
    "not_interactive": "nobody signed in: a token was renewed, or a program acted",
    "no_subject": "names no account by the chosen field",
    "no_address": "names no client address",
    "no_time": "has no readable time",
    "invalid": "has a field that the service would refuse",
    "too_old": "older than what a history keeps of such an event",
    "outside_window": "before --since, or not before --until",
}
"""Why a record is skipped."""


class Skipped(Struct, frozen=True):
    """A record that is not used. `reason`: one of `REASONS`; `detail`: which event or field, without personal data."""

    reason: str
    detail: str = ""


class Event(Struct, frozen=True, kw_only=True):
    """One event. `time`: epoch seconds.

    `outcome`: one of `attempt.OUTCOMES`, or '' if nothing was proven; `amr`: RFC 8176 methods. Events with the same
    `sign_in` are one attempt and its outcomes; '' is an event of its own.
    """

    time: float
    subject: str
    address: str
    user_agent: str = ""
    journey: str = "login"
    credential_result: str = "not_checked"
    outcome: str = ""
    amr: tuple[str, ...] = ()
    sign_in: str = ""
    rtt_ms: float | None = None


Row: TypeAlias = dict[str, object]
Read: TypeAlias = Callable[[Row, str], Event | Skipped]
"""Converts a record. The second argument is the field that names the subject. Never raises, whatever the record
holds."""


class Source(Struct, frozen=True, kw_only=True):
    """An export format. `subjects`: the fields that can name the subject, the default first.

    `lines`: a file that is not JSON is a log whose lines become records `{"line": text}`; otherwise it is CSV.
    """

    name: str
    title: str
    read: Read
    subjects: tuple[str, ...]
    lines: bool = False


def inside(row: object, *path: str) -> object:
    """The value at a path through nested objects; None if there is none."""
    for name in path:
        if not isinstance(row, dict):
            return None
        row = row.get(name)
    return row


def text(row: object, *path: str) -> str:
    """The text at a path, '' if there is none. A whole number becomes its digits."""
    value = inside(row, *path)
    if isinstance(value, str):
        return value.strip()
    return str(value) if type(value) is int and abs(value) < 10**18 else ""


def members(row: object, *path: str) -> list[object]:
    """The list at a path, empty if there is none."""
    value = inside(row, *path)
    return value if isinstance(value, list) else []


def number(value: object) -> float | None:
    """A finite number, given as a number or as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        parsed = float(value)
    except (ValueError, OverflowError):
        return None
    return parsed if math.isfinite(parsed) else None


def moment(value: str) -> float | None:
    """Epoch seconds of an ISO 8601 date or time, UTC if it has no timezone; None if it is not one."""
    try:
        parsed = datetime.fromisoformat(value)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def milliseconds(value: object) -> float | None:
    """Epoch seconds from epoch milliseconds; None if the value is not a number."""
    parsed = number(value)
    return None if parsed is None else parsed / 1000


_METHODS: Final = (
    ("sc", "certificate|x.?509|smart.?card|piv"),
    ("swk", "signed_nonce|fastpass|passkey"),
    ("hwk", "webauthn|fido|u2f|security key|hello for business|platform credential"),
    ("otp", r"otp|oath|soft_token|one.time|verification code|google_auth|e.?mail|access pass|hardware token|yubikey"),
    ("sms", "sms|text message"),
    ("tel", "voice|call|phone call"),
    ("mfa", "push|notification|passwordless|authenticator app|duo"),
    ("kba", "question"),
    ("face", "face"),
    ("fpt", "fingerprint|biometric"),
    ("pwd", "password|pwd"),
)
_COMPILED: Final = tuple((method, re.compile(words)) for method, words in _METHODS)


def methods(names: Iterable[str]) -> tuple[str, ...]:
    """RFC 8176 methods for an identity provider's method names; `mfa` is added if there are several.

    An approved push is only `mfa`: it proves no key to the service, and tired people approve.
    """
    unique = dict.fromkeys(method for name in names if (method := _method(name[:64].lower())))
    if len(unique) > 1:
        unique["mfa"] = None
    return tuple(unique)


def proof(amr: tuple[str, ...], *, challenged: bool = False) -> str:
    """The outcome of a successful sign-in: a challenge was passed if a second factor or a key was used."""
    return "challenge_passed" if challenged or "mfa" in amr or STRONG.intersection(amr) else "session_established"


@lru_cache(maxsize=256)
def _method(name: str) -> str:
    return next((method for method, words in _COMPILED if words.search(name)), "")
