"""Feature values that can be worked out by hand: units, clocks and the ends of each range."""

from __future__ import annotations

import math
from typing import Any

import pytest
from msgspec.structs import replace

from riskd.core import learn
from riskd.core.attempt import Attempt, Behaviour, Federation, Network, Session
from riskd.core.context import Agent, Missing, Place
from riskd.core.familiarity import log_likelihood_ratio
from riskd.core.features import NAMES, vector
from riskd.core.features.behaviour import TYPING_SCALE
from riskd.core.history import DAY, HOUR, SLOTS, WEEK, Delta
from riskd.core.recall import PROFILE
from riskd.core.signals import rhythm
from tests.core.builders import ELSEWHERE, HOME, LAPTOP, NOW, OSLO, SYDNEY, World, crowd, keys_of, settled, sign_in

AWAY: dict[str, Any] = {"place": SYDNEY, "route": ELSEWHERE, "device_offset_min": 600}
THIEF = replace(LAPTOP, device_id="thief", fingerprint="f-thief", timezone="Australia/Sydney", languages=("en-AU",))
PHONE = Agent("Safari", "19", "iOS", "19", "mobile")
NAN = math.nan


def seen(world: World, attempt: Attempt, now: float = NOW, **facts: Any) -> dict[str, float]:  # noqa: ANN401
    """The features of an attempt in a world, by name; `facts` as for `World.context`."""
    return dict(zip(NAMES, vector(attempt, world.context(attempt, now, **facts)), strict=True))


def typed(*intervals: float) -> Attempt:
    return sign_in(behaviour=Behaviour(typing_intervals_ms=intervals))


def learned_rhythm(rhythm: float) -> tuple[tuple[str, str, int], ...]:
    """What a sign-in with this mean log interval teaches of typing."""
    whole, square = round(rhythm * TYPING_SCALE), round(rhythm * rhythm * TYPING_SCALE)
    return ("typing", "n", 1), ("typing", "sum", whole), ("typing", "square", square)


@pytest.mark.parametrize(
    ("attempt", "expected"),
    [
        (sign_in(session=Session(start_time=NOW - 5400)), {"session_age_h": 1.5, "authentication_age_h": NAN}),
        (sign_in(session=Session(authentication_time=NOW - 900)), {"session_age_h": NAN, "authentication_age_h": 0.25}),
        (sign_in(session=Session(start_time=NOW + 60, authentication_time=NOW + 60)),
         {"session_age_h": 0, "authentication_age_h": 0}),
        (sign_in(session=None), {"session_age_h": NAN, "authentication_age_h": NAN}),
        (sign_in(federation=Federation(issue_time=NOW - 90)),
         {"assertion_age_min": 1.5, "federated_authentication_age_min": NAN}),
        (sign_in(federation=Federation(authentication_time=NOW - HOUR)),
         {"assertion_age_min": NAN, "federated_authentication_age_min": 60}),
        (sign_in(federation=Federation(issue_time=NOW + 60, authentication_time=NOW + 60)),
         {"assertion_age_min": 0, "federated_authentication_age_min": 0}),
    ],
    ids=["session", "authentication", "clock ahead", "none", "assertion", "upstream", "issuer's clock ahead"],
)  # fmt: skip
def test_ages_have_their_unit(attempt: Attempt, expected: dict[str, float]) -> None:
    """Session ages are in hours and assertion ages in minutes; a time ahead of the clock counts as now, and no time
    gives no value."""
    found = seen(World(), attempt)
    assert {name: found[name] for name in expected} == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (Behaviour(pasted=True, form_failures=3), {"pasted": 1, "form_failures": 3, "form_seconds": NAN}),
        (Behaviour(pasted=False, form_failures=0), {"pasted": 0, "form_failures": 0, "pointer_absent": NAN}),
        (Behaviour(form_seconds=2.5, pointer_events=1), {"pasted": NAN, "form_seconds": 2.5, "pointer_absent": 0}),
        (Behaviour(form_seconds=86_400.0, pointer_events=0), {"form_seconds": 3600, "pointer_absent": 1}),
    ],
)
def test_behaviour_is_passed_on(behaviour: Behaviour, expected: dict[str, float]) -> None:
    """Behaviour is passed on unchanged; form time is capped at an hour, and what was not measured gives no value."""
    found = seen(World(), sign_in(behaviour=behaviour))
    assert {name: found[name] for name in expected} == pytest.approx(expected, nan_ok=True)


