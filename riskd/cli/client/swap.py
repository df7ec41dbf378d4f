"""Callers that keep calling while a release is replaced, for `riskd demo --train`."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Final

import grpc
from msgspec import Struct

from riskd._proto.riskd.v1 import risk_pb2, risk_pb2_grpc
from riskd._proto.riskd.v1.assessment_pb2 import Tier
from riskd.cli.client.connection import PATIENT
from riskd.cli.client.status import explained
from riskd.core.attempt import Attempt, Device, Network
from riskd.core.errors import Problem, Unavailable
from riskd.server.translate import request

CALLERS: Final = 4
PAUSE: Final = 0.01
"""Seconds between two calls of one caller."""
_CHROME: Final = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/153.0.0.0 Safari/537.36"
_SCRIPT: Final = "python-requests/2.32.5"
_ADDRESSES: Final = ("81.2.69.142", "89.160.20.112", "175.16.199.3", "2.125.160.216")


class Received(Struct, frozen=True):
    """What the callers received: answers per model, errors, and the latency of each call in seconds."""

    answers: Counter[str]
    errors: list[str]
    seconds: list[float]


class Scored(Struct, frozen=True):
    """One attempt and its answer."""

    name: str
    score: float
    tier: str
    model: str


@contextmanager
def calling(target: str) -> Iterator[Received]:
    """Run callers in the background until the context is left."""
    received, lock, stop = Received(Counter(), [], []), threading.Lock(), threading.Event()

    def call(number: int) -> None:
        dice = Random(number)  # noqa: S311 - no secret
        with grpc.insecure_channel(target, (*PATIENT, ("grpc.use_local_subchannel_pool", 1))) as channel:
            stub = risk_pb2_grpc.RiskServiceStub(channel)
            while not stop.wait(PAUSE):
                message, begun = request(_attempt(f"caller-{number}-{dice.randrange(50)}", dice)), time.perf_counter()
                try:
                    answer = stub.Assess(message, timeout=10.0)
                except grpc.RpcError as error:
                    with lock:
                        received.errors.extend(explained(error))
                    continue
                with lock:
                    received.answers[answer.model] += 1
                    received.seconds.append(time.perf_counter() - begun)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield received
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _attempt(subject: str, dice: Random) -> Attempt:
    return Attempt(
        domain="customer",
        subject=subject,
        journey="login",
        network=Network(client_ip=dice.choice(_ADDRESSES)),
        credential_result="succeeded",
        device=Device(user_agent=_CHROME, device_id=f"device-of-{subject}"),
    )


def score(target: str) -> list[Scored]:
    """Score a fixed set of attempts by subjects that the service has never seen. Raises Unavailable."""
    network = Network(client_ip=_ADDRESSES[0])
    attempts: Sequence[tuple[str, Attempt]] = [
        (name, Attempt(domain="customer", subject=f"{name} {time.time_ns()}", journey=journey, network=network, **rest))
        for name, journey, rest in (
            ("a browser", "login", {"device": Device(user_agent=_CHROME, languages=("en",), timezone="Europe/London")}),
            ("a wrong password", "login", {"device": Device(user_agent=_CHROME), "credential_result": "failed"}),
            ("a script", "login", {"device": Device(user_agent=_SCRIPT)}),
            ("a script pays", "payment", {"device": Device(user_agent=_SCRIPT)}),
        )
    ]
    try:
        with grpc.insecure_channel(target, PATIENT) as channel:
            stub = risk_pb2_grpc.RiskServiceStub(channel)
            return [_scored(name, stub.Assess(request(attempt), timeout=10.0)) for name, attempt in attempts]
    except grpc.RpcError as error:
        raise Unavailable([Problem(target, what) for what in explained(error)]) from error


def _scored(name: str, answer: risk_pb2.AssessResponse) -> Scored:
    return Scored(name, answer.score, Tier.Name(answer.requirement.tier).removeprefix("TIER_"), answer.model)


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition. Returns whether it became true within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE)
    return True
