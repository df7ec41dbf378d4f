"""Attempts, contexts and histories for tests: one person on one laptop at home, and variations of that."""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from riskd.core import learn, signals
from riskd.core.attempt import Attempt, Behaviour, Device, Federation, Network, Outcome, Outside, ReportedPlace, Session
from riskd.core.context import Agent, Context, Missing, Place, Remembered, Route
from riskd.core.features import vector
from riskd.core.history import DAY, EMPTY, HOUR, Delta, History, fold, inverse
from riskd.core.left_out import impute_left_out
from riskd.core.pseudonym import POPULARITY, Keys
from riskd.core.recall import history_keys, recall
from riskd.core.requirement import Requirement, Terms, Tier

NOW: Final = 1_790_164_800.0
"""Wednesday 2026-09-23, 12:00 UTC."""
OSLO: Final = Place("NO", 59.91, 10.75, 50.0, "Oslo", "Oslo", "Europe/Oslo", 120)
BERGEN: Final = Place("NO", 60.39, 5.32, 300.0, "Vestland", "Bergen", "Europe/Oslo", 120)
SYDNEY: Final = Place("AU", -33.87, 151.21, 50.0, "NSW", "Sydney", "Australia/Sydney", 600)
HOME: Final = Route(2119, "Telenor")
ELSEWHERE: Final = Route(1221, "Telstra")
HOSTER: Final = Route(24940, "Hetzner", hosting=True)
CHROME: Final = Agent("Chrome", "153", "Windows", "11", "desktop")
CHROME_TEXT: Final = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/153.0.0.0 Safari/537.36"
LAPTOP: Final = Device(
    user_agent=CHROME_TEXT,
    platform="Windows",
    mobile=False,
    device_id="laptop",
    fingerprint="f-laptop",
    screen="1920x1080",
    languages=("nb-NO", "en"),
    timezone="Europe/Oslo",
    attestation="hardware",
)
TYPING: Final = (110.0, 95.0, 130.0, 120.0, 105.0, 115.0)


def sign_in(address: str = "192.0.2.10", **changes: Any) -> Attempt:  # noqa: ANN401
    """A login that sends every signal, from home unless changed; `changes` are fields of Attempt."""
    whole = Attempt(
        domain="customer",
        subject="alex",
        journey="login",
        network=Network(client_ip=address, forwarded=(address,), rtt_ms=25.0),
        credential_result="succeeded",
        device=LAPTOP,
        place=ReportedPlace(latitude=59.92, longitude=10.76, accuracy_m=30.0),
        behaviour=Behaviour(
            typing_intervals_ms=TYPING, pointer_events=40, pasted=False, form_seconds=6.0, form_failures=0
        ),
        session=Session(id="s1", start_time=NOW - 2 * HOUR, authentication_time=NOW - HOUR),
        federation=Federation(
            issuer="https://idp.example",
            protocol="oidc",
            amr=("pwd", "otp"),
            authentication_time=NOW - HOUR,
            issue_time=NOW - 30,
        ),
        outside=Outside(credential_breached=False, risk_level="low"),
        registration_time=NOW - 900 * DAY,
    )
    return replace(whole, **changes)


def keys_of(attempt: Attempt, values: dict[str, str]) -> Keys:
    """Keys that are readable in a failing test; the real ones are hashes."""

    def key(table: str) -> bytes:
        return f"{table}:{values[table]}".encode() if table in values else b""

    return Keys(
        subject=f"{attempt.subject}:subject".encode(),
        domain=b"domain",
        address=key("address"),
        network=key("network"),
        device=key("device"),
        fingerprint=key("fingerprint"),
        asn=key("asn"),
        popularity={table: key(table) for table in POPULARITY if table in values},
    )


