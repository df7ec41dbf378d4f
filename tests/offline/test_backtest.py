"""Backtests: laws that hold for every log and candidate, and reports on imperfect logs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.adapters.policy_file import read_policy
from riskd.core import record
from riskd.core.attempt import JOURNEYS
from riskd.core.context import Missing
from riskd.core.counters import COUNTS
from riskd.core.errors import InvalidFile
from riskd.core.features import NAMES
from riskd.core.policy import Policy
from riskd.core.requirement import Tier
from riskd.core.rules import Rule
from riskd.offline.labels import GOOD, LABELS
from riskd.offline.policies import tally as tally_module
from riskd.offline.policies.backtest import Backtest, Choice, run
from riskd.offline.policies.page import page
from riskd.offline.policies.redecide import redecide
from riskd.offline.policies.report import DomainReport, Group, RuleUse, report
from riskd.offline.policies.tally import Tally
from tests.decision_log import outcome, security_event, write
from tests.offline.drawn import COMPILER, NOW, SHIPPED, TEXT, assessment, logs, records


def tallied(policy: Policy, log: Sequence[record.AssessmentRecord]) -> Tally:
    tally = Tally()
    for one in log:
        tally.add(policy, one, redecide(policy, one), GOOD)
    return tally


def with_rule(policy: Policy, rule: Rule) -> Policy:
    """The policy with one more rule on the journeys that it names."""
    journeys = dict(policy.journeys)
    for name in rule.journeys:
        rules = (*journeys[name].rules, rule)
        evaluate = COMPILER(rules)
        assert not isinstance(evaluate, list)
        journeys[name] = replace(journeys[name], rules=rules, evaluate=evaluate)
    return replace(policy, journeys=journeys)


rules = st.builds(
    Rule,
    name=st.just("another"),
    when=st.sampled_from(["score > 0.1", "tor == 1.0", '"history" in gaps', 'country == "NO"', "new_device == 0.0"]),
    tier=st.sampled_from(Tier),
    reason=st.just("ANOTHER"),
    text=st.just("Another."),
    journeys=st.sets(st.sampled_from(JOURNEYS), min_size=1).map(tuple),
    shadow=st.booleans(),
)


@settings(max_examples=40)
@given(logs)
def test_the_policy_that_decided_changes_nothing(log: list[record.AssessmentRecord]) -> None:
    """A backtest of the policy that decided has no differences, also after a round trip through the log."""
    found = report("log", tallied(SHIPPED, [read(one) for one in log]), [SHIPPED])
    assert found.differences == 0
    assert "hits_differ" not in found.counts


def read(one: record.AssessmentRecord) -> record.AssessmentRecord:
    again = record.decode(record.encode(one))
    assert isinstance(again, record.AssessmentRecord)
    return again


labels = st.sampled_from(range(len(LABELS)))


@settings(max_examples=15)
@given(st.lists(st.tuples(records(), labels), max_size=5), rules)
def test_a_wrong_credential_moves_no_share(log: list[tuple[record.AssessmentRecord, int]], rule: Rule) -> None:
    """A decision whose credential was wrong is counted apart, whatever its tier, its outcome and the candidate: all
    challenges and shares are as if it had not been made. The table of tiers and the differences have it."""
    candidate = with_rule(SHIPPED, rule)
    whole, without = Tally(), Tally()
    for one, label in log:
        for tally in (whole, without) if one.credential_result != "failed" else (whole,):
            tally.add(candidate, one, redecide(candidate, one), label)
    found, expected = (report("log", each, [candidate]).domains[0] for each in (whole, without))
    wrong = [one for one, _ in log if one.credential_result == "failed"]
    assert judged(found.total) == judged(expected.total)
    assert {group.value: judged(group) for group in found.journeys if group.decisions > group.wrong_credential} == {
        group.value: judged(group) for group in expected.journeys
    }
    assert [judged(use) for use in found.rules if use.hits] == [judged(use) for use in by_name(expected, found.rules)]
    assert (found.total.wrong_credential, found.total.decisions) == (len(wrong), len(log))
    assert sum(sum(row.values()) for row in found.moves.values()) == len(log)
    assert {each.label for each in found.examples if each.id in {one.id for one in wrong}} <= {"wrong credential"}


def judged(found: Group | RuleUse) -> tuple[object, ...]:
    """The figures that tell what a policy or a rule is worth."""
    if isinstance(found, RuleUse):
        return found.name, found.good, found.fraud, found.unproven, found.precision, found.recall
    return found.good, found.fraud, found.recorded, found.candidate


def by_name(domain: DomainReport, rules: Sequence[RuleUse]) -> list[RuleUse]:
    """The rules of a report that hit in another, in its order."""
    uses = {use.name: use for use in domain.rules}
    return [uses[rule.name] for rule in rules if rule.hits]


def test_a_tenant_is_counted_in_full_or_not_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """With more tenants than a part of the log distinguishes, those that are shown have all their decisions."""
    monkeypatch.setattr(tally_module, "TENANTS", 2)
    total = Tally()
    for tenants in ("aab", "abcc", "ba"):
        total += tallied(SHIPPED, [replace(assessment(at), tenant=one) for at, one in enumerate(tenants)])
    shown = report("log", total, [SHIPPED]).domains[0].segments["tenant"]
    assert {each.value: each.decisions for each in shown} == {"a": 4, "b": 3, "other": 2}
    total += tallied(SHIPPED, [replace(assessment(at), tenant=one) for at, one in enumerate("cab")])
    shown = report("log", total, [SHIPPED]).domains[0].segments["tenant"]
    assert {each.value: each.decisions for each in shown} == {"a": 5, "other": 7}


@settings(max_examples=40)
@given(logs, rules)
def test_adding_a_rule_never_lowers_a_tier(log: list[record.AssessmentRecord], rule: Rule) -> None:
    """Adding a rule lowers no tier and removes no challenge; a rule in shadow changes nothing."""
    candidate = with_rule(SHIPPED, rule)
    total = report("log", tallied(candidate, log), [candidate]).domains[0].total
    assert total.laxer == 0
    assert total.candidate.challenged >= total.recorded.challenged
    assert total.stricter == 0 or not rule.shadow


@settings(max_examples=40)
@given(logs, st.sampled_from(["history", "session", "device_id"]), st.sampled_from(Tier))
def test_a_stricter_posture_never_lowers_a_tier(log: list[record.AssessmentRecord], source: str, tier: Tier) -> None:
    """A stricter posture lowers no tier."""
    journeys = {}
    for name, journey in SHIPPED.journeys.items():
        posture = max(journey.postures.get(source) or Tier.BASELINE, tier)
        journeys[name] = replace(journey, postures={**journey.postures, source: posture})
    candidate = replace(SHIPPED, journeys=journeys)
    assert report("log", tallied(candidate, log), [candidate]).domains[0].total.laxer == 0


@settings(max_examples=40)
@given(logs, st.sampled_from(Tier))
def test_no_tier_lies_below_the_floor(log: list[record.AssessmentRecord], floor: Tier) -> None:
    """With a raised floor, no tier is below it."""
    floors = {name: max(journey.floor, floor) for name, journey in SHIPPED.journeys.items()}
    journeys = {name: replace(journey, floor=floors[name]) for name, journey in SHIPPED.journeys.items()}
    candidate = replace(SHIPPED, journeys=journeys)
    assert all(redecide(candidate, one).ruling.tier >= floors[one.journey] for one in log)


@settings(max_examples=30)
@given(logs, logs)
def test_tallies_add_up(one: list[record.AssessmentRecord], other: list[record.AssessmentRecord]) -> None:
    """The tallies of two segments add up to that of both together."""
    candidate = with_rule(
        SHIPPED, Rule(name="x", when="score > 0.2", tier=Tier.DENY, reason="X", text="X.", journeys=JOURNEYS)
    )
    parts = tallied(candidate, one)
    parts += tallied(candidate, other)
    assert report("log", parts, [candidate]) == report("log", tallied(candidate, [*one, *other]), [candidate])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Three segments, one of them compressed; outcomes are in later segments than their decisions."""
    scores = {1: 0.001, 2: 0.03, 3: 0.03, 4: 0.2, 5: 0.7}
    write(tmp_path / "1.jsonl", *(assessment(number, score=score) for number, score in scores.items()))
    write(
        tmp_path / "2.jsonl.gz",
        outcome(1, NOW, "session_established"),
        outcome(2, NOW, "challenge_passed"),
        outcome(3, NOW, "challenge_failed"),
        outcome(4, NOW, "challenge_passed"),
        assessment(6, "payment", tenant="acme"),
    )
    write(
        tmp_path / "3.jsonl",
        outcome(4, NOW, "confirmed_fraud"),
        outcome(5, NOW, "confirmed_fraud"),
        security_event(5, NOW, "account_enabled"),
        b'{"type":"odd"}',
        b"{",
    )
    return tmp_path


