"""The attackers: what defines each class of attack, and nothing else about them.

An attack on an account replaces a visit that its owner would have made: hour, weekday and the time since the last visit
are the owner's, and consent is the account's. Device, typing and settings come from people who are created like all
others.

In every class some attackers are careful and some careless: their address is in another country, their clock and
language are those of their home, or they fail first. Otherwise looking riskier would prove honesty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from riskd.core.attempt import Device
from riskd.core.history import DAY
from riskd.offline.world.assumptions import Values
from riskd.offline.world.devices import mix
from riskd.offline.world.people import Link, Person, Town
from riskd.offline.world.visits import NOBODY, Hand, Powers

_NEAR: Final = ("targeted", "vpn_in_country")
"""Classes whose address is always in the victim's country; for the others, the assumption `matched` decides."""
_RENTING: Final = ("stolen_cookie", "recovery_takeover", "registration_bots")
"""Classes that use residential proxies, except for the share `rented`."""
_GUESSING: Final = ("stuffing_naive", "stuffing_residential", "spraying", "vpn_in_country", "targeted")
"""Classes that have passwords, and so try variants of them."""
_LISTS: Final = ("stuffing_naive", "stuffing_residential", "spraying")
"""Classes that try many accounts, each with few tools."""
SCRIPTS: Final = ("python-requests/2.32.3", "Go-http-client/2.0", "okhttp/4.12.0", "curl/8.9.1")


