"""Which release decides for which subject, and how activations change the roles of releases."""

from __future__ import annotations

from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.core.activation import Activation, ActivationRequest, planned, restored
from riskd.core.assess import Release
from riskd.core.errors import InvalidRelease
from riskd.core.lineup import Lineup, share
from riskd.core.pseudonym import Pseudonyms
from tests.cases.world import PSEUDONYMS, attempt

RELEASES = ("a", "b", "c")
WISHES = st.one_of(
    st.builds(
        ActivationRequest,
        release=st.sampled_from(RELEASES),
        percent=st.sampled_from([5.0, 50.0, 100.0]),
        actor=st.just("x"),
    ),
    st.builds(ActivationRequest, release=st.sampled_from(RELEASES), shadow=st.just(True), actor=st.just("x")),
    st.none(),
)


def roles(activation: Activation) -> tuple[str, str, float, str]:
    """Active release, candidate, percent and shadow."""
    return activation.release, activation.candidate, activation.percent, activation.shadow


def lived(wishes: list[ActivationRequest | None]) -> list[Activation]:
    """The activations that result from requests, where None is a rollback; refused requests change nothing."""
    past: list[Activation] = []
    for number, asked in enumerate(wishes):
        try:
            if asked is None:
                past.append(restored(past, "x", "", str(number), 0.0))
            else:
                past.append(planned(past, asked, str(number), 0.0))
        except InvalidRelease:
            continue
    return past


@given(st.lists(WISHES, max_size=12))
def test_each_release_has_one_role(wishes: list[ActivationRequest | None]) -> None:
    """After any requests, numbers increase by one, no release has two roles, and only a candidate has a share."""
    for number, activation in enumerate(lived(wishes), 1):
        assert activation.number == number
        assert len(set(activation.named)) == len(activation.named)
        assert bool(activation.candidate) == (0 < activation.percent < 100)


@given(st.lists(WISHES, max_size=8), WISHES)
def test_a_rollback_undoes_the_last_activation(
    wishes: list[ActivationRequest | None], last: ActivationRequest | None
) -> None:
    """A rollback restores the roles before the last activation; a second one goes one activation further back."""
    before = lived(wishes)
    after = lived([*wishes, last])
    if last is None or len(after) == len(before) or not before:
        return
    back = restored(after, "x", "", "key", 0.0)
    assert roles(back) == roles(before[-1])
    if len(before) > 1 and not before[-1].restores:
        assert roles(restored([*after, back], "x", "", "key", 0.0)) == roles(before[-2])


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (ActivationRequest(release="b", actor="x"), ("b", "", 0.0, "")),
        (ActivationRequest(release="b", percent=0.5, actor="x"), ("a", "b", 0.5, "c")),
        (ActivationRequest(release="c", percent=5.0, actor="x"), ("a", "c", 5.0, "")),
        (ActivationRequest(release="d", percent=5.0, actor="x"), ("a", "d", 5.0, "c")),
        (ActivationRequest(release="b", shadow=True, actor="x"), ("a", "", 0.0, "b")),
        (ActivationRequest(release="d", shadow=True, actor="x"), ("a", "b", 50.0, "d")),
    ],
    ids=["all", "another share", "the shadow", "another candidate", "the candidate in shadow", "another shadow"],
)
def test_an_activation_changes_its_role_alone(asked: ActivationRequest, expected: tuple[str, str, float, str]) -> None:
    """Activating for all subjects ends the rollout and the shadow; a share or a shadow is added to the current
    roles, and ends only a role that the release had before."""
    past = lived([
        ActivationRequest(release="a", actor="x"),
        ActivationRequest(release="b", percent=50.0, actor="x"),
        ActivationRequest(release="c", shadow=True, actor="x"),
    ])  # fmt: skip
    assert roles(planned(past, asked, "k", 0.0)) == expected


