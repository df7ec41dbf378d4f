"""What a policy comparison says about a change is true of every decision."""

from __future__ import annotations

from functools import cache
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskd.adapters.policy_file import read_policy
from riskd.core import record
from riskd.core.errors import InvalidPolicy
from riskd.core.policy import Journey, Policy
from riskd.core.requirement import Terms
from riskd.core.rules import Rule
from riskd.offline.policies.diff import KINDS, Comparison, compare
from riskd.offline.policies.redecide import redecide
from riskd.offline.policies.report import challenged
from riskd.offline.policies.tally import state
from tests.offline.drawn import COMPILER, SHIPPED, TEXT, logs

RULE: Final = (
    "  - {name: new, when: tor == 1.0 &&  vpn == 1.0, then: DENY, reason: A, text: B., journeys: [login, payment]}\n"
)
EDITS: Final = {
    "domain: customer": ("domain: workforce", "domain workforce: customer -> workforce", "either"),
    "version: \"2026-11\"": ("version: other", "version version: 2026-11 -> other", "neither"),
    "  medium: 0.02": ("  medium: 0.03", "level medium: begins at 0.03, was 0.02", "neither"),
    "trusted_issuers: []": (
        "trusted_issuers: [https://idp.example]",
        "issuer https://idp.example: its assertions now count as authentication", "loosens",
    ),
    "explicit_consent: false": (
        "explicit_consent: true", "consent explicit_consent: signals need a purpose granted by name", "either"
    ),
    "  profile: 182d": ("  profile: 30d", "retention profile: kept for 30d, was 182d", "either"),
    "  reply: 24h": ("  reply: 1m", "retention reply: kept for 1m, was 1d", "neither"),
    "STEP_UP: 0.02 #": ("STEP_UP: 0.05 #", "band login: STEP_UP from 0.05, was from 0.02", "loosens"),
    "DENY: 0.8 #": ("DENY: 0.7 #", "band registration: DENY from 0.7, was from 0.8", "tightens"),
    "      PHISHING_RESISTANT: 0.08 # 1 in 12: half of login's threshold, as for the step before\n": (
        "", "band payment: PHISHING_RESISTANT has no band, was from 0.08", "loosens"
    ),
    "    floor: STEP_UP # section 4.2": (
        "    floor: BASELINE # section 4.2", "floor recovery: always requires BASELINE, was STEP_UP", "loosens"
    ),
    "reputation: PHISHING_RESISTANT": (
        "reputation: note", "gap recovery: while reputation is missing: noted, was PHISHING_RESISTANT", "loosens"
    ),
    "      session: STEP_UP\n      history: STEP": (
        "      session: DENY\n      history: STEP",
        "gap payment: while session is missing: DENY, was STEP_UP", "tightens",
    ),
    "      session: STEP_UP # a session is judged again, and the caller did not send it\n": (
        "", "gap session: while session is missing: not expected, was STEP_UP", "loosens"
    ),
    "      agent: note\n      device_id: note\n      session: PHISHING": (
        "      agent: note\n      session: PHISHING",
        "gap profile_update: while device_id is missing: not expected, was noted", "either",
    ),
    "cold_start: STEP_UP # a first payment": (
        "cold_start: DENY # a first payment",
        "cold_start payment: requires DENY of a subject without history, was STEP_UP", "tightens",
    ),
    "valid_for: 15m": ("valid_for: 90s", "valid_for session: an answer is valid for 90s, was 15m", "tightens"),
    "max_age: 30d # section 2.1.3": (
        "max_age: 25h # section 2.1.3", "terms BASELINE: an authentication counts for 25h, was 30d", "tightens"
    ),
    "    max_age: 30d # section 2.1.3: at AAL1 at most 30 days\n": (
        "", "terms BASELINE: an authentication counts for any time, was 30d", "loosens"
    ),
    "    aal: 3": ("    aal: 2", "terms HARDWARE_BOUND: means AAL2, was AAL3", "loosens"),
    "    aal: 0": ("    aal: 1", "terms IDENTITY_PROOF: means AAL1, was no AAL", "either"),
    "[pwd, mca], ": ("", "terms STEP_UP: amr mca+pwd no longer meets it", "tightens"),
    "acr_values: [mfa]": ("acr_values: [mfa, \"2\"]", "terms STEP_UP: acr 2 meets it now", "loosens"),
    "acr_values: [phr, phrh]": (
        "acr_values: [phrh, phr]",
        "terms PHISHING_RESISTANT: acr_values are preferred in another order: phrh, phr", "neither",
    ),
    TEXT[TEXT.index("  HARDWARE_BOUND:\n") : TEXT.index("  IDENTITY_PROOF:\n    aal")]: (
        "",
        ("terms STEP_UP: amr pin+sc no longer meets it\n"
        "terms PHISHING_RESISTANT: amr pin+sc no longer meets it\n"
        "terms HARDWARE_BOUND: is no longer in the tier table"), "tightens",
    ),
    "    when: tor == 1.0\n    then: STEP_UP": (
        "    when: vpn == 1.0\n    then: STEP_UP", "rule tor: when vpn == 1.0, was tor == 1.0", "either"
    ),
    "    when: tor == 1.0\n    then: PHISHING": ("    when:   tor ==  1.0\n    then: PHISHING", "", "neither"),
    "    then: DENY # there is no person": (
        "    then: STEP_UP # there is no person", "rule automated_enrolment: requires STEP_UP, was DENY", "loosens"
    ),
    "    journeys: [recovery]\n": (
        "    journeys: [recovery, login, session]\n",
        "rule repeated_recovery: applies to login, session as well", "tightens",
    ),
    "[login, payment, session]\n    shadow: true": (
        "[login, payment, session]", "rule forged_browser: leaves shadow", "tightens"
    ),
    "    when: rtt_shortfall_km > 1000.0": (
        "    when: rtt_shortfall_km > 900.0",
        "rule place_too_far: when rtt_shortfall_km > 900.0, was rtt_shortfall_km > 1000.0", "neither",
    ),
    TEXT[TEXT.index("  - name: forged_browser") : TEXT.index("  - name: place_too_far")]: (
        "", "rule forged_browser: removed in shadow: was STEP_UP on login, payment, session", "neither"
    ),
    "  - name: forged_browser": (
        f"{RULE}  - name: forged_browser", "rule new: new: DENY on login, payment when tor == 1.0 && vpn == 1.0",
        "tightens",
    ),
    "reason: FORGED_BROWSER": (
        "reason: FAKE_BROWSER", "text forged_browser: gives the reason FAKE_BROWSER, was FORGED_BROWSER", "neither"
    ),
    "    text: The platform does not": (
        "    text: That platform does not",
        "text tampered_device: says 'That platform does not vouch for this device or app.'", "neither",
    ),
    "# The words that dashboards": (
        "learning_until: 2100-01-01\n# The words that dashboards",
        "\n".join(f"learning {journey}: learns until 2100-01-01, was no day" for journey in SHIPPED.journeys),
        "loosens",
    ),
    "    valid_for: 1m # one recovery": (
        "    friction_budget: 0.01\n    valid_for: 1m # one recovery", "budget recovery: 0.01, was none", "neither"
    ),
    "# Per source: note lists": (
        "tenants: {acme: {journeys: {login: {floor: STEP_UP}}}}\n# Per source: note lists",
        ("floor login of tenant acme: always requires STEP_UP, was BASELINE\n"
        "band login of tenant acme: STEP_UP has no band, was from 0.02"), "tightens",
    ),
    "# What each tier means": (
        "lists: {office: {networks: [192.0.2.0/24]}}\ntrusted_networks: [office]\n# What each tier means",
        "trust office: its addresses are no evidence now, for or against\nlist office: is new", "either",
    ),
}  # fmt: skip
"""For a piece of the shipped customer policy: its replacement, what is said of the change, and its direction."""
REVERSE: Final = {"tightens": "loosens", "loosens": "tightens", "either": "either", "neither": "neither"}


