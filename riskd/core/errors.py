"""The exceptions that riskd raises. Each carries its problems: what is wrong, where, and how to fix it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import DecodeError, Struct
from msgspec.structs import force_setattr

UNDECODABLE: Final = (DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for malformed bytes: UnicodeDecodeError for a string that is not UTF-8, RecursionError for
nesting that is too deep."""


class Problem(Struct, frozen=True):
    """One thing that is wrong, and how to fix it (`remedy`).

    `where` is a field path (`network.client_ip`), a setting (`server.port`) or a file; `line` and `column` are
    1-based, 0 if there is none. Text that UTF-8 cannot encode, such as a stray byte in a file name, is escaped
    (`\\udcff`), so that problems can be sent and logged.
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
    """Base class of riskd's errors. `reason` is a stable code, also used on the wire."""

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
    """A request about a subject that names none, or has an invalid page token. Nothing was changed."""

    reason = "INVALID_SUBJECT"


class InvalidRelease(RiskdError):
    """A request to activate or roll back a release that is not valid. Nothing was changed."""

    reason = "INVALID_RELEASE"


class UnknownRelease(RiskdError):
    """There is no such release on this host."""

    reason = "UNKNOWN_RELEASE"


class RefusedRelease(RiskdError):
    """A process could not load a release, so none activated it."""

    reason = "REFUSED_RELEASE"


class UnknownAssessment(RiskdError):
    """There is no such assessment, or its receipt has expired."""

    reason = "UNKNOWN_ASSESSMENT"


class InvalidFile(RiskdError):
    """A file with mistakes. Each problem names the file, the position in it and the remedy."""

    reason = "INVALID_FILE"


class InvalidPolicy(InvalidFile):
    """A policy file with mistakes, all of which are listed."""

    reason = "INVALID_POLICY"


class InvalidModel(InvalidFile):
    """A model bundle that is corrupt, or was made for other features than this version's."""

    reason = "INVALID_MODEL"


class InvalidGeo(InvalidFile):
    """A geo database that is corrupt, or of an unknown kind."""

    reason = "INVALID_GEO"


class InvalidStore(InvalidFile):
    """A history store that cannot be opened: it is not riskd's, has another format, or is damaged."""

    reason = "INVALID_STORE"


class DamagedStore(InvalidStore):
    """A history store of riskd's that cannot be opened because its content is damaged."""


class InvalidSettings(InvalidFile):
    """Settings with mistakes, all of which are listed."""

    reason = "INVALID_SETTINGS"


class Unavailable(RiskdError):
    """A part of riskd failed or did not answer in time. While assessing, the engine turns this into a gap or cause."""

    reason = "UNAVAILABLE"
