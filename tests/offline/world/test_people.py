"""People live as the assumptions say, and machines run on their schedules."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from functools import cache
from itertools import pairwise
from random import Random
from typing import Final

import pytest
from msgspec.structs import replace

from riskd.core.history import DAY
from riskd.offline.world.assumptions import DEFAULTS
from riskd.offline.world.devices import platform
from riskd.offline.world.machines import DEPLOYED_DAYS, Job, next_run, node
from riskd.offline.world.people import EGRESSES, HOUSE, ISSUERS, OFFICES, YEAR, Person, Town, Trip
from riskd.offline.world.tables import HOURS, WEEKDAYS
from riskd.offline.world.visits import Ask
from riskd.offline.world.world import START, OpenDoor, Settings
from tests.offline.world.small import KINDS, LIVELY, POOLS, assumed, world

DAYS: Final = 300
WORLD: Final = world(users=1, days=DAYS, seed=4)
TOWN: Final = WORLD.town
TIME: Final = START + 40 * DAY
MANY: Final = 600


@cache
def people(domain: str) -> list[Person]:
    return [TOWN.person(index, domain) for index in range(MANY)]


def near(share: float, wanted: float, of: int = MANY) -> bool:
    """Within four standard errors."""
    return abs(share - wanted) < 4 * math.sqrt(max(wanted * (1 - wanted), 0.01) / of)


def test_shares_of_people_are_as_assumed() -> None:
    """Newcomers, VPNs, relays, password managers, withheld consent, assistive technology, devices of one's own."""
    values = DEFAULTS
    for domain, name, holds in (
        ("customer", "newcomers", lambda one: one.joined > START),
        ("customer", "vpn_users", lambda one: one.vpn),
        ("customer", "relay_users", lambda one: one.relay),
        ("workforce", "manager", lambda one: one.manager),
        ("workforce", "withholds", lambda one: one.consent is not None),
        ("workforce", "assistive", lambda one: one.assistive),
        ("customer", "computer", lambda one: "desktop" in one.slots),
        ("customer", "tablet", lambda one: "tablet" in one.slots),
    ):
        held = [bool(holds(one)) for one in people(domain) if not one.common]
        assert near(sum(held) / len(held), values[name], len(held)), name
    assert all(START <= one.joined <= START + DAYS * DAY for one in people("customer"))
    assert all(one.life.registered == (one.joined == START) for one in people("customer"))
    assert {one.consent for one in people("workforce")} == {None, ("security",), ("security", "device", "location")}
    withheld = Counter(one.consent for one in people("workforce") if one.consent)
    assert min(withheld.values()) > 0.25 * withheld.total()


def test_staff_have_offices_issuers_and_no_private_networks() -> None:
    """Staff mostly live where the company is, sign in through an issuer and have neither VPN, relay nor late start."""
    assert near(sum(one.country == "NO" for one in people("workforce")) / MANY, 0.9 + 0.1 * 0.73)
    assert {one.issuer for one in people("workforce")} == set(ISSUERS)
    assert near(sum(one.issuer == ISSUERS[1] for one in people("workforce")) / MANY, 0.1)
    assert {one.office for one in people("workforce")} == set(range(OFFICES))
    assert not any(one.vpn or one.relay or one.joined > START for one in people("workforce"))
    assert not any(one.issuer for one in people("customer"))
    assert near(sum(one.slots == ("desktop", "mobile") for one in people("workforce")) / MANY, 0.4)
    assert {one.rate for one in people("workforce")} == {DEFAULTS["staff_visits"]}


