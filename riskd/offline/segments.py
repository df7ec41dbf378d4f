"""Work on every segment of a decision log, by several processes at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final, TypeVar

from riskd.adapters.decision_log import segments
from riskd.core.errors import InvalidFile, Problem

Part = TypeVar("Part")
Progress = Callable[[int], None]
"""Told how many bytes more are done."""
SMALL: Final = 8 << 20
"""Bytes of a log for which starting processes costs more than they save."""


def segments_of(directory: Path) -> list[Path]:
    """The segments of a log, in order. Raises InvalidFile when there are none."""
    found = segments(directory)
    if not found:
        why = "has no segments of a decision log" if directory.is_dir() else "is not a directory"
        raise InvalidFile([Problem(str(directory), why, "name the directory of the setting log.dir")])
    return found


def size(paths: Sequence[Path]) -> int:
    """Bytes of all of them."""
    return sum(path.stat().st_size for path in paths)


def processes(wanted: int | None, paths: Sequence[Path]) -> int:
    """How many processes to use: as many as wanted, else one for each processor, never more than segments."""
    if wanted is None and size(paths) < SMALL:
        return 1
    return min(wanted or len(os.sched_getaffinity(0)), len(paths))


def each_segment(
    paths: Sequence[Path], work: Callable[[Path], Part], workers: int, progress: Progress
) -> Iterator[Part]:
    """What `work` makes of each segment, as it comes. With several workers, `work` and its parts cross processes.

    Raises InvalidFile for a segment that cannot be read.
    """
    sizes = {path: path.stat().st_size for path in paths}
    if workers <= 1:
        for path in paths:
            yield _tried(partial(work, path), path)
            progress(sizes[path])
        return
    # Spawned, not forked: whoever draws the progress has threads.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(work, path): path for path in paths}
        try:
            for done in as_completed(waiting):
                yield _tried(done.result, waiting[done])
                progress(sizes[waiting.pop(done)])
        finally:
            pool.shutdown(cancel_futures=True)


def _tried(work: Callable[[], Part], path: Path) -> Part:
    try:
        return work()
    except (OSError, EOFError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InvalidFile([Problem(str(path), f"cannot be read: {why}", "copy it again, or set it aside")]) from error
    except BrokenProcessPool as error:
        raise InvalidFile([Problem(str(path), "a process that read it was ended", "try --processes 1")]) from error
