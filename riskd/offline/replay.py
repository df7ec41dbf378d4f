"""A recorded decision, decided again: the same core on the same vector, facts and gaps, by another policy."""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

from riskd.core.assessment import Hit
from riskd.core.attempt import Attempt, Federation, Network, Session
from riskd.core.context import Agent, Context, Missing, Place, Route
from riskd.core.decide import Ruling, decide
from riskd.core.policy import Policy, evaluate
from riskd.core.record import AssessmentRecord, Authentication

_NOWHERE: Final = Network()
_FORGOTTEN: Final = Missing("history", "unavailable")
"""What is remembered is not recorded: the vector says all that rules and rulings need of it."""


class Replayed(Struct, frozen=True):
    """What a policy makes of a recorded decision: every hit, shadow ones included, and the ruling."""

    attempt: Attempt
    context: Context
    hits: tuple[Hit, ...]
    ruling: Ruling


def replay(policy: Policy, record: AssessmentRecord) -> Replayed:
    """Decide again. By the policy that decided then: the same tier, the same hits, as well satisfied.

    The score is the recorded one, and consent was applied before anything was recorded: a candidate that differs
    in `explicit_consent` is judged as if it did not.
    """
    attempt, context = attempt_of(record), context_of(record)
    vector = [math.nan if value is None else value for value in record.vector]
    hits, _ = evaluate(policy, attempt, context, vector, record.score)
    return Replayed(attempt, context, hits, decide(policy, attempt, context, record.score, hits))


def attempt_of(record: AssessmentRecord) -> Attempt:
    """The attempt, as far as rules and rulings ask for it."""
    return Attempt(
        domain=record.domain,
        subject=record.subject,
        journey=record.journey,
        network=_NOWHERE,
        tenant=record.tenant,
        credential_result=record.credential_result,
        session=_session(record.session),
        federation=_federation(record.federation),
        attributes=record.attributes,
    )


def context_of(record: AssessmentRecord) -> Context:
    """The facts as they were gathered, histories excepted."""
    facts = record.facts
    place: Place | None = facts.place
    route: Route | None = facts.route
    agent: Agent | None = facts.agent
    return Context(
        now=facts.now,
        values=facts.values,
        place=place or _GONE["place"],
        route=route or _GONE["route"],
        agent=agent or _GONE["agent"],
        remembered=_FORGOTTEN,
        missing=facts.missing,
    )


_GONE: Final = {source: Missing(source, "not_found") for source in ("place", "route", "agent")}
"""Why each was missing stands among `missing`; rules ask only whether it was."""


def _session(said: Authentication | None) -> Session | None:
    if said is None:
        return None
    return Session(acr=said.acr, amr=said.amr, authentication_time=said.authentication_time)


def _federation(said: Authentication | None) -> Federation | None:
    if said is None:
        return None
    return Federation(issuer=said.issuer, acr=said.acr, amr=said.amr, authentication_time=said.authentication_time)