def test_a_restored_release_stays() -> None:
    """A release that a rollback restores stays when the directories of the settings change, even if it came from
    there."""
    first, second = lived([ActivationRequest(release=name, actor="x") for name in ("a", "b")])
    assert not restored([replace(first, follows=True), second], "x", "", "k", 0.0).follows


@pytest.mark.parametrize(
    ("asked", "fields"),
    [
        (ActivationRequest(release="b", percent=0.0, actor="x"), ["percent"]),
        (ActivationRequest(release="b", percent=101.0, actor="x"), ["percent"]),
        (ActivationRequest(release="b", percent=float("nan"), actor="x"), ["percent"]),
        (ActivationRequest(release="b", percent=5.0, shadow=True, actor="x"), ["percent"]),
        (ActivationRequest(release="a", percent=5.0, actor="x"), ["release_id"]),
        (ActivationRequest(release="a", percent=-1.0, shadow=True, actor="x"), ["percent", "percent", "release_id"]),
    ],
)
def test_an_invalid_request_is_refused(asked: ActivationRequest, fields: list[str]) -> None:
    """Every mistake of a request is reported at once."""
    past = lived([ActivationRequest(release="a", actor="x")])
    with pytest.raises(InvalidRelease) as refused:
        planned(past, asked, "k", 0.0)
    assert [problem.where for problem in refused.value.problems] == fields


def test_the_first_activation_must_be_for_all() -> None:
    """Before the first activation, riskd refuses a share, a shadow and a rollback."""
    for asked in (
        ActivationRequest(release="a", percent=5.0, actor="x"),
        ActivationRequest(release="a", shadow=True, actor="x"),
    ):
        with pytest.raises(InvalidRelease, match="activate one for all subjects"):
            planned([], asked, "k", 0.0)
    with pytest.raises(InvalidRelease, match="no earlier activation"):
        restored(lived([ActivationRequest(release="a", actor="x")]), "x", "", "k", 0.0)


def test_shares_are_even() -> None:
    """Of 20,000 tickets, p % lie below p to within five standard deviations, so a larger share includes a smaller
    one."""
    shares = [share(blake2b(str(number).encode(), digest_size=16).digest()) for number in range(20_000)]
    assert all(0 <= each < 100 for each in shares)
    for percent in (1, 5, 20, 50, 90):
        expected = 200 * percent
        bound = 5 * (expected * (1 - percent / 100)) ** 0.5
        assert abs(sum(each < percent for each in shares) - expected) < bound


OLD, NEW, OTHER = (Release(name, {}, {}) for name in ("old", "new", "other"))
PEOPLE = [attempt({"subject": f"person {number}"}) for number in range(2000)]


def takers(candidate: Release, percent: float, *layers: bytes) -> set[str]:
    """The subjects for whom the candidate decides."""
    lineup, pseudonyms = Lineup(OLD, candidate, percent), Pseudonyms(b"pepper of the lineup", layers)
    chosen = {each.subject: lineup.chosen(each, pseudonyms) for each in PEOPLE}
    assert set(map(id, chosen.values())) <= {id(OLD), id(candidate)}
    return {who for who, release in chosen.items() if release is candidate}


def test_a_candidate_keeps_its_subjects() -> None:
    """A candidate keeps its subjects when its share grows and when the pepper is rotated; another candidate draws
    others."""
    few, some = takers(NEW, 5.0), takers(NEW, 20.0)
    assert few < some
    assert 300 < len(some) < 500
    assert takers(NEW, 20.0, b"the first of the layers", b"the second of the layers") == some
    assert 30 < len(takers(OTHER, 20.0) & some) < 140
    assert (takers(NEW, 0.0), len(takers(NEW, 100.0))) == (set(), len(PEOPLE))


def test_without_a_candidate_the_active_release_decides() -> None:
    """Without a candidate the active release decides for everybody, also beside a release in shadow."""
    for lineup in (Lineup(OLD), Lineup(OLD, None, 50.0), Lineup(OLD, shadow=NEW)):
        assert {id(lineup.chosen(each, PSEUDONYMS)) for each in PEOPLE[:50]} == {id(OLD)}
