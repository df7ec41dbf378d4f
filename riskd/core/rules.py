"""Rules as the core sees them: what they may ask about, and a compiled form that says which of them hit.

The language of the conditions is an adapter's business. Its law: a fact that could not be had decides
nothing. A rule hits only when its condition is true whatever the absent facts may be (the strong
three-valued logic of Kleene, 1952).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct

from riskd.core.assessment import Hit
from riskd.core.attempt import Attempt
from riskd.core.context import Agent, Context, Place, Route
from riskd.core.features.span import Span
from riskd.core.requirement import Tier


class Rule(Struct, frozen=True, kw_only=True):
    """Evidence as a condition: when it is true, at least `tier` is required, and `reason` says why.

    `reason` is a stable UPPER_SNAKE code, `text` is for people. With `shadow` it is recorded and changes
    nothing. It applies to `journeys`.
    """

    name: str
    when: str
    tier: Tier
    reason: str
    text: str
    journeys: tuple[str, ...]
    shadow: bool = False


class Facts(Struct, frozen=True):
    """All that a condition may ask about. `features` is the feature vector: NaN where a fact is missing.

    `expected` are the sources whose absence the journey calls a gap, `listed` says of each list whose fact is known
    whether it is on the list.
    """

    attempt: Attempt
    context: Context
    features: Sequence[float]
    score: float
    expected: Collection[str] = ()
    listed: Mapping[str, bool] = {}


Found = tuple[tuple[Hit, ...], tuple[str, ...]]
"""The hits, in the order of the rules, and the names of the rules that could not be evaluated."""


class Evaluate(Protocol):
    """A journey's rules, compiled. Pure, safe between threads, never raises."""

    def __call__(self, facts: Facts) -> Found:
        """Evaluate every rule. One that cannot be evaluated does not hit, and is named."""
        ...


class Flaw(Struct, frozen=True):
    """What is wrong with the condition of `rule`; `line` and `column` are 1-based and count inside it."""

    rule: str
    what: str
    remedy: str = ""
    line: int = 1
    column: int = 1


class Compiler(Protocol):
    """Turns conditions into their compiled form."""

    def __call__(self, rules: Sequence[Rule], lists: Collection[str] = ()) -> Evaluate | list[Flaw]:
        """The compiled rules, or everything that is wrong with their conditions. `lists` are those they may name."""
        ...


def nothing(facts: Facts) -> Found:  # noqa: ARG001 - the shape of every `Evaluate`
    """The compiled form of no rules."""
    return (), ()


Value = float | int | bool | str | list[str] | dict[str, str]


class Variable(Struct, frozen=True):
    """A fact that conditions may name. `read` returns None when the fact could not be had.

    `kind` is double, int, bool, string, strings (a list) or table (string to string).
    """

    kind: str
    text: str
    read: Callable[[Facts], Value | None]
    sources: tuple[str, ...] = ()
    """Names of `context.SOURCES` without which it is unknown."""
    span: Span | None = None
    """Of a number: what it can be."""


def _place(facts: Facts) -> str | None:
    place = facts.context.place
    return place.country or None if isinstance(place, Place) else None


def _asn(facts: Facts) -> int | None:
    route = facts.context.route
    return route.asn if isinstance(route, Route) else None


def _anonymizer(facts: Facts) -> str | None:
    route = facts.context.route
    return route.anonymizer if isinstance(route, Route) else None


def _browser(facts: Facts) -> str | None:
    agent = facts.context.agent
    return agent.browser or None if isinstance(agent, Agent) else None


def _os(facts: Facts) -> str | None:
    agent = facts.context.agent
    return agent.os or None if isinstance(agent, Agent) else None


def _gaps(facts: Facts) -> list[str]:
    expected = facts.expected
    return [gap.source for gap in facts.context.missing if gap.source in expected]


def _coverage(facts: Facts) -> float:
    return 1.0 - len(_gaps(facts)) / len(facts.expected) if facts.expected else 1.0


def _stale(facts: Facts) -> list[str]:
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
    "country": Variable("string", "ISO 3166-1 alpha-2 code of the address's country", _place, ("place",)),
    "asn": Variable("int", "autonomous system number of the address", _asn, ("route",)),
    "anonymizer": Variable("string", "vpn, tor, proxy, relay or satellite; '' if none", _anonymizer, ("route",)),
    "browser": Variable("string", "browser family", _browser, ("agent",)),
    "os": Variable("string", "operating system family", _os, ("agent",)),
    "attributes": Variable(
        "table", "custom attributes of the attempt, by name", lambda facts: facts.attempt.attributes
    ),
}
"""What conditions may name besides the features."""


def list_variable(name: str) -> Variable:
    """Whether the attempt is on a list; unknown while the fact that is looked up is."""
    return Variable("bool", f"on the list `{name}`", lambda facts: facts.listed.get(name))


LISTS: Final = "lists."
"""Before the name of a list in a condition."""
