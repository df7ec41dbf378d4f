"""Work that is done again and again on a thread of its own, beside what answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def every(seconds: float, work: Callable[[threading.Event], None], name: str) -> Iterator[None]:
    """Do some work every so many seconds until this is left; never, where `seconds` is 0.

    It is given what says that it is to end, which is soon waited for.
    """
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(seconds):
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
