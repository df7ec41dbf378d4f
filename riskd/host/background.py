"""Periodic work on background threads. An unexpected exception is logged and counted, and the work goes on."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

LOGGER: Final = "riskd.background"
"""Name of the logger of unexpected exceptions on background threads."""
PART: Final = "background"
"""The part of riskd that these exceptions are counted as a failure of."""
QUIET_SECONDS: Final = 10.0
"""Least time between two `no_thread` events."""
_NO_THREAD: Final = "no_thread: %s (allow the user or the container more threads)"
_LOG: Final = logging.getLogger(LOGGER)


@contextmanager
def surviving(work: str) -> Iterator[None]:
    """Log any exception raised within, as that of `work`, and suppress it."""
    try:
        yield
    except Exception:
        _LOG.error("work_failed: %s", work, exc_info=True, extra={"fields": {"work": work}})


def start_thread(run: Callable[..., object], name: str, *args: object) -> threading.Thread | None:
    """Start a daemon thread. None, with a `no_thread` event, if the process cannot have another one (a limit of its
    group, or no memory). The caller goes on without it and tries again later."""
    thread = threading.Thread(target=run, name=name, args=args, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        log_no_thread(name)
        return None
    return thread


def log_no_thread(name: str) -> None:
    """Log a `no_thread` event, unless there was one within `QUIET_SECONDS`."""
    _LOG.error(_NO_THREAD, name, extra={"fields": {"work": name}})


@contextmanager
def every(seconds: float, work: Callable[[threading.Event], None], name: str) -> Iterator[None]:
    """Call `work` every `seconds` on a thread until the context exits; never, if `seconds` is 0.

    `work` gets an event that is set when it should stop; the exit waits for it. Exceptions are logged.
    """
    if not seconds:
        yield
        return
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(seconds):
            with surviving(name):
                work(stop)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def counting(failed: Callable[[str], object]) -> Iterator[None]:
    """Until the context exits, call `failed(PART)` for each exception that `surviving` logs in this process."""
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


class _Limit(logging.Filter):
    """Passes one `no_thread` event in `QUIET_SECONDS`, because every call may fail to start a thread."""

    def __init__(self) -> None:
        super().__init__()
        self._passed_at = -math.inf

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log it."""
        if record.msg != _NO_THREAD:
            return True
        now = time.monotonic()
        passes = now >= self._passed_at + QUIET_SECONDS
        self._passed_at = now if passes else self._passed_at
        return passes


_LOG.addFilter(_Limit())
