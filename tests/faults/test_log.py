"""Faults of the decision log: acknowledged records are kept, refused ones are reported, and it recovers without a
restart."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from pathlib import Path

from riskd.adapters.decision_log import PATIENCE_S, Bounds, FileDecisionLog, read_segments
from riskd.adapters.memory import NullMeter
from tests.e2e.service import eventually
from tests.faults.disks import nobody


class HangingLog(FileDecisionLog):
    """A log on a disk that hangs until told otherwise."""

    disk = threading.Event()

    def _write(self, line: bytes) -> None:
        self.disk.wait()
        super()._write(line)


def opened(directory: Path, **bounds: float) -> FileDecisionLog:
    return FileDecisionLog(directory, 0, NullMeter(), Bounds(**bounds))  # type: ignore[arg-type]  # bytes are whole


def test_a_line_that_hangs_holds_up_its_own_thread_alone(tmp_path: Path) -> None:
    """The next thread waits for `PATIENCE_S`, later ones not at all. In the end the hanging line is there, and so are
    new ones."""
    with closing(HangingLog(tmp_path, 0, NullMeter(), Bounds())) as log:
        appended: list[bool] = []
        thread = threading.Thread(target=lambda: appended.append(log.append(b"first")))
        thread.start()
        eventually(log._lock.locked)
        took = []
        for _ in range(5):
            started = time.monotonic()
            assert not log.append(b"refused")
            took.append(time.monotonic() - started)
        assert PATIENCE_S <= took[0] < PATIENCE_S + 0.25
        assert max(took[1:]) < PATIENCE_S
        log.disk.set()
        thread.join()
        assert appended == [True]
        assert log.append(b"last")
    assert list(read_segments(tmp_path)) == [b"first", b"last"]


def test_permission_that_is_taken_away(tmp_path: Path) -> None:
    """The open segment can still be written. A new one is refused until the directory is writable again."""
    place = tmp_path / "log"
    with closing(opened(place, segment_bytes=10)) as log:
        assert log.append(b"0123456789")
        place.chmod(0)
        with nobody():
            assert not log.append(b"refused")
        place.chmod(0o700)
        eventually(lambda: log.append(b"after"))
    assert list(read_segments(place)) == [b"0123456789", b"after"]


def test_a_directory_that_another_replaces(tmp_path: Path) -> None:
    """Within seconds, lines go to the new directory at the path. Earlier lines are where the old directory was
    moved."""
    place = tmp_path / "log"
    with closing(opened(place)) as log:
        assert log.append(b"before")
        place.rename(tmp_path / "old")
        place.mkdir()
        eventually(lambda: log.append(b"after") and b"after" in read_segments(place))
    assert next(read_segments(tmp_path / "old")) == b"before"


def test_a_clock_that_is_set_back_opens_the_next_segment(tmp_path: Path) -> None:
    """Segment names come from the clock. An existing file is not overwritten; a moment later a new name is free."""
    now = [1_800_000_000.0]
    bounds = Bounds(segment_bytes=10)
    with closing(FileDecisionLog(tmp_path, 0, NullMeter(), bounds, lambda: now[0])) as log:
        assert log.append(b"0123456789")
        assert not log.append(b"same moment")
        now[0] -= 3600
        eventually(lambda: log.append(b"an hour ago"))
    assert sorted(read_segments(tmp_path)) == [b"0123456789", b"an hour ago"]
