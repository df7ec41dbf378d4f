from __future__ import annotations

import itertools
import math
from typing import Any, Final

import pytest
from msgspec.structs import replace

from riskd.core.attempt import Attempt, Behaviour, Device, Federation, Network, Outside, ReportedPlace, Session
from riskd.core.context import Agent, Missing, Route
from riskd.core.features import NAMES, vector
from riskd.core.features.consistency import KM_PER_MS
from riskd.core.features.federation import strength
from riskd.core.features.geodesy import distance_km
from riskd.core.features.sequence import LONG_AGO_H
from riskd.core.history import DAY, HOUR, WEEK, cardinality
from riskd.core.learn import unmet_delta
from tests.core.builders import (
    BERGEN,
    ELSEWHERE,
    HOME,
    LAPTOP,
    NOW,
    OSLO,
    SYDNEY,
    World,
    crowd,
    keys_of,
    settled,
    sign_in,
)

THIEF = replace(LAPTOP, device_id="thief", fingerprint="f-thief", timezone="Australia/Sydney", languages=("en-AU",))
AWAY: dict[str, Any] = {"place": SYDNEY, "route": ELSEWHERE, "device_offset_min": 600}


def seen(world: World, attempt: Attempt, now: float = NOW, **facts: Any) -> dict[str, float]:  # noqa: ANN401
    """The features of an attempt in a world, by name; `facts` as for `World.context`."""
    return dict(zip(NAMES, vector(attempt, world.context(attempt, now, **facts)), strict=True))


def stolen(address: str = "203.0.113.9", **changes: Any) -> Attempt:  # noqa: ANN401
    return sign_in(address, **({"device": THIEF} | changes))


def test_home_is_familiar_after_two_weeks() -> None:
    """After two weeks of ordinary use, home, laptop and settings are familiar."""
    found = seen(settled(crowd(), weeks=2), sign_in())

    for name in ("address_llr", "agent_llr", "device_llr", "fingerprint_llr", "timezone_llr", "hour_llr"):
        assert found[name] < 0
    assert [name for name in NAMES if name.startswith("new_") and found[name] != 0] == []


def test_takeover_stands_out() -> None:
    """An attempt from elsewhere on another device is unfamiliar, new and far in everything that the thief could not
    copy."""
    found = seen(settled(crowd()), stolen(), **AWAY)

    for name in ("address_llr", "device_llr", "fingerprint_llr", "timezone_llr", "country_rarity", "asn_rarity"):
        assert found[name] > 2
    assert [name for name in NAMES if name.startswith("new_") and found[name] == 1] == [
        "new_country",
        "new_asn",
        "new_network",
        "new_device",
    ]
    assert found["distance_known_km"] > 15_000


def test_surprise_grows_with_history() -> None:
    """The longer the history, the more an unknown device counts."""
    world, surprises = crowd(), []
    for _ in range(4):
        settled(world, weeks=2)
        surprises.append(seen(world, stolen(), **AWAY)["device_llr"])

    assert surprises == sorted(set(surprises))


def test_new_address_in_a_known_network_is_half_known() -> None:
    """A new address of the same operator ranks between home and abroad; one in the same /24 ranks nearer home."""
    world = settled(crowd())
    llrs = [
        seen(world, sign_in(), place=OSLO)["address_llr"],
        seen(world, sign_in("192.0.2.77"), place=OSLO)["address_llr"],
        seen(world, sign_in("192.0.7.77"), place=OSLO)["address_llr"],
        seen(world, sign_in("203.0.113.9"), **AWAY)["address_llr"],
    ]

    assert llrs == sorted(set(llrs))


def test_familiarity_fades() -> None:
    """The longer a device goes unused, the less familiar it is; after half a year it is unknown."""
    llrs = []
    for weeks in (0, 8, 16, 27):
        world = settled(crowd(), until=NOW - weeks * WEEK)
        for week in range(weeks):
            world.prove(stolen(), NOW - week * WEEK)
        llrs.append(seen(world, sign_in())["device_llr"])

    assert llrs == sorted(set(llrs))
    assert llrs[0] < 0 < llrs[-1]


def test_first_sign_in_after_registration_is_not_new() -> None:
    """At the first login after the registration nothing is new."""
    world = World()
    world.prove(sign_in(journey="registration"), NOW - HOUR)

    found = seen(world, sign_in())

    assert [name for name in NAMES if name.startswith("new_") and found[name] != 0] == []


