"""A decision log of segments, as something to live through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from riskd.config import Settings
from riskd.offline.segments import Progress, segments_of, size
from riskd.rebuild.order import Line, in_order
from riskd.wiring import open_archive


class LogSource(Struct, frozen=True):
    """A `Source` of segments: those of the settings' `log.dir`."""

    settings: Settings

    def size(self) -> int:
        """Bytes."""
        return size(segments_of(Path(self.settings.log.dir)))

    def lines(self, counts: Counter[str], progress: Progress) -> Iterator[Line]:
        """See `Source`."""
        return in_order(open_archive(self.settings), segments_of(Path(self.settings.log.dir)), counts, progress)
