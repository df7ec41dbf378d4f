"""Exporting a log to a SIEM: each line once, whoever writes, rewrites or reads the log meanwhile."""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskd.adapters.decision_log import Bounds, Compacted, FileDecisionLog, FileLogArchive
from riskd.adapters.null import NullMeter
from riskd.core.errors import InvalidFile
from riskd.core.record import Record, ShadowRecord, encode
from riskd.offline.siem.feed import LONGEST, MANY, Converter, Feed, Mark, keep, marks_in, streamed
from riskd.progress import ignore_progress
from tests.decision_log import SEGMENT, decision, outcome, security_event, write
from tests.offline.siem.records import TIME

NEXT: Final = "20260101T010000.000000-w0-1.jsonl"


@pytest.fixture
def archive(tmp_path: Path) -> FileLogArchive:
    return FileLogArchive(tmp_path, 3600.0, 600.0)


def uids(events: Sequence[bytes]) -> list[str]:
    return [json.loads(event)["metadata"]["uid"][28:32] for event in events]


def exported(
    archive: FileLogArchive, directory: Path, marks: dict[str, Mark], converter: Converter | None = None
) -> list[str]:
    """The last digits of the assessments that are exported now; `marks` are updated."""
    feed = Feed(archive, directory, converter or Converter(), marks)
    found = [event for batch in feed.events(ignore_progress("", 0)) for event in batch]
    marks.clear()
    marks |= feed.marks
    return uids(found)


def add(segment: Path, *records: Record) -> None:
    """Write more lines, later than the file system's clock ticks."""
    before = segment.stat().st_mtime_ns
    with segment.open("ab") as file:
        file.writelines(encode(record) + b"\n" for record in records)
    os.utime(segment, ns=(before, before + 10**9))


def lines(first: int, *more: int) -> list[Record]:
    return [decision(number, TIME + 10 * number) for number in (first, *more)]


def test_every_line_is_exported_once(tmp_path: Path, archive: FileLogArchive) -> None:
    """Each line is exported once, however often the log is read; an incomplete line waits until it is complete."""
    marks: dict[str, Mark] = {}
    write(tmp_path / SEGMENT, *lines(1, 2))
    assert exported(archive, tmp_path, marks) == ["0001", "0002"]
    assert exported(archive, tmp_path, marks) == []
    (third,) = lines(3)
    with (tmp_path / SEGMENT).open("ab") as segment:
        segment.write(encode(third)[:100])
    assert exported(archive, tmp_path, marks) == []
    with (tmp_path / SEGMENT).open("ab") as segment:
        segment.write(encode(third)[100:] + b"\n")
    write(tmp_path / NEXT, *lines(4))
    assert exported(archive, tmp_path, marks) == ["0003", "0004"]
    assert exported(archive, tmp_path, marks) == []


def test_a_stopped_export_continues_where_it_was(tmp_path: Path, archive: FileLogArchive) -> None:
    """After a stop in the middle of a segment, plain or compressed, the export continues where it was."""
    for name in (SEGMENT, NEXT + ".gz"):
        for path in tmp_path.glob("*.jsonl*"):
            path.unlink()
        write(tmp_path / name, *lines(*range(3 * MANY + 10)))
        first = Feed(archive, tmp_path, Converter(), {})
        batches = first.events(ignore_progress("", 0))
        before = [*next(batches), *next(batches)]
        after = exported(archive, tmp_path, dict(first.marks))
        assert [*uids(before), *after] == [f"{number:04x}" for number in range(3 * MANY + 10)]


def test_a_packed_segment_is_not_exported_again(tmp_path: Path, archive: FileLogArchive) -> None:
    """After a segment was compressed, only its new lines are exported."""
    marks: dict[str, Mark] = {}
    write(tmp_path / SEGMENT, *lines(1, 2))
    assert exported(archive, tmp_path, marks) == ["0001", "0002"]
    content = (tmp_path / SEGMENT).read_bytes() + encode(lines(3)[0]) + b"\n"
    (tmp_path / SEGMENT).unlink()
    (tmp_path / f"{SEGMENT}.gz").write_bytes(gzip.compress(content))
    assert exported(archive, tmp_path, marks) == ["0003"]
    assert exported(archive, tmp_path, marks) == []


