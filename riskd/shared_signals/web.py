"""HTTP requests to transmitters: TLS is verified, redirects are not followed, the answer's size and time are
bounded."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from socket import SHUT_RDWR
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from riskd.config import is_loopback
from riskd.host.background import log_no_thread
from riskd.shared_signals.stream import TRANSMITTER, Away

ANSWER_BYTES: Final = 4 << 20
"""Size of the longest answer that is read."""
CONNECT_SECONDS: Final = 5.0
"""Timeout for connecting to one address, so that a host's next address is tried in time if one is dead."""
_AGENT: Final = "riskd"
_LATE: Final = "it did not answer in time"


class Answer(Struct, frozen=True):
    """A transmitter's answer."""

    status: int
    body: bytes


def url_problem(url: str) -> str:
    """What is wrong with a URL, or an empty text."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if not host or port == 0 or any(character <= " " for character in url) or not url.isascii():
        return "is not a URL"
    if parts.username is not None or parts.fragment:
        return "must have no user name and no fragment"
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        return "must be https (http is allowed only on this machine)"
    return ""


class Web:
    """Sends requests to one transmitter, one at a time. For one thread, except `hang_up`."""

    def __init__(self, ca_file: str = "") -> None:
        """`ca_file`: PEM authorities of the transmitter's certificate; empty for the system's. Raises OSError."""
        self._trusted = ssl.create_default_context(cafile=ca_file or None)
        self._connection: http.client.HTTPConnection | None = None
        self._closed = False

    def ask(self, url: str, seconds: float, body: bytes | None = None, headers: Mapping[str, str] = {}) -> Answer:
        """Send a GET, or a POST if there is a body. Raises Away if no complete answer comes within `seconds`.

        A socket timeout applies to each read, so a timer bounds the whole answer of a server that sends single bytes.
        """
        if why := url_problem(url):
            raise Away(TRANSMITTER, f"its URL {why}")
        parts, patience = urlsplit(url), min(seconds, CONNECT_SECONDS)
        if parts.scheme == "https":
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.netloc, timeout=patience, context=self._trusted
            )
        else:
            connection = http.client.HTTPConnection(parts.netloc, timeout=patience)
        self._connection, late = connection, threading.Event()

        def end() -> None:
            late.set()
            self._shut(connection)

        clock = threading.Timer(seconds, end)
        clock.daemon = True
        try:
            try:
                clock.start()
            except RuntimeError:
                log_no_thread("poll")
                raise Away(TRANSMITTER, "there is no thread to time its answer") from None
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.connect()
            connection.sock.settimeout(seconds)
            connection.request("GET" if body is None else "POST", path, body, {"User-Agent": _AGENT, **headers})
            if self._closed or late.is_set():  # before there was a connection to shut down
                raise Away(TRANSMITTER, "the receiver is stopping" if self._closed else _LATE)
            response = connection.getresponse()
            content = response.read(ANSWER_BYTES + 1)
            complete = not (late.is_set() or response.length)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Away(TRANSMITTER, _LATE if late.is_set() else _why(error)) from None
        finally:
            clock.cancel()
            self._connection = None
            connection.close()
        if len(content) > ANSWER_BYTES:
            raise Away(TRANSMITTER, f"its answer is longer than {ANSWER_BYTES} bytes")
        if not complete:
            raise Away(TRANSMITTER, _LATE if late.is_set() else "its answer is cut off")
        return Answer(response.status, content)

    def hang_up(self) -> None:
        """End the request in progress, and refuse further ones. Thread-safe."""
        self._closed = True
        if connection := self._connection:
            self._shut(connection)

    @staticmethod
    def _shut(connection: http.client.HTTPConnection) -> None:
        with suppress(OSError, AttributeError):
            connection.sock.shutdown(SHUT_RDWR)


def _why(error: Exception) -> str:
    """Why there is no answer, in our own words: an exception's text may quote what was sent."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return _LATE
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"its answer is not HTTP ({type(error).__name__})"
