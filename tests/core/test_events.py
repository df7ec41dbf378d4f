"""Security events: they commute and are idempotent, the worse report counts, and they teach nothing."""

from __future__ import annotations

import math
from itertools import permutations
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.core import learn, signals
from riskd.core.attempt import EVENTS, PURPOSES, RISK_LEVELS, Attempt, Network, Outside, SecurityEvent
from riskd.core.context import Memory, Remembered
from riskd.core.history import AHEAD, DAY, HOUR, History, fold
from riskd.core.retention import USUAL, Retention
from riskd.core.tallies import Tallies

NOW: Final = 1_800_000_000.0
KEEP: Final = USUAL.sequence
SUBJECT: Final = b"s" * 16
LOGIN: Final = Attempt(domain="customer", subject="kim", journey="login", network=Network(client_ip="192.0.2.1"))
TYPES: Final = ("password", "pin", "x509", "fido2-roaming")
law = settings(max_examples=200)


def event(kind: str, ago: float = 0.0, **fields: Any) -> SecurityEvent:  # noqa: ANN401 - fields of an event
    return SecurityEvent(domain="customer", subject="kim", kind=kind, time=NOW - ago, **fields)


def remembered(*events: SecurityEvent, now: float = NOW, retention: Retention = USUAL) -> History:
    """The history after these events."""
    history = History()
    for one in events:
        for delta in learn.event_deltas(one, SUBJECT, now, retention):
            fold(history, delta)
    return history


def judged(*events: SecurityEvent, own: Outside | None = None, now: float = NOW) -> Outside | None:
    """The outside signals that an attempt with `own` is judged by after these events."""
    activity = remembered(*events, now=now)
    attempt = replace(LOGIN, outside=own)
    return signals.with_events(attempt, Remembered(subject=Memory(activity=activity)), now, KEEP).outside


events = st.builds(
    SecurityEvent,
    domain=st.just("customer"),
    subject=st.just("kim"),
    kind=st.sampled_from(EVENTS),
    time=st.sampled_from([NOW - 29 * DAY, NOW - DAY, NOW - 1, NOW - 0.5]) | st.floats(NOW - 29 * DAY, NOW + AHEAD),
    level=st.sampled_from(RISK_LEVELS[1:]),
    credential_type=st.sampled_from(TYPES),
    hijacked=st.booleans(),
)
outsides = st.none() | st.builds(
    Outside, credential_breached=st.none() | st.booleans(), risk_level=st.sampled_from(RISK_LEVELS)
)


@law
@given(st.lists(events, max_size=5), st.randoms(use_true_random=False), st.lists(st.integers(0, 4), max_size=4))
def test_events_commute_and_are_idempotent(told: list[SecurityEvent], random: Any, again: list[int]) -> None:  # noqa: ANN401
    """The history does not depend on the order of the events or on repetitions."""
    shuffled = [*told, *(told[number] for number in again if number < len(told))]
    random.shuffle(shuffled)
    assert remembered(*shuffled) == remembered(*told)


@law
@given(st.lists(events, max_size=12), outsides)
def test_events_never_lower_what_the_attempt_says(told: list[SecurityEvent], own: Outside | None) -> None:
    """Events never lower the attempt's own risk level or clear its breach."""
    after, before = judged(*told, own=own) or Outside(), own or Outside()
    assert RISK_LEVELS.index(after.risk_level) >= RISK_LEVELS.index(before.risk_level)
    assert after.credential_breached is before.credential_breached or after.credential_breached


@law
@given(st.lists(events, max_size=12))
def test_events_teach_nothing(told: list[SecurityEvent]) -> None:
    """Events leave only a few timestamps of a few kinds; they make nothing familiar."""
    kept = remembered(*told)
    assert (kept.tallies, kept.sketches) == (Tallies(), {})
    assert set(kept.marks) <= {"reported", "breached", "profile_update", "recovery"}


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (event("risk_level_change", level="high"), Outside(risk_level="high")),
        (event("risk_level_change", level="medium"), Outside(risk_level="medium")),
        (event("risk_level_change", level="low"), Outside(risk_level="low")),
        (event("credential_compromise", credential_type="password"), Outside(credential_breached=True)),
        (event("credential_compromise", credential_type="pin"), Outside(risk_level="high")),
        (event("credential_compromise", credential_type="x509"), Outside(risk_level="high")),
        (event("account_disabled", hijacked=True), Outside(risk_level="high")),
        (event("account_disabled"), None),
        (event("account_enabled"), None),
        (event("credential_change", credential_type="password"), None),
        (event("recovery_activated"), None),
        (event("recovery_information_changed"), None),
    ],
)
def test_each_kind_of_event_has_its_meaning(one: SecurityEvent, says: Outside | None) -> None:
    """What one event means for an attempt that has no outside signals of its own. An event without a time happened
    now."""
    assert judged(one) == judged(replace(one, time=None)) == says


@pytest.mark.parametrize(
    ("kind", "fields", "step"),
    [
        ("credential_change", {"credential_type": "password"}, "profile_update"),
        ("credential_change", {"credential_type": "fido2-roaming"}, "profile_update"),
        ("recovery_information_changed", {}, "profile_update"),
        ("recovery_activated", {}, "recovery"),
    ],
)
def test_changes_are_sensitive_steps(kind: str, fields: dict[str, Any], step: str) -> None:
    """Changes and recoveries are remembered as sensitive steps, as if riskd had assessed them."""
    assert remembered(event(kind, HOUR, **fields)).marks[step] == [(int(NOW - HOUR),)]


