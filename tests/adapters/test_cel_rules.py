from __future__ import annotations

import math
import re
from collections.abc import Sequence
from threading import Thread
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskd.adapters.cel_rules import CelCompiler
from riskd.adapters.policy_file.contradictions import lists_in
from riskd.core.assessment import Hit
from riskd.core.attempt import JOURNEYS, Attempt, Network
from riskd.core.bounds import ATTRIBUTE, WORDS
from riskd.core.context import Agent, Context, Missing, Place, Remembered, Route
from riskd.core.counters import COUNTS
from riskd.core.history import DAY
from riskd.core.requirement import Tier
from riskd.core.rules import Evaluate, Flaw, Rule, RuleFacts, RuleResults

FEATURES: Final = ("speed_kmh", "new_asn", "new_country")
NOWHERE: Final = Missing("place", "not_found")
NO_ROUTE: Final = Missing("route", "not_installed")
NO_AGENT: Final = Missing("agent", "not_sent")
COMPILER: Final = CelCompiler(FEATURES)


def rule(when: str, name: str = "it", *, tier: Tier = Tier.STEP_UP, shadow: bool = False) -> Rule:
    return Rule(name=name, when=when, tier=tier, reason="CODE", text="Text.", journeys=JOURNEYS, shadow=shadow)


def compiled(*conditions: str) -> Evaluate:
    found = COMPILER([rule(when, f"r{at}") for at, when in enumerate(conditions)])
    assert not isinstance(found, list), found
    return found


def facts(
    features: Sequence[float] = (0.0, 0.0, 0.0),
    *,
    score: float = 0.0,
    place: Place | Missing = NOWHERE,
    route: Route | Missing = NO_ROUTE,
    agent: Agent | Missing = NO_AGENT,
    missing: tuple[Missing, ...] = (),
    stale: tuple[str, ...] = (),
    attributes: dict[str, str] | None = None,
    registered: float | None = None,
) -> RuleFacts:
    attempt = Attempt(
        domain="customer",
        subject="s",
        journey="login",
        network=Network(client_ip="192.0.2.1"),
        credential_result="succeeded",
        attributes=attributes or {},
        registration_time=registered,
    )
    context = Context(
        now=0.0,
        values={},
        place=place,
        route=route,
        agent=agent,
        remembered=Remembered(),
        missing=missing,
        stale=stale,
    )
    return RuleFacts(attempt, context, features, score, {"place", "route"})


def names(found: RuleResults) -> tuple[str, ...]:
    return tuple(hit.rule for hit in found[0])


KNOWN: Final = facts(
    features=(1200.0, 1.0, 0.0),
    score=0.25,
    place=Place("NO", 59.9, 10.7, 20.0),
    route=Route(2119, "Telenor", False, ""),
    agent=Agent("Firefox", "140", "Linux"),
    missing=(Missing("place", "not_found"), Missing("rtt", "not_sent")),
    stale=("route",),
    attributes={"amount": "900"},
    registered=-1.99 * DAY,
)


@pytest.mark.parametrize(
    ("when", "hit"),
    [
        ("speed_kmh > 900.0 && (new_asn == 1.0 || new_country == 1.0)", True),
        ("speed_kmh > 900.0 && new_country == 1.0", False),
        ("score >= 0.25", True),
        ('country in ["NO", "SE"] && asn == 2119', True),
        ('browser == "Firefox" && os == "Linux"', True),
        ('anonymizer == ""', True),
        ('anonymizer != ""', False),
        ('"place" in gaps', True),
        ('"rtt" in gaps', False),
        ("coverage == 0.5", True),
        ('"route" in stale && asn == 2119 && !("route" in gaps)', True),
        ('"place" in stale', False),
        ('domain == "customer" && journey == "login" && tenant == "" && credential == "succeeded"', True),
        ('"amount" in attributes && int(attributes["amount"]) > 500', True),
        ("account_days == 1.0", True),
        ("!(speed_kmh < 900.0) // a comment\n && asn > 0", True),
        (".score >= 0.25", True),
        ('speed_kmh > 900.0 && (.country == "NO" || new_asn < 1.0)', True),
        ("speed_kmh < 900.0 || . new_asn == 0.0 || . \n asn != 2119", False),
    ],
)
def test_conditions(when: str, hit: bool) -> None:
    """Conditions can use features, score, place, network, client, gaps, coverage, stale sources, attributes and the
    account's age."""
    assert compiled(when)(KNOWN) == ((Hit("r0", Tier.STEP_UP, "CODE", False, "Text."),) if hit else (), ())


