from __future__ import annotations

import math
import re
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.core import signals
from riskd.core.attempt import PURPOSES, Attempt, Behaviour, Device, Network, ReportedPlace
from riskd.core.context import SOURCES, Agent, Context, Missing, Place, Remembered, Route
from riskd.core.features import FEATURES, GROUPS, NAMES, Feature, schema, vector
from riskd.core.history import EMPTY, HOUR, History
from riskd.core.pseudonym import POPULARITY
from riskd.core.tallies import Tallies
from tests.core.builders import CHROME, HOME, LAPTOP, NOW, OSLO, World, crowd, settled, sign_in

WORLD: Final = settled(crowd())
FACTS: Final = ("place", "route", "agent")
WHICHEVER = {"imitated_device": ("device_id", "fingerprint")}
"""Features that can be computed from any one of several signals, so that none of these is a required source."""


def named(attempt: Attempt, context: Context) -> dict[str, float]:
    """The vector as a dict by feature name."""
    return dict(zip(NAMES, vector(attempt, context), strict=True))


def without(source: str) -> tuple[Attempt, Context]:
    """The attempt that sends everything, and its context, without one source."""
    attempt, facts = sign_in(), dict[str, Any]()
    gap = Missing(source, "not_sent")
    if source in FACTS:
        facts[source] = gap
    elif source in ("history", "reputation"):
        facts["remembered"] = Missing("history", "unavailable")
    elif source == "rtt":
        attempt = sign_in(network=replace(attempt.network, rtt_ms=None))
    elif source == "credential":
        attempt = sign_in(credential_result="not_checked")
    elif source in ("device_id", "fingerprint", "screen", "timezone", "attestation"):
        attempt = sign_in(device=replace(LAPTOP, **{source: ""}))
    elif source == "languages":
        attempt = sign_in(device=replace(LAPTOP, languages=()))
    else:
        absent: dict[str, Any] = {"place" if source == "reported_place" else source: None}
        attempt = sign_in(**absent)
    offset = None if source == "timezone" else 120
    return attempt, WORLD.context(attempt, device_offset_min=offset, **facts)


def test_table_covers_the_design() -> None:
    """Names are unique, features are ordered by group, and there are at least 45 of them."""
    assert len(set(NAMES)) == len(NAMES) >= 45
    assert [feature.group for feature in FEATURES] == sorted((feature.group for feature in FEATURES), key=GROUPS.index)


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_declaration_is_whole(feature: Feature) -> None:
    """A feature has a snake_case name, an UPPER_SNAKE reason, known sources, and a text for people."""
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", feature.name)
    assert re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*", feature.reason)
    assert set(feature.sources) <= set(SOURCES)
    assert feature.direction in (-1, 0, 1)
    assert all((feature.unit, feature.why, feature.text))
    assert re.fullmatch(r"[A-Z].*\w\.", feature.text)


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_purpose_is_that_of_the_signals(feature: Feature) -> None:
    """A feature computed from a signal that needs consent has that signal's purpose."""
    made_of = (*feature.sources, *WHICHEVER.get(feature.name, ()))
    needed = {signals.PURPOSE[source] for source in made_of if source in signals.PURPOSE}

    assert feature.purpose in PURPOSES
    assert {feature.purpose} == needed or (feature.purpose == "security" and not needed)


@pytest.mark.parametrize("source", SOURCES)
def test_missing_source_makes_its_features_missing(source: str) -> None:
    """Without a source, exactly the features that name it are missing; the rest keep their values."""
    attempt, context = without(source)
    whole = named(sign_in(), replace(WORLD.context(sign_in()), measured_from=OSLO))
    found = named(attempt, replace(context, measured_from=OSLO))
    lost = {"history", "reputation"} if source in ("history", "reputation") else {source}
    gone = {feature.name for feature in FEATURES if lost & set(feature.sources)}

    assert [name for name in NAMES if math.isnan(whole[name])] == []
    assert {name for name in NAMES if math.isnan(found[name])} == gone


def crowded() -> World:
    """A world in which sixty accounts share the owner's address, device and operator, and hundreds of attempts fail."""
    world = settled(crowd(people=90), weeks=3)
    for number in range(60):
        world.prove(sign_in(subject=f"neighbour-{number}"), NOW - HOUR * number)
        world.try_(sign_in(subject=f"victim-{number}", credential_result="failed"), NOW - 60.0)
    return world


READ: Final = ("subject", "device", "fingerprint", "address", "network", "asn", "operator", "domain", *POPULARITY)
"""Every name that can be in `Remembered.unread`."""


