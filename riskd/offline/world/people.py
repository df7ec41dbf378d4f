"""The people of the world: their lasting habits, and what follows from them at any time."""

from __future__ import annotations

from bisect import bisect
from itertools import accumulate
from random import Random
from typing import Final

from msgspec import Struct

from riskd.core.attempt import PURPOSES
from riskd.core.history import DAY
from riskd.offline.world.addresses import Pools, Spot
from riskd.offline.world.assumptions import Values
from riskd.offline.world.devices import Machine, Shop, mix
from riskd.offline.world.tables import HOURS, WEEKDAYS, Country

OFFICES: Final = 3
EGRESSES: Final = 3
BUSIEST: Final = 8.0
"""Visits a day, at most."""
HOUSE: Final = 4
"""Customers with consecutive indices, of whom those live together who live with others."""
YEAR: Final = 365.0
ISSUERS: Final = ("https://login.example/realms/staff", "https://partners.example/idp")


class Trip(Struct, frozen=True, gc=False):
    """Days away. `asn`, `mobile`: the operators there."""

    start: float
    end: float
    spot: Spot
    asn: int
    mobile: int


class Home(Struct, frozen=True, gc=False):
    """Where people live. `line`, `phase`, `common`: see `Person`."""

    line: int
    spot: Spot
    asn: int
    block: int
    phase: float
    common: str


class Link(Struct, frozen=True, gc=False):
    """How somebody is connected. `spot`: where the person is.

    `kind`: home, mobile, away, roaming, vpn, relay, office or egress.
    """

    kind: str
    address: int
    spot: Spot
    rtt_ms: float


class Life:
    """The changing state of a person: number of visits, current session, devices in use."""

    def __init__(self, *, registered: bool) -> None:
        self.registered = registered
        self.visits = 0
        self.session = self.authenticated = 0.0
        """When the current session began (0: none), and when its owner last authenticated."""
        self.amr: tuple[str, ...] = ()
        self.slot = 0
        """Of the device that the current session is on."""
        self.machines: dict[int, Machine] = {}
        """By slot."""
        self.reports = 0
        """Takeovers that were reported so far."""


class Person(Struct, frozen=True, kw_only=True):
    """A person: lasting habits, and the state that follows from them."""

    index: int
    subject: str
    domain: str
    country: str
    languages: tuple[str, ...]
    home: Spot
    asn: int
    block: int
    mobile: int
    line: int
    """Identifies the line of the home. Those who live together have the same one."""
    phase: float
    """When the line changes its address, as a part of the time between two changes."""
    slots: tuple[str, ...]
    common: str
    """The category of a device that all who live together use; '' without one."""
    typing: float
    """Mean of the logarithm of the milliseconds between keys."""
    assistive: bool
    manager: bool
    consent: tuple[str, ...] | None
    vpn: str
    """Country of the VPN's exit; '' without a VPN."""
    relay: bool
    trips: tuple[Trip, ...]
    rate: float
    """Visits a day."""
    favourites: tuple[float, float]
    """Local hours."""
    joined: float
    office: int
    issuer: str
    life: Life


def trip_at(person: Person, time: float) -> Trip | None:
    """The trip that a person is on at a time; None at home."""
    return next((trip for trip in person.trips if trip.start <= time < trip.end), None)


