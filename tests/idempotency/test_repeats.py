"""A request id makes an attempt idempotent, however often, by whichever process and at whatever time it is repeated."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.adapters.lmdb_store import LmdbStore
from riskd.adapters.memory import MemoryStore
from riskd.core import record
from riskd.core.assess import Release
from riskd.core.attempt import OUTCOMES, Attempt, Behaviour, Device, Federation, Network, Outcome, Outside, Session
from riskd.core.context import Remembered
from riskd.core.errors import InvalidAttempt
from riskd.core.retention import REPLY_SECONDS
from riskd.ports import HistoryStore
from riskd.server.risk_servicer import RiskServicer
from tests.bench import ASKED, Bench, at_once, release, store
from tests.cases.world import NOW, TableGeo, facts
from tests.decision_log import read_segments
from tests.doubles import FailingStore, ListLog
from tests.idempotency.replica import LOGIN
from tests.shipped import shipped_release

__all__ = ["release", "store"]
ROOT: Final = Path(__file__).parents[2]
RELEASE: Final = shipped_release()
REPLICAS, REQUESTS = 4, 25


class SharedLog(ListLog):
    """A log that several replicas write to."""

    def kinds(self) -> Counter[str]:
        return Counter(type(record.decode(line)).__name__ for line in self.lines)


def counted(store: HistoryStore) -> tuple[int, int]:
    """Attempts counted on the account of LOGIN, and units that it was taught."""
    _, context = facts(LOGIN, TableGeo({}), NOW, store)
    assert isinstance(context.remembered, Remembered)
    subject = context.remembered.subject
    tries = sum(subject.activity.tallies.of("attempt_day").get("", [0])[1:])
    return tries, sum(subject.profile.tallies.of("sign_in").get("", [0])[1:])


def start(directory: Path, number: int) -> subprocess.Popen[str]:
    arguments = [str(directory / "store"), str(directory / "log"), str(number), str(REQUESTS)]
    command = [sys.executable, "-m", "tests.idempotency.replica", *arguments]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.mark.slow
def test_concurrent_repeats_across_processes_count_once(tmp_path: Path) -> None:
    """If each id is sent to each process at once, there is one answer, one count, one lesson and one logged assessment;
    the rest are logged as repeats."""
    processes = [start(tmp_path, number) for number in range(REPLICAS)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [json.loads(process.communicate()[0]) for process in processes]

    assert all(one == told[0] for one in told)
    assert len(set(told[0].values())) == REQUESTS
    with closing(LmdbStore(tmp_path / "store")) as shared:
        assert counted(shared) == (REQUESTS, REQUESTS)
    lines = [record.decode(line) for line in read_segments(tmp_path / "log")]
    assessed = [line.id for line in lines if isinstance(line, record.AssessmentRecord)]
    repeated = [line.id for line in lines if isinstance(line, record.RepeatRecord)]
    assert len(assessed) == len(set(assessed)) == REQUESTS
    assert Counter(repeated) == dict.fromkeys(assessed, REPLICAS - 1)


def test_engines_on_one_store_answer_alike_and_count_once(release: Release, store: HistoryStore) -> None:
    """The same holds for eight engines in one process that get the same request at once."""
    log = SharedLog()
    replicas = [Bench(release, store, log) for _ in range(8)]
    answers = at_once(lambda number: replicas[number].assess(ASKED))

    assert all(answer == answers[0] for answer in answers)
    assert counted(store) == (1, 0)
    assert log.kinds() == {"AssessmentRecord": 1, "RepeatRecord": 7}
    assert sum(bench.meter.told["assessed", "customer", "login", "BASELINE"] for bench in replicas) <= 1
    assert sum(count for bench in replicas for told, count in bench.meter.told.items() if told[0] == "assessed") == 1


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["", "a", "b", "c"]), st.booleans()), max_size=12))
def test_any_sequence_counts_each_id_once(sent: list[tuple[int, str, bool]]) -> None:
    """For any sequence of requests to three replicas with outcomes in between, each id is counted and assessed once,
    and each request without an id once."""
    shared, log = MemoryStore(), SharedLog()
    replicas = [Bench(RELEASE, shared, log) for _ in range(3)]
    answers: dict[str, Any] = {}
    for replica, request_id, settled in sent:
        answer = replicas[replica].assess(replace(LOGIN, request_id=request_id))
        assert answers.setdefault(request_id or answer.id, answer) == answer
        if settled:
            assert replicas[replica - 1].tell(answer, "session_established") == 1

    assert counted(shared)[0] == len(answers) == log.kinds()["AssessmentRecord"]
    assert log.kinds()["RepeatRecord"] == len(sent) - len(answers)


OTHER: Final[dict[str, dict[str, Any]]] = {
    "journey": {"journey": "payment"},
    "credential": {"credential_result": "failed"},
    "address": {"network": Network(client_ip="203.0.113.9")},
    "device": {"device": Device(device_id="stranger")},
    "session": {"session": Session(id="another")},
    "binding": {"session": Session(binding="failed")},
    "federation": {"federation": Federation(issuer="https://idp.example")},
    "attributes": {"attributes": {"plan": "gold"}},
}
MEASURED: Final[dict[str, dict[str, Any]]] = {
    "time": {"time": NOW + 5},
    "round trip": {"network": replace(LOGIN.network, rtt_ms=77.0)},
    "chain": {"network": replace(LOGIN.network, forwarded=("192.0.2.1",))},
    "behaviour": {"behaviour": Behaviour(form_seconds=3.0)},
    "outside": {"outside": Outside(credential_breached=True)},
    "registration": {"registration_time": 1.5e9},
}


@pytest.mark.parametrize("fields", OTHER.values(), ids=OTHER)
def test_a_request_id_used_for_another_attempt_is_refused(
    fields: dict[str, Any], release: Release, store: HistoryStore
) -> None:
    """A different attempt with an already used id is refused; nothing is counted or logged, and the first answer stays
    valid."""
    bench = Bench(release, store)
    first = bench.assess(ASKED)
    with pytest.raises(InvalidAttempt, match="request_id"):
        bench.assess(replace(ASKED, **fields))

    assert bench.assess(ASKED) == first
    assert bench.tries() == bench.logged() == 1


@pytest.mark.parametrize("fields", MEASURED.values(), ids=MEASURED)
def test_an_attempt_measured_again_is_the_same_attempt(fields: dict[str, Any], release: Release) -> None:
    """A retry may differ in what is measured again, such as clocks and round-trip times."""
    bench = Bench(release, MemoryStore())
    assert bench.assess(ASKED) == bench.assess(replace(ASKED, **fields))


def test_two_attempts_at_once_under_one_id(release: Release, store: HistoryStore) -> None:
    """If two different attempts use one id at once, one is assessed and the other refused."""
    bench = Bench(release, store)

    def send(number: int) -> str:
        try:
            return bench.assess(ASKED if number % 2 else replace(ASKED, journey="payment")).id
        except InvalidAttempt:
            return "refused"

    told = Counter(at_once(send))
    assert sorted(told.values()) == [4, 4]
    assert told["refused"] == 4
    assert bench.tries() == bench.logged() == 1


def test_an_expired_request_id_starts_a_new_attempt(release: Release, store: HistoryStore) -> None:
    """Once the first answer has expired, the id stands for a new attempt, which again is counted and logged once. Both
    have an outcome of their own."""
    bench = Bench(release, store)
    first = bench.assess(ASKED)
    bench.now += REPLY_SECONDS
    later = at_once(lambda _: bench.assess(ASKED))

    assert {answer.id for answer in later} == {bench.assess(ASKED).id}
    assert later[0].id != first.id
    assert (bench.tries(), bench.logged()) == (2, 2)
    assert [bench.tell(answer, "session_established") for answer in (later[0], first)] == [1, 1]


def test_a_repeat_reports_the_causes_of_the_first_answer(release: Release) -> None:
    """A repeat has the causes of the first answer; an answer that could not be stored is not repeated, but the next one
    has its id."""
    bench = Bench(release, MemoryStore(), ListLog(full=True))
    first = bench.assess(ASKED)
    assert first.causes == ("decision_log:not_written",)
    assert Bench(release, bench.store).assess(ASKED) == first

    failing = FailingStore(reads=True)
    lost = Bench(release, failing).assess(ASKED)
    assert lost.causes == ("store:not_written",)
    failing.writes = True
    kept = Bench(release, failing).assess(ASKED)
    assert (kept.causes, kept.id) == ((), lost.id)


class Unhurried:
    """A call with plenty of time left."""

    def time_remaining(self) -> float:
        return 60.0

    def is_active(self) -> bool:
        return True


def test_repeats_in_batches_are_answered_like_repeated_calls(release: Release) -> None:
    """Repeats within a batch, and of a whole batch, are counted once and get the same answers."""
    from riskd._proto.riskd.v1 import risk_pb2
    from tests.e2e.service import attempt

    bench = Bench(release, MemoryStore())
    servicer = RiskServicer(bench.engine, 10.0)
    batch = risk_pb2.BatchAssessRequest(
        requests=[attempt(subject="kim", request_id=each) for each in ("a", "b", "a", "", "")]
    )
    once, twice = (servicer.batch_assess(batch, Unhurried()).results for _ in range(2))

    ids = [result.response.assessment_id for result in once]
    assert ids[0] == ids[2]
    assert len(set(ids)) == 4
    assert [one == other for one, other in zip(once, twice, strict=True)] == [True, True, True, False, False]
    assert bench.logged() == 6


def test_concurrent_outcomes_are_accepted_and_fraud_takes_precedence(release: Release, store: HistoryStore) -> None:
    """Concurrent outcomes of any kind are all accepted, and fraud takes precedence."""
    bench = Bench(release, store)
    answer = bench.assess(LOGIN)
    kinds = [*OUTCOMES, *OUTCOMES][:8]
    at_once(lambda number: [bench.tell(answer, kinds[(number + at) % 8]) for at in range(8)])

    assert bench.tell(answer, "confirmed_fraud") == 0
    assert bench.learned().tallies.sign_in is None


@settings(max_examples=60)
@given(st.lists(st.sampled_from(OUTCOMES), max_size=6))
def test_outcomes_reported_twice_change_nothing_more(kinds: list[str]) -> None:
    """Reporting each outcome twice leaves the store as reporting it once."""

    def after(told: list[str]) -> tuple[Any, ...]:
        bench = Bench(RELEASE, MemoryStore())
        answer = bench.assess(ASKED)
        for kind in told:
            bench.engine.record(Outcome(assessment_id=answer.id, kind=kind), 10.0)
        return bench.learned(), bench._subject().activity

    assert after([kind for kind in kinds for _ in range(2)]) == after(kinds)


def test_every_field_is_compared_or_known_to_vary(release: Release) -> None:
    """Each field of an attempt is either compared between repeats or known to vary, so that a new field is not
    forgotten."""
    compared = {"journey", "credential_result", "network", "device", "session", "federation", "attributes"}
    identifies = {"tenant", "domain", "subject", "request_id"}
    measured_again = {"time", "place", "behaviour", "outside", "consent", "registration_time"}
    assert set(Attempt.__struct_fields__) == compared | identifies | measured_again
