"""The answers that the shipped policies and models give together."""

from __future__ import annotations

import math

from riskd.adapters.memory import MemoryStore
from riskd.core import learn
from riskd.core.assess import NOTICEABLE, assess
from riskd.core.context import Missing
from riskd.core.features import FEATURES, NAMES
from tests.cases.world import NOW, TableGeo, attempt, facts
from tests.shipped import shipped_release


def test_a_missing_history_gives_no_reason() -> None:
    """A first sign-in through Tor gives a reason for its network, and none for the missing history."""
    first = attempt({"from": "tor"})
    keys, context = facts(first, TableGeo({}), NOW, MemoryStore())

    decision = assess(first, context, keys, shipped_release(), "assessment", explain=True)

    missing = {feature.reason for feature, value in zip(FEATURES, decision.vector, strict=True) if math.isnan(value)}
    present = {
        feature.reason for feature, value in zip(FEATURES, decision.vector, strict=True) if not math.isnan(value)
    }
    codes = {reason.code for reason in decision.assessment.reasons}
    assert "ANONYMIZER" in codes
    assert codes & (missing - present) == set()


def test_familiar_features_give_no_reason() -> None:
    """In a small deployment, familiar features contribute less than usual, but that gives no reason."""
    store = MemoryStore()
    usual = attempt({"who": "sam"})
    for day in range(2, 50, 2):
        keys, context = facts(usual, TableGeo({}), NOW - day * 86_400, MemoryStore())
        store.write(learn.lesson_deltas(learn.lesson(usual, context, keys), 1), (), NOW, 1.0)
    keys, context = facts(usual, TableGeo({}), NOW, store)

    decision = assess(usual, context, keys, shipped_release(), "assessment", explain=True)

    assert decision.contributions is not None
    moved = {name for name, by in zip(NAMES, decision.contributions, strict=True) if by >= NOTICEABLE}
    assert {"address_llr", "weekday_llr"} <= moved
    assert decision.assessment.reasons == ()


def test_a_client_cannot_make_the_answer_look_degraded() -> None:
    """An unreadable user agent is a gap, not a cause, because riskd did not fail."""
    garbled = attempt({"with": "unknown_agent"})
    keys, context = facts(garbled, TableGeo({}), NOW, MemoryStore())

    answer = assess(garbled, context, keys, shipped_release(), "assessment").assessment

    assert Missing("agent", "unreadable") in answer.gaps
    assert answer.causes == ()