def backtest(log: Path, text: str = TEXT, workers: int = 1, choice: Choice | None = None) -> Tally:
    return run(Backtest(log=log, policies=(("customer.yaml", text),), choice=choice or Choice(), workers=workers))


def test_outcomes_find_their_decisions_in_other_segments(log: Path) -> None:
    """Outcomes are joined across segments; friction counts good decisions and recall counts fraud."""
    found = report("log", backtest(log), [SHIPPED])
    total = found.domains[0].total
    assert (total.decisions, total.good, total.fraud, found.differences) == (6, 2, 2, 0)
    assert (total.recorded.friction.hits, total.recorded.recall.hits, total.recorded.unproven) == (1, 2, 1)
    assert (total.recorded.challenged, total.recorded.denied) == (4, 1)
    assert found.counts == {"outcomes": 6, "events": 1, "replayed": 6, "unreadable": 2}


def test_each_decision_is_in_one_bin_of_its_score_by_what_is_known_of_it(log: Path) -> None:
    """The histogram of a journey's scores has each decision once, as good, as fraud, or as neither, in the bin whose
    log-odds are around its own."""
    (login,) = (one for one in report("log", backtest(log), [SHIPPED]).domains[0].scores if one.journey == "login")
    assert [sum(counts) for counts in (login.good, login.fraud, login.other)] == [2, 2, 1]
    found = [
        login.low + login.width * (at + 0.5)
        for at, counts in enumerate(zip(login.good, login.fraud, login.other, strict=True))
        for _ in range(sum(counts))
    ]
    expected = [math.log(score / (1 - score)) for score in (0.001, 0.03, 0.03, 0.2, 0.7)]
    assert found == pytest.approx(expected, abs=login.width / 2 + 1e-9)


