"""`riskd events receive` as a process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.service import ROOT, environment


@contextmanager
def receiving(streams: str, target: str, *more: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, int]]]:
    """A receiver as a process, with its ports; killed at the end."""
    flags = ["--streams", streams, "--target", target, "--push-port", "0", "--metrics-port", "0", *more]
    process = subprocess.Popen(
        [sys.executable, "-m", "riskd", "events", "receive", *flags],
        env=environment(Path(streams).parent),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        ports = {}
        for line in process.stderr:
            event = json.loads(line)
            if event["event"] == "listens":
                ports[event["for"]] = event["port"]
            if event["event"] == "receives":
                break
        yield process, ports
    finally:
        process.kill()
        process.communicate()
