"""A supervisor of child processes: starts them, restarts those that die or hang, and stops them gracefully.

It knows nothing of what they do. It has one thread and imports nothing heavy, so forking is safe at any time. Each
child has a pipe to it, which carries messages, and end of file when the child dies.
"""

from __future__ import annotations

import ctypes
import logging
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, NoReturn

from msgspec import Struct

from riskd.core.errors import Problem, RiskdError
from riskd.host.file_changes import FileChanges
from riskd.server.processes.board import Board
from riskd.server.processes.link import DECODER, Link, Refused, Serving, Stopping

REFUSED: Final = 2
"""Exit code if the configuration was refused; the problems were reported."""
CRASHED: Final = 1
TRIES: Final = 3
"""The start fails when one process has died this many times before all were ready."""
BACKOFF_SECONDS: Final = (0.1, 10.0)
"""First and longest delay before a restart; it doubles with each death."""
SETTLED_SECONDS: Final = 60.0
"""A process that lived this long restarts with the first delay again."""
HUNG_SECONDS: Final = 60.0
"""A serving process without a heartbeat for this long is killed and restarted."""
LAST_SECONDS: Final = 2.0
"""Extra time: after `grace`, for the others to clean up; and for the processes that stop last."""

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_SET_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG, prctl(2)
_LOG: Final = logging.getLogger("riskd.processes")


class Task(Struct, frozen=True):
    """A process of the tree. `run` returns when the process has stopped. `last`: stop it after all others."""

    name: str
    run: Callable[[Link], None]
    last: bool = False


class _Child:
    """The parent's state of one process. Times are of `time.monotonic`."""

    def __init__(self, index: int, task: Task) -> None:
        self.index = index
        self.task = task
        self.pid = 0
        self.pipe = -1
        self.buffer = b""  # the incomplete line at the end of what was read
        self.serving = False
        self.started_at = 0.0
        self.deaths = 0  # in a row, each within SETTLED_SECONDS of its start
        self.backoff = 0.0
        self.start_at: float | None = 0.0  # None while it runs
        self.suspect = False  # no heartbeat at the last check


