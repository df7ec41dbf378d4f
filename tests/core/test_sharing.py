"""Shared networks (decision 0033): their users are not punished, and attackers cannot hide there."""

from __future__ import annotations

import math
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.core import learn
from riskd.core.attempt import DOMAINS, Attempt
from riskd.core.context import Place, Remembered, Route
from riskd.core.features import NAMES, vector
from riskd.core.features.sharing import CROWD
from riskd.core.history import DAY, HOUR, SLOTS, WEEK, Delta, cardinality
from riskd.core.recall import PROFILE
from tests.core.builders import HOME, LAPTOP, NOW, OSLO, SYDNEY, World, keys_of, settled, sign_in
from tests.models.stories import model

law = settings(max_examples=40)
MODELS: Final = {domain: model(domain) for domain in DOMAINS}
NORTH: Final = Place("NO", 69.65, 18.96, 50.0, "Troms", "Tromsø", "Europe/Oslo", 120)
"""1,100 km from Oslo, in the same country."""
GATEWAY: Final = "81.167.0.7"
THIEF: Final = replace(LAPTOP, device_id="thief", fingerprint="f-thief")


def share(world: World, address: str, accounts: int, now: float = NOW - DAY) -> None:
    """Some other accounts are proven at an address, each in its own slot while slots last."""
    network = address.rpartition(".")[0]
    for key in (f"address:{address}", f"network:{network}"):
        seen = tuple(("owner", SLOTS[at % len(SLOTS)]) for at in range(accounts))
        world.apply(Delta(key.encode() + PROFILE, now, now + 26 * WEEK, (("sign_in", "", accounts),), (), seen))


def features(world: World, attempt: Attempt, now: float = NOW, **facts: Any) -> dict[str, float]:  # noqa: ANN401
    """Features by name."""
    return dict(zip(NAMES, vector(attempt, world.context(attempt, now, **facts)), strict=True))


def odds(world: World, attempt: Attempt, **facts: Any) -> dict[str, float]:  # noqa: ANN401
    """Log-odds by domain."""
    found = vector(attempt, world.context(attempt, **facts))
    return {domain: one.score(found)[0] for domain, one in MODELS.items()}


def tried(world: World, address: str, people: int, failures: int) -> None:
    """Within the hour, some people's passwords fail at an address and others' succeed."""
    for number in range(people):
        result = "failed" if number < failures else "succeeded"
        attempt = sign_in(address, subject=f"{number}", device=None, credential_result=result)
        world.try_(attempt, NOW - 60 * (number % 50))


@law
@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 60))
def test_more_who_are_known_here_excuse_more(few: int, more: int, failures: int) -> None:
    """The more accounts are known at an address, the less its failures and its number of accounts count."""
    few, more = sorted((few, more))
    worlds = World(), World()
    for world, accounts in zip(worlds, (few, more), strict=True):
        share(world, GATEWAY, accounts)
        tried(world, GATEWAY, 60, failures)
    one, other = (features(world, sign_in(GATEWAY)) for world in worlds)

    for name in ("address", "network"):
        assert one[f"{name}_accounts"] <= other[f"{name}_accounts"]
        assert one[f"{name}_strangers_24h"] >= other[f"{name}_strangers_24h"]
        assert one[f"{name}_failures_per_account_1h"] >= other[f"{name}_failures_per_account_1h"]


def test_without_known_accounts_an_address_counts_every_failure() -> None:
    """At an address without proven accounts, as on a rented machine, each failure and each account counts fully."""
    world = World()
    tried(world, GATEWAY, 60, 60)
    found = features(world, sign_in(GATEWAY))

    assert found["address_failures_per_account_1h"] == found["address_failures_1h"] == 60
    assert found["address_strangers_24h"] == found["address_subjects_24h"]


def test_accounts_that_share_are_those_proven_lately() -> None:
    """A proof counts its account once at the address and its network, for five weeks."""
    world = World()
    for subject in ("ann", "bob", "ann"):
        world.prove(sign_in(GATEWAY, subject=subject), NOW)
    two = {name: features(world, sign_in(GATEWAY))[name] for name in ("address_accounts", "network_accounts")}

    assert two == {"address_accounts": cardinality(2), "network_accounts": cardinality(2)}
    assert features(world, sign_in(GATEWAY), NOW + 5 * WEEK)["address_accounts"] == 0.0


