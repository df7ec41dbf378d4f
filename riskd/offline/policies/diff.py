"""Describes what changed between two policies, most important first, and in which direction each change moves
decisions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from riskd.core.policy import Issuer, Journey, Policy
from riskd.core.requirement import Requirement, Tier
from riskd.core.retention import BOUNDS
from riskd.core.rules import Rule
from riskd.wording import date

Way = Literal["tightens", "loosens", "either", "neither"]
"""The direction in which a change can move the requirement or what satisfies it: stricter only, laxer only, both, or
none."""
KINDS: Final = (
    "domain", "floor", "learning", "terms", "issuer", "trust", "list", "counter", "rule", "band", "gap", "cold_start",
    "consent", "retention", "valid_for", "level", "budget", "text", "version",
)  # fmt: skip
"""What can change, the most important first."""


class Change(Struct, frozen=True, kw_only=True):
    """One change. `kind`: one of `KINDS`; `where`: the journey, tier or rule that it concerns."""

    kind: str
    where: str
    what: str
    way: Way


class Comparison(Struct, frozen=True, kw_only=True):
    """All changes of one identity domain's policy, and the direction in which they move decisions together."""

    domain: str
    old: str
    new: str
    way: Way
    changes: tuple[Change, ...]


def compare(old: Policy, new: Policy) -> Comparison:
    """The changes from one policy to another, and those of its tenants where they differ."""
    changes = _changes(old, new)
    for tenant in dict.fromkeys([*old.tenants, *new.tenants]):
        own = [change for change in _changes(old.of(tenant), new.of(tenant)) if change not in changes]
        changes += [replace(change, where=f"{change.where} of tenant {tenant}") for change in own]
    changes.sort(key=lambda change: (KINDS.index(change.kind), _WAYS.index(change.way)))
    return Comparison(
        domain=new.domain, old=old.version, new=new.version, way=together(changes), changes=tuple(changes)
    )


def _changes(old: Policy, new: Policy) -> list[Change]:
    return [
        *_scalars(old, new),
        *_retention(old, new),
        *_issuers(old, new),
        *_lists(old, new),
        *_counters(old, new),
        *_terms(old, new),
        *_rules(old, new),
        *(change for name in old.journeys for change in _journey(name, old.journeys[name], new.journeys[name])),
    ]


_WAYS: Final = ("loosens", "either", "tightens", "neither")
"""The order in which a reviewer wants to see changes of one kind."""


def together(changes: Collection[Change]) -> Way:
    """The direction in which several changes together can move a decision."""
    ways = {change.way for change in changes} - {"neither"}
    if not ways:
        return "neither"
    if ways == {"tightens"}:
        return "tightens"
    return "loosens" if ways == {"loosens"} else "either"


def _direction(old: float, new: float) -> Way:
    """The direction of a change of a value that asks for more the larger it is."""
    return "neither" if old == new else "tightens" if new > old else "loosens"


def _scalars(old: Policy, new: Policy) -> Iterator[Change]:
    if old.domain != new.domain:
        yield Change(kind="domain", where=new.domain, what=f"{old.domain} -> {new.domain}", way="either")
    if old.explicit_consent != new.explicit_consent:
        what = "signals need a purpose granted by name" if new.explicit_consent else "callers vouch for what they send"
        yield Change(kind="consent", where="explicit_consent", what=what, way="either")
    for name, before, after in zip(("medium", "high"), old.levels, new.levels, strict=True):
        if before != after:
            yield Change(kind="level", where=name, what=f"begins at {after:g}, was {before:g}", way="neither")
    if old.version != new.version:
        yield Change(kind="version", where="version", what=f"{old.version} -> {new.version}", way="neither")


def _retention(old: Policy, new: Policy) -> Iterator[Change]:
    """How long data are kept. Histories, and receipts, without which nothing is learned, decide about later attempts;
    replies and the log do not."""
    for name in BOUNDS:
        before, after = getattr(old.retention, name), getattr(new.retention, name)
        if before != after:
            what = f"kept for {_duration(after)}, was {_duration(before)}"
            yield Change(
                kind="retention", where=name, what=what, way="neither" if name in ("reply", "log") else "either"
            )


