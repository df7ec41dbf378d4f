"""A town of sign-ins for replays: people who share addresses and devices, an engine, and outcomes."""

from __future__ import annotations

from random import Random
from typing import Final
from zlib import crc32

from msgspec.structs import replace

from riskd.adapters.memory import MemoryStore
from riskd.core.assess import Release
from riskd.core.attempt import (
    BINDINGS,
    DOMAINS,
    EVENTS,
    JOURNEYS,
    PURPOSES,
    Attempt,
    Behaviour,
    Federation,
    Outcome,
    Outside,
    ReportedPlace,
    SecurityEvent,
    Session,
)
from riskd.core.context import Place
from riskd.core.pseudonym import Pseudonyms
from riskd.engine import Engine
from riskd.ports import DecisionLog
from tests.bench import counting, parts
from tests.cases.world import NOW, WORLD, TableGeo, attempt
from tests.doubles import ForgetfulStore
from tests.shipped import shipped_release

RELEASE: Final = shipped_release()
COUNTING: Final = counting(RELEASE, "plan")
"""The same, and it counts a custom attribute."""
PLACES: Final = [name for name, entry in WORLD["from"].items() if "route" in entry]
KITS: Final = list(WORLD["with"])
KINDS: Final = ("session_established",) * 6 + (
    "challenge_passed",
    "challenge_passed",
    "challenge_failed",
    "challenge_abandoned",
    "recovery_completed",
    "recovery_failed",
    "confirmed_fraud",
    "confirmed_fraud",
    "confirmed_legitimate",
)
TYPES: Final = ("password", "password", "pin", "fido2-roaming")
PEPPER: Final = b"pepper of the town, 32 bytes long"


