"""Each class of attacker does what its description says, as often as the assumptions say."""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Final

import pytest
from msgspec.structs import replace

from riskd.core.attempt import Device
from riskd.core.history import DAY
from riskd.offline.world.assumptions import DEFAULTS
from riskd.offline.world.attacks import ATTACKS, SCRIPTS, Attack, Campaigns, Scene, hand, powers, weighed
from riskd.offline.world.people import Person
from riskd.offline.world.visits import NOBODY, Hand
from riskd.offline.world.world import START
from tests.offline.world.small import KINDS, POOLS, world

WORLD: Final = world(users=1, days=60, seed=2)
TIME: Final = START + 20 * DAY
BY_NAME: Final = {attack.name: attack for attack in ATTACKS}
PEOPLE: Final = [each for each in ATTACKS if each.visit != "machine"]
NEAR: Final = ("targeted", "vpn_in_country")
RETURNING: Final = ("vpn_in_country", "targeted", "recovery_takeover")
RENTING: Final = ("stolen_cookie", "recovery_takeover", "registration_bots")
SHARE: Final = 0.1
"""How far a share of 300 draws may be from what was assumed: more than three standard errors."""


@cache
def visited(name: str, campaign: str = "c") -> list[tuple[Person, Hand, Hand]]:
    """300 accounts, how their owners would have come, and the attackers who come instead."""
    told = []
    for index in range(300):
        random = Random(index)
        account = WORLD.town.person(index, "customer")
        owner = WORLD._owner(random, account, TIME)
        told.append((account, owner, hand(random, WORLD.town, Scene(BY_NAME[name], campaign, account, owner, TIME))))
    return told


def country(hand: Hand) -> str:
    return POOLS.owner(hand.link.address & ~255)[1].country


def share(told: list[bool]) -> float:
    return sum(told) / len(told)


@pytest.mark.parametrize("attack", PEOPLE, ids=lambda attack: attack.name)
def test_an_attackers_country_is_the_victims_as_often_as_assumed(attack: Attack) -> None:
    """Whoever aims at one account is in its owner's country; of the others, the share `matched`. Those who rent servers
    come from wherever there are any, and a line elsewhere is another country."""
    here = share([thief.actor.country == account.country for account, _, thief in visited(attack.name)])
    wanted = 1.0 if attack.name in NEAR else DEFAULTS["matched"]
    assert abs(here - wanted) <= (0 if attack.name in NEAR else SHARE)
    if attack.name not in ("targeted", "stuffing_naive"):
        assert share([country(thief) == thief.actor.country for *_, thief in visited(attack.name)]) > 0.95


@pytest.mark.parametrize("attack", PEOPLE, ids=lambda attack: attack.name)
def test_an_attackers_line_is_of_its_class(attack: Attack) -> None:
    """Servers, exits of VPNs or the lines of people, each as the class has them."""
    kinds = [KINDS.get(POOLS.owner(thief.link.address & ~255)[0], "line") for _, _, thief in visited(attack.name)]
    rented = {
        "stuffing_naive": {"hosting": 1.0, "vpn": 0.0},
        "spraying": {"hosting": 0.0, "vpn": 1.0},
        "vpn_in_country": {"hosting": 0.4, "vpn": 0.6},
        **{name: {"hosting": 0.4 * DEFAULTS["rented"], "vpn": 0.6 * DEFAULTS["rented"]} for name in RENTING},
    }.get(attack.name, {"hosting": 0.0, "vpn": 0.0})
    for kind, wanted in rented.items():
        assert abs(kinds.count(kind) / len(kinds) - wanted) < (SHARE if wanted < 1 else 1e-9), kind


