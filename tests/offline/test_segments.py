"""Processes that read a log for another one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from riskd.core.errors import InvalidFile, InvalidSettings, Problem
from riskd.offline.segments import crew, each_segment
from tests.e2e.service import eventually

ROOT: Final = Path(__file__).parents[2]


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


def held(path: Path) -> None:
    """Say that the segment is being read, and never end."""
    path.write_text("begun")
    signal.pause()


INTERRUPTED: Final = """
import sys
from pathlib import Path
from riskd.offline.segments import crew, each_segment
from tests.offline.test_segments import held
segments = [Path(name) for name in sys.argv[1:]]
with crew(2, segments) as pool:
    list(each_segment(segments, held, pool, lambda _: None))
"""


def test_an_interrupt_does_not_wait_for_readers(tmp_path: Path) -> None:
    """Ctrl-C ends a command at once: readers do not finish the segments that they are reading."""
    segments = [tmp_path / "one", tmp_path / "two"]
    for segment in segments:
        segment.touch()
    command = [sys.executable, "-c", INTERRUPTED, *map(str, segments)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True) as process:
        try:
            eventually(lambda: all(map(Path.read_text, segments)))
            os.killpg(process.pid, signal.SIGINT)
            _, told = process.communicate(timeout=30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert told.rstrip().endswith(b"KeyboardInterrupt")
    assert told.count(b"Traceback") == 1, "only the command itself was interrupted"


def mortal(path: Path) -> str:
    """Die of some segments, as of too little memory; fail at others."""
    if path.name == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    raise InvalidSettings([Problem("here", "is wrong", "mend it")])


@pytest.mark.parametrize("large", [b"", bytes(1 << 20)], ids=["small", "more than a pipe holds"])
def test_a_reader_that_dies_is_reported(large: bytes, tmp_path: Path) -> None:
    """If a reader dies, the segment that it read is named, however much was to be sent to it."""
    segments = [tmp_path / name for name in ("deadly", "one", "two", "three")]
    for segment in segments:
        segment.touch()
    with pytest.raises(InvalidFile, match="deadly: a process that was reading it died"), crew(2, segments) as readers:
        list(each_segment(segments[:1] * 4, partial(_given, large, mortal), readers, lambda _: None))


def _given(_: bytes, work: Callable[[Path], str], path: Path) -> str:
    return work(path)


def test_what_a_reader_raises_is_raised(tmp_path: Path) -> None:
    """An error of riskd comes from a reader as it was raised there."""
    segments = [tmp_path / "one", tmp_path / "two"]
    for segment in segments:
        segment.touch()
    with pytest.raises(InvalidSettings, match=r"^here: is wrong \(mend it\)$"), crew(2, segments) as readers:
        list(each_segment(segments, mortal, readers, lambda _: None))


KILLED: Final = """
import os, signal, sys
from pathlib import Path
from riskd.offline.segments import crew, each_segment
from tests.offline.test_segments import deaf
segments = [Path(name) for name in sys.argv[1:]]
with crew(2, segments) as pool:
    list(each_segment(segments, deaf, pool, lambda _: None))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_readers_end_with_a_command_that_is_killed(tmp_path: Path) -> None:
    """If a command is killed, its readers end, too: nobody waits for them, or for the output that they hold open."""
    segments = [tmp_path / "one", tmp_path / "two"]
    for segment in segments:
        segment.touch()
    command = [sys.executable, "-c", KILLED, *map(str, segments)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            process.communicate(timeout=30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