class Town:
    """Attempts in order of time, about `apart` seconds from each other, with outcomes at once or later, and security
    events for a share of `gossip`. Its city database is outdated. The same seed makes the same log."""

    def __init__(
        self,
        log: DecisionLog,
        seed: int = 1,
        *,
        people: int = 9,
        apart: float = 3000.0,
        gossip: float = 0.0,
        release: Release = RELEASE,
        store: MemoryStore | None = None,
    ) -> None:
        self.now = NOW - 60 * 86_400.0
        self.random = Random(seed)
        self.people = people
        self.apart = apart
        self.since: dict[int, float] = {}
        self.waiting: list[tuple[str, str]] = []
        self.answers = 0
        self.gossip = gossip
        self.store = store or MemoryStore()
        self.engine = Engine(
            parts(
                store=self.store,
                geo=TableGeo({"place": "stale"}),
                log=log,
                pseudonyms=Pseudonyms(PEPPER),
                clock=lambda: self.now,
                random=Random(seed).randbytes,
                attributes=frozenset({"plan"}),
                edge=Place("", 51.5, -0.1, 25.0),
            ),
            release,
        )

    def live(self, attempts: int) -> None:
        """Make this many attempts with their outcomes."""
        random = self.random
        for _ in range(attempts):
            self.now += random.expovariate(1 / self.apart)
            one = self.attempt()
            answer = self.engine.assess(one, 10.0, explain=random.random() < 0.05)
            self.answers += 1
            self.waiting.append((answer.id, one.tenant))
            while random.random() < 0.5:
                late = random.random() < 0.3
                self.tell(*(random.choice(self.waiting) if late else self.waiting[-1]))
            if self.gossip and random.random() < self.gossip:
                self.hear()

    def tell(self, assessment_id: str, tenant: str = "") -> None:
        """Report an outcome of an assessment, possibly twice, late, or in vain."""
        self.now += self.random.random()
        kind = self.random.choice(KINDS)
        late = self.random.random() < 0.3
        amr = self.random.choice([(), ("hwk",), ("pwd", "otp")])
        time = self.now - (5.0 if amr else 30 * 3600.0) if late else None
        told = Outcome(assessment_id=assessment_id, tenant=tenant, kind=kind, amr=amr, time=time)
        self.engine.record(told, 10.0)

    def hear(self) -> None:
        """Record a security event of now or of days ago."""
        self.now += self.random.random()
        random, kind = self.random, self.random.choice(EVENTS)
        who = random.randrange(self.people)
        event = SecurityEvent(
            domain=self.domain(who),
            tenant=self.tenant(who),
            subject=f"person {who}",
            time=self.now - random.expovariate(1 / 86_400) if random.random() < 0.6 else None,
            issuer=random.choice(["", "https://idp.example"]),
            kind=kind,
            level=random.choice(["low", "medium", "high"]) if kind == "risk_level_change" else "",
            credential_type=random.choice(TYPES) if kind.startswith("credential") else "",
            hijacked=kind == "account_disabled" and random.random() < 0.7,
        )
        for _ in range(random.choice([1, 1, 2])):
            self.engine.record_event(event, 10.0)

    def domain(self, who: int) -> str:
        """A person's domain."""
        return DOMAINS[who % 3] if who % 4 == 0 else "customer"

    def tenant(self, who: int) -> str:
        """A person's tenant."""
        return "lake" if who == 5 else ""

    def registered(self, who: int) -> float | None:
        """When a person was registered, days before the first attempt; None if the caller does not say."""
        return self.since.setdefault(who, self.now - (1 + who) * 86_400.0) if who % 2 else None

    def attempt(self) -> Attempt:
        """A random attempt with any signals, with or without consent."""
        random = self.random
        who = random.randrange(self.people)
        home = random.random() < 0.7
        one = attempt(
            {
                "with": KITS[who % 3] if home else random.choice(KITS),
                "from": PLACES[who % 4] if home else random.choice(PLACES),
                "journey": random.choice(JOURNEYS),
                "credential_result": random.choice(["succeeded", "succeeded", "failed", "not_checked"]),
            }
        )
        one = replace(
            one,
            subject=f"person {who}",
            domain=self.domain(who),
            tenant=self.tenant(who),
            time=self.now - random.random() * 9 if random.random() < 0.3 else None,
            network=replace(
                one.network,
                rtt_ms=random.choice([None, 12.0, 80.5]),
                forwarded=random.choice([(), (one.network.client_ip, "10.0.0.1"), ("203.0.113.9",)]),
                ja4=random.choice(["", "t13d1516h2_8daaf6152771_e5627efa2ab1"]),
            ),
            consent=random.choice([None, None, PURPOSES, random.sample(PURPOSES, 3)]),
            attributes=random.choice([{}, {"plan": "gold"}]),
            registration_time=self.registered(who),
        )
        return self.signalled(one)

    def signalled(self, one: Attempt) -> Attempt:
        """The attempt with optional signals, some of the time."""
        random, now = self.random, self.now
        if random.random() < 0.6:
            keys = tuple(random.uniform(60.0, 240.0) for _ in range(random.randrange(4, 16)))
            pasted, pointer = random.choice([None, True, False]), random.choice([None, 0, 7])
            one = replace(
                one,
                behaviour=Behaviour(
                    typing_intervals_ms=keys,
                    pasted=pasted,
                    pointer_events=pointer,
                    form_seconds=random.choice([None, 4.5, 20.25]),
                    form_failures=random.choice([None, 0, 2]),
                ),
            )
        if random.random() < 0.4:
            one = replace(one, place=ReportedPlace(latitude=51.4, longitude=random.uniform(-1, 1), accuracy_m=40.0))
        if random.random() < 0.4:
            one = replace(one, outside=Outside(credential_breached=random.random() < 0.3, risk_level="medium"))
        if random.random() < 0.3:
            bound = Session(id="s", binding=BINDINGS[int(now) % 3])
            one = replace(one, session=replace(bound, start_time=now - 900, authentication_time=now - 60, acr="2"))
        if random.random() < 0.3:
            said = Federation(issuer="https://idp.example", protocol="oidc", amr=("otp",), issue_time=now - 30)
            one = replace(one, federation=replace(said, authentication_time=random.choice([None, now - 3600])))
        return one


def live_with_losses(town: Town, store: ForgetfulStore, attempts: int) -> None:
    """Four times this many attempts, each time with another quarter of all places unread."""
    for lost in range(4):
        store.unread = lambda place, lost=lost: crc32(place) % 4 == lost  # type: ignore[misc]
        town.live(attempts)
    store.unread = lambda _: False


def lived(log: DecisionLog, attempts: int, seed: int = 1, gossip: float = 0.0, release: Release = RELEASE) -> Town:
    """A town after this many attempts; `gossip` is the share of security events."""
    town = Town(log, seed, gossip=gossip, release=release)
    town.live(attempts)
    return town