def test_erased_lines_are_not_exported(tmp_path: Path, archive: FileLogArchive) -> None:
    """Lines of an erased subject are not exported, before or after their removal, and no other line is repeated."""
    marks: dict[str, Mark] = {}
    ours, other = decision(0xA << 124 | 1, TIME), decision(2, TIME + 10)
    write(tmp_path / SEGMENT, ours, other, decision(3, TIME + 20))
    archive.forget([bytes.fromhex(ours.id[:16])])
    assert exported(archive, tmp_path, marks) == ["0002", "0003"]
    add(tmp_path / SEGMENT, decision(4, TIME + 30))
    assert archive.compact({}, Event()) is not None
    assert ours.id.encode() not in (tmp_path / SEGMENT).read_bytes()
    assert exported(archive, tmp_path, marks) == ["0004"]
    assert exported(archive, tmp_path, marks) == []


@pytest.mark.parametrize("packed", [False, True])
def test_a_segment_that_was_exported_to_its_end_and_rewritten_has_nothing_new(
    tmp_path: Path, archive: FileLogArchive, packed: bool
) -> None:
    """If the last exported line is erased later, no other line is repeated."""
    path = tmp_path / f"{SEGMENT}{'.gz' * packed}"
    marks: dict[str, Mark] = {}
    ours = decision(0xA << 124 | 3, TIME + 20)
    write(path, *lines(1, 2), ours)
    assert exported(archive, tmp_path, marks) == ["0001", "0002", "0003"]
    archive.forget([bytes.fromhex(ours.id[:16])])
    assert archive.compact({}, Event()) == Compacted(1, 1, 0)
    assert exported(archive, tmp_path, marks) == []


def test_a_line_that_is_to_be_erased_still_marks_a_place(tmp_path: Path, archive: FileLogArchive) -> None:
    """If the last exported line is to be erased but is still in its segment, only new lines are exported."""
    marks: dict[str, Mark] = {}
    ours = decision(0xA << 124 | 3, TIME + 20)
    write(tmp_path / SEGMENT, *lines(1, 2), ours)
    assert exported(archive, tmp_path, marks) == ["0001", "0002", "0003"]
    archive.forget([bytes.fromhex(ours.id[:16])])
    add(tmp_path / SEGMENT, decision(4, TIME + 30))
    assert exported(archive, tmp_path, marks) == ["0004"]


@pytest.mark.parametrize("last_erased", [False, True])
def test_no_time_in_a_line_makes_another_line_get_lost(
    tmp_path: Path, archive: FileLogArchive, last_erased: bool
) -> None:
    """Lines with a wrong time are exported once, and so are the lines after them, even if the segment was rewritten
    meanwhile. Only if the last exported line was erased is the segment exported again from its beginning."""
    marks: dict[str, Mark] = {}
    ours = decision(0xA << 124 | 1, TIME)
    future, past, last = decision(2, TIME + 3e9), decision(3, TIME - 1e9), decision(4, TIME + 2)
    write(tmp_path / SEGMENT, *((future, past, last, ours) if last_erased else (ours, future, past, last)))
    assert sorted(exported(archive, tmp_path, marks)) == ["0001", "0002", "0003", "0004"]
    add(tmp_path / SEGMENT, decision(5, TIME + 3), decision(6, TIME + 3e9))
    archive.forget([bytes.fromhex(ours.id[:16])])
    assert archive.compact({}, Event()) == Compacted(1, 1, 0)
    again = ["0002", "0003", "0004"] if last_erased else []
    assert exported(archive, tmp_path, marks) == [*again, "0005", "0006"]
    assert exported(archive, tmp_path, marks) == []