def test_one_stolen_pass_does_not_settle_the_thief() -> None:
    """After one pass, the thief's country, network and device stay new, however long ago it was; repeated use settles
    them."""
    world = settled(crowd())
    world.prove(stolen(), NOW - HOUR, **AWAY)
    after_one_pass = seen(world, stolen(), NOW + 3 * WEEK, **AWAY)
    for week in (1, 2):
        world.prove(stolen(), NOW + week * WEEK, **AWAY)
    after_two_weeks = seen(world, stolen(), NOW + 3 * WEEK, **AWAY)

    for name in ("new_country", "new_asn", "new_network", "new_device"):
        assert after_one_pass[name] == 1
        assert after_two_weeks[name] == 0
    for name in ("address_llr", "device_llr", "fingerprint_llr"):
        assert after_one_pass[name] > 0 > after_two_weeks[name]


def test_an_update_is_not_a_new_browser() -> None:
    """A new version of a settled browser or system is not new; another product is."""
    world = settled()
    updated = seen(world, sign_in(), agent=Agent("Chrome", "154", "Windows", "12", "desktop"))
    other = seen(world, sign_in(), agent=Agent("Firefox", "153", "Linux", "11", "desktop"))

    assert (updated["new_browser"], updated["new_os"]) == (0, 0)
    assert (other["new_browser"], other["new_os"]) == (1, 1)


@pytest.mark.parametrize(
    ("what", "device", "copied", "imitated"),
    [
        ("the owner's device", LAPTOP, 0, 0),
        ("the owner's device with another fingerprint", replace(LAPTOP, fingerprint="f-2"), 1, 0),
        ("a strange device with the owner's cookie", replace(LAPTOP, fingerprint="f-2", screen="390x844"), 2, 0),
        ("the owner's device after its cookies were cleared", replace(LAPTOP, device_id="new"), 0, 0),
        ("an imitation", replace(LAPTOP, device_id="new", fingerprint="f-2"), 0, 3),
        ("an imitation in a private window", replace(LAPTOP, device_id="", fingerprint="f-2"), None, 3),
        (
            "an imitation with another screen",
            replace(LAPTOP, device_id="new", fingerprint="f-2", screen="390x844"),
            0,
            2,
        ),
        ("an imitation without a fingerprint", replace(LAPTOP, device_id="new", fingerprint=""), 0, 3),
        ("the owner's device without a fingerprint", replace(LAPTOP, fingerprint="", screen=""), 0, 0),
        ("a device that sends neither", replace(LAPTOP, device_id="", fingerprint=""), None, None),
    ],
)
def test_known_identifiers_and_known_looks_go_together(
    what: str, device: Device, copied: int | None, imitated: int | None
) -> None:
    """A strange look counts if the device id is known; a known look counts if neither device id nor fingerprint is."""
    found = seen(settled(crowd()), sign_in(device=device))

    for name, expected in (("copied_device", copied), ("imitated_device", imitated)):
        assert math.isnan(found[name]) if expected is None else found[name] == expected, what


def test_another_browser_with_the_owners_cookie_is_a_copy() -> None:
    """Every strange trait counts on a device with a known id, and none on an unknown device."""
    world = settled(crowd())
    agent, device = Agent("Firefox", "153", "Linux", "11", "desktop"), replace(LAPTOP, fingerprint="f-2", screen="1x1")
    copied, other = seen(world, sign_in(device=device), agent=agent), seen(world, stolen(), agent=agent, **AWAY)

    assert (copied["copied_device"], copied["imitated_device"]) == (4, 0)
    assert (other["copied_device"], other["imitated_device"]) == (0, 1)


def test_strong_proof_settles_at_once() -> None:
    """One proof with a hardware key (six units) settles a new phone."""
    world = settled(crowd())
    world.prove(stolen(), NOW - HOUR, units=6, **AWAY)

    assert seen(world, stolen(), **AWAY)["new_device"] == 0


def test_confirmed_fraud_leaves_no_trace() -> None:
    """Taking back a fraud's lesson restores every feature except the number of accounts seen at the address."""
    world = settled(crowd())
    before = seen(world, stolen(), **AWAY)
    world.take_back(world.prove(stolen(), NOW - HOUR, **AWAY))
    after = seen(world, stolen(), **AWAY)

    assert after.pop("address_accounts") == after.pop("network_accounts") == cardinality(1)
    assert before.pop("address_accounts") == before.pop("network_accounts") == 0.0
    assert repr(after) == repr(before)


