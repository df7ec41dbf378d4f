"""Events on stderr: one JSON object a line. Subjects, addresses and secrets never belong in one."""

from __future__ import annotations

import json
import logging
import time
from typing import Final

_SHIFT: Final = 1000


class JsonFormatter(logging.Formatter):
    """`time` (UTC), `level`, `event`, and the `fields` given as `extra={"fields": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{stamp}.{int(record.created * _SHIFT) % _SHIFT:03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            line.update(fields)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure(level: str) -> None:
    """Send every event of `level` or worse to stderr, and nothing elsewhere."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
