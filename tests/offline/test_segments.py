"""Processes that read a log for another one."""

from __future__ import annotations

import signal
from pathlib import Path

from riskd.offline.segments import crew, each_segment


def deaf(_: Path) -> bool:
    """Whether this process of the crew ignores Ctrl-C."""
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_readers_ignore_an_interrupt(tmp_path: Path) -> None:
    """The readers ignore Ctrl-C, which reaches the whole process group, and are ended by the process that started
    them."""
    segments = [tmp_path / "one", tmp_path / "two"]
    for segment in segments:
        segment.touch()
    with crew(2, segments) as pool:
        assert pool is not None
        assert list(each_segment(segments, deaf, pool, lambda _: None)) == [True, True]
    assert not deaf(tmp_path)
