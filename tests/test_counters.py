"""Counters, from the policy to the condition, the histories and the decision log."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from riskd.adapters.cel_rules import CelCompiler
from riskd.adapters.policy_file import load_cases, read_policy
from riskd.config import Settings, data_directory
from riskd.config.settings import Attributes
from riskd.core.assess import Release
from riskd.core.assessment import Assessment
from riskd.core.attempt import Device, Outcome
from riskd.core.context import Missing
from riskd.core.counters import COUNTS
from riskd.core.errors import InvalidFile, InvalidPolicy
from riskd.core.features import NAMES
from riskd.core.history import DAY, HOUR, SLOTS, WEEK, cardinality
from riskd.core.lineup import Lineup
from riskd.core.policy import Policy
from riskd.core.recall import ACTIVITY, OWN
from riskd.core.record import AssessmentRecord
from riskd.core.retention import USUAL
from riskd.core.stored import PLACE, payload
from riskd.engine import Engine
from riskd.offline.policies.cases import run_cases
from riskd.offline.policies.redecide import redecide, uncounted
from riskd.wiring import load_release
from tests.adapters.sections import HEAD
from tests.bench import LOGIN, parts
from tests.cases.world import NOW, PSEUDONYMS
from tests.docs.counters_example import cases, counting_policy
from tests.doubles import FailingStore, ListLog
from tests.office import PAYEE, Office, pseudonym
from tests.shipped import shipped_release

COMPILER: Final = CelCompiler(NAMES)
RULE: Final = """
  - name: mule
    when: "{when}"
    then: DENY
    reason: MULE
    text: Many accounts pay this payee.
    journeys: all
