"""Replaying a log gives the histories that the service had, record by record."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from riskd.adapters.memory import MemoryStore
from riskd.core.attempt import Outcome
from riskd.core.features.sharing import CROWD
from riskd.core.history import decode
from riskd.core.pseudonym import Pseudonyms
from riskd.core.recall import PROFILE
from riskd.core.stored import payload
from riskd.rebuild.past import Past
from tests.cases.world import attempt
from tests.doubles import ListLog
from tests.offline.town import COUNTING, PEPPER, RELEASE, Town, lived
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
    past = Past(store, Pseudonyms(PEPPER), COUNTING.policies)
    live_through(past, lines)
    again = records(store, before.now)
    assert {key[-1:] for key in again} == {b"P", b"A", b"C", b"D", b"R"}
    assert again == records(before.store, before.now)
    live_through(past, lines)
    assert records(store, before.now) == again


def test_tiers_that_a_policy_has_no_longer_are_replayed(town: tuple[Town, list[bytes]]) -> None:
    """A log of tiers that today's policy does not require of anybody is replayed, with all its records."""
    before, lines = town
    without = {domain: replace(policy, ladder={}, tenants={}) for domain, policy in COUNTING.policies.items()}
    store = MemoryStore()
    live_through(Past(store, Pseudonyms(PEPPER), without), lines)
    assert records(store, before.now).keys() == records(before.store, before.now).keys()


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
    live_through(Past(store, Pseudonyms(PEPPER), RELEASE.policies), log.lines)
    again = records(store, town.now)
    assert again == records(town.store, town.now)
    homes = sum(
        decode(payload(kept)).marks.get("place", ()) != () for key, kept in again.items() if key[-1:] == PROFILE
    )
    assert 0 < homes < crowd