def test_segments_that_are_gone_are_forgotten(tmp_path: Path, archive: FileLogArchive) -> None:
    """Deleted segments are removed from the bookmark, so that it does not grow."""
    marks: dict[str, Mark] = {}
    write(tmp_path / SEGMENT, *lines(1))
    exported(archive, tmp_path, marks)
    (tmp_path / SEGMENT).unlink()
    write(tmp_path / NEXT, *lines(2))
    assert exported(archive, tmp_path, marks) == ["0002"]
    assert marks.keys() == {NEXT}


def test_a_log_that_was_unmounted_is_not_exported_again(tmp_path: Path, archive: FileLogArchive) -> None:
    """If the log disappears for a time, as with an unmounted disk, it is not exported again when it is back."""
    marks: dict[str, Mark] = {}
    write(tmp_path / SEGMENT, *lines(1, 2))
    assert exported(archive, tmp_path, marks) == ["0001", "0002"]
    hidden = (tmp_path / SEGMENT).rename(tmp_path / "elsewhere")
    assert exported(archive, tmp_path, marks) == []
    hidden.rename(tmp_path / SEGMENT)
    assert exported(archive, tmp_path, marks) == []


def test_since_skips_lines_written_earlier(tmp_path: Path, archive: FileLogArchive) -> None:
    """`since` refers to the time of writing, not to the event time."""
    late = decision(3, TIME - 86_400, written=TIME + 50)
    write(tmp_path / SEGMENT, *lines(1, 2), late)
    assert exported(archive, tmp_path, {}, Converter(since=TIME + 20)) == ["0002", "0003"]
    os.utime(tmp_path / SEGMENT, (TIME, TIME))
    assert exported(archive, tmp_path, {}, Converter(since=TIME + 20)) == []


def test_every_line_is_counted(tmp_path: Path, archive: FileLogArchive) -> None:
    """Each line is counted by its kind, and a damaged line does not affect later ones."""
    attempt = decision(1, TIME)
    repeat = b'{"type":"repeat","id":"00000000000000000000000000000001","time":1.0,"tenant":"","domain":"customer",'
    repeat += b'"journey":"login","request_id":"r",'
    repeat += b'"score":0.1,"level":"low","tier":"BASELINE","satisfied":true,"reasons":[],"causes":[],"release":"r",'
    repeat += b'"model":"m"}'
    shadow = ShadowRecord(
        id=f"{1:032x}",
        time=TIME,
        tenant="",
        domain="customer",
        journey="login",
        log_odds=0.0,
        score=0.5,
        level="low",
        tier="BASELINE",
        satisfied=True,
        hits=(),
        shadow_hits=(),
        causes=(),
        release="s",
        model="m",
        beside="r",
    )
    far = encode(decision(4, TIME)).replace(str(TIME).encode(), b"1e307")
    fates = outcome(1, TIME, "challenge_failed"), outcome(1, TIME, "confirmed_fraud")
    heard = security_event(1, TIME, "account_enabled")
    write(tmp_path / SEGMENT, attempt, b"{}", b"\xff\xfe", far, repeat, heard, shadow, *fates)
    converter = Converter()
    assert exported(archive, tmp_path, {}, converter) == ["0001", "0001", "0001"]
    assert converter.counts == {
        "assessments": 1,
        "outcomes": 1,
        "findings": 1,
        "repeats": 1,
        "events": 1,
        "shadow": 1,
        "unreadable": 3,
    }


@given(st.binary(max_size=40), st.integers(0, 700), st.integers(0, 60), st.sampled_from([b"", b"[" * 100_000]))
def test_any_line_is_exported_or_counted(noise: bytes, at: int, gap: int, deep: bytes) -> None:
    """Any damaged line is either exported or counted as unreadable, without an error."""
    line, converter = encode(decision(1, TIME)), Converter()
    encoded = converter.convert(line[:at] + noise + deep + line[at + gap :])
    assert (encoded is None) == (converter.counts["unreadable"] == 1)
    assert encoded is None or json.loads(encoded)["class_uid"] == 3002


