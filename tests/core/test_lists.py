"""Named lists and trusted networks."""

from __future__ import annotations

import math
from ipaddress import ip_address, ip_network
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.core.address import parse
from riskd.core.attempt import Attempt, Device, Federation, Network
from riskd.core.context import Context, Missing, Place, Route
from riskd.core.egress import ADDRESS, disregarded, was_disregarded
from riskd.core.features import NAMES, vector
from riskd.core.lists import KINDS, NamedList, listed, of_networks
from riskd.core.policy import Policy, weigh
from tests.core.builders import HOME, OSLO, settled, sign_in

NOWHERE: Final = Missing("place", "not_found")
LISTS: Final = {
    "office": of_networks([(4, 0xC0000200, 0xC00002FF)]),
    "carriers": NamedList("asns", frozenset({"2119"})),
    "markets": NamedList("countries", frozenset({"NO", "SE"})),
    "partners": NamedList("issuers", frozenset({"https://idp.example"})),
    "stolen": NamedList("device_ids", frozenset({"laptop"})),
}

v4 = st.builds(
    lambda value, length: ip_network((value >> (32 - length) << (32 - length), length)),
    st.integers(0, 2**32 - 1),
    st.integers(1, 32),
)
v6 = st.builds(
    lambda value, length: ip_network((value >> (128 - length) << (128 - length), length)),
    st.integers(2**125, 2**126 - 1),
    st.integers(8, 128),
)


@given(st.lists(v4 | v6, max_size=12), st.data())
def test_a_list_holds_what_one_of_its_networks_holds(networks: list[object], data: st.DataObject) -> None:
    """Membership found by bisection equals checking network by network, at every edge and anywhere."""
    read = [ip_network(str(network)) for network in networks]
    found = of_networks([(each.version, int(each[0]), int(each[-1])) for each in read])
    near = [int(each[at]) + step for each in read for at in (0, -1) for step in (-1, 0, 1)]
    versions = [each.version for each in read for _ in range(6)]
    edges = [
        (version, value) for version, value in zip(versions, near, strict=True) if 0 <= value < 2**32 or version == 6
    ]
    anywhere = (4, data.draw(st.integers(0, 2**32 - 1)))
    for version, value in [*edges, anywhere]:
        text = str(ip_address(value) if version == 4 else ip_network((value, 128))[0])
        address = parse(text)
        assert address is not None
        asked = ip_address(address.value) if address.version == 4 else ip_network((address.value, 128))[0]
        assert found.holds(address) == any(asked in each for each in read if each.version == address.version)


@given(st.lists(v4, max_size=8), v4)
def test_a_range_is_held_wholly_partly_or_not(networks: list[object], asked: object) -> None:
    """For a range, a list answers yes or no only if that is true of every address in it."""
    read, whole = [ip_network(str(network)) for network in networks], ip_network(str(asked))
    found = of_networks([(4, int(each[0]), int(each[-1])) for each in read])
    held = found.holds_all(4, int(whole[0]), int(whole[-1]))
    overlapping = [each for each in read if each.overlaps(whole)]
    if held is None:
        assert overlapping
    elif held:
        assert sum(min(each.num_addresses, whole.num_addresses) for each in overlapping) >= whole.num_addresses
    else:
        assert not overlapping


def seen(attempt: Attempt, place: Place | Missing = OSLO, route: Route | Missing = HOME) -> dict[str, bool]:
    return listed(LISTS, attempt, settled().context(attempt, place=place, route=route))


def test_each_kind_is_looked_up_with_its_own_fact() -> None:
    """An attempt is on a list if its address, operator, country, issuer or device is."""
    assert {each.kind for each in LISTS.values()} == set(KINDS)
    assert seen(sign_in()) == dict.fromkeys(LISTS, True)
    other = sign_in(
        "198.51.100.1", federation=Federation(issuer="https://other.example"), device=Device(device_id="other")
    )
    place, route = Place("DE", 52.5, 13.4, 50.0), Route(64496)
    assert seen(other, place=place, route=route) == dict.fromkeys(LISTS, False)


