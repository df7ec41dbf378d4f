"""Looking riskier must never suggest honesty: the audit finds worlds in which it does, and passes the shipped one."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final
from zlib import crc32

import numpy as np
import pytest
from msgspec.structs import replace

from riskd.cli.simulate.audit import report
from riskd.core.address import parse
from riskd.core.attempt import Attempt
from riskd.core.features import FEATURES
from riskd.offline.truth import Truth
from riskd.offline.world.attacks import ATTACKS, CLASSES
from riskd.offline.world.defined import SAFER
from riskd.offline.world.directions import Turned, alone, directions
from riskd.offline.world.sample import Sample, pooled, sampled
from riskd.offline.world.world import Settings
from tests.offline.world.small import LIVELY, POOLS, assumed, tried, world

NAMES: Final = ("form_failures", "new_country", "timezone_gap_h", "credential_failed", "hour_llr")
STUFFING, SPRAYING, EXITS = (
    next(each for each in ATTACKS if each.name == name)
    for name in ("stuffing_residential", "spraying", "vpn_in_country")
)
TRAVELLING: Final = {**LIVELY, "trips": 4.0, "trip_days": 8.0, "vpn_users": 0.6, "typo": 0.3, "checked_right": 0.5}
"""People who travel and mistype often enough for a small world to show what attackers lack."""
PEOPLE: Final = [world(seed=4).town.person(index, "customer") for index in range(400)]
HOMES: Final = {person.subject: person.country for person in PEOPLE}
Told = list[tuple[Attempt, Truth]]


@cache
def lived(**values: float) -> Told:
    settings = Settings(
        users=len(PEOPLE),
        days=40,
        seed=4,
        attack_share=0.4,
        domains=("customer",),
        weights={each: 0.0 for each in CLASSES if each not in (STUFFING.name, SPRAYING.name)},
    )
    return tried(assumed({**TRAVELLING, **values}, settings))


def seen(told: Told) -> Sample:
    """What an engine would see, for these features."""
    spots = [POOLS.owner(at.value & ~255)[1] for one, _ in told if (at := parse(one.network.client_ip))]
    values = np.array(
        [
            (
                one.behaviour.form_failures if one.behaviour else np.nan,
                spot.country != HOMES.get(one.subject, spot.country),
                bool(one.device and one.device.timezone != spot.timezone),
                one.credential_result == "failed",
                0.0,
            )
            for (one, _), spot in zip(told, spots, strict=True)
        ],
        dtype=np.float64,
    )
    rows = [(one.subject, one.time or 0.0, one.domain, one.journey, truth) for one, truth in told]
    return sampled(NAMES, ("behaviour", "novelty", "consistency", "credential", "rhythm"), values, rows)


def compared(sample: Sample) -> list[Turned]:
    return [each for attack in (STUFFING, SPRAYING) for each in directions(sample, attack)]


def turned(told: Told) -> set[str]:
    return {each.feature for each in compared(seen(told)) if each.fails}


def forgetful(attempt: Attempt) -> Attempt:
    if attempt.behaviour is None:
        return attempt
    return replace(attempt, behaviour=replace(attempt.behaviour, form_failures=0))


def test_in_the_shipped_world_no_direction_is_violated() -> None:
    """In the shipped world every feature is compared, and none fails."""
    found = compared(seen(lived()))
    assert {each.feature for each in found} == set(NAMES[:3])
    assert not [each for each in found if each.fails]
    assert report((), found, (), as_json=False) == 0


@pytest.mark.parametrize(
    ("fault", "feature"),
    [({"matched": 1.0, "vpn_users": 0.0}, "new_country"), ({"disguised": 1.0, "matched": 1.0}, "timezone_gap_h")],
)
def test_attackers_who_are_all_careful_are_found(fault: dict[str, float], feature: str) -> None:
    """If all attackers hide in the victim's country or set their clocks, being abroad would suggest honesty, and the
    audit fails."""
    assert feature in turned(lived(**fault))


@pytest.mark.parametrize(
    "change", [forgetful, lambda attempt: forgetful(attempt) if attempt.credential_result == "failed" else attempt]
)
def test_attackers_who_never_fail_first_are_found(change: Callable[[Attempt], Attempt]) -> None:
    """If only owners mistype before they succeed, failing first would suggest honesty, and the audit fails."""
    told = [(change(attempt) if truth.attack else attempt, truth) for attempt, truth in lived()]
    found = list(directions(seen(told), STUFFING))
    assert "form_failures" in {each.feature for each in found if each.fails}
    assert report((), found, (), as_json=True) == 1


def test_a_feature_declared_for_a_class_is_not_compared() -> None:
    """A feature that is declared for a class is not compared."""
    sample = seen(lived(matched=1.0))
    same = replace(sample, attacks=np.where(sample.attacks == SPRAYING.name, EXITS.name, sample.attacks))
    assert "new_country" not in {each.feature for each in directions(same, EXITS)}


def test_the_declared_table_names_only_existing_features() -> None:
    """The table has every class, and names only existing features, each with a reason."""
    assert set(SAFER) == set(CLASSES)
    names = {feature.name for feature in FEATURES}
    for declared in SAFER.values():
        assert set(declared) <= names
        assert all(declared.values())


def marked(share: float, sample: Sample, name: str, attack: str = STUFFING.name) -> Sample:
    """A sample in which this share of the people whom a class attacks, and nobody else, have the highest value of a
    feature."""
    chosen = np.array([crc32(str(who).encode()) % 1000 < 1000 * share for who in sample.subjects])
    values = sample.values.copy()
    values[:, sample.names.index(name)] = chosen & (sample.attacks == attack)
    return replace(sample, values=values)


def test_a_value_that_only_attackers_have_is_found() -> None:
    """If a few attackers have a value that owners never have, the audit fails, though they hardly move an AUC."""
    sample = marked(0.12, seen(lived()), "hour_llr")
    found = [each for attack in (STUFFING, SPRAYING) for each in alone(sample, attack) if each.fails]
    assert {(each.attack, each.feature) for each in found} == {(STUFFING.name, "hour_llr")}
    assert all(each.owners == 0 and 0.03 < each.attackers < 0.25 for each in found)
    assert report((), (), found, as_json=False) == 1
    assert report((), (), found, as_json=True) == 1


@pytest.mark.parametrize("share", [0.0, 0.01])
def test_what_one_attacker_has_alone_is_no_fault(share: float) -> None:
    """Nor are values that owners have, too."""
    sample = marked(share, seen(lived()), "hour_llr")
    found = [each for attack in (STUFFING, SPRAYING) for each in alone(sample, attack)]
    assert {each.feature for each in found} == {"hour_llr"}
    assert not [each for each in found if each.fails]
    assert report((), (), found, as_json=False) == 0


def test_what_defines_a_class_may_be_its_own() -> None:
    """A feature that is declared for a class may be what it alone has."""
    sample = marked(0.5, seen(lived()), "new_country")
    assert "new_country" not in {each.feature for each in alone(sample, STUFFING)}


def test_few_attackers_turn_nothing() -> None:
    """With few attackers there is no verdict."""
    told = lived(matched=1.0)
    few = [one for number, one in enumerate(told) if not one[1].attack or number % 60 == 0]
    assert not [each for each in compared(seen(few)) if each.fails]


def test_worlds_are_compared_together() -> None:
    """Pooling three worlds keeps the shares, and narrows the intervals if they have people of their own: the same
    people three times prove no more than once."""
    sample = seen(lived())
    others = [
        replace(sample, **{name: np.char.add(getattr(sample, name), f" {world}") for name in ("subjects", "campaigns")})
        for world in range(3)
    ]
    one, same, more = (
        {(each.attack, each.feature, each.failed, each.cut): each for each in directions(pooled(worlds), STUFFING)}
        for worlds in ([sample], [sample] * 3, others)
    )
    assert one
    for key, single in one.items():
        assert single.ratio < single.high
        for together, narrowed in ((same.get(key), 1.0), (more.get(key), 0.9)):
            if together:
                assert together.rows == 3 * single.rows
                assert together.ratio == pytest.approx(single.ratio)
                assert together.ratio < together.high <= single.high * narrowed + 1e-9
    assert one.keys() & same.keys() & more.keys()


def test_a_difference_is_the_ratio_of_shares() -> None:
    """20 of 100 owners and 5 of 100 attackers beyond the cut give a ratio of a quarter."""
    one = Turned(
        domain="customer",
        attack="targeted",
        feature="new_asn",
        failed=False,
        rows=100,
        cut=0.0,
        owners=0.2,
        attackers=0.05,
        high=0.7,
    )
    assert one.ratio == pytest.approx(0.25)
    assert one.fails
    assert not replace(one, high=0.9).fails
