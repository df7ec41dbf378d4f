"""Runs all streams until stopped: a thread for each polled stream, and one listener for the pushed ones."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from typing import Final

from msgspec import Struct

from riskd.adapters.prometheus_page import ReadingsPage
from riskd.core.attempt import SecurityEvent
from riskd.host.listener import Listener, Reply, monitoring
from riskd.shared_signals.desk import Desk
from riskd.shared_signals.keys import Keys
from riskd.shared_signals.metrics import METRICS, StreamMetrics
from riskd.shared_signals.poll import Poller
from riskd.shared_signals.push import BODY_BYTES, CONNECTIONS, SECONDS, Pushes
from riskd.shared_signals.stream import Poll, Push, Stream
from riskd.shared_signals.web import Web

_LOG: Final = logging.getLogger("riskd.events")
_LOOK_SECONDS: Final = 1.0
"""Between two checks that every thread is alive."""
_STOP_SECONDS: Final = 10.0
"""How long to wait for the threads to end. A thread that is still connecting to its transmitter is abandoned."""
_PAGE_CONNECTIONS: Final = 4
_PAGE_SECONDS: Final = 5.0


class Address(Struct, frozen=True):
    """Where to listen. Port 0 is any free port."""

    host: str
    port: int


class Receiver:
    """Receives the streams of a file. `send` reports an event to riskd; see `Desk`."""

    def __init__(self, streams: Sequence[Stream], send: Callable[[SecurityEvent], None]) -> None:
        self.metrics = StreamMetrics(streams)
        desks = [Desk(each, Keys(each, Web(each.ca_file)), send, self.metrics) for each in streams]
        self._pollers = [Poller(each, each.stream.delivery) for each in desks if isinstance(each.stream.delivery, Poll)]
        self._pushed = [(each, each.stream.delivery) for each in desks if isinstance(each.stream.delivery, Push)]

    def run(
        self,
        stop: threading.Event,
        pushes: Address,
        page: Address | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> bool:
        """Receive until `stop` is set; work in progress is then finished.

        Returns whether it ended because of `stop`. It also ends if a thread dies of a fault in riskd, so that the
        process can be restarted. Raises InvalidSettings for an address in use.
        """
        with ExitStack() as open_:
            if page is not None:
                listener = self._page(page)
                open_.enter_context(_served(listener, "page"))
            if self._pushed:
                listener = Listener(
                    pushes.host,
                    pushes.port,
                    Pushes(self._pushed).reply,
                    setting="--push-port",
                    connections=CONNECTIONS,
                    seconds=SECONDS,
                    body_bytes=BODY_BYTES,
                    tls=tls,
                )
                open_.enter_context(_served(listener, "push"))
            threads = [
                threading.Thread(target=poller.run, args=(stop,), name="poll", daemon=True) for poller in self._pollers
            ]
            for thread in threads:
                thread.start()
            streams = {"polled": len(self._pollers), "pushed": len(self._pushed)}
            _LOG.info("receives", extra={"fields": streams})
            while not stop.wait(_LOOK_SECONDS) and all(thread.is_alive() for thread in threads):
                pass
            requested = stop.is_set()
            stop.set()
            for poller in self._pollers:
                poller.hang_up()
            until = time.monotonic() + _STOP_SECONDS
            for thread in threads:
                thread.join(max(0.0, until - time.monotonic()))
        _LOG.log(logging.INFO if requested else logging.ERROR, "stopped", extra={"fields": {"asked": requested}})
        return requested

    def _page(self, at: Address) -> Listener:
        page = ReadingsPage(METRICS)
        reply = monitoring(
            lambda accept: page.render(accept, self.metrics.readings()), lambda: Reply(HTTPStatus.OK, b"ok\n")
        )
        return Listener(
            at.host, at.port, reply, setting="--metrics-port", connections=_PAGE_CONNECTIONS, seconds=_PAGE_SECONDS
        )


@contextmanager
def _served(listener: Listener, what: str) -> Iterator[None]:
    """Serve on a thread. At the end, connected clients still get their answers."""
    thread = threading.Thread(target=listener.serve_forever, args=(0.1,), name=what)
    thread.start()
    _LOG.info("listens", extra={"fields": {"for": what, "port": listener.server_port}})
    try:
        yield
    finally:
        listener.shutdown()
        thread.join()
        listener.finish()
        listener.server_close()
