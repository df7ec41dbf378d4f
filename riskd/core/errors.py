"""Everything riskd raises on purpose. Errors carry problems: what, where, and how to mend it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import DecodeError, Struct
from msgspec.structs import force_setattr

UNDECODABLE: Final = (DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises of bytes that are not what they should be; the second where a text in them is no UTF-8, the third
where they are nested without end."""


class Problem(Struct, frozen=True):
    """One thing that is wrong.

    `where` is a field path (`network.client_ip`), a setting (`server.port`) or a file; `line` and
    `column` are 1-based and 0 when there is none. What no UTF-8 can say, as a byte of a file's name, is spelled out
    (`\\udcff`): a problem is told on wires and in files that would take none of it.
    """

    where: str
    what: str
    remedy: str = ""
    line: int = 0
    column: int = 0

    def __post_init__(self) -> None:
        for name in ("where", "what", "remedy"):
            text = getattr(self, name)
            if not text.isascii():
                force_setattr(self, name, text.encode(errors="backslashreplace").decode())

    def __str__(self) -> str:
        at = ":".join([self.where, *(str(number) for number in (self.line, self.column) if number)])
        return f"{at}: {self.what}" + (f" ({self.remedy})" if self.remedy else "")


class RiskdError(Exception):
    """Root of riskd's own errors. `reason` is the stable code that crosses the wire."""

    reason = "INTERNAL"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class InvalidAttempt(RiskdError):
    """A request that cannot be assessed. Nothing was recorded."""

    reason = "INVALID_ATTEMPT"


class InvalidOutcome(RiskdError):
    """An outcome that cannot be recorded. Nothing was changed."""

    reason = "INVALID_OUTCOME"


class InvalidEvent(RiskdError):
    """A security event that cannot be recorded. Nothing was changed."""

    reason = "INVALID_EVENT"


class InvalidSubject(RiskdError):
    """A question about a subject that names none, or goes on from nowhere. Nothing was changed."""

    reason = "INVALID_SUBJECT"


class InvalidRelease(RiskdError):
    """A wish about releases that cannot be fulfilled as it was put. Nothing was changed."""

    reason = "INVALID_RELEASE"


class UnknownRelease(RiskdError):
    """No such release is kept here."""

    reason = "UNKNOWN_RELEASE"


class RefusedRelease(RiskdError):
    """A worker would not take a release, so none did."""

    reason = "REFUSED_RELEASE"


class UnknownAssessment(RiskdError):
    """No such assessment, or it is older than riskd keeps receipts."""

    reason = "UNKNOWN_ASSESSMENT"


class InvalidFile(RiskdError):
    """A file that riskd refuses: each problem names the file, the place in it and the remedy."""

    reason = "INVALID_FILE"


class InvalidPolicy(InvalidFile):
    """A policy file with mistakes; all of them are listed."""

    reason = "INVALID_POLICY"


class InvalidModel(InvalidFile):
    """A model bundle that is corrupt, or does not fit this version's features."""

    reason = "INVALID_MODEL"


class InvalidGeo(InvalidFile):
    """A geo database that is corrupt or of an unknown kind."""

    reason = "INVALID_GEO"


class InvalidStore(InvalidFile):
    """A history store that cannot be opened: not one of riskd's, of another format, or damaged."""

    reason = "INVALID_STORE"


class DamagedStore(InvalidStore):
    """A history store of riskd's own that cannot be opened because what it holds is damaged."""


class InvalidSettings(InvalidFile):
    """Settings with mistakes; all of them are listed."""

    reason = "INVALID_SETTINGS"


class Unavailable(RiskdError):
    """A part of riskd that could not answer in time. The engine turns it into a gap."""

    reason = "UNAVAILABLE"
