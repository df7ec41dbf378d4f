"""Log records to export: one with every field set, and generated ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.core.attempt import CREDENTIAL_RESULTS, DOMAINS, JOURNEYS, OUTCOMES, PROTOCOLS, RISK_LEVELS
from riskd.core.context import SOURCES, WHYS, Agent, Missing, Place, Route
from riskd.core.pseudonym import short
from riskd.core.record import AssessmentRecord, Authentication, Facts, OutcomeRecord, Signals
from riskd.core.requirement import METHODS, Tier
from tests.decision_log import WHENCE, decision, outcome

TIME: Final = 1_764_252_300.25
"""2025-11-27, 14:05:00.25 UTC."""
SUBJECT: Final = "6f1ed002ab5595859014ebf0951522d9"
ID: Final = SUBJECT[:16] + "c0ffee0123456789"
WHOLE: Final = replace(
    decision(0, TIME),
    id=ID,
    tenant="shop",
    subject=SUBJECT,
    request_id="r-20251127-0042",
    facts=Facts(
        now=TIME,
        network="203.0.113.0/24",
        values=WHENCE | {"device": "Exb3pL5K", "fingerprint": "rL0Y20zC", "address": "N7UdGUp1"},
        place=Place("NO", 59.91, 10.75, 50.0, "Oslo County", "Oslo", "Europe/Oslo", 60),
        route=Route(64500, "Example Hosting", hosting=True, anonymizer="vpn"),
        agent=Agent("Chrome", "142", "Windows", "11", "desktop", automated=True),
        missing=(Missing("fingerprint", "not_sent"),),
        counted={"payee_id.subjects_24h": 3.0},
    ),
    log_odds=-0.3216,
    score=0.4203,
    level="medium",
    tier="PHISHING_RESISTANT",
    satisfied=False,
    hits=("new_device_from_hoster",),
    shadow_hits=("vpn_at_night",),
    reasons=("CREDENTIAL_STUFFING", "NEW_DEVICE", "HOSTING_NETWORK"),
    contributions={"new_device": 1.25, "hosting": 0.75, "velocity": 0.0},
    gaps=(Missing("behaviour", "not_consented"),),
    coverage=0.82,
    causes=("store:not_written",),
    release="5d41402abc4b2a76b9719d911017c592",
    model="hand-set-4",
    session=Authentication(acr="phr", amr=("pwd",), authentication_time=TIME - 3600, start_time=TIME - 7200),
    federation=Authentication(issuer="https://idp.example", protocol="oidc", amr=("pwd", "otp")),
    attributes={"amount": "250.00"},
    lists=("offices",),
    withheld="",
    signals=Signals(ja4="t13d1516h2_8daaf6152771_b186095e22b6"),
    written=TIME + 0.004,
)
Record = AssessmentRecord | OutcomeRecord
LEARNING: Final = replace(WHOLE, tier="BASELINE", satisfied=True, withheld="PHISHING_RESISTANT")


def told(kind: str, **changes: object) -> OutcomeRecord:
    """An outcome of `WHOLE`, a minute and a half later."""
    usual = outcome(0, TIME + 90, kind, assessment_id=ID, tenant="shop", written=TIME + 90.5)
    return replace(usual, **changes)


PASSED: Final = told("challenge_passed", amr=("hwk", "pin", "mfa"), seconds=8.5)


def _word(words: Iterable[str]) -> st.SearchStrategy[str]:
    """Usually a word that riskd knows, sometimes any other text."""
    return st.sampled_from([*words]) | st.text(min_size=1, max_size=12)


_Line = TypeVar("_Line", AssessmentRecord, OutcomeRecord)


def _afterwards(line: _Line) -> _Line:
    """The line, written no earlier than its event."""
    return replace(line, written=max(line.time, line.written or line.time))


def _of_one_moment(line: AssessmentRecord) -> AssessmentRecord:
    """The assessment, with its facts as of its own time."""
    return replace(line, facts=replace(line.facts, now=line.time))


_TEXT: Final = st.text(max_size=12)
_MOMENTS: Final = st.floats(min_value=0, max_value=4e9)
_SHARES: Final = st.floats(min_value=0, max_value=1)
_TIERS: Final = st.sampled_from([tier.name for tier in Tier])
_SHORT: Final = st.binary(min_size=6, max_size=6).map(short)
_HEXADECIMAL: Final = st.text("0123456789abcdef", min_size=32, max_size=32)
_WORDS: Final = st.lists(st.text(min_size=1, max_size=12), max_size=3).map(tuple)
_METHODS: Final = st.lists(_word(METHODS), max_size=4).map(tuple)
_GAPS: Final = st.lists(
    st.builds(Missing, st.sampled_from([*SOURCES]), st.sampled_from([*WHYS])),
    max_size=3,
    unique_by=lambda gap: gap.source,
).map(tuple)
_SAID: Final = st.none() | st.builds(
    Authentication,
    acr=st.text(max_size=8),
    amr=_METHODS,
    authentication_time=st.none() | _MOMENTS,
    issuer=st.text(max_size=8),
    start_time=st.none() | _MOMENTS,
    protocol=_word(PROTOCOLS),
)
_FACTS: Final = st.builds(
    Facts,
    now=_MOMENTS,
    network=st.sampled_from(["203.0.113.0/24", "2001:db8:85a3::/48", "2001:db8::/48"]),
    values=st.fixed_dictionaries(
        {"address": _SHORT, "network": _SHORT}, optional={"device": _SHORT, "fingerprint": _SHORT, "country": _TEXT}
    ),
    place=st.none()
    | st.builds(
        Place,
        st.sampled_from(["NO", "AU", ""]),
        st.floats(-90, 90),
        st.floats(-180, 180),
        st.floats(1, 20_038),
        _TEXT,
        _TEXT,
    ),
    route=st.none() | st.builds(Route, st.integers(0, 2**32 - 1), _TEXT, st.booleans(), st.sampled_from(["", "tor"])),
    agent=st.none()
    | st.builds(
        Agent,
        _TEXT,
        _TEXT,
        _word(["Windows", "Mac OS X", "iOS", "Android", "Ubuntu", "Chrome OS"]),
        _TEXT,
        _word(["desktop", "mobile", "tablet", "tv", "bot", "other"]),
        st.booleans(),
    ),
    missing=_GAPS,
)
assessments: Final = (
    st.builds(
        AssessmentRecord,
        id=_HEXADECIMAL,
        time=_MOMENTS,
        tenant=_TEXT,
        domain=st.sampled_from(DOMAINS),
        journey=st.sampled_from(JOURNEYS),
        subject=_HEXADECIMAL,
        request_id=_TEXT,
        credential_result=st.sampled_from(CREDENTIAL_RESULTS),
        facts=_FACTS,
        vector=st.just(()),
        log_odds=st.floats(-50, 50),
        score=_SHARES,
        level=st.sampled_from(RISK_LEVELS[1:]),
        tier=_TIERS,
        satisfied=st.booleans(),
        hits=_WORDS,
        shadow_hits=_WORDS,
        reasons=_WORDS,
        contributions=st.none() | st.dictionaries(st.text(max_size=8), st.floats(-9, 9), max_size=3),
        gaps=_GAPS,
        coverage=_SHARES,
        causes=_WORDS,
        release=_TEXT,
        model=_TEXT,
        session=_SAID,
        federation=_SAID,
        attributes=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=2),
        lists=_WORDS,
        withheld=st.just("") | _TIERS,
        signals=st.none() | st.builds(Signals, ja4=_TEXT),
        written=st.none() | _MOMENTS,
    )
    .map(_afterwards)
    .map(_of_one_moment)
)
outcomes: Final = st.builds(
    OutcomeRecord,
    assessment_id=_HEXADECIMAL,
    time=_MOMENTS,
    tenant=_TEXT,
    domain=st.sampled_from(DOMAINS),
    journey=st.sampled_from(JOURNEYS),
    kind=st.sampled_from(OUTCOMES),
    amr=_METHODS,
    seconds=st.none() | st.floats(0, 86_400),
    taught=st.integers(0, 8),
    written=st.none() | _MOMENTS,
).map(_afterwards)