def with_others(remembered: Remembered, name: str, others: Remembered) -> Remembered:
    """These histories, but one from elsewhere."""
    if name in remembered.popularity:
        return replace(remembered, popularity=remembered.popularity | {name: others.popularity[name]})
    if name in ("asn", "operator"):
        part = "profile" if name == "asn" else "activity"
        return replace(remembered, asn=replace(remembered.asn, **{part: getattr(others.asn, part)}))
    return replace(remembered, **{name: getattr(others, name)})


@pytest.mark.parametrize("name", READ)
def test_what_is_unread_changes_no_feature_but_those_that_read_it(name: str) -> None:
    """Another history changes only features that name it among their reads. If it could not be read,
    exactly these are missing, and the others keep their values."""
    whole = WORLD.context(sign_in())
    assert isinstance(whole.remembered, Remembered)
    values = vector(sign_in(), whole)
    reading = {feature.name for feature in FEATURES if name in feature.reads}
    crowd_s = crowded().context(sign_in()).remembered
    assert isinstance(crowd_s, Remembered)
    empty = Remembered(popularity=dict.fromkeys(POPULARITY, EMPTY))
    changed = set()
    for others in (crowd_s, empty):
        again = vector(sign_in(), replace(whole, remembered=with_others(whole.remembered, name, others)))
        changed |= {one for one, before, now in zip(NAMES, values, again, strict=True) if repr(before) != repr(now)}
    emptied = replace(with_others(whole.remembered, name, empty), unread=(name,))
    lost = vector(sign_in(), replace(whole, remembered=emptied))

    assert set() < changed <= reading
    assert lost == [
        pytest.approx(feature.missing, nan_ok=True) if feature.name in reading else value
        for feature, value in zip(FEATURES, values, strict=True)
    ]


@pytest.mark.parametrize("purpose", PURPOSES[1:])
def test_withheld_purpose_makes_its_features_missing(purpose: str) -> None:
    """A signal without consent is not used even if it was sent; `security` needs no consent."""
    attempt = sign_in(consent=tuple(other for other in PURPOSES[1:] if other != purpose))
    found = named(attempt, WORLD.context(attempt))

    for feature in FEATURES:
        if feature.purpose == purpose:
            assert math.isnan(found[feature.name])
    assert not math.isnan(found["address_llr"])


def test_an_attempt_with_nothing_known_has_no_risky_feature() -> None:
    """An attempt with only the required fields and every fact missing has no feature that speaks against it."""
    attempt = Attempt(domain="customer", subject="alex", journey="login", network=Network(client_ip="192.0.2.1"))
    context = World().context(
        attempt,
        place=Missing("place", "not_found"),
        route=Missing("route", "not_found"),
        agent=Missing("agent", "not_sent"),
        remembered=Missing("history", "unavailable"),
        device_offset_min=None,
    )

    assert {name: value for name, value in named(attempt, context).items() if not math.isnan(value)} == {
        "forwarded_hops": 0.0,
        "credential_unchecked": 1.0,
    }


def test_cold_start_is_a_gap() -> None:
    """Without a proven sign-in nothing is new, unfamiliar or far; only the counts of attempts have a value, 0."""
    found = named(sign_in(), crowd().context(sign_in(subject="nobody")))

    for feature in FEATURES:
        if feature.group in ("familiarity", "novelty", "motion", "rhythm"):
            assert math.isnan(found[feature.name])
        if feature.group == "velocity" and feature.name.startswith("subject"):
            assert found[feature.name] == 0


@pytest.mark.parametrize(
    ("subject", "unread", "gaps"),
    [
        ("alex", (), set()),
        ("alex", ("subject",), {"history"}),
        ("alex", ("device", "browser"), {"reputation"}),
        ("alex", ("domain",), {"reputation"}),
        ("alex", ("subject", "operator"), {"history", "reputation"}),
        ("nobody", ("subject",), {"history"}),
    ],
)
def test_what_is_unread_is_a_gap_of_its_source(subject: str, unread: tuple[str, ...], gaps: set[str]) -> None:
    """If the subject's history could not be read, `history` is a gap; if any other could not, `reputation` is. An
    unread history is not an empty one."""
    remembered = WORLD.context(sign_in(subject=subject)).remembered
    assert isinstance(remembered, Remembered)

    found = signals.unremembered(replace(remembered, unread=unread))
    assert found == [Missing(source, "unavailable") for source in ("history", "reputation") if source in gaps]


def test_after_a_store_failure_velocity_is_missing() -> None:
    """If the store fails, velocity is missing, not 0."""
    context = WORLD.context(sign_in(), remembered=Missing("history", "unavailable"))
    found = named(sign_in(), context)

    assert all(math.isnan(found[feature.name]) for feature in FEATURES if feature.group == "velocity")


