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


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("64500,vpn,A\nasn,use,name\n", 2, "'asn' is not an AS number"),
        ("4294967296,vpn,A\n", 1, "'4294967296' is not an AS number"),
        (f"{'9' * 5000},vpn,A\n", 1, "is not an AS number"),
        (f"64500,vpn,{'A' * 200_000}\n", 1, "not CSV: field larger than field limit"),
        ('64500,vpn,"A, Inc.",B\n', 1, "the line has 4 fields"),
    ],
    ids=["header below", "too large", "far too large", "long name", "four fields"],
)
def test_what_is_no_entry_is_a_mistake(tmp_path: Path, text: str, line: int, what: str) -> None:
    """A line that is not an AS number, a use and a name is a mistake, however long it is."""
    path = tmp_path / "asns.csv"
    path.write_text(text)
    with pytest.raises(InvalidGeo) as caught:
        read_asn_table(path)
    assert [(problem.where, problem.line) for problem in caught.value.problems] == [(str(path), line)]
    assert what in caught.value.problems[0].what


def test_numbers_are_those_of_four_bytes_and_names_may_be_quoted(tmp_path: Path) -> None:
    """The header may be left out, a number has at most 32 bits, and a quoted name may have commas."""
    path = tmp_path / "asns.csv"
    path.write_text('1,vpn,"A, Inc."\n4294967295, hosting,B\n')
    assert read_asn_table(path) == {1: "vpn", 4294967295: "hosting"}


def test_an_unreadable_table_is_refused(tmp_path: Path) -> None:
    """A path that is no text file is refused."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "absent", tmp_path / "binary", tmp_path):
        with pytest.raises(InvalidGeo, match="cannot be read"):
            read_asn_table(path)
