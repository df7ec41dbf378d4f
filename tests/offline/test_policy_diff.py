"""What a policy comparison says about a change is true of every decision."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskd.adapters.policy_file import read_policy
from riskd.core import record
from riskd.core.errors import InvalidPolicy
from riskd.core.policy import Policy
from riskd.offline.policies.diff import KINDS, Comparison, compare
from riskd.offline.policies.replay import replay
from riskd.offline.policies.report import challenged
from riskd.offline.policies.tally import state
from tests.offline.drawn import COMPILER, SHIPPED, TEXT, logs

EDITS: Final = {
    "version: \"2026-11\"": ("version: other", "version", "neither"),
    "  medium: 0.02": ("  medium: 0.03", "level", "neither"),
    "trusted_issuers: []": ("trusted_issuers: [https://idp.example]", "issuer", "loosens"),
    "explicit_consent: false": ("explicit_consent: true", "consent", "either"),
    "STEP_UP: 0.02 #": ("STEP_UP: 0.05 #", "band", "loosens"),
    "DENY: 0.8 #": ("DENY: 0.7 #", "band", "tightens"),
    "      PHISHING_RESISTANT: 0.08 # 1 in 12: half of login's threshold, as for the step before\n": (
        "", "band", "loosens"
    ),
    "    floor: STEP_UP # section 4.2": ("    floor: BASELINE # section 4.2", "floor", "loosens"),
    "reputation: PHISHING_RESISTANT": ("reputation: note", "gap", "loosens"),
    "      session: STEP_UP\n      history: STEP": ("      session: DENY\n      history: STEP", "gap", "tightens"),
    "      session: STEP_UP # a session is judged again, and the caller did not send it\n": ("", "gap", "loosens"),
    "      agent: note\n      device_id: note\n      session: PHISHING": (
        "      agent: note\n      session: PHISHING", "gap", "either"
    ),
    "cold_start: STEP_UP # a first payment": ("cold_start: DENY # a first payment", "cold_start", "tightens"),
    "valid_for: 15m": ("valid_for: 5m", "valid_for", "tightens"),
    "max_age: 30d # section 2.1.3": ("max_age: 29d # section 2.1.3", "terms", "tightens"),
    "[pwd, mca], ": ("", "terms", "tightens"),
    "acr_values: [mfa]": ("acr_values: [mfa, \"2\"]", "terms", "loosens"),
    "    when: tor == 1.0\n    then: STEP_UP": ("    when: vpn == 1.0\n    then: STEP_UP", "rule", "either"),
    "    when: tor == 1.0\n    then: PHISHING": ("    when:   tor ==  1.0\n    then: PHISHING", "", "neither"),
    "    then: DENY # there is no person": ("    then: STEP_UP # there is no person", "rule", "loosens"),
    "    journeys: [recovery]\n": ("    journeys: [recovery, login]\n", "rule", "tightens"),
    "[login, payment, session]\n    shadow: true": ("[login, payment, session]", "rule", "tightens"),
    "    when: rtt_shortfall_km > 1000.0": ("    when: rtt_shortfall_km > 900.0", "rule", "neither"),
    "# The words that dashboards": ("learning_until: 2100-01-01\n# The words that dashboards", "learning", "loosens"),
    "    valid_for: 1m # one recovery": (
        "    friction_budget: 0.01\n    valid_for: 1m # one recovery", "budget", "neither"
    ),
    "# Per source: note lists": (
        "tenants: {acme: {journeys: {login: {floor: STEP_UP}}}}\n# Per source: note lists", "floor,band", "tightens"
    ),
    "# What each tier means": (
        "lists: {office: {networks: [192.0.2.0/24]}}\ntrusted_networks: [office]\n# What each tier means",
        "trust,list", "either",
    ),
    "    text: The platform does not": ("    text: That platform does not", "text", "neither"),
}  # fmt: skip
"""For a piece of the shipped customer policy: its replacement, the kind of change, and its possible direction."""


def edited(*pieces: str) -> Policy:
    text = TEXT
    for piece in pieces:
        assert piece in text, piece
        text = text.replace(piece, EDITS[piece][0], 1)
    return read_policy("candidate", text, COMPILER)


@pytest.mark.parametrize("piece", EDITS, ids=lambda piece: " ".join(piece.split())[:50])
def test_each_kind_of_change_is_named(piece: str) -> None:
    """Each change is reported with its kind and direction."""
    found = compare(SHIPPED, edited(piece))
    _, kind, way = EDITS[piece]
    assert {change.kind for change in found.changes} == set(kind.split(",") if kind else ())
    assert found.way == way


@settings(max_examples=50)
@given(st.sets(st.sampled_from(sorted(EDITS)), max_size=4), st.booleans(), logs)
def test_the_stated_direction_holds_for_every_decision(
    pieces: set[str], back: bool, log: list[record.AssessmentRecord]
) -> None:
    """A change that only tightens lowers no tier and ends no challenge; one that only loosens, the reverse."""
    try:
        other = edited(*sorted(pieces))
    except InvalidPolicy:
        return
    old, new = (other, SHIPPED) if back else (SHIPPED, other)
    found = compare(old, new)
    for one in log:
        before, after = replay(old, one).ruling, replay(new, one).ruling
        asked = [challenged(state(ruling.tier, satisfied=ruling.requirement.satisfied)) for ruling in (before, after)]
        if found.way in ("tightens", "neither"):
            assert after.tier >= before.tier
            assert asked[1] >= asked[0]
        if found.way in ("loosens", "neither"):
            assert after.tier <= before.tier
            assert asked[1] <= asked[0]


def test_changes_are_ordered_by_weight() -> None:
    """Changes are ordered by weight: floors, then bands, then texts; within a kind, loosening before tightening."""
    found = compare(SHIPPED, edited(*list(EDITS)[:10]))
    kinds = [KINDS.index(change.kind) for change in found.changes]
    assert kinds == sorted(kinds)


@pytest.mark.parametrize("domain", ["customer"])
def test_the_same_policy_has_no_changes(domain: str) -> None:
    """A reformatted policy has no changes."""
    same: Comparison = compare(SHIPPED, read_policy("again", TEXT.replace("\n\n", "\n"), COMPILER))
    assert (same.domain, same.changes, same.way) == (domain, (), "neither")


MEANINGS: Final = {
    ("[idp]", "{idp: {}}"): "neither",
    ("[idp]", "{idp: {acr: {c1: STEP_UP}}}"): "either",
    ("{idp: {acr: {}}}", "{idp: {acr: {c1: STEP_UP}}}"): "loosens",
    ("{idp: {acr: {c1: STEP_UP}}}", "{idp: {acr: {}}}"): "tightens",
    ("{idp: {acr: {c1: STEP_UP}}}", "{idp: {acr: {c1: HARDWARE_BOUND}}}"): "loosens",
    ("{idp: {acr: {c1: [pwd, otp]}}}", "{idp: {acr: {c1: [pwd]}}}"): "either",
    ("{idp: {acr: {c1: STEP_UP}}}", "{idp: {acr: {c1: BASELINE, c2: STEP_UP}}}"): "either",
}


@pytest.mark.parametrize(("old", "new"), MEANINGS)
def test_meanings_of_issuers_are_compared(old: str, new: str) -> None:
    """Raising an issuer's meaning loosens, lowering it tightens, and reading its words differently can do either."""
    texts = [TEXT.replace("trusted_issuers: []", f"trusted_issuers: {each}") for each in (old, new)]
    before, after = (read_policy("p", text, COMPILER) for text in texts)
    found = compare(before, after)
    assert found.way == MEANINGS[old, new]
    assert {change.kind for change in found.changes} == (set() if found.way == "neither" else {"issuer"})