@pytest.mark.parametrize("named", ["lists.office", ".lists.office", "lists . office", "lists\n.office"])
def test_a_list_is_the_same_however_it_is_named(named: str) -> None:
    """CEL allows a leading dot and spaces in a name; the list is the same."""
    found = COMPILER([rule(f"new_asn == 1.0 && {named}")], ["office"])
    assert not isinstance(found, list), found
    on, off = RuleFacts(KNOWN.attempt, KNOWN.context, KNOWN.features, 0.0, listed={"office": True}), KNOWN
    assert (names(found(on)), names(found(off))) == (("it",), ())
    assert lists_in(f"new_asn == 1.0 && {named}") == {"office"}


@pytest.mark.parametrize(
    ("name", "value", "unknown"),
    [
        ("country", '""', facts()),
        ("country", '""', facts(place=Place("", 59.9, 10.7, 20.0))),
        ("asn", "0", facts()),
        ("anonymizer", '""', facts()),
        ("browser", '""', facts()),
        ("browser", '""', facts(agent=Agent("", os="Linux"))),
        ("os", '""', facts()),
        ("os", '""', facts(agent=Agent("Firefox"))),
        ("account_days", "0.0", facts()),
        ("speed_kmh", "0.0", facts((math.nan, 0.0, 0.0))),
    ],
)
def test_a_comparison_with_a_missing_fact_is_false(name: str, value: str, unknown: RuleFacts) -> None:
    """A comparison with a missing or empty fact does not hit, nor does its negation, and it is no error."""
    assert compiled(f"{name} == {value}", f"{name} != {value}", f"!({name} == {value})")(unknown) == ((), ())


def test_all_rules_are_evaluated_in_order() -> None:
    """Every rule is evaluated, and hits come in the order of the policy."""
    assert names(compiled("score > 0.1", "score > 0.9", "asn > 0 // the last", "new_asn > 0.0")(KNOWN)) == (
        "r0",
        "r2",
        "r3",
    )


ATOMS: Final = st.sampled_from([
    "speed_kmh > 900.0", "speed_kmh < 900.0", "speed_kmh != 0.0", "new_asn == 1.0", "string(new_country) != 'x'",
    "country == 'NO'", "country != 'NO'", "country < 'Z'", "asn != 5", "anonymizer == ''", "'x'.contains(browser)",
    "score > 0.5", "credential == 'succeeded'",
])  # fmt: skip
CONDITIONS: Final = st.recursive(
    ATOMS,
    lambda inner: (
        st.builds("!({})".format, inner)
        | st.builds("({} && {})".format, inner, inner)
        | st.builds("({} || {})".format, inner, inner)
        | st.builds("(({}) ? ({}) : ({}))".format, inner, inner, inner)
        | st.builds("(({}) == ({}))".format, inner, inner)
    ),
    max_leaves=5,
)
VALUES: Final = st.sampled_from([0.0, 1.0, 5.0, 1000.0])
PLACES: Final = st.builds(Place, st.sampled_from(["NO", "SE", "ZA"]), st.just(0.0), st.just(0.0), st.just(0.0))
ROUTES: Final = st.builds(Route, st.sampled_from([0, 5, 9]), anonymizer=st.sampled_from(["", "tor"]))
AGENTS: Final = st.builds(Agent, st.sampled_from(["x", "y"]))