def test_a_missing_fact_is_neither_on_nor_off_a_list() -> None:
    """A list whose fact is missing has no answer."""
    bare = Attempt(domain="customer", subject="s", journey="login", network=Network(client_ip="192.0.2.1"))
    silent = replace(bare, device=Device(), federation=Federation())
    for attempt in (bare, silent):
        assert seen(attempt, place=NOWHERE, route=Missing("route", "not_installed")) == {"office": True}


def test_a_trusted_network_disregards_the_address_only() -> None:
    """In a trusted network, place, operator, travel and the address's traffic are missing; person, device and
    credential stay."""
    assert {NAMES[column] for column in ADDRESS} == {
        "address_llr", "new_country", "new_asn", "new_network", "country_rarity", "asn_rarity", "speed_kmh",
        "distance_last_km", "distance_known_km", "address_attempts_10m", "address_attempts_24h", "address_failures_1h",
        "address_failure_ratio_24h", "address_subjects_24h", "network_attempts_1h", "network_failures_1h",
        "network_subjects_24h", "asn_failure_ratio_24h", "address_strangers_24h", "network_strangers_24h",
        "address_failures_per_account_1h", "network_failures_per_account_1h", "address_accounts", "network_accounts",
        "shared_accounts", "hosting", "vpn", "tor", "proxy", "relay", "satellite", "timezone_gap_h",
        "language_mismatch", "reported_gap_km", "rtt_shortfall_km", "forwarded_hops", "forwarded_mismatch",
    }  # fmt: skip
    attempt = sign_in()
    context = settled().context(attempt, place=OSLO, route=HOME)
    before = vector(attempt, context)
    after, facts = disregarded(before, context)
    assert all(math.isnan(after[column]) for column in ADDRESS)
    assert [after[at] for at in range(len(NAMES)) if at not in ADDRESS] == pytest.approx(
        [before[at] for at in range(len(NAMES)) if at not in ADDRESS], nan_ok=True
    )
    assert isinstance(facts.place, Missing)
    assert isinstance(facts.route, Missing)
    assert replace(facts, place=context.place, route=context.route) == context
    assert isinstance(context, Context)


@pytest.mark.parametrize("place", [OSLO, Missing("place", "not_installed")])
def test_a_recorded_vector_shows_a_trusted_network(place: Place | Missing) -> None:
    """A recorded vector shows whether the network was trusted, also if nothing was known of the address. One of another
    version shows nothing."""
    context = settled().context(sign_in(), place=place, route=Missing("route", "not_installed"))
    before = vector(sign_in(), context)
    heard, unheard = [
        [None if math.isnan(value) else value for value in each] for each in (before, disregarded(before, context)[0])
    ]

    assert [was_disregarded(each) for each in (heard, unheard, unheard[:-1])] == [False, True, False]


@pytest.mark.parametrize(
    ("address", "trusted", "heard"),
    [
        ("192.0.2.10", {"office", "branch"}, False),
        ("198.51.100.7", {"office", "branch"}, False),
        ("203.0.113.9", {"office", "branch"}, True),
        ("192.0.2.10", {"branch"}, True),
        ("192.0.2.10", set(), True),
    ],
    ids=["in one of them", "in the other", "in neither", "in a list that is not trusted", "where none is trusted"],
)
def test_an_address_counts_unless_a_trusted_network_holds_it(address: str, trusted: set[str], *, heard: bool) -> None:
    """Addresses outside the policy's trusted networks keep all their features."""
    lists = LISTS | {"branch": of_networks([(4, 0xC6336400, 0xC63364FF)])}
    policy = Policy(
        domain="customer",
        version="1",
        levels=(0.1, 0.2),
        ladder={},
        journeys={},
        lists=lists,
        trusted_networks=frozenset(trusted),
    )
    attempt = sign_in(address)
    context = settled().context(attempt)
    before = vector(attempt, context)
    evidence = weigh(policy, attempt, context, before)

    features, facts = (before, context) if heard else disregarded(before, context)
    assert evidence.features == pytest.approx(features, nan_ok=True)
    assert evidence.context == facts