PASSWORD: Final[dict[str, Any]] = {"credential_type": "password"}
HIGH: Final[dict[str, Any]] = {"level": "high"}
LOW: Final[dict[str, Any]] = {"level": "low"}


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ([event("risk_level_change", 2, **HIGH), event("risk_level_change", 1, **LOW)], Outside(risk_level="low")),
        ([event("risk_level_change", 2, **LOW), event("risk_level_change", 1, **HIGH)], Outside(risk_level="high")),
        ([event("account_disabled", 2, hijacked=True), event("account_enabled", 1)], None),
        ([event("account_enabled", 2), event("account_disabled", 1, hijacked=True)], Outside(risk_level="high")),
        ([event("credential_compromise", 2, **PASSWORD), event("credential_change", 1, **PASSWORD)], None),
        (
            [event("credential_compromise", 2, **PASSWORD), event("credential_change", 1, credential_type="x509")],
            Outside(credential_breached=True),
        ),
        (
            [event("credential_compromise", 2, **PASSWORD), event("credential_change", 1, credential_type="pin")],
            Outside(credential_breached=True),
        ),
        (
            [event("credential_change", 2, **PASSWORD), event("credential_compromise", 1, **PASSWORD)],
            Outside(credential_breached=True),
        ),
    ],
)
def test_the_latest_event_counts(told: list[SecurityEvent], says: Outside | None) -> None:
    """The event that happened last counts, whatever the order of arrival."""
    for order in permutations(told):
        assert judged(*order) == says


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ([event("risk_level_change", **LOW), event("risk_level_change", **HIGH)], Outside(risk_level="high")),
        ([event("account_enabled"), event("account_disabled", hijacked=True)], Outside(risk_level="high")),
        (
            [event("credential_change", **PASSWORD), event("credential_compromise", **PASSWORD)],
            Outside(credential_breached=True),
        ),
    ],
)
def test_of_one_second_the_worst_counts(told: list[SecurityEvent], says: Outside) -> None:
    """Of events in the same second the worst counts, because their order is unknown."""
    for order in permutations(told):
        assert judged(*order) == says


def test_the_worse_of_what_is_said_counts() -> None:
    """Of the attempt's own signals and the events, the worse counts, separately for level and breach."""
    told = event("risk_level_change", level="medium")
    assert judged(told, own=Outside(risk_level="high")) == Outside(risk_level="high")
    assert judged(told, own=Outside(risk_level="low")) == Outside(risk_level="medium")
    both = Outside(credential_breached=False, risk_level="medium")
    assert judged(told, own=Outside(credential_breached=False)) == both
    breach = event("credential_compromise", credential_type="password")
    assert judged(breach, own=Outside(credential_breached=False)) == Outside(credential_breached=True)


def test_an_event_counts_for_the_sequence_retention() -> None:
    """An event counts from its own time for the `sequence` retention; one further ahead than the clock tolerance does
    not count yet."""
    high = event("risk_level_change", 0, **HIGH)
    for after, counts in ((-AHEAD, True), (-AHEAD - 1, False), (KEEP - 1, True), (KEEP, False)):
        activity = Remembered(subject=Memory(activity=remembered(high)))
        assert (signals.with_events(LOGIN, activity, NOW + after, KEEP) is not LOGIN) == counts, after


def test_an_event_older_than_its_retention_changes_nothing() -> None:
    """Retention runs from the event's own time, so a late event expires no later and an expired one is dropped."""
    week = Retention(sequence=7 * 86_400)
    kept = learn.event_deltas(event("risk_level_change", 7 * DAY - 1, **HIGH), SUBJECT, NOW, week)
    assert [delta.expires for delta in kept] == [NOW + 1]
    assert learn.event_deltas(event("risk_level_change", 7 * DAY, **HIGH), SUBJECT, NOW, week) == ()


@pytest.mark.parametrize("consent", [None, ("sharing",), PURPOSES, (), ("device", "location", "behaviour")])
def test_without_consent_to_sharing_events_are_ignored(consent: tuple[str, ...] | None) -> None:
    """If the attempt does not consent to sharing, events are ignored, like its own outside signals."""
    activity = Remembered(subject=Memory(activity=remembered(event("risk_level_change", **HIGH))))
    attempt = replace(LOGIN, consent=consent)
    told = signals.with_events(attempt, activity, NOW, KEEP)
    assert (told is attempt) == (consent is not None and "sharing" not in consent)


def test_without_risk_events_the_attempt_is_unchanged() -> None:
    """If no event reports a risk, the very same attempt object is returned."""
    steps = remembered(event("recovery_activated"), event("recovery_information_changed"))
    for activity in (History(), steps):
        assert signals.with_events(LOGIN, Remembered(subject=Memory(activity=activity)), NOW, KEEP) is LOGIN


@law
@given(st.lists(st.floats(NOW - DAY, NOW), min_size=5, max_size=12), st.floats(NOW - 29 * DAY, NOW - 2 * DAY))
def test_a_flood_makes_nothing_look_longer_ago(flood: list[float], step: float) -> None:
    """Many events may evict the owner's own steps, but only in favour of later ones, so no step looks older."""
    own = event("recovery_information_changed", NOW - step)
    others = [event("credential_change", NOW - time, credential_type="x509") for time in flood]
    newest = remembered(own, *others).marks["profile_update"][0]
    assert newest[0] == max(math.floor(time) for time in (step, *flood))
