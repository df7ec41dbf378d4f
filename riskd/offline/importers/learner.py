"""Turns an imported event into the deltas that the service would have written at the time."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from riskd.core import learn, signals
from riskd.core.address import parse
from riskd.core.attempt import Attempt, Device, Network, Outcome
from riskd.core.context import Missing
from riskd.core.history import PROFILE_SECONDS, SEQUENCE_SECONDS, Delta
from riskd.core.lists import listed
from riskd.core.requirement import Requirement, Terms, Tier
from riskd.core.validation import violations
from riskd.engine import Engine
from riskd.engine.gather import observe
from riskd.offline.importers.event import Event, Skipped

WINDOW: Final = 10_000
"""The events of one sign-in may lie at most this many records apart."""
_UNREAD: Final = Missing("history", "unavailable")
"""Histories are not read: what an event teaches does not depend on them."""
_ANY: Final = Terms(aal=0)


class Scope(Struct, frozen=True, kw_only=True):
    """Whose histories to teach, and from which events. Times are epoch seconds; `shift` is added to the time of every
    event."""

    domain: str
    tenant: str = ""
    subject: str = ""
    """The field of a record that names the subject."""
    since: float = float("-inf")
    until: float = float("inf")
    shift: float = 0.0


class Learner:
    """Learns from events: the attempt is observed by the engine's own code, the outcome applied by `learn.settle`.

    The identity provider let the person in, so the requirement counts as met, except in a recovery, which does not
    prove who it was. Nothing is read from the store.
    """

    def __init__(self, engine: Engine, scope: Scope) -> None:
        self._engine = engine
        self._scope = scope
        self._open: dict[str, tuple[int, learn.Receipt]] = {}

    def deltas(self, event: Event, at: int, now: float) -> tuple[Delta, ...] | Skipped:
        """The deltas of an event that have not expired by `now`. `at`: how many records precede it in its file."""
        scope = self._scope
        time = event.time + scope.shift
        if not scope.since <= event.time < scope.until:
            return Skipped("outside_window")
        if time <= now - PROFILE_SECONDS:
            return Skipped("too_old")
        first, known = self._known(event.sign_in, at)
        deltas: tuple[Delta, ...] = ()
        begins = known is None
        if known is None:
            begun = self._begin(event, time, now)
            if isinstance(begun, Skipped):
                return begun
            known, deltas = begun
        if event.outcome:
            outcome = Outcome(assessment_id="", kind=event.outcome, amr=event.amr, time=time)
            known, more = learn.settle(known, outcome, time)
            deltas += more
        if event.sign_in:
            self._open[event.sign_in] = first, known
        left = tuple([delta for delta in deltas if delta.expires > now])
        return Skipped("too_old") if begins and not left else left

    def _begin(self, event: Event, time: float, now: float) -> tuple[learn.Receipt, tuple[Delta, ...]] | Skipped:
        """The attempt as the engine would have seen it: its receipt, and the deltas of the attempt itself."""
        parts, scope = self._engine.parts, self._scope
        attempt = Attempt(
            domain=scope.domain,
            tenant=scope.tenant,
            subject=event.subject,
            journey=event.journey,
            time=time,
            credential_result=event.credential_result,
            network=Network(client_ip=event.address, rtt_ms=event.rtt_ms),
            device=Device(user_agent=event.user_agent) if event.user_agent else None,
        )
        address = parse(event.address)
        problems = violations(attempt, now, address_known=address is not None, declared=parts.attributes)
        if problems or address is None:
            return Skipped("invalid", problems[0].where if problems else "network.client_ip")
        policy = self._engine.release.policies[scope.domain].of(scope.tenant)
        attempt = signals.consented(attempt, explicit=policy.explicit_consent)
        seen = observe(parts, attempt, address, time)
        context = signals.context(
            attempt,
            time,
            seen.values,
            facts=(seen.place, seen.route, seen.agent),
            remembered=_UNREAD,
            device_offset_min=None,
        )
        met = Requirement(Tier.BASELINE, _ANY, satisfied=event.journey != "recovery")
        trusted = policy.trusts(listed(policy.lists, attempt, context))
        receipt = learn.new_receipt(attempt, context, seen.keys, met, (), trusted_network=trusted)
        remembered = time > now - SEQUENCE_SECONDS
        return receipt, learn.attempt_deltas(attempt, seen.keys, time) if remembered else ()

    def _known(self, sign_in: str, at: int) -> tuple[int, learn.Receipt | None]:
        """Where a sign-in began, and its receipt; None if it begins here. Forgets those that began more than `WINDOW`
        records ago."""
        while self._open and next(iter(self._open.values()))[0] < at - WINDOW:
            del self._open[next(iter(self._open))]
        return self._open.get(sign_in, (at, None))
