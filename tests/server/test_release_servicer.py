"""ReleaseService: pages, limits on requests, and deadlines, over a fake that records requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from google.protobuf.json_format import MessageToDict
from msgspec.structs import replace

from riskd._proto.riskd.v1 import release_pb2
from riskd.core.activation import WHOLE, Activation, ActivationRequest, StoredRelease
from riskd.core.errors import InvalidRelease
from riskd.releases import Activated
from riskd.server.faults import DeadlinePassed
from riskd.server.release_servicer import ACTOR, MARGIN, PAGE, REASON, ReleaseServicer
from tests.server.world import Left

NAMES: Final = [f"{number:016x}" for number in range(PAGE + 3)]
ACTIVE: Final = Activation(number=7, key="k", release=NAMES[1], actor="sre", reason="", time=1.0)
Request = release_pb2.ActivateReleaseRequest | release_pb2.RollbackReleaseRequest


class Asked:
    """Releases that only record what is requested."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.wishes: list[tuple[ActivationRequest | tuple[str, str], float]] = []

    def find(self, release: str) -> StoredRelease:
        return StoredRelease(id=release, created=1.0, actor="", reason="", models={})

    def all(self) -> list[StoredRelease]:
        return [self.find(name) for name in self.names]

    def active(self) -> Activation | None:
        return ACTIVE if self.names else None

    def activate(self, request: ActivationRequest, timeout: float) -> Activated:
        self.wishes.append((request, timeout))
        return Activated(ACTIVE, ("worker-2",))

    def rollback(self, actor: str, reason: str, timeout: float) -> Activated:
        self.wishes.append(((actor, reason), timeout))
        return Activated(ACTIVE)


@pytest.mark.parametrize("count", [0, 1, 5, PAGE, PAGE + 1, PAGE + 3])
@pytest.mark.parametrize("size", [-1, 0, 1, 2, 5, PAGE, PAGE + 2])
def test_pages_of_any_size_together_name_each_release_once(count: int, size: int) -> None:
    """Pages list each release once, in order; none is longer than requested or allowed, and each names the
    activation."""
    servicer, token, found = ReleaseServicer(Asked(NAMES[:count])), "", list[str]()
    while True:
        asked = release_pb2.ListReleasesRequest(page_size=size, page_token=token)
        page = servicer.list_releases(asked, Left())
        assert len(page.releases) <= (min(size, PAGE) if size > 0 else PAGE)
        assert page.activation.number == (ACTIVE.number if count else 0)
        found += [each.release_id for each in page.releases]
        token = page.next_page_token
        if not token:
            break
        assert page.releases
    assert found == NAMES[:count]


def test_a_page_token_of_another_list_is_refused() -> None:
    """A page token of a release that has been deleted is refused."""
    with pytest.raises(InvalidRelease, match="page_token"):
        ReleaseServicer(Asked(NAMES)).list_releases(release_pb2.ListReleasesRequest(page_token="gone"), Left())


def asked_of(servicer: ReleaseServicer, request: Request, call: Left) -> object:
    if isinstance(request, release_pb2.ActivateReleaseRequest):
        return servicer.activate_release(request, call)
    return servicer.rollback_release(request, call)


CHANGES: Final[dict[str, Callable[[str, str], Request]]] = {
    "activate": lambda actor, reason: release_pb2.ActivateReleaseRequest(
        release_id=NAMES[0], actor=actor, reason=reason
    ),
    "rollback": lambda actor, reason: release_pb2.RollbackReleaseRequest(actor=actor, reason=reason),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_actor_and_reason_are_bounded(change: Callable[[str, str], Request]) -> None:
    """A change needs an actor; actor and reason are bounded. Every mistake is reported at once, and nothing is
    started."""
    releases = Asked(NAMES)
    for actor, reason, count in (
        ("", "", 1),
        ("a" * (ACTOR + 1), "", 1),
        ("a", "r" * (REASON + 1), 1),
        ("", "r" * (REASON + 1), 2),
    ):
        with pytest.raises(InvalidRelease) as refused:
            asked_of(ReleaseServicer(releases), change(actor, reason), Left())
        assert len(refused.value.problems) == count
    assert releases.wishes == []
    asked_of(ReleaseServicer(releases), change("a" * ACTOR, "r" * REASON), Left())
    assert len(releases.wishes) == 1


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_leaves_time_for_its_answer(change: Callable[[str, str], Request]) -> None:
    """A change gets the caller's deadline minus a margin for the answer; with no time left it is not started."""
    releases = Asked(NAMES)
    asked_of(ReleaseServicer(releases), change("sre", ""), Left(2.0))
    ((_, timeout),) = releases.wishes
    assert timeout == 2.0 - MARGIN
    with pytest.raises(DeadlinePassed):
        asked_of(ReleaseServicer(releases), change("sre", ""), Left(MARGIN))
    assert len(releases.wishes) == 1


@pytest.mark.parametrize(("percent", "wished"), [(0.0, WHOLE), (5.0, 5.0), (100.0, 100.0)])
def test_no_share_means_all_subjects(percent: float, wished: float) -> None:
    """A request without a percentage activates for all subjects, and the answer names processes that are late."""
    releases = Asked(NAMES)
    request = release_pb2.ActivateReleaseRequest(
        release_id=NAMES[0], percent=percent, actor="sre", reason="why", shadow=True
    )
    answer = ReleaseServicer(releases).activate_release(request, Left())
    ((wish, _),) = releases.wishes
    assert wish == ActivationRequest(release=NAMES[0], percent=wished, shadow=True, actor="sre", reason="why")
    assert (answer.activation.number, list(answer.late_processes)) == (ACTIVE.number, ["worker-2"])


def test_a_release_and_its_roles_are_shown_in_full() -> None:
    """A page shows who stored each release, when, why and with which models, and every role, by whom, when and why."""

    class Kept(Asked):
        def find(self, release: str) -> StoredRelease:
            return StoredRelease(id=release, created=2.0, actor="ci", reason="new", models={"machine": "1.2.0"})

        def active(self) -> Activation:
            told = Activation(number=7, key="k", release="a", actor="sre", reason="canary", time=3.0)
            return replace(told, candidate="b", percent=5.0, shadow="c", restores=4)

    servicer = ReleaseServicer(Kept(["a"]))
    release = {
        "releaseId": "a",
        "createTime": "1970-01-01T00:00:02Z",
        "actor": "ci",
        "reason": "new",
        "models": {"machine": "1.2.0"},
    }
    assert MessageToDict(servicer.list_releases(release_pb2.ListReleasesRequest(), Left())) == {
        "releases": [release],
        "activation": {
            "number": "7",
            "activeReleaseId": "a",
            "candidateReleaseId": "b",
            "percent": 5.0,
            "shadowReleaseId": "c",
            "actor": "sre",
            "reason": "canary",
            "activateTime": "1970-01-01T00:00:03Z",
            "restoredNumber": "4",
        },
    }
    found = servicer.get_release(release_pb2.GetReleaseRequest(release_id="a"), Left())
    assert MessageToDict(found) == {"release": release}
