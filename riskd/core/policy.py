"""A policy: what to require for which risk, as values. One for each identity domain."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from riskd.core.attempt import Attempt
from riskd.core.context import Context
from riskd.core.egress import disregarded
from riskd.core.left_out import as_strangers
from riskd.core.lists import NamedList, listed
from riskd.core.requirement import RESTRICTED, Requirement, Terms, Tier
from riskd.core.retention import USUAL, Retention
from riskd.core.rules import Evaluate, Facts, Found, Rule, nothing

LEVELS: Final = ("low", "medium", "high")


class Bands(Struct, frozen=True):
    """Tiers by score: `tiers[i]` from `edges[i - 1]` (included) up to `edges[i]`; `tiers[0]` is the floor."""

    edges: tuple[float, ...]
    tiers: tuple[Tier, ...]

    def at(self, score: float) -> Tier:
        """The tier of a score. A score that is not a number gets the strictest band."""
        return self.tiers[bisect_right(self.edges, score)]


class Journey(Struct, frozen=True, kw_only=True):
    """What one journey requires.

    `postures` names the expected sources and the tier that a gap in each raises to (None: list it only).
    `cold_start` is the posture on a subject without history. An answer holds for `valid_for_s` seconds.
    Until `learning_until` (epoch seconds, 0: never) the journey learns: nothing above the floor is required.
    `friction_budget` is the share of good attempts that may be challenged, as far as somebody has said it.
    """

    floor: Tier
    bands: Bands
    postures: Mapping[str, Tier | None]
    cold_start: Tier
    valid_for_s: int
    rules: tuple[Rule, ...] = ()
    evaluate: Evaluate = nothing
    learning_until: float = 0.0
    friction_budget: float | None = None


class Rung(Struct, frozen=True):
    """A tier made ready: its two possible requirements, and what meets it.

    A stricter tier's method meets a laxer tier: `acr` and `combinations` hold those of this tier and of
    all above it. `any_method` accepts every authentication that is recent enough. `unrestricted` is the rung without
    the combinations that hold a restricted method, if there are any.
    """

    max_age_s: int | None
    any_method: bool
    acr: frozenset[str]
    combinations: tuple[frozenset[str], ...]
    accepted: tuple[tuple[str, ...], ...]
    """The combinations as they are kept with a receipt, to judge the challenge that is passed later."""
    met: Requirement
    unmet: Requirement
    unrestricted: Rung | None = None


class Issuer(Struct, frozen=True):
    """What a trusted issuer means by its `acr` values: a tier that they reach, or methods that they stand for.

    What is not named means nothing, but that somebody authenticated. None: they mean what the tier table says.
    """

    acr: Mapping[str, Tier | tuple[str, ...]] | None = None

    def reaches(self, rung: Rung, acr: str) -> bool:
        """Whether the `acr` alone meets the rung, its age aside."""
        if self.acr is None:
            return acr in rung.acr
        meaning = self.acr.get(acr)
        return isinstance(meaning, Tier) and meaning >= rung.met.tier

    def methods(self, acr: str, amr: tuple[str, ...]) -> tuple[str, ...]:
        """The methods of the assertion: those that it names, and those that its `acr` stands for."""
        meaning = None if self.acr is None else self.acr.get(acr)
        return (*amr, *meaning) if isinstance(meaning, tuple) else amr


class Policy(Struct, frozen=True, kw_only=True):
    """One identity domain's policy.

    `levels` are the scores at which medium and high begin, `ladder` has every tier that the policy uses
    (and DENY), `journeys` every journey. A federated assertion counts when its issuer is trusted. With
    `explicit_consent`, an attempt that names no purposes is judged by security signals alone. Conditions ask
    about `lists` by name; those named in `trusted_networks` hold addresses that say nothing (see `egress`).
    `tenants` are whole policies, resolved when the file was read. `digest` is of all that was read.
    """

    domain: str
    version: str
    levels: tuple[float, float]
    ladder: Mapping[Tier, Rung]
    journeys: Mapping[str, Journey]
    trusted_issuers: Mapping[str, Issuer] = {}
    explicit_consent: bool = False
    retention: Retention = USUAL
    lists: Mapping[str, NamedList] = {}
    trusted_networks: frozenset[str] = frozenset()
    tenants: Mapping[str, Policy] = {}
    digest: str = ""

    def of(self, tenant: str) -> Policy:
        """The policy of a tenant: its own, or this one."""
        return self.tenants.get(tenant, self) if tenant else self

    def requiring(self) -> Policy:
        """The policy as if no journey were learning."""
        journeys = {name: replace(journey, learning_until=0.0) for name, journey in self.journeys.items()}
        tenants = {name: tenant.requiring() for name, tenant in self.tenants.items()}
        return replace(self, journeys=journeys, tenants=tenants)

    def level(self, score: float) -> str:
        """low, medium or high."""
        return LEVELS[bisect_right(self.levels, score)]


def ladder(tiers: Mapping[Tier, Terms]) -> dict[Tier, Rung]:
    """The tier table made ready. BASELINE takes any authentication unless it lists methods, DENY none."""
    table = {**tiers, Tier.DENY: tiers.get(Tier.DENY, Terms(aal=0))}
    return {tier: _rung(tier, terms, table) for tier, terms in table.items()}


def _rung(tier: Tier, terms: Terms, table: Mapping[Tier, Terms]) -> Rung:
    above = [other for rank, other in table.items() if tier <= rank < Tier.DENY]
    rung = Rung(
        max_age_s=terms.max_age_s,
        any_method=tier is Tier.BASELINE and not terms.amr,
        acr=frozenset(acr for other in above for acr in other.acr_values),
        combinations=tuple(frozenset(methods) for other in above for methods in other.amr),
        accepted=tuple(dict.fromkeys(methods for other in above for methods in other.amr)) if terms.amr else (),
        met=Requirement(tier, terms, True),
        unmet=Requirement(tier, terms, False),
    )
    unrestricted = tuple(methods for methods in rung.combinations if methods.isdisjoint(RESTRICTED))
    if unrestricted == rung.combinations:
        return rung
    return replace(rung, unrestricted=replace(rung, combinations=unrestricted))


class Evidence(Struct, frozen=True):
    """What speaks for and against an attempt, as its policy wants it weighed.

    `features` and `context` are without what an address in a trusted network says; in `features` what was left out is
    a stranger's. `listed` has, for every list whose fact is known, whether it is on the list.
    """

    features: list[float]
    context: Context
    listed: Mapping[str, bool]


def weigh(
    policy: Policy,
    attempt: Attempt,
    context: Context,
    features: list[float],
    known: Mapping[str, bool] | None = None,
) -> Evidence:
    """Look the attempt up in the policy's lists, unless it is `known` already, disregard trusted networks, and take
    what was left out for a stranger's."""
    found = listed(policy.lists, attempt, context) if known is None else known
    if policy.trusted_networks and any(found.get(name) for name in policy.trusted_networks):
        features, context = disregarded(features, context)
    return Evidence(as_strangers(features), context, found)


def evaluate(policy: Policy, attempt: Attempt, evidence: Evidence, score: float) -> Found:
    """Every rule of the attempt's journey: the hits, and a cause `rule:<name>` for each that failed."""
    journey = policy.journeys[attempt.journey]
    facts = Facts(attempt, evidence.context, evidence.features, score, journey.postures, evidence.listed)
    hits, broken = journey.evaluate(facts)
    return hits, tuple([f"rule:{name}" for name in broken])
