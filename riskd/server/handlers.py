"""Handler threads that are made up for while something holds them up."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import get_ident
from time import monotonic
from typing import Final, ParamSpec, TypeVar

SPARES: Final = 4
"""Threads that a pool may grow by in its life."""
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class Handlers(ThreadPoolExecutor):
    """A pool of a fixed number of threads, which gets one more when all of them are held up.

    A thread in a call to a disk that does not answer (a log on a dead mount) cannot be called back, and behind the
    only one every later call would wait for the same disk. The thread that makes up for it stays.
    """

    def __init__(self, threads: int, name: str, *, held_up_s: float) -> None:
        """`held_up_s`: seconds after which one call's thread counts as held up."""
        super().__init__(threads, thread_name_prefix=name)
        self._held_up_s = held_up_s
        self._most = threads + SPARES
        self._begun: dict[int, float] = {}

    def submit(self, fn: Callable[_Given, _Result], /, *args: _Given.args, **kwargs: _Given.kwargs) -> Future[_Result]:
        """See `Executor`."""
        if len(self._begun) >= self._max_workers < self._most and self._all_held_up():
            self._max_workers += 1
        return super().submit(self._timed, fn, *args, **kwargs)

    def _all_held_up(self) -> bool:
        return max(list(self._begun.values()), default=monotonic()) < monotonic() - self._held_up_s

    def _timed(self, fn: Callable[_Given, _Result], /, *args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        thread = get_ident()
        self._begun[thread] = monotonic()
        try:
            return fn(*args, **kwargs)
        finally:
            del self._begun[thread]