class Attack(Struct, frozen=True, kw_only=True):
    """A class of attack. `weight`: its share of all attacks.

    It is active for the share `active` of the time, in campaigns of `days`. `visit`: the kind of visit that it
    replaces. `nobody`: how many accounts that do not exist it tries for each that does, as a multiple of the
    assumption. `batch`: accounts that it registers for each one that somebody registers.
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

    @property
    def returns(self) -> bool:
        """Whether its attackers may come back: they aim at one account, and can sign in to it again."""
        return self.visit == "login" and not self.days


_PEOPLE: Final = ("customer", "workforce")
ATTACKS: Final = (
    Attack(
        name="stuffing_naive",
        what="a leaked list, tried from a few rented servers, by scripts of which some say so",
        visit="login",
        weight=0.2,
        domains=("customer",),
        active=0.15,
        days=0.5,
        nobody=3.0,
    ),
    Attack(
        name="stuffing_residential",
        what="a list sold as checked, tried through residential proxies, a few variants an account",
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
        what="an attacker with the mailbox recovers the account, and often changes it or pays",
        visit="login",
        weight=0.05,
        domains=_PEOPLE,
    ),
    Attack(
        name="registration_bots",
        what="accounts opened in batches, on few devices, mostly behind residential proxies",
        visit="registration",
        weight=0.05,
        domains=("customer",),
        active=0.2,
        days=2,
        batch=5,
    ),
    Attack(
        name="machine_key_theft",
        what="a machine's secret, used on another node, mostly by other software at another cloud",
        visit="machine",
        weight=0.1,
        domains=("machine",),
    ),
)
VISITS: Final = {
    "customer": {"login": 0.47, "session": 0.09, "registration": 0.047},
    "workforce": {"login": 0.4, "session": 0.17},
    "machine": {"machine": 0.75},
}
"""Visits of each kind per assessment of a domain, as counted in worlds without attacks."""
CLASSES: Final = tuple(each.name for each in ATTACKS)


def weighed(weights: Mapping[str, float]) -> tuple[Attack, ...]:
    """Every class, with its weight replaced if `weights` names it."""
    return tuple(replace(each, weight=weights.get(each.name, each.weight)) for each in ATTACKS)


TRIES: Final = 1.7
"""Assessments per visit of an attacker."""


class Thief(Struct, frozen=True):
    """An attacker in an owner's place. The same `seed` is the same attacker, with the same tools.

    `reports`: takeovers of the account that had been reported. After another one the password is a new one.
    """

    attack: Attack
    campaign: str
    seed: int
    reports: int

    def knows(self, powers: Powers) -> bool:
        """Whether the attacker has the right password."""
        return mix(self.seed, "password") / 2**64 < powers.password


class Campaigns:
    """Determines which attacks are active, and how likely each is to replace a visit."""

    def __init__(self, seed: int, share: float, values: Values, attacks: Sequence[Attack] = ATTACKS) -> None:
        """`share`: the share of attacks among all assessments."""
        self._seed, self._share, self._values, self._attacks = seed, share, values, attacks

    def drawn(self, random: Random, domain: str, visit: str, time: float) -> tuple[Attack, str] | None:
        """The attack that replaces a visit of this kind, and its campaign; usually None."""
        at = random.random()
        for attack in self._attacks:
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
        """The probability that an attack replaces one visit while it is active."""
        total = sum(each.weight for each in self._attacks if domain in each.domains)
        rows = TRIES * (1 + attack.nobody * self._values["nobody"] + attack.batch)
        if attack.returns:
            rows /= 1 - self._values["returns"]
        visits = VISITS[domain][attack.visit] * rows * attack.active
        return min(self._share * attack.weight / (total or 1.0) / visits, 0.5)

    def campaign(self, attack: Attack, time: float) -> str:
        """The active campaign of a class; '' if there is none. Attacks on single accounts are campaigns of their
        own."""
        if not attack.days:
            return attack.name
        number = int(time / (attack.days * DAY))
        lucky = mix(self._seed, attack.name, number) % 10_000 / 10_000 < attack.active
        return f"{attack.name}-{number}" if lucky else ""


class Scene(Struct, frozen=True):
    """A visit by an attacker: to whose account, and how its owner would have come."""

    attack: Attack
    campaign: str
    account: Person
    owner: Hand
    time: float


def hand(random: Random, town: Town, scene: Scene) -> Hand:
    """The attacker's hand in place of the owner's."""
    attack, account, owner = scene.attack, scene.account, scene.owner
    campaign = scene.campaign if attack.days else f"{attack.name}-{random.getrandbits(40):010x}"
    tool = random.getrandbits(2) if attack.days else random.getrandbits(32)
    near = attack.name in _NEAR or random.random() < town.values["matched"]
    country = account.country if near else town.elsewhere(random, account.country)
    person = town.person(f"{campaign} {tool}", account.domain, country)
    machine = town.machine(person, town.slot(random, person), scene.time)
    link = _link(random, town, scene, person, machine.category)
    draws = random.random(), random.random()
    if attack.name == "stuffing_naive":
        link = town.linked(random, link.kind, link.address, person.home)
    elif attack.name != "targeted" and random.random() >= town.values["disguised"]:
        home = town.person(f"{campaign} at home", account.domain, town.elsewhere(Random(mix(campaign)), ""))
        person = replace(person, languages=home.languages)
        link = town.linked(random, link.kind, link.address, home.home)
    private, category = not owner.device.device_id, machine.category
    habits = Random(mix(campaign, tool, "habits"))
    fills = bool(attack.days) and habits.random() >= town.values["imitates"]
    if attack.name in _LISTS and habits.random() < town.values["rotates"]:
        machine = replace(machine, key=mix(machine.key, account.subject))
    device = town.shop.seen(machine, person.languages, link.spot.timezone, scene.time, private=private)
    if not owner.device.fingerprint:
        device = replace(device, fingerprint="")
    if attack.name == "targeted":
        app = owner.category == "mobile" and draws[0] < town.values["sends_attestation"]
        fresh = {"device_id": device.device_id, "fingerprint": device.fingerprint}
        device, category = replace(owner.device, attestation="hardware" if app else "", **fresh), owner.category
    elif attack.name == "stolen_cookie" and draws[0] < 0.5:
        device = replace(device, device_id=owner.device.device_id)
    elif attack.name == "stuffing_naive" and draws[0] < 0.4:
        script = SCRIPTS[int(draws[1] * len(SCRIPTS))]
        device, category = Device(user_agent=script), "script"
    return Hand(
        actor=person,
        device=device,
        category=category,
        link=link,
        attack=attack.name,
        campaign=campaign,
        segments=tuple(each for each in owner.segments if each in ("new_user", NOBODY)),
        fills=fills,
    )


def powers(attack: Attack, values: Values, account: Person) -> Powers:
    """What attackers of each class can do."""
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
        slips=values["typo"] + (values["variants"] if attack.name in _GUESSING else 0.0),
        pays=0.5 if account.domain == "customer" else 0.15,
        misnames=0.0,
        updates=0.3,
        reported=values["reported"],
        report_days=values["report_days"],
    )


def _link(random: Random, town: Town, scene: Scene, person: Person, category: str) -> Link:
    """Where an attacker comes from."""
    pools, name = town.pools, scene.attack.name
    if name == "targeted":
        return _beside(random, town, scene)
    few = Random(mix(scene.campaign, int(random.random() * 5))) if scene.attack.days else random
    if name == "stuffing_naive":
        address = pools.rented(few, "hosting")
    elif name == "spraying":
        address = pools.rented(few, "vpn", person.country)
    elif name == "vpn_in_country" or (name in _RENTING and random.random() < town.values["rented"]):
        address = pools.rented(few, "vpn" if few.random() < 0.6 else "hosting", person.country)
    else:
        # A residential proxy is a real person's connection: the one of that person on a later day.
        later = scene.time + (1 + random.random() * 30) * DAY
        if name in _LISTS:
            person = town.person(f"{scene.campaign} {random.getrandbits(32)}", person.domain, person.country)
        return town.link(random, replace(person, domain="customer"), later, category)
    return town.linked(random, "vpn", address, pools.spots[address & ~255])


def _beside(random: Random, town: Town, scene: Scene) -> Link:
    """In the owner's city and network, connected like the owner: on another line, or through the same carrier's
    gateway."""
    link, account, pools = scene.owner.link, scene.account, town.pools
    asn, spot = pools.owner(link.address & ~255)
    if link.kind in ("mobile", "roaming"):
        address = town.gateway(account, link.spot, asn, random.random())
    elif link.kind in ("vpn", "relay"):
        address = pools.rented(random, link.kind, spot.country)
    else:
        address = pools.host(random, pools.near(random, asn, spot))
    return town.linked(random, link.kind, address, link.spot)
