"""Work that is done again and again on a thread of its own, beside what answers: nothing unforeseen ends it.

What nobody foresaw is told in the log and counted, by whom it may concern, and the work goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

LOGGER: Final = "riskd.background"
"""Who hears of each exception that nobody foresaw on such a thread."""
PART: Final = "background"
QUIET_SECONDS: Final = 10.0
"""After it was told that no thread could be had."""
_LOG: Final = logging.getLogger(LOGGER)
_told_at = -QUIET_SECONDS


@contextmanager
def surviving(work: str) -> Iterator[None]:
    """Whatever is raised within is told, and goes no further."""
    try:
        yield
    except Exception:
        _LOG.error("work_failed", exc_info=True, extra={"fields": {"work": work}})


def begun(run: Callable[..., object], name: str, *args: object) -> threading.Thread | None:
    """A thread that runs it; None where the process can have no more (a limit of its group, or no memory), which is
    told. Whoever wanted it goes on without, and asks again."""
    thread = threading.Thread(target=run, name=name, args=args, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        missed(name)
        return None
    return thread


def missed(name: str) -> None:
    """Tell that a thread could not be had, now and then of many that could not."""
    global _told_at  # noqa: PLW0603 - of the process, as its threads are
    now = time.monotonic()
    if now >= _told_at + QUIET_SECONDS:
        _told_at = now
        _LOG.error("no_thread", extra={"fields": {"work": name}})


@contextmanager
def every(seconds: float, work: Callable[[threading.Event], None], name: str) -> Iterator[None]:
    """Do some work every so many seconds until this is left; never, where `seconds` is 0.

    It is given what says that it is to end, which is soon waited for. What it raises is told, and it is done again.
    """
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(seconds):
            with surviving(name):
                work(stop)

    thread = threading.Thread(target=run, name=name, daemon=True)
    if seconds:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if seconds:
            thread.join()


@contextmanager
def counting(failed: Callable[[str], object]) -> Iterator[None]:
    """Until this is left, each that is told in this process is a failure of `PART`."""
    counter = _Counter(failed)
    _LOG.addHandler(counter)
    try:
        yield
    finally:
        _LOG.removeHandler(counter)


class _Counter(logging.Handler):
    def __init__(self, failed: Callable[[str], object]) -> None:
        super().__init__(logging.ERROR)
        self._failed = failed

    def emit(self, record: logging.LogRecord) -> None:
        """Count it."""
        self._failed(PART)
