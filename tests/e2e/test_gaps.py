"""Attempts with few signals are still scored, and the answer names what was missing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from riskd._proto.riskd.v1 import risk_pb2
from riskd._proto.riskd.v1.assessment_pb2 import TIER_BASELINE, TIER_DENY
from riskd.core import record
from riskd.offline.geo.mmdb import MmdbWriter
from tests.e2e.service import LONDON, Service, attempt, eventually, serving

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/153.0.0.0 Safari/537.36"
)
LATIN = "1.128.0.1"
"""An address that is in the tests' ASN database, and not in the city database."""


def gaps(answer: risk_pb2.AssessResponse) -> dict[str, str]:
    return {gap.source: gap.why for gap in answer.gaps}


def is_an_answer(answer: risk_pb2.AssessResponse) -> bool:
    """The answer has a score and a tier of the policy, and is not degraded."""
    known = TIER_BASELINE <= answer.requirement.tier <= TIER_DENY
    return known and 0 < answer.score < 1 and 0 <= answer.coverage < 1 and not answer.degraded


@pytest.mark.parametrize(
    ("ip", "place", "route"),
    [
        ("10.1.2.3", "unroutable", "unroutable"),
        ("192.168.0.1", "unroutable", "unroutable"),
        ("127.0.0.1", "unroutable", "unroutable"),
        ("224.0.0.1", "unroutable", "unroutable"),
        ("fd00::1", "unroutable", "unroutable"),
        ("::1", "unroutable", "unroutable"),
        (LATIN, "not_found", None),
        (LONDON, None, "not_found"),
        ("9.9.9.9", "not_found", "not_found"),
    ],
)
def test_an_address_without_a_place(ip: str, place: str | None, route: str | None, service: Service) -> None:
    """Unroutable and unknown addresses have different reasons, for each fact."""
    answer = service.assess(attempt(ip))
    assert is_an_answer(answer)
    found = gaps(answer)
    assert (found.get("place"), found.get("route")) == (place, route)


@pytest.mark.parametrize(
    ("user_agent", "why"),
    [("", "not_sent"), ("\N{PILE OF POO}" * 300, "unreadable"), ("Mozilla/5.0", "unreadable"), (CHROME, None)],
)
def test_an_unknown_user_agent_is_a_gap(user_agent: str, why: str | None, service: Service) -> None:
    """A user agent that cannot be parsed is a gap."""
    answer = service.assess(attempt(user_agent=user_agent))
    assert is_an_answer(answer)
    assert gaps(answer).get("agent") == why


@pytest.mark.parametrize("ip", [LONDON, "10.1.2.3", LATIN])
def test_ipv4_in_ipv6_is_ipv4(ip: str, tmp_path: Path, service: Service) -> None:
    """An IPv4-mapped IPv6 address gives the same answer and history as the IPv4 address."""
    plain, mapped = (
        service.assess(attempt(spelled, subject=f"{spelled} of {tmp_path.name}", user_agent=CHROME))
        for spelled in (ip, f"::ffff:{ip}")
    )
    for answer in (plain, mapped):
        answer.ClearField("assessment_id")
        answer.ClearField("valid_until_time")
    one, other = plain.score, mapped.score
    plain.ClearField("score")
    mapped.ClearField("score")
    assert plain == mapped
    assert one == pytest.approx(other, abs=0.05)


def test_only_what_is_required(service: Service) -> None:
    """Domain, subject, journey and address are enough; every expected source that is missing is named."""
    answer = service.assess(attempt("10.1.2.3"))
    assert is_an_answer(answer)
    assert {"place", "route", "agent", "device_id", "history"} <= gaps(answer).keys()


def city(path: Path, age: float) -> None:
    """Install, by renaming, a city database of this age that contains one address."""
    writer = MmdbWriter()
    writer.add(1 << 24, (1 << 24) + 255, writer.store({"country_code": "NO", "latitude": 60, "longitude": 11}))
    with path.with_suffix(".new").open("wb") as file:
        writer.write(file, "Test", int(time.time() - age * 86_400))
    path.with_suffix(".new").rename(path)


def test_stale_geo_data_are_reported_as_a_gap(tmp_path: Path) -> None:
    """With old geo data each answer reports `stale`, with the same score and tier; a newer file ends this without a
    restart."""
    database = tmp_path / "city.mmdb"
    city(database, 46)
    settings = {"RISKD_GEO__CITY": str(database), "RISKD_GEO__STALE_DAYS": "45", "RISKD_SERVER__WATCH_S": "0.2"}
    with serving(tmp_path / "state", settings=settings) as service:
        old = service.assess(attempt("1.0.0.1", subject="before"))
        assert is_an_answer(old)
        assert (gaps(old)["place"], gaps(old)["route"]) == ("stale", "stale")
        assert service.metric("riskd_gaps_total", source="place", why="stale") == 1
        assert service.metric("riskd_signal_arrivals_total", source="place") == 1
        assert service.metric("riskd_degraded_total") == 0
        (line,) = service.decisions()
        assert isinstance(line, record.AssessmentRecord)
        assert (line.facts.place and line.facts.place.country, line.facts.stale) == ("NO", ("place", "route"))

        built = service.metric("riskd_geo_build_timestamp_seconds", database="city")
        city(database, 44)
        eventually(lambda: service.metric("riskd_geo_build_timestamp_seconds", database="city") > built)
        new = service.assess(attempt("1.0.0.1", subject="after"))
        assert gaps(new) == {source: why for source, why in gaps(old).items() if source != "place"}
        assert (new.score, new.coverage, new.requirement) == (old.score, old.coverage, old.requirement)


def test_without_geo_databases(tmp_path: Path) -> None:
    """Without geo databases the service starts, says so, and place and route are gaps."""
    with serving(tmp_path, settings={"RISKD_GEO__CITY": "", "RISKD_GEO__ASN": ""}) as service:
        assert "geo none (place and route are gaps" in service.line
        answer = service.assess(attempt())
        assert is_an_answer(answer)
        found = gaps(answer)
        assert (found["place"], found["route"]) == ("not_installed", "not_installed")
        assert service.metric("riskd_gaps_total", source="place", why="not_installed") == 1
