"""Attackers differ from owners by their class and by nothing else."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from math import isnan
from random import Random
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from scipy.stats import ks_2samp

from riskd.core.address import parse
from riskd.core.assessment import Assessment
from riskd.core.attempt import DOMAINS, Attempt
from riskd.core.history import DAY
from riskd.core.requirement import Requirement, Terms, Tier
from riskd.core.validation import violations
from riskd.offline.truth import Truth
from riskd.offline.world.assumptions import DEFAULTS, TABLE, varied
from riskd.offline.world.attacks import ATTACKS, CLASSES
from riskd.offline.world.devices import updated
from riskd.offline.world.traits import TRAITS
from riskd.offline.world.visits import NOBODY, Powers
from riskd.offline.world.world import Asked, OpenDoor, Settings
from tests.offline.world.small import LIVELY, POOLS, TABLES, assumed, attempts, tried, world

BESIDE: Final = ("targeted", "stolen_cookie", "recovery_takeover")
"""Attack classes that use lines of the victim's country, as owners do."""
PEOPLE: Final = [each.name for each in ATTACKS if each.visit != "machine"]
TOOLS: Final = [each.name for each in ATTACKS if each.days]
NUISANCE: Final = {
    trait.name: trait.of
    for trait in TRAITS
    if trait.name in ("second", "thousandth", "request_id_digits", "key_spread", "rtt_tenth")
}


def _block(attempt: Attempt) -> int:
    address = parse(attempt.network.client_ip)
    assert address is not None
    return address.value & ~255


@cache
def lived() -> list[tuple[Attempt, Truth]]:
    return attempts(users=150, days=60, seed=15, attack_share=0.25)


@cache
def homes() -> dict[str, str]:
    """The country in which each account's owner mostly is."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for attempt, truth in lived():
        if not truth.attack:
            seen[attempt.subject][POOLS.owner(_block(attempt))[1].country] += 1
    return {subject: countries.most_common(1)[0][0] for subject, countries in seen.items()}


def fields(value: object, path: str = "") -> Iterator[str]:
    """Every field that is set, by its path."""
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            found = getattr(value, name)
            if found not in (None, "", (), {}):
                yield from fields(found, f"{path}.{name}")
    else:
        yield path


def test_every_attempt_is_one_that_riskd_accepts() -> None:
    """Every attempt is valid, and times never run backwards."""
    before = 0.0
    for attempt, _ in lived():
        assert attempt.time is not None
        assert attempt.time >= before
        before = attempt.time
        assert violations(attempt, attempt.time, address_known=True, declared=frozenset()) == []


def test_attackers_carry_no_field_that_owners_never_carry() -> None:
    """By domain, inside and outside of sessions: every field that an attacker sets is also set by some owner."""
    seen: dict[tuple[str, bool, bool], set[str]] = defaultdict(set)
    for attempt, truth in lived():
        inside = attempt.journey in ("session", "payment", "profile_update")
        seen[attempt.domain, inside, bool(truth.attack)].update(fields(attempt))
    for (domain, inside, attacked), found in list(seen.items()):
        if attacked:
            assert found <= seen[domain, inside, False], (domain, inside)


@pytest.mark.parametrize("name", PEOPLE)
@pytest.mark.parametrize("trait", NUISANCE)
def test_unrelated_traits_are_distributed_alike(name: str, trait: str) -> None:
    """A Kolmogorov-Smirnov test finds no difference between a class and owners in unrelated traits (p above 0.0001, 60
    tests). A campaign's tools and scripts may not type at all."""
    values = {
        attacked: [
            NUISANCE[trait](attempt)
            for attempt, truth in lived()
            if truth.attack == (name if attacked else "") and attempt.domain == "customer"
        ]
        for attacked in (True, False)
    }
    known = {attacked: [each for each in found if not isnan(each)] for attacked, found in values.items()}
    if trait == "key_spread" and name in TOOLS:
        return
    assert len(known[True]) > 5
    assert ks_2samp(known[True], known[False]).pvalue > 1e-4


