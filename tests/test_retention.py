"""Laws of retention: each identity domain's policy sets it, and shortening it has effect."""

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
    """Change the retention in the customers' policy."""
    policy = replace(RELEASE.policies["customer"], retention=retention)
    office.engine.install(Lineup(replace(RELEASE, policies={**RELEASE.policies, "customer": policy})))


def ends(office: Office, kind: bytes) -> set[float]:
    """The lifetimes in seconds of records of a kind, since the first sign-in."""
    return {expiry(record) - NOW for key, record in office.records().items() if key[-1:] == kind}


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


@pytest.mark.parametrize("retention", [USUAL, BRIEF])
def test_each_kind_of_record_ends_as_the_policy_says(office: Office, retention: Retention) -> None:
    """Profiles, shares and common values; activity; the subject's own activity, for its steps; receipts; replies."""
    keep(office, retention)
    office.sign_in("anne", journey="recovery", request_id="r-1")

    for kind in (PROFILE, SHARE, COMMON):
        assert ends(office, kind) == {float(retention.profile)}
    assert ends(office, ACTIVITY) == {float(retention.activity), float(retention.sequence)}
    assert (ends(office, RECEIPT), ends(office, REPLY)) == ({float(retention.receipt)}, {float(retention.reply)})


@pytest.mark.parametrize("days", [1, 100])
def test_outcomes_of_an_attempt_that_was_told_late_are_accepted_for_as_long(office: Office, days: int) -> None:
    """A receipt expires its retention after it was written, with or without outcomes, so fraud can undo what a backfill
    taught."""
    told_late = attempt({"subject": "anne"})
    answer = office.engine.assess(replace(told_late, time=NOW - days * DAY), 10.0)
    assert ends(office, RECEIPT) == {float(USUAL.receipt)}
    assert office.tell(answer, "session_established") == 1
    assert ends(office, RECEIPT) == {float(USUAL.receipt)}
    office.now += USUAL.receipt - 1

    assert office.tell(answer, "confirmed_fraud") == 0


def test_a_shorter_end_holds_from_the_next_touch(office: Office) -> None:
    """A stored record keeps its expiry until it is changed; then it follows the new policy."""
    answer = office.sign_in("anne", journey="recovery", kind="challenge_abandoned")
    keep(office, BRIEF)
    own = pseudonym("anne") + ACTIVITY
    assert expiry(office.records()[own]) == NOW + USUAL.sequence
    office.tell(answer, "confirmed_legitimate")
    office.now += 60
    office.sign_in("anne", kind="challenge_abandoned")

    assert expiry(office.records()[own]) == office.now + BRIEF.sequence
    assert min(ends(office, RECEIPT)) == BRIEF.receipt
    assert ends(office, PROFILE) == {float(BRIEF.profile)}


def test_a_longer_end_holds_from_the_next_touch(office: Office) -> None:
    """A record that is changed after its retention was lengthened is kept longer."""
    keep(office, BRIEF)
    office.sign_in("anne")
    keep(office, USUAL)
    office.sign_in("anne")
    assert ends(office, PROFILE) == {float(USUAL.profile)}


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_shipped_policies_keep_what_is_usual(domain: str) -> None:
    """The shipped files have the defaults, which lie within the bounds."""
    policy = load_policy(data_directory("policies") / f"{domain}.yaml", CelCompiler(NAMES))
    assert policy.retention == USUAL
    assert set(BOUNDS) == set(Retention.__struct_fields__)
    for name, (low, high) in BOUNDS.items():
        assert low <= getattr(USUAL, name) <= high
