"""One visit, by anybody: owners and attackers take the same steps in the same code.

A visit is a generator of moves. Each attempt is answered, and the required tier decides how the visit continues. Owner
and attacker differ only in `Hand`, who types on what from where, and `Powers`, what they can do.
"""

from __future__ import annotations

from collections.abc import Generator
from random import Random
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from riskd.core.assessment import Assessment
from riskd.core.attempt import (
    Attempt,
    Behaviour,
    Device,
    Federation,
    Network,
    Outcome,
    Outside,
    ReportedPlace,
    Session,
)
from riskd.core.history import DAY
from riskd.core.requirement import Tier
from riskd.offline.world.addresses import text
from riskd.offline.world.assumptions import Values
from riskd.offline.world.devices import mix
from riskd.offline.world.people import Link, Person

NOBODY: Final = "nobody"
"""The segment of attempts on accounts that do not exist."""
SHARED: Final = ("mobile", "roaming", "office", "egress", "vpn", "relay")


class Ask(Struct, frozen=True):
    """An attempt at a time, with its truth. The assessment is sent back into the generator."""

    time: float
    attempt: Attempt
    attack: str
    campaign: str
    segments: tuple[str, ...]
    step: int
    """How many attempts the same visit made before it."""


class Tell(Struct, frozen=True):
    """An outcome at a time."""

    time: float
    outcome: Outcome


Moves = Generator[Ask | Tell, Assessment | None, None]
Steps = tuple[tuple[str, float, float, float], ...]
"""What a session may be used for: journey, probability, seconds after the step before at the soonest, and the mean of
what is added."""


class Hand(Struct, frozen=True, kw_only=True):
    """Who types, on what device, from where."""

    actor: Person
    device: Device
    category: str
    """mobile, desktop or tablet; script for a program that runs no page, machine for a job."""
    link: Link
    attack: str = ""
    campaign: str = ""
    segments: tuple[str, ...] = ()
    slot: int = 0
    """Of the owner's device."""
    fills: bool = False
    """A tool fills in the form, without keys and pointer."""


class Powers(Struct, frozen=True, kw_only=True):
    """What somebody can do. `passes`: the probability of passing a challenge, by the name of its tier."""

    password: float
    passes: dict[str, float]
    breached: float
    slips: float
    """Probability that a try is wrong and another one follows: a typing error, or a variant that an attacker tries."""
    misnames: float
    """Probability that the first try is of an account that does not exist."""
    pays: float
    updates: float
    reported: float
    """Probability that it becomes known: that a takeover is reported, or that a locked-out owner is confirmed."""
    report_days: float