@cache
def edited(*pieces: str) -> Policy:
    text = TEXT
    for piece in pieces:
        assert piece in TEXT, piece
        text = text.replace(piece, EDITS[piece][0], 1)
    return read_policy("candidate", text, COMPILER)


@pytest.mark.parametrize("piece", EDITS, ids=lambda piece: " ".join(piece.split())[:50])
def test_each_kind_of_change_is_named(piece: str) -> None:
    """Each change is reported with its kind, place, words and direction; the reverse change has the reverse one."""
    candidate = edited(piece)
    found = compare(SHIPPED, candidate)
    _, said, way = EDITS[piece]
    assert "\n".join(f"{change.kind} {change.where}: {change.what}" for change in found.changes) == said
    assert (found.way, compare(candidate, SHIPPED).way) == (way, REVERSE[way])


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
        before, after = redecide(old, one).ruling, redecide(new, one).ruling
        asked = [challenged(state(ruling.tier, satisfied=ruling.requirement.satisfied)) for ruling in (before, after)]
        if found.way in ("tightens", "neither"):
            assert after.tier >= before.tier
            assert asked[1] >= asked[0]
        if found.way in ("loosens", "neither"):
            assert after.tier <= before.tier
            assert asked[1] <= asked[0]


def test_changes_are_ordered_by_weight() -> None:
    """Changes are ordered by weight: floors, then bands, then texts; within a kind, loosening before tightening."""
    found = compare(SHIPPED, edited(*EDITS))
    weights = [(KINDS.index(change.kind), ORDER.index(change.way)) for change in found.changes]
    assert len({change.kind for change in found.changes}) > 10
    assert weights == sorted(weights)


