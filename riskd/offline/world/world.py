"""Runs the world: everybody's next visit on one clock, and the moves of each visit in order of time."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from random import Random
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from riskd.core.assessment import Assessment
from riskd.core.attempt import DOMAINS, Attempt, Outcome
from riskd.core.history import DAY
from riskd.core.requirement import Requirement, Terms, Tier
from riskd.offline.world import attacks, machines
from riskd.offline.world.addresses import Pools
from riskd.offline.world.assumptions import Values
from riskd.offline.world.attacks import Attack, Campaigns, Scene, Thief, weighed
from riskd.offline.world.devices import Shop, mix
from riskd.offline.world.people import BUSIEST, Person, Town, trip_at
from riskd.offline.world.tables import Tables
from riskd.offline.world.visits import NOBODY, SHARED, Ask, Hand, Moves, Powers, Tell, Visit

START: Final = 1_780_272_000.0
"""Monday, 2026-06-01, 00:00 UTC."""
NEW_DAYS: Final = 14


class Settings(Struct, frozen=True, kw_only=True):
    """The size of a world, and its seed. Another number of users makes another world, not the same one with more
    people."""

    users: int = 800
    days: float = 365.0
    seed: int = 1
    domains: tuple[str, ...] = DOMAINS
    attack_share: float = 0.06
    """The approximate share of attacks among all assessments."""
    start: float = START
    weights: dict[str, float] = {}
    """Weights of classes of attack that differ from the default; 0 for none."""


class Service(Protocol):
    """Answers the world's attempts. `time` is the world's time, the only clock there is."""

    def assess(self, attempt: Attempt, time: float) -> Assessment:
        """The answer to an attempt."""
        ...

    def record(self, outcome: Outcome, time: float) -> None:
        """Record the outcome of an attempt."""
        ...


class OpenDoor:
    """A service that lets everybody in, for attempts as they would be if nothing were required."""

    def assess(self, attempt: Attempt, time: float) -> Assessment:
        """BASELINE, satisfied."""
        return replace(_OPEN, id=f"{mix(attempt.subject, attempt.request_id):032x}")

    def record(self, outcome: Outcome, time: float) -> None:
        """Nothing is learned."""


_OPEN: Final = Assessment(
    id="",
    score=0.0,
    level="low",
    requirement=Requirement(Tier.BASELINE, Terms(aal=0), satisfied=True),
    reasons=(),
    gaps=(),
    coverage=1.0,
    causes=(),
    next_signals=(),
    release="",
    model="",
    valid_until=0.0,
)


class Asked(Struct, frozen=True):
    """An attempt and its answer."""

    ask: Ask
    answer: Assessment


class World:
    """A world with all its inhabitants. Memory grows with the users, not with their activity. Not reusable."""

    def __init__(self, settings: Settings, values: Values, tables: Tables, pools: Pools) -> None:
        self.settings, self.values = settings, values
        end = settings.start + settings.days * DAY
        shop = Shop(tables.models, values, settings.start)
        self.town = Town(
            settings.seed, (settings.start, end), countries=tables.countries, pools=pools, shop=shop, values=values
        )
        self._campaigns = Campaigns(settings.seed, settings.attack_share, values, weighed(settings.weights))
        self._end = end
        self._queue: list[tuple[float, int, Person | tuple[Moves, Ask | Tell]]] = []
        self._pushed = 0
        self._thieves: dict[str, Thief] = {}
        """By subject, who came last in the owner's place, and may come back."""

    def play(self, service: Service) -> Iterator[Asked | Tell]:
        """Everything that happens, in order of time. Outcomes may come after the last day."""
        for index in range(self.settings.users):
            person = self.town.person(index, self._domain(index))
            begins = person if person.life.registered else replace(person, rate=BUSIEST)
            self._push(self._next(begins, person.joined), person)
        while self._queue:
            time, _, item = heappop(self._queue)
            if isinstance(item, Person):
                self._wake(item, time)
                continue
            moves, move = item
            if isinstance(move, Ask):
                answer = service.assess(move.attempt, move.time)
                yield Asked(move, answer)
                self._advance(moves, answer)
            else:
                service.record(move.outcome, move.time)
                yield move
                self._advance(moves, None)

    def _domain(self, index: int) -> str:
        """The domain of a user. Any hundred consecutive users have the assumed shares."""
        chosen, values = self.settings.domains, self.values
        shares = {"customer": values["share_customer"], "workforce": values["share_workforce"]}
        shares["machine"] = max(1 - sum(shares.values()), 0.001)
        at = (index * 0.6180339887498949) % 1.0 * sum(shares[domain] for domain in chosen)
        for domain in chosen:
            at -= shares[domain]
            if at < 0:
                return domain
        return chosen[-1]

    def _next(self, person: Person, after: float) -> float:
        if person.domain == "machine":
            return machines.next_run(self.town, person, after)
        return self.town.next_visit(person, after)

    def _push(self, time: float, item: Person | tuple[Moves, Ask | Tell]) -> None:
        if isinstance(item, Person) and time >= self._end:
            return
        self._pushed += 1
        heappush(self._queue, (time, self._pushed, item))

    def _advance(self, moves: Moves, answer: Assessment | None) -> None:
        try:
            move = moves.send(answer)
        except StopIteration:
            return
        self._push(move.time, (moves, move))

    def _wake(self, person: Person, time: float) -> None:
        """Begin a visit: by the owner, or by an attacker in the owner's place."""
        random = Random(mix(self.settings.seed, person.subject, "visit", person.life.visits))
        person.life.visits += 1
        fate = Random(random.getrandbits(64))
        if person.domain == "machine":
            self._run(fate, person, time)
        elif not person.life.registered:
            self._register(fate, person, time)
        else:
            self._visit(fate, person, time)
        self._push(self._next(person, time), person)

    def _run(self, random: Random, person: Person, time: float) -> None:
        owner = machines.node(random, self.town, person, time)
        drawn = self._campaigns.drawn(random, person.domain, "machine", time)
        hand, powers = owner, self._powers(person)
        if drawn:
            hand = self._copied(random, owner, drawn[1], time)
            powers = attacks.powers(drawn[0], self.values, person)
        self._advance(machines.Job(random, person, hand, powers, self.values).run(time), None)

    def _copied(self, random: Random, owner: Hand, campaign: str, time: float) -> Hand:
        """A node of another machine, with this machine's secret."""
        other = self.town.person(f"{campaign} {random.getrandbits(32)}", "machine")
        hand = machines.node(random, self.town, other, time)
        device = replace(hand.device, attestation="")
        number = f"{campaign}-{random.getrandbits(40):010x}"
        return replace(hand, device=device, attack=campaign, campaign=number, segments=owner.segments)

    def _register(self, random: Random, person: Person, time: float) -> None:
        hand = self._owner(random, person, time)
        self._advance(self._begun(random, person, hand, self._powers(person)).register(time), None)
        drawn = self._campaigns.drawn(random, person.domain, "registration", time)
        if drawn:
            for _ in range(1 + int(random.expovariate(1 / drawn[0].batch))):
                self._stranger(Random(random.getrandbits(64)), *drawn, person.domain, time + random.random() * 7200)

    def _visit(self, random: Random, person: Person, time: float) -> None:
        resumed = self.town.in_session(person, time) and random.random() < self.values["resumed"]
        owner = self._owner(random, person, time, resumed=resumed)
        thief = self._thief(random, person, "session" if resumed else "login", time)
        hand, powers = owner, self._powers(person)
        if thief:
            hand = attacks.hand(Random(thief.seed), self.town, Scene(thief.attack, thief.campaign, person, owner, time))
            powers = attacks.powers(thief.attack, self.values, person)
            powers = replace(powers, password=float(thief.knows(powers)))
            for _ in range(self._nobodies(random, thief.attack)):
                stranger = Random(random.getrandbits(64))
                later = time + random.random() * thief.attack.days * 3600
                self._stranger(stranger, thief.attack, thief.campaign, person.domain, later)
        visit = self._begun(random, person, hand, powers)
        forgotten = random.random() < self.values["forgotten"]
        if resumed:
            moves = visit.resume(time)
        elif thief.attack.name == "recovery_takeover" if thief else forgotten:
            moves = visit.recover(time)
        else:
            moves = visit.sign_in(time)
        self._advance(moves, None)

    def _thief(self, random: Random, person: Person, visit: str, time: float) -> Thief | None:
        """Who comes in the owner's place: mostly nobody, sometimes whoever came the last time, or somebody new.

        Whoever can sign in may come back, whatever was answered, so that draws do not depend on answers.
        """
        drawn = self._campaigns.drawn(random, person.domain, visit, time)
        seed, back = random.getrandbits(64), random.random() < self.values["returns"]
        thief = Thief(*drawn, seed, person.life.reports) if drawn else None
        if visit != "login":
            return thief
        known = self._thieves.pop(person.subject, None)
        thief = known if known and back and known.reports == person.life.reports else thief
        if thief and thief.attack.returns and thief.knows(attacks.powers(thief.attack, self.values, person)):
            self._thieves[person.subject] = thief
        return thief

    def _nobodies(self, random: Random, attack: Attack) -> int:
        mean = attack.nobody * self.values["nobody"]
        return int(random.expovariate(1 / mean) + 0.5) if mean else 0

    def _stranger(self, random: Random, attack: Attack, campaign: str, domain: str, time: float) -> None:
        """An attempt on an account that does not exist, or on one that is being registered."""
        account = self.town.person(f"{campaign} nobody {random.getrandbits(48)}", domain)
        opened = attack.visit == "registration"
        account = account if opened else replace(account, consent=None)
        owner = replace(self._owner(random, account, time), segments=() if opened else (NOBODY,))
        hand = attacks.hand(random, self.town, Scene(attack, campaign, account, owner, time))
        powers = attacks.powers(attack, self.values, account)
        visit = self._begun(random, account, hand, powers if opened else replace(powers, password=0.0))
        self._advance(visit.register(time) if opened else visit.sign_in(time), None)

    def _begun(self, random: Random, account: Person, hand: Hand, powers: Powers) -> Visit:
        return Visit(random, account, hand, powers, self.values)

    def _owner(self, random: Random, person: Person, time: float, *, resumed: bool = False) -> Hand:
        """A person at their own device: a session is resumed on the one that it is on."""
        town, values = self.town, self.values
        drawn = town.slot(random, person)
        slot = person.life.slot if resumed else drawn
        machine = town.machine(person, slot, time)
        link = town.link(random, person, time, machine.category)
        draws = random.random(), random.random()
        private, fingerprinted = draws[0] < values["private"] and not resumed, draws[1] < values["sends_fingerprint"]
        device = town.shop.seen(machine, person.languages, link.spot.timezone, time, private=private)
        if not fingerprinted:
            device = replace(device, fingerprint="")
        facts = {
            "traveller": trip_at(person, time) is not None,
            "vpn": link.kind == "vpn",
            "relay": link.kind == "relay",
            "mobile": link.kind in ("mobile", "roaming"),
            "roaming": link.kind == "roaming",
            "shared_address": link.kind in SHARED,
            "new_device": machine.born > max(person.joined, time - NEW_DAYS * DAY),
            "new_user": time < person.joined + NEW_DAYS * DAY,
            "assistive": person.assistive,
            "private": private,
            "shared_device": person.slots[slot] == person.common,
        }
        segments = tuple(name for name, holds in facts.items() if holds)
        return Hand(actor=person, device=device, category=machine.category, link=link, segments=segments, slot=slot)

    def _powers(self, person: Person) -> Powers:
        """What owners can do."""
        values, domain = self.values, person.domain
        if domain == "machine":
            keyed = float(mix(person.subject, "keyed") % 1000 < 1000 * values["machine_keys"])
            passes = dict.fromkeys(_CHALLENGES, keyed)
        elif domain == "workforce":
            passes = dict.fromkeys(_CHALLENGES, values["staff_keys"]) | {"IDENTITY_PROOF": 0.8}
        else:
            ways = ("owner_step_up", "owner_resistant", "owner_hardware", "owner_proof")
            passes = {tier: values[way] for tier, way in zip(_CHALLENGES, ways, strict=True)}
        pays = {"customer": values["pays"], "workforce": values["pays"] / 10, "machine": 0.02}[domain]
        reported = 0.8 if domain == "machine" else values["complains"]
        return Powers(
            password=1.0,
            passes=passes,
            breached=values["breached"],
            slips=values["typo"],
            misnames=values["misnamed"],
            pays=pays,
            updates=values["updates"],
            reported=reported,
            report_days=0.5,
        )


_CHALLENGES: Final = ("STEP_UP", "PHISHING_RESISTANT", "HARDWARE_BOUND", "IDENTITY_PROOF")
