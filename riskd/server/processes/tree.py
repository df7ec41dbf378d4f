"""A tree of supervised processes: start, watch, replace, drain. Knows nothing of what they do.

The parent has one thread and imports nothing heavy, so forking is safe at any time. It hears from a
child by a pipe: messages while it lives, end of file when it dies.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import mmap
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, NoReturn

import msgspec
from msgspec import Struct

from riskd.core.errors import Problem, RiskdError
from riskd.server.file_changes import FileChanges

REFUSED: Final = 2
"""Exit code where the configuration was refused; problems were reported."""
CRASHED: Final = 1
TRIES: Final = 3
"""Deaths of one process before the tree was ready that end the start."""
BACKOFF_SECONDS: Final = (0.1, 10.0)
SETTLED_SECONDS: Final = 60.0
"""A process that lived this long starts its back-off anew."""
BEAT_SECONDS: Final = 1.0
"""Between two signs of life of a process that serves."""
HUNG_SECONDS: Final = 60.0
"""A process that serves and gave no sign for so long is killed, and so replaced."""
LAST_SECONDS: Final = 2.0
"""Time for the processes that stop last, and beyond `grace` for the others to tidy up."""

_ORDERS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_SET_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG, prctl(2)
_LOG: Final = logging.getLogger("riskd.processes")


class Serving(Struct, frozen=True, tag=True):
    """A child does its work from now on. `facts` are for the line that says so."""

    facts: dict[str, str] = {}


class Stopping(Struct, frozen=True, tag=True):
    """A child drains."""


class Refused(Struct, frozen=True, tag=True):
    """A child will not work with this configuration."""

    problems: tuple[Problem, ...]


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Serving | Stopping | Refused)


class Report:
    """A child's side of its pipe, and the orders that it gets."""

    def __init__(self, descriptor: int, beat: Callable[[], None], *, again: bool = False) -> None:
        """`again`: the tree was ready before, so this child takes the place of one that died. `beat` says that it
        lives; who does not for long is taken for hung.
        """
        self._descriptor = descriptor
        self._beat = beat
        self.again = again

    def send(self, message: Serving | Stopping | Refused) -> None:
        """Tell the supervisor. Does nothing when there is none any more."""
        line = _ENCODER.encode(message) + b"\n"
        with contextlib.suppress(BrokenPipeError):
            while line:
                line = line[os.write(self._descriptor, line) :]

    def reloads(self) -> Iterator[None]:
        """Yields at each order to reload (SIGHUP), and ends at the order to stop (SIGTERM)."""
        while True:
            self._beat()
            order = signal.sigtimedwait({signal.SIGTERM, signal.SIGHUP}, BEAT_SECONDS)
            if order is not None:
                if order.si_signo == signal.SIGTERM:
                    return
                yield


class Task(Struct, frozen=True):
    """One process of the tree. `run` returns when it has stopped; `last`: stop it after all others."""

    name: str
    run: Callable[[Report], None]
    last: bool = False


