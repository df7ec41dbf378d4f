"""Whoever passes again and again on a new device within a day, without a key, has proven no more than by passing
once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

import pytest
from msgspec.structs import replace

from riskd.adapters.memory import MemoryStore
from riskd.core import learn
from riskd.core.assess import Release
from riskd.core.assessment import Assessment
from riskd.core.attempt import Outcome
from riskd.core.history import DAY, HOUR, History
from riskd.core.learn import SPACING, UNITS
from riskd.core.recall import WAIT
from riskd.core.requirement import Tier
from riskd.ports import HistoryStore
from tests.bench import THREADS, Bench, at_once, release, store
from tests.cases.world import NOW, TableGeo, attempt, facts

__all__ = ["release", "store"]
COPY: Final = "laptop-9"
"""The owner's laptop in everything but its identifier."""


class Account(Bench):
    """Alex, who has signed in on the same laptop for weeks, and an engine with the shipped policies."""

    def __init__(self, release: Release, store: HistoryStore) -> None:
        super().__init__(release, store)
        for day in range(60, 0, -2):
            keys, context = facts(attempt({}), TableGeo({}), NOW - day * DAY, store)
            store.write(learn.lesson_deltas(learn.lesson(attempt({}), context, keys), 1), (), NOW, 1.0)

    def ask(self, device: str, **words: object) -> Assessment:
        return self.assess(attempt({"device": {"device_id": device}, **words}))

    def report(self, answer: Assessment, kind: str, *amr: str) -> int:
        return self.engine.record(Outcome(assessment_id=answer.id, kind=kind, amr=amr), 10.0).taught

    def sign_in(self, device: str) -> int:
        """Sign in, with a code if one is required. Returns the units that this taught."""
        answer = self.ask(device)
        if not answer.requirement.satisfied:
            self.report(answer, "challenge_passed", "pwd", "otp")
        return self.report(answer, "session_established")


def payment(account: Account, device: str) -> Tier:
    return account.ask(device, journey="payment", session={"id": "s"}).requirement.tier


def test_passes_in_a_row_are_one(release: Release, store: HistoryStore) -> None:
    """Thirty passes on a new device within ten hours teach what the first one taught, so a payment still asks for a
    code there. The owner's laptop teaches as ever meanwhile."""
    account = Account(release, store)

    taught = []
    for _ in range(30):
        taught.append(account.sign_in(COPY))
        account.now += HOUR / 3
    assert taught == [1] + [0] * 29
    assert payment(account, COPY) is Tier.STEP_UP
    assert [account.sign_in("laptop-1") for _ in range(3)] == [1, 1, 1]
    assert payment(account, "laptop-1") is Tier.BASELINE


def test_other_new_devices_wait_too(release: Release, store: HistoryStore) -> None:
    """Another identifier for each pass, or none, does not teach the rest of what the device looks like any faster."""
    account = Account(release, store)

    assert [account.sign_in(device) for device in ("one", "two", "three", "")] == [1, 0, 0, 0]


def test_who_comes_daily_teaches_daily(release: Release, store: HistoryStore) -> None:
    """An owner with a new phone and no key, who comes once a day and never at the same hour, is known on the sixth
    day at the latest."""
    account = Account(release, store)

    for late in (0, 3, 0, 2, 1, 0):
        account.now = NOW + (account.now - NOW) // DAY * DAY + late * HOUR
        assert account.sign_in("phone-9") == 1
        account.now += DAY
    assert account.sign_in("phone-9") == 1
    assert payment(account, "phone-9") is Tier.BASELINE