def test_counters_are_compared() -> None:
    """A counter that is new or gone is named before the rules; it moves no decision by itself."""
    rule = "  - {name: it, when: counted.payee.attempts_1h > 5.0, then: DENY, reason: A, text: B., journeys: all}\n"
    counting = read_policy("p", TEXT.replace("rules:\n", f"counters: [payee]\nrules:\n{rule}", 1), COMPILER)
    for old, new, what, way in (
        (SHIPPED, counting, "is counted now", "tightens"),
        (counting, SHIPPED, "is no longer counted", "loosens"),
    ):
        found = compare(old, new)
        counter, changed = found.changes
        assert (counter.kind, counter.where, counter.what, counter.way) == ("counter", "payee", what, "neither")
        assert (changed.kind, found.way) == ("rule", way)


def test_a_baseline_that_begins_to_list_its_methods_may_go_either_way() -> None:
    """Listing methods for BASELINE can go either way: it excludes others, but may include a restricted one."""
    listed = TEXT.replace("max_age: 30d # section 2.1.3", "amr: [[pwd], [sms]]\n    max_age: 30d # section 2.1.3")
    for old, new in ((SHIPPED, read_policy("p", listed, COMPILER)), (read_policy("p", listed, COMPILER), SHIPPED)):
        found = compare(old, new)
        assert ([change.kind for change in found.changes], found.way) == (["terms"], "either")