"""
SHIPPED: Final = shipped_release()


def policy(when: str = "counted.payee.subjects_24h >= 2.0", counters: str = "[payee]", more: str = "") -> Policy:
    return read_policy("policy", f"{HEAD}counters: {counters}\nrules:{RULE.format(when=when)}{more}", COMPILER)


def release_of(one: Policy, name: str = "counting") -> Release:
    return replace(SHIPPED, id=name, policies={**SHIPPED.policies, "customer": one})


class Desk:
    """An engine whose policy counts payees. `now` is the time."""

    def __init__(self, one: Policy | None = None) -> None:
        self.now, self.log, self.store, self._ids = NOW, ListLog(), FailingStore(reads=True, writes=True), count()
        made = parts(
            log=self.log, store=self.store, clock=lambda: self.now, attributes=frozenset({"payee", "phone", "code"})
        )
        self.engine = Engine(made, release_of(one or policy()))

    def pay(self, payee: str = "mallory", subject: str = "alex", **changes: object) -> Assessment:
        """One payment, with a request id of its own unless `changes` name one."""
        attributes = {"payee": payee} if payee else {}
        usual = {
            "journey": "payment",
            "subject": subject,
            "attributes": attributes,
            "request_id": f"r{next(self._ids)}",
        }
        return self.engine.assess(replace(LOGIN, **{**usual, **changes}), 10.0)

    def tell(self, answer: Assessment, kind: str = "challenge_passed", *amr: str) -> None:
        self.engine.record(Outcome(assessment_id=answer.id, kind=kind, amr=amr), 10.0)

    def owned(self) -> list[bytes]:
        """What accounts have proven with values, as stored."""
        return [payload(record) for key, record in sorted(self.store._records.items()) if key[-1:] == OWN]

    def own(self, payee: str = "mallory", **changes: object) -> float:
        """`own` before one more payment."""
        return self.counted(payee=payee, **changes)["own"]

    def counted(self, **changes: object) -> dict[str, float]:
        """What the log says was counted before one more payment."""
        self.pay(**changes)  # type: ignore[arg-type]
        line = self.log.records()[-1]
        assert isinstance(line, AssessmentRecord)
        return {name.removeprefix("payee."): value for name, value in line.facts.counted.items()}


def test_counts_come_before_the_attempt() -> None:
    """The first attempt with a value finds nothing; each later one finds those before it, of its value alone."""
    desk = Desk()
    nothing = dict.fromkeys(COUNTS, 0.0)

    assert desk.counted() == nothing
    assert desk.counted() == {**nothing, "attempts_1h": 1.0, "attempts_24h": 1.0, "subjects_24h": pytest.approx(1, 0.1)}
    assert desk.counted(subject="robin", credential_result="failed")["attempts_24h"] == 2.0
    again = desk.counted()
    assert (again["failures_1h"], again["failures_24h"]) == (1.0, 1.0)
    assert again["subjects_24h"] == pytest.approx(2, 0.1)
    assert desk.counted(payee="grandma") == nothing


def test_the_estimate_of_accounts_is_as_good_as_the_page_says() -> None:
    """docs/policy.md: twelve accounts are taken for 9.8 to 13.7 in 98 cases of 100, and so for nine or more."""
    slots, likely = len(SLOTS), {0: 1.0}
    for _ in range(12):  # the number of slots in use, after one more account
        grown: dict[int, float] = {}
        for used, chance in likely.items():
            grown[used] = grown.get(used, 0.0) + chance * used / slots
            grown[used + 1] = grown.get(used + 1, 0.0) + chance * (1 - used / slots)
        likely = grown
    assert 0.98 < sum(chance for used, chance in likely.items() if 9.8 <= cardinality(used) <= 13.7) < 0.99


def test_a_condition_reads_the_counts() -> None:
    """A rule hits once enough accounts have used the value."""
    desk = Desk()
    tiers = [desk.pay(subject=subject).requirement.tier.name for subject in ("a", "b", "c")]

    assert tiers == ["STEP_UP", "STEP_UP", "DENY"]
    assert desk.pay(payee="grandma").requirement.tier.name == "STEP_UP"


def test_counts_expire() -> None:
    """Counts of the last hour and of the last day end with them, and the record is deleted after the activity's
    retention."""
    desk = Desk()
    desk.pay()
    desk.now += 2 * HOUR
    later = desk.counted()
    assert (later["attempts_1h"], later["attempts_24h"]) == (0.0, 1.0)
    desk.now += 2 * DAY
    assert set(desk.counted().values()) == {0.0}


@pytest.mark.parametrize("when", ["counted.payee.subjects_24h < 9.0", "!(counted.payee.attempts_1h > 0.0)"])
def test_unknown_counts_decide_nothing(when: str) -> None:
    """Without the attribute, or with a store that cannot be read, counts are unknown: no condition on them hits."""
    desk = Desk(policy(when))
    assert desk.pay().requirement.tier.name == "DENY"
    for changes in ({"payee": ""}, {"attributes": {"payee": ""}}, {"attributes": {"phone": "1"}}):
        assert desk.pay(**changes).requirement.tier.name == "STEP_UP"
        assert not desk.counted(**changes)
    desk.store.reads = False
    assert desk.pay().requirement.tier.name == "STEP_UP"
    assert not desk.counted()


def test_what_could_not_be_read_is_counted() -> None:
    """An attempt whose counts could not be read still counts."""
    desk = Desk()
    desk.store.reads = False
    desk.pay()
    desk.store.reads = True
    assert desk.counted()["attempts_24h"] == 1.0


def test_a_repeated_request_counts_once() -> None:
    """The same request id, sent again, is one attempt."""
    desk = Desk()
    first = desk.pay(request_id="same")
    assert desk.pay(request_id="same").id == first.id
    assert desk.counted()["attempts_24h"] == 1.0


def test_a_later_failure_counts() -> None:
    """A challenge that fails later counts as a failure of the value, once, as it does for the address."""
    desk = Desk()
    answer = desk.pay()
    for _ in range(2):
        desk.engine.record(Outcome(assessment_id=answer.id, kind="challenge_failed"), 10.0)
    counted = desk.counted()
    assert (counted["failures_1h"], counted["failures_24h"], counted["attempts_24h"]) == (1.0, 1.0, 1.0)


def test_values_are_apart() -> None:
    """The same text counts separately in two attributes, two tenants and two identity domains."""
    desk = Desk(policy("counted.payee.attempts_24h > 0.0 || counted.phone.attempts_24h > 0.0", "[payee, phone]"))
    desk.pay()
    assert desk.counted(tenant="acme")["attempts_24h"] == 0.0
    assert desk.counted(payee="", attributes={"phone": "mallory"})["phone.attempts_24h"] == 0.0
    both = desk.counted(attributes={"payee": "mallory", "phone": "mallory"})
    assert (both["attempts_24h"], both["phone.attempts_24h"]) == (1.0, 1.0)


def test_the_value_is_nowhere_in_the_store() -> None:
    """No key and no record has the raw value."""
    desk = Desk()
    answer = desk.pay("a-very-long-payee")
    desk.engine.record(Outcome(assessment_id=answer.id, kind="challenge_failed"), 10.0)
    assert desk.store._records
    assert not any(b"payee" in key + record for key, record in desk.store._records.items())


def test_an_erasure_leaves_what_is_counted_of_all(tmp_path: Path) -> None:
    """What was counted of a value is nobody's: it is not in a subject's export, an erasure leaves it as it was, and it
    does not contain the subject's pseudonym."""
    office = Office(tmp_path)
    for who in ("anne", "bert"):
        office.sign_in(who)
    key = PSEUDONYMS.counter_keys("", "customer", PAYEE, tuple(PAYEE))["payee"] + ACTIVITY
    before = office.records()[key]
    assert key.hex() not in {record.key for record in office.export("anne")}
    office.erase("anne")
    assert office.records()[key] == before
    assert pseudonym("anne")[:PLACE] not in before
    office.engine.close()