@pytest.mark.parametrize("attack", PEOPLE, ids=lambda attack: attack.name)
def test_clock_and_language_fit_the_line_as_often_as_assumed(attack: Attack) -> None:
    """Somebody who is not disguised keeps the clock of home; naive stuffing never looks at the address, and an attacker
    who aims at one person has the owner's."""
    fits = share([thief.link.spot == place(thief) for *_, thief in visited(attack.name)])
    wanted = {"targeted": None, "stuffing_naive": 0.0}.get(attack.name, DEFAULTS["disguised"])
    if wanted is None:
        assert all(thief.link.spot == owner.link.spot for _, owner, thief in visited(attack.name))
        return
    # Somebody in a privacy relay or on a trip has a clock of another place than the address, disguised or not.
    assert wanted - SHARE - 0.1 * (wanted > 0) < fits < wanted + SHARE
    for _, _, thief in visited(attack.name):
        assert thief.device.timezone == ("" if thief.category == "script" else thief.link.spot.timezone)


def place(hand: Hand) -> object:
    """Where the databases locate the address, or the home of whoever has the line."""
    spot = POOLS.owner(hand.link.address & ~255)[1]
    return hand.actor.home if hand.link.kind == "home" and hand.link.spot == hand.actor.home else spot


def test_a_targeted_attacker_has_all_of_the_owner_but_device_and_line() -> None:
    """City, operator, browser, screen, language and clock are the owner's; identifier, fingerprint and address are
    not."""
    for account, owner, thief in visited("targeted"):
        seen, mine = thief.device, owner.device
        for name in ("user_agent", "platform", "mobile", "screen", "languages", "timezone"):
            assert getattr(seen, name) == getattr(mine, name)
        assert (bool(seen.device_id), bool(seen.fingerprint)) == (bool(mine.device_id), bool(mine.fingerprint))
        assert not seen.device_id or seen.device_id != mine.device_id
        assert not seen.fingerprint or seen.fingerprint != mine.fingerprint
        assert (thief.link.kind, thief.category) == (owner.link.kind, owner.category)
        (theirs, there), (ours, here) = (POOLS.owner(each.link.address & ~255) for each in (thief, owner))
        if thief.link.kind not in ("vpn", "relay"):
            assert (theirs, there.country) == (ours, here.country)
        if thief.link.kind in ("home", "away"):
            assert there.city == here.city
            assert thief.link.address != owner.link.address
        assert account.subject != thief.actor.subject
    apps = [bool(thief.device.attestation) for _, owner, thief in visited("targeted") if owner.category == "mobile"]
    assert abs(sum(apps) / len(apps) - DEFAULTS["sends_attestation"]) < SHARE
    assert not any(thief.device.attestation for _, _, thief in visited("targeted") if thief.category != "mobile")


def test_half_of_the_stolen_sessions_come_with_the_device_cookie() -> None:
    """The identifier of the owner's device, on a device that looks otherwise."""
    cookies = [(owner.device, thief.device) for _, owner, thief in visited("stolen_cookie") if owner.device.device_id]
    copied = [theirs for ours, theirs in cookies if theirs.device_id == ours.device_id]
    assert abs(len(copied) / len(cookies) - 0.5) < SHARE
    assert all(not one.fingerprint or one.fingerprint != owner.fingerprint for owner, one in cookies)


def test_some_of_a_raw_list_is_tried_by_scripts_that_say_so() -> None:
    """Two in five, which send nothing else that a page would; no other class has the user agent of a script."""
    thieves = [thief for _, _, thief in visited("stuffing_naive")]
    scripts = [one for one in thieves if one.category == "script"]
    assert abs(len(scripts) / len(thieves) - 0.4) < SHARE
    assert {one.device.user_agent for one in scripts} == set(SCRIPTS)
    assert all(one.device == Device(user_agent=one.device.user_agent) for one in scripts)
    for attack in PEOPLE:
        for _, _, thief in visited(attack.name):
            assert (thief.device.user_agent in SCRIPTS) == (thief.category == "script")
            assert thief.category != "script" or attack.name == "stuffing_naive"