def test_round_trip_time_is_capped() -> None:
    """Round-trip time is capped at a minute; none measured gives no value."""
    slow, silent = (sign_in(network=Network(client_ip="192.0.2.10", rtt_ms=rtt)) for rtt in (90_000.0, None))
    assert seen(World(), slow)["rtt_ms"] == 60_000
    assert math.isnan(seen(World(), silent)["rtt_ms"])


@pytest.mark.parametrize(
    ("platform", "mobile", "expected"),
    [("Windows", None, 0), ("Linux", None, 1), ("", False, 0), ("", True, 1), ("Fuchsia", True, 1), ("", None, NAN)],
)
def test_each_hint_is_compared_by_itself(platform: str, mobile: bool | None, expected: float) -> None:
    """If one hint is absent or of an unknown system, the other one decides."""
    found = seen(World(), sign_in(device=replace(LAPTOP, platform=platform, mobile=mobile)))
    assert found["hints_mismatch"] == pytest.approx(expected, nan_ok=True)


def test_account_age_and_depth() -> None:
    """Weeks since the first remembered proof, days since the last one, and their number with a half-life of thirteen
    weeks."""
    world = World()
    for weeks in (25, 13, 0):
        world.prove(sign_in(), NOW - HOUR - weeks * WEEK)
    found, earlier = seen(world, sign_in()), seen(world, sign_in(), NOW - 12 * WEEK)

    assert found["account_weeks"] == 25
    assert found["days_since_visit"] == pytest.approx(1 / 24)
    assert found["history_depth"] == pytest.approx(1 + 1 / 2 + 2 ** (-25 / 13))
    assert earlier["days_since_visit"] == pytest.approx(7 + 1 / 24)
    assert seen(world, sign_in(), NOW - HOUR - 60)["days_since_visit"] == 0


def watched(weeks: int, until: float = NOW) -> World:
    """A world in which somebody else has signed in on some days of so many weeks, the current one included."""
    world = World()
    for week in range(weeks):
        for days in (1, 2, 4, 6):
            world.prove(sign_in(subject="robin"), until - week * WEEK - days * DAY)
    return world


FORGOTTEN = watched(52)
"""A world in which the account of `sign_in` is not remembered."""


@pytest.mark.parametrize(
    ("world", "account", "days"),
    [
        (FORGOTTEN, 3 * 365, 25 * 7 - 0.5),
        (FORGOTTEN, 100, 100),
        (FORGOTTEN, 30, 30),
        (FORGOTTEN, 29.9, NAN),
        (FORGOTTEN, 0, NAN),
        (watched(6), 3 * 365, 6 * 7 - 7.5),
        (watched(1), 3 * 365, NAN),
        (World(), 3 * 365, NAN),
    ],
    ids=["forgotten", "younger", "a month", "less", "today", "six weeks", "the first week", "the first day"],
)
def test_an_account_that_is_not_remembered_has_rested_as_long_as_is_known(
    world: World, account: float, days: float
) -> None:
    """Days since a visit that riskd would remember: it is no older than the account, and than the weeks that the
    domain has been watched. Fewer than 30 say nothing."""
    found = seen(world, sign_in(registration_time=NOW - account * DAY))
    assert found["days_since_visit"] == pytest.approx(days, nan_ok=True)


@pytest.mark.parametrize(("kept", "days"), [(90, 90), (30, 30), (7, NAN)])
def test_an_account_can_rest_unseen_for_no_longer_than_profiles_are_kept(kept: float, days: float) -> None:
    """Under a shorter retention, less is known of an account that is not remembered."""
    attempt = sign_in()
    context = replace(FORGOTTEN.context(attempt), kept=kept * DAY)
    found = dict(zip(NAMES, vector(attempt, context), strict=True))
    assert found["days_since_visit"] == pytest.approx(days, nan_ok=True)


def test_few_early_sign_ins_are_no_watch() -> None:
    """A sign-in that is reported months late, or a trial with few accounts, does not make all others look dormant."""
    world = watched(6)
    world.prove(sign_in(subject="kim"), NOW - 20 * WEEK)
    assert seen(world, sign_in())["days_since_visit"] == 6 * 7 - 7.5


def test_sign_ins_that_were_taken_back_are_no_watch() -> None:
    """A domain whose every sign-in was confirmed as fraud has watched nobody: no account looks dormant."""
    world = World()
    for days in (100, 90, 80):
        world.take_back(world.prove(sign_in(subject="robin"), NOW - days * DAY))
    assert math.isnan(seen(world, sign_in())["days_since_visit"])