def _issuers(old: Policy, new: Policy) -> Iterator[Change]:
    for issuer in sorted(new.trusted_issuers.keys() - old.trusted_issuers.keys()):
        yield Change(kind="issuer", where=issuer, what="its assertions now count as authentication", way="loosens")
    for issuer in sorted(old.trusted_issuers.keys() - new.trusted_issuers.keys()):
        yield Change(kind="issuer", where=issuer, what="its assertions no longer count", way="tightens")
    for issuer in sorted(old.trusted_issuers.keys() & new.trusted_issuers.keys()):
        for what, way in _meanings(old.trusted_issuers[issuer], new.trusted_issuers[issuer]):
            yield Change(kind="issuer", where=issuer, what=what, way=way)


def _meanings(old: Issuer, new: Issuer) -> Iterator[tuple[str, Way]]:
    """What an issuer's `acr` values mean now. More methods can break an umbrella value (`counted`): the direction is
    either."""
    if (old.acr is None) != (new.acr is None):
        yield (
            "its acr values mean what the " + ("tier table says" if new.acr is None else "policy says of it"),
            "either",
        )
        return
    before, after = old.acr or {}, new.acr or {}
    for acr in sorted(before.keys() | after.keys()):
        was, means = before.get(acr, 0), after.get(acr, 0)
        if was != means:
            way = _direction(-was, -means) if isinstance(was, int) and isinstance(means, int) else "either"
            yield f"acr {acr} means {_meaning(means)}, was {_meaning(was)}", way


def _meaning(meaning: int | tuple[str, ...]) -> str:
    if isinstance(meaning, tuple):
        return "+".join(meaning)
    return Tier(meaning).name if meaning else "nothing"


def _lists(old: Policy, new: Policy) -> Iterator[Change]:
    """Lists, and which of them are trusted. Conditions decide what a list means, so a change can move decisions either
    way."""
    for name in dict.fromkeys([*new.lists, *old.lists]):
        before, after = old.lists.get(name), new.lists.get(name)
        if before is None or after is None:
            yield Change(kind="list", where=name, what="is new" if after else "is gone", way="neither")
        elif before != after:
            yield Change(kind="list", where=name, what=f"has other {after.kind}", way="either")
    for name in sorted(new.trusted_networks ^ old.trusted_networks):
        trusted = name in new.trusted_networks
        what = "its addresses are no evidence now, for or against" if trusted else "its addresses are evidence again"
        yield Change(kind="trust", where=name, what=what, way="either")


def _counters(old: Policy, new: Policy) -> Iterator[Change]:
    """Counters. They move no decision by themselves: conditions do that."""
    for name in sorted({*old.counters} ^ {*new.counters}):
        what = "is counted now" if name in new.counters else "is no longer counted"
        yield Change(kind="counter", where=name, what=what, way="neither")


def _terms(old: Policy, new: Policy) -> Iterator[Change]:
    for tier in Tier:
        if tier not in old.ladder and tier not in new.ladder:
            continue
        if tier not in old.ladder or tier not in new.ladder:
            there = "is in the tier table now" if tier in new.ladder else "is no longer in the tier table"
            yield Change(kind="terms", where=tier.name, what=there, way="neither")
            continue
        before, after = old.ladder[tier], new.ladder[tier]
        for what, way in _asks(before.met, after.met):
            yield Change(kind="terms", where=tier.name, what=what, way=way)
        if before.any_method != after.any_method:
            what = "any method meets it" if after.any_method else "only the methods that it lists meet it"
            yield Change(kind="terms", where=tier.name, what=what, way="either")
        if before.any_method or after.any_method:
            continue
        combinations = {frozenset(one) for one in before.combinations}, {frozenset(one) for one in after.combinations}
        for name, (had, has) in (("acr", (before.acr, after.acr)), ("amr", combinations)):
            for value in sorted(map(_methods, has - had)):
                yield Change(kind="terms", where=tier.name, what=f"{name} {value} meets it now", way="loosens")
            for value in sorted(map(_methods, had - has)):
                yield Change(kind="terms", where=tier.name, what=f"{name} {value} no longer meets it", way="tightens")