@pytest.mark.parametrize(("name", "most"), [("stuffing_naive", 5), ("spraying", 5)])
def test_a_campaign_comes_from_few_addresses(name: str, most: int) -> None:
    """At most five addresses, for sprayers in each country; another campaign has others."""
    seen = [
        {
            (thief.actor.country if name == "spraying" else "", thief.link.address)
            for *_, thief in visited(name, campaign)
        }
        for campaign in ("c", "d")
    ]
    for found in seen:
        countries = [where for where, _ in found]
        assert max(countries.count(where) for where in countries) == most
    assert not seen[0] & seen[1]


@pytest.mark.parametrize("attack", PEOPLE, ids=lambda attack: attack.name)
def test_a_campaign_has_few_tools(attack: Attack) -> None:
    """Four, each with a rhythm of its own, and each either fills in forms or types; attackers on single accounts are
    people, each another."""
    thieves = [thief for _, _, thief in visited(attack.name)]
    assert len({thief.actor.subject for thief in thieves}) == (4 if attack.days else 300)
    assert len({thief.actor.typing for thief in thieves}) == (4 if attack.days else 300)
    for tool in {thief.actor.subject for thief in thieves}:
        assert len({thief.fills for thief in thieves if thief.actor.subject == tool}) == 1
    assert attack.days or not any(thief.fills for thief in thieves)


@pytest.mark.parametrize("name", ["stuffing_residential", "spraying", "registration_bots"])
def test_tools_have_the_habits_that_the_assumptions_say(name: str) -> None:
    """The assumed share imitates people; of a list's tools, the assumed share shows another device for each account,
    and the others, like those of bots, always the same. A residential proxy is another line each time."""
    filling, rotating = [], []
    for campaign in (f"campaign {number}" for number in range(40)):
        tools: dict[str, list[Hand]] = {}
        for index in range(40):
            random = Random(index)
            account = WORLD.town.person(index, "customer")
            owner = WORLD._owner(random, account, TIME)
            thief = hand(random, WORLD.town, Scene(BY_NAME[name], campaign, account, owner, TIME))
            tools.setdefault(thief.actor.subject, []).append(thief)
        for thieves in tools.values():
            filling.append(thieves[0].fills)
            identifiers = {thief.device.device_id for thief in thieves} - {""}
            rotating.append(len(identifiers) > 3)  # phone, computer and tablet
            assert not rotating[-1] or len(identifiers) == len([one for one in thieves if one.device.device_id])
        lines = [thief.link.address for thieves in tools.values() for thief in thieves]
        assert name != "stuffing_residential" or len(set(lines)) > 30
    assert abs(share(filling) - (1 - DEFAULTS["imitates"])) < 0.16
    assert abs(share(rotating) - (DEFAULTS["rotates"] if name != "registration_bots" else 0.0)) < 0.16


@pytest.mark.parametrize("attack", PEOPLE, ids=lambda attack: attack.name)
def test_an_attacker_comes_without_what_the_owner_would_not_have_sent(attack: Attack) -> None:
    """Private windows and missing fingerprints are those of the visit that is replaced, and so are its segments of a
    new user or of nobody."""
    for account, owner, thief in visited(attack.name):
        page = thief.category != "script"
        assert bool(thief.device.device_id) == (page and bool(owner.device.device_id))
        assert bool(thief.device.fingerprint) == (page and bool(owner.device.fingerprint))
        assert set(thief.segments) == {"new_user"} & set(owner.segments)
        assert thief.attack == attack.name
        assert account.index >= 0 > thief.actor.index
    account, owner, _ = visited(attack.name)[0]
    nobody = Scene(attack, "c", account, replace(owner, segments=(NOBODY, "vpn"), device=Device()), TIME)
    assert hand(Random(0), WORLD.town, nobody).segments == (NOBODY,)


@pytest.mark.parametrize("attack", PEOPLE, ids=lambda attack: attack.name)
def test_campaigns_are_one_attackers_or_many(attack: Attack) -> None:
    """Attempts of a campaign have its name; an attacker on one account has a campaign alone."""
    names = {thief.campaign for *_, thief in visited(attack.name)}
    assert names == {"c"} if attack.days else len(names) == 300


