"""What an engine is given of the settings, and what its meter is told when it opens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shutil import copytree

import pytest

from riskd.adapters.decision_log import Bounds
from riskd.adapters.null import NullMeter
from riskd.config import data_directory, load
from riskd.core.errors import InvalidFile
from riskd.geo_databases import geo_files
from riskd.metrics.labels import DATABASES
from riskd.wiring import load_release, open_archive, open_engine

MADE = Path(__file__).parent / "data" / "maxmind"


class Told(NullMeter):
    """Keeps what it is told at the start."""

    def __init__(self) -> None:
        self.limits: list[int] = []
        self.built: dict[str, float] = {}
        self.budgets: dict[tuple[str, str], float] = {}
        self.roles: dict[str, tuple[str, Mapping[str, str]]] = {}

    def limited(self, size: int) -> None:
        """Keep it."""
        self.limits.append(size)

    def geo_built(self, database: str, timestamp: float) -> None:
        """Keep it."""
        self.built[database] = timestamp

    def friction_budget(self, domain: str, journey: str, share: float) -> None:
        """Keep it."""
        self.budgets[domain, journey] = share

    def installed(self, role: str, release: str, models: Mapping[str, str]) -> None:
        """Keep it."""
        self.roles[role] = (release, models)


def test_settings_are_given_in_the_units_of_what_they_are_for(tmp_path: Path) -> None:
    """Megabytes, minutes, days and milliseconds of the settings are bytes and seconds for the log and the store."""
    given = {
        "state.dir": str(tmp_path),
        "geo.dir": str(tmp_path),
        "store.map_size_mb": "16",
        "log.segment_mb": "2",
        "log.segment_minutes": "3",
        "log.keep_mb": "50",
        "log.keep_days": "7",
        "log.slow_ms": "250",
        "log.compact_minutes": "60",
    }
    settings, meter = load(None, {}, given), Told()
    with open_engine(settings, meter) as engine:
        log = engine.parts.log
        assert log._bounds == Bounds(  # type: ignore[attr-defined]
            segment_bytes=2 << 20, segment_seconds=180.0, keep_bytes=50 << 20, keep_seconds=604_800.0, slow_seconds=0.25
        )
    archive = open_archive(settings)
    assert (archive._segment_seconds, archive._every) == (180.0, 3600.0)
    assert meter.limits == [16 << 20]


def test_only_a_budget_that_metrics_can_be_compared_with_is_told(tmp_path: Path) -> None:
    """What a floor above BASELINE asks of everybody, metrics count as challenges, and a budget does not: there, they
    would always be above it."""
    rules = copytree(data_directory("policies"), tmp_path / "policies")
    customer = rules / "customer.yaml"
    text = customer.read_text()
    for journey in ("login", "recovery"):
        text = text.replace(f"\n  {journey}:\n", f"\n  {journey}:\n    friction_budget: 0.02\n", 1)
    customer.write_text(text)
    given = {"state.dir": str(tmp_path), "geo.dir": str(tmp_path), "release.policies": str(rules)}
    settings, meter = load(None, {}, {**given, "store.kind": "memory"}), Told()
    with open_engine(settings, meter):
        assert {key: share for key, share in meter.budgets.items() if share} == {("customer", "login"): 0.02}


def test_the_meter_is_told_what_is_in_use(tmp_path: Path) -> None:
    """At the start the meter is told of each geo database, and that there is none; of each role, and that no release
    has it; of the models that decide, and of the budgets; and that a store in memory has no limit."""
    databases = {
        "geo.city": "GeoIP2-City-Test",
        "geo.asn": "GeoLite2-ASN-Test",
        "geo.anonymous": "GeoIP2-Anonymous-IP-Test",
    }
    given = {"state.dir": str(tmp_path), "store.kind": "memory", "geo.dir": "/nowhere"}
    settings = load(None, {}, given | {key: str(MADE / f"{name}.mmdb") for key, name in databases.items()})
    meter = Told()
    release = load_release(settings)
    with open_engine(settings, meter):
        pass
    models = {domain: scorer.version for domain, scorer in release.scorers.items()}
    assert meter.roles == {"active": (release.id, models), "candidate": ("", {}), "shadow": ("", {})}
    journeys = [(domain, name) for domain, policy in release.policies.items() for name in policy.journeys]
    assert meter.budgets == dict.fromkeys(journeys, 0.0), "the shipped policies set none"
    assert meter.limits == [0]
    assert meter.built.keys() == set(DATABASES)
    assert all(meter.built.values())
    nowhere = Told()
    with open_engine(load(None, {}, given), nowhere):
        pass
    assert nowhere.built == dict.fromkeys(DATABASES, 0)


def test_a_named_database_replaces_those_of_its_kind(tmp_path: Path) -> None:
    """A geo database that the settings name is used in place of those of its kind in `geo.dir`; the others stay."""
    for name in ("made-city.mmdb", "made-asn.mmdb", "notes.txt"):
        (tmp_path / name).touch()
    best = MADE / "GeoIP2-City-Test.mmdb"
    found = geo_files(load(None, {}, {"geo.dir": str(tmp_path), "geo.city": str(best)}))
    assert found == [tmp_path / "made-asn.mmdb", best]


def test_a_missing_policy_is_told_with_where_to_get_it(tmp_path: Path) -> None:
    """If a policy is missing, the problem says where the shipped one is; all problems are told together."""
    with pytest.raises(InvalidFile) as told:
        load_release(load(None, {}, {"state.dir": str(tmp_path), "release.policies": str(tmp_path)}))
    assert [(problem.where, problem.what) for problem in told.value.problems] == [
        (str(tmp_path / f"{domain}.yaml"), "is missing") for domain in ("customer", "workforce", "machine")
    ]
