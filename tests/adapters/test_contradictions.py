"""Comparisons that are always or never true, that exclude each other, or that another rule implies."""

from __future__ import annotations

import math
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.adapters.policy_file.contradictions import attributes_in, contradictions, implied_by
from riskd.core.attempt import JOURNEYS
from riskd.core.features import FEATURES
from riskd.core.requirement import Tier
from riskd.core.rules import Rule

RULE: Final = Rule(
    name="it", when="", tier=Tier.STEP_UP, reason="IT", text="It.", journeys=("login", "payment"), shadow=False
)
SPANS: Final = {feature.name: feature.span for feature in FEATURES}
MEETS: Final = {
    "<": float.__lt__,
    "<=": float.__le__,
    ">": float.__gt__,
    ">=": float.__ge__,
    "==": float.__eq__,
    "!=": float.__ne__,
}


@pytest.mark.parametrize(
    ("when", "codes"),
    [
        ("speed_kmh > 100.0 && speed_kmh < 200.0", []),
        ("speed_kmh > 200.0 && speed_kmh < 100.0", ["excluded"]),
        ("speed_kmh >= 100.0 && speed_kmh <= 100.0", []),
        ("speed_kmh > 100.0 && speed_kmh <= 100.0", ["excluded"]),
        ("speed_kmh > 200.0 && new_device == 1.0 && distance_last_km < 100.0", []),
        ("new_device == 0.0 && new_device == 1.0", ["excluded"]),
        ("new_device == 0.0 || new_device == 1.0", []),
        ("(speed_kmh > 200.0 || hosting == 1.0) && speed_kmh < 100.0", []),
        ("new_device == 2.0", ["never_true"]),
        ("new_device != 2.0", ["always_true"]),
        ("new_device >= 0.0 && speed_kmh < 0.0", ["always_true", "never_true"]),
        ("new_device == 2.0 && new_device == 1.0", ["never_true"]),
        ("speed_kmh > 1e300", []),
        ('country == "speed_kmh < 0.0"', []),
        ("score > 2.0", ["never_true"]),
        ("asn > 2", []),
    ],
)
def test_empty_comparisons_are_found(when: str, codes: list[str]) -> None:
    """Reports comparisons that no value or every value satisfies, and pairs that exclude each other, and nothing
    else."""
    assert [each.code for each in contradictions(when)] == codes


comparisons = st.tuples(st.sampled_from(sorted(MEETS)), st.floats(-30, 30).map(lambda number: round(number, 1)))


@given(st.sampled_from(sorted(SPANS)), st.lists(comparisons, min_size=1, max_size=2), st.floats(-40, 800))
def test_reported_contradictions_are_true(name: str, several: list[tuple[str, float]], value: float) -> None:
    """No value of the feature satisfies what is reported as never true or excluded; every value satisfies what is
    always true."""
    span = SPANS[name]
    tried = [*span.values] if span.values else [value, *(number for _, number in several)]
    values = [each for each in tried if span.low <= each <= span.high and math.isfinite(each)]
    met = [all(MEETS[sign](each, number) for sign, number in several) for each in values]
    codes = {each.code for each in contradictions(" && ".join(f"{name} {sign} {number!r}" for sign, number in several))}

    assert not (codes & {"never_true", "excluded"} and any(met))
    assert codes != {"always_true"} or len(several) > 1 or all(met)
    assert not span.values or len(several) > 1 or codes or len(set(met)) == 2


@pytest.mark.parametrize(
    ("when", "named"),
    [
        ('"a" in attributes && double(attributes["b"]) > 5.0', {1: "a", 40: "b"}),
        ("'a' in attributes || attributes . b == 'c' || has(attributes.c)", {1: "a", 34: "b", 61: "c"}),
        ("attributes.exists(k, k == 'a') && size(attributes) > 1", {}),
        ("""country == '"a" in attributes' || 'x' == 'y'""", {}),
        ('"a" in gaps && my.attributes.b == "" && "attributes[1]" == tenant', {}),
        ('"" in attributes && attributes[tenant] == "a"', {}),
        ('"a" in attributes // attributes["b"]', {}),
        ('"a" + "b" in attributes || attributes["a" + "b"] == ""', {}),
    ],
)
def test_attributes_are_found_where_a_condition_names_them(when: str, named: dict[int, str]) -> None:
    """Every attribute that a condition names is found with its place, and nothing that only resembles one."""
    assert attributes_in(when) == named


@pytest.mark.parametrize(
    ("when", "other", "implied"),
    [
        ("speed_kmh > 900.0 && new_country == 1.0", "speed_kmh > 500.0", True),
        ("speed_kmh > 900.0", "speed_kmh >= 900.0", True),
        ("speed_kmh >= 900.0", "speed_kmh > 900.0", False),
        ("speed_kmh > 900.0", "speed_kmh > 1000.0", False),
        ("speed_kmh > 900.0", "distance_last_km > 500.0", False),
        ("speed_kmh > 900.0", "speed_kmh > 500.0 && new_country == 1.0", False),
        ("new_country == 1.0 && speed_kmh > 900.0", "speed_kmh > 500.0 && new_country == 1.0", True),
        ("new_country == 1.0", "new_country != 0.0", True),
        ("(hosting == 1.0 || vpn == 1.0) && speed_kmh > 900.0", "speed_kmh > 500.0", True),
        ("hosting == 1.0 || vpn == 1.0", "hosting == 1.0", False),
        ("hosting == 1.0 ? vpn == 1.0 : tor == 1.0", "vpn == 1.0", False),
        ('country == "a && b" && vpn == 1.0', "vpn == 1.0", True),
        ("vpn == 1.0", "vpn == 1.0", False),
    ],
)
def test_a_rule_is_idle_where_a_wider_one_asks_for_as_much(when: str, other: str, *, implied: bool) -> None:
    """A rule is implied if another rule hits whenever it does; of two equal rules neither is implied."""
    wider = replace(RULE, name="wider", when=other)
    assert implied_by(replace(RULE, when=when), [wider]) == (wider if implied else None)


@pytest.mark.parametrize(
    ("changes", "implied"),
    [
        ({"tier": Tier.DENY}, True),
        ({"tier": Tier.BASELINE}, False),
        ({"journeys": JOURNEYS}, True),
        ({"journeys": ("login",)}, False),
        ({"shadow": True}, False),
    ],
)
def test_a_wider_rule_must_act_wherever_this_one_does(changes: dict[str, object], *, implied: bool) -> None:
    """A rule in shadow, for fewer journeys or with a laxer tier implies nothing."""
    wider = replace(RULE, name="wider", when="speed_kmh > 500.0", **changes)
    assert (implied_by(replace(RULE, when="speed_kmh > 900.0"), [wider]) is not None) == implied
