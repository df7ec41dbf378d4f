"""Learning: only a proof teaches, once, and confirmed fraud takes back exactly what was taught."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.core import learn
from riskd.core.attempt import DOMAINS, JOURNEYS, OUTCOMES, Attempt, Behaviour, Network, Outcome
from riskd.core.context import Context, Missing, Place, Route
from riskd.core.history import DAY, HOUR, Delta, History, fold, inverse, lately, slot
from riskd.core.learn import Lesson, Receipt, lesson_deltas, settle
from riskd.core.marks import MARKS, placed
from riskd.core.pseudonym import Keys
from riskd.core.recall import ACTIVITY, PROFILE
from riskd.core.requirement import Requirement, Terms, Tier
from riskd.core.retention import USUAL, Retention

law = settings(max_examples=80)
NOW = 1_800_000_000.0
LATER = NOW + 600
SUBJECT, DEVICE, PLACE, NETWORK, DOMAIN = (letter * 16 for letter in (b"s", b"d", b"a", b"n", b"o"))

digests = st.binary(min_size=16, max_size=16)
lessons = st.builds(
    Lesson,
    time=st.floats(NOW, NOW + DAY),
    subject=st.just(SUBJECT),
    owners=st.lists(digests, max_size=2, unique=True).map(tuple),
    address=digests,
    network=digests,
    domain=st.just(DOMAIN),
    values=st.dictionaries(st.sampled_from(["country", "os", "hour", "device", "weekday"]), st.text(max_size=3)),
    place=st.sampled_from([(), (NOW, 59.9, 10.7, 20.0)]),
    typing=st.sampled_from([(0, 0), (5100, 26010), (10, 0)]),
)
receipts = st.builds(
    Receipt,
    lesson=lessons,
    domain=st.sampled_from(DOMAINS),
    journey=st.sampled_from(JOURNEYS),
    tier=st.sampled_from(list(Tier)),
    amr=st.sampled_from([(), (("hwk",),), (("otp",), ("swk", "pin"))]),
    satisfied=st.booleans(),
    activity=st.just((SUBJECT, PLACE)),
).map(lambda receipt: replace(receipt, satisfied=receipt.satisfied and receipt.tier is not Tier.DENY))
outcomes = st.builds(
    Outcome,
    assessment_id=st.just("a"),
    kind=st.sampled_from(OUTCOMES),
    amr=st.sampled_from([(), ("hwk",), ("otp",), ("pwd",)]),
)

PROOFS = ("challenge_passed", "session_established", "confirmed_legitimate")
proofs = outcomes.filter(lambda one: one.kind in PROOFS)


def outcome(kind: str, *amr: str) -> Outcome:
    return Outcome(assessment_id="a", kind=kind, amr=amr)


def receipt(tier: Tier = Tier.STEP_UP, *, satisfied: bool = False, amr: tuple[tuple[str, ...], ...] = ()) -> Receipt:
    lesson = Lesson(
        time=NOW,
        subject=SUBJECT,
        owners=(DEVICE,),
        address=PLACE,
        network=NETWORK,
        common=(),
        domain=DOMAIN,
        values={"country": "NO", "hour": "9"},
        place=(NOW, 59.9, 10.7, 20.0),
    )
    return Receipt(lesson, "customer", "login", tier, amr, satisfied, (SUBJECT, PLACE))


def settled(kept: Receipt, *reported: Outcome) -> tuple[Receipt, list[Delta]]:
    deltas: list[Delta] = []
    for one in reported:
        kept, more = settle(kept, one, LATER)
        deltas += more
    return kept, deltas


def profiles(deltas: Iterable[Delta]) -> dict[bytes, History]:
    """The profiles that result from the deltas, without empty ones and without who was seen, which is never taken
    back."""
    histories: dict[bytes, History] = {}
    for delta in deltas:
        if delta.key.endswith(PROFILE):
            fold(histories.setdefault(delta.key, History()), delta)
    for history in histories.values():
        history.sketches.clear()
    return {key: history for key, history in histories.items() if history != History()}


def learned(deltas: Iterable[Delta]) -> int:
    """The number of sign-in units in the subject's profile."""
    found = profiles(deltas).get(SUBJECT + PROFILE, History())
    return sum(found.tallies.of("sign_in").get("", [0])[1:])


