"""What others report of an account, and whoever would rather have it unheard: consent to `sharing` is the account's."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from riskd.adapters.memory import MemoryStore
from riskd.core import record
from riskd.core.assess import Release
from riskd.core.attempt import DOMAINS, SecurityEvent
from riskd.core.context import Missing
from riskd.core.record import AssessmentRecord
from riskd.core.requirement import Tier
from tests.bench import ASKED, Bench, release

__all__ = ["release"]


def asked(release: Release, domain: str, consent: tuple[str, ...] | None, *, reported: bool) -> AssessmentRecord:
    """The decision about a login to an account that somebody may have reported to be at high risk."""
    bench, login = Bench(release, MemoryStore()), replace(ASKED, domain=domain, consent=consent)
    if reported:
        event = SecurityEvent(domain=domain, subject=login.subject, kind="risk_level_change", level="high")
        bench.engine.record_event(event, 10.0)
    bench.assess(login)
    line = record.decode(bench.log.lines[-1])
    assert isinstance(line, AssessmentRecord)
    return line


@pytest.mark.parametrize("domain", DOMAINS)
def test_reports_count_by_the_consent_that_the_caller_sends(release: Release, domain: str) -> None:
    """With the consent of the account, a report asks a thief for a passkey, and denies a machine. With that of a page
    on which the thief refuses `sharing`, the decision is the one without a report, and names the gap."""
    least = Tier.DENY if domain == "machine" else Tier.PHISHING_RESISTANT
    for of_the_account in (("sharing",), None):
        assert Tier[asked(release, domain, of_the_account, reported=True).tier] >= least
    of_the_page, unreported = (asked(release, domain, (), reported=each) for each in (True, False))
    assert Missing("outside", "not_consented") in of_the_page.gaps
    assert of_the_page == unreported
