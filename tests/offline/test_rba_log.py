"""The public RBA data set: its rows become assessments, its columns the truth, and its successes histories."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from riskd.cli.main import main
from riskd.core.errors import InvalidFile
from riskd.offline.decision_rows import read_rows
from riskd.offline.rba_log import ATTACKING_ADDRESS, TAKEOVER, replay
from riskd.offline.rows import FRAUD, GOOD, Rows
from tests.shipped import shipped_release

HEAD = [
    "index",
    "Login Timestamp",
    "User ID",
    "Round-Trip Time [ms]",
    "IP Address",
    "Country",
    "Region",
    "City",
    "ASN",
    "User Agent String",
    "Browser Name and Version",
    "OS Name and Version",
    "Device Type",
    "Login Successful",
    "Is Attack IP",
    "Is Account Takeover",
]
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"
BEGAN = datetime(2020, 2, 3, 12, tzinfo=UTC).timestamp()


def line(number: int, user: str, address: str, country: str, asn: str, **told: bool) -> list[str]:
    time = datetime.fromtimestamp(BEGAN + 3600 * number, UTC).strftime("%Y-%m-%d %H:%M:%S.000")
    flags = [str(told.get(name, name == "success")) for name in ("success", "attack", "takeover")]
    return [str(number), time, user, "", address, country, "-", "-", asn, AGENT, "", "", "desktop", *flags]


def lines() -> Iterator[list[str]]:
    for number in range(20):
        yield line(number, "7", "81.167.144.58", "NO", "29695")
    yield line(20, "7", "185.220.101.1", "RO", "60117", takeover=True)
    yield line(21, "8", "194.87.207.6", "AU", "60117", success=False, attack=True)
    yield line(22, "", "194.87.207.6", "AU", "60117")
    yield line(23, "9", "no address", "AU", "60117")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rba.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([HEAD, *lines()])
    return path


def lived(file: Path, out: Path, limit: int | None = None) -> tuple[dict[str, int], Rows]:
    release = shipped_release()
    counts = replay(file, release, out, domain="customer", limit=limit, progress=lambda _: None)
    return dict(counts), read_rows(out / "decisions", "customer", truth=out / "truth.jsonl", by_truth=True)


def test_rows_become_assessments_with_their_truth(file: Path, tmp_path: Path) -> None:
    """Each row that the service would accept is assessed at its time; the others are counted by reason."""
    (tmp_path / "out").mkdir()
    counts, rows = lived(file, tmp_path / "out")

    assert counts == {"assessed": 22, "no_subject": 1, "invalid": 1}
    assert rows.times.tolist() == [BEGAN + 3600 * number for number in range(22)]
    assert rows.attacks[-2:].tolist() == [TAKEOVER, ATTACKING_ADDRESS]
    assert rows.labels.tolist() == [GOOD] * 20 + [FRAUD] * 2


def test_successes_teach_and_country_and_operator_are_those_of_the_row(file: Path, tmp_path: Path) -> None:
    """After twenty sign-ins the owner's place is known and a takeover's is new; coordinates play no part."""
    (tmp_path / "out").mkdir()
    _, rows = lived(file, tmp_path / "out")

    def of(name: str) -> list[float]:
        return list(map(float, rows.vectors[:, rows.names.index(name)]))

    assert of("new_country")[19:21] == [0.0, 1.0]
    assert of("new_asn")[19:21] == [0.0, 1.0]
    assert of("history_depth")[19] >= 10
    assert of("credential_failed")[21] == 1.0
    assert np.nanmax(of("speed_kmh")) == 0.0


def test_a_limit_ends_the_reading(file: Path, tmp_path: Path) -> None:
    """At most `limit` rows are read."""
    (tmp_path / "out").mkdir()
    assert lived(file, tmp_path / "out", 5)[0] == {"assessed": 5}


def test_another_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file without usable rows is refused with the reason."""
    (tmp_path / "out").mkdir()
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidFile, match="no row that could be assessed"):
        lived(tmp_path / "other.csv", tmp_path / "out")

    arguments = ["train", "--domain", "customer", "--out", str(tmp_path / "t1")]
    assert main([*arguments, "--rba-dataset", str(tmp_path / "none.csv")]) == 2
    assert "none.csv: cannot be read" in capsys.readouterr().err
    assert main(arguments) == 2
    assert "name the log.dir of a service" in capsys.readouterr().err
