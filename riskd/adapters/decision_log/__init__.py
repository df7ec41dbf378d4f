"""The decision log in files: the writer, the reading of segments, and an archive that searches, erases and compacts."""

from __future__ import annotations

from riskd.adapters.decision_log.archive import Compacted, FileLogArchive, State
from riskd.adapters.decision_log.erasure import Erasure
from riskd.adapters.decision_log.files import (
    DATASET,
    DECISIONS,
    PACKED,
    SUFFIX,
    damaged,
    decoded,
    finished,
    lines_of,
    log_in,
    opened,
    plain_name,
    read_segment,
    readable,
    record_of,
    segments,
    segments_of,
    size,
    size_of,
    stamp,
)
from riskd.adapters.decision_log.rewriting import head
from riskd.adapters.decision_log.writer import PATIENCE_S, UNBOUNDED, Bounds, FileDecisionLog

__all__ = [
    "DATASET",
    "DECISIONS",
    "PACKED",
    "PATIENCE_S",
    "SUFFIX",
    "UNBOUNDED",
    "Bounds",
    "Compacted",
    "Erasure",
    "FileDecisionLog",
    "FileLogArchive",
    "State",
    "damaged",
    "decoded",
    "finished",
    "head",
    "lines_of",
    "log_in",
    "opened",
    "plain_name",
    "read_segment",
    "readable",
    "record_of",
    "segments",
    "segments_of",
    "size",
    "size_of",
    "stamp",
]