class World:
    """One identity domain, with its histories folded in memory by riskd's own code."""

    def __init__(self) -> None:
        self.histories: dict[bytes, History] = {}
        self.waits: dict[str, float] = {}

    def context(
        self,
        attempt: Attempt,
        now: float = NOW,
        *,
        place: Place | Missing = OSLO,
        route: Route | Missing = HOME,
        agent: Agent | Missing = CHROME,
        device_offset_min: int | None = 120,
        remembered: Missing | None = None,
    ) -> Context:
        """What riskd knows about the attempt at `now`; `remembered` is the reason if the store failed."""
        values = self._values(attempt, place, route, agent, now)
        memories = remembered or self._recall(keys_of(attempt, values))
        return signals.context(
            attempt,
            now,
            values,
            facts=(place, route, agent),
            remembered=memories,
            device_offset_min=device_offset_min,
        )

    def try_(self, attempt: Attempt, now: float, **facts: Any) -> None:  # noqa: ANN401
        """Record that somebody makes this attempt; `facts` as for `context`."""
        context = self.context(attempt, now, **facts)
        self.apply(*learn.attempt_deltas(attempt, keys_of(attempt, context.values), now))

    def prove(self, attempt: Attempt, now: float, *, units: int = 1, **facts: Any) -> tuple[Delta, ...]:  # noqa: ANN401
        """Record that the attempt is proven to be the owner's, and return what that taught. `facts` as for
        `context`."""
        context = self.context(attempt, now, **facts)
        deltas = learn.lesson_deltas(learn.lesson(attempt, context, keys_of(attempt, context.values)), units)
        self.apply(*deltas)
        return deltas

    def pass_(self, attempt: Attempt, now: float, *, key: bool = False, **facts: Any) -> None:  # noqa: ANN401
        """Record that the attempt met what was required of it, with a key or without. `facts` as for `context`."""
        context = self.context(attempt, now, **facts)
        receipt = learn.new_receipt(
            attempt,
            context,
            keys_of(attempt, context.values),
            Requirement(Tier.BASELINE, Terms(1), satisfied=True),
            (),
            probation=learn.on_probation(impute_left_out(vector(attempt, context))),
        )
        outcome = Outcome(assessment_id="", kind="challenge_passed", amr=("hwk",) if key else ())
        after, deltas = learn.settle(receipt, outcome, now, wait=now < self.waits.get(attempt.subject, 0.0))
        if learn.spaced(receipt, after):
            self.waits[attempt.subject] = now + learn.SPACING
        self.apply(*deltas)

    def take_back(self, deltas: tuple[Delta, ...]) -> None:
        """Take back what was taught, as confirmed fraud does."""
        self.apply(*map(inverse, deltas))

    def apply(self, *deltas: Delta) -> None:
        """Fold deltas into the histories."""
        for delta in deltas:
            fold(self.histories.setdefault(delta.key, History()), delta)

    def _recall(self, keys: Keys) -> Remembered:
        return recall(keys, [self.histories.get(key, EMPTY) for key in history_keys(keys)])

    @staticmethod
    def _values(
        attempt: Attempt, place: Place | Missing, route: Route | Missing, agent: Agent | Missing, now: float
    ) -> dict[str, str]:
        values = signals.values(attempt, place, route, agent, now)
        address, device = attempt.network.client_ip, attempt.device
        values |= {"address": address, "network": address.rpartition(".")[0]}
        if device and device.device_id:
            values["device"] = device.device_id
        if device and device.fingerprint:
            values["fingerprint"] = device.fingerprint
        return values


def settled(world: World | None = None, *, weeks: int = 8, every_days: int = 3, until: float = NOW - DAY) -> World:
    """A world in which the owner from `sign_in` has signed in from home for some weeks."""
    world = world or World()
    for visit in range(weeks * 7 // every_days):
        world.prove(sign_in(), until - visit * every_days * DAY)
    return world


def crowd(world: World | None = None, *, people: int = 60, until: float = NOW - DAY) -> World:
    """A world with other people in the same country, each with their own address and device."""
    world = world or World()
    for person in range(people):
        other = sign_in(
            f"198.51.{person % 100}.7",
            subject=f"person-{person}",
            device=replace(LAPTOP, device_id=f"d{person}", fingerprint=f"f{person}"),
        )
        world.prove(other, until - person * HOUR)
    return world
