"""Reading export files: every format, in any chunks, compressed or not, and damage reported with its line."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from riskd.offline.importers import records
from riskd.offline.importers.records import Record, open_input

ROWS: Final[list[dict[str, object]]] = [{"n": number, "text": 'a "b", \\ [1] {é\n'} for number in range(1, 40)]
LINES: Final = "".join(json.dumps(row) + "\n" for row in ROWS)


def read(path: Path, content: bytes | str, *, lines: bool = False) -> list[Record]:
    """The records of a file with this content."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with open_input(str(path)) as opened:
        return list(opened.records(lines=lines))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "export"


def table() -> str:
    target = io.StringIO()
    writer = csv.DictWriter(target, ["n", "text"])
    writer.writeheader()
    writer.writerows(ROWS)
    return target.getvalue()


FORMS: Final = {
    "lines": LINES,
    "lines without the last end": LINES.rstrip("\n"),
    "lines with blank ones": LINES.replace("\n", "\r\n\n"),
    "array": json.dumps(ROWS),
    "array, indented": json.dumps(ROWS, indent=2),
    "arrays, one after another": json.dumps(ROWS[:20]) + "\n" + json.dumps(ROWS[20:]),
    "page": json.dumps({"@odata.context": "https://x/$[a]", "next": None, "value": ROWS}),
    "page with more behind": json.dumps({"Records": ROWS, "@odata.nextLink": "x", "n": 1}, indent=1),
    "pages": json.dumps({"value": ROWS[:7]}) + json.dumps({"value": ROWS[7:]}),
    "table": table(),
    "table with semicolons": table().replace("n,text", "n;text").replace(',"', ';"'),
}


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("chunk", [7, 1 << 18])
def test_every_form_holds_the_same(
    file: Path, form: str, encoding: str, chunk: int, monkeypatch: pytest.MonkeyPatch, *, compressed: bool
) -> None:
    """Every format gives the same records in the same order, wherever chunks end."""
    monkeypatch.setattr(records, "_CHUNK", max(chunk, 80) if form.startswith("page") else chunk)
    content = FORMS[form].encode(encoding)
    found = read(file, gzip.compress(content) if compressed else content)

    expected = [{name: str(value) for name, value in row.items()} if "table" in form else row for row in ROWS]
    assert [record.row for record in found] == expected
    assert [record.line for record in found] == sorted(record.line for record in found)


