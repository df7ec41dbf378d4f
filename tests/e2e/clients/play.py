"""Plays scenarios with the code of docs/client.md: a line of JSON in, the results of its steps out."""

from __future__ import annotations

import json
import os
import runpy
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

page: Final = SimpleNamespace(**runpy.run_path("client.py"))
Step = dict[str, Any]


limit: dict[str, float] = {}
"""The deadline of the scenario, where it is not that of the page."""


def example(risk: object, step: Step) -> object:
    return page.example(risk, step["subject"], step["address"], lambda _: step["amr"], step["attempt"])


def sign_in(risk: object, step: Step) -> object:
    begun, challenges = time.monotonic(), []

    def challenge(requirement: object) -> object:
        challenges.append(requirement)
        return step["amr"]

    request = page.attempt(step["attempt"], step["subject"], step["address"], **step["more"])
    requirement, assessment = page.assess(risk, request, **limit)
    seconds = time.monotonic() - begun
    established = page.sign_in(risk, requirement, assessment, challenge)
    return {
        "tier": page.assessment_pb2.Tier.Name(requirement.tier),
        "acr_values": list(requirement.acr_values),
        "assessment": assessment,
        "challenged": len(challenges),
        "established": established,
        "seconds": seconds,
    }


def mistake(risk: Any, _: Step) -> object:  # noqa: ANN401 - a stub, whose type is generated
    try:
        return str(risk.Assess(page.risk_pb2.AssessRequest(), timeout=5))
    except page.grpc.RpcError as error:
        return page.explain(error)


def tell(risk: object, step: Step) -> object:
    return page.tell(risk, step["assessment"], session_established=page.risk_pb2.SessionEstablished(), **limit)


def patience(_: object, __: Step) -> object:
    """Milliseconds after which the kernel gives up an unacknowledged TCP connection, for each connection."""
    found = []
    for file in list(Path("/proc/self/fd").iterdir()):
        with suppress(OSError), socket.socket(fileno=os.dup(int(file.name))) as connection:
            found.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
    return found


def pause(_: object, step: Step) -> None:
    time.sleep(step["seconds"])


steps: Final = {each.__name__: each for each in (example, sign_in, mistake, tell, patience, pause)}
for line in sys.stdin:
    scenario = json.loads(line)
    limit = {"deadline": scenario["deadline"]} if "deadline" in scenario else {}
    authorities = scenario["authorities"].encode() if "authorities" in scenario else None
    with page.connect(scenario["target"], authorities, scenario.get("token")) as channel:
        stub = page.risk_pb2_grpc.RiskServiceStub(channel)
        print(json.dumps([steps[step["do"]](stub, step) for step in scenario["steps"]]), flush=True)