def test_people_visit_at_very_different_rates() -> None:
    """The median and the ninth decile of customers are as assumed, and nobody comes more than eight times a day."""
    rates = sorted(one.rate for one in people("customer"))
    assert rates[MANY // 2] == pytest.approx(LIVELY["visits_median"] / YEAR, rel=0.2)
    assert rates[int(0.9 * MANY)] / rates[MANY // 2] == pytest.approx(4.5, rel=0.25)
    assert rates[-1] <= 8.0


def test_customers_with_one_visit_a_year_come_as_those_of_the_dataset() -> None:
    """In thirteen months two in five of those who come do so once, half at most twice, one in ten nine times."""
    town = assumed({**DEFAULTS, "visits_median": 1.0}, Settings(users=1, days=392, seed=4)).town
    counts = sorted(count for index in range(3000) if (count := len(visits(town.person(index, "customer"), 392, town))))
    assert counts.count(1) / len(counts) == pytest.approx(0.397, abs=0.06)
    assert counts[len(counts) // 2] == 2
    assert 7 <= counts[int(0.9 * len(counts))] <= 10
    assert 22 <= counts[int(0.99 * len(counts))] <= 34


def test_some_customers_share_a_home() -> None:
    """With up to three others, as often as assumed: then country and line are the same at any time. All others, staff
    too, have a line of their own."""
    homes: dict[int, list[Person]] = defaultdict(list)
    for one in people("customer"):
        homes[one.line].append(one)
    share = DEFAULTS["together"]
    shared = [home for home in homes.values() if len(home) > 1]
    assert near(sum(map(len, shared)) / MANY, share * (1 - (1 - share) ** 3))
    assert max(map(len, shared)) == HOUSE
    for day in range(0, 100, 10):
        for home in shared:
            assert len({TOWN.home(one, TIME + day * DAY) for one in home}) == 1
            assert len({(one.country, one.home, one.asn) for one in home}) == 1
    assert len({one.line for one in people("workforce")}) == MANY


def test_some_homes_share_a_device() -> None:
    """In as many homes as assumed, all use one computer or tablet; every other device has one user."""
    homes: dict[int, set[str]] = defaultdict(set)
    users: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for one in people("customer"):
        homes[one.line].add(one.common)
        for slot, category in enumerate(one.slots):
            users[TOWN.machine(one, slot, TIME).key].append((category if category == one.common else "", one.line))
    assert all(len(each) == 1 for each in homes.values())
    shared = {key[0][1] for key in users.values() if len(key) > 1}
    together = [line for line, count in Counter(one.line for one in people("customer")).items() if count > 1]
    assert near(len(shared) / len(together), DEFAULTS["common"], len(together))
    assert {each for key in users.values() if len(key) > 1 for each, _ in key} == {"desktop", "tablet"}
    assert all(len({line for _, line in key}) == 1 for key in users.values())


def test_staff_live_near_their_office_or_in_another_country() -> None:
    """In its city or the next one; those abroad never come from it."""
    for one in people("workforce"):
        office = POOLS.spots[TOWN.office(one.office, 0) & ~255]
        if one.country == office.country:
            assert one.home.city == office.city
        else:
            assert "office" not in links(one, "desktop", 20)


def test_travellers_keep_the_hours_of_where_they_are() -> None:
    """Whoever is far in the east for long comes in the daytime there."""
    east = replace(people("customer")[0].home, longitude=170.0)
    for trips in ((), (Trip(START, START + 1500 * DAY, east, 0, 0),)):
        person = replace(people("customer")[0], home=replace(east, longitude=0.0), trips=trips, rate=0.5)
        at = 170.0 if trips else 0.0
        hours = [(time / 3600 + at / 15) % 24 for time in visits(person, 1500)]
        assert sum(hour < 5 for hour in hours) / len(hours) < 0.06


def visits(person: Person, days: int, town: Town = TOWN) -> list[float]:
    """The times of the person's visits."""
    times, time = [], START
    person.life.visits = 0
    while (time := town.next_visit(person, time)) < START + days * DAY:
        person.life.visits += 1
        times.append(time)
    return times


def test_people_visit_as_often_as_their_rate_says() -> None:
    """Staff on working days, and customers, who come a little less at weekends."""
    norway = replace(people("workforce")[0].home, longitude=10.0)
    staff = [len(visits(replace(one, home=norway), 280)) / 200 for one in people("workforce")[:20]]
    assert sum(staff) / 20 == pytest.approx(DEFAULTS["staff_visits"], rel=0.1)
    customers = [len(visits(replace(one, rate=0.3), 280)) / 280 for one in people("customer")[:40]]
    assert sum(customers) / 40 == pytest.approx(0.3 * 0.93, rel=0.1)


def test_visits_fall_in_the_day_of_the_person_and_not_of_the_clock() -> None:
    """Wherever people live, they come in their own daytime, near two favourite hours, and apart from each other."""
    for longitude in (-120.0, 0.0, 150.0):
        home = replace(people("customer")[0].home, longitude=longitude)
        person = replace(people("customer")[0], home=home, favourites=(10.0, 20.0), rate=0.5)
        times = visits(person, 1500)
        hours = [(time / 3600 + longitude / 15) % 24 for time in times]
        close = sum(min(abs(hour - 10), abs(hour - 20)) < 1.5 for hour in hours) / len(hours)
        assert 0.6 < close < 0.8
        assert sum(hour < 5 for hour in hours) / len(hours) < 0.06
        assert min(later - earlier for earlier, later in pairwise(times)) >= 600


def test_staff_rest_at_weekends_and_customers_slow_down() -> None:
    """One in twenty visits of staff that would fall on a weekend does; customers come as the public dataset has it."""
    times = [time for person in people("workforce")[:60] for time in visits(person, 140)]
    days = Counter(int(time // DAY + 3) % 7 for time in times)
    assert 0.005 < (days[5] + days[6]) / len(times) < 0.06
    assert min(days[day] for day in range(5)) > 0.8 * max(days.values())
    times = [time for index in range(20) for time in visits(replace(people("customer")[index], rate=2.0), 140)]
    days = Counter(int(time // DAY + 3) % 7 for time in times)
    for day, share in enumerate(WEEKDAYS):
        assert days[day] / len(times) == pytest.approx(share, abs=0.02)


def test_favourite_hours_are_those_of_the_dataset() -> None:
    """Customers have favourite hours by the table of hours, staff at the beginning of the day and after noon."""
    told = [hour for index in range(5000) for hour in TOWN.person(index, "customer").favourites]
    hours = Counter(map(int, told))
    for hour, share in enumerate(HOURS):
        assert hours[hour] / len(told) == pytest.approx(share, abs=0.01)
    begin, after = zip(*[one.favourites for one in people("workforce")], strict=True)
    assert sum(begin) / MANY == pytest.approx(8.3, abs=0.1)
    assert sum(after) / MANY == pytest.approx(13.2, abs=0.15)


def test_three_in_five_vpns_come_out_at_home() -> None:
    """The others anywhere, each customer's always in the same country."""
    told = [one for index in range(6000) if (one := TOWN.person(index, "customer")).vpn]
    assert near(sum(one.vpn == one.country for one in told) / len(told), 0.6 + 0.4 / 18, len(told))
    assert len({one.vpn for one in told}) > 10


def test_trips_are_as_frequent_and_as_long_as_assumed() -> None:
    """Per 90 days; of those days that people are away, as many abroad as assumed; a trip never overlaps the next."""
    trips = [(one, trip) for one in people("customer") for trip in one.trips]
    at_home = DAYS - sum(trip.end - trip.start for _, trip in trips) / DAY / MANY
    assert len(trips) / MANY / at_home * 90 == pytest.approx(DEFAULTS["trips"], rel=0.12)
    assert sum(trip.end - trip.start for _, trip in trips) / len(trips) / DAY == pytest.approx(5.5, rel=0.12)
    assert near(
        sum(trip.spot.country != one.country for one, trip in trips) / len(trips), DEFAULTS["abroad"], len(trips)
    )
    for one in people("customer"):
        assert all(before.end <= after.start for before, after in pairwise(one.trips))
        assert all(START < trip.start < START + DAYS * DAY for trip in one.trips)


def links(person: Person, category: str, count: int = MANY) -> Counter[str]:
    return Counter(TOWN.link(Random(seed), person, TIME, category).kind for seed in range(count))


def still(person: Person, **changes: object) -> Person:
    """Somebody without trips, VPN or relay."""
    return replace(person, **{"trips": (), "vpn": "", "relay": False, **changes})


def test_how_customers_are_connected() -> None:
    """A telephone comes through its carrier as often as assumed, a VPN or a relay is on as often, and the rest is home;
    on a trip it is another line."""
    one, mobile, vpn = still(people("customer")[3]), DEFAULTS["mobile_share"], DEFAULTS["vpn_on"]
    assert links(one, "desktop") == {"home": MANY}
    assert near(links(one, "mobile")["mobile"] / MANY, mobile)
    assert near(links(replace(one, vpn="NO"), "desktop")["vpn"] / MANY, vpn)
    assert links(replace(one, relay=True), "desktop") == {"relay": MANY}
    away = Trip(TIME - DAY, TIME + DAY, POOLS.spots[one.block], one.asn, one.mobile)
    told = links(replace(one, trips=(away,)), "mobile")
    assert told.keys() == {"away", "roaming"}
    assert near(told["roaming"] / MANY, mobile)
    for trip in (Trip(TIME + 1, TIME + DAY, away.spot, 0, 0), Trip(TIME - DAY, TIME, away.spot, 0, 0)):
        assert links(replace(one, trips=(trip,)), "desktop", 50) == {"home": 50}


def test_how_staff_are_connected() -> None:
    """From the office, through the company's VPN or from home, as often as assumed; on a trip never from the office."""
    one = still(people("workforce")[3])
    told = links(one, "desktop")
    assert near(told["office"] / MANY, DEFAULTS["office_share"])
    assert near(told["egress"] / MANY, (1 - DEFAULTS["office_share"]) * DEFAULTS["egress_share"])
    away = Trip(TIME - DAY, TIME + DAY, POOLS.spots[one.block], one.asn, one.mobile)
    assert "office" not in links(replace(one, trips=(away,)), "desktop")


def test_offices_have_two_addresses_and_the_company_three() -> None:
    """All staff of an office share two, and all staff outside share those of the company's VPN."""
    for one in (still(people("workforce")[3]), still(people("workforce")[4])):
        told = [TOWN.link(Random(seed), one, TIME, "desktop") for seed in range(MANY)]
        assert {link.address for link in told if link.kind == "office"} == {
            TOWN.office(one.office, at) for at in (0, 1)
        }
        assert {link.address for link in told if link.kind == "egress"} == {TOWN.egress(at) for at in range(EGRESSES)}
    assert len({TOWN.office(office, at) for office in range(OFFICES) for at in (0, 1)}) == 2 * OFFICES
    assert len({TOWN.egress(at) for at in range(EGRESSES)}) == EGRESSES


def test_a_home_keeps_its_address_for_as_long_as_assumed() -> None:
    """A home changes its address every so many days, in its own network as often as assumed, and never its city."""
    kept = []
    for person in people("customer")[:150]:
        homes = [TOWN.home(person, START + day * DAY) for day in range(210)]
        changes = sum(before != after for before, after in pairwise(homes))
        assert 8 <= changes <= 10
        leases = list(dict.fromkeys(homes))
        kept += [lease & ~255 == person.block for lease in leases]
        assert {POOLS.spots[lease & ~255].city for lease in leases} == {person.home.city}
        assert {POOLS.owner(lease & ~255)[0] for lease in leases} == {person.asn}
    assert near(sum(kept) / len(kept), DEFAULTS["same_network"] + (1 - DEFAULTS["same_network"]) / 16, len(kept))


def test_a_subscriber_gets_few_of_the_carriers_addresses() -> None:
    """As many gateways as assumed, all of the carrier, and others for other subscribers."""
    pools = []
    for person in people("customer")[:40]:
        told = {TOWN.gateway(person, person.home, person.mobile, draw / 100) for draw in range(100)}
        assert len(told) <= DEFAULTS["gateways"]
        assert told <= set(POOLS.gateways(person.country, person.mobile))
        pools.append(frozenset(told))
    assert max(map(len, pools)) == DEFAULTS["gateways"]
    assert len(set(pools)) > 20


def test_a_vpn_has_one_exit_a_day() -> None:
    """In the country that was chosen, as long as there is one."""
    one = still(people("customer")[3], vpn="US")
    for day in range(5):
        told = [TOWN.link(Random(seed), one, TIME + day * DAY + seed * 60, "desktop") for seed in range(40)]
        exits = {link.address for link in told if link.kind == "vpn"}
        assert len(exits) == 1
        asn, spot = POOLS.owner(exits.pop() & ~255)
        assert (KINDS[asn], spot.country) == ("vpn", "US")


def test_detours_and_distance_take_time() -> None:
    """A carrier, an exit and another country are slower than a line at home."""

    def median(kind: str, country: str) -> float:
        spot = next(spot for spot in POOLS.spots.values() if spot.country == country)
        block = next(block for block, found in POOLS.spots.items() if found is spot)
        return sorted(TOWN.linked(Random(seed), kind, block + 1, spot).rtt_ms for seed in range(401))[200]

    for kind, wanted in (("home", 9), ("mobile", 39), ("roaming", 69), ("vpn", 24), ("relay", 19), ("egress", 21)):
        assert median(kind, "NO") == pytest.approx(wanted, rel=0.1)
        assert median(kind, "US") == pytest.approx(wanted + 90, rel=0.1)


def test_the_first_device_is_used_most() -> None:
    """Three in five visits are on the first, the others share the rest."""
    one = replace(people("customer")[0], slots=("mobile", "desktop", "tablet"))
    told = Counter(TOWN.slot(Random(seed), one) for seed in range(MANY))
    assert near(told[0] / MANY, 0.6)
    assert near(told[1] / MANY, 0.2)
    assert links(one, "desktop").total() == MANY
    assert {TOWN.slot(Random(seed), replace(one, slots=("mobile",))) for seed in range(20)} == {0}


def test_a_device_is_replaced_at_the_end_of_its_life() -> None:
    """After so many days, and never before; the new one is another, used from then on."""
    town = assumed({**DEFAULTS, "device_days": 100.0}, Settings(users=1, days=DAYS, seed=4)).town
    for person in [town.person(index, "customer") for index in range(20)]:
        told = [town.machine(person, 0, START + day * DAY) for day in range(300)]
        born = list(dict.fromkeys(machine.born for machine in told))
        assert 3 <= len(born) <= 4
        assert all(after - before == pytest.approx(100 * DAY) for before, after in pairwise(born))
        assert len({machine.key for machine in told}) == len(born)
        assert all(machine.born <= START + day * DAY for day, machine in enumerate(told))
        assert {machine.category for machine in told} == {person.slots[0]}


def test_what_a_device_shows_of_itself() -> None:
    """A new version every four weeks, a new identifier when cookies are cleared and none in private, another screen on
    some days, and the languages of its owner or English."""
    shop = TOWN.shop
    seen: Counter[str] = Counter()
    for key in range(200):
        machine = shop.machine(key, "desktop", START)
        told = [
            shop.seen(machine, ("nb-NO", "nb"), "Europe/Oslo", START + day * DAY, private=False) for day in range(200)
        ]
        seen["identifiers"] += len({one.device_id for one in told})
        seen["versions"] += len({one.user_agent for one in told}) if "Chrome/" in told[0].user_agent else 0
        seen["chrome"] += "Chrome/" in told[0].user_agent
        seen["docks"] += bool(machine.docked)
        seen["docked"] += sum(one.screen != machine.model.screen for one in told)
        seen["other"] += 200 * (machine.docked not in ("", machine.model.screen))
        seen["english"] += told[0].languages == ("en-US", "en")
        assert {one.screen for one in told} <= {machine.model.screen, machine.docked}
        assert {one.timezone for one in told} == {"Europe/Oslo"}
        assert {one.attestation for one in told} == {""}
        assert shop.seen(machine, ("nb-NO",), "Europe/Oslo", START, private=True).device_id == ""
        assert bool(told[0].platform) == (told[0].mobile is not None) == ("Chrome/" in told[0].user_agent)
    assert seen["identifiers"] / 200 == pytest.approx(1 + 200 / DEFAULTS["cookie_days"], rel=0.1)
    assert seen["versions"] / seen["chrome"] == pytest.approx(1 + 200 / DEFAULTS["browser_days"], rel=0.05)
    assert near(seen["docks"] / 200, DEFAULTS["docks"], 200)
    assert seen["docked"] / seen["other"] == pytest.approx(DEFAULTS["docked"], rel=0.1)
    assert near(seen["english"] / 200, DEFAULTS["english"], 200)
    apps = [bool(shop.machine(key, "mobile", START).app) for key in range(MANY)]
    assert near(sum(apps) / MANY, DEFAULTS["sends_attestation"])


def test_telephones_are_iphones_as_often_as_assumed() -> None:
    """Whatever the weights of the list say; computers and tablets are as listed."""
    models = [TOWN.shop.machine(key, "mobile", START).model.user_agent for key in range(MANY)]
    assert near(sum("iPhone" in agent for agent in models) / MANY, DEFAULTS["iphones"])


def test_a_fingerprint_changes_by_itself_alone() -> None:
    """After as many days as assumed, on average; neither an update, another screen nor a journey changes it."""
    shop, seen, wanted = TOWN.shop, 0, 0
    for key in range(300):
        machine = shop.machine(key, "desktop", START)
        told = [
            shop.seen(machine, ("nb-NO", "nb"), timezone, START + day * DAY, private=False)
            for day, timezone in zip(range(0, 200, 2), ("Europe/Oslo", "Asia/Tokyo") * 50, strict=True)
        ]
        seen += len({one.fingerprint for one in told})
        wanted += len({int((START + day * DAY) / machine.kept + key % 1000 / 1000) for day in range(0, 200, 2)})
    assert seen == pytest.approx(wanted, rel=0.01)
    kept = [shop.machine(key, "desktop", START).kept / DAY for key in range(3000)]
    assert sum(kept) / 3000 == pytest.approx(DEFAULTS["fingerprint_days"], rel=0.08)


@pytest.mark.parametrize(
    ("agent", "named"),
    [
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/148", "Windows"),
        ("Mozilla/5.0 (Linux; Android 10; K) Chrome/148 Mobile", "Android"),
        ("Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) Chrome/148", "Chrome OS"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Chrome/148", "macOS"),
        ("Mozilla/5.0 (X11; Linux x86_64) Chrome/148", "Linux"),
        ("curl/8.9.1", ""),
    ],
)
def test_a_hint_names_the_platform_of_the_agent(agent: str, named: str) -> None:
    """The client hint is that of the operating system in the user agent."""
    assert platform(agent) == named


def test_machines_run_on_their_schedule() -> None:
    """Every so many hours, a little late, and never early."""
    for person in people("machine")[:60]:
        times, time = [], START
        for person.life.visits in range(40):
            time = next_run(TOWN, person, time)
            times.append(time)
        gaps = [later - earlier for earlier, later in pairwise(times)]
        period = min((4, 6, 12, 24, 168), key=lambda hours: abs(hours * 3600 - sorted(gaps)[20])) * 3600
        assert all(abs(gap - period) < 300 for gap in gaps)
        late = [(time - person.phase * period) % period for time in times]
        assert 5 < sum(late) / len(late) < 60


def test_a_machine_stays_in_its_cloud_and_moves_with_deployments() -> None:
    """At most three nodes at a time, in one city of one operator of servers; other nodes after a deployment."""
    for person in people("machine")[:60]:
        told = [node(Random(seed), TOWN, person, TIME) for seed in range(30)]
        assert len({hand.device.device_id for hand in told}) <= 3
        assert len({(hand.device.device_id, hand.link.address) for hand in told}) <= 3
        homes = {(asn, spot.city) for hand in told for asn, spot in [POOLS.owner(hand.link.address & ~255)]}
        assert len(homes) == 1
        assert KINDS[homes.pop()[0]] == "hosting"
        later = [node(Random(seed), TOWN, person, TIME + DEPLOYED_DAYS * DAY) for seed in range(30)]
        assert not {hand.device.device_id for hand in told} & {hand.device.device_id for hand in later}
        assert len({hand.device.user_agent.partition("/")[0] for hand in told + later}) == 1
    attested = [node(Random(0), TOWN, person, TIME).device.attestation for person in people("machine")[:60]]
    assert near(attested.count("hardware") / 60, 0.5, 60)


def test_a_job_signs_in_works_and_ends() -> None:
    """One in a hundred fails first; in the session one in seven looks again, and a few change or pay."""
    told: Counter[str] = Counter()
    powers = WORLD._powers(people("machine")[0])
    for seed in range(2000):
        person = people("machine")[seed % 60]
        random = Random(seed)
        job = Job(random, person, node(random, TOWN, person, TIME), powers, DEFAULTS).run(TIME)
        answer, times, begun = None, [], False
        try:
            while True:
                move = job.send(answer)
                answer = OpenDoor().assess(move.attempt, move.time) if isinstance(move, Ask) else None
                times.append(move.time)
                if isinstance(move, Ask):
                    one = move.attempt
                    told[f"{one.journey} {one.credential_result}"] += 1
                    assert (one.session is not None) == (one.journey != "login")
                    assert begun or one.journey == "login"
                    begun |= one.credential_result == "succeeded"
        except StopIteration:
            pass
        assert times == sorted(times)
        assert times[-1] - TIME < 4000
    assert told["login succeeded"] == 2000
    for kind, share in (("login failed", 0.01), ("session", 0.15), ("profile_update", 0.01), ("payment", powers.pays)):
        count = sum(number for name, number in told.items() if name.startswith(kind))
        assert near(count / 2000, share, 2000), kind