@pytest.mark.parametrize("chunk", range(60, 140))
def test_pages_may_be_cut_anywhere(file: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts of a page before and after its events are skipped, wherever chunks end."""
    monkeypatch.setattr(records, "_CHUNK", chunk)
    pages = [{"@odata.context": "x" * 20, "value": rows, "@odata.nextLink": "y" * 90} for rows in (ROWS[:3], ROWS[3:6])]
    found = read(file, "\n".join(json.dumps(page) for page in pages))
    assert [(record.row, record.fault) for record in found] == [(row, "") for row in ROWS[:6]]


def test_lines_are_counted(file: Path) -> None:
    """A record's line is where it begins, in every format, also if the file begins with blank lines."""
    array = "[\n" + LINES.replace("}\n", "},\n").rstrip(",\n") + "\n]"
    for blank in range(3):
        for text, lines, expected in (
            (LINES, False, list(range(1, 40))),
            (array, False, list(range(2, 41))),
            ('a,b\n1,"x\ny"\n\n2,z\n', False, [2, 5]),
            ("a\n\nb\n", True, [1, 3]),
        ):
            found = read(file, "\n" * blank + text, lines=lines)
            assert [record.line - blank for record in found] == expected


DAMAGES: Final[dict[str, tuple[str | bytes, list[object], int, str]]] = {
    "a line": ('{"n":1}\n{"n":\n{"n":3}\n', [1, None, 3], 2, "not a JSON object on one line"),
    "a line that is no object": ('{"n":1}\n[2]\n{"n":3}\n', [1, None, 3], 2, "not a JSON object on one line"),
    "a line that is not UTF-8": (b'{"n":1}\n{"n":"\xff"}\n{"n":3}\n', [1, None, 3], 2, "not a JSON object"),
    "an array that is cut short": ('[{"n":1},\n{"n":2},', [1, 2, None], 2, "does not end"),
    "an array that is cut short in an object": ('[{"n":1},\n{"n":', [1, None], 2, "cut short"),
    "an array with something else": ('[{"n":1},\n2,\n{"n":3}]', [1, None, 3], 2, "not a JSON object"),
    "an array with damage": ('[{"n":1},\n}oops', [1, None], 2, "not JSON"),
    "something after an array": ('[{"n":1}]\noops', [1, None], 2, "neither an array"),
    "something behind the events of an object": (
        '{"value": [{"n":1}],\n oops}',
        [1, None],
        1,
        "more follows the array",
    ),
    "a last line that is half written": ('{"n":1}\n{"n":2', [1, None], 2, "cut short"),
    "a row": ("n,m\n1,2\n3\n4,5\n", ["1", None, "4"], 3, "1 columns, where the header has 2"),
    "a row that is not UTF-8": (b"n,m\n1,2\n\xff,4\n5,6\n", ["1", None, "5"], 3, "not UTF-8"),
    "depth": ('{"n":1}\n' + '{"n":' * 200_000 + "\n" + '{"n":3}\n', [1, None, 3], 2, "not a JSON object"),
    "depth in an array": ("[" * 200_000, [None], 1, "not JSON"),
    "length": ('{"n":1}\n{"n":"' + "x" * (1 << 20) + '"}\n{"n":3}\n', [1, None, 3], 2, "a line of more than"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_reported_with_its_line(file: Path, damage: str) -> None:
    """A record that cannot be read is reported with its line, and later records are read."""
    content, numbers, line, fault = DAMAGES[damage]
    found = read(file, content)

    assert [record.row and record.row["n"] for record in found] == numbers
    (bad,) = [record for record in found if record.row is None]
    assert bad.line == line
    assert fault in bad.fault


@pytest.mark.parametrize("log", [False, True])
def test_a_line_of_any_length_costs_only_itself(file: Path, monkeypatch: pytest.MonkeyPatch, *, log: bool) -> None:
    """What follows a line that is too long is read with its own number, wherever chunks end, and little of that line
    is kept."""
    monkeypatch.setattr(records, "_CHUNK", 7)
    monkeypatch.setattr(records, "LONGEST", 20)
    first, last = ("one", "three") if log else ('{"n":1}', '{"n":3}')
    for length in range(21, 64):
        for end in ("", f"{last}\n"):
            found = read(file, f"{first}\n{'x' * length}\n{end}", lines=log)
            assert [record.text for record in found if record.row] == [first, last][: 1 + bool(end)]
            assert [record.line for record in found] == [1, 2, 3][: 2 + bool(end)]
            assert "more than 20 characters" in found[1].fault
            assert 20 < len(found[1].text.strip()) <= 20 + 7


@pytest.mark.parametrize("compressed", [False, True])
def test_progress_is_told_in_bytes_of_the_file(file: Path, *, compressed: bool) -> None:
    """The position ends at the size of the file as it is stored; an empty one has no size to divide by."""
    content = gzip.compress(LINES.encode()) if compressed else LINES.encode()
    file.write_bytes(content)
    with open_input(str(file)) as opened:
        assert (opened.position, opened.size) == (0, len(content))
        assert len(list(opened.records(lines=False))) == len(ROWS)
        assert opened.position == len(content)
    file.write_bytes(b"")
    with open_input(str(file)) as opened:
        assert opened.size is None


def test_a_damaged_archive_gives_what_it_has(file: Path) -> None:
    """Of a damaged gzip file, the part before the damage is read, and the damage is reported."""
    whole = gzip.compress(LINES.encode() * 2000)
    found = read(file, whole[: len(whole) // 2])
    assert len(found) > 100
    assert found[-1].row is None
    assert "cut short" in found[-1].fault


def test_a_log_is_read_by_its_lines(file: Path) -> None:
    """For sources with plain logs, each line that is no JSON is a record."""
    assert [record.row for record in read(file, "a,b\n\nc\n", lines=True)] == [{"line": "a,b"}, {"line": "c"}]


def test_an_empty_file_has_no_records(file: Path) -> None:
    """An empty or blank file, and a table with only a header, have no records."""
    assert [read(file, content) for content in ("", "  \n \n", "n,text\n", gzip.compress(b""))] == [[], [], [], []]


def test_memory_is_bounded(file: Path) -> None:
    """A JSON array of 40 MB is read within a few megabytes of memory."""
    import tracemalloc

    with file.open("w") as target:
        target.write("[" + ",".join([json.dumps({"text": "x" * 2000})] * 20_000) + "]")
    tracemalloc.start()
    with open_input(str(file)) as opened:
        count = sum(1 for _ in opened.records(lines=False))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 20_000
    assert peak < 8 << 20


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=200) | st.text(alphabet='[]{}",:\\ \n1avlue', max_size=80).map(str.encode),
    lines=st.booleans(),
)
def test_no_file_breaks_the_reading(file: Path, content: bytes, *, lines: bool) -> None:
    """Any bytes give records, some of which may be unreadable."""
    for record in read(file, content, lines=lines):
        assert isinstance(record.row, dict) or record.fault
        assert record.line >= 1
