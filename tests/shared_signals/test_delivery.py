"""Delivery: nothing is acknowledged before riskd has recorded it, nothing is lost, and no stream blocks another."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from itertools import accumulate
from pathlib import Path
from urllib.request import urlopen

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.core.attempt import SecurityEvent
from riskd.shared_signals import desk, keys, poll, receiver
from riskd.shared_signals.push import BODY_BYTES, CONNECTIONS
from riskd.shared_signals.receiver import Address, Receiver
from riskd.shared_signals.stream import INVALID_REQUEST, Away, Credentials, Poll, Push, Refused, Stream
from tests.e2e.service import eventually
from tests.redis_servers import free_port
from tests.shared_signals.transmitter import (
    ALEX,
    BEARER,
    CAEP,
    HIGH,
    SSF,
    Transmitter,
    bearer_file,
    claims,
    jwk,
    rsa_key,
    sign,
    stream,
    transmitting,
)


class Riskd:
    """Records events. `away`: it is unavailable; `refuses`: it refuses every event."""

    def __init__(self) -> None:
        self.events: list[SecurityEvent] = []
        self.away = False
        self.refuses = False
        self.tries = 0

    def __call__(self, event: SecurityEvent) -> None:
        self.tries += 1
        if self.away:
            raise Away("riskd", "it answers UNAVAILABLE")
        if self.refuses:
            raise Refused(INVALID_REQUEST, "the service refuses the event: subject")
        self.events.append(event)


@pytest.fixture
def riskd() -> Riskd:
    return Riskd()


@pytest.fixture
def transmitter() -> Iterator[Transmitter]:
    with transmitting() as found:
        yield found


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use short pauses between tries."""
    monkeypatch.setattr(poll, "LONGEST_PAUSE", 0.1)


def polled(transmitter: Transmitter, folder: Path, interval: int = 1) -> Stream:
    return stream(transmitter.issuer, Poll(transmitter.endpoint, bearer_file(folder), interval))