class Town:
    """Creates people, and determines where they are and what they use."""

    def __init__(
        self,
        seed: int,
        span: tuple[float, float],
        *,
        countries: tuple[Country, ...],
        pools: Pools,
        shop: Shop,
        values: Values,
    ) -> None:
        """`span`: the first and the last time, in epoch seconds."""
        self.seed, self.pools, self.shop, self.values = seed, pools, shop, values
        self.start, self.end = span
        self._countries = countries
        self._shares = list(accumulate(each.share for each in countries))
        self._by_code = {each.code: each for each in countries}
        self._first = max(countries, key=lambda each: each.share).code

    def person(self, index: int | str, domain: str, country: str = "") -> Person:
        """The person with this index. The result does not depend on earlier calls."""
        values, random = self.values, Random(mix(self.seed, "person", index))
        draws = [random.random() for _ in range(12)]
        office = int(draws[11] * OFFICES)
        home = self._home(index, domain, country, office)
        mobile = self.pools.operator(random, home.spot.country, "mobile")
        country = home.spot.country
        assistive = draws[0] < values["assistive"]
        rate = values["visits_median"] / YEAR * 2.718281828 ** (random.gauss(0, values["visits_spread"]))
        joined = self.start
        if domain == "customer" and draws[5] < values["newcomers"]:
            joined += draws[6] * (self.end - self.start)
        return Person(
            index=index if isinstance(index, int) else -1,
            subject=f"{domain[0]}{mix(self.seed, 'subject', index):016x}",
            domain=domain,
            country=country,
            languages=self._by_code[country].languages,
            home=home.spot,
            asn=home.asn,
            block=home.block,
            mobile=mobile,
            line=home.line,
            phase=home.phase,
            slots=self._slots(draws[2], random, domain, home.common),
            common=home.common,
            typing=random.gauss(6.0, 0.5) if assistive else random.gauss(4.9, 0.25),
            assistive=assistive,
            manager=draws[3] < values["manager"],
            consent=_consent(draws[7]) if draws[4] < values["withholds"] else None,
            vpn=self._vpn(draws[8], draws[9], country, domain),
            relay=domain == "customer" and draws[10] < values["relay_users"],
            trips=self._trips(random, country),
            rate=min(rate, BUSIEST) if domain == "customer" else values["staff_visits"],
            favourites=self._favourites(random, domain),
            joined=joined,
            office=office,
            issuer=ISSUERS[draws[11] > 0.9] if domain == "workforce" else "",
            life=Life(registered=joined == self.start),
        )

    def elsewhere(self, random: Random, country: str) -> str:
        """Another country, all with the same probability."""
        return random.choice([each.code for each in self._countries if each.code != country])

    def slot(self, random: Random, person: Person) -> int:
        """Which of a person's devices is used: usually the first."""
        others, second, which = len(person.slots) - 1, random.random() >= 0.6, random.random()
        return 1 + int(which * others) if others and second else 0

    def machine(self, person: Person, slot: int, time: float) -> Machine:
        """The device that a person uses in a slot now. It is replaced at the end of its life."""
        life = self.values["device_days"] * DAY
        common = person.slots[slot] == person.common
        owner = mix(self.seed, person.line, "common") if common else mix(self.seed, person.subject, slot)
        phase = owner % 1_000_000 / 1e6 * life
        generation = int((time + phase) // life)
        known = person.life.machines.get(slot)
        born = generation * life - phase
        if known is None or known.born != born:
            key = mix(owner, generation)
            known = person.life.machines[slot] = self.shop.machine(key, person.slots[slot], born)
        return known

    def in_session(self, person: Person, time: float) -> bool:
        """Whether the account's session can be resumed: it is young, and its device still has its cookies."""
        life = person.life
        if not 0 < life.session > time - self.values["session_days"] * DAY:
            return False
        machine, clearings = self.machine(person, life.slot, time), self.shop.clearings
        return machine.born <= life.session and clearings(machine, life.session) == clearings(machine, time)

    def link(self, random: Random, person: Person, time: float, category: str) -> Link:
        """How a person is connected at a time, with a device of this category."""
        values = self.values
        draws = [random.random() for _ in range(5)]
        trip = trip_at(person, time)
        spot = trip.spot if trip else person.home
        commutes = person.domain == "workforce" and trip is None and person.country == self._first
        if commutes and draws[0] < values["office_share"]:
            address = self.office(person.office, int(draws[1] * 2))
            return self.linked(random, "office", address, self.pools.spots[address & ~255])
        if person.domain == "workforce" and draws[2] < values["egress_share"]:
            return self.linked(random, "egress", self.egress(int(draws[1] * EGRESSES)), spot)
        if person.vpn and draws[2] < values["vpn_on"]:
            exit_of = Random(mix(person.subject, int(time // DAY)))
            return self.linked(random, "vpn", self.pools.rented(exit_of, "vpn", person.vpn), spot)
        if category != "desktop" and draws[3] < values["mobile_share"]:
            asn = trip.mobile if trip else person.mobile
            return self.linked(random, "roaming" if trip else "mobile", self.gateway(person, spot, asn, draws[4]), spot)
        if person.relay:
            return self.linked(random, "relay", self.pools.rented(random, "relay", spot.country), spot)
        if trip:
            hotel = Random(mix(person.subject, int(trip.start)))
            return self.linked(random, "away", self.pools.host(hotel, self.pools.near(hotel, trip.asn, spot)), spot)
        return self.linked(random, "home", self.home(person, time), spot)

    def home(self, person: Person, time: float) -> int:
        """The address of a person's home, which the operator changes from time to time."""
        lease = int(time / (self.values["move_days"] * DAY) + person.phase)
        random = Random(mix(person.line, "lease", lease))
        moved = random.random() >= self.values["same_network"]
        block = self.pools.near(random, person.asn, person.home) if moved else person.block
        return self.pools.host(random, block)

    def gateway(self, person: Person, spot: Spot, asn: int, draw: float) -> int:
        """One of the few carrier addresses that a subscriber gets."""
        addresses = self.pools.gateways(spot.country, asn)
        few = max(int(self.values["gateways"]), 1)
        return addresses[(mix(person.subject, asn) + int(draw * few)) % len(addresses)]

    def office(self, office: int, exit_: int) -> int:
        """An address of an office."""
        random, block = self._network("office", office)
        return (self.pools.host(random, block), self.pools.host(random, block))[exit_]

    def _network(self, *of: int | str) -> tuple[Random, int]:
        """A network of the company, and what draws the addresses in it."""
        random = Random(mix(self.seed, *of))
        asn = self.pools.operator(random, self._first, "access")
        return random, self.pools.block(random, self._first, asn)

    def egress(self, exit_: int) -> int:
        """An exit address of the company's VPN."""
        random, block = self._network("egress")
        return [self.pools.host(random, block) for _ in range(EGRESSES)][exit_]

    def next_visit(self, person: Person, after: float) -> float:
        """When a person visits next: at their rate, and at a usual hour and weekday."""
        random = Random(mix(self.seed, person.subject, "wake", person.life.visits))
        time = after
        for _ in range(60):
            time += max(random.expovariate(person.rate), 0.01) * DAY
            weekday = int(time // DAY + 3) % 7
            if person.domain == "workforce":
                if weekday >= 5 and random.random() < 0.95:
                    continue
            elif random.random() > WEEKDAYS[weekday] / 0.1544:
                continue
            favourite = random.random() < self.values["favourite_hours"]
            hour = random.gauss(person.favourites[random.random() < 0.5], 0.8) if favourite else _hour(random)
            trip = trip_at(person, time)
            east = (trip.spot if trip else person.home).longitude / 15.0
            came = time // DAY * DAY + (hour - east) % 24 * 3600 + random.random() * 60
            return came if came > after + 600 else after + 600 + random.random() * 7200
        return time

    def _home(self, index: int | str, domain: str, country: str, office: int) -> Home:
        """Where somebody lives: some customers with others, staff near their office or in another country."""
        values, pools, customer = self.values, self.pools, isinstance(index, int) and domain == "customer"
        together = customer and mix(self.seed, "together", index) / 2**64 < values["together"]
        line = mix(self.seed, "home", f"house {int(index) // HOUSE}" if together else index)
        random = Random(line)
        drawn = self._countries[bisect(self._shares, random.random() * self._shares[-1])].code
        near = not country and domain == "workforce" and (random.random() < 0.9 or drawn == self._first)
        country = country or (self._first if near else drawn)
        asn = pools.operator(random, country, "access")
        town = pools.spots[self._network("office", office)[1]]
        block = pools.around(random, asn, town) if near else pools.block(random, country, asn)
        draws = random.random(), random.random(), random.random()
        common = ("desktop" if draws[1] < 0.5 else "tablet") if together and draws[0] < values["common"] else ""
        return Home(line, pools.spots[block], asn, block, draws[2], common)

    def _slots(self, draw: float, random: Random, domain: str, common: str) -> tuple[str, ...]:
        values = self.values
        if domain == "workforce":
            return ("desktop", "mobile") if draw < 0.4 else ("desktop",)
        chances = (("mobile", values["phone"]), ("desktop", values["computer"]), ("tablet", values["tablet"]))
        owned = tuple([category for category, share in chances if random.random() < share or category == common])
        return owned or ("mobile",)

    def _vpn(self, draw: float, other: float, country: str, domain: str) -> str:
        if domain != "customer" or draw >= self.values["vpn_users"]:
            return ""
        return country if other < 0.6 else self._countries[int(other * 997) % len(self._countries)].code

    def _favourites(self, random: Random, domain: str) -> tuple[float, float]:
        if domain == "workforce":
            return random.gauss(8.3, 0.6), random.gauss(13.2, 0.8)
        return _hour(random), _hour(random)

    def _trips(self, random: Random, country: str) -> tuple[Trip, ...]:
        values, time = self.values, self.start
        trips: list[Trip] = []
        while True:
            time += random.expovariate(values["trips"] / 90) * DAY
            if time >= self.end:
                return tuple(trips)
            there = self.elsewhere(random, country) if random.random() < values["abroad"] else country
            asn = self.pools.operator(random, there, "access")
            spot = self.pools.spots[self.pools.block(random, there, asn)]
            end = time + (0.5 + random.expovariate(1 / values["trip_days"])) * DAY
            trips.append(Trip(time, end, spot, asn, self.pools.operator(random, there, "mobile")))
            time = end

    def linked(self, random: Random, kind: str, address: int, spot: Spot) -> Link:
        """A connection of somebody at `spot` with the public address `address`."""
        return Link(
            kind, address, spot, _rtt(random, kind, self.pools.spots.get(address & ~255, spot), spot, self._first)
        )


_HOUR_BOUNDS: Final = list(accumulate(HOURS))
_SLOW: Final = {"mobile": 30.0, "roaming": 60.0, "vpn": 15.0, "relay": 10.0, "egress": 12.0}


def _consent(draw: float) -> tuple[str, ...]:
    return ("security", *(PURPOSES[1:3] if draw < 0.5 else ()))


def _hour(random: Random) -> float:
    return min(bisect(_HOUR_BOUNDS, random.random() * _HOUR_BOUNDS[-1]), 23) + random.random()


def _rtt(random: Random, kind: str, exit_: Spot, spot: Spot, first: str) -> float:
    """Round-trip time, in milliseconds, to a service in the most populous country, by way of the public address."""
    far = sum(90.0 for country in (exit_.country, spot.country) if country != first) * (
        0.5 if exit_.country == spot.country else 1.0
    )
    return round((9.0 + _SLOW.get(kind, 0.0) + far) * random.lognormvariate(0, 0.35), 1)