@given(
    CONDITIONS,
    st.tuples(VALUES, VALUES, VALUES),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.tuples(PLACES, ROUTES, AGENTS),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_a_hit_never_depends_on_a_missing_fact(
    when: str,
    values: tuple[float, ...],
    unknown: tuple[bool, ...],
    known: tuple[Place, Route, Agent],
    gone: tuple[bool, ...],
) -> None:
    """A rule that hits while facts are missing also hits with those facts present, whatever their values."""
    evaluate = compiled(when)
    partly = facts(
        [math.nan if absent else value for value, absent in zip(values, unknown, strict=True)],
        place=NOWHERE if gone[0] else known[0],
        route=NO_ROUTE if gone[1] else known[1],
        agent=NO_AGENT if gone[2] else known[2],
    )
    if names(evaluate(partly)):
        assert names(evaluate(facts(values, place=known[0], route=known[1], agent=known[2])))


@pytest.mark.parametrize("when", ["speed_kmh > 1.0 || score > 0.1", "country == 'NO' || asn == 1 || score > 0.1"])
def test_missing_facts_do_not_prevent_a_hit(when: str) -> None:
    """A missing fact does not prevent a hit if the condition is true without it."""
    assert names(compiled(when)(facts((math.nan, 0.0, 0.0), score=0.2)))


def test_a_rule_that_fails_is_named_and_the_others_stand() -> None:
    """A rule that cannot be evaluated does not hit and is reported; the other rules are not affected."""
    evaluate = compiled("score > 0.1", "score > 0.1 && attributes['amount'] == '900'", "score > 0.2")
    assert evaluate(KNOWN) == (evaluate(KNOWN)[0], ())
    found = evaluate(facts(score=0.3))
    assert (names(found), found[1]) == (("r0", "r2"), ("rule:r1",))


@given(st.lists(st.tuples(VALUES, st.sampled_from([0.0, -0.0, math.nan, 7.0]), PLACES), min_size=1, max_size=9))
def test_cached_rule_results_equal_fresh_ones(attempts: list[tuple[float, float, Place]]) -> None:
    """Cached results never change an answer: it is the one that the rules give for this attempt alone."""
    conditions = ("speed_kmh > 900.0", "1.0 / new_asn > 0.0", "'place' in gaps", "country != 'NO' || new_asn == 7.0")
    evaluate = compiled(*conditions)
    for speed, new, place in attempts * 2:
        asked = facts((speed, new, 0.0), place=place, missing=(NOWHERE,) if speed else ())
        assert evaluate(asked) == compiled(*conditions)(asked)


def test_many_rules_are_fused_in_several_expressions() -> None:
    """If there are more rules than one expression holds, all are still evaluated."""
    long = " || ".join(f"asn == {number}" for number in range(100, 200))
    evaluate = compiled(*[f"{long} || asn == {at}" for at in range(60)])
    assert names(evaluate(facts(route=Route(59)))) == ("r59",)


@pytest.mark.parametrize(
    ("when", "flaw"),
    [
        ("speed_kmh > ", Flaw("it", "Syntax error", "", 1, 13)),
        ("speed_kmh > 900", Flaw("it", "found no matching overload",
                                 "write doubles as 1.0, and whole numbers (asn) as 1", 1, 11)),
        ("score > 0.1 &&\n  new_ans > 0.0", Flaw("it", "undeclared reference", "did you mean new_asn?", 2, 3)),
        ("score", Flaw("it", "the condition is of type DOUBLE, not a boolean", "compare it with something")),
        ("1 < 2", Flaw("it", "the condition is a constant", "name a feature or variable in it")),
        ("country.matches('[')", Flaw("it", "the condition cannot be evaluated: invalid regular expression",
                                      "correct it")),
        ("attributes['k'] == 'v'", Flaw("it", "the condition cannot be evaluated: Key not found",
                                        'check first that the key exists: '
                                        '"k" in attributes && attributes["k"] == ...')),
        ("attributes[amount] == '5'", Flaw("it", "undeclared reference", 'write attributes["amount"]', 1, 12)),
        ("attributes['k'] > 5.0", Flaw("it", "found no matching overload",
                                       'write texts in quotes, and read a number as double(attributes["amount"])',
                                       1, 17)),
        ("country == 47", Flaw("it", "found no matching overload",
                               'write texts in quotes, and read a number as double(attributes["amount"])', 1, 9)),
        ("[score > 0.1, true", Flaw("it", "Syntax error", "", 1, 19)),
    ],
)  # fmt: skip
def test_flaws(when: str, flaw: Flaw) -> None:
    """A condition that is not a boolean expression over known facts is refused with its position and a remedy."""
    found = COMPILER([rule(when), rule("score > 0.5", "fine")])
    assert isinstance(found, list)
    assert found[0].what.startswith(flaw.what)
    assert (found[0].rule, found[0].remedy, found[0].line, found[0].column) == (
        flaw.rule,
        flaw.remedy,
        flaw.line,
        flaw.column,
    )


IDENTIFIERS: Final = [
    "as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let",
    "loop", "namespace", "null", "package", "return", "true", "var", "void", "while", "all", "exists",
    "filter", "has", "map", "matches", "size", "attempts_1h",
]  # fmt: skip
"""The reserved words of CEL, and names of its functions."""


@pytest.mark.parametrize("name", IDENTIFIERS)
def test_a_name_can_be_any_word_but_those_that_are_reserved(name: str) -> None:
    """Attributes, counters and lists can have every name that conditions can write, and no other."""
    found = COMPILER([rule(f"counted.{name}.attempts_1h > 1.0 && lists.{name}")], lists=[name], counters=[name])
    assert isinstance(found, list) == (name in WORDS)
    assert bool(re.fullmatch(ATTRIBUTE, name)) == (name not in WORDS)


def test_a_counter_without_a_count_is_told_its_counts() -> None:
    """A condition that names a counter alone is told what it counts, and nothing of other counters."""
    flaws = COMPILER([rule("counted.payee > 1.0")], counters=["payee", "payee_id"])
    assert isinstance(flaws, list)
    assert flaws[0].remedy == f"known: {', '.join(f'counted.payee.{count}' for count in COUNTS)}"


def test_threads_share_the_compiled_rules() -> None:
    """Threads that evaluate the same rules do not affect each other."""
    evaluate = compiled("score > 0.5", "speed_kmh > 1.0")
    wrong: list[object] = []

    def run(score: float) -> None:
        expected = ("r0",) if score > 0.5 else ()
        for _ in range(2000):
            found = names(evaluate(facts(score=score)))
            if found != expected:
                wrong.append(found)

    threads = [Thread(target=run, args=(score,)) for score in (0.1, 0.9, 0.2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