def test_attackers_send_the_consent_that_the_account_has_granted() -> None:
    """Every account has one consent, whoever comes; some grant all purposes, some only a few. One that does not exist
    has none."""
    granted: dict[str, set[tuple[str, ...] | None]] = defaultdict(set)
    for attempt, truth in lived():
        assert NOBODY not in truth.segments or attempt.consent is None
        granted[attempt.subject].add(attempt.consent)
    assert all(len(found) == 1 for found in granted.values())
    attacked = {attempt.subject for attempt, truth in lived() if truth.attack and attempt.domain != "machine"}
    assert {granted[subject] == {None} for subject in attacked} == {True, False}


def test_a_session_stays_on_its_device() -> None:
    """All that its owner does in it has one device identifier; none that began in a private window is resumed."""
    devices: dict[tuple[str, float | None], set[str]] = defaultdict(set)
    for attempt, truth in lived():
        if not truth.attack and attempt.session and attempt.device:
            devices[attempt.subject, attempt.session.start_time].add(attempt.device.device_id)
            assert attempt.device.device_id or truth.step
    assert len(devices) > 200
    assert all(len(found) == 1 for found in devices.values())


def test_a_session_ends_with_its_device_and_with_its_cookies() -> None:
    """Nobody resumes what a new device, or one whose cookies were cleared, cannot have."""
    town = world(users=1, days=60, seed=9).town
    values, start = town.values, town.start
    for index in range(200):
        person = town.person(index, "customer")
        for day in range(1, 60):
            time = start + day * DAY
            person.life.session = time - 10 * DAY
            machine = town.machine(person, 0, time)
            cleared = (time + machine.key % 1000 * DAY) % (values["cookie_days"] * DAY)
            assert town.in_session(person, time) == (min(cleared, time - machine.born) >= 10 * DAY)
            person.life.session = time - values["session_days"] * DAY
            assert not town.in_session(person, time)


def test_an_owners_password_is_in_a_breach_corpus_or_is_not() -> None:
    """Every right try of an account says the same, in about the assumed share of accounts; a wrong try is another
    password."""
    told: dict[str, set[bool]] = defaultdict(set)
    wrong: list[bool] = []
    for attempt, truth in lived():
        if attempt.outside and not truth.attack:
            found = bool(attempt.outside.credential_breached)
            if attempt.credential_result == "failed":
                wrong.append(found)
            else:
                told[attempt.subject].add(found)
    assert all(len(found) == 1 for found in told.values())
    for share in (sum(found == {True} for found in told.values()) / len(told), sum(wrong) / len(wrong)):
        assert 0.2 < share / DEFAULTS["breached"] < 3


def test_attacks_replace_visits_and_never_add_any() -> None:
    """Every account is visited at the same times, whatever the share of attackers."""

    def moments(share: float) -> set[float | None]:
        told = attempts(users=60, days=30, seed=2, attack_share=share)
        return {
            attempt.time
            for attempt, truth in told
            if truth.step == 0
            and not (truth.attack and NOBODY in truth.segments)
            and truth.attack != "registration_bots"
        }

    assert moments(0.0) == moments(0.3)


def test_a_form_counts_its_failures_until_it_succeeds() -> None:
    """A sign-in carries the number of failed tries before it in the same visit, those under a wrong name too."""
    failed: Counter[str] = Counter()
    before: dict[str, float] = {}
    carried = 0
    for attempt, truth in lived():
        if attempt.journey != "login" or attempt.domain == "machine":
            continue
        time, who = attempt.time or 0.0, attempt.subject
        if not truth.step or time - before.get(who, 0.0) > 600:
            failed[who] = truth.step
        before[who] = time
        if attempt.behaviour:
            assert attempt.behaviour.form_failures == failed[who]
            carried += attempt.credential_result == "succeeded" and failed[who] > 0
        failed[who] += attempt.credential_result == "failed"
    assert carried > 50


@pytest.mark.parametrize("name", ["stuffing_residential", "spraying", "stolen_cookie", "recovery_takeover"])
def test_there_are_careful_and_careless_of_a_class(name: str) -> None:
    """In each class, some attackers use the victim's country and timezone and some do not."""
    met = [
        (spot.country == homes()[attempt.subject], attempt.device.timezone == spot.timezone)
        for attempt, truth in lived()
        if truth.attack == name and attempt.device and attempt.subject in homes()
        for spot in [POOLS.owner(_block(attempt))[1]]
    ]
    for at in (0, 1):
        share = sum(each[at] for each in met) / len(met)
        assert 0.25 < share < 0.95, (name, at, share)


