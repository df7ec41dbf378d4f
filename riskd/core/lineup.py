"""Which release decides which attempt: the active one, one being rolled out to a share of subjects, one in shadow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from riskd.core.activation import WHOLE
from riskd.core.assess import Release
from riskd.core.attempt import Attempt
from riskd.core.pseudonym import Pseudonyms

ACTIVE: Final = "active"
CANDIDATE: Final = "candidate"
SHADOW: Final = "shadow"
ROLES: Final = (ACTIVE, CANDIDATE, SHADOW)
_TICKETS: Final = 1 << 64


class Lineup(Struct, frozen=True):
    """The releases in use by an engine, swapped together. `candidate` decides for `percent` of the subjects."""

    active: Release
    candidate: Release | None = None
    percent: float = 0.0
    shadow: Release | None = None

    def chosen(self, attempt: Attempt, pseudonyms: Pseudonyms) -> Release:
        """The release that decides an attempt: always the same one for a subject.

        Subjects are assigned by their pseudonym under the oldest pepper, so that a rotation reassigns nobody.
        """
        if self.candidate is None:
            return self.active
        who = f"{self.candidate.id}\0{attempt.subject}"
        ticket = pseudonyms.at_each_layer(attempt.tenant, attempt.domain, "rollout", who)[0]
        return self.candidate if share(ticket) < self.percent else self.active

    def counters(self, domain: str) -> tuple[str, ...]:
        """The counters of every release, whichever decides: so the counts are of all attempts from the start."""
        if self.candidate is None and self.shadow is None:
            return self.active.policies[domain].counters
        releases = [release for _, release in self.roles() if release is not None]
        return tuple(dict.fromkeys(name for release in releases for name in release.policies[domain].counters))

    def roles(self) -> Iterator[tuple[str, Release | None]]:
        """Every role with the release that has it, if any."""
        yield from zip(ROLES, (self.active, self.candidate, self.shadow), strict=True)


def share(ticket: bytes) -> float:
    """Map a pseudonym of 8 bytes or more evenly to 0..100, the rollout percentage above which its subject takes part.

    So a subject that takes part at 5 % also does at 20 %.
    """
    return int.from_bytes(ticket[:8], "big") / _TICKETS * WHOLE
