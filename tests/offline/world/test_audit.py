"""The audit names traits that give attackers away, and finds none where there are none."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np
import pytest
from msgspec.structs import replace

from riskd.cli.simulate.audit import report
from riskd.core.attempt import Attempt, Network
from riskd.core.features import FEATURES
from riskd.offline.rows import HONEST
from riskd.offline.truth import Truth
from riskd.offline.world.addresses import text
from riskd.offline.world.attacks import ATTACKS, CLASSES, Attack
from riskd.offline.world.audit import FEWEST, FIRST, Finding, audit, compared, stages
from riskd.offline.world.defined import DEFINED
from riskd.offline.world.sample import Sample
from riskd.offline.world.traits import GROUPS, NAMES, traits
from tests.offline.world.small import attempts

TARGETED: Final = replace(next(each for each in ATTACKS if each.name == "targeted"), domains=("customer",))


@cache
def lived() -> list[tuple[Attempt, Truth]]:
    return attempts(users=250, days=40, seed=8, attack_share=0.3, domains=("customer",))


def found(sample: Sample, attack: Attack = TARGETED) -> list[Finding]:
    return list(audit(sample, attack))


def planted(change: Callable[[Attempt], Attempt]) -> Sample:
    """The same attempts, with a change to those of attackers."""
    return traits([(change(attempt) if truth.attack else attempt, truth) for attempt, truth in lived()])


def only(sample: Sample, group: str) -> Sample:
    """The sample with the traits of this group."""
    chosen = [at for at, each in enumerate(sample.groups) if each == group]
    names, groups = (tuple(words[at] for at in chosen) for words in (sample.names, sample.groups))
    return replace(sample, names=names, groups=groups, values=sample.values[:, chosen])


def late(attempt: Attempt) -> Attempt:
    assert attempt.time is not None
    return replace(attempt, time=attempt.time // 60 * 60)


def silent(attempt: Attempt) -> Attempt:
    return replace(attempt, network=replace(attempt.network, rtt_ms=None))


def rare(attempt: Attempt) -> Attempt:
    assert attempt.device is not None
    return replace(
        attempt, device=replace(attempt.device, user_agent=f"{attempt.device.user_agent} x{attempt.subject}")
    )


def even(attempt: Attempt) -> Attempt:
    parts = attempt.network.client_ip.split(".")
    return replace(attempt, network=replace(attempt.network, client_ip=".".join([*parts[:3], str(int(parts[3]) // 2)])))


def longer(attempt: Attempt) -> Attempt:
    assert attempt.device is not None
    return replace(attempt, device=replace(attempt.device, fingerprint=f"{attempt.device.fingerprint}00"))


def test_a_trait_of_only_one_person_can_be_audited() -> None:
    """A trait that only one person has, and that is missing in a whole fold, causes no failure."""
    sample = traits(lived())
    whose = sample.subjects == sample.subjects[np.flatnonzero(sample.attacks == "targeted")[0]]
    values = sample.values.copy()
    values[:, 0] = np.where(whose, np.arange(len(values)), np.nan)

    assert not [each for each in found(replace(sample, values=values)) if each.fails]


@pytest.mark.parametrize(
    ("change", "group", "trait"),
    [
        (late, "clock", "second"),
        (silent, "presence", "has_rtt"),
        (rare, "user_agent", "agent_rarity"),
        (even, "address_digits", "last_octet"),
        (longer, "lengths", "fingerprint_length"),
    ],
)
def test_a_planted_leak_is_found_and_named(change: Callable[[Attempt], Attempt], group: str, trait: str) -> None:
    """A planted leak makes its group fail, and its trait is named."""
    leaks = [each for each in found(only(planted(change), group)) if each.fails]
    assert {each.group for each in leaks} == {group}
    assert any(told.startswith(trait) for each in leaks for told in each.telling)
    assert report(leaks, (), (), as_json=True) == 1


def test_nothing_is_found_where_nothing_was_planted() -> None:
    """The shipped world passes, with exit code 0."""
    findings = found(traits(lived()))
    assert findings
    assert not [each for each in findings if each.fails]
    assert report(findings, (), (), as_json=False) == 0


def test_a_leak_in_what_the_engine_sees_is_found() -> None:
    """Features are audited like traits: attackers with other hours than owners are found."""
    plain = traits(lived())
    random = np.random.default_rng(1)
    hours = random.normal(size=len(plain.times)) + 2.0 * (plain.attacks == "targeted")
    sample = replace(plain, names=("hour_llr",), groups=("rhythm",), values=hours[:, None])
    judged = [each for each in found(sample) if each.auc == each.auc]
    assert {(each.group, each.fails) for each in judged} == {("rhythm", True)}


def test_a_trait_that_defines_a_class_is_not_audited() -> None:
    """Traits that are declared to define a class are not audited for it."""
    plain = traits(lived())
    told = (plain.attacks == "targeted").astype(float)[:, None]
    for name, group in (("device_llr", "familiarity"), ("typing_deviation", "behaviour")):
        assert not found(replace(plain, names=(name,), groups=(group,), values=told))


def test_too_few_are_said_to_be_too_few() -> None:
    """With too few attackers the finding is listed without a verdict."""
    few = [one for number, one in enumerate(lived()) if not one[1].attack or number % 40 == 0]
    findings = found(traits(few))
    assert findings
    assert all(np.isnan(each.auc) and each.rows < FEWEST and not each.fails for each in findings)


def test_the_declared_table_names_only_what_exists() -> None:
    """The table declares every class, and names only existing groups and traits, each with a reason."""
    known = {*NAMES, *GROUPS, *(feature.name for feature in FEATURES), *(feature.group for feature in FEATURES)}
    assert set(DEFINED) == set(CLASSES)
    for declared in DEFINED.values():
        assert {name.rpartition(":")[2] for name in declared} <= known
        assert all(declared.values())


def test_the_first_attempts_of_visits_are_compared() -> None:
    """The audit compares the first attempt of each visit on one journey, and none on non-existent accounts."""
    sample = traits(lived())
    rows, attacked = compared(sample, TARGETED, "customer")
    assert set(sample.journeys[rows]) == {"login"}
    assert set(sample.steps[rows]) == {0}
    assert attacked.sum() >= FEWEST
    assert (sample.attacks[rows[attacked]] == "targeted").all()


def test_every_attempt_is_compared_at_its_stage() -> None:
    """No row of a class is left out: first ones, later ones by journey and by whether the session is old, and tries of
    accounts that do not exist are each compared with the owners' of the same kind."""
    sample = traits(lived())
    for attack in ATTACKS:
        if "customer" not in attack.domains:
            continue
        told = stages(sample, attack)
        seen = 0
        for stage in np.unique(told):
            rows, attacked = compared(sample, attack, "customer", str(stage))
            seen += int(attacked.sum())
            assert (told[rows] == stage).all()
        assert seen == (sample.attacks == attack.name).sum()
    told = stages(sample, TARGETED)
    assert {*sample.journeys[told == FIRST]} == {"login"}
    for row in np.flatnonzero(told == "later payment in an old session"):
        assert sample.journeys[row] == "payment"
        assert sample.begins[row] == "session"
    assert {*told} >= {"first", "nobody", "later login", "later payment", "later payment in an old session"}


