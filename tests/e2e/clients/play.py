"""Play a scenario with the code of docs/client.md: JSON in, the result of each step out."""

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
scenario: Final = json.load(sys.stdin)
limit: Final = {"deadline": scenario["deadline"]} if "deadline" in scenario else {}
Step = dict[str, Any]


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


authorities: Final = scenario["authorities"].encode() if "authorities" in scenario else None
with page.connect(scenario["target"], authorities, scenario.get("token")) as channel:
    stub = page.risk_pb2_grpc.RiskServiceStub(channel)
    play = (example, sign_in, mistake, tell, patience, pause)
    steps = {each.__name__: each for each in play}
    came = [steps[step["do"]](stub, step) for step in scenario["steps"]]
print(json.dumps(came))
