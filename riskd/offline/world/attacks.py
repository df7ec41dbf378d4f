"""The attackers: what defines each class, and nothing else about them.

An attack on an account REPLACES a visit that its owner would have made: hour, weekday and the time since the last visit
are the owner's. Device, typing, consent and settings come from people made as everybody is made.
"""

from __future__ import annotations

from random import Random
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from riskd.core.attempt import Device
from riskd.offline.world.assumptions import Values
from riskd.offline.world.devices import DAY, mix
from riskd.offline.world.people import Link, Person, Town
from riskd.offline.world.visits import Hand, Powers

NOBODY: Final = "nobody"
"""Segment of attempts on accounts that are not there."""
SCRIPTS: Final = ("python-requests/2.32.3", "Go-http-client/2.0", "okhttp/4.12.0", "curl/8.9.1")


class Attack(Struct, frozen=True, kw_only=True):
    """A class. `weight`: its share of all attacks. It is under way for `active` of the time, in campaigns of `days`.

    `visit`: the kind of visit that it replaces. `nobody`: how many accounts that are not there it tries for each that
    is, as a multiple of the assumption. `batch`: accounts that are opened beside one that somebody opens.
    """

    name: str
    what: str
    visit: str
    weight: float
    domains: tuple[str, ...]
    active: float = 1.0
    days: float = 0.0
    nobody: float = 0.0
    batch: int = 0


_PEOPLE: Final = ("customer", "workforce")
ATTACKS: Final = (
    Attack(
        name="stuffing_naive",
        what="a leaked list, tried by scripts from a few rented servers",
        visit="login",
        weight=0.2,
        domains=("customer",),
        active=0.06,
        days=0.5,
        nobody=3.0,
    ),
    Attack(
        name="stuffing_residential",
        what="a list sold as checked, tried once an account through residential proxies",
        visit="login",
        weight=0.2,
        domains=("customer",),
        active=0.5,
        days=6,
        nobody=0.5,
    ),
    Attack(
        name="spraying",
        what="few common passwords on many accounts, slowly, from a few exits of VPNs",
        visit="login",
        weight=0.12,
        domains=_PEOPLE,
        active=0.4,
        days=4,
        nobody=1.0,
    ),
    Attack(
        name="vpn_in_country",
        what="phished credentials, used from a VPN or a server in the owner's country",
        visit="login",
        weight=0.15,
        domains=_PEOPLE,
    ),
    Attack(
        name="targeted",
        what="phished credentials, with city, operator, browser, language and timezone as the owner's",
        visit="login",
        weight=0.13,
        domains=_PEOPLE,
    ),
    Attack(
        name="stolen_cookie",
        what="a live session on another device, half of the time with its device cookie",
        visit="session",
        weight=0.1,
        domains=_PEOPLE,
    ),
    Attack(
        name="recovery_takeover",
        what="whoever has the mailbox recovers the account, then changes it and pays",
        visit="login",
        weight=0.05,
        domains=_PEOPLE,
    ),
    Attack(
        name="registration_bots",
        what="accounts opened by the dozen, on few devices behind proxies",
        visit="registration",
        weight=0.05,
        domains=("customer",),
        active=0.2,
        days=2,
        batch=5,
    ),
    Attack(
        name="machine_key_theft",
        what="a machine's secret, used by other software on another node at another cloud",
        visit="machine",
        weight=0.1,
        domains=("machine",),
    ),
)
VISITS: Final = {
    "customer": {"login": 0.4, "session": 0.17, "registration": 0.012},
    "workforce": {"login": 0.4, "session": 0.17},
    "machine": {"machine": 0.75},
}
"""Visits of each kind for every assessment of a domain, as counted in worlds without attacks."""
CLASSES: Final = tuple(each.name for each in ATTACKS)


class Campaigns:
    """Which attacks are under way, and how likely each is to replace a visit."""

    def __init__(self, seed: int, share: float, values: Values) -> None:
        """`share`: of attacks among all assessments."""
        self._seed, self._share, self._values = seed, share, values

    def drawn(self, random: Random, domain: str, visit: str, time: float) -> tuple[Attack, str] | None:
        """The attack that replaces a visit of this kind, and its campaign; None for none, which is usual."""
        at = random.random()
        for attack in ATTACKS:
            if attack.visit != visit or domain not in attack.domains:
                continue
            campaign = self.campaign(attack, time)
            if not campaign:
                continue
            at -= self.probability(attack, domain)
            if at < 0:
                return attack, campaign
        return None

    def probability(self, attack: Attack, domain: str) -> float:
        """That it replaces one visit while it is under way."""
        total = sum(each.weight for each in ATTACKS if domain in each.domains)
        rows = 1 + attack.nobody * self._values["nobody"] + attack.batch
        visits = VISITS[domain][attack.visit] * rows * attack.active
        return min(self._share * attack.weight / total / visits, 0.5)

    def campaign(self, attack: Attack, time: float) -> str:
        """The campaign of a class that is under way; '' for none. Attacks on single accounts are each their own."""
        if not attack.days:
            return attack.name
        number = int(time / (attack.days * DAY))
        lucky = mix(self._seed, attack.name, number) % 10_000 / 10_000 < attack.active
        return f"{attack.name}-{number}" if lucky else ""