def test_a_writer_and_a_reader_at_once(tmp_path: Path, archive: FileLogArchive) -> None:
    """While a service writes segment after segment, no line is lost or repeated."""
    log = FileDecisionLog(tmp_path, 0, NullMeter(), Bounds(segment_bytes=20_000))
    wrote = threading.Event()

    def work() -> None:
        for number in range(500):
            assert log.append(encode(decision(number, TIME + number)))
        log.close()
        wrote.set()

    found: list[str] = []
    marks: dict[str, Mark] = {}
    writer = threading.Thread(target=work)
    writer.start()
    while not wrote.is_set():
        found += exported(archive, tmp_path, marks)
    writer.join()
    found += exported(archive, tmp_path, marks)
    assert sorted(found) == [f"{number:04x}" for number in range(500)]
    assert len(marks) > 10


def test_a_bookmark_of_an_earlier_riskd_holds(tmp_path: Path, archive: FileLogArchive) -> None:
    """A bookmark whose marks also have the time of the latest line, as riskd wrote before, continues at its place."""
    marks: dict[str, Mark] = {}
    write(tmp_path / SEGMENT, *lines(1, 2))
    exported(archive, tmp_path, marks)
    mark = marks[SEGMENT]
    earlier = {SEGMENT: [mark.size, mark.modified, mark.offset, mark.length, mark.check, TIME + 3e9]}
    (tmp_path / "bookmark").write_text(json.dumps(earlier))
    add(tmp_path / SEGMENT, *lines(3))
    assert exported(archive, tmp_path, marks_in(tmp_path / "bookmark")) == ["0003"]


@pytest.mark.parametrize("mark", [Mark(0, 0, 5, 100, 1), Mark(0, 0, 1 << 60, 1 << 60, 1), Mark(0, 0, 3, 1, 1)])
def test_a_bookmark_of_another_log_loses_no_line(tmp_path: Path, archive: FileLogArchive, mark: Mark) -> None:
    """If no line of a segment is the one before its mark, the segment is exported from its beginning."""
    write(tmp_path / SEGMENT, *lines(1, 2))
    assert exported(archive, tmp_path, {SEGMENT: mark}) == ["0001", "0002"]


def test_a_bookmark_survives_writing_and_reading(tmp_path: Path) -> None:
    """A bookmark survives being written and read; a missing one is empty, and an invalid one is refused by name."""
    marks = {SEGMENT: Mark(100, 10**18, 90, 50, 4711), NEXT: Mark()}
    assert marks_in(tmp_path / "bookmark") == {}
    keep(marks, tmp_path / "bookmark")
    assert marks_in(tmp_path / "bookmark") == marks
    for content in (b"[]", b'{"\xff":[]}', b'{"a":[0,0,-1]}', b'{"a":[0,0,99999999999999999999]}'):
        (tmp_path / "bookmark").write_bytes(content)
        with pytest.raises(InvalidFile, match="is not a bookmark"):
            marks_in(tmp_path / "bookmark")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


def test_a_line_of_a_stream_is_exported_at_once(pipe: tuple[int, int]) -> None:
    """A complete line of a stream is exported without waiting for the next."""
    reading, writing = pipe
    events, one = streamed(reading, Converter()), encode(decision(1, TIME)) + b"\n"
    for piece in (one, one[:50], one[50:] + one):
        os.write(writing, piece)
        if piece.endswith(b"\n"):
            assert uids(next(events)) == ["0001"] * piece.count(b"\n")
    os.close(writing)
    assert [*events] == []


def test_an_endless_line_takes_bounded_memory(pipe: tuple[int, int]) -> None:
    """An endless line is dropped, the next one is read, and a truncated last line is counted; both are named."""
    reading, writing = pipe
    one = encode(decision(1, TIME))

    def feed() -> None:
        with os.fdopen(writing, "wb") as file:
            file.write(b"x" * (3 * LONGEST) + b"\n" + one + b"\n" + one[:-5])

    writer = threading.Thread(target=feed)
    writer.start()
    converter = Converter()
    assert uids([event for batch in streamed(reading, converter) for event in batch]) == ["0001"]
    writer.join()
    assert converter.counts == {"assessments": 1, "unreadable": 2}
    assert [(one.where, one.line) for one in converter.counts.first] == [("the stream", 1), ("the stream", 3)]
