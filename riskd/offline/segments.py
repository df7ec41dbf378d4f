"""Processes every segment of a decision log, with several processes at a time."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final, TypeVar

from riskd.adapters.decision_log import readable, size, size_of
from riskd.core.errors import InvalidFile, Problem, RiskdError
from riskd.host.background import start_thread
from riskd.progress import Progress

Item = TypeVar("Item")
Part = TypeVar("Part")
SMALL: Final = 8 << 20
"""Logs smaller than this many bytes are read by one process: starting more costs more than it saves."""


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Processes started inside this block ignore Ctrl-C, which a terminal sends to all of them: the parent ends
    them."""
    resource_tracker.ensure_running()  # otherwise the first process starts it, which ends the blocking
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


class Crew:
    """Processes that work on one item each at a time. `ProcessPoolExecutor` can neither end them in the middle of one
    nor, before Python 3.11.5, notice that one died while it was sent more than a pipe holds (gh-94777)."""

    def __init__(self) -> None:
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []

    def grow(self) -> None:
        """Start one more process."""
        context = get_context("spawn")  # not forked: the progress bar has threads
        pipe, its_end = context.Pipe()
        process = context.Process(target=_serve, args=(its_end,), daemon=True)
        with deaf_to_interrupts():
            process.start()
            self._processes.append(process)
        its_end.close()
        self._pipes.append(pipe)

    def each(self, work: Callable[[Item], Part], items: Sequence[Item]) -> Iterator[tuple[Item, Part]]:
        """Yield each item and what `work` returns for it, as each is done. All are pickled.

        Raises the RiskdError that `work` raises, and InvalidFile, naming the item, if the process died.
        """
        left, idle, busy = list(reversed(items)), list(self._pipes), dict[Connection, Item]()
        while left or busy:
            while left and idle:
                pipe, item = idle.pop(), left.pop()
                with _alive(item):
                    pipe.send((work, item))
                busy[pipe] = item
            for ready in wait(busy):
                assert isinstance(ready, Connection)
                item = busy.pop(ready)
                with _alive(item):
                    part = ready.recv()
                idle.append(ready)
                if isinstance(part, RiskdError):
                    raise type(part)(part.problems)
                yield item, part

    def close(self) -> None:
        """End the processes at once, in the middle of an item."""
        for process in self._processes:
            process.terminate()
            process.join()
        for pipe in self._pipes:
            pipe.close()


@contextmanager
def _alive(item: object) -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:
        what, remedy = "a process that was reading it died", "it may have run out of memory: try --processes 1"
        raise InvalidFile([Problem(str(item), what, remedy)]) from error


def _serve(pipe: Connection) -> None:
    """Runs in a process of a crew."""
    end_with_parent()
    while True:
        try:
            work, item = pipe.recv()
        except EOFError:  # the command was killed
            return
        try:
            part = work(item)
        except RiskdError as error:
            part = error
        pipe.send(part)


@contextmanager
def crew(wanted: int | None, paths: Sequence[Path]) -> Iterator[Crew | None]:
    """Processes until the block ends: `wanted` (None: one per processor), at most one per segment. Yields None to use
    this process only."""
    some = wanted or (1 if size(paths) < SMALL else len(os.sched_getaffinity(0)))
    if min(some, len(paths)) <= 1:
        yield None
        return
    with closing(Crew()) as readers:
        for _ in range(min(some, len(paths))):
            readers.grow()
        yield readers


def each_segment(
    paths: Sequence[Path], work: Callable[[Path], Part], readers: Crew | None, progress: Progress
) -> Iterator[Part]:
    """Yield what `work` returns for each segment, as each is done.

    Raises InvalidFile for a segment that cannot be read.
    """
    sizes = {path: size_of(path) for path in paths}
    tried = partial(_tried, work)
    for path, part in readers.each(tried, paths) if readers else zip(paths, map(tried, paths), strict=True):
        yield part
        progress(sizes[path])


def _tried(work: Callable[[Path], Part], path: Path) -> Part:
    with readable(path):
        return work(path)
