"""The cost of the RPC layer: Assess compared with a no-op call, each in a server process of its own.

The no-op returns prepared bytes for the same request; a second one is behind an interceptor that only wraps it. Assess
is served as always, but by an engine with a fixed answer, so the difference is parsing, the boundary and translation
both ways; a second one also checks callers' tokens. Rounds alternate, so that noise affects all of them.

    python -m benchmarks.rpc [--calls N] [--rounds N]
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import threading
import time
import timeit
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Final, TypeVar

import grpc

from benchmarks import program
from riskd._proto.riskd.v1 import risk_pb2
from riskd.core.assessment import Assessment, Reason
from riskd.core.attempt import Attempt, Device, Network, Outcome, SecurityEvent
from riskd.core.context import Missing
from riskd.core.requirement import Requirement, Terms, Tier
from riskd.engine.reported import Recorded
from riskd.server import translate
from riskd.server.calls.boundary import Boundary
from riskd.server.grpc_server import Options, build_server
from riskd.server.identity.callers import Caller, Callers, token_hash
from riskd.server.identity.guard import Guard
from riskd.server.risk_servicer import RiskServicer

Request = TypeVar("Request")
Response = TypeVar("Response")
METHOD: Final = "/riskd.v1.RiskService/Assess"
CALLERS: Final = 4
TOKEN: Final = "riskd_a-token-of-forty-three-characters-in-all-"
ATTEMPT: Final = Attempt(
    domain="customer",
    subject="user-1234567",
    journey="login",
    network=Network(client_ip="192.0.2.7"),
    credential_result="succeeded",
    device=Device(
        user_agent="Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/153.0.0.0",
        mobile=False,
        device_id="d" * 32,
        languages=("en-GB", "en"),
        timezone="Europe/Oslo",
        screen="1920x1080",
    ),
)
ASSESSMENT: Final = Assessment(
    id="0" * 32,
    score=0.25,
    level="medium",
    requirement=Requirement(Tier.STEP_UP, Terms(2, ("phr",), 300, (("hwk",), ("pwd", "otp"))), satisfied=False),
    reasons=(Reason("NEW_DEVICE", 1.5, "This device is new"), Reason("NEW_NETWORK", 0.5, "This network is new")),
    gaps=(Missing("behaviour", "not_sent"), Missing("rtt", "not_sent")),
    coverage=0.9,
    causes=(),
    next_signals=("behaviour",),
    release="0123456789abcdef",
    model="starter",
    valid_until=1_800_000_000.5,
)


class FixedEngine:
    """An engine that returns the same assessment at once."""

    def assess(self, attempt: Attempt, timeout: float) -> Assessment:
        """The fixed assessment."""
        return ASSESSMENT

    def record(self, outcome: Outcome, timeout: float) -> Recorded:
        """Nothing."""
        return Recorded(outcome.assessment_id, 0)

    def record_event(self, event: SecurityEvent, timeout: float, caller: str) -> None:
        """Nothing."""


class NoMeter:
    """A meter that counts nothing. `benchmarks.metrics` measures the real one."""

    def started(self, method: str, kind: str, /) -> None:
        """Nothing."""

    def queued(self, method: str, seconds: float, /) -> None:
        """Nothing."""

    def refused(self, method: str, why: str, /) -> None:
        """Nothing."""

    def handled(self, method: str, kind: str, code: str, seconds: float, /) -> None:
        """Nothing."""

    def exchanged(self, method: str, received: int, sent: int, /) -> None:
        """Nothing."""


class PassThrough(grpc.ServerInterceptor):
    """An interceptor that only wraps the handler, as metrics interceptors do."""

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Request, Response] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Request, Response] | None:
        """Wrap the handler. gRPC calls this for every call."""
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        behaviour = handler.unary_unary

        def wrapped(message: Request, context: grpc.ServicerContext) -> Response:
            return behaviour(message, context)

        return grpc.unary_unary_rpc_method_handler(wrapped)


def no_op_server(*interceptors: grpc.ServerInterceptor) -> tuple[grpc.Server, int]:
    """A server whose Assess returns prepared bytes."""
    answer = translate.Answers().response(ASSESSMENT).SerializeToString()

    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
        lambda _message, _context: answer
    )
    handlers = {"Assess": handler}
    server = grpc.server(ThreadPoolExecutor(Options().threads), interceptors=list(interceptors))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("riskd.v1.RiskService", handlers)])
    return server, server.add_insecure_port("127.0.0.1:0")


def assess_server(guard: Guard | None = None) -> tuple[grpc.Server, int]:
    """RiskService as it is served, over the fixed engine."""
    options = Options(address="127.0.0.1:0", queue_s=5.0, standing_queue_s=5.0)
    service = build_server(FixedEngine(), Boundary(NoMeter(), guard), options)
    return service.server, service.port


def guarded_server() -> tuple[grpc.Server, int]:
    """The same, with a guard that knows a hundred callers by their tokens."""
    may, tenants = frozenset([METHOD.removeprefix("/")]), frozenset([""])
    callers = [
        Caller(name=str(number), methods=may, tenants=tenants, token_sha256=(token_hash(f"{TOKEN}{number}"),))
        for number in range(100)
    ]
    return assess_server(Guard(Callers(callers)))


SERVERS: Final = {
    "no-op": no_op_server,
    "no-op, interceptor": lambda: no_op_server(PassThrough()),
    "Assess": assess_server,
    "Assess, tokens": guarded_server,
}


def serve(name: str, pipe: Connection) -> None:
    """Serve until told to stop. Answers each question with the CPU seconds used since the last one."""
    server, port = SERVERS[name]()
    server.start()
    pipe.send(port)
    while pipe.recv():
        used = resource.getrusage(resource.RUSAGE_SELF)
        pipe.send(used.ru_utime + used.ru_stime)
    server.stop(0).wait()


def call_many(port: int, calls: int, metadata: tuple[tuple[str, str | bytes], ...]) -> float:
    """Make `calls` calls over one channel with `CALLERS` threads. Returns the seconds that they took."""
    message = translate.request(ATTEMPT).SerializeToString()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assess: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        risk_pb2.AssessResponse.FromString(assess(message, timeout=5, metadata=metadata))

        def some() -> None:
            for _ in range(calls // CALLERS):
                assess(message, timeout=5, metadata=metadata)

        threads = [threading.Thread(target=some) for _ in range(CALLERS)]
        begun = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - begun


class OpenCall:
    """A call without a near deadline."""

    def time_remaining(self) -> float:
        """Seconds until the deadline."""
        return 1.0

    def is_active(self) -> bool:
        """There is."""
        return True


def edge(calls: int) -> dict[str, float]:
    """Microseconds of each part of the RPC layer, in a loop of its own without gRPC."""
    servicer, call, answers = RiskServicer(FixedEngine(), 0.1), OpenCall(), translate.Answers()
    message = translate.request(ATTEMPT).SerializeToString()
    request = risk_pb2.AssessRequest.FromString(message)
    parts: dict[str, Callable[[], object]] = {
        "request to attempt": lambda: translate.attempt(request),
        "assessment to response": lambda: answers.response(ASSESSMENT),
        "the same, without template": lambda: translate.Answers().response(ASSESSMENT),
        "all, from bytes to bytes": lambda: servicer.assess(
            risk_pb2.AssessRequest.FromString(message), call
        ).SerializeToString(),
    }
    return {name: min(timeit.repeat(part, number=calls, repeat=7)) / calls * 1e6 for name, part in parts.items()}


class Measured:
    """A server in a process of its own, and the results of its rounds."""

    def __init__(self, name: str) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=serve, args=(name, theirs))
        self._process.start()
        self._port = self._pipe.recv()
        self._shown = (("authorization", f"Bearer {TOKEN}7"),) if "tokens" in name else ()
        self.costs: list[float] = []
        self.rates: list[float] = []

    def round(self, calls: int) -> None:
        """Run a round, and record the server's CPU microseconds per call, and the calls per second."""
        before = self._cpu()
        seconds = call_many(self._port, calls, self._shown)
        self.costs.append((self._cpu() - before) / calls * 1e6)
        self.rates.append(calls / seconds)

    def close(self) -> None:
        """End the process."""
        self._pipe.send(False)
        self._process.join()

    def _cpu(self) -> float:
        self._pipe.send(True)
        return float(self._pipe.recv())


def main() -> None:
    """Measure the servers in alternating rounds, and print the best round of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000, help="calls in a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds (default: %(default)s)")
    options = parser.parse_args()
    servers = {name: Measured(name) for name in SERVERS}
    for _ in range(options.rounds):
        for server in servers.values():
            server.round(options.calls)
    print(f"{'server':<18} {'CPU us/call':>11} {'median':>7} {'calls/s':>8}")
    for name, server in servers.items():
        best, usual = min(server.costs), statistics.median(server.costs)
        print(f"{name:<18} {best:>11.0f} {usual:>7.0f} {max(server.rates):>8.0f}")
        server.close()
    for name, cost in edge(options.calls).items():
        print(f"{name:<26} {cost:>5.1f} us")


if __name__ == "__main__":
    program(main)