@pytest.mark.parametrize("rests", [0, 100])
def test_what_a_caller_states_lets_no_account_look_older(rests: int) -> None:
    """Of an account that riskd remembers, the date of registration changes only how new the account is, and never
    towards an older one."""
    world = settled(until=NOW - rests * DAY)
    world.try_(sign_in(journey="registration"), NOW - 5 * HOUR)
    without = seen(world, sign_in(registration_time=None))
    for hours, since in ((2, 2), (5, 5), (900, 5), (-0.01, 0)):
        found = seen(world, sign_in(registration_time=NOW - hours * HOUR))
        expected = {**without, "hours_since_registration": since}
        assert found == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(("days", "hours"), [(0.5, 12), (30, 720), (900, 720)])
def test_a_registration_that_riskd_did_not_see_is_stated(days: float, hours: float) -> None:
    """Without a registration of its own riskd takes the caller's, up to thirty days."""
    found = seen(World(), sign_in(registration_time=NOW - days * DAY))
    assert found["hours_since_registration"] == pytest.approx(hours)


@pytest.mark.parametrize(("shown", "hidden"), [(1, 3), (3, 1)])
def test_a_visit_from_a_hidden_place_is_a_visit(shown: int, hidden: int) -> None:
    """Days since the last visit count from the latest one, whether or not its place was hidden."""
    world = World()
    world.prove(sign_in(), NOW - shown * DAY)
    world.prove(sign_in(), NOW - hidden * DAY, route=replace(HOME, anonymizer="vpn"))

    assert seen(world, sign_in())["days_since_visit"] == 1


@pytest.mark.parametrize(
    ("places", "speed", "began", "known"),
    [
        ([(OSLO, 1)], 0, 0, 0),
        ([(SYDNEY, 16)], 1000, 16_000, 16_000),
        ([(SYDNEY, 16), (OSLO, 2)], 1000, 16_000, 16_000),
        ([(OSLO, 16), (SYDNEY, 2)], 8000, 16_000, 16_000),
        ([(OSLO, 20), (OSLO, 18), (SYDNEY, 16)], 1000, 16_000, 0),
        ([(SYDNEY, 160), (SYDNEY, 16), (SYDNEY, 80)], 1000, 16_000, 16_000),
        ([(SYDNEY, 16), (OSLO, 5), (OSLO, 4), (OSLO, 3), (OSLO, 2)], 0, 0, 0),
        ([(SYDNEY, -1)], NAN, NAN, NAN),
    ],
    ids=[
        "at home",
        "once",
        "the last visit but one needs the higher speed",
        "the last visit needs the higher speed",
        "all visits but one are near",
        "the latest visit to a place needs the highest speed",
        "older than the last four visits",
        "a visit in the future",
    ],
)
def test_motion_is_the_fastest_journey_from_a_proven_place(
    places: list[tuple[Place, float]], speed: float, began: float, known: float
) -> None:
    """The highest speed in km/h from the last four visits, the distance of that journey, and the distance to the
    nearest place, ignoring one visit."""
    world = World()
    for place, hours in places:
        world.prove(sign_in(), NOW - hours * HOUR, place=place)
    found = seen(world, sign_in())

    assert found["speed_kmh"] == pytest.approx(speed, rel=0.02, nan_ok=True)
    assert found["distance_last_km"] == pytest.approx(began, rel=0.02, nan_ok=True)
    assert found["distance_known_km"] == pytest.approx(known, rel=0.02, nan_ok=True)


@pytest.mark.parametrize("numbers", [(), (60_000, 10_000), (60_000, 10_000, 3000, 1)])
def test_a_mark_that_is_no_place_is_passed_over(numbers: tuple[int, ...]) -> None:
    """A mark that lacks a number of a place, or has one more, as in a damaged record, is as good as absent."""
    world, mark = World(), (int(NOW - HOUR), *numbers)
    world.apply(Delta(b"alex:subject" + PROFILE, NOW - HOUR, NOW + WEEK, (), (("place", mark),)))

    assert math.isnan(seen(world, sign_in())["speed_kmh"])