@pytest.mark.parametrize(
    ("name", "password", "code", "breached"),
    [
        ("stuffing_naive", "list_right", None, 0.4),
        ("stuffing_residential", "checked_right", None, 0.4),
        ("spraying", "spray_right", None, None),
        ("vpn_in_country", "phished_right", "phished_code", None),
        ("targeted", "phished_right", "targeted_code", None),
        ("stolen_cookie", None, "phished_code", None),
        ("recovery_takeover", None, "mailbox_code", None),
        ("registration_bots", None, None, None),
        ("machine_key_theft", None, None, None),
    ],
)
def test_attackers_can_do_what_the_assumptions_say(
    name: str, password: str | None, code: str | None, breached: float | None
) -> None:
    """Who has which password, passes which challenge, and tries variants. A key in hardware stops all but the thief of
    a machine's key."""
    account = WORLD.town.person(1, "customer")
    can = powers(BY_NAME[name], DEFAULTS, account)
    assert can.password == (DEFAULTS[password] if password else 1.0)
    assert can.breached == (breached or DEFAULTS["breached"])
    wanted = DEFAULTS[code] if code else {"registration_bots": 0.5}.get(name, 0.0)
    assert can.passes == {
        "STEP_UP": wanted,
        "PHISHING_RESISTANT": 0.0,
        "HARDWARE_BOUND": DEFAULTS["stolen_key"] if name == "machine_key_theft" else 0.0,
        "IDENTITY_PROOF": DEFAULTS["forged_proof"] if wanted else 0.0,
    }
    assert can.slips == DEFAULTS["typo"] + (DEFAULTS["variants"] if password else 0.0)
    assert (can.pays, can.updates, can.misnames) == (0.5, 0.3, 0.0)
    assert powers(BY_NAME[name], DEFAULTS, WORLD.town.person(1, "workforce")).pays == 0.15
    assert (can.reported, can.report_days) == (DEFAULTS["reported"], DEFAULTS["report_days"])


def test_a_class_is_active_for_its_share_of_the_time() -> None:
    """Campaigns last as long as their class says, and cover the share of time that it says; the others are always
    active."""
    made = Campaigns(7, 0.06, DEFAULTS)
    for attack in ATTACKS:
        if not attack.days:
            assert made.campaign(attack, TIME) == attack.name
            continue
        told = [made.campaign(attack, (number + 0.5) * attack.days * DAY) for number in range(2000)]
        assert abs(sum(map(bool, told)) / 2000 - attack.active) < 0.04
        assert len({*told} - {""}) == sum(map(bool, told))
        first = next(number for number, name in enumerate(told) if name)
        assert made.campaign(attack, (first + 0.999) * attack.days * DAY) == told[first]
        assert made.campaign(attack, (first + 1) * attack.days * DAY) != told[first]


@pytest.mark.parametrize("domain", ["customer", "workforce", "machine"])
def test_classes_share_the_attacks_of_a_domain_by_weight(domain: str) -> None:
    """While active, a class replaces visits as often as its weight, its rows a visit and its activity ask for."""
    values = {**DEFAULTS, "nobody": 0.0}
    share, made = 0.01, Campaigns(7, 0.01, values)
    for attack in ATTACKS:
        if domain not in attack.domains:
            continue
        total = sum(each.weight for each in ATTACKS if domain in each.domains)
        login, session = (0.47, 0.09) if domain == "customer" else (0.4, 0.17)
        visits = {"login": login, "session": session, "registration": 0.047, "machine": 0.75}[attack.visit]
        rows = made.probability(attack, domain) * visits * 1.7 * (1 + attack.batch) * attack.active
        rows /= 1 - (DEFAULTS["returns"] if attack.name in RETURNING else 0.0)
        assert rows == pytest.approx(share * attack.weight / total)
        more = Campaigns(7, 0.01, DEFAULTS).probability(attack, domain)
        assert made.probability(attack, domain) == pytest.approx(more * (1 + attack.nobody * DEFAULTS["nobody"]))
    assert max(Campaigns(7, 1.0, values, weighed({})).probability(each, "customer") for each in PEOPLE) == 0.5
