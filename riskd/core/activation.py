"""Releases as they are stored, and their activation: which role each has, who gave it, and which one comes next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from riskd.core.errors import InvalidRelease, Problem

WHOLE: Final = 100
"""Percent."""


class StoredRelease(Struct, frozen=True, kw_only=True):
    """A release stored on disk: who created it, when and why, and the model version by identity domain.

    `created` is in epoch seconds.
    """

    id: str
    created: float
    actor: str
    reason: str
    models: dict[str, str]


class Activation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which release has which role since `time` (epoch seconds), and who activated it, and why.

    Each `number` is one above the last. `key` is unique, also among proposals that failed. A rollback has in
    `restores` the number of the activation that it restored. `follows`: the release came from the directories of the
    settings, and the next change there replaces it; a release activated by hand stays.
    """

    number: int
    key: str
    release: str
    candidate: str = ""
    percent: float = 0.0
    shadow: str = ""
    actor: str
    reason: str
    time: float
    restores: int = 0
    follows: bool = False

    @property
    def named(self) -> tuple[str, ...]:
        """The ids of the releases that have a role."""
        return tuple(name for name in (self.release, self.candidate, self.shadow) if name)


class ActivationRequest(Struct, frozen=True, kw_only=True):
    """A request to activate `release` for `percent` of the subjects, or in shadow."""

    release: str
    percent: float = WHOLE
    shadow: bool = False
    actor: str
    reason: str = ""


def planned(past: Sequence[Activation], request: ActivationRequest, key: str, time: float) -> Activation:
    """The activation that a request leads to, after the activations `past`.

    A release for all subjects replaces all others; one for a share or in shadow is added to the active one. Raises
    InvalidRelease with every mistake in the request.
    """
    problems = []
    if not 0 < request.percent <= WHOLE:
        problems.append(Problem("percent", f"{request.percent:g} is not a share", "give more than 0 and at most 100"))
    if request.shadow and request.percent != WHOLE:
        problems.append(Problem("percent", "a shadow release decides nothing", "omit percent or shadow"))
    if not past and (request.shadow or request.percent != WHOLE):
        problems.append(Problem("release_id", "no release is active yet", "activate one for all subjects first"))
    if past and past[-1].release == request.release and (request.shadow or request.percent != WHOLE):
        problems.append(
            Problem("release_id", "it is the active release already", "name another, or activate it for all subjects")
        )
    if problems:
        raise InvalidRelease(problems)
    before = past[-1] if past else None
    number = before.number + 1 if before else 1
    made = Activation(
        number=number, key=key, release=request.release, actor=request.actor, reason=request.reason, time=time
    )
    if before is None or (request.percent == WHOLE and not request.shadow):
        return made
    if request.shadow:
        candidate = before.candidate if before.candidate != request.release else ""
        percent = before.percent if candidate else 0.0
        return replace(made, release=before.release, candidate=candidate, percent=percent, shadow=request.release)
    shadow = before.shadow if before.shadow != request.release else ""
    return replace(made, release=before.release, candidate=request.release, percent=request.percent, shadow=shadow)


def restored(past: Sequence[Activation], actor: str, reason: str, key: str, time: float) -> Activation:
    """The activation that restores the roles as they were before the latest one that was not rolled back yet.

    Raises InvalidRelease if there was none before, or it is no longer remembered.
    """
    by_number = {activation.number: activation for activation in past}
    latest = past[-1] if past else None
    target = by_number.get((latest.restores or latest.number) - 1) if latest else None
    if latest is None or target is None:
        remedy = "activate a release by its id"
        raise InvalidRelease([Problem("release", "there is no earlier activation to return to", remedy)])
    return replace(
        target,
        number=latest.number + 1,
        key=key,
        actor=actor,
        reason=reason,
        time=time,
        restores=target.restores or target.number,
        follows=False,
    )
