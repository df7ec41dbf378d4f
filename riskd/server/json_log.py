"""The log on stderr: one JSON object a line, without subjects, addresses or secrets.

Messages of exceptions and of libraries are left out, because they may quote their input. An exception is logged by its
type and its places in the code, a library's message by its place.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
import traceback
from types import TracebackType
from typing import Final

from riskd.host.background import LOGGER

_SHIFT: Final = 1000
_OURS: Final = ("riskd", "__main__")
_GRPC: Final = "grpc._cython.cygrpc"
"""gRPC's logger of headers that are not UTF-8: a line for each, so a client could write megabytes a second."""
_PRIORITIES: Final = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
"""Priorities of the levels in syslog(3)."""
_STDERR: Final = 2
_LOG: Final = logging.getLogger("riskd.process")
_BACKGROUND: Final = logging.getLogger(LOGGER)


class JsonFormatter(logging.Formatter):
    """Writes `time` (UTC), `level`, `event`, and the `fields` given as `extra={"fields": {...}}`.

    `event` is the log message up to its first colon. The rest is for programs that embed riskd with a text log, or with
    none: Python then prints warnings and errors, and nothing but their messages.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{stamp}.{int(record.created * _SHIFT) % _SHIFT:03d}Z",
            "level": record.levelname.lower(),
        }
        if record.name.partition(".")[0] in _OURS:
            line["event"] = record.getMessage().partition(":")[0]
            fields = getattr(record, "fields", None)
            if isinstance(fields, dict):
                line.update(fields)
        else:
            line |= {"event": "library", "logger": record.name, "at": f"{record.pathname}:{record.lineno}"}
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = describe(record.exc_info[1])
        return json.dumps(line, default=str, ensure_ascii=False)


class JournalFormatter(JsonFormatter):
    """Begins the line with its priority. The journal takes it off, and filters by it (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        priority = _PRIORITIES.get(record.levelname, _PRIORITIES["INFO"])
        return f"<{priority}>{super().format(record)}"


def describe(error: BaseException) -> dict[str, object]:
    """The type of an exception, and its places in the code, the innermost last."""
    place = [f"{at.filename}:{at.lineno} {at.name}" for at in traceback.extract_tb(error.__traceback__)]
    return {"kind": type(error).__qualname__, "place": place}


def configure(level: str) -> None:
    """Log riskd's events of at least `level`, and libraries' of at least warning, to stderr only.

    Uncaught exceptions, those of threads included, and Python's warnings are logged as events.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JournalFormatter() if _in_journal() else JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in _OURS:
        logging.getLogger(name).setLevel(level.upper())
    logging.getLogger(_GRPC).disabled = True
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable


def _in_journal() -> bool:
    """Whether stderr is the stream to systemd's journal, whose device and inode are in a variable (systemd.exec(5))."""
    if stream := os.environ.get("JOURNAL_STREAM"):
        found = os.fstat(_STDERR)
        return stream == f"{found.st_dev}:{found.st_ino}"
    return False


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _LOG.error("uncaught", exc_info=(kind, error, trace))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        _BACKGROUND.error("uncaught", exc_info=(args.exc_type, args.exc_value, args.exc_traceback))


def _unraisable(args: sys.UnraisableHookArgs) -> None:
    if args.exc_value is not None:
        _LOG.error("uncaught", exc_info=(args.exc_type, args.exc_value, args.exc_traceback))
