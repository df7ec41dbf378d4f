"""Rules: their form, the variables that their conditions may use, and the protocols of their compiler.

The language of conditions is defined by an adapter. It must follow the strong three-valued logic of Kleene (1952):
a rule hits only if its condition is true whatever the values of missing facts may be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct

from riskd.core.assessment import Hit
from riskd.core.attempt import Attempt
from riskd.core.context import Agent, Context, Place, Route, coverage
from riskd.core.counters import COUNTED, COUNTS, source_of
from riskd.core.features.span import Span
from riskd.core.history import DAY, SLOTS, cardinality
from riskd.core.requirement import Tier


class Rule(Struct, frozen=True, kw_only=True):
    """A rule: while the condition `when` is true, at least `tier` is required. It applies to `journeys`.

    `reason` is a stable UPPER_SNAKE code, `text` explains it to people. With `shadow`, hits are only logged.
    """

    name: str
    when: str
    tier: Tier
    reason: str
    text: str
    journeys: tuple[str, ...]
    shadow: bool = False


class RuleFacts(Struct, frozen=True):
    """The facts that conditions may use. `features` is the feature vector, NaN where a feature is missing.

    `expected` are the sources that the journey expects. `listed` has by list name whether the attempt is on it; lists
    whose fact is unknown are absent.
    """

    attempt: Attempt
    context: Context
    features: Sequence[float]
    score: float
    expected: Collection[str] = ()
    listed: Mapping[str, bool] = {}


RuleResults = tuple[tuple[Hit, ...], tuple[str, ...]]
"""The hits, in the order of the rules, and a cause `rule:<name>` for each rule whose evaluation failed."""


class Evaluate(Protocol):
    """A journey's rules, compiled. Pure and thread-safe; never raises."""

    def __call__(self, facts: RuleFacts) -> RuleResults:
        """Evaluate every rule. A rule whose evaluation fails does not hit, and gives a cause."""
        ...


class Flaw(Struct, frozen=True):
    """An error in the condition of `rule`, at `line` and `column` within it, both 1-based."""

    rule: str
    what: str
    remedy: str = ""
    line: int = 1
    column: int = 1


class Compiler(Protocol):
    """Compiles the conditions of rules."""

    def __call__(
        self, rules: Sequence[Rule], lists: Collection[str] = (), counters: Collection[str] = ()
    ) -> Evaluate | list[Flaw]:
        """The compiled rules, or all errors in their conditions. `lists` and `counters` name those that they may
        use."""
        ...


def no_rules(facts: RuleFacts) -> RuleResults:  # noqa: ARG001 - the shape of every `Evaluate`
    """The compiled form of an empty set of rules."""
    return (), ()


Value = float | int | bool | str | list[str] | dict[str, str]


class Variable(Struct, frozen=True):
    """A fact that conditions may use. `read` returns None if the fact is missing.

    `kind` is double, int, bool, string, strings (a list) or table (string to string); `text` is for the docs.
    """

    kind: str
    text: str
    read: Callable[[RuleFacts], Value | None]
    sources: tuple[str, ...] = ()
    """The sources (of `context.SOURCES`) without which it is missing."""
    span: Span | None = None
    """The range of a number."""


def _place(facts: RuleFacts) -> str | None:
    place = facts.context.place
    return place.country or None if isinstance(place, Place) else None


def _asn(facts: RuleFacts) -> int | None:
    route = facts.context.route
    return route.asn if isinstance(route, Route) else None


def _anonymizer(facts: RuleFacts) -> str | None:
    route = facts.context.route
    return route.anonymizer if isinstance(route, Route) else None


def _browser(facts: RuleFacts) -> str | None:
    agent = facts.context.agent
    return agent.browser or None if isinstance(agent, Agent) else None


def _os(facts: RuleFacts) -> str | None:
    agent = facts.context.agent
    return agent.os or None if isinstance(agent, Agent) else None


def _session_binding(facts: RuleFacts) -> str:
    session = facts.attempt.session
    return "" if session is None else session.binding


def _account_days(facts: RuleFacts) -> float | None:
    registered = facts.attempt.registration_time
    return None if registered is None else max((facts.context.now - registered) // DAY, 0.0)


def _gaps(facts: RuleFacts) -> list[str]:
    expected = facts.expected
    return [gap.source for gap in facts.context.missing if gap.source in expected]


def _coverage(facts: RuleFacts) -> float:
    return coverage(len(_gaps(facts)), len(facts.expected))


def _stale(facts: RuleFacts) -> list[str]:
    return [source for source in facts.context.stale if source in facts.expected]


_SHARE: Final = Span(0.0, 1.0)
VARIABLES: Final = {
    "score": Variable(
        "double",
        "calibrated probability that the attempt is not the account owner's",
        lambda facts: facts.score,
        span=_SHARE,
    ),
    "gaps": Variable("strings", "expected sources that are missing, by name", _gaps),
    "coverage": Variable(
        "double", "share of the sources that the journey expects and that are present", _coverage, span=_SHARE
    ),
    "stale": Variable("strings", "expected sources whose facts come from data that are too old, by name", _stale),
    "domain": Variable("string", "customer, workforce or machine", lambda facts: facts.attempt.domain),
    "journey": Variable(
        "string",
        "registration, login, recovery, profile_update, payment or session",
        lambda facts: facts.attempt.journey,
    ),
    "tenant": Variable("string", "tenant; '' if none", lambda facts: facts.attempt.tenant),
    "credential": Variable("string", "not_checked, succeeded or failed", lambda facts: facts.attempt.credential_result),
    "session_binding": Variable(
        "string", "failed or proven; '' if the session is bound to no key, or nobody checked", _session_binding
    ),
    "account_days": Variable(
        "double",
        "whole days since the account was registered (`registration_time`)",
        _account_days,
        span=Span(0.0, math.inf),
    ),
    "country": Variable("string", "ISO 3166-1 alpha-2 code of the address's country", _place, ("place",)),
    "asn": Variable("int", "autonomous system number of the address", _asn, ("route",)),
    "anonymizer": Variable("string", "vpn, tor, proxy, relay or satellite; '' if none", _anonymizer, ("route",)),
    "browser": Variable("string", "browser family", _browser, ("agent",)),
    "os": Variable("string", "operating system family", _os, ("agent",)),
    "attributes": Variable(
        "table",
        "custom attributes of the attempt, by name; the settings declare which are accepted",
        lambda facts: facts.attempt.attributes,
    ),
}
"""The variables of conditions, in addition to the features."""


def list_variable(name: str) -> Variable:
    """The variable for a list: whether the attempt is on it; missing if the fact to look up is."""
    return Variable("bool", f"on the list `{name}`", lambda facts: facts.listed.get(name))


LISTS: Final = "lists."
"""Prefix of a list's name in conditions."""


def counter_variables(counter: str) -> dict[str, Variable]:
    """By name, the variables for a counter's counts: missing if the attempt lacks the attribute or the store failed."""
    return {f"{COUNTED}{counter}.{count}": _count(counter, count) for count in COUNTS}


def _count(counter: str, count: str) -> Variable:
    text, name = f"with this `{counter}`: {COUNTS[count]}", f"{counter}.{count}"
    span = COUNT_SPANS[count]
    return Variable("double", text, lambda facts: facts.context.counted.get(name), (source_of(count),), span)


COUNT_SPANS: Final = {
    count: Span(0.0, cardinality(len(SLOTS)) if count == "subjects_24h" else math.inf) for count in COUNTS
}
"""The range of each count."""