def listens(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


class Running(Address, frozen=True):
    """The addresses of a running receiver."""

    page: int

    def push(
        self, body: str | bytes, bearer: str = BEARER, path: str = "/idp", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        shown = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/secevent+jwt", **headers}
        connection.request("POST", path, body, shown)
        answer = connection.getresponse()
        found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return found

    def metrics(self) -> str:
        """The metrics page."""
        with urlopen(f"http://127.0.0.1:{self.page}/metrics", timeout=5) as answer:
            found: bytes = answer.read()
            return found.decode()


@contextmanager
def receiving(riskd: Riskd, *streams: Stream) -> Iterator[Running]:
    """A running receiver that must stop in time."""
    stop, port, page = threading.Event(), free_port(), free_port()
    listening = Receiver(streams, riskd).run
    thread = threading.Thread(target=listening, args=(stop, Address("127.0.0.1", port), Address("127.0.0.1", page)))
    thread.start()
    try:
        waits = any(isinstance(each.delivery, Push) for each in streams)
        eventually(lambda: listens(page) and (listens(port) or not waits))
        yield Running("127.0.0.1", port, page)
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def subjects(riskd: Riskd) -> list[str]:
    return [event.subject for event in riskd.events]


def alias(number: int) -> dict[str, str]:
    return {"format": "email", "email": f"u{number}@example.com"}


def test_a_poll_records_and_then_acknowledges(riskd: Riskd, transmitter: Transmitter, tmp_path: Path) -> None:
    """Polled events are recorded once, in order, and then acknowledged."""
    sent = [transmitter.queue(sub_id=alias(number)) for number in range(100)]
    with receiving(riskd, polled(transmitter, tmp_path)):
        eventually(lambda: transmitter.acknowledged == sent)
    assert subjects(riskd) == [f"u{number}@example.com" for number in range(100)]
    assert riskd.events[0].level == "high"
    assert transmitter.waiting == {}


def test_nothing_is_acknowledged_while_riskd_is_away(riskd: Riskd, transmitter: Transmitter, tmp_path: Path) -> None:
    """While riskd is unavailable, nothing is acknowledged or polled; afterwards all events are recorded."""
    riskd.away = True
    sent = [transmitter.queue(sub_id=alias(number)) for number in range(3)]
    with receiving(riskd, polled(transmitter, tmp_path)) as running:
        eventually(lambda: riskd.tries > 3)
        assert len(transmitter.questions) == 1
        assert transmitter.acknowledged == []
        assert 'riskd_events_failures_total{part="riskd",stream="idp"}' in running.metrics()
        riskd.away = False
        eventually(lambda: transmitter.acknowledged == sent)
    assert subjects(riskd) == [f"u{number}@example.com" for number in range(3)]


def test_a_receiver_that_dies_loses_nothing(riskd: Riskd, transmitter: Transmitter, tmp_path: Path) -> None:
    """Events that were not recorded are delivered to the next receiver."""
    riskd.away = True
    sent = transmitter.queue()
    with receiving(riskd, polled(transmitter, tmp_path)):
        eventually(lambda: riskd.tries > 0)
    assert transmitter.acknowledged == []
    riskd.away = False
    with receiving(riskd, polled(transmitter, tmp_path)):
        eventually(lambda: transmitter.acknowledged == [sent])
    assert subjects(riskd) == ["alex@example.com"]


def test_a_stop_acknowledges_what_is_recorded(riskd: Riskd, transmitter: Transmitter, tmp_path: Path) -> None:
    """At a stop, recorded events are acknowledged, so that they are not sent again."""
    recorded = threading.Event()

    def send(event: SecurityEvent) -> None:
        riskd(event)
        recorded.set()
        time.sleep(0.3)

    sent = transmitter.queue()
    stop = threading.Event()
    thread = threading.Thread(
        target=Receiver([polled(transmitter, tmp_path, 60)], send).run, args=(stop, Address("127.0.0.1", 0))
    )
    thread.start()
    assert recorded.wait(10)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert set(transmitter.acknowledged) == {sent}


def test_a_stop_does_not_wait_for_a_transmitter(riskd: Riskd, transmitter: Transmitter, tmp_path: Path) -> None:
    """A stop does not wait for a long poll."""
    transmitter.hold = 30
    with receiving(riskd, polled(transmitter, tmp_path)):
        eventually(lambda: len(transmitter.questions) == 1)
        begun = time.monotonic()
    assert time.monotonic() - begun < 5


def test_a_stop_does_not_wait_for_a_connection(
    riskd: Riskd, transmitter: Transmitter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop does not wait for a name lookup or a connection attempt."""
    sought, found = threading.Event(), threading.Event()

    def seek(*_: object, **__: object) -> list[object]:
        sought.set()
        found.wait(30)
        return []

    monkeypatch.setattr("riskd.shared_signals.receiver._STOP_SECONDS", 0.2)
    stop = threading.Event()
    thread = threading.Thread(
        target=Receiver([polled(transmitter, tmp_path)], riskd).run, args=(stop, Address("127.0.0.1", 0))
    )
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", seek)
        thread.start()
        assert sought.wait(10)
        begun = time.monotonic()
        stop.set()
        thread.join(10)
        assert time.monotonic() - begun < 5
        found.set()


def test_an_invalid_token_is_refused_once(riskd: Riskd, transmitter: Transmitter, tmp_path: Path) -> None:
    """An invalid token is refused once with its code; valid ones continue, and a token with an unknown key is
    retried."""
    issuer = transmitter.issuer
    transmitter.put("forged", sign(claims(issuer, jti="forged"), rsa_key(1)))
    transmitter.put("renamed", sign(claims(issuer, jti="another")))
    transmitter.put("garbage", "garbage")
    transmitter.put("other", sign(claims("https://other.example.com", jti="other")))
    transmitter.put("unknown", sign(claims(issuer, jti="unknown"), kid="other"))
    good = transmitter.queue()
    with receiving(riskd, polled(transmitter, tmp_path)):
        eventually(lambda: transmitter.acknowledged == [good] and len(transmitter.refused) == 4)
    assert {jti: each["err"] for jti, each in transmitter.refused.items()} == {
        "forged": "authentication_failed",
        "renamed": "invalid_request",
        "garbage": "invalid_request",
        "other": "invalid_issuer",
    }
    assert list(transmitter.waiting) == ["unknown"]
    assert all(each["description"] for each in transmitter.refused.values())
    assert subjects(riskd) == ["alex@example.com"]


def test_an_event_that_riskd_refuses_is_refused(riskd: Riskd, transmitter: Transmitter, tmp_path: Path) -> None:
    """An event that riskd refuses is refused to the transmitter, so that it is not sent for ever."""
    riskd.refuses = True
    sent = transmitter.queue()
    with receiving(riskd, polled(transmitter, tmp_path)):
        eventually(lambda: list(transmitter.refused) == [sent])
    assert transmitter.refused[sent]["err"] == "invalid_request"


def test_unused_events_are_acknowledged(
    riskd: Riskd, transmitter: Transmitter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Unused events are acknowledged and counted; events about the stream itself are logged."""
    sent = [
        transmitter.queue(CAEP + "session-revoked", {}),
        transmitter.queue("https://example.com/ours", {}),
        transmitter.queue(content={**HIGH, "principal": "DEVICE"}),
        transmitter.queue(SSF + "verification", {"state": "abc"}, sub_id={"format": "opaque", "id": "s"}),
        transmitter.queue(SSF + "stream-updated", {"status": "paused"}, sub_id={"format": "opaque", "id": "s"}),
    ]
    with caplog.at_level(logging.INFO), receiving(riskd, polled(transmitter, tmp_path)) as running:
        eventually(lambda: transmitter.acknowledged == sent)
        page = running.metrics()
    assert riskd.tries == 0
    assert 'riskd_events_received_total{event="other",result="not_used",stream="idp"} 2.0' in page
    assert 'riskd_events_received_total{event="risk-level-change",result="not_used",stream="idp"} 1.0' in page
    assert 'riskd_events_received_total{event="verification",result="of_the_stream",stream="idp"} 1.0' in page
    told = [each for each in caplog.records if each.message == "stream_told_of_itself"]
    assert [(each.levelname, vars(each)["fields"]["status"]) for each in told] == [
        ("INFO", "verified"),
        ("WARNING", "paused"),
    ]


def test_a_token_stays_unacknowledged_until_its_key_is_fetched(
    riskd: Riskd, transmitter: Transmitter, tmp_path: Path
) -> None:
    """While keys cannot be fetched, a token is neither refused nor acknowledged, and is sent again."""
    transmitter.keys = []
    sent = transmitter.queue()
    with receiving(riskd, polled(transmitter, tmp_path)):
        eventually(lambda: len(transmitter.questions) > 2)
    assert (transmitter.acknowledged, transmitter.refused) == ([], {})
    transmitter.keys = [jwk(rsa_key(), "one")]
    with receiving(riskd, polled(transmitter, tmp_path)):
        eventually(lambda: transmitter.acknowledged == [sent])


def test_a_token_without_its_key_holds_up_no_other(
    riskd: Riskd, transmitter: Transmitter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While keys cannot be fetched, tokens with known keys are still processed."""
    monkeypatch.setattr(keys, "AGAIN_SECONDS", 0.0)
    first = transmitter.queue()
    with receiving(riskd, polled(transmitter, tmp_path)) as running:
        eventually(lambda: transmitter.acknowledged == [first])
        transmitter.instead["/keys"] = lambda handler: handler.connection.shutdown(socket.SHUT_RDWR)
        transmitter.put("unknown", sign(claims(transmitter.issuer, jti="unknown"), kid="other"))
        eventually(lambda: 'riskd_events_failures_total{part="keys",stream="idp"}' in running.metrics())
        second = transmitter.queue()
        eventually(lambda: second in transmitter.acknowledged)
    assert list(transmitter.waiting) == ["unknown"]
    assert transmitter.refused == {}


def by_oauth(transmitter: Transmitter, folder: Path, secret: str = "a-secret") -> Stream:
    credentials = Credentials(f"{transmitter.issuer}/token", "riskd/1", bearer_file(folder, secret), "ssf.read")
    return stream(transmitter.issuer, Poll(transmitter.endpoint, credentials, 1))


def test_a_token_is_asked_for_once(riskd: Riskd, transmitter: Transmitter, tmp_path: Path) -> None:
    """An access token is used for most of its lifetime, and renewed when the transmitter refuses it."""
    transmitter.bearer = "another"
    with receiving(riskd, by_oauth(transmitter, tmp_path)):
        eventually(lambda: len(transmitter.questions) > 2)
        assert transmitter.asked.count("/token") == 1
        transmitter.bearer = "revoked"
        sent = transmitter.queue()
        eventually(lambda: sent in transmitter.acknowledged)
        assert transmitter.asked.count("/token") == 2


def test_a_token_that_runs_out_is_renewed_before(riskd: Riskd, transmitter: Transmitter, tmp_path: Path) -> None:
    """An access token is renewed before it expires."""
    transmitter.lifetime, transmitter.hold = 2, 0
    with receiving(riskd, by_oauth(transmitter, tmp_path)) as running:
        eventually(lambda: transmitter.asked.count("/token") > 2)
        assert 'part="transmitter"' not in running.metrics()


def test_no_token_is_no_answer(riskd: Riskd, transmitter: Transmitter, tmp_path: Path) -> None:
    """If the client secret is wrong, the transmitter is not polled, and the failure is counted."""
    with receiving(riskd, by_oauth(transmitter, tmp_path, "another")) as running:
        eventually(lambda: 'riskd_events_failures_total{part="transmitter",stream="idp"}' in running.metrics())
    assert transmitter.questions == []


def hang(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(5)


def flood(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n" + b'{"sets": {' + b" " * (5 << 20))


def redirect(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 307 Temporary\r\nLocation: /keys\r\nContent-Length: 0\r\n\r\n")


def nonsense(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"sets": [1]}')


def refuse(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("answer", [hang, flood, redirect, nonsense, refuse], ids=lambda each: each.__name__)
def test_a_bad_transmitter_does_not_delay_others(
    riskd: Riskd, transmitter: Transmitter, tmp_path: Path, answer: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    """Whatever one transmitter does, other streams are processed, and it is retried at a bounded rate."""
    with transmitting() as bad:
        bad.instead["/poll"] = answer
        sent = transmitter.queue()
        other = replace(polled(bad, tmp_path), name="bad")
        with receiving(riskd, other, polled(transmitter, tmp_path)) as running:
            eventually(lambda: transmitter.acknowledged == [sent])
            if answer is not hang:
                eventually(lambda: 'stream="bad"} ' in running.metrics().split("failures_total{")[-1])
        assert bad.asked.count("/poll") < 200


def test_a_transmitter_that_repeats_events_is_polled_once_per_interval(
    riskd: Riskd, transmitter: Transmitter, tmp_path: Path
) -> None:
    """A transmitter that repeats acknowledged events and claims to have more is polled once per interval."""
    told = claims(transmitter.issuer)
    body = json.dumps({"sets": {str(told["jti"]): sign(told)}, "moreAvailable": True}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    def again(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(head + body)

    transmitter.instead["/poll"] = again
    with receiving(riskd, polled(transmitter, tmp_path, 60)):
        eventually(lambda: len(riskd.events) == 2)
        time.sleep(0.3)
    assert len(riskd.events) == 2


@pytest.mark.parametrize("way", ["poll", "push"])
def test_events_beyond_the_rate_limit_wait_unacknowledged(
    riskd: Riskd, transmitter: Transmitter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """A stream's events are recorded at its maximum rate; the rest waits unacknowledged, nothing is lost, and other
    streams continue."""
    monkeypatch.setattr(desk, "MINUTE", 3600.0)
    delivery = Push("/idp", bearer_file(tmp_path)) if way == "push" else polled(transmitter, tmp_path).delivery
    slow = replace(stream(transmitter.issuer, delivery), most=3)
    other = replace(stream(transmitter.issuer, Push("/other", bearer_file(tmp_path))), name="other")
    sent = [sign(claims(transmitter.issuer, jti=str(number), sub_id=alias(number))) for number in range(10)]
    for number, token in enumerate(sent if way == "poll" else ()):
        transmitter.put(str(number), token)
    with receiving(riskd, slow, other) as running:
        if way == "push":
            answers = [running.push(token) for token in sent]
            assert [status for status, _, _ in answers] == [202] * 3 + [503] * 7
            assert answers[-1][1]["retry-after"] == "30"
        eventually(lambda: 'riskd_events_failures_total{part="pace",stream="idp"}' in running.metrics())
        assert subjects(riskd) == ["u0@example.com", "u1@example.com", "u2@example.com"]
        assert running.push(sign(claims(transmitter.issuer)), path="/other")[0] == 202
        monkeypatch.setattr(desk, "MINUTE", 0.0)
        if way == "push":
            assert [running.push(token)[0] for token in sent[3:]] == [202] * 7
        eventually(lambda: len(riskd.events) == 11)
    if way == "poll":
        assert transmitter.acknowledged == [str(number) for number in range(10)]
    assert sorted(subjects(riskd)) == sorted([f"u{number}@example.com" for number in range(10)] + ["alex@example.com"])


@settings(max_examples=200)
@given(st.integers(1, 20), st.lists(st.floats(0.0, 100.0), max_size=200))
def test_a_pace_is_kept_whenever_they_come(most: int, pauses: list[float]) -> None:
    """In any minute at most twice the average rate passes; after a minute of silence an event always passes."""
    moments = list(accumulate(pauses))
    time_now = [0.0]
    kept = desk.Pace(most, lambda: time_now[0])
    went = []
    for number, moment in enumerate(moments):
        time_now[0] = moment
        if kept.admits():
            went.append(moment)
        else:
            assert moment - moments[number - 1] < desk.MINUTE
    for moment in went:
        assert sum(moment <= each < moment + desk.MINUTE for each in went) <= 2 * most
        assert sum(moment <= each < moment + 10 * desk.MINUTE for each in went) <= 11 * most


def test_a_failure_is_logged_once(
    riskd: Riskd, transmitter: Transmitter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A failing stream is logged when it begins to fail and when it recovers."""
    riskd.away = True
    transmitter.queue()
    with caplog.at_level(logging.INFO), receiving(riskd, polled(transmitter, tmp_path)):
        eventually(lambda: riskd.tries > 5)
        riskd.away = False
        eventually(lambda: len(transmitter.acknowledged) == 1)
    told = [each.message for each in caplog.records if each.message.startswith("stream_")]
    assert told == ["stream_fails", "stream_is_back"]
    assert "alex" not in caplog.text


def pushed(transmitter: Transmitter, folder: Path, path: str = "/idp") -> Stream:
    return stream(transmitter.issuer, Push(path, bearer_file(folder)))


def test_a_push_is_accepted_once_it_is_recorded(riskd: Riskd, transmitter: Transmitter, tmp_path: Path) -> None:
    """RFC 8935, section 2.2: a recorded push gets 202 with an empty body, also when repeated."""
    token = sign(claims(transmitter.issuer))
    with receiving(riskd, pushed(transmitter, tmp_path)) as running:
        for _ in range(2):
            status, _, body = running.push(token)
            assert (status, body) == (202, b"")
    assert subjects(riskd) == ["alex@example.com"] * 2


@pytest.mark.parametrize(
    ("token", "err"),
    [
        ("garbage", "invalid_request"),
        ("", "invalid_request"),
        (sign(claims("https://other.example.com")), "invalid_issuer"),
        (sign(claims("https://other.example.com"), rsa_key(1)), "authentication_failed"),
        (sign(claims("https://other.example.com"), typ="JWT"), "invalid_request"),
    ],
)
def test_a_push_that_is_wrong_is_refused(
    riskd: Riskd, transmitter: Transmitter, tmp_path: Path, token: str, err: str
) -> None:
    """RFC 8935, section 2.3: an invalid push gets 400 with its error code, and nothing is recorded."""
    with receiving(riskd, pushed(transmitter, tmp_path)) as running:
        status, headers, body = running.push(token)
    assert status == 400
    assert (headers["content-type"], headers["content-language"]) == ("application/json", "en")
    assert json.loads(body)["err"] == err
    assert riskd.tries == 0


@pytest.mark.parametrize("shown", ["", "Bearer", "Bearer other", f"Basic {BEARER}", f"Bearer {BEARER}x", "Bearer é"])
def test_a_push_needs_the_token_of_the_transmitter(
    riskd: Riskd, transmitter: Transmitter, tmp_path: Path, shown: str
) -> None:
    """A push with another token is refused before its body is read."""
    with receiving(riskd, pushed(transmitter, tmp_path)) as running:
        status, headers, _ = running.push(sign(claims(transmitter.issuer)), Authorization=shown)
    assert (status, headers["www-authenticate"]) == (401, "Bearer")
    assert riskd.tries == 0
    assert transmitter.asked == []


def test_a_push_is_retried_while_riskd_is_unavailable(riskd: Riskd, transmitter: Transmitter, tmp_path: Path) -> None:
    """While riskd is unavailable, a push gets 503 with Retry-After."""
    riskd.away = True
    with receiving(riskd, pushed(transmitter, tmp_path)) as running:
        status, headers, _ = running.push(sign(claims(transmitter.issuer)))
        assert status == 503
        assert int(headers["retry-after"]) > 0
        riskd.away = False
        assert running.push(sign(claims(transmitter.issuer)))[0] == 202


def test_a_token_of_the_transmitter_may_change(riskd: Riskd, transmitter: Transmitter, tmp_path: Path) -> None:
    """The token file is read each time, and an old and a new token may overlap."""
    with receiving(riskd, pushed(transmitter, tmp_path)) as running:
        bearer_file(tmp_path, "another")
        assert running.push(sign(claims(transmitter.issuer)))[0] == 401
        assert running.push(sign(claims(transmitter.issuer)), "another")[0] == 202
        bearer_file(tmp_path, f"{BEARER}\nanother")
        for overlapping in (BEARER, "another"):
            assert running.push(sign(claims(transmitter.issuer)), overlapping)[0] == 202
        (tmp_path / "stream.token").unlink()
        assert running.push(sign(claims(transmitter.issuer)), "another")[0] == 503


def test_pushes_are_bounded(riskd: Riskd, transmitter: Transmitter, tmp_path: Path) -> None:
    """Pushes are limited in length, method and path."""
    with receiving(riskd, pushed(transmitter, tmp_path)) as running:
        assert running.push("a" * (BODY_BYTES + 1))[0] == 413
        assert running.push("a", path="/other")[0] == 404
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=5)
        connection.request("GET", "/idp")
        assert connection.getresponse().status == 405
        connection.close()
        with socket.create_connection(("127.0.0.1", running.port), 5) as raw:
            raw.sendall(b"POST /idp HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert b" 411 " in raw.recv(100)
    assert riskd.tries == 0


def test_idle_push_connections_do_not_block_others(
    riskd: Riskd, transmitter: Transmitter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More idle connections than are served do not block a push."""
    monkeypatch.setattr(receiver, "SECONDS", 1.0)
    with receiving(riskd, pushed(transmitter, tmp_path)) as running:
        idle = [socket.create_connection(("127.0.0.1", running.port), 5) for _ in range(CONNECTIONS + 4)]
        assert running.push(sign(claims(transmitter.issuer)))[0] == 202
        for each in idle:
            each.close()


@pytest.mark.parametrize("count", [1, CONNECTIONS + 4])
def test_a_stop_waits_for_pushes_and_not_for_the_idle(transmitter: Transmitter, tmp_path: Path, count: int) -> None:
    """At a stop, complete pushes are answered, and idle connections are closed."""
    sending, answers = threading.Event(), list[int]()

    def send(_: SecurityEvent) -> None:
        sending.set()
        time.sleep(0.5)

    stop, port = threading.Event(), free_port()
    run = Receiver([pushed(transmitter, tmp_path)], send).run
    receives = threading.Thread(target=run, args=(stop, Address("127.0.0.1", port)))
    receives.start()
    eventually(lambda: listens(port))
    token = sign(claims(transmitter.issuer))
    pushes = threading.Thread(target=lambda: answers.append(Running("127.0.0.1", port, 0).push(token)[0]))
    pushes.start()
    assert sending.wait(10)
    idle = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(count)]
    begun = time.monotonic()
    stop.set()
    receives.join(40)
    assert time.monotonic() - begun < 10
    pushes.join(10)
    assert answers == [202]
    for each in idle:
        each.close()


def test_the_page_has_every_stream_from_the_beginning(riskd: Riskd, transmitter: Transmitter, tmp_path: Path) -> None:
    """The metrics have every stream from the start, so that one that never delivers is noticed."""
    transmitter.instead["/poll"] = refuse
    with receiving(
        riskd, polled(transmitter, tmp_path), replace(pushed(transmitter, tmp_path), name="other")
    ) as running:
        page = running.metrics()
        with urlopen(f"http://127.0.0.1:{running.page}/healthz", timeout=5) as answer:
            assert answer.status == 200
    assert 'riskd_events_heard_timestamp_seconds{delivery="poll",stream="idp"}' in page
    assert 'riskd_events_heard_timestamp_seconds{delivery="push",stream="other"}' in page


def test_a_flood_of_wrong_tokens_is_no_flood_of_lines(
    riskd: Riskd, transmitter: Transmitter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused tokens are logged once per code and interval with their number, and each is counted."""
    with caplog.at_level(logging.INFO), receiving(riskd, pushed(transmitter, tmp_path)) as running:
        for _ in range(10):
            assert running.push("garbage")[0] == 400
        assert running.push(sign(claims("https://other.example.com")))[0] == 400
        assert 'result="refused",stream="idp"} 11.0' in running.metrics()
    told = [vars(each)["fields"] for each in caplog.records if each.message == "event_refused"]
    assert [(each["err"], each["tokens"]) for each in told] == [("invalid_request", 1), ("invalid_issuer", 1)]


def test_no_line_has_a_subject_or_a_token(
    riskd: Riskd, transmitter: Transmitter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No log line contains a subject or a token."""
    good = sign(claims(transmitter.issuer))
    with caplog.at_level(logging.DEBUG), receiving(riskd, pushed(transmitter, tmp_path)) as running:
        for token in (good, good[:-4] + "AAAA", sign(claims(transmitter.issuer, sub_id={**ALEX, "format": "uri"}))):
            running.push(token)
        riskd.away = True
        running.push(good)
        running.push(good, "other")
    told = " ".join(str(vars(each)) for each in caplog.records)
    assert "event_refused" in told
    assert [each for each in ("alex", BEARER, *good.split(".")) if each in told] == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_receiver_exits_if_one_of_its_threads_dies(
    riskd: Riskd, transmitter: Transmitter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a part of the receiver dies, the receiver ends, so that it is restarted."""

    def break_down(_: object, stop: threading.Event) -> None:
        raise LookupError

    monkeypatch.setattr(poll.Poller, "run", break_down)
    assert not Receiver([polled(transmitter, tmp_path)], riskd).run(threading.Event(), Address("127.0.0.1", 0))
