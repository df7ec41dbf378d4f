"""riskd inside another program: an engine that one process opens, and that all its threads use."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

import msgspec
from msgspec import Struct

from riskd.core.assess import Release
from riskd.core.assessment import Assessment
from riskd.core.attempt import Attempt, Outcome, SecurityEvent
from riskd.core.errors import InvalidAttempt, InvalidEvent, InvalidOutcome, Problem
from riskd.engine import Engine as Core
from riskd.engine.reported import Recorded
from riskd.ports import MetricsRegistry
from riskd.subjects import Subjects

_NOBODY: Final = -1
"""The owner of a closed engine."""
_MISTYPED: Final = (AttributeError, TypeError, ValueError)
"""What the core raises for a value that has another type than its field."""


class Engine:
    """Assesses attempts and learns from outcomes. Made by `open_engine`; thread-safe.

    It is for the process that opened it, until `close`: after that, and in a process forked from it, every method
    raises RuntimeError. It is a context manager, which closes it; otherwise it is closed when the program ends.
    """

    def __init__(self, core: Core, subjects: Subjects, opened: ExitStack) -> None:
        """`opened` closes all that was opened for it."""
        self._core = core
        self._subjects = subjects
        self._opened = opened
        self._opener = self._owner = os.getpid()
        self._closing = threading.RLock()
        atexit.register(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def release(self) -> Release:
        """The release that decides: its id, and its policies and models by identity domain."""
        return self._ours().release

    @property
    def subjects(self) -> Subjects:
        """Shows, exports and erases what is kept of a subject."""
        self._ours()
        return self._subjects

    def assess(self, attempt: Attempt, timeout: float = 0.1, *, explain: bool = False) -> Assessment:
        """Assess one attempt within `timeout` seconds. With `explain`, always compute the features' contributions.

        Raises InvalidAttempt with every violation; then nothing was recorded. A store, geo database or log that
        fails or is too slow does not raise: the answer names it as a gap or among its `causes`.
        """
        core = self._ours()
        try:
            return core.assess(attempt, timeout, explain=explain)
        except _MISTYPED as error:
            raise InvalidAttempt([_mistyped(attempt, error)]) from error

    def record(self, outcome: Outcome, timeout: float = 0.1) -> Recorded:
        """Learn from what happened after an assessment. Repeating an outcome teaches nothing more; it is logged again.

        Raises InvalidOutcome, UnknownAssessment, or Unavailable when the store cannot be written in time; then send
        it again later.
        """
        core = self._ours()
        try:
            return core.record(outcome, timeout)
        except _MISTYPED as error:
            raise InvalidOutcome([_mistyped(outcome, error)]) from error

    def record_event(self, event: SecurityEvent, timeout: float = 0.1) -> None:
        """Remember a security event about a subject. A repeat changes no history, but it is logged and counted again.

        Raises InvalidEvent, or Unavailable when the store cannot be written in time; then send it again later.
        """
        core = self._ours()
        try:
            core.record_event(event, timeout)
        except _MISTYPED as error:
            raise InvalidEvent([_mistyped(event, error)]) from error

    def close(self) -> None:
        """Stop its threads, and flush and close what it opened. In a forked process it does nothing.

        Calls in progress end, with gaps for what is closed already. If it is called again, also by another thread, it
        waits until all is closed. Raises Unavailable when the disk refuses the last writes.
        """
        if self._opener == os.getpid():
            with self._closing:
                self._owner = _NOBODY
                atexit.unregister(self.close)
                self._opened.close()

    def _ours(self) -> Core:
        """Raises RuntimeError if this process may not use the engine.

        Its threads are not in a fork, and both processes would use the same slots and locks of the store.
        """
        if self._owner == os.getpid():
            return self._core
        if self._owner == _NOBODY:
            raise RuntimeError("the engine is closed: open another one with riskd.open_engine")
        raise RuntimeError(
            f"the engine belongs to process {self._owner}, from which this one was forked: call riskd.open_engine in "
            "each worker process, after the fork"
        )


def open_engine(
    config: str | os.PathLike[str] | None = None,
    settings: Mapping[str, str] | None = None,
    registry: MetricsRegistry | None = None,
) -> Engine:
    """Open an engine for this process: once, and after any fork. Close it by `with` or `close`.

    Its settings are those of `riskd serve`: of the TOML file `config` (else $RISKD_CONFIG), of RISKD_* variables, and
    `settings`, which override both as its flag `--set` does: `{"state.dir": "/var/lib/shop/riskd"}`.

    With a `registry` of prometheus_client, the engine counts what it does, and the registry has its metrics until the
    engine is closed: the sum over all processes with this `state.dir`, whichever of them is asked. Raises ValueError if
    it has riskd's metrics already.

    Raises InvalidFile with every problem found: InvalidSettings, InvalidPolicy, InvalidModel, InvalidGeo or
    InvalidStore. Raises Unavailable if the releases cannot be read.
    """
    from riskd.config import load  # noqa: PLC0415 - `import riskd` must not load third-party packages
    from riskd.wiring import embedded_meter, open_subjects  # noqa: PLC0415 - likewise
    from riskd.wiring import open_engine as wired  # noqa: PLC0415 - likewise

    loaded = load(None if config is None else os.fspath(config), flags=settings)
    with ExitStack() as opened:
        meter = None if registry is None else opened.enter_context(embedded_meter(loaded, registry))
        core = opened.enter_context(wired(loaded, meter))
        return Engine(core, open_subjects(loaded, core), opened.pop_all())


def _mistyped(value: Struct, error: Exception) -> Problem:
    """The first field of a value whose content has not its type. Raises `error` if there is none."""
    try:
        msgspec.convert(msgspec.to_builtins(value, builtin_types=(bytes,)), type(value))
    except msgspec.ValidationError as found:
        what, _, where = str(found).partition(" - at `$.")
        return Problem(where.removesuffix("`"), what.lower(), "leave a field out if there is no value for it")
    except TypeError:  # a value of a type that msgspec does not know
        pass
    raise error
