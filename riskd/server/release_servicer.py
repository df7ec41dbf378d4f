"""ReleaseService: one method per RPC, and the translation of its messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from riskd._proto.riskd.v1 import release_pb2
from riskd.core.activation import WHOLE, Activation, ActivationRequest, StoredRelease
from riskd.core.errors import InvalidRelease, Problem
from riskd.releases import SECONDS, Activated
from riskd.server.risk_servicer import Call, time_left
from riskd.server.translate import timestamp

PAGE: Final = 100
"""Most releases on a page."""
ACTOR: Final = 256
"""Most characters in the name of an actor."""
REASON: Final = 1024
"""Most characters in a reason."""
MARGIN: Final = 0.1
"""Seconds of the caller's deadline reserved for sending the answer."""


class Releases(Protocol):
    """The operations behind the RPCs. They raise InvalidRelease, UnknownRelease, RefusedRelease, InvalidFile and
    Unavailable."""

    def find(self, release: str) -> StoredRelease:
        """The release with this id."""
        ...

    def all(self) -> list[StoredRelease]:
        """Every release, the newest first."""
        ...

    def active(self) -> Activation | None:
        """The activation in force, if any."""
        ...

    def activate(self, request: ActivationRequest, timeout: float) -> Activated:
        """Activate a release in every process or in none, within `timeout` seconds."""
        ...

    def rollback(self, actor: str, reason: str, timeout: float) -> Activated:
        """Restore the previous activation, within `timeout` seconds."""
        ...


class ReleaseServicer:
    """ReleaseService over the releases of this host."""

    def __init__(self, releases: Releases) -> None:
        self._releases = releases

    def get_release(self, request: release_pb2.GetReleaseRequest, call: Call) -> release_pb2.GetReleaseResponse:
        """Describe one release."""
        return release_pb2.GetReleaseResponse(release=_release(self._releases.find(request.release_id)))

    def list_releases(self, request: release_pb2.ListReleasesRequest, call: Call) -> release_pb2.ListReleasesResponse:
        """A page of releases. The page token is the id of the last release on the page before."""
        kept = self._releases.all()
        if request.page_token:
            names = [each.id for each in kept]
            if request.page_token not in names:
                raise InvalidRelease([Problem("page_token", "is not from this list", "start again without a token")])
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
        """Activate a release: for all attempts, for a share of them, or in shadow."""
        _check_actor(request)
        activation = ActivationRequest(
            release=request.release_id,
            percent=request.percent or WHOLE,
            shadow=request.shadow,
            actor=request.actor,
            reason=request.reason,
        )
        done = self._releases.activate(activation, time_left(call, SECONDS, MARGIN))
        return release_pb2.ActivateReleaseResponse(activation=_activation(done.activation), late_processes=done.late)

    def rollback_release(
        self, request: release_pb2.RollbackReleaseRequest, call: Call
    ) -> release_pb2.RollbackReleaseResponse:
        """Restore the previous activation."""
        _check_actor(request)
        done = self._releases.rollback(request.actor, request.reason, time_left(call, SECONDS, MARGIN))
        return release_pb2.RollbackReleaseResponse(activation=_activation(done.activation), late_processes=done.late)


def _check_actor(request: release_pb2.ActivateReleaseRequest | release_pb2.RollbackReleaseRequest) -> None:
    problems = list(_problems(request.actor, request.reason))
    if problems:
        raise InvalidRelease(problems)


def _problems(actor: str, reason: str) -> Iterator[Problem]:
    if not actor or len(actor) > ACTOR:
        what = "is missing" if not actor else "is too long"
        yield Problem("actor", what, f"name who asks for this, in at most {ACTOR} characters")
    if len(reason) > REASON:
        yield Problem("reason", "is too long", f"use at most {REASON} characters")


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
