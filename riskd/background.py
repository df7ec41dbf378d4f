"""Work that is done again and again on a thread of its own, beside what answers: nothing unforeseen ends it.

What nobody foresaw is told in the log and counted, by whom it may concern, and the work goes on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

LOGGER: Final = "riskd.background"
"""Who hears of each exception that nobody foresaw on such a thread."""
PART: Final = "background"
_LOG: Final = logging.getLogger(LOGGER)


@contextmanager
def surviving(work: str) -> Iterator[None]:
    """Whatever is raised within is told, and goes no further."""
    try:
        yield
    except Exception:
        _LOG.error("work_failed", exc_info=True, extra={"fields": {"work": work}})


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
