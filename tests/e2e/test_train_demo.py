"""`riskd demo --train` on a small scale: from two simulated worlds to a model that decides in a running service."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet  # type: ignore[import-untyped]

from riskd.adapters.model_file import load_model, read_reference
from riskd.adapters.model_registry import Registry
from riskd.config import data_directory
from riskd.core.features import DEFINITIONS
from riskd.offline.world.tables import read_tables
from tests.e2e.service import ROOT, environment

SMALL = ("--users", "100", "--attack-share", "0.3")


def databases(directory: Path) -> dict[str, str]:
    """Settings with city and ASN databases that contain networks of every operator of the worlds."""
    directory.mkdir()
    tables = read_tables(data_directory("world"))
    codes = [each.code for each in tables.countries]
    city, asn = (MMDBWriter(4, f"test-{name}", float_type="f32") for name in ("city", "asn"))
    for number, (operator, country) in enumerate(dict.fromkeys((each.asn, each.country) for each in tables.operators)):
        whole = IPSet([f"40.{number}.0.0/18"])
        asn.insert_network(whole, {"autonomous_system_number": operator, "autonomous_system_organization": "test"})
        for at in range(64):
            code = country or codes[at % len(codes)]
            where = codes.index(code)
            place = {
                "country_code": code,
                "city": f"{code}{at % 4}",
                "state1": "",
                "latitude": 5.0 + 3 * where + at % 4 / 8,
                "longitude": 10.0 * where - 90,
            }
            city.insert_network(IPSet([f"40.{number}.{at}.0/24"]), place)
    city.to_db_file(str(directory / "city.mmdb"))
    asn.to_db_file(str(directory / "asn.mmdb"))
    return {"RISKD_GEO__DIR": str(directory), "RISKD_GEO__CITY": "", "RISKD_GEO__ASN": ""}


@pytest.mark.slow
@pytest.mark.timeout(540)
def test_a_model_is_trained_judged_promoted_and_decides(tmp_path: Path) -> None:
    """One command trains, evaluates and promotes a model without a failed call, prints every check, records the
    promotion, and writes the report."""
    out = tmp_path / "out"
    settings = databases(tmp_path / "geo")
    command = [sys.executable, "-m", "riskd", "demo", "--train", "--no-geo", "--out", str(out), *SMALL]
    done = subprocess.run(
        command, env=environment(tmp_path, settings), cwd=ROOT, capture_output=True, text=True, timeout=530, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    meanwhile = re.search(r"([\d,]+) calls over gRPC meanwhile: .* by demo-1; 0 failed", done.stdout)
    assert meanwhile, done.stdout
    assert len(re.findall(r"->  \d\.\d{4} .* by demo-1", done.stdout)) == 4
    assert re.search(r"^(?:ok|NO)  recall overall all ", done.stdout, re.MULTILINE)
    registry = Registry(out / "models")
    assert registry.champion("customer").name == "demo-1"
    (act,) = registry.history("customer")
    assert (act.act, act.version) == ("promote", "demo-1")
    assert (act.reason == "a demonstration") == ("The gate refuses" in done.stdout)
    assert load_model(registry.champion("customer"), DEFINITIONS).version == "demo-1"
    reference = read_reference(registry.champion("customer"))
    assert reference is not None
    assert reference.rows > 100
    report = re.search(r"The report: (\S+)", done.stdout)
    assert report
    assert "<svg" in Path(report[1]).read_text()


def test_a_directory_that_is_there_is_refused(tmp_path: Path) -> None:
    """An existing directory is refused."""
    command = [sys.executable, "-m", "riskd", "demo", "--train", "--no-geo", "--out", str(tmp_path)]
    done = subprocess.run(
        command, env=environment(tmp_path), cwd=ROOT, capture_output=True, text=True, timeout=50, check=False
    )

    assert done.returncode == 2
    assert "give --out a directory that is not there yet" in done.stderr
