"""Laws of a past that is lived through: the histories are those that the service had, record by record."""

from __future__ import annotations

import pytest

from riskd.adapters.memory import MemoryStore
from riskd.core.pseudonym import Pseudonyms
from riskd.rebuild.past import Past
from tests.doubles import ListLog
from tests.offline.town import PEPPER, RELEASE, Town, lived
from tests.rebuild.world import live_through, records


@pytest.fixture(scope="module")
def town() -> tuple[Town, list[bytes]]:
    log = ListLog()
    return lived(log, 400, gossip=0.2), log.lines


def test_the_histories_are_what_they_were(town: tuple[Town, list[bytes]]) -> None:
    """Bit for bit: several tenants and domains, shared devices and addresses, outcomes of every kind, late and twice,
    fraud taken back, security events. And what is lived through once more changes nothing."""
    before, lines = town
    store = MemoryStore()
    past = Past(store, Pseudonyms(PEPPER), RELEASE.policies)
    live_through(past, lines)
    again = records(store, before.now)
    assert {key[-1:] for key in again} == {b"P", b"A", b"C", b"D", b"R"}
    assert again == records(before.store, before.now)
    live_through(past, lines)
    assert records(store, before.now) == again
