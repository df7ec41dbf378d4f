"""The policy of an identity domain as values: floors, bands, rules, postures and tiers; and how it weighs evidence."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from riskd.core.attempt import Attempt
from riskd.core.context import Context
from riskd.core.egress import disregarded
from riskd.core.left_out import impute_left_out
from riskd.core.lists import NamedList, listed
from riskd.core.requirement import RESTRICTED, STANDALONE, Requirement, Terms, Tier
from riskd.core.retention import USUAL, Retention
from riskd.core.rules import Evaluate, Rule, RuleFacts, RuleResults, no_rules

LEVELS: Final = ("low", "medium", "high")


class Bands(Struct, frozen=True):
    """Tiers by score: `tiers[i]` applies from `edges[i - 1]`, included, up to `edges[i]`. `tiers[0]` is the floor."""

    edges: tuple[float, ...]
    tiers: tuple[Tier, ...]

    def at(self, score: float) -> Tier:
        """The tier of a score. NaN gets the strictest band."""
        return self.tiers[bisect_right(self.edges, score)]


class Journey(Struct, frozen=True, kw_only=True):
    """What one journey requires.

    `postures` has the expected sources, and the tier that a gap in each raises to (None: the gap is only listed).
    `cold_start` is the posture for a subject without history. An answer is valid for `valid_for_s` seconds. Until
    `learning_until` (epoch seconds, 0: never) the journey is learning: nothing above the floor is required.
    `friction_budget` is the share of good attempts that may be challenged; None if the policy sets none.
    """

    floor: Tier
    bands: Bands
    postures: Mapping[str, Tier | None]
    cold_start: Tier
    valid_for_s: int
    rules: tuple[Rule, ...] = ()
    evaluate: Evaluate = no_rules
    learning_until: float = 0.0
    friction_budget: float | None = None


class Rung(Struct, frozen=True):
    """A tier, precomputed: what meets it, and its requirement when it is met and when it is not.

    What meets a stricter tier also meets a laxer one: `acr` and `combinations` include those of all tiers above.
    `any_method` accepts every authentication that is recent enough. `unrestricted` is this rung without the
    combinations that contain a restricted method; None if there are none.
    """

    max_age_s: int | None
    any_method: bool
    acr: frozenset[str]
    combinations: tuple[frozenset[str], ...]
    accepted: tuple[tuple[str, ...], ...]
    """The combinations that a receipt keeps, to check the methods of a challenge that is passed later."""
    met: Requirement
    unmet: Requirement
    unrestricted: Rung | None = None


class Issuer(Struct, frozen=True):
    """How a policy maps a trusted issuer's `acr` values: to a tier that they reach, or to methods that they imply.

    A value that is not in the map proves only that somebody authenticated. `acr` None: the tier table applies.
    """

    acr: Mapping[str, Tier | tuple[str, ...]] | None = None

    def reaches(self, rung: Rung, acr: str) -> bool:
        """Whether the `acr` alone meets the rung, apart from its age."""
        if self.acr is None:
            return acr in rung.acr
        meaning = self.acr.get(acr)
        return isinstance(meaning, Tier) and meaning >= rung.met.tier

    def methods(self, acr: str, amr: tuple[str, ...]) -> tuple[str, ...]:
        """The methods of an assertion: those that it names, and those that its `acr` implies."""
        meaning = None if self.acr is None else self.acr.get(acr)
        return (*amr, *meaning) if isinstance(meaning, tuple) else amr


class Policy(Struct, frozen=True, kw_only=True):
    """One identity domain's policy.

    `levels` are the scores at which the levels medium and high begin. `ladder` has a rung for every tier that the
    policy uses, and for DENY; `journeys` has every journey. A federated assertion counts only if its issuer is
    trusted. With `explicit_consent`, an attempt that names no purposes is judged by security signals only. Conditions
    refer to `lists` by name; `trusted_networks` names those of addresses to discard (see `egress`). `counters` are the
    custom attributes whose values are counted. `tenants` are complete policies, merged with this one when the file was
    read. `digest` is a hash of all files read.
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
    counters: tuple[str, ...] = ()
    tenants: Mapping[str, Policy] = {}
    digest: str = ""

    def of(self, tenant: str) -> Policy:
        """The policy of a tenant: its own if it has one, else this one."""
        return self.tenants.get(tenant, self) if tenant else self

    def trusts(self, found: Mapping[str, bool]) -> bool:
        """Whether the address is in a trusted network. `found`: whether the attempt is on each list, where known."""
        return any(found.get(name) for name in self.trusted_networks)

    def rules(self) -> dict[str, Rule]:
        """The rules of all journeys, by name."""
        return {rule.name: rule for journey in self.journeys.values() for rule in journey.rules}

    def requiring(self) -> Policy:
        """This policy with no journey learning."""
        journeys = {name: replace(journey, learning_until=0.0) for name, journey in self.journeys.items()}
        tenants = {name: tenant.requiring() for name, tenant in self.tenants.items()}
        return replace(self, journeys=journeys, tenants=tenants)

    def level(self, score: float) -> str:
        """The level of a score: low, medium or high."""
        return LEVELS[bisect_right(self.levels, score)]