def hand(random: Random, town: Town, account: Person, owner: Hand, attack: Attack, campaign: str, time: float) -> Hand:
    """The attacker's hand where `owner`'s would have been."""
    campaign = campaign if attack.days else f"{attack.name}-{random.getrandbits(40):010x}"
    key = f"{campaign} {random.getrandbits(32)}"
    farm = f"{campaign} {random.getrandbits(2)}"
    local = attack.name in ("targeted", "vpn_in_country", "stolen_cookie", "recovery_takeover") or random.random() < 0.7
    person = town.person(
        farm if attack.name == "registration_bots" else key, "customer", account.country if local else ""
    )
    device, category = _device(random, town, person, owner, attack, time)
    link = _link(random, town, account, person, owner, attack, campaign, category, time)
    return Hand(
        actor=person,
        device=device,
        category=category,
        link=link,
        address=link.address,
        attack=attack.name,
        campaign=campaign,
        segments=tuple(each for each in owner.segments if each in ("new_user", NOBODY)),
    )


def powers(attack: Attack, values: Values, account: Person) -> Powers:
    """What each class can do."""
    code, right = {
        "stuffing_naive": (0.0, values["list_right"]),
        "stuffing_residential": (0.0, values["checked_right"]),
        "spraying": (0.0, values["spray_right"]),
        "vpn_in_country": (values["phished_code"], values["phished_right"]),
        "targeted": (values["targeted_code"], values["phished_right"]),
        "stolen_cookie": (values["phished_code"], 1.0),
        "recovery_takeover": (values["mailbox_code"], 1.0),
        "registration_bots": (0.5, 1.0),
        "machine_key_theft": (0.0, 1.0),
    }[attack.name]
    known = attack.name in ("stuffing_naive", "stuffing_residential")
    stolen = values["stolen_key"] if attack.name == "machine_key_theft" else 0.0
    return Powers(
        password=right,
        passes={
            "STEP_UP": code,
            "PHISHING_RESISTANT": 0.0,
            "HARDWARE_BOUND": stolen,
            "IDENTITY_PROOF": values["forged_proof"] if code else 0.0,
        },
        breached=0.4 if known else values["breached"],
        pays=0.5 if account.domain == "customer" else 0.15,
        updates=0.3,
        told=values["reported"],
        told_days=values["report_days"],
    )


def _device(random: Random, town: Town, person: Person, owner: Hand, attack: Attack, time: float) -> tuple[Device, str]:
    """Another person's device; where the class says so, with the owner's looks."""
    slot = int(random.random() * len(person.slots))
    machine = town.machine(person, slot, time)
    own = owner.device
    private = not own.device_id
    device = town.shop.seen(machine, person.languages, person.home.timezone, time, private=private)
    draws = random.random(), random.random()
    if not own.fingerprint:
        device = replace(device, fingerprint="")
    if attack.name == "targeted":
        fresh = {"device_id": device.device_id, "fingerprint": device.fingerprint}
        return replace(own, **fresh), owner.category
    if attack.name == "stolen_cookie" and draws[0] < 0.5:
        device = replace(device, device_id=own.device_id)
    if attack.name == "stuffing_naive" and draws[1] < 0.4:
        script = SCRIPTS[int(draws[0] * len(SCRIPTS))]
        return replace(device, user_agent=script, platform="", mobile=None), machine.category
    return device, machine.category


def _link(
    random: Random,
    town: Town,
    account: Person,
    person: Person,
    owner: Hand,
    attack: Attack,
    campaign: str,
    category: str,
    time: float,
) -> Link:
    """Where an attacker comes from."""
    pools, name = town.pools, attack.name
    if name == "targeted":
        return _beside(random, town, account, owner, time)
    few = Random(mix(campaign, int(random.random() * (4 if name == "stuffing_naive" else 6))))
    if name == "stuffing_naive":
        address, kind = pools.rented(few, "hosting"), "vpn"
    elif name == "spraying":
        address, kind = pools.rented(few, "vpn", account.country), "vpn"
    elif name == "vpn_in_country":
        rented = "vpn" if random.random() < 0.6 else "hosting"
        address, kind = pools.rented(random, rented, account.country), "vpn"
    else:
        # A residential proxy is somebody's line: where that person will be on a later day.
        later = time + (1 + random.random() * 30) * DAY
        shown = town.link(random, person, later, category)
        address, kind = shown.address, shown.kind
        return Link(kind, address, shown.spot, shown.rtt_ms)
    return town.linked(random, kind, address, pools.spots.get(address & ~255, account.home))


def _beside(random: Random, town: Town, account: Person, owner: Hand, time: float) -> Link:
    """The owner's city and operator, as the owner would have come: another line, or the same carrier's gateway."""
    link = owner.link
    if link.kind in ("mobile", "roaming"):
        asn = (
            account.mobile
            if link.kind == "mobile"
            else next(t.mobile for t in account.trips if t.start <= time < t.end)
        )
        address = town.gateway(account, link.spot, asn, random.random())
    elif link.kind in ("vpn", "relay"):
        address = town.pools.rented(random, link.kind, town.pools.spots[link.address & ~255].country)
    else:
        block = link.address & ~255
        asn, spot = town.pools.owner(block)
        address = town.pools.host(random, town.pools.near(random, asn, spot))
    return town.linked(random, link.kind, address, link.spot)