class ProcessTree:
    """Keeps processes running until told to stop by SIGTERM or SIGINT. Use it once, on the main thread."""

    def __init__(
        self,
        tasks: Sequence[Task],
        board: Board,
        grace: float,
        ready: Callable[[Mapping[str, str]], None],
        changes: FileChanges | None = None,
        *,
        hung: float = HUNG_SECONDS,
    ) -> None:
        """`grace`: seconds for a drain. `ready` is called once, when all processes serve, with the facts of all.
        `changes`: files whose change reloads all processes, as SIGHUP does. `hung`: seconds without a heartbeat after
        which a process is killed.
        """
        self._children = [_Child(index, task) for index, task in enumerate(tasks)]
        self._board = board
        self._grace = grace
        self._ready = ready
        self._changes = changes
        self._hung = hung
        self._check_at = 0.0
        self._facts: dict[str, str] = {}
        self._was_ready = False
        self._code = 0
        self._stopping = False
        self._stopping_last = False
        self._kill_at = float("inf")
        self.problems: list[Problem] = []
        """Why the configuration was refused, without repetitions."""

    def run(self) -> int:
        """Run until stopped. Returns the exit code: 0 after an orderly stop, 1 if a process kept dying at the start,
        2 if the configuration was refused, see `problems`."""
        before = {each: signal.signal(each, lambda *_: None) for each in _SIGNALS}
        self._wake, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake, selectors.EVENT_READ)
        try:
            while not self._done():
                self._start_due()
                self._wait()
                self._check()
                self._drain()
        finally:
            signal.set_wakeup_fd(-1)
            for each, handler in before.items():
                signal.signal(each, handler)
            self._selector.close()
            os.close(self._wake)
            os.close(wake)
        if not self._code:
            self.problems.clear()  # of a process that was being restarted when the stop came
        return self._code

    def _done(self) -> bool:
        return self._stopping and not any(child.pid for child in self._children)

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if not self._stopping and child.start_at is not None and child.start_at <= now:
                self._start(child, now)

    def _start(self, child: _Child, now: float) -> None:
        child.started_at = now
        parent = os.getpid()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        ends: tuple[int, ...] = ()
        try:
            reading, writing = ends = os.pipe()
            pid = os.fork()
        except OSError as error:  # a limit on processes or open files, or no memory: perhaps for a moment only
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for end in ends:
                os.close(end)
            self._restart_later(child, CRASHED, {"process": child.task.name, "error": str(error)})
            return
        if pid == 0:
            os.close(reading)
            link = Link(writing, partial(self._board.beat, child.index), restarted=self._was_ready)
            self._run_child(child.task, link, parent)
        os.close(writing)
        child.pid, child.pipe, child.buffer, child.start_at = pid, reading, b"", None
        self._board.post(child.index, pid, serving=False)
        self._selector.register(reading, selectors.EVENT_READ, child)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _run_child(self, task: Task, link: Link, parent: int) -> NoReturn:
        """Run the task in the forked child, then exit. SIGTERM and SIGHUP stay blocked for `Link.reloads`."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._selector.close()
        for child in self._children:
            if child.pid:
                os.close(child.pipe)
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
        code = CRASHED
        try:
            if os.getppid() == parent:
                task.run(link)
            code = 0
        except RiskdError as error:
            link.send(Refused(error.problems))
            code = REFUSED
        finally:
            if sys.exception() is not None:
                _LOG.error("process_failed", exc_info=True, extra={"fields": {"process": task.name}})
            logging.shutdown()
            os._exit(code)

    def _wait(self) -> None:
        """Wait for a signal, a child's message or death, or until something is due; and handle what has come."""
        now = time.monotonic()
        moments = [child.start_at for child in self._children if child.start_at is not None and not self._stopping]
        changes = self._changes.due if self._changes and self._was_ready else float("inf")
        soonest = min([*moments, self._kill_at, float("inf") if self._stopping else min(changes, self._check_at)])
        timeout = None if soonest == float("inf") else max(0.0, soonest - now)
        for key, _ in self._selector.select(timeout):
            child = key.data
            if child is None:
                self._handle_signals(os.read(self._wake, 64))
            elif more := os.read(child.pipe, 1 << 16):
                *lines, child.buffer = (child.buffer + more).split(b"\n")
                for line in lines:
                    self._handle(child, DECODER.decode(line))
            else:
                self._reap(child)

    def _check(self) -> None:
        """Reload if files have changed, and kill processes that hang."""
        now = time.monotonic()
        if self._stopping:
            return
        if self._changes and self._was_ready and self._changes.changed(now):
            _LOG.info("files_changed")
            self._signal(signal.SIGHUP, self._children)
        if now >= self._check_at:
            self._check_at = now + self._hung / 6
            self._kill_hung()

    def _kill_hung(self) -> None:
        """Kill processes without a heartbeat in two checks in a row. After a pause of the whole machine, all of them
        miss one check although none hangs. One that waits for a dead disk dies only once the disk answers, so a process
        counts as not serving from the signal on."""
        for child in self._children:
            silent = child.serving and self._board.silent(child.index) > self._hung
            if silent and child.suspect:
                _LOG.error("process_hung", extra={"fields": {"process": child.task.name, "pid": child.pid}})
                os.kill(child.pid, signal.SIGKILL)
                child.serving = False
                self._board.post(child.index, child.pid, serving=False)
            child.suspect = silent

    def _handle_signals(self, numbers: bytes) -> None:
        """SIGHUP reloads. SIGTERM and SIGINT stop the service; a second one kills the processes at once."""
        for number in numbers:
            if number == signal.SIGHUP:
                self._signal(signal.SIGHUP, self._children)
            elif self._stopping:
                self._kill_at = 0.0
            else:
                _LOG.info("stopping", extra={"fields": {"signal": signal.Signals(number).name}})
                self._stop(0)

    def _handle(self, child: _Child, message: Serving | Stopping | Refused) -> None:
        if isinstance(message, Refused):
            self.problems += [problem for problem in message.problems if problem not in self.problems]
            return
        child.serving = isinstance(message, Serving)
        self._board.post(child.index, child.pid, child.serving)
        if isinstance(message, Serving):
            _LOG.info("serving", extra={"fields": {"process": child.task.name, "pid": child.pid}})
            self._facts.update(message.facts)
            if not self._was_ready and not self._stopping and all(other.serving for other in self._children):
                self._was_ready = True
                self._board.open(takes_calls=True)
                self._ready(self._facts)

    def _reap(self, child: _Child) -> None:
        """Collect the exit code of a child that has died, and plan its restart."""
        self._selector.unregister(child.pipe)
        os.close(child.pipe)
        _, status = os.waitpid(child.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        fields = {"process": child.task.name, "pid": child.pid, "code": code}
        child.pid, child.serving = 0, False
        self._board.post(child.index, 0, serving=False)
        if not self._stopping:
            self._restart_later(child, code, fields)

    def _restart_later(self, child: _Child, code: int, fields: Mapping[str, object]) -> None:
        """Plan the restart of a child that died, or give up if the service was never ready."""
        now = time.monotonic()
        child.deaths = child.deaths + 1 if now - child.started_at < SETTLED_SECONDS else 1
        if not self._was_ready and (code == REFUSED or child.deaths >= TRIES):
            self._stop(REFUSED if code == REFUSED else CRASHED)
            return
        first, most = BACKOFF_SECONDS
        child.backoff = min(2 * child.backoff, most) if child.deaths > 1 else first
        child.start_at = now + child.backoff
        self._board.count_restart()
        problems = [str(problem) for problem in self.problems]
        self.problems.clear()
        _LOG.error("process_died", extra={"fields": {**fields, "restart_in_s": child.backoff, "problems": problems}})

    def _stop(self, code: int) -> None:
        self._stopping, self._code = True, code
        self._board.open(takes_calls=False)
        self._kill_at = time.monotonic() + self._grace + LAST_SECONDS
        self._signal(signal.SIGTERM, [child for child in self._children if not child.task.last])

    def _drain(self) -> None:
        """While stopping: once the others are gone, stop the last processes; kill all that exceed their time."""
        if not self._stopping:
            return
        if not self._stopping_last and not any(child.pid and not child.task.last for child in self._children):
            self._stopping_last = True
            self._kill_at = min(self._kill_at, time.monotonic() + LAST_SECONDS)
            self._signal(signal.SIGTERM, self._children)
        if time.monotonic() >= self._kill_at:
            _LOG.warning("killing", extra={"fields": {"processes": [c.task.name for c in self._children if c.pid]}})
            self._kill_at = float("inf")
            self._signal(signal.SIGKILL, self._children)

    def _signal(self, number: signal.Signals, children: Sequence[_Child]) -> None:
        for child in children:
            if child.pid:
                os.kill(child.pid, number)