def test_vector_is_pure() -> None:
    """The same attempt and context give the same vector, bit for bit, and are not changed."""
    context = WORLD.context(sign_in())

    assert repr(vector(sign_in(), context)) == repr(vector(sign_in(), context))


def test_schema_names_the_table() -> None:
    """The schema is 16 hex digits, the same in every process."""
    assert re.fullmatch(r"[0-9a-f]{16}", schema())
    assert schema() == schema()


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


NUMBERS: Final = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from((0.0, -1.0, 1e300, -1e300))
WORDS: Final = st.text(max_size=8) | st.sampled_from(("en-GB", "zh-Hant-TW", "x-", "-", "Windows", "macOS"))
DEVICES: Final = st.builds(
    Device,
    user_agent=WORDS,
    platform=WORDS,
    mobile=optional(st.booleans()),
    device_id=WORDS,
    fingerprint=WORDS,
    screen=WORDS,
    languages=st.lists(WORDS, max_size=3).map(tuple),
    timezone=WORDS,
    attestation=WORDS,
)
BEHAVIOURS: Final = st.builds(
    Behaviour,
    typing_intervals_ms=st.lists(NUMBERS, max_size=7).map(tuple),
    pointer_events=optional(st.integers()),
    pasted=optional(st.booleans()),
    form_seconds=optional(NUMBERS),
    form_failures=optional(st.integers(0, 10**6)),
)
ATTEMPTS: Final = st.fixed_dictionaries(
    {},
    optional={
        "device": optional(DEVICES),
        "behaviour": optional(BEHAVIOURS),
        "place": optional(st.builds(ReportedPlace, latitude=NUMBERS, longitude=NUMBERS, accuracy_m=optional(NUMBERS))),
        "network": st.builds(
            Network,
            client_ip=WORDS,
            forwarded=st.lists(WORDS, max_size=3).map(tuple),
            rtt_ms=optional(NUMBERS),
        ),
        "session": st.none(),
        "federation": st.none(),
        "outside": st.none(),
        "credential_result": st.sampled_from(("not_checked", "failed")),
        "registration_time": optional(NUMBERS),
    },
)
PLACES: Final = st.builds(
    Place,
    country=WORDS,
    latitude=NUMBERS,
    longitude=NUMBERS,
    radius_km=st.floats(0),
    utc_offset_min=optional(st.integers(-1000, 1000)),
)
LOST: Final = {source: st.just(Missing(source, "not_found")) for source in FACTS}


@settings(max_examples=150)
@given(
    changes=ATTEMPTS,
    place=st.just(OSLO) | PLACES | LOST["place"],
    route=st.just(HOME) | st.builds(Route, asn=st.integers(), anonymizer=WORDS) | LOST["route"],
    agent=st.just(CHROME) | st.builds(Agent, browser=WORDS, device_class=WORDS) | LOST["agent"],
    remembered=st.none() | st.just(Missing("history", "unavailable")),
    offset=optional(st.integers(-2000, 2000)),
    now=st.sampled_from((NOW, NOW + 1e9, NOW - 1e9, 0.0)),
    measured_from=st.none() | PLACES,
)
def test_no_input_makes_it_fail(  # noqa: PLR0917
    changes: dict[str, Any],
    place: Place | Missing,
    route: Route | Missing,
    agent: Agent | Missing,
    remembered: Missing | None,
    offset: int | None,
    now: float,
    measured_from: Place | None,
) -> None:
    """For any missing, extreme or absurd input, every feature is a finite number or missing."""
    attempt = sign_in(**changes)
    context = WORLD.context(
        attempt, now, place=place, route=route, agent=agent, remembered=remembered, device_offset_min=offset
    )
    found = vector(attempt, replace(context, measured_from=measured_from))

    assert len(found) == len(FEATURES)
    assert [name for name, value in zip(NAMES, found, strict=True) if math.isinf(value)] == []


TALLY: Final = st.lists(st.integers(0, 100), min_size=1, max_size=26).map(lambda counts: [2950, *counts])


@given(tallies=st.dictionaries(st.sampled_from(("sign_in", "country", "hour", "typing")),
                               st.dictionaries(st.sampled_from(("", "NO", "12", "n")), TALLY)))  # fmt: skip
def test_no_history_makes_it_fail(tallies: dict[str, dict[str, list[int]]]) -> None:
    """Histories that are partly taken back or expired also give finite numbers or missing values."""
    context = WORLD.context(sign_in())
    assert isinstance(context.remembered, Remembered)
    subject = replace(context.remembered.subject, profile=History(Tallies(**tallies)))
    remembered = replace(context.remembered, subject=subject, domain=History(Tallies(**tallies)))

    assert not any(map(math.isinf, vector(sign_in(), replace(context, remembered=remembered))))