def test_new_lines_of_owners_and_attackers_are_equally_shared() -> None:
    """On lines of one kind that an account never used, in a country where it was, as many others were seen before an
    attacker as before an owner.

    Over all kinds they were not: most new lines of owners are a carrier's gateways, most of attackers are homes. Those
    who share a home are left out: a new line of theirs is known by the others.
    """
    crowds: dict[tuple[str, bool], list[bool]] = defaultdict(list)
    lines: dict[str, set[int]] = defaultdict(set)
    countries: dict[str, set[str]] = defaultdict(set)
    networks: dict[int, set[str]] = defaultdict(set)
    sellers = {each.asn: each.kind for each in TABLES.operators}
    alone = Settings(users=320, days=60, seed=6, attack_share=0.5, domains=("customer",))
    for attempt, truth in tried(assumed({**LIVELY, "together": 0.0}, alone)):
        address = parse(attempt.network.client_ip)
        assert address is not None
        block, who = address.value & ~255, attempt.subject
        asn, spot = POOLS.owner(block)
        fresh = address.value not in lines[who] and spot.country in countries[who]
        if truth.step == 0 and fresh and truth.attack in ("", *BESIDE):
            crowds[sellers[asn], bool(truth.attack)].append(bool(networks[block] - {who}))
        if not truth.attack:
            lines[who].add(address.value)
            countries[who].add(spot.country)
            networks[block].add(who)
    for kind in ("access", "mobile"):
        owners, attackers = crowds[kind, False], crowds[kind, True]
        assert min(len(owners), len(attackers)) > 60
        assert abs(sum(owners) / len(owners) - sum(attackers) / len(attackers)) < 0.15


def test_nobody_gets_into_an_account_that_does_not_exist() -> None:
    """All tries of such accounts fail, also those of owners who mistype the name as often as assumed. The loudest class
    makes as many for each of one that exists as assumed."""
    nobody = [(attempt, truth) for attempt, truth in lived() if NOBODY in truth.segments]
    assert {attempt.credential_result for attempt, _ in nobody} == {"failed"}
    assert not {attempt.subject for attempt, _ in nobody} & {
        attempt.subject for attempt, one in lived() if NOBODY not in one.segments
    }
    mistyped = sum(not truth.attack and not truth.step for _, truth in nobody)
    signed = [one for one, truth in lived() if not truth.attack and one.credential_result == "succeeded"]
    assert 0.5 < mistyped / sum(one.domain != "machine" for one in signed) / DEFAULTS["misnamed"] < 2
    visits = Counter(NOBODY in one.segments for _, one in lived() if one.attack == "stuffing_naive" and not one.step)
    assert 0.6 < visits[True] / visits[False] / (3 * DEFAULTS["nobody"]) < 1.5


def test_some_attackers_come_back() -> None:
    """Whoever can sign in comes the next time, too, as often as assumed, to the same account and with the same tools;
    thieves of sessions do not."""
    came: dict[str, list[Attempt]] = defaultdict(list)
    for attempt, truth in lived():
        if truth.attack in (*BESIDE, "vpn_in_country"):
            came[truth.campaign].append(attempt)
    back = {campaign: (tries[-1].time or 0) - (tries[0].time or 0) > 6 * 3600 for campaign, tries in came.items()}
    assert not any(again for campaign, again in back.items() if campaign.startswith("stolen_cookie"))
    able = [again for campaign, again in back.items() if not campaign.startswith("stolen_cookie")]
    assert 0.4 < sum(able) / len(able) / DEFAULTS["returns"] < 1.2
    for tries in came.values():
        assert len({one.subject for one in tries}) == 1
        assert len({one.device.device_id for one in tries if one.device} - {""}) <= 3


def test_nobody_comes_back_after_a_report() -> None:
    """When a takeover is reported, the password is changed."""
    campaigns: dict[str, str] = {}
    reported: set[str] = set()
    made = world(users=60, days=40, seed=3, attack_share=0.4, domains=("customer",), weights={"targeted": 5.0})
    for event in made.play(OpenDoor()):
        if isinstance(event, Asked):
            campaigns[event.answer.id] = event.ask.campaign
            assert event.ask.attack != "targeted" or event.ask.campaign not in reported
        elif event.outcome.kind == "confirmed_fraud":
            reported.add(campaigns[event.outcome.assessment_id])
    assert len(reported) > 20


