"""Laws of work that is done again and again."""

from __future__ import annotations

import logging
import threading

import pytest

from riskd.background import every

PATIENCE = 10.0


def test_work_that_fails_is_told_and_done_again(caplog: pytest.LogCaptureFixture) -> None:
    """One surprise ends neither expiry nor compaction nor whatever else it was for as long as the process lives."""
    again, times = threading.Event(), [0]

    def work(_: threading.Event) -> None:
        times[0] += 1
        if times[0] == 1:
            raise ZeroDivisionError
        again.set()

    with caplog.at_level(logging.ERROR), every(0.01, work, "counting"):
        assert again.wait(PATIENCE)
    (event,) = caplog.records
    assert event.message == "work_failed"
    assert event.exc_info is not None
    assert event.exc_info[0] is ZeroDivisionError
    assert event.fields == {"work": "counting"}  # type: ignore[attr-defined]


def test_it_ends_when_it_is_left() -> None:
    """The work that is under way is told, and waited for."""
    begun, ended = threading.Event(), threading.Event()

    def work(stop: threading.Event) -> None:
        begun.set()
        assert stop.wait(PATIENCE)
        ended.set()

    with every(0.01, work, "waiting"):
        assert begun.wait(PATIENCE)
    assert ended.is_set()
