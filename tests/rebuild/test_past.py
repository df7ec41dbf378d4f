"""Replaying a log gives the histories that the service had, record by record."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from riskd.adapters.memory import MemoryStore
from riskd.core.attempt import Behaviour, Outcome
from riskd.core.features.sharing import CROWD
from riskd.core.history import DAY, decode
from riskd.core.lineup import Lineup
from riskd.core.pseudonym import Pseudonyms
from riskd.core.recall import PROFILE
from riskd.core.stored import PLACE, payload
from riskd.rebuild.past import Past
from tests.bench import trusting
from tests.cases.world import WORLD, attempt
from tests.doubles import ForgetfulStore, ListLog
from tests.offline.town import COUNTING, PEPPER, RELEASE, Town, live_with_losses, lived
from tests.rebuild.world import live_through, records


@pytest.fixture(scope="module")
def town() -> tuple[Town, list[bytes]]:
    log = ListLog()
    return lived(log, 400, gossip=0.2, release=COUNTING), log.lines


def test_the_histories_are_what_they_were(town: tuple[Town, list[bytes]]) -> None:
    """Histories are restored bit for bit, with several tenants and domains, shared devices and addresses, counted
    attributes, late and repeated outcomes, fraud and security events. Replaying twice changes nothing."""
    before, lines = town
    store = MemoryStore()
    past = Past(store, Pseudonyms(PEPPER), Lineup(COUNTING))
    live_through(past, lines)
    again = records(store, before.now)
    assert {key[-1:] for key in again} == {b"P", b"A", b"C", b"D", b"O", b"R"}
    assert again == records(before.store, before.now)
    live_through(past, lines)
    assert records(store, before.now) == again


def test_tiers_that_a_policy_has_no_longer_are_replayed(town: tuple[Town, list[bytes]]) -> None:
    """A log of tiers that today's policy does not require of anybody is replayed, with all its records."""
    before, lines = town
    without = {domain: replace(policy, ladder={}, tenants={}) for domain, policy in COUNTING.policies.items()}
    store = MemoryStore()
    live_through(Past(store, Pseudonyms(PEPPER), Lineup(replace(COUNTING, policies=without))), lines)
    assert records(store, before.now).keys() == records(before.store, before.now).keys()


def test_attempts_that_could_read_only_a_part_taught_the_same() -> None:
    """Histories are restored bit for bit if some could not be read for some attempts, on which their lessons depend."""
    log, store = ListLog(), ForgetfulStore()
    town = Town(log, store=store, release=COUNTING)
    live_with_losses(town, store, 60)
    again = MemoryStore()
    live_through(Past(again, Pseudonyms(PEPPER), Lineup(COUNTING)), log.lines)
    assert records(again, town.now) == records(store, town.now)


def test_a_rhythm_that_was_compared_with_nothing_is_taught_as_it_was() -> None:
    """If the subject's history could not be read, its typing rhythm was not clamped, and is not in a replay."""
    log, store = ListLog(), ForgetfulStore()
    town = Town(log, store=store)
    for interval, lost in ((110.0, False),) * 9 + ((900.0, True), (900.0, False)):
        town.now += DAY
        typed = replace(attempt({"subject": "kim"}), behaviour=Behaviour(typing_intervals_ms=(interval,) * 9))
        place = bytes.fromhex(town.engine.assess(typed, 10.0).id[: 2 * PLACE])
        store.unread = lambda one, place=place, lost=lost: lost and one == place  # type: ignore[misc]
        answer = town.engine.assess(typed, 10.0)
        town.engine.record(Outcome(assessment_id=answer.id, kind="confirmed_legitimate"), 10.0)
        store.unread = lambda _: False
    again = MemoryStore()
    live_through(Past(again, Pseudonyms(PEPPER), Lineup(RELEASE)), log.lines)
    assert records(again, town.now) == records(store, town.now)


def test_a_trusted_network_is_no_place_when_replayed() -> None:
    """A place that was not learned because the network was trusted is not learned in a replay either, whatever today's
    policy trusts."""
    log = ListLog()
    town = Town(log, release=trusting(RELEASE, WORLD["from"]["home"]["ip"]))
    for number, origin in enumerate(("home", "madrid")):
        answer = town.engine.assess(attempt({"subject": f"traveller {number}", "from": origin}), 10.0)
        town.engine.record(Outcome(assessment_id=answer.id, kind="confirmed_legitimate"), 10.0)
    store = MemoryStore()
    live_through(Past(store, Pseudonyms(PEPPER), Lineup(RELEASE)), log.lines)
    again = records(store, town.now)
    assert again == records(town.store, town.now)
    assert sum("place" in decode(payload(kept)).marks for key, kept in again.items() if key[-1:] == PROFILE) == 1


def test_a_crowds_address_is_no_place_when_replayed() -> None:
    """A place that was not learned because many share the address is not learned in a replay either."""
    log = ListLog()
    town, crowd = Town(log), int(CROWD) + 5
    for number in range(crowd):
        town.now += 60.0
        answer = town.engine.assess(attempt({"subject": f"resident {number}"}), 10.0)
        for kind in ("challenge_passed", "session_established"):
            town.engine.record(Outcome(assessment_id=answer.id, kind=kind), 10.0)
    store = MemoryStore()
    live_through(Past(store, Pseudonyms(PEPPER), Lineup(RELEASE)), log.lines)
    again = records(store, town.now)
    assert again == records(town.store, town.now)
    homes = sum(
        decode(payload(kept)).marks.get("place", ()) != () for key, kept in again.items() if key[-1:] == PROFILE
    )
    assert 0 < homes < crowd
