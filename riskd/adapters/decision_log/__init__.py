"""The decision log on files: written by many, read in order, and rid of what may no longer be kept."""

from __future__ import annotations

from riskd.adapters.decision_log.archive import Compacted, FileLogArchive, State
from riskd.adapters.decision_log.segments import read_segments
from riskd.adapters.decision_log.writer import Bounds, FileDecisionLog

__all__ = ["Bounds", "Compacted", "FileDecisionLog", "FileLogArchive", "State", "read_segments"]
