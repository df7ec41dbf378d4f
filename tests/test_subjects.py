"""The rights of a subject: everything kept is exported and erased, and nobody else's records are affected."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.adapters.caching import CachingStore
from riskd.adapters.lmdb_store import LmdbStore
from riskd.adapters.memory import MemoryStore
from riskd.adapters.null import NullMeter
from riskd.adapters.rekeying import RekeyingStore
from riskd.core import learn
from riskd.core.assessment import Assessment
from riskd.core.errors import InvalidSubject, Problem, Unavailable, UnknownAssessment
from riskd.core.history import DAY, HOUR, WEEK
from riskd.core.learn import UNITS
from riskd.core.pseudonym import Layer, Origins, Pseudonyms, short
from riskd.core.recall import ACTIVITY, PROFILE, RECEIPT, SHARE
from riskd.core.stored import PLACE, Change
from riskd.ports import PATIENCE, HistoryStore
from riskd.subjects import Subject
from tests.cases.world import NOW, PSEUDONYMS, attempt
from tests.office import PEOPLE, Office, lived, named, pseudonym, steps, total

STORES: Final[dict[str, Callable[[Path], HistoryStore]]] = {
    "memory": lambda _: MemoryStore(),
    "lmdb": lambda directory: CachingStore(LmdbStore(directory / "store", map_size=64 << 20), NullMeter()),
}


@pytest.fixture(params=STORES)
def office(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Office]:
    store = STORES[request.param](tmp_path)
    opened = Office(tmp_path, store)
    yield opened
    opened.engine.close()


@settings(max_examples=40)
@given(st.lists(steps, max_size=14))
def test_an_erased_subject_leaves_nothing_and_nobody_else_changes(
    tmp_path_factory: pytest.TempPathFactory, history: list[dict[str, object]]
) -> None:
    """After an erasure, nothing of the subject is in store, log or export; the records of others are unchanged, and
    devices keep what others taught. Later outcomes of the subject's assessments find nothing."""
    office = Office(tmp_path_factory.mktemp("office"))
    answers = lived(office, history)
    before = {who: (office.of(who), office.lines(who)) for who in PEOPLE}
    office.erase("anne")
    for who, answer in answers:
        if who == "anne":
            with pytest.raises(UnknownAssessment):
                office.tell(answer, "confirmed_legitimate")
    office.compact()

    assert (office.of("anne"), office.lines("anne"), office.export("anne")) == ({}, [], [])
    marks = (pseudonym("anne"), pseudonym("anne")[:PLACE], short(pseudonym("anne")).encode())
    assert [key for key, record in office.records().items() if any(mark in key + record for mark in marks)] == []
    assert {who: (office.of(who), office.lines(who)) for who in ("bert", "cleo")} == {
        who: before[who] for who in ("bert", "cleo")
    }
    shared(office)
    office.engine.close()


def shared(office: Office) -> None:
    """Check that a device's record is the sum of its subjects' shares, and is absent without one."""
    records, sums = office.records(), dict[bytes, int]()
    for key, record in records.items():
        if key[-1:] == SHARE:
            device = key[PLACE:-1] + PROFILE
            sums[device] = sums.get(device, 0) + total(record)
    device_keys = {
        PSEUDONYMS.digest("", "customer", kind, value) + PROFILE
        for kind, value in (("device", "laptop-1"), ("device", "phone-1"))
    }
    assert {key: total(records[key]) for key in sums} == sums
    assert {key for key in device_keys if key in records} <= set(sums)


