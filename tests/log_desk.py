"""A directory with segments of a decision log, its archive, and a clock to set."""

from __future__ import annotations

import gzip
import json
import os
from contextlib import closing, suppress
from pathlib import Path
from threading import Event

from riskd.adapters.decision_log import Bounds, Compacted, FileDecisionLog, FileLogArchive
from riskd.adapters.decision_log.files import PACKED, finished, segments
from riskd.adapters.null import NullMeter
from tests.decision_log import read_segments

ANNE, BERT = b"anneanneanneanne", b"bertbertbertbert"
BEGUN = 1_800_000_000.0


def line(subject: bytes, number: int, kind: str = "assessment", domain: str = "customer") -> bytes:
    """A log line with the fields that say whose it is."""
    name = "assessment_id" if kind == "outcome" else "id"
    named = {name: subject[:8].hex() + f"{number:016x}"}
    own = {"subject": subject.hex()} if kind == "assessment" else {}
    return json.dumps({"type": kind, **named, "time": BEGUN, "tenant": '"domain":"x', "domain": domain, **own}).encode()


class Desk:
    """A directory with segments, its archive, and a clock to set."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.now, self.ahead = directory, BEGUN, 0.0
        self.archive = FileLogArchive(directory, 3600.0, 3600.0, lambda: self.now, lambda: self.now - self.ahead)

    def written(self, *lines: bytes) -> None:
        """Write a finished segment with these lines."""
        with closing(self.writer()) as writer:
            for each in lines:
                assert writer.append(each)
        os.utime(segments(self.directory)[-1], (self.now, self.now))
        self.now += 1

    def set_clock(self, ahead: float) -> None:
        self.now, self.ahead = self.now + ahead - self.ahead, ahead

    def writer(self, worker: int = 0) -> FileDecisionLog:
        return FileDecisionLog(self.directory, worker, NullMeter(), Bounds(keep_seconds=1e10), lambda: self.now)

    def compact(self, **keep: float) -> Compacted:
        done = self.archive.compact(keep, Event())
        assert done is not None
        return done

    def compact_one(self) -> None:
        """Start a compaction that is stopped after its first segment."""
        stop = Event()
        self.archive.compact({}, stop, lambda done, _: stop.set() if done == 1 else None)

    def pack(self, *, begun: bool = False) -> None:
        """Compress the finished segments as `gzip` does: a new file with the same times, then the old one is deleted.
        With `begun`, stop before the deletion."""
        for path in self.directory.glob("*.jsonl"):
            with suppress(FileNotFoundError), finished(path) as done:  # writers delete empty segments
                packed, status = path.with_name(path.name + PACKED), path.stat()
                if done and not packed.exists():
                    packed.write_bytes(gzip.compress(path.read_bytes()))
                    os.utime(packed, ns=(status.st_atime_ns, status.st_mtime_ns))
                if done and not begun:
                    path.unlink()

    def lines(self) -> list[bytes]:
        return list(read_segments(self.directory))

    def found(self, subject: bytes, limit: int = 100) -> list[bytes]:
        lines, cursor = self.archive.find([subject], b"", limit)
        while cursor:
            more, cursor = self.archive.find([subject], cursor, limit)
            assert len(more) <= limit
            lines += more
        return lines

    def pending(self) -> int:
        return self.archive.state().erasures
