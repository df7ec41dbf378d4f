"""ReleaseService: one method per RPC, and what its messages say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from riskd._proto.riskd.v1 import release_pb2
from riskd.core.errors import InvalidRelease, Problem
from riskd.core.lineup import WHOLE, Activation, ActivationRequest, StoredRelease
from riskd.releases import SECONDS, Activated
from riskd.server.servicer import Call, allowed
from riskd.server.translate import timestamp

PAGE: Final = 100
"""Most releases of a page."""
ACTOR: Final = 256
REASON: Final = 1024
MARGIN: Final = 0.1
"""Seconds of the caller's deadline that are left for the answer."""


class Releases(Protocol):
    """What the RPCs need. Raise InvalidRelease, UnknownRelease, RefusedRelease, InvalidFile and Unavailable."""

    def find(self, release: str) -> StoredRelease:
        """One release."""
        ...

    def all(self) -> list[StoredRelease]:
        """Every release, the newest first."""
        ...

    def active(self) -> Activation | None:
        """What holds."""
        ...

    def activate(self, request: ActivationRequest, timeout: float) -> Activated:
        """Activate a release as requested, in every process or in none."""
        ...

    def rollback(self, actor: str, reason: str, timeout: float) -> Activated:
        """Bring back what was before."""
        ...


class ReleaseServicer:
    """ReleaseService over the releases of this host."""

    def __init__(self, releases: Releases) -> None:
        self._releases = releases

    def get_release(self, request: release_pb2.GetReleaseRequest, call: Call) -> release_pb2.GetReleaseResponse:
        """Tell of one release."""
        return release_pb2.GetReleaseResponse(release=_release(self._releases.find(request.release_id)))

    def list_releases(self, request: release_pb2.ListReleasesRequest, call: Call) -> release_pb2.ListReleasesResponse:
        """A page of releases; its token is the last release of the page before."""
        kept = self._releases.all()
        if request.page_token:
            names = [each.id for each in kept]
            if request.page_token not in names:
                raise InvalidRelease([Problem("page_token", "not of this list", "begin again without one")])
            kept = kept[names.index(request.page_token) + 1 :]
        size = min(request.page_size, PAGE) if request.page_size > 0 else PAGE
        active = self._releases.active()
        return release_pb2.ListReleasesResponse(
            releases=[_release(each) for each in kept[:size]],
            next_page_token=kept[size - 1].id if len(kept) > size else "",
            activation=_activation(active) if active else None,
        )

    def activate_release(
        self, request: release_pb2.ActivateReleaseRequest, call: Call
    ) -> release_pb2.ActivateReleaseResponse:
        """Let a release decide."""
        _signed(request)
        activation = ActivationRequest(
            release=request.release_id,
            percent=request.percent or WHOLE,
            shadow=request.shadow,
            actor=request.actor,
            reason=request.reason,
        )
        done = self._releases.activate(activation, allowed(call, SECONDS, MARGIN))
        return release_pb2.ActivateReleaseResponse(activation=_activation(done.activation), late_processes=done.late)

    def rollback_release(
        self, request: release_pb2.RollbackReleaseRequest, call: Call
    ) -> release_pb2.RollbackReleaseResponse:
        """Bring back what decided before."""
        _signed(request)
        done = self._releases.rollback(request.actor, request.reason, allowed(call, SECONDS, MARGIN))
        return release_pb2.RollbackReleaseResponse(activation=_activation(done.activation), late_processes=done.late)


def _signed(request: release_pb2.ActivateReleaseRequest | release_pb2.RollbackReleaseRequest) -> None:
    problems = list(_unsigned(request.actor, request.reason))
    if problems:
        raise InvalidRelease(problems)


def _unsigned(actor: str, reason: str) -> Iterator[Problem]:
    if not actor or len(actor) > ACTOR:
        yield Problem("actor", "is missing" if not actor else "is too long", f"say who, in at most {ACTOR} characters")
    if len(reason) > REASON:
        yield Problem("reason", "is too long", f"{REASON} characters are the most")


def _release(kept: StoredRelease) -> release_pb2.Release:
    return release_pb2.Release(
        release_id=kept.id,
        create_time=timestamp(kept.created),
        actor=kept.actor,
        reason=kept.reason,
        models=kept.models,
    )


def _activation(activation: Activation) -> release_pb2.Activation:
    return release_pb2.Activation(
        number=activation.number,
        active_release_id=activation.release,
        candidate_release_id=activation.candidate,
        percent=activation.percent,
        shadow_release_id=activation.shadow,
        actor=activation.actor,
        reason=activation.reason,
        activate_time=timestamp(activation.time),
        restored_number=activation.restores,
    )
