"""A signal whose handler raises in the middle of a call, as those of job queues do when a task has used up its time."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer, get_ident

import pytest


class Interrupted(Exception):
    """The task has used up its time."""


@contextmanager
def interrupted(seconds: float = 0.05) -> Iterator[None]:
    """Interrupt the body after so many seconds; fails if it ends before, or in another way."""

    def interrupt(*_: object) -> None:
        raise Interrupted

    usual = signal.signal(signal.SIGUSR1, interrupt)
    timer = Timer(seconds, signal.pthread_kill, (get_ident(), signal.SIGUSR1))
    try:
        with pytest.raises(Interrupted):
            timer.start()
            yield
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGUSR1, usual)
