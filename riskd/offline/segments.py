"""Processes every segment of a decision log, with several processes at a time."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final, TypeVar

from riskd.adapters.decision_log import readable, size, size_of
from riskd.core.errors import InvalidFile, Problem
from riskd.host.background import start_thread
from riskd.progress import Progress

Part = TypeVar("Part")
SMALL: Final = 8 << 20
"""Logs smaller than this many bytes are read by one process: starting more costs more than it saves."""


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Processes started inside this block ignore Ctrl-C, which a terminal sends to all of them: the parent ends
    them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """End this process as soon as its parent has ended. If that is killed, the processes of a pool would wait for work
    for ever."""
    parent = parent_process()
    if parent is not None:
        start_thread(_follow, "parent", parent)


def _follow(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


@contextmanager
def crew(wanted: int | None, paths: Sequence[Path]) -> Iterator[Executor | None]:
    """A pool of `wanted` processes (None: one per processor), at most one per segment. Yields None to use this process
    only. If the block raises, as at Ctrl-C, they end at once, in the middle of a segment."""
    some = wanted or (1 if size(paths) < SMALL else len(os.sched_getaffinity(0)))
    if min(some, len(paths)) <= 1:
        yield None
        return
    # Spawned, not forked: the progress bar has threads.
    many, context = min(some, len(paths)), get_context("spawn")
    with ProcessPoolExecutor(many, mp_context=context, initializer=end_with_parent) as pool:
        try:
            yield pool
        except BaseException:
            for process in list(pool._processes.values()):  # noqa: SLF001 - `terminate_workers` is of Python 3.14
                process.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def each_segment(
    paths: Sequence[Path], work: Callable[[Path], Part], pool: Executor | None, progress: Progress
) -> Iterator[Part]:
    """Yield what `work` returns for each segment, as each is done. With a pool, `work` and its results are pickled.

    Raises InvalidFile for a segment that cannot be read.
    """
    sizes = {path: size_of(path) for path in paths}
    if pool is None:
        for path in paths:
            yield _tried(partial(work, path), path)
            progress(sizes[path])
        return
    with deaf_to_interrupts():
        waiting = {pool.submit(work, path): path for path in paths}
    for done in as_completed(waiting):
        yield _tried(done.result, waiting[done])
        progress(sizes[waiting.pop(done)])


def _tried(work: Callable[[], Part], path: Path) -> Part:
    try:
        with readable(path):
            return work()
    except BrokenProcessPool as error:
        what, remedy = "a process that was reading it died", "it may have run out of memory: try --processes 1"
        raise InvalidFile([Problem(str(path), what, remedy)]) from error