def test_everything_held_is_exported(office: Office) -> None:
    """The export has every record of the subject, of a device that only the subject uses, and every log line, for any
    page size, and nothing of others."""
    office.sign_in("anne", "challenge_failed", request_id="r-1", journey="recovery")
    for _ in range(3):
        office.sign_in("anne")
        office.now += DAY
    office.sign_in("bert", **{"with": "phone"})
    shared = office.sign_in("anne", **{"with": "phone"})
    assert office.export("anne", 1) == office.export("anne", 2) == office.export("anne")
    found = office.export("anne")
    inside = {each.key for each in found if each.key and each.kind not in ("device_profile", "device_activity")}
    assert {bytes.fromhex(key) for key in inside} == set(office.store.held(pseudonym("anne")[:PLACE], office.now, 99))
    assert [each.content for each in found if each.kind == "decision_log"] == office.lines("anne")
    alone = {each.key for each in found if each.kind == "device_profile"}
    laptop = attempt({}).device
    assert laptop is not None
    assert PSEUDONYMS.digest("", "customer", "device", laptop.device_id).hex() + "50" in alone
    phone = attempt({"with": "phone"}).device
    assert phone is not None
    assert PSEUDONYMS.digest("", "customer", "device", phone.device_id).hex() + "50" not in alone
    receipts = [json.loads(each.content) for each in found if each.kind == "receipt"]
    assert all(receipt["lesson"]["subject"] == pseudonym("anne").hex() for receipt in receipts)
    contents = [json.loads(each.content) for each in found]
    assert shared.id in {each["id"] for each in contents if "id" in each}


def test_a_summary_says_what_support_needs(office: Office) -> None:
    """The summary has first and last sign-in, units, devices and places, sensitive steps, challenges that were
    not met, and open receipts."""
    for _ in range(4):
        office.sign_in("anne")
        office.now += WEEK
    latest = office.sign_in("anne", "challenge_failed", journey="recovery")
    told = office.subjects.summary(named("anne"))

    assert (told.units, told.since <= NOW < told.since + WEEK, told.last) == (4 * UNITS, True, NOW + 3 * WEEK)
    assert (told.attempts, told.failures) == (1.0, 1.0)
    seen = {(each.table, each.value): each for each in told.seen}
    country = next(each for (table, _), each in seen.items() if table == "country")
    assert (country.units, country.last - country.first) == (4 * UNITS, 3 * WEEK)
    assert 0 < country.trust <= country.units
    assert {"device", "network", "country", "browser"} <= {table for table, _ in seen}
    assert [(step.kind, step.time) for step in told.steps] == [("recovery", office.now), ("unmet", office.now)]
    assert len(told.open) == 5
    newest = told.open[0]
    assert (newest.id, newest.journey, newest.reported) == (latest.id, "recovery", ("challenge_failed",))


def test_a_summary_has_security_events(office: Office) -> None:
    """The summary has security events among the sensitive steps, the newest first."""
    at = {}
    for kind in (
        "account_disabled",
        "credential_compromise",
        "recovery_activated",
        "credential_change",
        "account_enabled",
    ):
        office.now += 3600
        at[kind] = float(int(office.now))
        office.hear("anne", kind)
    told = office.subjects.summary(named("anne"))
    assert [(step.kind, step.time) for step in told.steps] == [
        ("no_more_reported", at["account_enabled"]),
        ("profile_update", at["credential_change"]),
        ("credential_changed", at["credential_change"]),
        ("recovery", at["recovery_activated"]),
        ("credential_breached", at["credential_compromise"]),
        ("reported_high", at["account_disabled"]),
    ]
    assert (told.units, told.attempts, told.seen) == (0, 0.0, ())