@pytest.mark.parametrize("anonymizer", ["vpn", "tor", "proxy", "relay", "satellite"])
def test_hidden_places_do_not_move(anonymizer: str) -> None:
    """Behind an anonymiser or a satellite there is no motion, and no gap to the reported place."""
    route = Route(1, anonymizer=anonymizer)
    found = seen(settled(), stolen(), place=SYDNEY, route=route)

    for name in ("speed_kmh", "distance_last_km", "distance_known_km", "reported_gap_km"):
        assert math.isnan(found[name])
    assert found[anonymizer] == 1


def test_places_within_their_uncertainty_are_no_journey() -> None:
    """Two places 300 km apart, each uncertain by 300 km, count as the same place."""
    world = World()
    world.prove(sign_in(), NOW - 60, place=replace(OSLO, radius_km=300.0))

    found = seen(world, sign_in(), place=BERGEN)

    assert (found["speed_kmh"], found["distance_last_km"], found["distance_known_km"]) == (0, 0, 0)


def test_speed_is_distance_over_time() -> None:
    """Oslo to Sydney in a day is a flight, in an hour it is not; less than ten minutes counts as ten minutes."""
    speeds = []
    for seconds in (DAY, HOUR, 600, 1):
        world = World()
        world.prove(sign_in(), NOW - seconds)
        speeds.append(seen(world, stolen(), **AWAY)["speed_kmh"])

    assert speeds[0] < 900
    assert 10_000 < speeds[1] < speeds[2] == pytest.approx(speeds[3])


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        ((0, 0), (0, 180), 20_015),
        ((90, 0), (-90, 0), 20_015),
        ((59.91, 10.75), (60.39, 5.32), 305),
        ((0, 179.9), (0, -179.9), 22),
    ],
)
def test_distance_follows_the_great_circle(
    here: tuple[float, float], there: tuple[float, float], expected: float
) -> None:
    """Distances are right at the poles, between antipodes and across the date line; to nowhere there is none."""
    assert distance_km(*here, *there) == pytest.approx(expected, abs=1)
    assert distance_km(*here, *here) == 0
    for at, nowhere in itertools.product(range(4), (math.nan, math.inf, -math.inf)):
        places: list[float] = [*here, *there]
        places[at] = nowhere
        assert math.isnan(distance_km(*places))


TRIES: Final[tuple[tuple[int, str, dict[str, Any]], ...]] = (
    (5, "failed", {}),
    (30, "failed", {}),
    (30, "succeeded", {}),
    (300, "failed", {}),
    (5, "succeeded", {"subject": "bo", "device": None}),
    (300, "failed", {"subject": "bo", "device": None}),
    (30, "failed", {"subject": "cy", "device": None, "address": "192.0.2.77"}),
    (5, "failed", {"device": None, "address": "203.0.113.9"}),
    (30, "succeeded", {"subject": "dot", "address": "203.0.113.9"}),
)
"""Minutes ago, result of the credential, and what differs from an attempt by alex from home."""


