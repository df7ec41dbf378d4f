"""Processes that read a log for another one."""

from __future__ import annotations

import signal
from pathlib import Path

from riskd.offline.segments import crew, each_segment


def deaf(_: Path) -> bool:
    """In a process of the crew: whether it is deaf to Ctrl-C."""
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_an_interrupt_is_for_whoever_started_the_crew(tmp_path: Path) -> None:
    """Ctrl-C reaches a whole group of processes; those that read say nothing of it, and are ended by the one that
    asked them, which hears it."""
    segments = [tmp_path / "one", tmp_path / "two"]
    for segment in segments:
        segment.touch()
    with crew(2, segments) as pool:
        assert pool is not None
        assert list(each_segment(segments, deaf, pool, lambda _: None)) == [True, True]
    assert not deaf(tmp_path)
