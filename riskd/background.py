"""Work that is done again and again on a thread of its own, beside what answers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_LOG: Final = logging.getLogger("riskd.background")


@contextmanager
def every(seconds: float, work: Callable[[threading.Event], None], name: str) -> Iterator[None]:
    """Do some work every so many seconds until this is left; never, where `seconds` is 0.

    It is given what says that it is to end, which is soon waited for. What it raises is told, and it is done again.
    """
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(seconds):
            try:
                work(stop)
            except Exception:
                _LOG.error("work_failed", exc_info=True, extra={"fields": {"work": name}})

    thread = threading.Thread(target=run, name=name, daemon=True)
    if seconds:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if seconds:
            thread.join()