@pytest.mark.parametrize(("amr", "weeks"), [(("hwk", "pin"), (2.0, 3.79, 5.39)), (("pwd", "otp"), (0.33, 0.63, 0.9))])
def test_a_proof_makes_the_value_the_accounts_own(amr: tuple[str, ...], weeks: tuple[float, ...]) -> None:
    """What an account has proven with a value counts like that of a device: a proof with a key is enough at once, one
    without is not, and both grow older. Other values, and other accounts, are as before."""
    desk = Desk(policy("counted.payee.own >= 2.0"))
    answer = desk.pay()
    assert desk.own() == 0.0
    desk.tell(answer, "challenge_passed", *amr)
    for own in weeks:
        assert desk.own() == pytest.approx(own, abs=0.01)
        assert (desk.own("grandma"), desk.own(subject="robin")) == (0.0, 0.0)
        assert (desk.pay().requirement.tier.name == "DENY") == (own >= 2.0)
        desk.now += WEEK


@pytest.mark.parametrize("kind", ["challenge_failed", "challenge_abandoned", "session_established"])
def test_an_unproven_attempt_makes_nothing_its_own(kind: str) -> None:
    """An attempt that did not meet what was required teaches nothing, however often it is made."""
    desk = Desk()
    for _ in range(5):
        desk.tell(desk.pay(), kind)
    assert desk.own() == 0.0


def test_a_thief_who_passes_codes_waits_two_weeks_for_a_payee() -> None:
    """On one day, passes without a key on a strange device make a payee a third of a unit, however many they are."""
    desk = Desk()
    desk.tell(desk.pay("rent"), "confirmed_legitimate")
    desk.now += WEEK
    thief = Device(device_id="a-device-of-a-thief", user_agent="curl/8")
    for _ in range(9):
        desk.tell(desk.pay(device=thief), "challenge_passed", "pwd", "otp")
        desk.now += HOUR
    assert desk.own() == pytest.approx(1 / 3)


def test_fraud_takes_back_what_the_account_proved() -> None:
    """Confirmed fraud, weeks later, takes back exactly what its attempt taught, and nothing else."""
    desk = Desk()
    desk.tell(desk.pay(), "confirmed_legitimate")
    desk.now += WEEK
    fraud = desk.pay()
    before = desk.owned()
    desk.tell(fraud, "challenge_passed", "hwk", "pin")
    desk.now += 5 * WEEK
    assert desk.owned() != before
    desk.tell(fraud, "confirmed_fraud")
    assert desk.owned() == before


def test_what_is_own_ends_with_the_profile() -> None:
    """What an account proved is kept as long as its profile."""
    desk = Desk()
    desk.tell(desk.pay(), "confirmed_legitimate")
    desk.now += USUAL.profile - DAY
    assert desk.own() > 0.0
    desk.now += 2 * DAY
    assert desk.own() == 0.0


