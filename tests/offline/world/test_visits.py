"""A visit goes as its powers and the answers say, for owners and attackers alike."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from itertools import pairwise
from random import Random
from statistics import fmean, stdev
from typing import Final

import pytest
from msgspec.structs import replace

from riskd.core.assessment import Assessment
from riskd.core.attempt import Attempt, Outcome
from riskd.core.history import DAY
from riskd.core.requirement import Requirement, Terms, Tier
from riskd.offline.world.assumptions import DEFAULTS
from riskd.offline.world.people import Person
from riskd.offline.world.visits import NOBODY, Ask, Hand, Moves, Powers, Tell, Visit
from riskd.offline.world.world import START, OpenDoor
from tests.offline.world.small import world

WORLD: Final = world(users=1, days=60, seed=3)
TIME: Final = START + 10 * DAY
OPEN: Final = OpenDoor()
MANY: Final = 1500
POWERS: Final = Powers(
    password=0.7,
    passes={"STEP_UP": 0.6, "PHISHING_RESISTANT": 0.0, "HARDWARE_BOUND": 1.0, "IDENTITY_PROOF": 0.5},
    breached=0.4,
    slips=0.3,
    misnames=0.0,
    pays=0.25,
    updates=0.2,
    reported=0.4,
    report_days=3.0,
)
WAYS: Final = (("otp",), ("pwd", "hwk"))
STOPPED: Final = ("challenge_failed", "challenge_abandoned", "recovery_failed")
Begin = Callable[[Visit], Moves]


def required(tier: Tier, *, satisfied: bool = False) -> Requirement:
    return Requirement(tier, Terms(2, amr=WAYS), satisfied=satisfied)


def lived(
    begin: Begin, requirement: Requirement, *, attack: str = "", powers: Powers = POWERS
) -> list[list[Ask | Tell]]:
    """Many visits of different people under one requirement, each as its moves."""
    told = []
    for index in range(MANY):
        random = Random(index)
        person = WORLD.town.person(index % 40, "customer")
        hand = replace(WORLD._owner(random, person, TIME), attack=attack)
        told.append(moves(begin(Visit(random, person, hand, powers, DEFAULTS)), requirement))
    return told


def moves(begun: Moves, requirement: Requirement) -> list[Ask | Tell]:
    told: list[Ask | Tell] = []
    answer: Assessment | None = None
    try:
        while True:
            move = begun.send(answer)
            told.append(move)
            answer = (
                replace(OPEN.assess(move.attempt, move.time), requirement=requirement)
                if isinstance(move, Ask)
                else None
            )
    except StopIteration:
        return told


def asks(visit: Iterable[Ask | Tell]) -> list[Attempt]:
    return [move.attempt for move in visit if isinstance(move, Ask)]


def outcomes(visit: Iterable[Ask | Tell]) -> list[Outcome]:
    return [move.outcome for move in visit if isinstance(move, Tell)]


def share(visits: list[list[Ask | Tell]], holds: Callable[[list[Ask | Tell]], bool]) -> float:
    return sum(map(holds, visits)) / len(visits)


def near(share: float, wanted: float) -> bool:
    """Within four standard errors."""
    return abs(share - wanted) < 4 * math.sqrt(max(wanted * (1 - wanted), 0.002) / MANY)


def journeys(visit: list[Ask | Tell]) -> set[str]:
    return {each.journey for each in asks(visit)}


def sign_in(visit: Visit) -> Moves:
    return visit.sign_in(TIME)


@cache
def opened() -> list[list[Ask | Tell]]:
    """Visits of people of whom nothing is required."""
    return lived(sign_in, required(Tier.BASELINE))


def test_who_knows_the_password_gets_in_and_others_fail() -> None:
    """The share that knows the password signs in; all other visits end with a failed try and prove nothing."""
    assert near(share(opened(), lambda visit: any(one.credential_result == "succeeded" for one in asks(visit))), 0.7)
    for visit in opened():
        tries = [one for one in asks(visit) if one.journey == "login"]
        assert all(one.credential_result == "failed" for one in tries[:-1])
        if tries[-1].credential_result == "failed":
            assert not outcomes(visit)
            assert journeys(visit) == {"login"}


def test_a_try_is_wrong_as_often_as_assumed_but_five_times_at_most() -> None:
    """Each try before the last is a slip; a fifth one never is."""
    tries = Counter(len([one for one in asks(visit) if one.journey == "login"]) - 1 for visit in opened())
    for slips in range(4):
        assert near(sum(n for of, n in tries.items() if of > slips) / MANY, 0.3 ** (slips + 1))
    assert max(tries) == 4


def test_a_wrong_name_is_tried_first() -> None:
    """As often as assumed, one to three times, before the account's own tries, which the form has counted; all fail, on
    one account that does not exist and has no consent."""
    told = lived(sign_in, required(Tier.BASELINE), powers=replace(POWERS, misnames=0.3))
    misnamed = []
    for visit in told:
        tries = [move for move in visit if isinstance(move, Ask)]
        wrong = [move.attempt for move in tries if NOBODY in move.segments]
        misnamed.append(len(wrong))
        assert [move.attempt for move in tries[: len(wrong)]] == wrong
        assert len({one.subject for one in wrong}) == bool(wrong)
        assert {(one.credential_result, one.consent) for one in wrong} <= {("failed", None)}
        own = tries[len(wrong)].attempt
        assert own.subject not in {one.subject for one in wrong}
        assert not own.behaviour or own.behaviour.form_failures == len(wrong)
    assert near(sum(map(bool, misnamed)) / MANY, 0.3)
    assert max(misnamed) == 3
    assert sum(number > 1 for number in misnamed) / sum(map(bool, misnamed)) == pytest.approx(0.5, abs=0.1)


def test_a_visit_ends_with_a_challenge_that_was_not_passed() -> None:
    """Who may not change an address does not try to pay."""
    able = replace(POWERS, password=1.0, pays=0.9, updates=0.9)
    for begin in (sign_in, lambda visit: visit.resume(TIME), lambda visit: visit.recover(TIME)):
        for visit in lived(begin, required(Tier.STEP_UP), powers=able):
            stopped = [at for at, move in enumerate(visit) if isinstance(move, Tell) and move.outcome.kind in STOPPED]
            assert len(stopped) <= 1
            assert not any(isinstance(move, Ask) for at in stopped for move in visit[at:])


@pytest.mark.parametrize(("attack", "tier"), [("targeted", Tier.BASELINE), ("", Tier.STEP_UP)])
def test_a_visit_is_reported_after_its_end(attack: str, tier: Tier) -> None:
    """Nothing of it follows the report; an hour passes at least."""
    told = lived(sign_in, required(tier), attack=attack, powers=replace(POWERS, reported=1.0, report_days=0.001))
    reports = 0
    for visit in told:
        times = [(move.time, isinstance(move, Tell) and move.outcome.kind.startswith("confirmed")) for move in visit]
        reported = [time for time, confirmed in times if confirmed]
        reports += bool(reported)
        assert not reported or min(reported) >= max(time for time, confirmed in times if not confirmed) + 3599.9
    assert reports > MANY / 10


def test_a_tool_that_fills_in_has_neither_keys_nor_pointer() -> None:
    """Nor does it take the time of a person; a script that runs no page has no behaviour and no place at all."""
    person = WORLD.town.person(1, "customer")
    owner = WORLD._owner(Random(1), person, TIME)
    for seed in range(50):
        random = Random(seed)
        filled = replace(owner, fills=True)
        for one in asks(moves(Visit(random, person, filled, POWERS, DEFAULTS).sign_in(TIME), required(Tier.BASELINE))):
            if one.behaviour:
                seen = one.behaviour
                assert (seen.typing_intervals_ms, seen.pointer_events, seen.pasted) == ((), 0, True)
                assert 0.4 <= (seen.form_seconds or 0) < 15
        script = replace(owner, category="script")
        for one in asks(moves(Visit(random, person, script, POWERS, DEFAULTS).sign_in(TIME), required(Tier.BASELINE))):
            assert (one.behaviour, one.place) == (None, None)


def test_what_a_session_is_used_for() -> None:
    """Those who are in look again, change the profile and pay as often as assumed, in this order, and nobody else."""
    inside = [visit for visit in opened() if outcomes(visit)]
    for journey, wanted in (("session", 0.3), ("profile_update", POWERS.updates), ("payment", POWERS.pays)):
        assert abs(share(inside, lambda visit, journey=journey: journey in journeys(visit)) - wanted) < 0.05  # type: ignore[misc]
    order = ("login", "session", "profile_update", "payment")
    for visit in opened():
        told = [order.index(one.journey) for one in asks(visit)]
        assert told == sorted(told)
        times = [move.time for move in visit]
        assert times == sorted(times)
        assert all((one.session is None) == (one.journey == "login") for one in asks(visit))


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [("login", 19), ("session", 1261), ("profile_update", 150), ("payment", 460), ("recovery", 50)],
)
def test_steps_take_their_time(kind: str, seconds: float) -> None:
    """Seconds from the attempt before, on average."""
    visits = opened()
    if kind == "recovery":
        visits = lived(lambda visit: visit.recover(TIME), required(Tier.STEP_UP), powers=replace(POWERS, slips=0.0))
    gaps = [
        (after.time or 0.0) - (before.time or 0.0)
        for visit in visits
        for before, after in pairwise(asks(visit))
        if after.journey == kind
    ]
    assert fmean(gaps) == pytest.approx(seconds, rel=0.15)


def test_steps_count_the_attempts_of_a_visit() -> None:
    """Every attempt says how many came before it in the visit."""
    for visit in opened():
        assert [move.step for move in visit if isinstance(move, Ask)] == list(range(len(asks(visit))))


@pytest.mark.parametrize("tier", [Tier.STEP_UP, Tier.PHISHING_RESISTANT, Tier.HARDWARE_BOUND, Tier.DENY])
def test_a_challenge_is_passed_as_often_as_the_powers_say(tier: Tier) -> None:
    """A session begins only after the challenge; the others give up, half of them without trying, and a refusal asks
    for nothing."""
    known = replace(POWERS, password=1.0, slips=0.0)
    told = lived(sign_in, required(tier), powers=known)
    passes = known.passes.get(tier.name, 0.0)
    kinds = [[one.kind for one in outcomes(visit) if not one.kind.startswith("confirmed")] for visit in told]
    assert near(sum("challenge_passed" in each for each in kinds) / MANY, passes)
    for each in kinds:
        assert each[:2] == ["challenge_passed", "session_established"] or len(each) == (tier is not Tier.DENY)
    stopped = [each[0] for each in kinds if len(each) == 1]
    assert {*stopped} <= {"challenge_abandoned", "challenge_failed"}
    if stopped:
        assert abs(stopped.count("challenge_abandoned") / len(stopped) - DEFAULTS["abandons"]) < 0.06
    used = [one for visit in told for one in outcomes(visit) if one.kind == "challenge_passed"]
    assert {one.amr for one in used} == (set(WAYS) if passes else set())
    assert all(one.seconds is not None and one.seconds >= 6 for one in used)


def test_what_is_satisfied_asks_for_nothing() -> None:
    """A requirement that the sign-in has met already is no challenge."""
    told = lived(sign_in, required(Tier.HARDWARE_BOUND, satisfied=True), powers=replace(POWERS, passes={}))
    assert {one.kind for visit in told for one in outcomes(visit)} == {"session_established"}


@pytest.mark.parametrize(("attack", "tier"), [("targeted", Tier.BASELINE), ("", Tier.DENY)])
def test_what_is_reported_later(attack: str, tier: Tier) -> None:
    """Of attackers who got in, all that was let in is confirmed as fraud; of owners who did not, all that was shut out
    as legitimate: as often and as late as assumed, an hour after the challenge at the earliest."""
    told = lived(sign_in, required(tier), attack=attack, powers=replace(POWERS, password=1.0, slips=0.0))
    kind = "confirmed_fraud" if attack else "confirmed_legitimate"
    delays = []
    for visit in told:
        reports = [move for move in visit if isinstance(move, Tell) and move.outcome.kind.startswith("confirmed")]
        ended = min((move.time for move in visit if isinstance(move, Tell) and move not in reports), default=TIME)
        if reports:
            assert {move.outcome.kind for move in reports} == {kind}
            proven = {OPEN.assess(attempt, 0.0).id for attempt in asks(visit)}
            assert {move.outcome.assessment_id for move in reports} <= proven
            let_in = [one for one in outcomes(visit) if one.kind == "session_established"]
            assert len(reports) == (len(let_in) if attack else 1)
            delays.append(min(move.time for move in reports) - ended)
    assert near(len(delays) / MANY, POWERS.reported)
    assert min(delays) >= 3599.9  # of sums with an epoch
    assert abs((sum(delays) / len(delays) - 3600) / DAY / POWERS.report_days - 1) < 0.2


@pytest.mark.parametrize(("attack", "tier"), [("", Tier.BASELINE), ("targeted", Tier.DENY)])
def test_what_is_never_reported(attack: str, tier: Tier) -> None:
    """Neither owners who were let in nor attackers who were not."""
    told = lived(sign_in, required(tier), attack=attack, powers=replace(POWERS, reported=1.0))
    assert not any(one.kind.startswith("confirmed") for visit in told for one in outcomes(visit))


def test_a_recovery_follows_a_failed_try_or_none() -> None:
    """Half of those who recover try a password first, which fails, more than once if they mistype; a while later they
    recover."""
    told = lived(lambda visit: visit.recover(TIME), required(Tier.STEP_UP))
    assert near(share(told, lambda visit: "login" in journeys(visit)), 0.5)
    tries = [[one for one in asks(visit) if one.journey == "login"] for visit in told]
    once = [each for each in tries if len(each) == 1]
    assert near(len(once) / sum(map(bool, tries)), 1 - POWERS.slips**2)
    assert {one.credential_result for each in tries for one in each} == {"failed"}
    for visit, each in zip(told, tries, strict=True):
        assert [one.journey for one in asks(visit)][len(each)] == "recovery"
        times = [one.time for one in asks(visit) if one.time]
        assert all(after >= before + 4 for before, after in pairwise(times))
    kinds = Counter(one.kind for visit in told for one in outcomes(visit))
    assert {"recovery_completed", "recovery_failed", "challenge_abandoned"} <= kinds.keys()


def test_only_a_password_fails_on_a_form() -> None:
    """A form counts the tries that failed on it; what is no login begins with none."""
    every = [*opened(), *lived(lambda visit: visit.recover(TIME), required(Tier.BASELINE))]
    every += lived(lambda visit: visit.resume(TIME), required(Tier.BASELINE))
    every += lived(lambda visit: visit.register(TIME), required(Tier.BASELINE))
    for visit in every:
        forms = [(one.journey, one.behaviour.form_failures) for one in asks(visit) if one.behaviour]
        assert not any(failures for journey, failures in forms if journey != "login")
        tried = [failures for journey, failures in forms if journey == "login"]
        assert tried == sorted(tried, key=lambda failures: failures or 0)


def test_a_resumed_session_is_the_accounts() -> None:
    """Who resumes comes in the session that the account had, and signs in to nothing."""
    person = WORLD.town.person(1, "customer")
    person.life.session = person.life.authenticated = TIME - 3600
    hand = WORLD._owner(Random(1), person, TIME)
    told = moves(
        Visit(Random(1), person, hand, replace(POWERS, pays=1.0), DEFAULTS).resume(TIME), required(Tier.BASELINE)
    )
    assert {one.session.start_time for one in asks(told) if one.session} == {TIME - 3600}
    assert all(one.session for one in asks(told))
    assert journeys(told) <= {"session", "payment", "profile_update"}


@pytest.mark.parametrize(("attack", "device_id"), [("", "7"), ("", ""), ("targeted", "7")])
def test_only_the_owner_leaves_a_session_behind(attack: str, device_id: str) -> None:
    """The account's session is the one that its owner began, on that device; an attacker's ends with the visit, and so
    does one in a private window."""
    person = WORLD.town.person(2, "customer")
    owner = WORLD._owner(Random(1), person, TIME)
    hand = replace(owner, attack=attack, slot=1, device=replace(owner.device, device_id=device_id))
    moves(
        Visit(Random(1), person, hand, replace(POWERS, password=1.0), DEFAULTS).sign_in(TIME), required(Tier.BASELINE)
    )
    left = not attack and bool(device_id)
    assert (bool(person.life.session), person.life.slot) == (left, int(left))


def test_an_account_is_there_after_its_registration() -> None:
    """Whoever was let in has an account; of the others, half come back as if they had one."""
    for tier, wanted in ((Tier.BASELINE, 1.0), (Tier.DENY, 0.5)):
        there = 0
        for index in range(400):
            person: Person = WORLD.town.person(index, "customer")
            person.life.registered = False
            hand: Hand = WORLD._owner(Random(index), person, TIME)
            moves(Visit(Random(index), person, hand, POWERS, DEFAULTS).register(TIME), required(tier))
            there += person.life.registered
        assert abs(there / 400 - wanted) < 0.1


def test_signals_are_sent_as_often_as_assumed() -> None:
    """Round-trip times, behaviour, breach look-ups, proxies and coordinates; coordinates only by phones and tablets."""
    every = [one for visit in opened() for one in asks(visit)]
    logins = [one for one in every if one.journey == "login"]
    handheld = [one for one in every if one.place]

    def sent(of: list[Attempt], holds: Callable[[Attempt], object]) -> float:
        return sum(bool(holds(one)) for one in of) / len(of)

    assert abs(sent(every, lambda one: one.network.rtt_ms is not None) - DEFAULTS["sends_rtt"]) < 0.03
    assert abs(sent(every, lambda one: one.behaviour) - DEFAULTS["sends_behaviour"]) < 0.03
    assert abs(sent(every, lambda one: one.network.forwarded) - DEFAULTS["sends_forwarded"]) < 0.03
    assert abs(sent(logins, lambda one: one.outside) - DEFAULTS["sends_breach"]) < 0.05
    assert abs(sent([one for one in logins if one.outside], breached) - POWERS.breached) < 0.06
    assert not sent([one for one in every if one.journey != "login"], lambda one: one.outside)
    assert handheld
    assert all(one.device and "Windows" not in one.device.user_agent for one in handheld)
    assert all(one.network.forwarded in ((), (one.network.client_ip,)) for one in every)


def breached(attempt: Attempt) -> bool:
    return bool(attempt.outside and attempt.outside.credential_breached)


FREE: Final = required(Tier.BASELINE)


def hands(domain: str = "customer", **person: object) -> list[Attempt]:
    """Sign-ins of one person who knows the password."""
    told = []
    for seed in range(300):
        random = Random(seed)
        who = replace(WORLD.town.person(2, domain), manager=False, **person)
        known = replace(POWERS, password=1.0)
        told += asks(moves(Visit(random, who, WORLD._owner(random, who, TIME), known, DEFAULTS).sign_in(TIME), FREE))
    return told


def test_people_type_each_in_their_own_way() -> None:
    """At their own pace, on phones slower; with a screen reader less evenly and without a pointer; and a manager pastes
    nine passwords of ten."""
    for assistive, spread in ((False, 0.35), (True, 0.6)):
        told = [one for one in hands(typing=5.0, assistive=assistive, slots=("desktop",)) if one.behaviour]
        typed = [[math.log(each) for each in one.behaviour.typing_intervals_ms] for one in told if one.behaviour]
        assert {len(keys) for keys in typed} == set(range(8, 20))
        assert fmean(map(fmean, typed)) == pytest.approx(5.0, abs=0.05)
        assert fmean(map(stdev, typed)) == pytest.approx(spread, rel=0.1)
        pointer = [one.behaviour.pointer_events or 0 for one in told if one.behaviour]
        assert set(pointer) == {0} if assistive else min(pointer) == 3
        for one in told:
            assert one.behaviour
            assert one.behaviour.form_seconds
            assert 0 < one.behaviour.form_seconds - sum(one.behaviour.typing_intervals_ms) / 1000 < 120
    phone = [one.behaviour for one in hands(typing=5.0, assistive=False, slots=("mobile",)) if one.behaviour]
    assert fmean(math.log(each) for one in phone for each in one.typing_intervals_ms) == pytest.approx(5.25, abs=0.05)
    assert {one.pointer_events for one in phone} == {0}
    pasting = [one.behaviour for visit in opened() for one in asks(visit) if one.behaviour and one.behaviour.pasted]
    assert pasting
    assert not any(one.typing_intervals_ms for one in pasting)


def test_coordinates_are_those_of_the_person() -> None:
    """Within some kilometres of where the person is, wherever the address comes out."""
    told = [one for one in hands(slots=("mobile",), trips=(), vpn="BR") if one.place]
    home = WORLD.town.person(2, "customer").home
    assert len({one.place for one in told}) > 10
    for one in told:
        assert one.place
        assert one.place.latitude == pytest.approx(home.latitude, abs=0.1001)
        assert one.place.longitude == pytest.approx(home.longitude, abs=0.1001)
        assert 20 <= (one.place.accuracy_m or 0) <= 100


def test_staff_sign_in_through_their_issuer() -> None:
    """Who has the password comes with an assertion of a few seconds ago, seven in ten with a second factor; a failed
    try and a customer come without."""
    told = [one for one in hands("workforce") if one.journey == "login"]
    assert all((one.federation is None) == (one.credential_result == "failed") for one in told)
    told = [one for one in told if one.federation]
    issuer = WORLD.town.person(2, "workforce").issuer
    for one in told:
        assert one.federation
        assert one.time
        assert one.federation.issuer == issuer
        assert 1 <= one.time - (one.federation.issue_time or 0) <= 6.001
        assert 5 <= one.time - (one.federation.authentication_time or 0) <= 5.001 + 4 * 3600
    factors = [one.federation.amr for one in told if one.federation]
    assert {*factors} == {("pwd",), ("pwd", "otp")}
    assert factors.count(("pwd", "otp")) / len(factors) == pytest.approx(0.7, abs=0.1)
    assert not any(one.federation for one in hands())