def test_a_laxer_band_is_compared_with_the_recorded_one(log: Path) -> None:
    """A candidate's figures are reported beside the recorded ones."""
    text = TEXT.replace("STEP_UP: 0.02 #", "STEP_UP: 0.05 #")
    assert text != TEXT
    found = report("log", backtest(log, text), [SHIPPED])
    total = found.domains[0].total
    assert (found.differences, total.laxer, total.stricter) == (2, 2, 0)
    assert (total.candidate.friction.hits, total.candidate.recall.hits, total.candidate.challenged) == (0, 2, 2)
    assert found.domains[0].moves["STEP_UP"] == {"BASELINE": 2}
    assert {(one.recorded, one.candidate, one.label) for one in found.domains[0].examples} == {
        ("STEP_UP", "BASELINE", "good"),
        ("STEP_UP", "BASELINE", "unproven"),
    }


def test_processes_count_as_one(log: Path) -> None:
    """Two processes give the same report as one."""
    text = TEXT.replace("STEP_UP: 0.02 #", "STEP_UP: 0.05 #")
    assert report("", backtest(log, text, 2), [SHIPPED]) == report("", backtest(log, text, 1), [SHIPPED])


@pytest.mark.parametrize(
    ("choice", "decisions"),
    [
        (Choice(journeys=("payment",)), 1),
        (Choice(since=NOW + 3), 4),
        (Choice(until=NOW + 3), 2),
        (Choice(release="r"), 6),
        (Choice(release="another"), 0),
        (Choice(tenant="acme"), 1),
    ],
)
def test_decisions_can_be_chosen(log: Path, choice: Choice, decisions: int) -> None:
    """Decisions can be selected by journey, time, release and tenant; the others are counted."""
    counts = backtest(log, choice=choice).counts
    assert (counts["replayed"], counts["not_chosen"]) == (decisions, 6 - decisions)


