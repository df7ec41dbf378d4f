"""Machine accounts: jobs on cloud nodes, with a schedule, deployments and rotated keys."""

from __future__ import annotations

from random import Random
from typing import Final

from riskd.core.attempt import Attempt, Device, Network
from riskd.core.history import DAY
from riskd.offline.world.addresses import text
from riskd.offline.world.devices import mix
from riskd.offline.world.people import Link, Person, Town
from riskd.offline.world.visits import Ask, Hand, Moves, Steps, Visit

CLIENTS: Final = ("Go-http-client/2.0", "python-requests/2.32.{}", "Java/21.0.{}", "axios/1.7.{}", "okhttp/4.12.{}")
PERIODS_H: Final = (4, 6, 12, 24, 24, 168)
DEPLOYED_DAYS: Final = 45
RELEASED_DAYS: Final = 30


def next_run(town: Town, person: Person, after: float) -> float:
    """When a job runs next: on its schedule, with some jitter."""
    period = PERIODS_H[mix(person.subject, "period") % len(PERIODS_H)] * 3600
    jitter = Random(mix(town.seed, person.subject, "run", person.life.visits)).expovariate(1 / 20)
    phase = person.phase * period
    return ((after - phase) // period + 1) * period + phase + min(jitter, period / 4)


def node(random: Random, town: Town, person: Person, time: float) -> Hand:
    """Where a job runs now: a node in its cloud, which is replaced with every deployment."""
    base = town.pools.rented(Random(mix(town.seed, person.subject, "cloud")), "hosting") & ~255
    asn, spot = town.pools.owner(base)
    deployed = int(time / (DEPLOYED_DAYS * DAY) + person.phase)
    which = int(random.random() * (1 + mix(person.subject, "nodes") % 3))
    here = Random(mix(person.subject, deployed, which))
    address = town.pools.host(here, town.pools.near(here, asn, spot))
    released = int(time / (RELEASED_DAYS * DAY) + person.phase) % 50
    device = Device(
        user_agent=CLIENTS[mix(person.subject, "client") % len(CLIENTS)].format(released),
        device_id=f"node-{mix(person.subject, deployed, which):016x}",
        attestation="hardware" if mix(person.subject, "attested") % 2 else "",
    )
    link = Link("node", address, spot, round(3 * random.lognormvariate(0, 0.4), 1))
    return Hand(actor=person, device=device, category="machine", link=link)


class Job(Visit):
    """One run of a job."""

    def run(self, time: float) -> Moves:
        """The job signs in and does its work."""
        if self.random.random() < 0.01:
            yield self._ask(time, "login", "failed", 0)
            time += 30
        yield from self._enter(time, "login", "succeeded", 0)

    def _steps(self) -> Steps:
        return ("session", 0.15, 60, 300), ("profile_update", 0.01, 5, 1), ("payment", self.powers.pays, 20, 1)

    def _ask(self, time: float, journey: str, credential: str, failures: int) -> Ask:
        hand, random = self.hand, self.random
        rtt = round(hand.link.rtt_ms * (0.9 + 0.2 * random.random()), 1)
        sent = random.random() < self.values["sends_rtt"]
        attempt = Attempt(
            domain=self.account.domain,
            subject=self.account.subject,
            journey=journey,
            network=Network(client_ip=text(hand.link.address), rtt_ms=rtt if sent else None),
            request_id=f"{random.getrandbits(64):016x}",
            time=round(time, 3),
            credential_result=credential,
            device=hand.device,
            session=self._session(journey),
        )
        return self._asking(attempt)
