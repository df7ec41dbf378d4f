"""Retention: each domain's policy sets how long records are kept, and a shorter retention applies to existing ones."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from riskd.adapters.cel_rules import CelCompiler
from riskd.adapters.policy_file import load_policy
from riskd.config import data_directory
from riskd.core.attempt import DOMAINS
from riskd.core.features import NAMES
from riskd.core.history import DAY, HOUR, WEEK
from riskd.core.lineup import Lineup
from riskd.core.recall import ACTIVITY, COMMON, PROFILE, RECEIPT, REPLY, SHARE
from riskd.core.retention import BOUNDS, USUAL, Retention
from riskd.core.stored import expiry
from tests.cases.world import NOW, attempt
from tests.office import RELEASE, Office, pseudonym

BRIEF: Final = Retention(profile=WEEK, activity=HOUR, sequence=2 * DAY, receipt=3 * DAY, reply=600, log=DAY)


def keep(office: Office, retention: Retention) -> None:
    """Set the retention in the customer policy."""
    policy = replace(RELEASE.policies["customer"], retention=retention)
    office.engine.install(Lineup(replace(RELEASE, policies={**RELEASE.policies, "customer": policy})))


def ends(office: Office, kind: bytes) -> set[float]:
    """Seconds from the first sign-in after which records of a kind expire."""
    return {expiry(record) - NOW for key, record in office.records().items() if key[-1:] == kind}


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


@pytest.mark.parametrize("retention", [USUAL, BRIEF])
def test_each_kind_of_record_ends_as_the_policy_says(office: Office, retention: Retention) -> None:
    """Each kind of record expires after its own retention."""
    keep(office, retention)
    office.sign_in("anne", journey="recovery", request_id="r-1")

    for kind in (PROFILE, SHARE, COMMON):
        assert ends(office, kind) == {float(retention.profile)}
    assert ends(office, ACTIVITY) == {float(retention.activity), float(retention.sequence)}
    assert (ends(office, RECEIPT), ends(office, REPLY)) == ({float(retention.receipt)}, {float(retention.reply)})


@pytest.mark.parametrize("days", [1, 100])
def test_outcomes_of_a_late_attempt_are_accepted_for_the_full_time(office: Office, days: int) -> None:
    """The receipt of a late attempt is kept for the full time from when it was written, so that fraud can take back
    what a backfill taught."""
    told_late = attempt({"subject": "anne"})
    answer = office.engine.assess(replace(told_late, time=NOW - days * DAY), 10.0)
    assert ends(office, RECEIPT) == {float(USUAL.receipt)}
    assert office.tell(answer, "session_established") == 1
    assert ends(office, RECEIPT) == {float(USUAL.receipt)}
    office.now += USUAL.receipt - 1

    assert office.tell(answer, "confirmed_fraud") == 0


def test_a_shorter_end_holds_from_the_next_touch(office: Office) -> None:
    """After retention is shortened, a stored record keeps its expiry until it is next written; then the shorter one
    applies."""
    answer = office.sign_in("anne", journey="recovery", kind="challenge_abandoned")
    keep(office, BRIEF)
    own = pseudonym("anne") + ACTIVITY
    assert expiry(office.records()[own]) == NOW + USUAL.sequence
    office.tell(answer, "confirmed_legitimate")
    office.now += 60
    office.sign_in("anne", kind="challenge_abandoned")

    assert expiry(office.records()[own]) == office.now + BRIEF.sequence
    assert ends(office, ACTIVITY) == {60.0 + BRIEF.sequence, 60.0 + BRIEF.activity}
    assert min(ends(office, RECEIPT)) == BRIEF.receipt
    assert ends(office, PROFILE) == {float(BRIEF.profile)}


def test_a_longer_end_holds_from_the_next_touch(office: Office) -> None:
    """After retention is lengthened, records are kept longer from their next write on."""
    keep(office, BRIEF)
    office.sign_in("anne")
    keep(office, USUAL)
    office.sign_in("anne")
    assert ends(office, PROFILE) == {float(USUAL.profile)}


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_shipped_policies_keep_what_is_usual(domain: str) -> None:
    """The retention in the shipped policies equals the defaults and lies within the bounds."""
    policy = load_policy(data_directory("policies") / f"{domain}.yaml", CelCompiler(NAMES))
    assert policy.retention == USUAL
    assert set(BOUNDS) == set(Retention.__struct_fields__)
    for name, (low, high) in BOUNDS.items():
        assert low <= getattr(USUAL, name) <= high
