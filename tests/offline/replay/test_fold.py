"""Replaying a log reproduces the same vectors bit for bit, also in buckets and under another release."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.adapters.memory import MemoryStore
from riskd.core import record
from riskd.core.attempt import OUTCOMES
from riskd.core.context import Missing
from riskd.core.features import NAMES
from riskd.core.features.consistency import _hints_mismatch, systems
from riskd.core.history import DAY, HOUR
from riskd.core.recall import RECEIPT
from riskd.core.record import AssessmentRecord, OutcomeRecord, SecurityEventRecord
from riskd.core.stored import PLACE
from riskd.offline.buckets import Bucket
from riskd.offline.replay.fold import Fold
from tests.doubles import ForgetfulStore, ListLog
from tests.offline.town import COUNTING, Town, live_with_losses, lived

LINES = 400


def rerun(lines: list[bytes], bucket: Bucket = Bucket(), fold: Fold | None = None) -> list[bytes]:  # noqa: B008
    """The lines that a fold writes for these lines."""
    fold, found = fold or Fold(COUNTING, MemoryStore(), bucket), []
    for line in lines:
        one = record.decode(line)
        if isinstance(one, OutcomeRecord):
            if fold.outcome(one):
                found.append(line)
        elif isinstance(one, SecurityEventRecord):
            if fold.event(one):
                found.append(line)
        elif isinstance(one, AssessmentRecord) and (again := fold.assess(one)) is not None:
            found.append(record.encode(again))
    return found


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    log = ListLog()
    lived(log, LINES, gossip=0.2, release=COUNTING)
    return log.lines


def test_a_replayed_log_is_the_same_log(lines: list[bytes]) -> None:
    """With the release that decided, every line is reproduced exactly, with shared addresses and devices and with late,
    repeated and withdrawn outcomes."""
    told = [one for line in lines if isinstance(one := record.decode(line), OutcomeRecord)]
    taught = {one.assessment_id for one in told if one.taught}
    assert any(one.kind == "confirmed_fraud" and one.assessment_id in taught for one in told), "a lesson was undone"
    assert {one.kind for one in told} >= set(OUTCOMES) - {"sign_in_abandoned"}
    again = rerun(lines)
    assert len(again) == len(lines)
    for before, after in zip(lines, again, strict=True):
        assert after == before


def test_a_log_under_a_short_retention_is_replayed_as_it_was() -> None:
    """If a policy keeps profiles for less than the tables could, a replay forgets an account's beginning when the
    service did."""
    policies = {
        domain: replace(policy, retention=replace(policy.retention, profile=14 * DAY))
        for domain, policy in COUNTING.policies.items()
    }
    log, release = ListLog(), replace(COUNTING, policies=policies)
    Town(log, apart=4 * HOUR, release=release).live(LINES)
    assert rerun(log.lines, fold=Fold(release, MemoryStore())) == log.lines


def test_accounts_that_nobody_remembers_are_replayed_as_they_were() -> None:
    """If the log says when an account was registered, a replay knows for how long it has rested at least."""
    log, visit = ListLog(), NAMES.index("days_since_visit")
    Town(log, people=90, apart=12 * HOUR, release=COUNTING).live(150)
    said = [one for one in map(record.decode, log.lines) if isinstance(one, AssessmentRecord) and one.registration_time]
    assert any(one.vector[visit] and Missing("history", "none_yet") in one.facts.missing for one in said)
    assert rerun(log.lines) == log.lines


def test_attempts_that_could_read_only_a_part_are_replayed_as_they_were() -> None:
    """If histories could not be read for some attempts, the log says which, and a replay gives the same lines."""
    log, store = ListLog(), ForgetfulStore()
    town = Town(log, store=store, release=COUNTING)
    live_with_losses(town, store, 30)
    unread = {name for line in map(record.decode, log.lines) if isinstance(line, AssessmentRecord)
              for name in line.facts.unread}  # fmt: skip
    assert unread >= {
        "subject",
        "address",
        "network",
        "device",
        "domain",
        "country",
        "browser",
        "asn",
        "operator",
        "counted.plan",
    }
    again = rerun(log.lines)
    assert again == log.lines


def test_every_feature_is_exercised(lines: list[bytes]) -> None:
    """The log exercises every feature, so that its equality covers all of them."""
    vectors = [one.vector for line in lines if isinstance(one := record.decode(line), AssessmentRecord)]
    silent = [name for name, values in zip(NAMES, zip(*vectors, strict=True), strict=True) if len(set(values)) < 2]
    assert silent == ["proxy"], "no address of the town is a proxy"


@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_buckets_make_up_the_whole(lines: list[bytes], count: int) -> None:
    """Each bucket replays all attempts and writes its own; together they write every line once."""
    parts = [rerun(lines, Bucket(index, count)) for index in range(count)]
    assert sum(map(bool, parts)) > 1
    assert sorted(line for part in parts for line in part) == sorted(lines)


def test_of_other_buckets_nothing_is_kept_that_nobody_else_sees(lines: list[bytes]) -> None:
    """Of the subjects of other buckets, the store has receipts, but neither profiles nor activity."""
    subjects = {one.subject for line in lines if isinstance(one := record.decode(line), AssessmentRecord)}
    ours = Bucket(1, 3)
    kept = {}
    for bucket in (ours, Bucket()):
        store = MemoryStore()
        rerun(lines, fold=Fold(COUNTING, store, bucket))
        kept[bucket] = {(key[:PLACE].hex(), key[-1:]) for key in store.walk(b"", 1 << 20)[0]}
    places = {subject[: 2 * PLACE] for subject in subjects if not ours.has(subject)}
    assert places
    others = {(place, kind) for place, kind in kept[Bucket()] if place in places}
    assert kept[Bucket()] - kept[ours] == {(place, kind) for place, kind in others if kind != RECEIPT}


def test_an_attempt_that_the_store_did_not_see_stays_unseen(lines: list[bytes]) -> None:
    """If the store failed at an attempt, the replay treats it as failed, too."""
    firsts = [record.decode(line) for line in lines[:200]]
    at, one = next((at, one) for at, one in enumerate(firsts) if isinstance(one, AssessmentRecord) and at > 100)
    lost = replace(one, causes=("store:not_written",))
    others = [*lines[:at], *lines[at + 1 : 200]]
    gone = one.id.encode()
    without = [line for line in rerun(others) if gone not in line]
    fold = Fold(COUNTING, MemoryStore())
    with_it = rerun([*lines[:at], record.encode(lost), *lines[at + 1 : 200]], fold=fold)
    assert [line for line in with_it if gone not in line] == without
    assert any(b'"store:not_written"' in line and gone in line for line in with_it)


def test_an_attempt_that_the_log_has_twice_counts_once_in_histories(lines: list[bytes]) -> None:
    """A line that comes again is counted, whether its subject is of this bucket or another, and changes nothing that
    comes after it."""
    firsts = lines[:200]
    at = next(at for at, line in enumerate(firsts) if at > 50 and line.startswith(b'{"type":"assessment"'))
    for bucket in (Bucket(), Bucket(0, 2), Bucket(1, 2)):
        once, twice = (Fold(COUNTING, MemoryStore(), bucket) for _ in range(2))
        plain = rerun(firsts, fold=once)
        again = rerun([*firsts[: at + 1], firsts[at], *firsts[at + 1 :]], fold=twice)
        assert (once.counts["twice"], twice.counts["twice"]) == (0, 1)
        assert set(again) >= set(plain)
        assert [line for line in again if firsts[at][22:60] not in line] == [
            line for line in plain if firsts[at][22:60] not in line
        ]


def test_lines_without_signals_are_counted_and_left_out(lines: list[bytes]) -> None:
    """Lines without signals are skipped with their outcomes and counted; security events need none and are kept."""
    old = [record.encode(replace(one, signals=None)) if isinstance(one, AssessmentRecord) else line
           for line, one in zip(lines, map(record.decode, lines), strict=True)]  # fmt: skip
    fold = Fold(COUNTING, MemoryStore())
    kinds = Counter(line[9 : line.index(b'"', 9)].decode() for line in lines)
    assert Counter(line[:16] for line in rerun(old, fold=fold)) == {b'{"type":"event",': kinds["event"]}
    assert dict(fold.counts) == {
        "without_signals": kinds["assessment"],
        "outcomes_of_nothing": kinds["outcome"],
        "events": kinds["event"],
    }


WORDS = ("Windows", "Macintosh", "Mac OS X", "iPhone", "iPad", "Android", "Linux", "X11", "CrOS", "Mobi", "Mobile", "x")


@given(
    agent=st.lists(st.sampled_from(WORDS)).map("; ".join),
    platform=st.sampled_from(["", "Windows", "macOS", "iOS", "Android", "Chrome OS", "Linux", "Plan 9"]),
    mobile=st.sampled_from([None, True, False]),
)
def test_recorded_agent_words_give_the_same_hints_mismatch(agent: str, platform: str, mobile: bool | None) -> None:
    """The recorded words of a user agent give the same `hints_mismatch` as the whole text."""
    whole, words = _hints_mismatch(agent, platform, mobile), _hints_mismatch(systems(agent), platform, mobile)
    assert whole == words or (math.isnan(whole) and math.isnan(words))