@pytest.mark.parametrize(("north", "east"), [(10, 0), (0, 20)])
def test_places_differ_in_either_coordinate(north: float, east: float) -> None:
    """Two places differ even if only their latitude or only their longitude differs."""
    world, there = World(), replace(OSLO, latitude=OSLO.latitude - north, longitude=OSLO.longitude - east)
    world.prove(sign_in(), NOW - HOUR)
    world.prove(sign_in(), NOW - 2 * HOUR, place=there)

    assert seen(world, sign_in())["distance_known_km"] > 900


@pytest.mark.parametrize(
    ("now", "hour", "weekday"),
    [(0.0, 0, 3), (NOW, 12, 2), (NOW + 4.5 * DAY, 0, 0), (NOW + 4.5 * DAY - 1, 23, 6), (NOW + 7 * DAY, 12, 2)],
    ids=["the epoch was a Thursday", "Wednesday noon", "Monday begins", "Sunday ends", "a week later"],
)
def test_hours_and_weekdays_are_those_of_utc(now: float, hour: int, weekday: int) -> None:
    """Days begin at midnight UTC and weeks on Monday."""
    assert rhythm(now) == {"hour": str(hour), "weekday": str(weekday)}


@pytest.mark.parametrize("around", [1, 4, 8])
def test_an_hour_counts_by_its_share_of_the_visits(around: int) -> None:
    """An hour is as usual as the share of the visits within an hour of it; to anybody else it is as likely as in the
    domain, which is drawn towards an even day as if 24 sign-ins had had it. Weekdays are even for anybody else."""
    visits, world = 8, World()
    for number in range(visits):
        world.prove(sign_in(), NOW - number % 2 * HOUR - (0 if number < around else 8 * HOUR))
    found, anybody = seen(world, sign_in()), (around + 3) / (visits + 24)

    assert found["hour_llr"] == pytest.approx(math.log(anybody / ((around + anybody) / (visits + 1))))
    assert found["weekday_llr"] == pytest.approx(math.log(1 / 7 / ((visits + 1 / 7) / (visits + 1))))


def test_a_common_hour_says_less_for_the_owner() -> None:
    """The owner's usual hour counts more in their favour if few others sign in at that hour."""
    alike, apart = settled(), settled()
    for number in range(60):
        alike.prove(sign_in(subject=f"{number}"), NOW - DAY)
        apart.prove(sign_in(subject=f"{number}"), NOW - DAY - 12 * HOUR)

    assert seen(apart, sign_in())["hour_llr"] < seen(alike, sign_in())["hour_llr"] - 1 < 0


def test_the_first_hour_and_weekday_are_the_owners() -> None:
    """The first login after a registration is at no unusual time; one pass at night makes no night usual."""
    began = World()
    began.prove(sign_in(), NOW - HOUR)
    found = seen(began, sign_in())
    assert found["hour_llr"] < 0
    assert found["weekday_llr"] < 0

    passed = settled(until=NOW - 2 * DAY)
    passed.prove(sign_in(), NOW - 12 * HOUR)
    assert seen(passed, sign_in(), NOW + 12 * HOUR)["hour_llr"] > 0


@pytest.mark.parametrize(("weeks", "new"), [(24, 0), (25, 1)])
def test_the_first_device_is_known_while_the_beginning_is_remembered(weeks: int, new: int) -> None:
    """A device used once in the account's first week is known until that week is forgotten; then it counts as new."""
    world = World()
    world.prove(sign_in(device=THIEF), NOW - weeks * WEEK)
    for week in range(weeks):
        world.prove(sign_in(), NOW - week * WEEK)

    assert seen(world, sign_in(device=THIEF))["new_device"] == new


def test_after_one_pass_only_device_features_are_milder() -> None:
    """After one pass, the device and browser features of a new phone count less; its language, timezone, screen and
    address do not."""
    before, after = settled(crowd()), settled(crowd())
    thief = sign_in("203.0.113.9", device=replace(THIEF, screen="1x1", user_agent="Mozilla/5.0 (other)"))
    after.prove(thief, NOW - HOUR, agent=PHONE, **AWAY)
    first, second = (seen(world, thief, agent=PHONE, **AWAY) for world in (before, after))

    told = {name: second[name] / first[name] for name in NAMES if name.endswith("_llr") and first[name] > 1}
    said = ("agent", "device", "fingerprint", "language", "timezone", "screen", "address")
    assert told.keys() >= {f"{name}_llr" for name in said}
    assert {name for name, share in told.items() if share < 0.8} == {"agent_llr", "device_llr", "fingerprint_llr"}


