"""Laws of a past that is lived through: the histories are those that the service had, record by record."""

from __future__ import annotations

import pytest

from riskd.adapters.memory import MemoryStore
from riskd.core import record
from riskd.core.pseudonym import Pseudonyms
from riskd.core.recall import REPLY
from riskd.core.record import AssessmentRecord, OutcomeRecord
from riskd.core.stored import expired
from riskd.ports import HistoryStore
from riskd.rebuild.past import Past
from tests.doubles import ListLog
from tests.offline.town import PEPPER, RELEASE, Town, lived


def records(store: HistoryStore, now: float) -> dict[bytes, bytes]:
    """Everything that is kept, without replies."""
    keys, cursor = store.walk(b"", 100_000)
    assert not cursor
    found = dict(zip(keys, store.load(keys), strict=True))
    return {key: kept for key, kept in found.items() if kept and key[-1:] != REPLY and not expired(kept, now)}


def live_through(past: Past, lines: list[bytes]) -> None:
    for line in lines:
        one = record.decode(line)
        if isinstance(one, OutcomeRecord):
            past.outcome(one)
        elif isinstance(one, AssessmentRecord):
            past.attempt(one)


@pytest.fixture(scope="module")
def town() -> tuple[Town, list[bytes]]:
    log = ListLog()
    return lived(log, 400), log.lines


def test_the_histories_are_what_they_were(town: tuple[Town, list[bytes]]) -> None:
    """Bit for bit: several tenants and domains, shared devices and addresses, outcomes of every kind, late and twice,
    fraud taken back. And what is lived through once more changes nothing."""
    before, lines = town
    store = MemoryStore()
    past = Past(store, Pseudonyms(PEPPER), RELEASE.policies)
    live_through(past, lines)
    again = records(store, before.now)
    assert {key[-1:] for key in again} == {b"P", b"A", b"C", b"D", b"R"}
    assert again == records(before.store, before.now)
    live_through(past, lines)
    assert records(store, before.now) == again