def test_an_erasure_takes_what_is_own(tmp_path: Path) -> None:
    """An account's export has what it proved with a value, and its erasure deletes that; others keep theirs."""
    office = Office(tmp_path)
    for who in ("anne", "bert"):
        office.sign_in(who)
    held = {who: [each.key for each in office.export(who) if each.kind == "own"] for who in ("anne", "bert")}
    assert {who: len(keys) for who, keys in held.items()} == {"anne": 1, "bert": 1}
    assert office.erase("anne")["own"] == 1
    assert {who: bytes.fromhex(keys[0]) in office.records() for who, keys in held.items()} == {
        "anne": False,
        "bert": True,
    }
    office.engine.close()


def test_attributes_need_no_purpose() -> None:
    """Attributes belong to no purpose of consent, so a person who grants none is counted like everybody."""
    desk = Desk()
    desk.pay(consent=())
    assert desk.counted(consent=())["attempts_24h"] == 1.0


def test_a_policy_without_counters_keeps_nothing_of_attributes() -> None:
    """Attributes change no record, unless a counter counts them."""
    records = []
    for attributes in ({}, {"payee": "mallory"}):
        desk = Desk(read_policy("policy", HEAD, COMPILER))
        desk.pay(attributes=attributes, request_id="")
        records.append(sorted(map(len, desk.store._records.values())))
    assert records[0] == records[1]


def test_every_release_in_use_is_counted_for() -> None:
    """Counters of a candidate and of a shadow release count every attempt, whichever release decides: so a candidate
    that decides for few sees the counts of all, and they are there once it is activated."""
    desk = Desk(read_policy("policy", HEAD, COMPILER))
    candidate, shadow = (
        release_of(policy(f"counted.{name}.attempts_1h > 0.0", f"[{name}]"), name) for name in ("payee", "phone")
    )
    desk.engine.install(Lineup(desk.engine.release, candidate, 0.0, shadow))
    desk.pay(attributes={"payee": "m", "phone": "1"})
    counted = desk.counted(attributes={"payee": "m", "phone": "1", "code": "2"})

    assert (counted["attempts_24h"], counted["phone.attempts_24h"]) == (1.0, 1.0)
    assert not any(name.startswith("code") for name in counted)


def test_a_tenant_inherits_the_counters() -> None:
    """A tenant's policy has the counters of the policy that it refines."""
    desk = Desk(policy(more="tenants:\n  acme:\n    explicit_consent: true\n"))
    desk.pay(tenant="acme")
    assert desk.counted(tenant="acme")["attempts_24h"] == 1.0


def test_the_cases_of_the_page_hold(tmp_path: Path) -> None:
    """The example of docs/policy.md is a policy, and its cases pass."""
    file = tmp_path / "customer.yaml"
    file.write_text(cases())
    example = read_policy("policy", counting_policy(), COMPILER)
    report = run_cases([load_cases(file, lambda _: example)])
    assert [result.differences for result in report.results] == [(), ()]


def test_a_case_names_known_counts(tmp_path: Path) -> None:
    """A case may name the counts of the policy, each at least 0, and none whose source is a gap."""
    file = tmp_path / "customer.yaml"
    given = "{payee.subjects_24h: -1, payee.subject_24h: 1, payee.attempts_1h: 2, payee.own: 2}"
    file.write_text(
        "domain: customer\ncases:\n- {description: It., journey: login, expect: {tier: BASELINE}, "
        f"gaps: {{reputation: unavailable, history: unavailable}}, counted: {given}}}\n"
    )
    with pytest.raises(InvalidPolicy) as caught:
        load_cases(file, lambda _: policy())
    assert [problem.what for problem in caught.value.problems] == [
        "payee.subjects_24h must be between 0 and 1e+09",
        "unknown count 'payee.subject_24h'",
        "payee.attempts_1h is given, but its source 'reputation' is among the gaps",
        "payee.own is given, but its source 'history' is among the gaps",
    ]