def ladder(tiers: Mapping[Tier, Terms]) -> dict[Tier, Rung]:
    """The rungs of a tier table. BASELINE accepts any authentication unless it lists methods; DENY accepts none."""
    table = {**tiers, Tier.DENY: Terms(aal=0)}
    return {tier: _rung(tier, terms, table) for tier, terms in table.items()}


def _rung(tier: Tier, terms: Terms, table: Mapping[Tier, Terms]) -> Rung:
    above = [other for rank, other in table.items() if rank >= tier]
    any_method = tier is Tier.BASELINE and not terms.amr
    named = tuple(dict.fromkeys(methods for other in above for methods in other.amr)) if terms.amr else ()
    rung = Rung(
        max_age_s=terms.max_age_s,
        any_method=any_method,
        acr=frozenset(acr for other in above for acr in other.acr_values),
        combinations=tuple(frozenset(methods) for other in above for methods in other.amr),
        accepted=tuple((method,) for method in sorted(STANDALONE)) if any_method else named,
        met=Requirement(tier, terms, True),
        unmet=Requirement(tier, terms, False),
    )
    unrestricted = tuple(methods for methods in rung.combinations if methods.isdisjoint(RESTRICTED))
    if unrestricted == rung.combinations:
        return rung
    return replace(rung, unrestricted=replace(rung, combinations=unrestricted))


class Evidence(Struct, frozen=True):
    """The features and facts by which a policy judges an attempt.

    In `features` and `context`, what an address in a trusted network says is missing; in `features`, values that were
    left out are imputed. `listed` has by list name whether the attempt is on it, where that is known.
    `trusted_network`: whether the address is in a trusted network.
    """

    features: list[float]
    context: Context
    listed: Mapping[str, bool]
    trusted_network: bool = False


def weigh(
    policy: Policy,
    attempt: Attempt,
    context: Context,
    features: list[float],
    known: Mapping[str, bool] | None = None,
) -> Evidence:
    """Look the attempt up in the policy's lists (unless `known` has the result), discard what an address in a trusted
    network says, and impute the values that were left out."""
    found = listed(policy.lists, attempt, context) if known is None else known
    trusted = bool(policy.trusted_networks) and policy.trusts(found)
    if trusted:
        features, context = disregarded(features, context)
    return Evidence(impute_left_out(features), context, found, trusted)


def evaluate(policy: Policy, attempt: Attempt, evidence: Evidence, score: float) -> RuleResults:
    """Evaluate every rule of the attempt's journey."""
    journey = policy.journeys[attempt.journey]
    return journey.evaluate(
        RuleFacts(attempt, evidence.context, evidence.features, score, journey.postures, evidence.listed)
    )