ORDER: Final = ("loosens", "either", "tightens", "neither")


@pytest.mark.parametrize("domain", ["customer"])
def test_the_same_policy_has_no_changes(domain: str) -> None:
    """A reformatted policy has no changes."""
    same: Comparison = compare(SHIPPED, read_policy("again", TEXT.replace("\n\n", "\n"), COMPILER))
    assert (same.domain, same.changes, same.way) == (domain, (), "neither")


ISSUERS: Final = {
    ("[idp]", "{idp: {}}"): ("", "neither"),
    ("[idp]", "{idp: {acr: {c1: STEP_UP}}}"): ("its acr values mean what the policy says of it", "either"),
    ("{idp: {acr: {c1: STEP_UP}}}", "[idp]"): ("its acr values mean what the tier table says", "either"),
    ("{idp: {acr: {}}}", "{idp: {acr: {c1: STEP_UP}}}"): ("acr c1 means STEP_UP, was nothing", "loosens"),
    ("{idp: {acr: {c1: STEP_UP}}}", "{idp: {acr: {}}}"): ("acr c1 means nothing, was STEP_UP", "tightens"),
    ("{idp: {acr: {c1: STEP_UP}}}", "{idp: {acr: {c1: HARDWARE_BOUND}}}"): (
        "acr c1 means HARDWARE_BOUND, was STEP_UP", "loosens"
    ),
    ("{idp: {acr: {c1: [pwd, otp]}}}", "{idp: {acr: {c1: [pwd]}}}"): ("acr c1 means pwd, was pwd+otp", "either"),
    ("{idp: {acr: {c1: STEP_UP}}}", "{idp: {acr: {c1: BASELINE, c2: STEP_UP}}}"): (
        "acr c2 means STEP_UP, was nothing; acr c1 means BASELINE, was STEP_UP", "either"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new"), ISSUERS)
def test_meanings_of_issuers_are_compared(old: str, new: str) -> None:
    """Raising an issuer's meaning loosens, lowering it tightens, and reading its words differently can do either."""
    found = changed("trusted_issuers: []", f"trusted_issuers: {old}", f"trusted_issuers: {new}")
    said = "; ".join(change.what for change in found.changes)
    assert (said, found.way) == ISSUERS[old, new]
    assert {(change.kind, change.where) for change in found.changes} <= {("issuer", "idp")}


def changed(piece: str, *texts: str) -> Comparison:
    """What is said of two policies, each of which has another text in place of a piece."""
    return compare(*(read_policy("p", TEXT.replace(piece, text, 1), COMPILER) for text in texts))


def test_a_higher_floor_of_sessions_may_go_either_way() -> None:
    """Above its floor a session does not satisfy its own tier, so a higher floor can end challenges, too."""
    piece = "# Per source: note lists"
    found = changed(piece, piece, f"tenants: {{acme: {{journeys: {{session: {{floor: STEP_UP}}}}}}}}\n{piece}")
    assert [(change.kind, change.way) for change in found.changes] == [("floor", "either"), ("band", "neither")]


LISTS: Final = {
    ("networks: [192.0.2.0/24]", "networks: [192.0.2.0/25]"): ("list office: has other networks", "either"),
    ("networks: [192.0.2.0/24]", "asns: [64500]"): ("list office: has other asns", "either"),
    ("networks: [192.0.2.0/24]", "networks: [192.0.2.0/24]"): ("", "neither"),
}


@pytest.mark.parametrize(("old", "new"), LISTS)
def test_entries_of_lists_are_compared(old: str, new: str) -> None:
    """Other entries of a list can move decisions either way; a list that stays is not named."""
    rule = "  - {name: it, when: lists.office, then: DENY, reason: A, text: B., journeys: all}\n"
    found = changed("rules:\n", *(f"lists: {{office: {{{entries}}}}}\nrules:\n{rule}" for entries in (old, new)))
    said = "; ".join(f"{change.kind} {change.where}: {change.what}" for change in found.changes)
    assert (said, found.way) == LISTS[old, new]


COUNTING: Final = (
    "counters: [payee]\nrules:\n"
    "  - {name: it, when: counted.payee.attempts_1h > 5.0, then: DENY, reason: A, text: B., journeys: all}\n"
)


def test_counters_are_compared() -> None:
    """A counter that is new or gone is named before the rules; it moves no decision by itself."""
    for old, new, what, way in (
        ("rules:\n", COUNTING, "is counted now", "tightens"),
        (COUNTING, "rules:\n", "is no longer counted", "loosens"),
    ):
        found = changed("rules:\n", old, new)
        counter, rule = found.changes
        assert (counter.kind, counter.where, counter.what, counter.way) == ("counter", "payee", what, "neither")
        assert (rule.kind, found.way) == ("rule", way)


def test_no_part_of_a_policy_is_left_out() -> None:
    """Each field of a policy, of a journey, of a tier's terms and of a rule is changed by an edit of these tests, and
    so is compared."""
    counting = read_policy("p", TEXT.replace("rules:\n", COUNTING, 1), COMPILER)
    candidates = [counting, *(edited(piece) for piece in EDITS)]
    for parts in (whole, journeys, terms, rules):
        names = parts(SHIPPED)[0].__struct_fields__
        differ = {
            name
            for candidate in candidates
            for old, new in zip(parts(SHIPPED), parts(candidate), strict=False)
            for name in names
            if getattr(old, name) != getattr(new, name)
        }
        assert differ | {"name"} == {*names} | {"name"}


def whole(policy: Policy) -> list[Policy]:
    return [policy]


def journeys(policy: Policy) -> list[Journey]:
    return [*policy.journeys.values()]


def terms(policy: Policy) -> list[Terms]:
    return [rung.met.terms for rung in policy.ladder.values()]


def rules(policy: Policy) -> list[Rule]:
    return [rule for journey in journeys(policy) for rule in journey.rules]


def test_a_baseline_that_begins_to_list_its_methods_may_go_either_way() -> None:
    """Listing methods for BASELINE can go either way: it excludes others, but may include a restricted one."""
    listed = TEXT.replace("max_age: 30d # section 2.1.3", "amr: [[pwd], [sms]]\n    max_age: 30d # section 2.1.3")
    for old, new in ((SHIPPED, read_policy("p", listed, COMPILER)), (read_policy("p", listed, COMPILER), SHIPPED)):
        found = compare(old, new)
        assert ([change.kind for change in found.changes], found.way) == (["terms"], "either")