@law
@given(lessons, st.integers(1, 5))
def test_a_lesson_is_taken_back_exactly(lesson: Lesson, units: int) -> None:
    """Teaching any lesson and taking it back leaves nothing in any history."""
    deltas = lesson_deltas(lesson, units)

    assert profiles([*deltas, *map(inverse, deltas)]) == {}
    found = profiles(deltas)[SUBJECT + PROFILE].tallies
    assert found.sign_in == {"": [lesson.time // (7 * DAY), units]}
    assert (found.typing is None) == (lesson.typing == (0, 0))


@law
@given(lessons, lessons, st.integers(1, 5), st.integers(1, 5))
def test_taking_one_lesson_back_leaves_the_other(one: Lesson, other: Lesson, n: int, m: int) -> None:
    """Taking back one lesson leaves what another sign-in taught, in the subject's and in shared histories."""
    other = replace(other, time=one.time + 1, place=())
    taken = lesson_deltas(one, n)

    assert profiles([*taken, *lesson_deltas(other, m), *map(inverse, taken)]) == profiles(lesson_deltas(other, m))


@law
@given(lessons, st.integers(1, 3), st.integers(1, 3))
def test_a_top_up_is_like_teaching_it_at_once(lesson: Lesson, first: int, more: int) -> None:
    """Teaching one unit now and two later equals teaching three at once."""
    assert profiles([*lesson_deltas(lesson, first), *lesson_deltas(lesson, more)]) == profiles(
        lesson_deltas(lesson, first + more)
    )


@law
@given(receipts, st.lists(outcomes, max_size=6))
def test_fraud_undoes_all_lessons_of_the_attempt(kept: Receipt, before: list[Outcome]) -> None:
    """After confirmed fraud nothing of the attempt remains in any profile, whatever was reported before."""
    kept, deltas = settled(kept, *before, outcome("confirmed_fraud"))

    assert profiles(deltas) == {}
    assert (kept.taught, kept.fraud) == (0, True)


@law
@given(receipts, st.lists(outcomes, max_size=6))
def test_nothing_teaches_after_fraud(kept: Receipt, after: list[Outcome]) -> None:
    """After confirmed fraud, no further outcome of the attempt teaches anything."""
    kept, _ = settled(kept, outcome("confirmed_fraud"))
    kept, deltas = settled(kept, *after)

    assert [delta for delta in deltas if delta.key.endswith(PROFILE)] == []
    assert kept.taught == 0


@law
@given(receipts, st.lists(outcomes, max_size=6))
def test_a_receipt_knows_what_was_taught(kept: Receipt, reported: list[Outcome]) -> None:
    """The receipt counts the units in the subject's profile, at most six."""
    kept, deltas = settled(kept, *reported)

    assert kept.taught == learned(deltas)
    assert 0 <= kept.taught <= 6


@law
@given(receipts, outcomes)
def test_repeating_an_outcome_teaches_nothing_more(kept: Receipt, reported: Outcome) -> None:
    """A repeated outcome changes neither the receipt nor any profile."""
    once, _ = settled(kept, reported)
    twice, deltas = settled(once, reported)

    assert twice == once
    assert profiles(deltas) == {}


@law
@given(receipts, st.lists(proofs, max_size=3, unique_by=lambda one: one.kind), st.randoms(use_true_random=False))
def test_the_order_of_proofs_does_not_matter(kept: Receipt, given_in: list[Outcome], random: Random) -> None:
    """Proofs of different kinds teach the same in the end, whatever their order."""
    shuffled = random.sample(given_in, len(given_in))

    assert settled(kept, *shuffled)[0].taught == settled(kept, *given_in)[0].taught


@pytest.mark.parametrize("kind", ["challenge_failed", "challenge_abandoned", "sign_in_abandoned", "recovery_failed"])
@pytest.mark.parametrize("satisfied", [True, False])
def test_failed_and_abandoned_teach_nothing(kind: str, *, satisfied: bool) -> None:
    """Failed and abandoned challenges, sign-ins and recoveries teach nothing."""
    kept, deltas = settled(receipt(satisfied=satisfied), outcome(kind, "hwk"))

    assert kept.taught == 0
    assert profiles(deltas) == {}


@pytest.mark.parametrize("kind", ["challenge_failed", "recovery_failed"])
def test_a_failure_counts_at_every_entity(kind: str) -> None:
    """A failure is counted as velocity at each entity of the attempt, in the same tables as a wrong password."""
    keys = replace(KEYS, device=b"", asn=b"n" * 16)
    tried, wrong = (learn.attempt_deltas(attempt(credential_result=each), keys, LATER) for each in ("", "failed"))
    kept = replace(receipt(), activity=(keys.subject, keys.address, keys.network, keys.asn))
    deltas = [delta for delta in settled(kept, outcome(kind))[1] if delta.counts]

    assert [delta.key for delta in deltas] == [delta.key for delta in wrong]
    for delta, right, failed in zip(deltas, tried, wrong, strict=True):
        assert set(delta.counts) == set(failed.counts) - set(right.counts)
        assert delta.time == LATER
        assert delta.expires == LATER + USUAL.activity


@pytest.mark.parametrize("kind", ["challenge_abandoned", "sign_in_abandoned"])
def test_abandoning_is_neither_a_proof_nor_a_failure(kind: str) -> None:
    """An abandoned challenge or sign-in teaches nothing and counts nowhere as a failure; an abandoned sign-in changes
    nothing at all."""
    kept, deltas = settle(receipt(satisfied=True), outcome(kind), LATER)

    assert [delta.counts for delta in deltas if delta.counts] == []
    assert (deltas == ()) == (kind == "sign_in_abandoned")
    assert replace(kept, reported=()) == receipt(satisfied=True)


def unmet(deltas: Iterable[Delta]) -> list[Delta]:
    return [delta for delta in deltas if any(kind == "unmet" for kind, _ in delta.marks)]


@law
@given(receipts, st.lists(outcomes, max_size=6), st.floats(0, HOUR))
def test_a_challenge_that_was_not_met_is_remembered_once(kept: Receipt, reported: list[Outcome], later: float) -> None:
    """However an assessment's challenge failed or was abandoned, and however often that is reported, the subject
    remembers one mark, of the first report, for as long as other activity. No other outcome leaves or removes one."""
    moment, deltas = NOW + later, list[Delta]()
    for one in reported:
        kept, more = settle(kept, one, moment)
        deltas += more
        moment += 1.5
    failed = [at for at, one in enumerate(reported) if one.kind in ("challenge_failed", "challenge_abandoned")]

    marked = unmet(deltas)
    assert [(delta.key, delta.time, delta.undo) for delta in marked] == [
        (SUBJECT + ACTIVITY, NOW + later + 1.5 * at, False) for at in failed[:1]
    ]
    assert [delta.expires - delta.time for delta in marked] == [USUAL.activity] * len(marked)


@law
@given(st.lists(st.integers(0, 2 * 3600 * 1000), min_size=1, max_size=8, unique=True), st.data())
def test_challenges_that_were_not_met_count_in_any_order(moments: list[int], data: st.DataObject) -> None:
    """Of several challenges that were not met, also within one second, those of the last hour count, up to four; the
    order in which they are reported, and repeating them, do not matter."""
    deltas = [learn.unmet_delta(SUBJECT, NOW + moment / 1000, moment / 1000) for moment in moments]
    told = data.draw(st.permutations([*deltas, deltas[0]]))
    in_turn, shuffled = History(), History()
    for delta in deltas:
        fold(in_turn, delta)
    for delta in told:
        fold(shuffled, delta)
    now = NOW + max(moments) / 1000

    assert in_turn == shuffled
    recent = [moment for moment in moments if int(NOW + moment / 1000) > now - HOUR]
    assert lately(in_turn, "unmet", now, HOUR) == min(len(recent), MARKS)
    assert lately(in_turn, "unmet", now + HOUR, HOUR) == 0.0


def test_an_unmet_requirement_teaches_nothing() -> None:
    """A session established without meeting the requirement teaches nothing."""
    kept, deltas = settled(receipt(satisfied=False), outcome("session_established"), outcome("recovery_completed"))

    assert kept.taught == learned(deltas) == 0


def test_a_met_requirement_teaches_when_the_session_begins() -> None:
    """If the requirement is already met, the established session is the proof and teaches one unit."""
    kept, deltas = settled(receipt(Tier.BASELINE, satisfied=True), outcome("session_established"))

    assert kept.taught == learned(deltas) == 1


@pytest.mark.parametrize(
    ("accepted", "used", "units"),
    [
        ((), (), 1),
        ((), ("otp",), 1),
        ((), ("hwk",), 6),
        ((("hwk",),), ("hwk", "user"), 6),
        ((("hwk",),), ("otp",), 0),
        ((("otp",), ("swk", "pin")), ("swk",), 0),
        ((("otp",), ("swk", "pin")), ("pin", "swk"), 6),
    ],
)
def test_a_passed_challenge_teaches_by_its_strength(
    accepted: tuple[tuple[str, ...], ...], used: tuple[str, ...], units: int
) -> None:
    """Possession of a key teaches six units, other methods one, and methods that the tier does not accept none."""
    kept, deltas = settled(receipt(amr=accepted), outcome("challenge_passed", *used))

    assert kept.taught == learned(deltas) == units
    assert kept.satisfied == (units > 0)
    assert kept.amr == (() if units else accepted)


@pytest.mark.parametrize(
    ("used", "units"), [((), 1), (("face",), 1), (("idv",), 1), (("pwd", "otp"), 0), (("hwk", "mfa"), 0)]
)
def test_no_authentication_proves_who_somebody_is(used: tuple[str, ...], units: int) -> None:
    """A proof of identity that was passed by methods of authentication was not one, however strong they are."""
    assert settled(receipt(Tier.IDENTITY_PROOF), outcome("challenge_passed", *used))[0].taught == units


def test_a_stronger_proof_tops_up() -> None:
    """A session taught one unit; a key that passes later raises it to six."""
    kept, deltas = settled(receipt(satisfied=True), outcome("session_established"), outcome("challenge_passed", "hwk"))

    assert kept.taught == learned(deltas) == 6


@law
@given(st.lists(outcomes.filter(lambda one: one.kind != "confirmed_legitimate"), max_size=6))
def test_a_denied_attempt_teaches_nothing(reported: list[Outcome]) -> None:
    """An attempt that riskd denied teaches nothing, unless it is confirmed as legitimate."""
    kept, deltas = settled(receipt(Tier.DENY), *reported)

    assert kept.taught == 0
    assert profiles(deltas) == {}


def test_a_confirmed_attempt_teaches_even_if_denied() -> None:
    """If a denied attempt is confirmed as legitimate, it teaches six units."""
    assert settled(receipt(Tier.DENY), outcome("confirmed_legitimate"))[0].taught == 6


def test_a_completed_recovery_is_remembered_as_a_sensitive_step() -> None:
    """A completed recovery leaves its time in the subject's activity; it teaches only if the requirement was met."""
    kept, (step, *lesson) = settled(receipt(satisfied=True), outcome("recovery_completed"))

    assert step.key == SUBJECT + ACTIVITY
    assert step.marks == (("recovered", (LATER,)),)
    assert step.expires == LATER + USUAL.sequence
    assert kept.taught == learned(lesson) == 1


POPULAR = b"p" * 16
KEYS = Keys(subject=SUBJECT, domain=DOMAIN, address=PLACE, network=NETWORK, device=DEVICE, popularity={"os": POPULAR})
OSLO = Place("NO", 59.9127, 10.7461, 20.04)


def attempt(journey: str = "login", credential_result: str = "succeeded", intervals: tuple[float, ...] = ()) -> Attempt:
    return Attempt(
        domain="customer",
        subject="anna",
        journey=journey,
        network=Network(client_ip="81.167.1.2"),
        credential_result=credential_result,
        behaviour=Behaviour(typing_intervals_ms=intervals) if intervals else None,
    )


def context(route: Route | Missing, place: Place | Missing = OSLO) -> Context:
    gone = Missing("agent", "not_sent")
    return Context(
        now=NOW, values={"country": "NO", "os": "iOS"}, place=place, route=route, agent=gone, remembered=gone
    )


def test_every_entity_counts_an_attempt() -> None:
    """Subject, address, network and device count the attempt; the subject sees the address, and the others see the
    subject."""
    subject, *others = learn.attempt_deltas(attempt(), KEYS, NOW)

    assert subject.key == SUBJECT + ACTIVITY
    assert [delta.key for delta in others] == [key + ACTIVITY for key in (PLACE, NETWORK, DEVICE)]
    assert subject.seen == (("address", slot(PLACE)),)
    assert {delta.seen for delta in others} == {(("subject", slot(SUBJECT)),)}
    assert all(("attempt", "", 1) in delta.counts for delta in (subject, *others))


def test_an_operator_counts_by_the_day_and_no_people() -> None:
    """An operator counts attempts by the day only, and no subjects, because an ASN has too many."""
    operator = learn.attempt_deltas(attempt(), replace(KEYS, asn=b"n" * 16), NOW)[3]

    assert operator.key == b"n" * 16 + ACTIVITY
    assert (operator.counts, operator.seen) == ((("attempt_day", "", 1),), ())


@pytest.mark.parametrize(("result", "failures"), [("failed", 1), ("succeeded", 0), ("not_checked", 0)])
def test_a_wrong_password_counts_as_a_failure(result: str, failures: int) -> None:
    """Only a credential that was checked and wrong counts as a failure, at the account, the address and its network."""
    subject, place, network, device = learn.attempt_deltas(attempt(credential_result=result), KEYS, NOW)

    for delta in (subject, place, network):
        assert [table for table, _, _ in delta.counts].count("failure") == failures
    assert [table for table, _, _ in device.counts].count("failure") == 0


@pytest.mark.parametrize("journey", JOURNEYS)
def test_sensitive_journeys_are_remembered_longer(journey: str) -> None:
    """Recovery, profile update, payment and registration are remembered with the subject for a month."""
    subject, *others = learn.attempt_deltas(attempt(journey), KEYS, NOW)
    sensitive = journey in learn.STEPS

    assert subject.marks == (((journey, (NOW,)),) if sensitive else ())
    assert (subject.expires > NOW + 29 * DAY) == sensitive
    assert all(delta.marks == () and delta.expires < NOW + 2 * DAY for delta in others)


@pytest.mark.parametrize("journey", JOURNEYS)
def test_counts_are_kept_for_their_retention(journey: str) -> None:
    """A record lives for its retention after its last attempt; if retention was shortened, older contents are dropped
    by the new one."""
    retention = Retention(profile=9 * DAY, activity=7 * HOUR, sequence=5 * DAY)
    keys = replace(KEYS, asn=b"n" * 16)
    subject, *others = learn.attempt_deltas(attempt(journey), keys, NOW, retention)
    lessons = lesson_deltas(learn.lesson(attempt(), context(Route(2119)), KEYS), 1, retention)
    (step,) = settle(receipt(), outcome("recovery_completed"), NOW, retention)[1]

    assert subject.keep == retention.sequence
    assert subject.expires == NOW + (retention.sequence if journey in learn.STEPS else retention.activity)
    assert {(delta.keep, delta.expires - NOW) for delta in others} == {(retention.activity, retention.activity)}
    assert {(delta.keep, delta.expires - NOW) for delta in lessons} == {(retention.profile, retention.profile)}
    assert step.expires == NOW + retention.sequence


@pytest.mark.parametrize("kind", ["challenge_failed", "challenge_abandoned", "recovery_failed", "recovery_completed"])
def test_outcomes_drop_older_contents(kind: str) -> None:
    """Outcomes, too, drop what is older than the retention, also if nobody has signed in since."""
    retention = Retention(activity=7 * HOUR, sequence=5 * DAY)
    deltas = settle(receipt(), outcome(kind), NOW, retention)[1]
    assert {SUBJECT + ACTIVITY: retention.sequence}.items() <= {delta.key: delta.keep for delta in deltas}.items()
    assert {delta.keep for delta in deltas if delta.key[:-1] != SUBJECT} <= {retention.activity}


def test_a_place_is_learned_with_its_uncertainty() -> None:
    """A place is learned with its radius, rounded to some hundred metres; its country is learned like any value."""
    lesson = learn.lesson(attempt(), context(Route(2119)), KEYS)

    assert lesson.place == placed(NOW, 59.913, 10.746, 20.0)
    assert lesson.values == {"country": "NO", "os": "iOS"}
    assert lesson.owners == (DEVICE,)
    assert lesson.address == PLACE
    assert lesson.network == NETWORK
    assert lesson.common == (POPULAR,)


@pytest.mark.parametrize("anonymizer", ["vpn", "tor", "proxy", "relay", "satellite"])
def test_an_anonymised_address_teaches_no_place(anonymizer: str) -> None:
    """Behind an anonymiser, neither the place nor the country is learned."""
    keys = replace(KEYS, popularity={**KEYS.popularity, "country": b"c" * 16})
    hidden, open_ = (learn.lesson(attempt(), context(Route(2119, anonymizer=each)), keys) for each in (anonymizer, ""))

    assert hidden.place == ()
    assert hidden.values == {"os": "iOS"}
    assert (hidden.common, open_.common) == ((POPULAR,), (POPULAR, b"c" * 16))


@pytest.mark.parametrize(("intervals", "typing"), [((100.0,) * 4, (0, 0)), ((100.0,) * 5, (4605, 21208))])
def test_a_typing_rhythm_is_learned_in_whole_numbers(intervals: tuple[float, ...], typing: tuple[int, int]) -> None:
    """The mean log interval and its square are learned in thousandths as integers, so that they can be taken back
    exactly."""
    assert learn.lesson(attempt(intervals=intervals), context(Route(2119)), KEYS).typing == typing


@pytest.mark.parametrize("kind", ["challenge_failed", "recovery_failed", "recovery_completed"])
def test_an_outcome_counts_once(kind: str) -> None:
    """An outcome that a caller retries changes nothing more."""
    kept, first = settle(receipt(satisfied=True), outcome(kind), LATER)

    assert first != ()
    assert settle(kept, outcome(kind), LATER + 5) == (kept, ())


def test_a_receipt_keeps_what_outcomes_need() -> None:
    """A receipt keeps the tier, the accepted methods, whether it was met, and the entities that count a failure."""
    requirement = Requirement(Tier.STEP_UP, Terms(2, amr=(("otp",),)), satisfied=False)
    accepted = (("otp",), ("hwk", "pin"))
    kept = learn.new_receipt(attempt(), context(Route(2119)), KEYS, requirement, accepted)

    assert (kept.tier, kept.amr, kept.satisfied) == (Tier.STEP_UP, accepted, False)
    assert kept.activity == (SUBJECT, PLACE, NETWORK)
    assert kept.taught == 0
    met = learn.new_receipt(attempt(), context(Route(2119)), KEYS, replace(requirement, satisfied=True), accepted)
    assert (met.tier, met.amr, met.satisfied) == (Tier.STEP_UP, (), True)


@pytest.mark.parametrize(("now", "written"), [(NOW, NOW), (NOW + 9 * DAY, NOW + 9 * DAY), (NOW - 60, NOW)])
def test_a_receipt_is_kept_from_when_it_was_written(now: float, written: float) -> None:
    """The receipt of an attempt that is reported days late is kept as long as any other."""
    assert learn.with_lateness(receipt(), now).until(USUAL) == written + USUAL.receipt


def test_visits_are_few() -> None:
    """However often the subject signs in, only the newest visits are kept."""
    lessons = [replace(receipt().lesson, time=NOW + number, place=()) for number in range(20)]
    history = profiles(delta for lesson in lessons for delta in lesson_deltas(lesson, 1))[SUBJECT + PROFILE]

    assert history.marks["visit"] == [(NOW + number,) for number in range(19, 19 - MARKS, -1)]