def test_more_than_four_counters_are_refused() -> None:
    """A policy has at most four counters."""
    names = [f"a{at}" for at in range(5)]
    when = " + ".join(f"counted.{name}.attempts_1h" for name in names)
    with pytest.raises(InvalidPolicy, match="16:11: more than 4 counters"):
        policy(f"{when} > 1.0", f"[{', '.join(names)}]")
    policy(" + ".join(f"counted.{name}.attempts_1h" for name in names[:4]) + " > 1.0", f"[{', '.join(names[:4])}]")


def test_a_service_refuses_a_counter_of_an_undeclared_attribute(tmp_path: Path) -> None:
    """A release whose policy counts an attribute that the settings do not declare does not load: it would never
    count."""
    for source in data_directory("policies").glob("*.yaml"):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    (tmp_path / "customer.yaml").write_text(counting_policy())
    settings = replace(Settings(), release=replace(Settings().release, policies=str(tmp_path)))
    with pytest.raises(InvalidFile) as caught:
        load_release(replace(settings, attributes=Attributes(names=("phone", "payee"))))
    (problem,) = caught.value.problems
    assert str(problem).endswith("'payee_id' is no attribute that the settings declare (did you mean payee?)")
    load_release(replace(settings, attributes=Attributes(names=("phone", "payee_id"))))


def test_a_service_refuses_a_condition_on_an_undeclared_attribute(tmp_path: Path) -> None:
    """A release with a condition on an attribute that the settings do not declare does not load: the service refuses
    attempts with the attribute, so the rule would never hit."""
    for source in data_directory("policies").glob("*.yaml"):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    rule = RULE.format(when="'amuont' in attributes").replace("DENY", "STEP_UP")
    text = (tmp_path / "customer.yaml").read_text()
    (tmp_path / "customer.yaml").write_text(text.replace("rules:\n", f"rules:{rule}", 1))
    settings = replace(Settings(), release=replace(Settings().release, policies=str(tmp_path)))
    with pytest.raises(InvalidFile) as caught:
        load_release(replace(settings, attributes=Attributes(names=("amount",))))
    (problem,) = caught.value.problems
    assert str(problem).endswith("'amuont' is no attribute that the settings declare (did you mean amount?)")
    load_release(replace(settings, attributes=Attributes(names=("amuont",))))


def test_the_log_decides_again() -> None:
    """Every record decides again as it did. Without its counts, conditions on them do not hit."""
    desk = Desk()
    for subject in "abcd":
        desk.pay(subject=subject)
    lines = [line for line in desk.log.records() if isinstance(line, AssessmentRecord)]
    again = [redecide(policy(), line).ruling.tier.name for line in lines]
    assert again == [line.tier for line in lines] == ["STEP_UP", "STEP_UP", "DENY", "DENY"]
    older = replace(lines[-1], facts=replace(lines[-1].facts, counted={}))
    assert redecide(policy(), older).ruling.tier.name == "STEP_UP"


@pytest.mark.parametrize(
    ("when", "counters", "lacks"),
    [
        ("counted.payee.attempts_1h > 9.0", "[payee]", False),
        ("counted.payee.own < 2.0", "[payee]", True),
        ("counted . payee . own < 2.0", "[payee]", True),
        ("counted.payee.attempts_1h > 9.0 && !('unknown' in attributes)", "[payee]", False),
        ("counted.payee.attempts_1h > 9.0 && counted.phone.own < 2.0", "[payee, phone]", False),
    ],
)
def test_a_backtest_says_what_was_not_kept(when: str, counters: str, lacks: bool) -> None:
    """A line from before a count was kept is said to lack it, if a condition reads it and it was not unreadable."""
    desk = Desk()
    desk.pay()
    (line,) = (line for line in desk.log.records() if isinstance(line, AssessmentRecord))
    facts = line.facts
    older = {name: value for name, value in facts.counted.items() if name != "payee.own"}
    assert uncounted(policy(when, counters), replace(line, facts=replace(facts, counted=older))) == lacks
    assert not uncounted(policy(when, counters), line)
    unread = (*facts.missing, Missing("history", "unavailable"), Missing("reputation", "unavailable"))
    assert not uncounted(policy(when, counters), replace(line, facts=replace(facts, counted={}, missing=unread)))