def test_any_hundred_users_have_the_assumed_shares_of_domains() -> None:
    """Customers, staff and machines come by turns."""
    made = world(users=1)
    for first in (0, 1000):
        told = Counter(made._domain(index) for index in range(first, first + 100))
        assert abs(told["customer"] - 66) <= 2
        assert abs(told["workforce"] - 28) <= 2


def test_segments_say_how_an_owner_came() -> None:
    """Each segment holds for those visits of which it says so."""
    made = world(users=1, days=60, seed=6)
    time = made.settings.start + 30 * 86_400
    names: Counter[str] = Counter()
    for index in range(900):
        person = made.town.person(index, "customer")
        trip = any(one.start <= time < one.end for one in person.trips)
        hand = made._owner(Random(index), person, time)
        names.update(hand.segments)
        assert ("traveller" in hand.segments) == trip
        for segment in ("vpn", "relay", "roaming"):
            assert (segment in hand.segments) == (hand.link.kind == segment)
        assert ("mobile" in hand.segments) == (hand.link.kind in ("mobile", "roaming"))
        assert ("shared_address" in hand.segments) == (hand.link.kind in ("mobile", "roaming", "vpn", "relay"))
        assert ("private" in hand.segments) == (not hand.device.device_id)
        assert ("assistive" in hand.segments) == person.assistive
        assert ("new_user" in hand.segments) == (time < person.joined + 14 * 86_400)
        born = max(machine.born for machine in person.life.machines.values())
        assert ("new_device" in hand.segments) == (born > max(person.joined, time - 14 * 86_400))
    assert names.keys() >= {"traveller", "vpn", "relay", "mobile", "private", "assistive", "new_user", "new_device"}
    assert names["private"] / 900 == pytest.approx(DEFAULTS["private"], abs=0.02)


def test_owners_pass_what_the_assumptions_say() -> None:
    """Customers by the tier, staff nearly always short of a proof, and a machine that has a key always."""
    made, tiers = world(users=1), ("STEP_UP", "PHISHING_RESISTANT", "HARDWARE_BOUND", "IDENTITY_PROOF")

    def powers(domain: str, index: int = 1) -> Powers:
        return made._powers(made.town.person(index, domain))

    ways = ("owner_step_up", "owner_resistant", "owner_hardware", "owner_proof")
    assert powers("customer").passes == {tier: DEFAULTS[way] for tier, way in zip(tiers, ways, strict=True)}
    assert powers("workforce").passes == {**dict.fromkeys(tiers, DEFAULTS["staff_keys"]), "IDENTITY_PROOF": 0.8}
    keyed = [powers("machine", index).passes for index in range(400)]
    assert all(each in (dict.fromkeys(tiers, 1.0), dict.fromkeys(tiers, 0.0)) for each in keyed)
    assert sum(each["STEP_UP"] for each in keyed) / 400 == pytest.approx(DEFAULTS["machine_keys"], abs=0.06)
    for domain, pays, reported in (
        ("customer", DEFAULTS["pays"], DEFAULTS["complains"]),
        ("workforce", DEFAULTS["pays"] / 10, DEFAULTS["complains"]),
        ("machine", 0.02, 0.8),
    ):
        can = powers(domain)
        assert (can.pays, can.reported, can.report_days) == (pays, reported, 0.5)
        assert (can.password, can.slips) == (1.0, DEFAULTS["typo"])
        assert (can.breached, can.updates) == (DEFAULTS["breached"], DEFAULTS["updates"])


def test_every_class_is_there_where_it_belongs() -> None:
    """Each class appears, only in its own domains; campaigns name their class, and owners have none."""
    seen = Counter((attempt.domain, truth.attack) for attempt, truth in lived())
    assert {attack for _, attack in seen} == {*CLASSES, ""}
    for attack in ATTACKS:
        assert {domain for domain, name in seen if name == attack.name} <= set(attack.domains)
    assert all(
        truth.campaign.startswith(f"{truth.attack}-") if truth.attack else not truth.campaign for _, truth in lived()
    )


