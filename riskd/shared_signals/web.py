"""Requests to transmitters. TLS is verified, redirects are not followed, answers and their time are bounded."""

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
from riskd.shared_signals.stream import TRANSMITTER, Away

ANSWER_BYTES: Final = 4 << 20
"""Of the longest answer that is read."""
CONNECT_SECONDS: Final = 5.0
"""For a connection to one address: of a host with a dead one the next is reached in time."""
_AGENT: Final = "riskd"
_LATE: Final = "it did not answer in time"


class Answer(Struct, frozen=True):
    """Of a transmitter: status and body."""

    status: int
    body: bytes


def unfit(url: str) -> str:
    """What is wrong with a URL, or nothing."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "is no URL"
    if not host or port == 0 or any(character <= " " for character in url) or not url.isascii():
        return "is no URL"
    if parts.username is not None or parts.fragment:
        return "has a user or a fragment, which no request has"
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        return "is not https, and not http of this machine"
    return ""


class Web:
    """Asks one transmitter, one question at a time. For one thread, save `hang_up`."""

    def __init__(self, ca_file: str = "") -> None:
        """`ca_file`: authorities of its certificate, PEM; empty for those of the machine. Raises OSError."""
        self._trusted = ssl.create_default_context(cafile=ca_file or None)
        self._connection: http.client.HTTPConnection | None = None
        self._closed = False

    def ask(self, url: str, seconds: float, body: bytes | None = None, headers: Mapping[str, str] = {}) -> Answer:
        """GET, or POST of a body. Raises Away: no answer within `seconds`, or none that can be read.

        Each byte that drips in has a time of its own, so somebody else looks at the clock.
        """
        if why := unfit(url):
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
            except RuntimeError as error:  # no thread to be had
                raise Away(TRANSMITTER, str(error)) from None
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.connect()
            connection.sock.settimeout(seconds)
            connection.request("GET" if body is None else "POST", path, body, {"User-Agent": _AGENT, **headers})
            if self._closed or late.is_set():  # while there was no connection yet that could be shut
                raise Away(TRANSMITTER, "the receiver stops" if self._closed else _LATE)
            response = connection.getresponse()
            content = response.read(ANSWER_BYTES + 1)
            complete = not (late.is_set() or response.length)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Away(TRANSMITTER, _LATE if late.is_set() else _told(error)) from None
        finally:
            clock.cancel()
            self._connection = None
            connection.close()
        if len(content) > ANSWER_BYTES:
            raise Away(TRANSMITTER, f"its answer has more than {ANSWER_BYTES} bytes")
        if not complete:
            raise Away(TRANSMITTER, _LATE if late.is_set() else "its answer is cut off")
        return Answer(response.status, content)

    def hang_up(self) -> None:
        """End the question that is under way, and ask no other. From any thread."""
        self._closed = True
        if connection := self._connection:
            self._shut(connection)

    @staticmethod
    def _shut(connection: http.client.HTTPConnection) -> None:
        with suppress(OSError, AttributeError):
            connection.sock.shutdown(SHUT_RDWR)


def _told(error: Exception) -> str:
    """Why there is no answer, in words that are ours: those of others may quote what was sent."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return _LATE
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"it gave no answer of HTTP ({type(error).__name__})"
