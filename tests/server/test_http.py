"""The monitor's HTTP endpoint survives failing requests."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit, setrlimit

import pytest

from riskd.host.listener import TEXT, Listener, Reply, Request, monitoring
from riskd.server.json_log import JsonFormatter
from riskd.server.processes.http import CONNECTIONS, SECONDS
from tests.security.authority import Authority


def page(accept: str) -> tuple[str, bytes]:
    """The page; raises if asked with `broken`."""
    if accept == "broken":
        raise LookupError("a secret that a message quotes")
    return TEXT, b"ok\n"


@contextmanager
def served(tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A running endpoint; gives its address. Of connections that have ended nothing is left."""
    reply = monitoring(page, lambda: Reply(HTTPStatus.OK))
    with Listener(
        "127.0.0.1", 0, reply, setting="metrics.port", connections=CONNECTIONS, seconds=SECONDS, tls=tls
    ) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/metrics"
        server.shutdown()
        thread.join()
        server.finish()
        assert (server._begun, server._asked) == ({}, set())


def connected(address: str) -> socket.socket:
    """A connection on which nothing was sent yet."""
    host, _, port = address.removeprefix("http://").removesuffix("/metrics").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=5)


def asked(address: str, accept: str = "*/*") -> bytes:
    request = urllib.request.Request(address, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=5) as answer:
        content: bytes = answer.read()
        return content


def test_a_thread_that_cannot_be_begun_holds_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections for which no thread can be started free their place."""
    with served() as address:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("no thread")))
            for _ in range(CONNECTIONS + 1):
                with pytest.raises((urllib.error.URLError, OSError)):
                    asked(address)
        assert asked(address) == b"ok\n"


def test_silent_connections_do_not_delay_others() -> None:
    """A crowd of connections that send nothing, or half a request, delays another by a second or so."""
    with served() as address, ExitStack() as crowd:
        for number in range(CONNECTIONS * 4):
            one = crowd.enter_context(connected(address))
            one.sendall(b"GET /metrics HTTP/1.1\r\nHost:"[: number % 25])
        assert asked(address) == b"ok\n"


def test_with_tls_a_silent_connection_does_not_delay_others(tmp_path: Path) -> None:
    """With a certificate, requests come by TLS only, and a connection that begins no handshake holds up no other."""
    authority, serving = Authority(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(*authority.issue("page", hosts=["127.0.0.1"]).put(tmp_path, "page"))
    asking = ssl.create_default_context(cadata=authority.certificate.decode())
    with served(serving) as address, connected(address):
        secure = address.replace("http://", "https://")
        with urllib.request.urlopen(secure, timeout=5, context=asking) as answer:
            assert answer.read() == b"ok\n"
        with pytest.raises((urllib.error.URLError, OSError)):
            asked(address)


def test_a_stop_does_not_wait_for_a_place() -> None:
    """While every place is taken, a stop ends the connections that wait for one; who has asked is still answered."""
    accepted, reached, go_on = threading.Semaphore(0), threading.Event(), threading.Event()

    class Noticing(Listener):
        def verify_request(self, request: object, client_address: object) -> bool:
            accepted.release()
            return True

    def reply(_: Request) -> Reply:
        reached.set()
        go_on.wait(30)
        return Reply(HTTPStatus.OK, b"ok\n")

    with Noticing("127.0.0.1", 0, reply, setting="metrics.port", connections=1, seconds=10.0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}/metrics"
        with connected(address) as asking:
            asking.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert reached.wait(30)
            with connected(address) as waiting:
                assert accepted.acquire(timeout=30)
                assert accepted.acquire(timeout=30)
                server.shutdown()
                assert waiting.recv(1) == b""
            go_on.set()
            server.finish()
            assert asking.makefile("rb").read().endswith(b"ok\n")
        thread.join()


def test_without_a_free_file_connections_wait() -> None:
    """While the process can open no more files, a connection waits for one, and costs next to nothing meanwhile."""
    tries = 0

    class Noticing(Listener):
        def get_request(self) -> tuple[socket.socket, object]:
            nonlocal tries
            tries += 1
            return super().get_request()

    reply = monitoring(page, lambda: Reply(HTTPStatus.OK))
    with Noticing("127.0.0.1", 0, reply, setting="metrics.port", connections=1, seconds=10.0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        usual, hard = getrlimit(RLIMIT_NOFILE)
        with socket.socket() as waiting:
            os.close(free := os.dup(0))
            setrlimit(RLIMIT_NOFILE, (free, hard))
            try:
                waiting.connect(("127.0.0.1", server.server_port))
                waiting.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
                threading.Event().wait(0.2)
            finally:
                setrlimit(RLIMIT_NOFILE, (usual, hard))
            assert 0 < tries < 5
            assert waiting.makefile("rb").read().endswith(b"ok\n")
        server.shutdown()
        thread.join()


def test_while_others_wait_an_answer_has_its_time_and_no_more() -> None:
    """While others wait for a place, who has asked is still answered; one whose answer takes too long is closed."""
    reached, go_on = threading.Event(), threading.Event()

    def reply(request: Request) -> Reply:
        reached.set()
        go_on.wait(0.2 if request.path == "/" else 30)
        return Reply(HTTPStatus.OK, b"ok\n")

    with Listener("127.0.0.1", 0, reply, setting="metrics.port", connections=1, seconds=1.5) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/metrics"
        for path, answered in ((b"/", b"ok\n"), (b"/slow", b"")):
            reached.clear()
            with connected(address) as asking:
                asking.sendall(b"GET %b HTTP/1.1\r\n\r\n" % path)
                assert reached.wait(30)
                with connected(address):
                    assert asking.makefile("rb").read()[-3:] == answered
        go_on.set()
        server.shutdown()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"BREW /pot HTTP/1.1\r\n\r\n", 501),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET /metrics HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
        (b"\xff\xfe\r\n\r\n", 400),
    ],
)
def test_a_malformed_request_gets_a_status_only(request_: bytes, status: int) -> None:
    """A request that is not understood gets a status, and nothing of the request or of the server's software."""
    with served() as address, connected(address) as one:
        one.sendall(request_)
        answer = one.makefile("rb").read().decode()
    assert answer.startswith(f"HTTP/1.0 {status} ")
    assert not [word for word in ("Python", "BREW", "xxx", "PRI") if word in answer]


def test_a_failing_page_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """An exception is logged by kind and place, without its message; the next request is answered."""
    with served() as address, caplog.at_level(logging.ERROR):
        with pytest.raises((urllib.error.URLError, OSError)):
            asked(address, "broken")
        assert asked(address) == b"ok\n"
    (event,) = caplog.records
    assert event.message == "page_failed"
    told = JsonFormatter().format(event)
    assert "LookupError" in told
    assert "secret" not in told
