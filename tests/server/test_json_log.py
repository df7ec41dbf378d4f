"""The log on stderr is lines of JSON, whatever happens, and quotes nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = """
import logging, sys, threading, warnings
from pathlib import Path
from riskd.server.json_log import configure

class Untidy:
    def __del__(self):
        raise LookupError("a secret")

def fail():
    raise OSError("a secret")

configure(sys.argv[1])
logging.getLogger("riskd.part").debug("detail")
logging.getLogger("riskd.part").info("begun: a secret", extra={"fields": {"pid": 7, "path": Path("caf\\u00e9\\n")}})
logging.getLogger("library.part").info("a secret")
logging.getLogger("library.part").warning("a secret")
logging.getLogger("grpc._cython.cygrpc").error("a secret")
warnings.warn("a secret")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
Untidy()
raise ValueError("a secret")
"""


def logged(level: str) -> list[dict[str, object]]:
    """What the program logs."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM, level]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, "secret" in done.stderr) == (1, "", False)
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_whatever_happens_is_a_line_of_json() -> None:
    """Events, libraries' warnings, and exceptions that nobody caught, on any thread, are a line each, in UTC, with
    their place in the code and without their message."""
    lines = logged("info")
    told = [(line["level"], line["event"]) for line in lines]
    library, uncaught = ("warning", "library"), ("error", "uncaught")
    assert told == [("info", "begun"), library, library, uncaught, uncaught, uncaught]
    assert (lines[0]["pid"], lines[0]["path"]) == (7, "café\n")
    assert (lines[1]["logger"], lines[2]["logger"]) == ("library.part", "py.warnings")
    found = [line["exception"] for line in lines[3:]]
    assert [(one["kind"], one["place"][-1].split()[-1]) for one in found] == [  # type: ignore[index]
        ("OSError", "fail"),
        ("LookupError", "__del__"),
        ("ValueError", "<module>"),
    ]
    for line in lines:
        at = datetime.strptime(str(line["time"]), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp()
        assert abs(at - time.time()) < 60.0


def test_the_level_is_that_of_riskds_own_events() -> None:
    """A level applies to riskd's events. Of libraries, warnings are logged at any."""
    assert [line["event"] for line in logged("debug")][:3] == ["detail", "begun", "library"]
    assert [line["event"] for line in logged("error")] == ["library", "library", "uncaught", "uncaught", "uncaught"]
