"""The decision log on real files: acknowledged lines are kept, and failed ones leave nothing half-written."""

from __future__ import annotations

import errno
import fcntl
import gzip
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskd.adapters.decision_log import Bounds, FileDecisionLog, FileLogArchive, archive, files, writer
from riskd.adapters.decision_log.files import finished, read_segment
from riskd.adapters.prometheus_meter import PrometheusMeter
from riskd.adapters.prometheus_page import PrometheusPage
from riskd.core.errors import InvalidSettings
from riskd.metrics.memory import MeterMemory
from tests.decision_log import read_segments
from tests.faults.disks import largest_file
from tests.forked import forked

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ROOT = Path(__file__).parents[2]
PATIENCE = 10.0


def opened(directory: Path, bounds: Bounds | None = None, meter: PrometheusMeter | None = None) -> FileDecisionLog:
    return FileDecisionLog(directory, 0, meter or PrometheusMeter(MeterMemory(1), 0), bounds or Bounds())


def held(directory: Path) -> int:
    """Bytes in all segments; a segment may be deleted meanwhile."""
    total = 0
    for path in segments(directory):
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.jsonl"))


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def test_records_are_read_in_the_order_of_appending(tmp_path: Path) -> None:
    """Records are read in the order of their appending, even before a close or sync."""
    with closing(opened(tmp_path / "log")) as log:
        records = [json.dumps({"n": n}).encode() for n in range(100)]
        assert all(log.append(record) for record in records)
        assert list(read_segments(tmp_path / "log")) == records


def test_only_the_owner_may_look(tmp_path: Path) -> None:
    """The directory has mode 0700 and segments 0600."""
    with closing(opened(tmp_path / "log")):
        assert (tmp_path / "log").stat().st_mode & 0o777 == 0o700
        assert [path.stat().st_mode & 0o777 for path in segments(tmp_path / "log")] == [0o600]


def test_acknowledged_records_survive_sigkill(tmp_path: Path) -> None:
    """Every record whose append returned True survives a SIGKILL of the process."""
    code = """
import itertools, sys
from pathlib import Path
from riskd.adapters.decision_log import Bounds, FileDecisionLog
from riskd.adapters.prometheus_meter import PrometheusMeter
from riskd.adapters.prometheus_page import PrometheusPage
from riskd.metrics.memory import MeterMemory
log = FileDecisionLog(Path(sys.argv[1]), 0, PrometheusMeter(MeterMemory(1), 0), Bounds(segment_bytes=4096))
for n in itertools.count():
    if log.append(b'{"n":%d}' % n):
        print(n, flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "2000\n":
                process.send_signal(signal.SIGKILL)
                break
        acknowledged = [2000, *(int(line) for line in process.stdout if line.endswith("\n"))][-1]
    found = [json.loads(record)["n"] for record in read_segments(tmp_path)]
    assert found[: acknowledged + 1] == list(range(acknowledged + 1))


def test_threads_do_not_tear_each_other(tmp_path: Path) -> None:
    """Records appended concurrently, across segments, are all whole and appear once."""
    with closing(opened(tmp_path, Bounds(segment_bytes=2000))) as log:

        def write(thread: int) -> None:
            for n in range(200):
                assert log.append(json.dumps([thread, n]).encode())

        threads = [threading.Thread(target=write, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = [tuple(json.loads(record)) for record in read_segments(tmp_path)]
    assert sorted(found) == [(thread, n) for thread in range(4) for n in range(200)]
    assert len(segments(tmp_path)) > 2


def test_segment_is_finished_by_size_and_by_age(tmp_path: Path) -> None:
    """A segment is finished when it would exceed its size, or when it is old."""
    with closing(opened(tmp_path / "size", Bounds(segment_bytes=100))) as log:
        assert all(log.append(b"x" * 40) for _ in range(5))
        assert [path.stat().st_size for path in segments(tmp_path / "size")] == [82, 82, 41]
    with closing(opened(tmp_path / "age", Bounds(segment_seconds=0.0))) as log:
        assert log.append(b"1")
        assert log.append(b"2")
        assert len(segments(tmp_path / "age")) == 2


def test_a_forked_process_does_not_keep_a_segment_from_being_finished(tmp_path: Path) -> None:
    """A segment that its writer has finished counts as such, and can be erased from, although a process lives that was
    forked while it was written."""
    with closing(opened(tmp_path)) as log:
        assert log.append(b"1")
        with forked():
            log.close()
            (segment,) = segments(tmp_path)
            with finished(segment) as done:
                assert done


def test_oldest_segments_go_when_there_are_too_many(tmp_path: Path) -> None:
    """The log's size is bounded; the newest segment and any that is being written stay."""
    with closing(opened(tmp_path)) as other:
        assert other.append(b"y" * 500)
        with closing(opened(tmp_path, Bounds(segment_bytes=1000, keep_bytes=3000))) as log:
            assert all(log.append(b"%03d" % n + b"x" * 400) for n in range(40))
            eventually(lambda: held(tmp_path) <= 4000)
        kept = list(read_segments(tmp_path))
    assert kept[0] == b"y" * 500
    assert kept[-1][:3] == b"039"