def _asks(old: Requirement, new: Requirement) -> Iterator[tuple[str, Way]]:
    """What a tier tells the identity provider, besides what satisfies it."""
    before, after = old.terms, new.terms
    if before.aal != after.aal:
        way = _direction(before.aal, after.aal) if before.aal and after.aal else "either"
        yield f"means {_aal(after.aal)}, was {_aal(before.aal)}", way
    if before.max_age_s != after.max_age_s:
        ages = [float("inf") if age is None else float(age) for age in (before.max_age_s, after.max_age_s)]
        what = f"an authentication counts for {_age(after.max_age_s)}, was {_age(before.max_age_s)}"
        yield what, _direction(-ages[0], -ages[1])
    if before.acr_values != after.acr_values and set(before.acr_values) == set(after.acr_values):
        yield f"acr_values are preferred in another order: {', '.join(after.acr_values)}", "neither"


def _aal(level: int) -> str:
    return f"AAL{level}" if level else "no AAL"


def _methods(value: str | frozenset[str]) -> str:
    return value if isinstance(value, str) else "+".join(sorted(value))


def _age(seconds: int | None) -> str:
    return "any time" if seconds is None else _duration(seconds)


def _duration(seconds: int) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _rules(old: Policy, new: Policy) -> Iterator[Change]:
    before, after = old.rules(), new.rules()
    for name in [*after, *(name for name in before if name not in after)]:
        if name not in before:
            rule = after[name]
            what = f"new{_shadow(rule)}: {rule.tier.name} on {_journeys(rule)} when {' '.join(rule.when.split())}"
            yield Change(kind="rule", where=name, what=what, way="neither" if rule.shadow else "tightens")
        elif name not in after:
            rule = before[name]
            what = f"removed{_shadow(rule)}: was {rule.tier.name} on {_journeys(rule)}"
            yield Change(kind="rule", where=name, what=what, way="neither" if rule.shadow else "loosens")
        else:
            yield from _rule(before[name], after[name])


def _shadow(rule: Rule) -> str:
    return " in shadow" if rule.shadow else ""


def _journeys(rule: Rule) -> str:
    return ", ".join(rule.journeys)


def _rule(old: Rule, new: Rule) -> Iterator[Change]:
    """Changes of one rule. A rule in shadow moves no decision; one that leaves shadow begins to."""

    def change(what: str, way: Way, kind: str = "rule") -> Change:
        return Change(kind=kind, where=new.name, what=what, way=way)

    def seen(way: Way) -> Way:
        return "neither" if old.shadow and new.shadow else way

    if old.shadow != new.shadow:
        yield change(*(("goes into shadow", "loosens") if new.shadow else ("leaves shadow", "tightens")))
    if old.tier != new.tier:
        yield change(f"requires {new.tier.name}, was {old.tier.name}", seen(_direction(old.tier, new.tier)))
    conditions = [" ".join(rule.when.split()) for rule in (old, new)]
    if conditions[0] != conditions[1]:
        yield change(f"when {conditions[1]}, was {conditions[0]}", seen("either"))
    added = [name for name in new.journeys if name not in old.journeys]
    gone = [name for name in old.journeys if name not in new.journeys]
    if added:
        yield change(f"applies to {', '.join(added)} as well", seen("tightens"))
    if gone:
        yield change(f"no longer applies to {', '.join(gone)}", seen("loosens"))
    if old.reason != new.reason:
        yield change(f"gives the reason {new.reason}, was {old.reason}", "neither", "text")
    if old.text != new.text:
        yield change(f"says {new.text!r}", "neither", "text")


