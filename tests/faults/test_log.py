"""Failures of the decision log: appended lines are kept, refused ones are reported, and it recovers by itself."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from pathlib import Path

from riskd.adapters.decision_log import PATIENCE_S, Bounds, FileDecisionLog
from riskd.adapters.null import NullMeter
from tests.decision_log import read_segments
from tests.e2e.service import eventually
from tests.faults.disks import nobody


class HangingLog(FileDecisionLog):
    """A log whose disk hangs until `disk` is set."""

    disk = threading.Event()

    def _write(self, line: bytes) -> None:
        self.disk.wait()
        super()._write(line)


def opened(directory: Path, **bounds: float) -> FileDecisionLog:
    return FileDecisionLog(directory, 0, NullMeter(), Bounds(**bounds))  # type: ignore[arg-type]  # bytes are whole


def test_a_line_that_hangs_holds_up_its_own_thread_alone(tmp_path: Path) -> None:
    """While a line hangs, the next thread waits for `PATIENCE_S` and later ones not at all; in the end the line and new
    ones are written."""
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


def test_revoked_file_permission(tmp_path: Path) -> None:
    """Without permission, the open segment continues; a new one is refused until the directory is writable again."""
    place = tmp_path / "log"
    with closing(opened(place, segment_bytes=10)) as log:
        assert log.append(b"0123456789")
        place.chmod(0)
        with nobody():
            assert not log.append(b"refused")
        place.chmod(0o700)
        eventually(lambda: log.append(b"after"))
    assert list(read_segments(place)) == [b"0123456789", b"after"]


def test_a_replaced_log_directory(tmp_path: Path) -> None:
    """If the directory is replaced, new lines go to the new one within seconds, and earlier ones stay in the moved
    one."""
    place = tmp_path / "log"
    with closing(opened(place)) as log:
        assert log.append(b"before")
        place.rename(tmp_path / "old")
        place.mkdir()
        eventually(lambda: log.append(b"after") and b"after" in read_segments(place))
    assert next(read_segments(tmp_path / "old")) == b"before"


def test_a_clock_that_is_set_back_opens_the_next_segment(tmp_path: Path) -> None:
    """Segment names come from the clock; an existing segment is never overwritten, and another time gives a free
    name."""
    now = [1_800_000_000.0]
    bounds = Bounds(segment_bytes=10)
    with closing(FileDecisionLog(tmp_path, 0, NullMeter(), bounds, lambda: now[0])) as log:
        assert log.append(b"0123456789")
        assert not log.append(b"same moment")
        now[0] -= 3600
        eventually(lambda: log.append(b"an hour ago"))
    assert sorted(read_segments(tmp_path)) == [b"0123456789", b"an hour ago"]