@pytest.mark.parametrize(("thief", "days"), [("copy", 6), ("copy-{}", 13)])
def test_a_thief_who_passes_first_costs_the_owner_a_code(
    release: Release, store: HistoryStore, thief: str, days: int
) -> None:
    """Whoever passes each day before the owner, on one strange device, keeps the owner's new phone from teaching until
    that device is settled, after six days; with another identifier each day for as long as that goes on. At home, too,
    sign-ins and payments on the phone ask for a code until it has taught."""
    account = Account(release, store)
    taught: list[int] = []
    for day in range(13):
        assert account.sign_in(thief.format(day)) == 1
        account.now += 8 * HOUR
        assert account.ask("phone-9").requirement.tier is (Tier.BASELINE if sum(taught) else Tier.STEP_UP)
        taught.append(account.sign_in("phone-9"))
        account.now += 16 * HOUR
    assert taught == [0] * days + [1] * (13 - days)
    assert payment(account, "phone-9") is (Tier.BASELINE if sum(taught) else Tier.STEP_UP)


def test_a_key_or_a_person_need_not_wait(release: Release, store: HistoryStore) -> None:
    """After a pass without a key, one with a key on the same new device settles it at once, and so does a person's
    confirmation of any attempt."""
    account = Account(release, store)
    assert account.sign_in(COPY) == 1

    answer = account.ask(COPY)
    assert account.report(answer, "challenge_passed", "pwd", "otp") == 0
    assert account.report(answer, "challenge_passed", "hwk", "pin") == UNITS
    assert account.sign_in(COPY) == 1
    assert account.report(account.ask("tablet"), "confirmed_legitimate") == UNITS


def test_a_newcomer_need_not_wait(release: Release, store: HistoryStore) -> None:
    """What an account began with is its own, so its first day teaches as ever."""
    account = Bench(release, store)

    assert [account.tell(account.assess(attempt({})), "session_established") for _ in range(3)] == [1, 1, 1]


def test_a_repeated_report_teaches_nothing_later(release: Release, store: HistoryStore) -> None:
    """A report that is sent again after the wait is over still teaches nothing; another kind of report does."""
    account = Account(release, store)
    account.sign_in(COPY)
    answer = account.ask(COPY)
    assert account.report(answer, "challenge_passed") == 0
    account.now += SPACING + 1

    assert account.report(answer, "challenge_passed") == 0
    assert account.report(answer, "session_established") == 1


def test_fraud_takes_back_what_was_taught(release: Release, store: HistoryStore) -> None:
    """Fraud confirmed for passes of which one taught leaves the account's profile as it was."""
    account = Account(release, store)
    before = account.learned()
    answers = [account.ask(COPY) for _ in range(5)]
    for answer in answers:
        account.report(answer, "challenge_passed")
    assert account.learned() != before

    assert {account.report(answer, "confirmed_fraud") for answer in answers} == {0}
    assert replace(account.learned(), marks={}) == replace(before, marks={})


def test_passes_begun_at_once_are_one(release: Release, store: HistoryStore) -> None:
    """Of passes whose attempts are all made before the first is reported, and reported on threads at the same moment,
    one teaches."""
    account = Account(release, store)
    answers = [account.ask(COPY) for _ in range(THREADS)]

    taught = at_once(lambda number: account.report(answers[number], "challenge_passed"))

    assert sorted(taught) == [0] * (THREADS - 1) + [1]


class MeetingStore(MemoryStore):
    """A store in which several threads see that there is no wait before any of them begins one."""

    def __init__(self) -> None:
        super().__init__()
        self.meeting = threading.Barrier(THREADS)
        self.met: set[int] = set()

    def read(
        self, histories: Sequence[bytes], documents: Sequence[bytes], now: float, timeout: float
    ) -> tuple[list[History], list[bytes | None]]:
        found = super().read(histories, documents, now, timeout)
        if documents and documents[0].endswith(WAIT) and threading.get_ident() not in self.met:
            self.met.add(threading.get_ident())
            self.meeting.wait(10.0)
        return found


def test_passes_that_all_saw_no_wait_are_one(release: Release) -> None:
    """If all of them find that nothing has to wait, one teaches nevertheless."""
    account = Account(release, MeetingStore())
    answers = [account.ask(COPY) for _ in range(THREADS)]

    taught = at_once(lambda number: account.report(answers[number], "challenge_passed"))

    assert sorted(taught) == [0] * (THREADS - 1) + [1]