class Visit:
    """The steps of one visit. It has its own `random`, so that nothing else that happens changes what it draws."""

    def __init__(self, random: Random, account: Person, hand: Hand, powers: Powers, values: Values) -> None:
        self.random, self.account, self.hand, self.powers, self.values = random, account, hand, powers, values
        self.session = (account.life.session, account.life.authenticated, account.life.amr)
        self.leaked = mix(account.subject, "password") / 2**64
        """Below `breached` if the account's password is in a breach corpus. A wrong one is drawn for each try."""
        self.let_in: list[str] = []
        self.shut_out: list[str] = []
        self.amr: tuple[str, ...] = ("pwd",)
        self.asked = 0

    def sign_in(self, time: float) -> Moves:
        """A login with its tries, and what follows if it succeeds."""
        random, powers = self.random, self.powers
        known, tries = random.random() < powers.password, 0
        if random.random() < powers.misnames:
            time, tries = yield from self._misname(time)
        time, tries = yield from self._slip(time, tries)
        if not known:
            yield self._ask(time, "login", "failed", tries)
            return
        yield from self._enter(time, "login", "succeeded", tries)

    def resume(self, time: float) -> Moves:
        """A session that is assessed again, and what is done in it."""
        passed, time = yield from self._through(time, "session", "not_checked", 0)
        if passed:
            time = yield from self._inside(time)
        yield from self._aftermath(time)

    def recover(self, time: float) -> Moves:
        """A forgotten password: perhaps tried first, then recovered."""
        if self.random.random() < 0.5:
            time, tries = yield from self._slip(time)
            if not tries:
                yield self._ask(time, "login", "failed", 0)
                time += 20 + self.random.expovariate(1 / 30)
        yield from self._enter(time, "recovery", "not_checked", 0)

    def register(self, time: float) -> Moves:
        """A new account, and its first session."""
        self.account.life.registered = self.random.random() < 0.5
        yield from self._enter(time, "registration", "not_checked", 0)

    def _enter(self, time: float, journey: str, credential: str, failures: int) -> Moves:
        """What begins a session, what the session is used for, and what is reported of both."""
        passed, time = yield from self._through(time, journey, credential, failures)
        if passed:
            self._begin(time)
            time = yield from self._inside(time)
        yield from self._aftermath(time)

    def _slip(self, time: float, tries: int = 0) -> Generator[Ask | Tell, Assessment | None, tuple[float, int]]:
        """Tries that fail before the one that counts. The form has counted them."""
        while self.random.random() < self.powers.slips and tries < 4:
            yield self._ask(time, "login", "failed", tries)
            tries += 1
            time += 4 + self.random.expovariate(1 / 15)
        return time, tries

    def _misname(self, time: float) -> Generator[Ask | Tell, Assessment | None, tuple[float, int]]:
        """Tries of an account that does not exist, by somebody who has another one: half notice it after one."""
        subject = f"{self.account.domain[0]}{mix(self.account.subject, 'misnamed', self.random.getrandbits(32)):016x}"
        tries = 0
        while not tries or (self.random.random() < 0.5 and tries < 3):
            ask = self._ask(time, "login", "failed", tries)
            attempt = replace(ask.attempt, subject=subject, consent=None)
            yield replace(ask, attempt=attempt, segments=(*ask.segments, NOBODY))
            tries += 1
            time += 4 + self.random.expovariate(1 / 15)
        return time, tries

    def _inside(self, time: float) -> Generator[Ask | Tell, Assessment | None, float]:
        """What a session is used for, until a challenge is not passed. Returns when it ended."""
        wanted = [step for step in self._steps() if self.random.random() < step[1]]
        for journey, _, soonest, more in wanted:
            time += soonest + self.random.expovariate(1 / more)
            passed, time = yield from self._through(time, journey, "not_checked", 0)
            if not passed:
                break
        return time

    def _steps(self) -> Steps:
        powers = self.powers
        return (
            ("session", 0.3, 60, 1200),
            ("profile_update", powers.updates, 30, 120),
            ("payment", powers.pays, 60, 400),
        )

    def _through(
        self, time: float, journey: str, credential: str, failures: int
    ) -> Generator[Ask | Tell, Assessment | None, tuple[bool, float]]:
        """One attempt and its challenge. Returns whether it was let in, and at what time."""
        random = self.random
        answer = yield self._ask(time, journey, credential, failures)
        draws = [random.random() for _ in range(4)]
        if answer is None:
            return False, time
        requirement, seconds = answer.requirement, round(6 + random.expovariate(1 / 12), 1)
        if requirement.tier is Tier.DENY and not requirement.satisfied:
            self.shut_out.append(answer.id)
            return False, time
        if requirement.tier is not Tier.BASELINE and not requirement.satisfied:
            time += seconds
            if draws[0] >= self.powers.passes[requirement.tier.name]:
                self.shut_out.append(answer.id)
                yield Tell(time, self._given_up(answer.id, journey, abandoned=draws[2] < self.values["abandons"]))
                return False, time
            methods = requirement.terms.amr
            self.amr = methods[int(draws[1] * len(methods))] if methods else ("face",)
            yield Tell(time, Outcome(assessment_id=answer.id, kind="challenge_passed", amr=self.amr, seconds=seconds))
        kind = "recovery_completed" if journey == "recovery" else "session_established"
        yield Tell(time + 1, Outcome(assessment_id=answer.id, kind=kind))
        self.let_in.append(answer.id)
        return True, time + 1

    def _given_up(self, assessment_id: str, journey: str, *, abandoned: bool) -> Outcome:
        failed = "recovery_failed" if journey == "recovery" else "challenge_failed"
        return Outcome(assessment_id=assessment_id, kind="challenge_abandoned" if abandoned else failed)

    def _aftermath(self, time: float) -> Moves:
        """What is reported days later: fraud for an attack that was let in, a confirmation for an owner who was not.

        Then the password is changed, and nobody comes back with the old one.
        """
        attacked = bool(self.hand.attack)
        ids = self.let_in if attacked else self.shut_out
        if not ids or self.random.random() >= self.powers.reported:
            return
        when = time + 3600 + self.random.expovariate(1 / (self.powers.report_days * DAY))
        kind = "confirmed_fraud" if attacked else "confirmed_legitimate"
        for number, assessment_id in enumerate(ids):
            yield Tell(when + number, Outcome(assessment_id=assessment_id, kind=kind))
        self.account.life.reports += attacked

    def _ask(self, time: float, journey: str, credential: str, failures: int) -> Ask:
        hand, random, values = self.hand, self.random, self.values
        draws = [random.random() for _ in range(9)]
        time = round(time, 3)
        attempt = Attempt(
            domain=self.account.domain,
            subject=self.account.subject,
            journey=journey,
            network=self._network(draws),
            request_id=f"{random.getrandbits(64):016x}",
            time=time,
            credential_result=credential,
            device=hand.device,
            place=self._place(draws[3], draws[4]),
            behaviour=self._behaviour(failures)
            if draws[5] < values["sends_behaviour"] and hand.category != "script"
            else None,
            session=self._session(journey),
            federation=self._federation(time, draws[6]) if credential == "succeeded" else None,
            outside=Outside(
                credential_breached=(draws[8] if credential == "failed" else self.leaked) < self.powers.breached
            )
            if draws[7] < values["sends_breach"] and journey == "login"
            else None,
            consent=self.account.consent,
        )
        return self._asking(attempt)

    def _asking(self, attempt: Attempt) -> Ask:
        assert attempt.time is not None
        self.asked += 1
        hand = self.hand
        return Ask(attempt.time, attempt, hand.attack, hand.campaign, hand.segments, self.asked - 1)

    def _network(self, draws: list[float]) -> Network:
        address, rtt = text(self.hand.link.address), round(self.hand.link.rtt_ms * (0.9 + 0.2 * draws[2]), 1)
        return Network(
            client_ip=address,
            forwarded=(address,) if draws[0] < self.values["sends_forwarded"] else (),
            rtt_ms=rtt if draws[1] < self.values["sends_rtt"] else None,
        )

    def _place(self, sent: float, off: float) -> ReportedPlace | None:
        if sent >= self.values["sends_place"] or self.hand.category not in ("mobile", "tablet"):
            return None
        spot = self.hand.link.spot
        return ReportedPlace(
            latitude=round(max(min(spot.latitude + (off - 0.5) * 0.2, 90.0), -90.0), 4),
            longitude=round(max(min(spot.longitude + (0.5 - off) * 0.2, 180.0), -180.0), 4),
            accuracy_m=round(20 + off * 80, 1),
        )

    def _behaviour(self, failures: int) -> Behaviour:
        actor, random, mobile = self.hand.actor, self.random, self.hand.category != "desktop"
        if self.hand.fills:
            seconds = round(0.4 + random.expovariate(1.0), 2)
            return Behaviour(pointer_events=0, pasted=True, form_seconds=seconds, form_failures=failures)
        pasted = actor.manager and random.random() < 0.9
        keys = 0 if pasted else 8 + int(random.random() * 12)
        mean = actor.typing + (0.25 if mobile else 0.0) + random.gauss(0, 0.08)
        spread = 0.6 if actor.assistive else 0.35
        intervals = tuple([round(random.lognormvariate(mean, spread), 1) for _ in range(keys)])
        pointer = int(random.expovariate(1 / 60)) + 3
        return Behaviour(
            typing_intervals_ms=intervals,
            pointer_events=0 if actor.assistive or mobile else pointer,
            pasted=pasted,
            form_seconds=round(sum(intervals) / 1000 + random.lognormvariate(2.6 if actor.assistive else 1.2, 0.5), 2),
            form_failures=failures,
        )

    def _session(self, journey: str) -> Session | None:
        start, authenticated, amr = self.session
        if journey in ("login", "recovery", "registration") or not start:
            return None
        return Session(start_time=start, authentication_time=authenticated, amr=amr)

    def _begin(self, time: float) -> None:
        """Begin a new session. It becomes the account's only if the owner made it, and not in a private window."""
        self.account.life.registered = True
        self.session = (time, time, self.amr)
        if not self.hand.attack and self.hand.device.device_id:
            life = self.account.life
            life.session, life.authenticated, life.amr = self.session
            life.slot = self.hand.slot

    def _federation(self, time: float, draw: float) -> Federation | None:
        if not self.account.issuer:
            return None
        return Federation(
            issuer=self.account.issuer,
            protocol="oidc",
            amr=("pwd", "otp") if draw < 0.7 else ("pwd",),
            authentication_time=round(time - 5 - draw * 4 * 3600, 3),
            issue_time=round(time - 1 - draw * 5, 3),
        )
