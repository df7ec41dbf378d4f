"""The table of AS numbers, a file that people edit."""

from __future__ import annotations

from pathlib import Path

import pytest

from riskd.adapters.asn_table import USES, read_asn_table
from riskd.core.errors import InvalidGeo

TABLE = Path(__file__).parents[2] / "data" / "asns.csv"


def test_the_shipped_table() -> None:
    """The shipped table contains the large clouds, a privacy relay and a satellite operator, and no home provider."""
    table = read_asn_table(TABLE)
    assert set(table.values()) == set(USES)
    assert [table.get(number) for number in (16509, 24940, 13335, 14593)] == [
        "hosting",
        "hosting",
        "relay",
        "satellite",
    ]
    assert not table.keys() & {7922, 3320, 701, 55836, 2856, 3215, 20712}


def test_every_mistake_is_named_with_its_line(tmp_path: Path) -> None:
    """All mistakes of a file are reported at once, each with its line."""
    path = tmp_path / "asns.csv"
    path.write_text(
        "asn,use,name\n# hosts\n\n64500,hosting,A\n64500,hosting,B\nAS64501,hosting,C\n0,vpn,D\n64502,bad,E\n64503\n"
    )
    with pytest.raises(InvalidGeo) as caught:
        read_asn_table(path)
    assert [(problem.line, problem.what) for problem in caught.value.problems] == [
        (5, "AS64500 is listed twice"),
        (6, "'AS64501' is not an AS number"),
        (7, "'0' is not an AS number"),
        (8, "there is no use 'bad'"),
        (9, "the line has 1 field"),
    ]
    assert all(problem.remedy for problem in caught.value.problems)


def test_an_unreadable_table_is_refused(tmp_path: Path) -> None:
    """A path that is no text file is refused."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "absent", tmp_path / "binary", tmp_path):
        with pytest.raises(InvalidGeo, match="cannot be read"):
            read_asn_table(path)