def test_unknown_levels_leave_their_weight_to_the_others() -> None:
    """Without operator and country, address and network have the whole weight, in the same proportion."""
    gone: dict[str, Any] = {"place": Missing("place", "not_found"), "route": Missing("route", "not_installed")}
    visits, world = 8, World()
    for day in range(visits):
        world.prove(sign_in(), NOW - day * HOUR)
    found = seen(world, sign_in(), **gone)

    levels = (float(visits),) * 2
    expected = log_likelihood_ratio(levels, visits, levels, visits, (2 / 3, 1 / 3))
    assert found["address_llr"] == pytest.approx(expected)


def test_typing_is_no_faster_than_a_millisecond() -> None:
    """Each interval below a millisecond counts as one; the deviation is capped at ten."""
    world = settled()
    found = [seen(world, typed(*intervals))["typing_deviation"] for intervals in ([0.0] * 6, [1.0] * 6)]
    assert found == [10, 10]
    mixed, whole = (seen(world, typed(*[112.0] * 11, last))["typing_deviation"] for last in (0.0, 1.0))
    assert 0 < mixed == whole < 10


@pytest.mark.parametrize(("times", "spread"), [(3, 0.0), (8, 0.0), (8, 0.2), (200, 0.2)])
def test_a_deviation_is_measured_in_the_spread_to_be_expected(times: int, spread: float) -> None:
    """The spread of the next rhythm is that of the taught ones, drawn towards a quarter as if five sign-ins had had it,
    and wider the fewer there were."""
    world = World()
    for number in range(times):
        counts = learned_rhythm(5.0 + spread * (-1) ** number)
        world.apply(Delta(b"alex:subject" + PROFILE, NOW - HOUR, NOW + WEEK, counts))

    n = times
    expected = math.sqrt((n * spread**2 + 5 * 0.25**2) / (n + 5) * (1 + 1 / n))
    found = seen(world, typed(*[math.exp(5.5)] * 6))["typing_deviation"]
    assert found == pytest.approx(0.5 / expected, rel=0.01)


def test_a_lesson_moves_a_rhythm_by_two_deviations_at_most() -> None:
    """A lesson from unusual typing is clipped at two deviations in either direction; usual typing is learned as it
    is."""
    world = settled()

    def taught(interval: float) -> float:
        attempt = typed(*[interval] * 12)
        context = world.context(attempt)
        return learn.lesson(attempt, context, keys_of(attempt, context.values)).typing[0] / TYPING_SCALE

    own = math.log(112)
    assert taught(112) == pytest.approx(own, abs=0.01)
    slower, slowest, faster, fastest = (taught(interval) for interval in (5_000, 60_000, 5, 1))
    assert own < slower == slowest < math.log(5_000)
    assert math.log(5) < faster == fastest < own
    assert slower - own == pytest.approx(own - faster, abs=0.05)


@pytest.mark.parametrize(("with_it", "rarity"), [(0, math.log(101)), (9, math.log(10.1)), (100, 0)])
def test_rarity_is_the_surprise_of_a_value(with_it: int, rarity: float) -> None:
    """Rarity is ln (n + 1) / (k + 1) if k of n had the value; it is missing if the agent cannot be parsed."""
    world = World()
    for number in range(100):
        route = ELSEWHERE if number < with_it else HOME
        world.prove(sign_in(subject=f"{number}"), NOW - HOUR, route=route)

    found = seen(world, sign_in(), route=ELSEWHERE)
    assert found["asn_rarity"] == pytest.approx(rarity)
    assert math.isnan(seen(world, sign_in(), agent=Missing("agent", "unreadable"))["agent_rarity"])


def test_sharing_of_the_address_takes_precedence_over_the_network() -> None:
    """If the account's address is shared by two and its network by thirty, it counts as shared by two, and there are no
    strangers. From where the account was never used, nothing is shared."""
    world = settled()
    for key, accounts in ((b"address:192.0.2.10", 2), (b"network:192.0.2", 30)):
        owners = tuple(("owner", slot) for slot in SLOTS[:accounts])
        world.apply(Delta(key + PROFILE, NOW - DAY, NOW + WEEK, (("sign_in", "", 1),), (), owners))
    found = seen(world, sign_in())

    assert found["shared_accounts"] == found["address_accounts"] < found["network_accounts"]
    assert found["address_strangers_24h"] == found["network_strangers_24h"] == 0
    assert seen(world, sign_in("203.0.113.9"))["shared_accounts"] == 0