def test_segment_is_locked_before_anyone_can_find_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment is visible only once it is locked, because an unlocked one may be deleted or treated as finished."""
    seen, lock = list[list[Path]](), fcntl.flock

    def locked(descriptor: int, how: int) -> None:
        if not seen:  # pruning locks segments as well, but later
            seen.append(segments(tmp_path))
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", locked)
    with closing(opened(tmp_path)) as log:
        assert log.append(b"line")
        monkeypatch.undo()
        with finished(segments(tmp_path)[0]) as done:
            assert not done
    assert seen == [[]]


def test_a_line_written_just_before_pruning_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If an empty old segment gets its first line just before pruning locks it, it is kept."""
    quiet = tmp_path / "20200101T000000.000000-w1-1.jsonl"
    with quiet.open("ab", buffering=0) as other:
        os.utime(quiet, (1.0, 1.0))
        fcntl.flock(other, fcntl.LOCK_EX)

        def late(path: Path) -> AbstractContextManager[bool]:
            if path == quiet:
                other.write(b"acknowledged\n")
                fcntl.flock(other, fcntl.LOCK_UN)
            return finished(path)

        monkeypatch.setattr(writer, "finished", late)
        with closing(opened(tmp_path)):
            eventually(lambda: quiet.stat().st_size > 0)
            time.sleep(0.1)

    assert list(read_segments(tmp_path)) == [b"acknowledged"]


def test_process_without_descriptors_syncs_and_rotates_again_once_it_has_some(tmp_path: Path) -> None:
    """The keeper thread survives a moment in which the process has no free file descriptor."""
    meter = PrometheusMeter(MeterMemory(1), 0)
    with closing(opened(tmp_path, Bounds(segment_seconds=3.0), meter)) as log:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            assert log.append(b"one")
            time.sleep(1.5)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        eventually(lambda: finishes(tmp_path))
        assert log._keeper.is_alive()


def finishes(directory: Path) -> bool:
    with finished(segments(directory)[0]) as done:
        return done


def test_segment_that_cannot_be_begun_costs_no_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If segments cannot be locked or renamed, failed attempts leak no file descriptor."""

    def refused(_: Path, __: Path) -> None:
        raise OSError(errno.EIO, "refused")

    with closing(opened(tmp_path, Bounds(segment_bytes=1))) as log:
        assert log.append(b"one")
        before = len(list(Path("/proc/self/fd").iterdir()))
        monkeypatch.setattr(Path, "rename", refused)
        for _ in range(5):
            log._retry_at = 0.0
            assert not log.append(b"two")
        assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_segments_beyond_their_days_go(tmp_path: Path) -> None:
    """Segments older than the limit are deleted."""
    with closing(opened(tmp_path)) as log:
        assert log.append(b"old")
    (old,) = segments(tmp_path)
    os.utime(old, (0, 0))
    with closing(opened(tmp_path)) as log:
        assert log.append(b"new")
        eventually(lambda: not old.exists())
    assert list(read_segments(tmp_path)) == [b"new"]


def test_a_full_disk_is_reported_and_the_partial_record_undone(tmp_path: Path) -> None:
    """On a full disk a partly written record is undone and reported; appending recovers when there is room."""
    with closing(opened(tmp_path)) as log:
        assert log.append(b"first")
        with largest_file(10):
            assert not log.append(b"does not fit")
            assert not log.append(b"nor does this")
        eventually(lambda: log.append(b"last"))
    assert list(read_segments(tmp_path)) == [b"first", b"last"]


def test_writing_is_retried_soon_after_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a full disk, writing is retried within a tenth of a second, or within five seconds if it was full for
    long; while it stays full, writing is tried less and less often."""
    now, tries = time.monotonic(), 0
    write = FileDecisionLog._write
    monkeypatch.setattr(writer, "time", SimpleNamespace(monotonic=lambda: now))

    def counted(log: FileDecisionLog, line: bytes) -> None:
        nonlocal tries
        tries += 1
        write(log, line)

    def waited(full_s: float) -> float:
        nonlocal now
        until = now + full_s
        with largest_file(held(tmp_path)):
            while now < until:
                assert not log.append(b"no room")
                now += 0.05
        while not log.append(b"room"):
            now += 0.05
        return now - until

    monkeypatch.setattr(FileDecisionLog, "_write", counted)
    with closing(opened(tmp_path)) as log:
        assert log.append(b"first")
        assert [waited(0.01) < 0.2, waited(60.0) < 5.2, waited(0.01) < 0.2] == [True, True, True]
    assert tries < 40


def test_a_deleted_log_directory_is_created_again(tmp_path: Path) -> None:
    """If the directory is deleted, that is noticed and the directory is created again."""
    directory = tmp_path / "log"
    with closing(opened(directory)) as log:
        assert log.append(b"lost")
        segments(directory)[0].unlink()
        directory.rmdir()
        eventually(lambda: log.append(b"found") and directory.exists())
        assert list(read_segments(directory))[-1] == b"found"


