"""The turn to write: one holder at a time, bounded waits, and a dead holder frees it."""

from __future__ import annotations

import errno
import fcntl
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from riskd.adapters.lmdb_store import turn as turns
from riskd.adapters.lmdb_store.turn import LONG_S, Turn

ROOT = Path(__file__).parents[2]
HOLD = (
    "import sys; from pathlib import Path; from riskd.adapters.lmdb_store.turn import Turn\n"
    "turn = Turn(Path(sys.argv[1])); assert turn.take(1.0); print('held', flush=True); sys.stdin.read(); turn.give()\n"
)


def holder(path: Path) -> subprocess.Popen[str]:
    """Another process that holds the turn until its input ends or it dies."""
    command = [sys.executable, "-c", HOLD, str(path)]
    process = subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def waited(turn: Turn, timeout: float) -> float:
    """Seconds until the turn was refused."""
    started = time.monotonic()
    assert not turn.take(timeout)
    return time.monotonic() - started


def test_one_at_a_time(tmp_path: Path) -> None:
    """Threads that share a turn, and turns on one file, exclude each other."""
    one, other, inside, most = Turn(tmp_path / "turn"), Turn(tmp_path / "turn"), [], []

    def work(turn: Turn) -> None:
        for _ in range(200):
            assert turn.take(10.0)
            inside.append(1)
            most.append(len(inside))
            inside.pop()
            turn.give()

    threads = [threading.Thread(target=work, args=(turn,)) for turn in (one, one, other, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(most), max(most)) == (800, 1)


def test_a_wait_ends_with_the_caller_s_time_and_spares_the_next(tmp_path: Path) -> None:
    """After one long wait in vain, later callers do not wait until the turn was free again."""
    turn = Turn(tmp_path / "turn")
    with holder(tmp_path / "turn") as other:
        assert LONG_S <= waited(turn, 2 * LONG_S) < 10 * LONG_S
        assert waited(turn, 10.0) < LONG_S
        other.kill()
        other.wait()
        assert turn.take(0.001)
    turn.give()
    with holder(tmp_path / "turn") as other:
        assert waited(turn, 2 * LONG_S) >= LONG_S
        other.kill()


def test_a_short_timed_out_wait_does_not_shorten_others(tmp_path: Path) -> None:
    """A caller with hardly any time does not shorten the waits of others."""
    turn = Turn(tmp_path / "turn")
    with holder(tmp_path / "turn") as other:
        assert waited(turn, 0.001) < LONG_S
        threading.Timer(2 * LONG_S, other.kill).start()
        assert turn.take(10.0)
    turn.give()


def test_a_turn_that_is_dropped_closes_its_file(tmp_path: Path) -> None:
    """A store that is reopened again and again, because its disk fails, does not run out of open files."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(9):
        Turn(tmp_path / "turn")
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


class Interrupted(Exception):
    """A task has used up its time, says a handler of signals, as those of job queues do."""


def test_a_wait_that_a_signal_ends_leaves_the_turn_to_others(tmp_path: Path) -> None:
    """If the handler of a signal raises while a thread waits, others of its process still get the turn."""

    def interrupt(*_: object) -> None:
        raise Interrupted

    turn, usual = Turn(tmp_path / "turn"), signal.signal(signal.SIGUSR1, interrupt)
    try:
        with holder(tmp_path / "turn") as other:
            timer = threading.Timer(0.05, signal.pthread_kill, (threading.get_ident(), signal.SIGUSR1))
            timer.start()
            with pytest.raises(Interrupted):
                turn.take(30.0)
            timer.join()
            other.communicate()
        assert turn.take(1.0)
        turn.give()
    finally:
        signal.signal(signal.SIGUSR1, usual)


def test_a_lock_that_the_kernel_has_no_memory_for_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the kernel refuses a lock for a moment (ENOLCK), the turn is taken a moment later, and then not refused."""
    answers = iter([OSError(errno.ENOLCK, "No locks available")] * 3)

    def flock(descriptor: int, operation: int) -> None:
        for error in answers:
            raise error
        fcntl.flock(descriptor, operation)

    monkeypatch.setattr(turns, "flock", flock)
    turn = Turn(tmp_path / "turn")
    for _ in range(2):
        assert turn.take(1.0)
        turn.give()
