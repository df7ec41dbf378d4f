"""A replica: an engine of its own over a store that others share, which assesses what all are told to at once.

python -m tests.idempotency.replica STORE LOG NUMBER REQUESTS
Says `ready`, waits for a line, sends each request id and then reports every kind of outcome of its answer, and prints
what it was told as JSON: request id to the answer in hexadecimal digits.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from msgspec.structs import replace

from riskd.adapters.decision_log import Bounds, FileDecisionLog
from riskd.adapters.lmdb_store import LmdbStore
from riskd.adapters.null import NullMeter
from riskd.config import Settings
from riskd.core import replies
from riskd.core.attempt import Outcome
from riskd.engine import Engine
from riskd.wiring import load_release
from tests.bench import parts
from tests.cases.world import attempt

LOGIN = attempt({})


def main(store: str, log: str, number: str, requests: str) -> None:
    made = parts(
        store=LmdbStore(Path(store)),
        log=FileDecisionLog(Path(log), int(number), NullMeter(), Bounds()),
    )
    engine = Engine(made, load_release(Settings()))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    told = {}
    for request in range(int(requests)):
        answer = engine.assess(replace(LOGIN, request_id=f"r-{request}"), 30.0)
        engine.record(Outcome(assessment_id=answer.id, kind="session_established"), 30.0)
        told[f"r-{request}"] = replies.encode(answer, b"").hex()
    engine.close()
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