def test_a_leak_in_later_steps_is_found() -> None:
    """A trait that gives attackers away only after the first attempt makes the later stages fail."""
    plain = traits(lived())
    attacks = np.where([str(subject)[-1] < "8" for subject in plain.subjects], "targeted", HONEST)
    told = (attacks != HONEST) & (plain.steps > 0)
    sample = replace(
        plain, names=("has_rtt",), groups=("presence",), values=told[:, None].astype(float), attacks=attacks
    )
    leaks = {each.stage for each in found(sample) if each.fails}
    assert "later login" in leaks
    assert FIRST not in leaks


def test_a_class_with_campaigns_is_compared_with_the_owners_of_its_days() -> None:
    """Owners who came before, between or after the campaigns of a class are not compared with it: what changes with
    time would give it away."""
    plain = traits(lived())
    flood = next(each for each in ATTACKS if each.days and not each.batch and "customer" in each.domains)
    days, ours = (plain.times - plain.times.min()) // 86_400, plain.attacks == "targeted"
    campaigns = np.select([ours & (days >= 5) & (days < 8), ours & (days >= 20) & (days < 24)], ["early", "late"], "")
    flooded = replace(
        plain,
        attacks=np.where(campaigns != "", flood.name, np.where(plain.attacks == HONEST, HONEST, "another class")),
        campaigns=campaigns,
    )
    rows, attacked = compared(flooded, flood, "customer")
    active = {day for day, campaign in zip(days, campaigns, strict=True) if campaign}
    owners = days[rows[~attacked]]
    assert min(active) < 8
    assert max(active) >= 20
    assert {*owners} <= {5.0, 6.0, 7.0, 20.0, 21.0, 22.0, 23.0}
    assert (owners < 8).any()
    assert (owners >= 20).any()
    assert attacked.sum() == (flooded.attacks[rows] == flood.name).sum() > 0


def test_addresses_are_read_as_they_are_written() -> None:
    """The digits of an address are those of its text."""
    attempt = Attempt(
        domain="customer", subject="x", journey="login", time=61.0, network=Network(client_ip=text(0x01020304))
    )
    sample = traits([(attempt, Truth(assessment_id=""))])
    row = dict(zip(sample.names, sample.values[0], strict=True))
    assert (row["last_octet"], row["third_octet_by_16"], row["second"]) == (4.0, 3.0, 1.0)