class Board:
    """Who serves, under which pid, and how many were replaced: written by the parent, read by children."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._cells = memoryview(mmap.mmap(-1, 8 * (3 * len(names) + 2))).cast("q")

    def post(self, index: int, pid: int, serving: bool) -> None:
        """The state of one process; pid 0 when it is dead."""
        self._cells[3 * index] = pid
        self._cells[3 * index + 1] = serving
        self.beat(index)

    def beat(self, index: int) -> None:
        """A process lives: its main thread does what it should."""
        self._cells[3 * index + 2] = round(time.monotonic())

    def silent(self, index: int) -> float:
        """Seconds since a process last said that it lives."""
        return time.monotonic() - self._cells[3 * index + 2]

    def open(self, *, takes_calls: bool) -> None:
        """From when all serve until the stop begins."""
        self._cells[-2] = takes_calls

    @property
    def opened(self) -> bool:
        """Whether calls are to come, as long as anybody serves."""
        return bool(self._cells[-2])

    def replaced(self) -> None:
        """One more process was replaced."""
        self._cells[-1] += 1

    @property
    def restarts(self) -> int:
        """Processes replaced since the start."""
        return int(self._cells[-1])

    def pids(self) -> dict[str, int]:
        """Names and pids of the living."""
        return {name: self._cells[3 * i] for i, name in enumerate(self.names) if self._cells[3 * i]}

    def serving(self, name: str) -> bool:
        """Whether this process serves."""
        return bool(self._cells[3 * self.names.index(name) + 1])


class _Child:
    """What the parent knows of one process."""

    def __init__(self, index: int, task: Task) -> None:
        self.index = index
        self.task = task
        self.pid = 0
        self.pipe = -1
        self.heard = b""
        self.serving = False
        self.born = 0.0
        self.deaths = 0
        self.pause = 0.0
        self.due: float | None = 0.0
        self.suspect = False


class ProcessTree:
    """Keeps tasks running until it is told to stop. One use; `run` belongs to the main thread."""

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
        """`grace`: seconds for a drain. `ready` is called once, with the facts of all, when all serve. What `changes`
        notices is told to all as SIGHUP is. `hung`: seconds without a sign of life.
        """
        self._children = [_Child(index, task) for index, task in enumerate(tasks)]
        self._board = board
        self._grace = grace
        self._ready = ready
        self._changes = changes
        self._hung = hung
        self._look_at = 0.0
        self._facts: dict[str, str] = {}
        self._was_ready = False
        self._code = 0
        self._stopping = False
        self._told_last = False
        self._kill_at = float("inf")
        self.problems: list[Problem] = []
        """Why the tree would not start, each once."""

    def run(self) -> int:
        """Exit code: 0 stopped when told to, 1 a process kept dying at the start, 2 see `problems`."""
        before = {order: signal.signal(order, lambda *_: None) for order in _ORDERS}
        self._wake, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake, selectors.EVENT_READ)
        try:
            while not self._done():
                self._start_due()
                self._listen()
                self._look()
                self._drain()
        finally:
            signal.set_wakeup_fd(-1)
            for order, handler in before.items():
                signal.signal(order, handler)
            self._selector.close()
            os.close(self._wake)
            os.close(wake)
        if not self._code:
            self.problems.clear()  # of one that was taking the place of another when it was told to stop
        return self._code

    def _done(self) -> bool:
        return self._stopping and not any(child.pid for child in self._children)

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if not self._stopping and child.due is not None and child.due <= now:
                self._start(child, now)

    def _start(self, child: _Child, now: float) -> None:
        child.born = now
        heard, tell = os.pipe()
        parent = os.getpid()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ORDERS)
        try:
            pid = os.fork()
        except OSError as error:  # no process more for this user or group, or no memory: it may pass
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(heard)
            os.close(tell)
            self._again(child, CRASHED, {"process": child.task.name, "error": str(error)})
            return
        if pid == 0:
            os.close(heard)
            self._become(
                child.task, Report(tell, partial(self._board.beat, child.index), again=self._was_ready), parent
            )
        os.close(tell)
        child.pid, child.pipe, child.heard, child.due = pid, heard, b"", None
        self._board.post(child.index, pid, serving=False)
        self._selector.register(heard, selectors.EVENT_READ, child)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _become(self, task: Task, report: Report, parent: int) -> NoReturn:
        """The child's whole life. SIGTERM and SIGHUP stay blocked, for `Report.reloads` to take."""
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
                task.run(report)
            code = 0
        except RiskdError as error:
            report.send(Refused(error.problems))
            code = REFUSED
        finally:
            if sys.exception() is not None:
                _LOG.error("process_failed", exc_info=True, extra={"fields": {"process": task.name}})
            logging.shutdown()
            os._exit(code)

    def _listen(self) -> None:
        now = time.monotonic()
        moments = [child.due for child in self._children if child.due is not None and not self._stopping]
        changes = self._changes.due if self._changes and self._was_ready else float("inf")
        soonest = min([*moments, self._kill_at, float("inf") if self._stopping else min(changes, self._look_at)])
        timeout = None if soonest == float("inf") else max(0.0, soonest - now)
        for key, _ in self._selector.select(timeout):
            child = key.data
            if child is None:
                self._obey(os.read(self._wake, 64))
            elif more := os.read(child.pipe, 1 << 16):
                *lines, child.heard = (child.heard + more).split(b"\n")
                for line in lines:
                    self._hear(child, _DECODER.decode(line))
            else:
                self._bury(child)

    def _look(self) -> None:
        now = time.monotonic()
        if self._stopping:
            return
        if self._changes and self._was_ready and self._changes.changed(now):
            _LOG.info("files_changed")
            self._signal(signal.SIGHUP, self._children)
        if now >= self._look_at:
            self._look_at = now + self._hung / 6
            self._end_hung()

    def _end_hung(self) -> None:
        """Twice in a row: after a pause of the whole machine all are silent at first, and none of them hangs."""
        for child in self._children:
            silent = child.serving and self._board.silent(child.index) > self._hung
            if silent and child.suspect:
                _LOG.error("process_hung", extra={"fields": {"process": child.task.name, "pid": child.pid}})
                os.kill(child.pid, signal.SIGKILL)
            child.suspect = silent

    def _obey(self, orders: bytes) -> None:
        for order in orders:
            if order == signal.SIGHUP:
                self._signal(signal.SIGHUP, self._children)
            elif self._stopping:
                self._kill_at = 0.0
            else:
                _LOG.info("stopping", extra={"fields": {"signal": signal.Signals(order).name}})
                self._stop(0)

    def _hear(self, child: _Child, message: Serving | Stopping | Refused) -> None:
        if isinstance(message, Refused):
            self.problems += [problem for problem in message.problems if problem not in self.problems]
            return
        child.serving = isinstance(message, Serving)
        self._board.post(child.index, child.pid, child.serving)
        if isinstance(message, Serving):
            _LOG.info("serving", extra={"fields": {"process": child.task.name, "pid": child.pid}})
            self._facts.update(message.facts)
            if not self._was_ready and all(other.serving for other in self._children):
                self._was_ready = True
                self._board.open(takes_calls=True)
                self._ready(self._facts)

    def _bury(self, child: _Child) -> None:
        self._selector.unregister(child.pipe)
        os.close(child.pipe)
        _, status = os.waitpid(child.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        fields = {"process": child.task.name, "pid": child.pid, "code": code}
        child.pid, child.serving = 0, False
        self._board.post(child.index, 0, serving=False)
        if not self._stopping:
            self._again(child, code, fields)

    def _again(self, child: _Child, code: int, fields: Mapping[str, object]) -> None:
        """Have another take the place of one that died, or end a start that does not succeed."""
        now = time.monotonic()
        child.deaths = child.deaths + 1 if now - child.born < SETTLED_SECONDS else 1
        if not self._was_ready and (code == REFUSED or child.deaths >= TRIES):
            self._stop(REFUSED if code == REFUSED else CRASHED)
            return
        first, most = BACKOFF_SECONDS
        child.pause = min(2 * child.pause, most) if child.deaths > 1 else first
        child.due = now + child.pause
        self._board.replaced()
        problems = [str(problem) for problem in self.problems]
        self.problems.clear()
        _LOG.error("process_died", extra={"fields": {**fields, "restart_in_s": child.pause, "problems": problems}})

    def _stop(self, code: int) -> None:
        self._stopping, self._code = True, code
        self._board.open(takes_calls=False)
        self._kill_at = time.monotonic() + self._grace + LAST_SECONDS
        self._signal(signal.SIGTERM, [child for child in self._children if not child.task.last])

    def _drain(self) -> None:
        """While stopping: tell those that stop last when the others have, kill who is past the time."""
        if not self._stopping:
            return
        if not self._told_last and not any(child.pid and not child.task.last for child in self._children):
            self._told_last = True
            self._kill_at = min(self._kill_at, time.monotonic() + LAST_SECONDS)
            self._signal(signal.SIGTERM, self._children)
        if time.monotonic() >= self._kill_at:
            _LOG.warning("killing", extra={"fields": {"processes": [c.task.name for c in self._children if c.pid]}})
            self._kill_at = float("inf")
            self._signal(signal.SIGKILL, self._children)

    def _signal(self, order: signal.Signals, children: Sequence[_Child]) -> None:
        for child in children:
            if child.pid:
                os.kill(child.pid, order)