def test_a_summary_has_the_newest_of_many_receipts(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The summary has the newest receipts and sensitive steps, the newest first."""
    monkeypatch.setattr("riskd.core.dossier.OPEN", 3)
    journeys, given_out = ("recovery", "payment", "profile_update") * 3, []
    for journey in journeys:
        given_out.append(office.sign_in("anne", journey=journey).id)
        office.now += HOUR
    told = office.subjects.summary(named("anne"))
    assert [receipt.id for receipt in told.open] == given_out[:-4:-1]
    times = [step.time for step in told.steps]
    assert times == sorted(times, reverse=True)
    assert {step.kind for step in told.steps} >= set(journeys)


def test_a_stranger_has_an_empty_summary(office: Office) -> None:
    """For a subject without records, summary, export and erasure are empty, without an error."""
    told = office.subjects.summary(named("nobody"))
    assert (told.since, told.units, told.seen, told.open) == (0.0, 0, (), ())
    assert office.export("nobody") == []
    assert sum(office.erase("nobody").values()) == 0


def test_an_erasure_counts_what_it_erased(office: Office) -> None:
    """The erasure counts erased records by kind; a second one erases nothing."""
    office.sign_in("anne", request_id="r-1")
    held = len(office.of("anne"))
    gone = office.erase("anne")

    assert sum(gone[kind] for kind in ("profile", "activity", "receipt", "reply", "share", "own")) == held
    assert gone["device_profile"] == gone["share"] > 0
    assert sum(office.erase("anne").values()) == 0


def test_activity_of_a_device_is_erased_with_its_last_subject(office: Office) -> None:
    """A device's activity, which says who tried and when, is erased with the last subject that taught the device."""
    tried = PSEUDONYMS.digest("", "customer", "device", "laptop-1") + ACTIVITY
    office.sign_in("anne")
    office.sign_in("bert")
    before = office.records()[tried]
    assert office.erase("anne")["device_activity"] == 0
    assert office.records()[tried] == before
    assert office.erase("bert")["device_activity"] == 1
    assert tried not in office.records()


def test_an_erasure_removes_any_number_of_records(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """An erasure with many records removes all of them; if the time is over first it raises Unavailable, and asking
    again finishes it."""
    monkeypatch.setattr("riskd.subjects.PAGE", 2)
    for _ in range(12):
        office.sign_in("anne")
    held = len(office.of("anne"))
    with pytest.raises(Unavailable):
        office.subjects.erase(named("anne"), 0.0)
    assert held > len(office.of("anne")) > 0
    assert office.archive.state().erasures == 0, "no erasure of the log is recorded yet"
    office.erase("anne")
    assert office.of("anne") == {}


def test_an_erasure_removes_expired_records(office: Office) -> None:
    """An erasure also removes expired records that the sweep has not reached."""
    office.sign_in("anne")
    office.now += 200 * DAY
    office.erase("anne")
    assert office.of("anne") == {}


@pytest.mark.parametrize(
    "subject", [Subject("", "customer", ""), Subject("", "people", "a"), Subject("x" * 257, "", "a\0")]
)
def test_a_bad_subject_name_is_refused(office: Office, subject: Subject) -> None:
    """Each method reports every mistake in the subject's name at once."""
    for ask in (
        lambda: office.subjects.summary(subject),
        lambda: office.subjects.export(subject, 1, b""),
        lambda: office.subjects.erase(subject, 1.0),
    ):
        with pytest.raises(InvalidSubject):
            ask()


@pytest.mark.parametrize(
    "token", [b"x", b"l\xff", b"lx", b"l\x93\x01\x02\x03", b"l\x93\xa1\xff\x02\x03", b"l\x93\xa1x\x02\xff"]
)
def test_a_page_token_that_is_none_is_refused(office: Office, token: bytes) -> None:
    """An invalid page token is refused."""
    with pytest.raises(InvalidSubject):
        office.subjects.export(named("anne"), 10, token)


class Flaky(MemoryStore):
    """A store that fails at its n-th change."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 1 << 30

    def erase(self, keys: Sequence[bytes]) -> int:
        self._spend()
        return super().erase(keys)

    def replace(self, changes: Sequence[Change], timeout: float = PATIENCE) -> bool:
        self._spend()
        return super().replace(changes, timeout)

    def _spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Unavailable([Problem("store", "down", "wait")])


@pytest.mark.parametrize("works", range(0, 10, 2))
def test_an_erasure_that_failed_can_be_asked_for_again(tmp_path: Path, works: int) -> None:
    """If the store fails during an erasure, it raises Unavailable; what was erased stays erased, and the next try
    finishes."""
    store = Flaky()
    office = Office(tmp_path, store)
    for kit in ("laptop", "phone"):
        office.sign_in("anne", request_id=kit, **{"with": kit})
        office.sign_in("bert", **{"with": kit})
    berts, store.left = office.of("bert"), works
    with pytest.raises(Unavailable):
        office.erase("anne")
    assert office.archive.state().erasures == 0, "no erasure of the log is recorded yet"
    store.left = 1 << 30
    office.erase("anne")

    assert (office.of("anne"), office.of("bert")) == ({}, berts)
    shared(office)
    office.engine.close()


def test_a_service_that_has_not_heard_of_a_new_pepper_claims_no_erasure(tmp_path: Path) -> None:
    """If another worker has already moved records to new pseudonyms, a worker that does not know them yet answers
    UNAVAILABLE instead of an erasure, an export or a summary that lack these records; once it has heard, they are
    whole."""
    store, origins, layer = MemoryStore(), Origins(), b"another pepper that is added"
    late, early = Office(tmp_path / "late", store), Office(tmp_path / "early", store)
    late.sign_in("anne")
    moving = RekeyingStore(store, origins, Layer(layer))
    renewed = Pseudonyms(b"pepper of the golden cases", (layer,), origins)
    early.engine.rekey(moving, renewed)
    early.sign_in("anne")
    late.layers = early.layers = 1
    anne, subjects = named("anne"), late.subjects
    for refused in (
        lambda: subjects.erase(anne, 10.0),
        lambda: subjects.export(anne, 500, b""),
        lambda: subjects.export(anne, 500, b"l"),
        lambda: subjects.summary(anne),
    ):
        with pytest.raises(Unavailable, match="its last pepper is new"):
            refused()
    late.engine.rekey(moving, renewed)
    assert late.erase("anne")["profile"] == 1
    place = renewed.digest("", "customer", "subject", "anne")[:PLACE]
    assert [key for key in late.records() if key.startswith((place, pseudonym("anne")[:PLACE]))] == []
    assert late.export("anne") == []
    for each in (late, early):
        each.engine.close()


def test_an_erasure_among_sign_ins_and_outcomes_loses_nothing(office: Office) -> None:
    """With concurrent sign-ins, outcomes and erasures, the remaining counts add up, and one more erasure leaves nothing
    of the subject."""
    ready = threading.Barrier(4)

    def busy(number: int) -> None:
        ready.wait()
        for turn in range(15):
            if number == 0:
                office.erase("anne")
            else:
                who = "bert" if number == 1 else "anne"
                answer = office.engine.assess(attempt({"subject": who, "with": ("laptop", "phone")[turn % 2]}), 10.0)
                try:
                    office.tell(answer, "confirmed_legitimate")
                except UnknownAssessment:
                    assert who == "anne"

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(busy, range(4)))
    shared(office)
    office.erase("anne")

    assert office.of("anne") == {}
    assert total(office.records()[pseudonym("bert") + PROFILE]) == 15 * UNITS
    shared(office)


def test_a_busy_device_delays_an_erasure_only_until_its_deadline(tmp_path: Path) -> None:
    """If a device's record changes at every attempt, the erasure ends with Unavailable."""

    class Busy(MemoryStore):
        def replace(self, changes: Sequence[Change], timeout: float = PATIENCE) -> bool:
            return False

    office = Office(tmp_path, Busy())
    office.sign_in("anne")
    with pytest.raises(Unavailable):
        office.erase("anne")
    assert not [key for key in office.of("anne") if key[-1:] == RECEIPT], "everything else was erased"
    office.engine.close()


def test_a_receipt_is_exported_with_names(office: Office) -> None:
    """An exported receipt has all fields, with tiers by name and digests in hexadecimal."""
    office.sign_in("anne")
    (told,) = [json.loads(each.content) for each in office.export("anne") if each.kind == "receipt"]
    assert set(told) == set(learn.Receipt.__struct_fields__)
    assert told["tier"] in ("BASELINE", "STEP_UP", "PHISHING_RESISTANT", "DENY")
    assert replace(attempt({}), subject="anne").subject not in json.dumps(told)


def test_what_an_outcome_in_flight_teaches_is_erased_too(tmp_path: Path) -> None:
    """An outcome that is recorded while its subject's records are being erased leaves none of them behind."""

    class Busy(MemoryStore):
        def held(self, place: bytes, now: float, limit: int) -> list[bytes]:
            found, then = super().held(place, now, limit), arriving[:]
            arriving.clear()
            for answer in then:
                office.tell(answer, "confirmed_legitimate")
            return found

    arriving: list[Assessment] = []
    office = Office(tmp_path, Busy())
    arriving.append(office.engine.assess(attempt({"subject": "anne"}), 10.0))
    office.erase("anne")
    assert office.of("anne") == {}