def _journey(name: str, old: Journey, new: Journey) -> Iterator[Change]:
    if old.floor != new.floor:
        what = f"always requires {new.floor.name}, was {old.floor.name}"
        # Raising a session's tier above its floor also means that the session itself no longer satisfies it.
        way = "either" if name == "session" else _direction(old.floor, new.floor)
        yield Change(kind="floor", where=name, what=what, way=way)
    if old.learning_until != new.learning_until:
        what = f"learns until {_day(new.learning_until)}, was {_day(old.learning_until)}"
        yield Change(kind="learning", where=name, what=what, way=_direction(-old.learning_until, -new.learning_until))
    if old.friction_budget != new.friction_budget:
        budgets = ["none" if one is None else f"{one:g}" for one in (new.friction_budget, old.friction_budget)]
        yield Change(kind="budget", where=name, what=f"{budgets[0]}, was {budgets[1]}", way="neither")
    yield from _bands(name, old, new)
    yield from _gaps(name, old, new)
    if old.cold_start != new.cold_start:
        what = f"requires {new.cold_start.name} of a subject without history, was {old.cold_start.name}"
        way = _direction(max(old.cold_start, old.floor), max(new.cold_start, new.floor))
        yield Change(kind="cold_start", where=name, what=what, way=way)
    if old.valid_for_s != new.valid_for_s:
        what = f"an answer is valid for {_duration(new.valid_for_s)}, was {_duration(old.valid_for_s)}"
        way = _direction(-old.valid_for_s, -new.valid_for_s)
        yield Change(kind="valid_for", where=name, what=what, way=way)


def _day(seconds: float) -> str:
    return date(seconds) if seconds else "no day"


def _bands(name: str, old: Journey, new: Journey) -> Iterator[Change]:
    """Scores from which each tier is required. A band at or below the floor has no effect of its own."""
    before = dict(zip(old.bands.tiers[1:], old.bands.edges, strict=True))
    after = dict(zip(new.bands.tiers[1:], new.bands.edges, strict=True))
    for tier in sorted({*before, *after}):
        had, has = before.get(tier), after.get(tier)
        if had == has:
            continue
        way: Way
        if has is None:
            what, way = f"{tier.name} has no band, was from {had:g}", "neither" if new.floor >= tier else "loosens"
        elif had is None:
            what, way = f"{tier.name} from {has:g}, had no band", "neither" if old.floor >= tier else "tightens"
        else:
            what, way = f"{tier.name} from {has:g}, was from {had:g}", _direction(-had, -has)
        yield Change(kind="band", where=name, what=what, way=way)


_ABSENT: Final = "not expected"


def _gaps(name: str, old: Journey, new: Journey) -> Iterator[Change]:
    """Postures. An expected source can become a gap, and conditions may ask for gaps."""
    acting = [rule for journey in (old, new) for rule in journey.rules if not rule.shadow]
    for source in dict.fromkeys([*old.postures, *new.postures]):
        had, has = _posture(old, source), _posture(new, source)
        if had == has:
            continue
        tiers = [max(journey.floor, journey.postures.get(source) or journey.floor) for journey in (old, new)]
        way = _direction(*tiers)
        if _ABSENT in (had, has) and any(_asks_for(rule, source) for rule in acting):
            way = "either"
        yield Change(kind="gap", where=name, what=f"while {source} is missing: {has}, was {had}", way=way)


def _asks_for(rule: Rule, source: str) -> bool:
    """Whether a condition can tell that a source is a gap: it names the source, or uses `gaps` in another way."""
    named = _IN_GAPS.findall(rule.when)
    return source in named or "gaps" in _IN_GAPS.sub("", rule.when)


_IN_GAPS: Final = re.compile(r"""["'](\w+)["']\s+in\s+gaps\b""")


def _posture(journey: Journey, source: str) -> str:
    if source not in journey.postures:
        return _ABSENT
    posture = journey.postures[source]
    return "noted" if posture is None else posture.name


def pair(old: Mapping[str, Policy], new: Mapping[str, Policy]) -> list[Comparison]:
    """Compare each identity domain that both have."""
    return [compare(old[domain], new[domain]) for domain in old if domain in new]