def test_place_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    """A directory that cannot be created is refused at the start."""
    (tmp_path / "file").touch()
    with pytest.raises(InvalidSettings, match=r"log\.dir: .*Not a directory"):
        opened(tmp_path / "file" / "log")


def test_every_segment_is_synced_and_a_failed_sync_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written is synced soon, in finished segments and in the open one; a sync that fails is counted."""
    memory, synced = MeterMemory(1), set[int]()

    def fails(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        raise OSError(errno.EIO, "lost")

    monkeypatch.setattr("os.fsync", fails)
    with closing(opened(tmp_path, Bounds(segment_bytes=1), PrometheusMeter(memory, 0))) as log:
        assert [log.append(line) for line in (b"one", b"two")] == [True, True]
        written = {path.stat().st_ino for path in segments(tmp_path)}
        eventually(lambda: synced >= written)
        assert len(written) == 2
    _, page = PrometheusPage(memory, "1").render("", {})
    assert re.search(rb'riskd_failures_total{part="decision_log_sync"} [1-9]', page)


@pytest.mark.parametrize(("bound", "slow"), [(-1.0, b"1.0"), (60.0, b"0.0")])
def test_slow_write_is_counted(tmp_path: Path, bound: float, slow: bytes) -> None:
    """A write slower than the bound is counted, but still succeeds."""
    memory = MeterMemory(1)
    with closing(opened(tmp_path, Bounds(slow_seconds=bound), PrometheusMeter(memory, 0))) as log:
        assert log.append(b"slow")
    _, page = PrometheusPage(memory, "1").render("", {})
    assert b'riskd_failures_total{part="decision_log_slow"} %b' % slow in page
    assert b'riskd_failures_total{part="decision_log"} 0.0' in page


def test_a_closed_log_accepts_nothing(tmp_path: Path) -> None:
    """Closing is idempotent, and append returns False afterwards."""
    log = opened(tmp_path)
    log.close()
    log.close()
    assert not log.append(b"late")


@given(
    records=st.lists(st.binary(min_size=1, max_size=40).map(lambda data: data.hex().encode()), max_size=8),
    data=st.data(),
)
def test_torn_end_costs_one_record(
    records: list[bytes], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """However much of a segment's end is lost, the reader gives a prefix of the records."""
    directory = tmp_path_factory.mktemp("torn")
    content = b"".join(record + b"\n" for record in records)
    cut = data.draw(st.integers(0, len(content)))
    (directory / "20260101T000000.000000-w0-1.jsonl").write_bytes(content[:cut] + b"\0" * data.draw(st.integers(0, 9)))
    found = list(read_segments(directory))
    assert found == records[: len(found)]
    assert len(found) == content[:cut].count(b"\n")


def test_packed_segments_are_read_in_their_place(tmp_path: Path) -> None:
    """Segments compressed with gzip are read in the order of names, and a torn line is skipped."""
    (tmp_path / "1.jsonl").write_bytes(b"one\n")
    (tmp_path / "2.jsonl.gz").write_bytes(gzip.compress(b"two\nthr"))
    (tmp_path / "3.jsonl").write_bytes(b"four\n")
    assert list(read_segments(tmp_path)) == [b"one", b"two", b"four"]


def test_a_segment_that_is_being_packed_is_read_once(tmp_path: Path) -> None:
    """While a segment is being compressed, only its plain file is read; afterwards only the compressed one."""
    content = b"one\ntwo\n"
    (tmp_path / "1.jsonl").write_bytes(content)
    for so_far in (b"", gzip.compress(content)[:-9], gzip.compress(content)):
        (tmp_path / "1.jsonl.gz").write_bytes(so_far)
        assert list(read_segments(tmp_path)) == [b"one", b"two"]
    (tmp_path / "1.jsonl").unlink()
    assert list(read_segments(tmp_path)) == [b"one", b"two"]


class Growing(io.RawIOBase):
    """A file as its reader sees it; an empty piece is its present end."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return offset

    def readinto(self, buffer: WriteableBuffer) -> int:
        piece = self.pieces.pop(0) if self.pieces else b""
        memoryview(buffer)[: len(piece)] = piece
        return len(piece)


@pytest.mark.parametrize("reader", ["read_segment", "lines"])
def test_a_line_that_is_being_written_waits_until_it_is_whole(
    reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that is only half written when it is read is skipped, with its rest, and read whole the next time."""
    for module in (files, archive):
        monkeypatch.setattr(module, "opened", lambda _: io.BufferedReader(Growing(b"one\ntw", b"", b"o\n", b"")))
    read = read_segment if reader == "read_segment" else FileLogArchive(tmp_path, 3600.0, 600.0).lines
    assert list(read(tmp_path / "1.jsonl")) == [b"one"]