def test_decisions_that_cannot_be_repeated_are_counted(tmp_path: Path) -> None:
    """Decisions of another domain or feature schema, and invalid ones, are counted by reason."""
    odd = assessment(1)
    damaged = [replace(odd, tier="NONE"), replace(odd, journey="logon"), replace(odd, id="1")]
    write(tmp_path / "1.jsonl", replace(odd, domain="machine"), replace(odd, vector=odd.vector[:-1]), *damaged)
    counts = backtest(tmp_path).counts
    assert counts == {"other_domain": 1, "other_features": 1, "unreadable": 3}


def test_decisions_from_before_a_counter_are_counted(tmp_path: Path) -> None:
    """A candidate's counter finds no counts in older decisions: they are counted, unless the attempt lacked the
    attribute or the store, or the part of it that has the value, could not be read."""
    old, unread, partly, counted = (assessment(number, attributes={"payee": "m"}) for number in (1, 2, 3, 5))
    gaps = tuple(Missing(source, "unavailable") for source in ("history", "reputation"))
    counts = {f"payee.{count}": 9.0 for count in COUNTS}
    write(
        tmp_path / "1.jsonl",
        old,
        replace(unread, facts=replace(unread.facts, missing=gaps)),
        replace(partly, facts=replace(partly.facts, missing=gaps[1:], unread=("counted.payee",))),
        replace(counted, facts=replace(counted.facts, counted=counts)),
        assessment(4),
    )
    rule = "  - {name: it, when: counted.payee.attempts_1h > 5.0, then: DENY, reason: A, text: B., journeys: all}\n"
    text = TEXT.replace("rules:\n", f"counters: [payee]\nrules:\n{rule}", 1)
    found = backtest(tmp_path, text)
    assert (found.counts["replayed"], found.counts["uncounted"]) == (5, 1)
    compared = report("", found, [read_policy("candidate", text, COMPILER)])
    assert [rule.hits for rule in compared.domains[0].rules if rule.name == "it"] == [1]
    assert "older than a counter" in page(compared)


@pytest.mark.parametrize("content", [None, b"", b"\x1f\x8b broken"])
def test_a_log_that_is_not_there_or_broken_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """A missing directory, one without segments, and a segment that cannot be decompressed are refused by name."""
    where = tmp_path / "none" if content is None else tmp_path
    if content:
        (tmp_path / "1.jsonl.gz").write_bytes(content)
    with pytest.raises(InvalidFile, match=str(where)):
        backtest(where)


def test_labels_are_in_their_order() -> None:
    """The order of labels is fixed, because their index is stored."""
    assert LABELS == ("good", "fraud", "unproven", "unknown")


def test_a_rule_alone_is_one_without_which_the_tier_would_be_lower(tmp_path: Path) -> None:
    """A rule is counted as alone if the tier would be lower without it; a shadow rule, if it would raise the tier."""
    vector = list(assessment(0).vector)
    for name in ("tor", "hosting", "rtt_shortfall_km"):
        vector[NAMES.index(name)] = 0.0

    def one(number: int, **values: float) -> record.AssessmentRecord:
        changed = vector.copy()
        for name, value in values.items():
            changed[NAMES.index(name)] = value
        return assessment(number, vector=tuple(changed))

    write(tmp_path / "1.jsonl", one(1, tor=1.0), one(2, tor=1.0, hosting=1.0), one(3, rtt_shortfall_km=2000.0))
    (domain,) = report("log", backtest(tmp_path), [SHIPPED]).domains
    used = {rule.name: (rule.hits, rule.alone) for rule in domain.rules if rule.hits}
    assert used == {"tor": (2, 1), "hosting_network": (1, 0), "place_too_far": (1, 1)}
    assert [(one.rule, one.other, one.together) for one in domain.overlaps] == [("hosting_network", "tor", 1)]