@pytest.mark.parametrize(("known", "share"), [((), 1.0), (("alex", "bo", "cy"), cardinality(3))])
def test_velocity_counts_attempts(known: tuple[str, ...], share: float) -> None:
    """Each entity counts its own attempts, failures and distinct accounts, each in its own window; accounts that are
    known to share an address or a network are no strangers, and share its failures."""
    world = World()
    for subject in known:
        world.prove(sign_in(subject=subject), NOW - WEEK)
    for minutes, result, changes in TRIES:
        route = ELSEWHERE if changes.get("address") == "203.0.113.9" else HOME
        world.try_(sign_in(credential_result=result, **changes), NOW - 60 * minutes, route=route)
    found, quiet = seen(world, sign_in()), seen(world, stolen("198.51.100.1", subject="other", device=None), **AWAY)

    expected = {
        "subject_attempts_10m": 2,
        "subject_attempts_24h": 5,
        "subject_failures_1h": 3,
        "subject_failures_24h": 4,
        "address_attempts_10m": 2,
        "address_attempts_24h": 6,
        "address_failures_1h": 2,
        "address_failure_ratio_24h": 4 / (6 + 4),
        "address_subjects_24h": cardinality(2),
        "network_attempts_1h": 5,
        "network_failures_1h": 3,
        "network_subjects_24h": cardinality(3),
        "asn_failure_ratio_24h": 5 / (7 + 4),
        "device_attempts_1h": 4,
        "device_subjects_24h": cardinality(2),
        "address_strangers_24h": 0 if known else cardinality(2),
        "network_strangers_24h": 0 if known else cardinality(3),
        "address_failures_per_account_1h": 2 / share,
        "network_failures_per_account_1h": 3 / share,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert {quiet[name] for name in expected if not name.startswith(("asn_", "device_"))} == {0.0}
    assert math.isnan(quiet["device_attempts_1h"])
    assert math.isnan(quiet["device_subjects_24h"])


def test_velocity_forgets() -> None:
    """After a day and one period, no attempt is counted."""
    world = World()
    world.try_(stolen(credential_result="failed"), NOW, **AWAY)
    found = seen(world, stolen(), NOW + DAY + 2 * HOUR, **AWAY)

    assert found["subject_failures_24h"] == found["address_subjects_24h"] == found["address_failure_ratio_24h"] == 0


@pytest.mark.parametrize(
    ("minutes", "count"),
    [((), 0), ((59,), 1), ((61, 60), 0), ((61, 59, 1), 2), ((-4, -6), 1), ((50, 40, 30, 20, 10), 4)],
    ids=["none", "within the hour", "older", "some older", "ahead and far ahead", "more than four"],
)
def test_challenges_that_were_not_met_count_for_an_hour(minutes: tuple[int, ...], count: int) -> None:
    """Those of the last hour count, up to four; one that a clock a little ahead noted counts, and one further ahead
    does not. Other accounts are not concerned."""
    world = settled()
    subject = keys_of(sign_in(), {}).subject
    world.apply(*(unmet_delta(subject, NOW - 60 * each, NOW) for each in minutes))

    assert seen(world, sign_in())["subject_unmet_1h"] == count
    assert seen(world, sign_in(subject="other"))["subject_unmet_1h"] == 0


def test_sequence_remembers_sensitive_steps() -> None:
    """After a recovery and a profile update, a payment sees both earlier steps."""
    world = settled()
    assert seen(world, sign_in())["sensitive_kinds_24h"] == 0
    world.try_(sign_in(journey="recovery"), NOW - 3 * HOUR)
    world.try_(sign_in(journey="profile_update"), NOW - 2 * HOUR)
    found = seen(world, sign_in(journey="payment"))

    assert found["sensitive_kinds_24h"] == 3
    assert found["recovery_attempts_24h"] == 1
    assert found["hours_since_profile_update"] == pytest.approx(2)
    assert found["hours_since_recovery"] == found["hours_since_registration"] == LONG_AGO_H


@pytest.mark.parametrize(
    ("minutes", "hours"),
    [(120, 2), (15, 0.25), (-4, 0), (-6, LONG_AGO_H)],
    ids=["hours", "minutes", "ahead", "far ahead"],
)
def test_the_time_since_a_step_is_in_hours(minutes: int, hours: float) -> None:
    """Time since a sensitive step is in hours; a step that a clock a little ahead noted was just now, and one further
    ahead is not counted."""
    world = settled()
    world.try_(sign_in(journey="profile_update"), NOW - 60 * minutes)

    assert seen(world, sign_in())["hours_since_profile_update"] == hours


def test_a_timezone_gap_is_at_most_twelve_hours() -> None:
    """The largest gap is twelve hours; clocks a day apart have no gap."""
    gaps = [
        seen(World(), sign_in(), device_offset_min=120 + shift)["timezone_gap_h"] for shift in (0, 90, -480, 720, 1440)
    ]

    assert gaps == [0, 1.5, 8, 12, 0]


@pytest.mark.parametrize(
    ("languages", "mismatch"),
    [
        (("nb-NO", "en"), 0.0),
        (("en-US", "nb-NO"), 0.0),
        (("zh-Hant-TW",), 1.0),
        (("nn-Latn-NO",), 0.0),
        (("en", "nb"), math.nan),
        (("en-x-no",), math.nan),
    ],
)
def test_language_region_is_compared(languages: tuple[str, ...], mismatch: float) -> None:
    """One language of the country is enough; languages without a region give no value."""
    found = seen(World(), sign_in(device=replace(LAPTOP, languages=languages)))

    assert found["language_mismatch"] == pytest.approx(mismatch, nan_ok=True)


@pytest.mark.parametrize(
    ("platform", "mobile", "agent", "mismatch"),
    [
        ("Windows", False, "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/153", 0.0),
        ("Windows", False, "Mozilla/5.0 (X11; Linux x86_64) Chrome/153", 1.0),
        ("Android", True, "Mozilla/5.0 (Linux; Android 15) Chrome/153 Mobile Safari", 0.0),
        ("Android", False, "Mozilla/5.0 (X11; Linux x86_64) Chrome/153 Safari", 0.0),
        ("Android", True, "Mozilla/5.0 (X11; Linux x86_64) Chrome/153 Safari", 1.0),
        ("iOS", True, "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7) Mobile/15E148", 0.0),
        ("", None, "Mozilla/5.0 (X11; Linux x86_64) Chrome/153", math.nan),
        ("Fuchsia", None, "Mozilla/5.0 (X11; Linux x86_64) Chrome/153", math.nan),
    ],
)
def test_hints_are_compared_with_the_agent(platform: str, mobile: bool | None, agent: str, mismatch: float) -> None:
    """Client hints that contradict the user agent count; unknown platforms and absent hints give no value."""
    device = Device(user_agent=agent, platform=platform, mobile=mobile)

    assert seen(World(), sign_in(device=device))["hints_mismatch"] == pytest.approx(mismatch, nan_ok=True)


def test_reported_place_is_compared_with_the_address() -> None:
    """The gap is the distance beyond both uncertainties, 0 within them."""
    near = sign_in(place=ReportedPlace(latitude=60.2, longitude=10.75, accuracy_m=50.0))
    far = sign_in(place=ReportedPlace(latitude=-33.87, longitude=151.21))

    vague = sign_in(place=ReportedPlace(latitude=-33.87, longitude=151.21, accuracy_m=1_000_000.0))
    gaps = [seen(World(), attempt)["reported_gap_km"] for attempt in (near, far, vague)]
    apart = distance_km(SYDNEY.latitude, SYDNEY.longitude, OSLO.latitude, OSLO.longitude) - OSLO.radius_km
    assert gaps == pytest.approx([0, apart, apart - 1000])


def test_nothing_answers_faster_than_light() -> None:
    """A client said to be in Sydney that answers Oslo in 25 ms is not there; if our own place is unknown, there is no
    value."""
    context = World().context(stolen(), **AWAY)
    told = dict(zip(NAMES, vector(stolen(), replace(context, measured_from=OSLO)), strict=True))
    slow = stolen(network=Network(client_ip="203.0.113.9", rtt_ms=16_000 / KM_PER_MS))

    apart = distance_km(SYDNEY.latitude, SYDNEY.longitude, OSLO.latitude, OSLO.longitude)
    nearest = apart - SYDNEY.radius_km - OSLO.radius_km - 25 * KM_PER_MS
    assert told["rtt_shortfall_km"] == pytest.approx(nearest)
    assert dict(zip(NAMES, vector(slow, replace(context, measured_from=OSLO)), strict=True))["rtt_shortfall_km"] == 0
    assert math.isnan(dict(zip(NAMES, vector(stolen(), context), strict=True))["rtt_shortfall_km"])


def test_forwarded_chain_begins_with_the_client() -> None:
    """Another address at the head of the chain counts as a mismatch; without a chain there is no value."""
    chains = [(), ("192.0.2.10", "10.0.0.1"), ("1.1.1.1", "192.0.2.10")]
    found = [seen(World(), sign_in(network=Network(client_ip="192.0.2.10", forwarded=chain))) for chain in chains]

    assert [each["forwarded_hops"] for each in found] == [0, 2, 2]
    assert [each["forwarded_mismatch"] for each in found] == pytest.approx([math.nan, 0, 1], nan_ok=True)


def test_typing_is_compared_with_the_owner() -> None:
    """The owner's own rhythm is no deviation, one twice as fast is; it takes at least three proven sign-ins."""
    world, hasty = settled(), Behaviour(typing_intervals_ms=(50.0,) * 12)
    deviation = [seen(world, sign_in(behaviour=each))["typing_deviation"] for each in (sign_in().behaviour, hasty)]

    assert deviation[0] < 0.1
    assert 2 < deviation[1] <= 10
    assert math.isnan(seen(settled(weeks=1), sign_in(behaviour=hasty))["typing_deviation"])


def test_pointers_are_expected_on_desktops() -> None:
    """The absence of pointer events counts on a desktop, and not on a phone."""
    still = sign_in(behaviour=Behaviour(pointer_events=0))

    assert seen(World(), still)["pointer_absent"] == 1
    assert math.isnan(seen(World(), still, agent=Agent("Safari", device_class="mobile"))["pointer_absent"])


@pytest.mark.parametrize(
    ("acr", "amr", "expected"),
    [
        ("", (), math.nan),
        ("urn:example:silver", (), math.nan),
        ("phr", (), 3),
        ("", ("user",), 0),
        ("", ("pwd",), 1),
        ("", ("pwd", "pin"), 1),
        ("", ("pwd", "otp"), 2),
        ("", ("pwd", "otp", "face"), 2),
        ("", ("mfa",), 2),
        ("", ("hwk",), 3),
    ],
)
def test_federated_strength_reads_the_methods(acr: str, amr: tuple[str, ...], expected: float) -> None:
    """Methods count as one factor, two factors or phishing-resistant; no methods give no value."""
    assert strength(acr, amr) == pytest.approx(expected, nan_ok=True)


def test_new_issuer_shows() -> None:
    """An issuer that the account never used is new; an issue time ahead of the clock counts as now."""
    other = sign_in(federation=Federation(issuer="https://evil.example", issue_time=NOW + 60))
    found = seen(settled(), other)

    assert (found["new_issuer"], found["assertion_age_min"]) == (1, 0)
    assert seen(settled(), sign_in())["new_issuer"] == 0


@pytest.mark.parametrize(
    ("attempt", "expected"),
    [
        (sign_in(credential_result="failed"), {"credential_failed": 1, "credential_unchecked": 0}),
        (sign_in(device=replace(LAPTOP, attestation="failed")), {"attestation_failed": 1, "attestation_hardware": 0}),
        (sign_in(device=replace(LAPTOP, attestation="software")), {"attestation_failed": 0}),
        (sign_in(outside=Outside(credential_breached=True)), {"credential_breached": 1, "reported_risk": math.nan}),
        (sign_in(outside=Outside(risk_level="high")), {"credential_breached": math.nan, "reported_risk": 2}),
        (sign_in(session=Session(id="s", start_time=NOW - DAY)), {"session_age_h": 24}),
    ],
)
def test_signals_are_passed_on(attempt: Attempt, expected: dict[str, float]) -> None:
    """What the caller states about credential, attestation, session and outside risk becomes a number unchanged."""
    found = seen(World(), attempt)

    assert {name: found[name] for name in expected} == pytest.approx(expected, nan_ok=True)


def test_rarity_needs_a_crowd() -> None:
    """In a domain with few sign-ins nothing is rare; in a larger one unknown values are, common ones are not."""
    assert math.isnan(seen(crowd(people=5), stolen(), **AWAY)["asn_rarity"])
    assert seen(crowd(), stolen(), **AWAY)["asn_rarity"] > 3
    assert seen(crowd(), sign_in(), route=HOME)["asn_rarity"] < 0.1


def test_hosting_shows() -> None:
    """A data centre and an automated agent are flagged as such."""
    found = seen(World(), sign_in(), route=Route(24940, hosting=True), agent=Agent("curl", automated=True))

    assert found["hosting"] == found["automated_agent"] == 1
    assert found["vpn"] == 0


def test_unusual_hour_shows() -> None:
    """For an owner who comes at midday, midnight is unusual, and an hour's difference hardly counts."""
    world = settled(crowd())
    noon, one, midnight = (seen(world, sign_in(), NOW + hours * HOUR)["hour_llr"] for hours in (0, 1, 12))

    assert max(noon, one) < 0
    assert midnight > 1


def test_place_is_compared_without_an_operator() -> None:
    """Without an operator database, address, network and country still distinguish home from abroad."""
    world, gone = settled(crowd()), Missing("route", "not_installed")

    assert (
        seen(world, sign_in(), route=gone)["address_llr"]
        < 0
        < seen(world, stolen(), place=SYDNEY, route=gone)["address_llr"]
    )
