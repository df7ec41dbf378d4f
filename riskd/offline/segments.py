"""Processes every segment of a decision log, with several processes at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Final

from riskd.adapters.decision_log import readable, size, size_of
from riskd.offline.crew import Crew, Part, crew_of
from riskd.progress import Progress

SMALL: Final = 8 << 20
"""Logs smaller than this many bytes are read by one process: starting more costs more than it saves."""


def crew(wanted: int | None, paths: Sequence[Path]) -> AbstractContextManager[Crew]:
    """A crew of `wanted` processes (None: one per processor), at most one per segment."""
    some = wanted or (1 if size(paths) < SMALL else len(os.sched_getaffinity(0)))
    return crew_of(min(some, len(paths)))


def each_segment(
    paths: Sequence[Path], work: Callable[[Path], Part], readers: Crew, progress: Progress
) -> Iterator[Part]:
    """Yield what `work` returns for each segment, as each is done.

    Raises InvalidFile for a segment that cannot be read.
    """
    for _, part in readers.each(partial(_read, work), paths, progress):
        yield part


def _read(work: Callable[[Path], Part], path: Path, progress: Progress) -> Part:
    bytes_ = size_of(path)
    with readable(path):
        part = work(path)
    progress(bytes_)
    return part
