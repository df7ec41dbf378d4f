"""Processes that work on one item each at a time."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TypeVar

from riskd.core.errors import InvalidFile, Problem, RiskdError
from riskd.host.background import start_thread
from riskd.progress import Progress

Item = TypeVar("Item")
Part = TypeVar("Part")


class Crew:
    """Processes; without any, this process does the work. `ProcessPoolExecutor` can neither end them in the middle of
    an item nor, before Python 3.11.5, notice that one died while it was sent more than a pipe holds (gh-94777)."""

    def __init__(self) -> None:
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []

    def __len__(self) -> int:
        return len(self._processes)

    def grow(self) -> None:
        """Start one more process."""
        context = get_context("spawn")  # not forked: the progress bar has threads
        pipe, its_end = context.Pipe()
        process = context.Process(target=_serve, args=(its_end,), daemon=True)
        with _deaf_to_interrupts():
            process.start()
            self._processes.append(process)
        its_end.close()
        self._pipes.append(pipe)

    def each(
        self, work: Callable[[Item, Progress], Part], items: Sequence[Item], progress: Progress
    ) -> Iterator[tuple[Item, Part]]:
        """Yield each item and what `work` returns for it, as each is done. All are pickled; so is the progress that it
        reports.

        Raises the RiskdError that `work` raises, and InvalidFile, naming the item, if the process died.
        """
        if not self:
            for item in items:
                yield item, work(item, progress)
            return
        left, idle, busy = list(reversed(items)), list(self._pipes), dict[Connection, Item]()
        while left or busy:
            while left and idle:
                pipe, item = idle.pop(), left.pop()
                with _alive(item):
                    pipe.send((work, item))
                busy[pipe] = item
            for ready in wait(busy):
                assert isinstance(ready, Connection)
                with _alive(busy[ready]):
                    finished, part = ready.recv()
                if not finished:
                    progress(part)
                    continue
                idle.append(ready)
                if isinstance(part, RiskdError):
                    raise type(part)(part.problems)
                yield busy.pop(ready), part

    def close(self) -> None:
        """End the processes at once, in the middle of an item."""
        for process in self._processes:
            process.terminate()
            process.join()
        for pipe in self._pipes:
            pipe.close()


@contextmanager
def crew_of(size: int) -> Iterator[Crew]:
    """A crew of so many processes, which end with the block; of none for 1."""
    with closing(Crew()) as crew:
        for _ in range(size if size > 1 else 0):
            crew.grow()
        yield crew


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes started inside this block ignore Ctrl-C, which a terminal sends to all of them: the parent ends
    them."""
    resource_tracker.ensure_running()  # otherwise the first process starts it, which ends the blocking
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _alive(item: object) -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:
        what, remedy = "a process that was reading it died", "it may have run out of memory: try --processes 1"
        raise InvalidFile([Problem(str(item), what, remedy)]) from error


def _serve(pipe: Connection) -> None:
    """Runs in a process of a crew. It ends as soon as its parent has ended, for whose work it would else wait for
    ever."""
    parent = parent_process()
    if parent is not None:
        start_thread(_follow, "parent", parent)
    while True:
        try:
            work, item = pipe.recv()
        except EOFError:  # the command was killed
            return
        try:
            part = work(item, lambda done: pipe.send((False, done)))
        except RiskdError as error:
            part = error
        pipe.send((True, part))


def _follow(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