def test_the_share_of_attacks_is_about_what_was_asked_for() -> None:
    """The share of attacks is within a factor of two of the requested one, and zero for zero."""
    share = sum(bool(truth.attack) for _, truth in lived()) / len(lived())
    assert 0.125 < share < 0.5
    assert not any(truth.attack for _, truth in attempts(users=20, days=20, attack_share=0.0))


def test_a_class_appears_by_its_weight() -> None:
    """A class of weight zero does not appear, a heavier one appears more often, and the total stays about the same."""
    told = {"users": 150, "days": 40.0, "seed": 5, "domains": ("customer",), "attack_share": 0.25}
    usual = Counter(truth.attack for _, truth in attempts(**told))
    other = Counter(truth.attack for _, truth in attempts(**told, weights={"targeted": 0.0, "stolen_cookie": 0.5}))
    assert usual["targeted"] > 0
    assert other["targeted"] == 0
    assert other["stolen_cookie"] > 1.3 * usual["stolen_cookie"]
    assert 0.6 < (other.total() - other[""]) / (usual.total() - usual[""]) < 1.6


@given(st.sampled_from(DOMAINS), st.integers(0, 2**32))
def test_only_the_domains_asked_for_are_there(domain: str, seed: int) -> None:
    """Every attempt is of a requested domain."""
    told = attempts(users=4, days=2, seed=seed, domains=(domain,))
    assert {attempt.domain for attempt, _ in told} <= {domain}


def test_the_same_seed_is_the_same_world_and_another_is_another() -> None:
    """The same seed gives the same attempts; another seed does not."""
    one = attempts(users=20, days=10, seed=3)
    assert one == attempts(users=20, days=10, seed=3)
    assert one != attempts(users=20, days=10, seed=4)


def test_memory_grows_with_the_users_and_not_with_the_days() -> None:
    """The queue holds one visit per person plus visits in progress and pending reports."""

    def waiting(days: float) -> int:
        made = world(users=60, days=days, seed=1, attack_share=0.1)
        return max(len(made._queue) for _ in made.play(OpenDoor()))

    assert waiting(60) < waiting(15) + 60


def test_a_worlds_people_look_alike_wherever_they_are_asked_for() -> None:
    """A person depends only on the seed and the index."""
    town = world(users=1, days=30, seed=9).town
    first = town.person(7, "customer")
    town.person(8, "customer")
    assert replace(town.person(7, "customer"), life=first.life) == first


@given(st.integers(0, 2**32))
def test_varied_worlds_stay_within_the_ranges(seed: int) -> None:
    """Varied assumptions are reproducible and within their ranges, and so is each default."""
    values = varied(seed)
    assert values == varied(seed)
    for each in TABLE:
        assert each.low <= values[each.name] <= each.high
        assert each.low <= each.value <= each.high


class Gate(OpenDoor):
    """Requires a one-time code of everybody."""

    def assess(self, attempt: Attempt, time: float) -> Assessment:
        return replace(super().assess(attempt, time), requirement=Requirement(Tier.STEP_UP, Terms(2), satisfied=False))


def test_every_assumption_is_used() -> None:
    """Every assumption is used by the simulation."""
    asked: set[str] = set()

    class Watched(dict[str, float]):
        def __getitem__(self, name: str) -> float:
            asked.add(name)
            return super().__getitem__(name)

    made = world(users=1)
    for seed in range(3):
        lived = type(made)(
            replace(made.settings, users=40, days=30, seed=seed, attack_share=0.3),
            Watched(LIVELY),
            TABLES,
            made.town.pools,
        )
        for _ in lived.play(Gate()):
            pass
    assert {each.name for each in TABLE} - asked == set()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Mozilla/5.0 Chrome/148.0.0.0 Safari/537.36", "Mozilla/5.0 Chrome/150.0.0.0 Safari/537.36"),
        ("Mozilla/5.0 (X11; rv:140.0) Firefox/140.0", "Mozilla/5.0 (X11; rv:142.0) Firefox/142.0"),
        ("Version/26.6 Mobile/15E148 Safari/604.1", "Version/26.6 Mobile/15E148 Safari/604.1"),
    ],
)
def test_browsers_update_their_own_version_alone(before: str, after: str) -> None:
    """An update changes only the browser's own version."""
    assert updated(before, 2) == after
    assert updated(before, 0) == before
