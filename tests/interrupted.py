"""A signal whose handler raises in the middle of a call, as those of job queues do when a task has used up its time."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer, get_ident


class Interrupted(Exception):
    """The task has used up its time."""


@contextmanager
def interrupted(seconds: float = 0.05) -> Iterator[None]:
    """Interrupt the body after so many seconds. Fails if it ends before."""

    def interrupt(*_: object) -> None:
        raise Interrupted

    usual = signal.signal(signal.SIGUSR1, interrupt)
    timer = Timer(seconds, signal.pthread_kill, (get_ident(), signal.SIGUSR1))
    try:
        timer.start()
        yield
    except Interrupted:
        return
    else:
        raise AssertionError("it was not interrupted")
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGUSR1, usual)