@pytest.mark.parametrize(("address", "shared"), [(GATEWAY, True), ("81.167.0.8", True), ("81.168.0.8", False)])
def test_sharing_weighs_where_the_address_would_speak_for_the_account(address: str, shared: bool) -> None:
    """The number of accounts that share counts at the account's own address or network, and not at an unknown one."""
    world = settled()
    for week in range(8):
        world.prove(sign_in(GATEWAY), NOW - week * WEEK)
    share(world, address, 30)

    assert (features(world, sign_in(address))["shared_accounts"] > 10) == shared


@law
@given(st.integers(0, 300), st.sampled_from([GATEWAY, "81.167.0.8"]))
def test_a_carriers_gateway_is_not_the_owners_home(accounts: int, address: str) -> None:
    """Behind an address that the owner shares with many, a thief never scores lower than at one that only the owner
    uses; with a crowd he scores higher in the customer model."""
    worlds = World(), World()
    for world in worlds:
        for week in range(12):
            world.prove(sign_in(GATEWAY), NOW - week * WEEK)
    alone, among = worlds
    share(among, GATEWAY, accounts)
    share(among, "81.167.0.8", accounts)
    thief = sign_in(address, device=THIEF)

    home, carrier = odds(alone, thief), odds(among, thief)
    assert all(carrier[domain] >= home[domain] for domain in DOMAINS)
    if accounts >= CROWD:
        assert carrier["customer"] >= home["customer"] + 0.5


def test_the_place_of_a_carriers_gateway_is_not_learned() -> None:
    """The place of a carrier's gateway is not learned, and within the account's own country it counts as no motion."""
    world = settled()
    share(world, GATEWAY, 100)
    behind = sign_in(GATEWAY)
    found = features(world, behind, place=NORTH)
    context = world.context(behind, place=NORTH)

    assert all(math.isnan(found[name]) for name in ("speed_kmh", "distance_last_km", "distance_known_km"))
    assert learn.lesson(behind, context, keys_of(behind, context.values)).place == ()
    assert features(settled(), behind, place=NORTH)["distance_last_km"] > 900


def test_a_crowd_abroad_hides_no_motion() -> None:
    """A crowd's address in another country still counts as motion."""
    world = settled()
    share(world, "1.128.0.5", 100)

    found = features(world, sign_in("1.128.0.5"), place=SYDNEY, route=Route(1221, "Telstra"))

    assert found["speed_kmh"] > 600


def test_the_office_is_not_punished_and_a_list_tried_there_shows() -> None:
    """In an office of 300, mistyped passwords do not raise scores, but password stuffing from there does."""
    quiet, monday, attack = World(), World(), World()
    for world in (quiet, monday, attack):
        for week in range(8):
            world.prove(sign_in(GATEWAY), NOW - week * WEEK - HOUR)
        share(world, GATEWAY, 300)
    tried(monday, GATEWAY, 300, 60)
    tried(attack, GATEWAY, 600, 420)
    usual, mistyped, stuffed = (odds(world, sign_in(GATEWAY), route=HOME) for world in (quiet, monday, attack))

    for domain in DOMAINS:
        assert mistyped[domain] == pytest.approx(usual[domain])
        assert stuffed[domain] >= usual[domain] + 0.5


def test_relays_are_learned_as_networks_and_never_as_places() -> None:
    """Behind a privacy relay, accounts are counted as anywhere, but the place is not learned."""
    relay = Route(36183, "Akamai", anonymizer="relay")
    world = settled()
    attempt = sign_in(GATEWAY)
    context = world.context(attempt, place=OSLO, route=relay)
    lesson = learn.lesson(attempt, context, keys_of(attempt, context.values))
    seen = {delta.seen for delta in learn.lesson_deltas(lesson, 1) if delta.seen}

    assert lesson.place == ()
    assert "country" not in lesson.values
    assert {name for ((name, _),) in seen} == {"owner"}


def test_no_place_is_learned_of_an_address_that_could_not_be_read() -> None:
    """If nobody could read how many accounts use the address, a crowd may: its place is not learned, nor is there any
    motion."""
    attempt, world = sign_in("198.51.100.9"), settled()
    context = world.context(attempt, place=NORTH)
    assert isinstance(context.remembered, Remembered)
    unread = replace(context, remembered=replace(context.remembered, unread=("address",)))

    assert learn.lesson(attempt, context, keys_of(attempt, context.values)).place != ()
    assert learn.lesson(attempt, unread, keys_of(attempt, context.values)).place == ()
    assert math.isnan(vector(attempt, unread)[NAMES.index("speed_kmh")])
