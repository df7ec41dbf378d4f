"""A transmitter's keys: discovered, cached, and fetched again at a bounded rate when an unknown key is needed."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from joserfc.jwk import Key

from riskd.host import background
from riskd.shared_signals.keys import (
    AGAIN_SECONDS,
    FRESH_SECONDS,
    MOST_KEYS,
    MOST_TRIED,
    Keys,
    configuration_url,
    usable,
)
from riskd.shared_signals.stream import Away, Refused
from riskd.shared_signals.token import verify
from riskd.shared_signals.web import ANSWER_BYTES, Web
from tests.security.authority import Authority
from tests.shared_signals.transmitter import PrivateKey, Transmitter, claims, jwk, rsa_key, sign, stream, transmitting


@pytest.fixture
def transmitter() -> Iterator[Transmitter]:
    with transmitting() as found:
        yield found


@contextmanager
def trusted_transmitter(folder: Path, host: str = "127.0.0.1") -> Iterator[tuple[Transmitter, str]]:
    """A transmitter with TLS, and its authority's file."""
    authority = Authority()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("transmitter", hosts=[host]).put(folder, "transmitter"))
    file = folder / "authority.pem"
    file.write_bytes(authority.certificate)
    with transmitting(context) as found:
        yield found, str(file)


class Hours:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def keys(transmitter: Transmitter, clock: Callable[[], float] = time.monotonic, *, found: bool = True) -> Keys:
    """Keys of a stream that names their URL, unless they are to be `found` by discovery."""
    jwks_uri = "" if found else f"{transmitter.issuer}/keys"
    return Keys(stream(transmitter.issuer, jwks_uri=jwks_uri), Web(), clock)


def found_in(ours: Keys, kid: str, alg: str = "RS256") -> Key:
    """The first candidate key."""
    return next(ours.find(kid, alg))


@pytest.mark.parametrize(
    ("issuer", "url"),
    [
        ("https://tr.example.com", "https://tr.example.com/.well-known/ssf-configuration"),
        ("https://tr.example.com/", "https://tr.example.com/.well-known/ssf-configuration"),
        ("https://tr.example.com/issuer1", "https://tr.example.com/.well-known/ssf-configuration/issuer1"),
        ("https://tr.example.com:8443/a/b/", "https://tr.example.com:8443/.well-known/ssf-configuration/a/b"),
    ],
)
def test_the_configuration_is_where_ssf_puts_it(issuer: str, url: str) -> None:
    """SSF 1.0, section 7.2.1: the well-known path is between the host and the path of the issuer."""
    assert configuration_url(issuer) == url


@pytest.mark.parametrize("found", [True, False], ids=["configuration", "jwks_uri"])
def test_keys_are_fetched_once(transmitter: Transmitter, found: bool) -> None:
    """Keys are fetched once, when the first is needed; with a configured URL, the configuration is not requested."""
    ours = keys(transmitter, found=found)
    assert transmitter.asked == []
    for _ in range(5):
        assert found_in(ours, "one").kid == "one"
    assert transmitter.asked == (["/.well-known/ssf-configuration"] if found else []) + ["/keys"]


def signed(transmitter: Transmitter, key: PrivateKey, alg: str = "RS256", kid: str | None = None) -> str:
    return sign(claims(transmitter.issuer), key, alg, kid=kid)


def taken(transmitter: Transmitter, ours: Keys, token: str) -> str:
    """The code with which a token is refused, or nothing; Away is raised."""
    try:
        verify(token, stream(transmitter.issuer), ours.find, time.time())
    except Refused as refused:
        return refused.err
    return ""


EC_KEY, OKP_KEY = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()


@pytest.mark.parametrize("published", ["distinct ids", "one id for all", "no ids"])
@pytest.mark.parametrize("kid", [None, "one"])
def test_an_id_is_a_hint(transmitter: Transmitter, published: str, kid: str | None) -> None:
    """Neither tokens (RFC 7515, section 4.1.4) nor keys (RFC 7517, section 4.5) need ids: all candidate keys for the
    algorithm are tried, and an unpublished key verifies nothing."""
    made: list[tuple[PrivateKey, str]] = [(rsa_key(), "RS256"), (rsa_key(1), "RS256"), (EC_KEY, "ES256")]
    made += [(OKP_KEY, "Ed25519"), (rsa_key(2), "PS256")]
    transmitter.keys = []
    for number, (key, _) in enumerate(made):
        public = jwk(key, "one" if published == "one id for all" else f"key {number}")
        transmitter.keys.append({**public, "kid": None} if published == "no ids" else public)
    hours = Hours()
    ours, named = keys(transmitter, hours, found=False), published != "distinct ids" or kid is None
    for key, alg in made:
        hours.now += AGAIN_SECONDS
        assert taken(transmitter, ours, signed(transmitter, key, alg, kid)) == ("" if named else "invalid_key")
    hours.now += AGAIN_SECONDS
    forged = signed(transmitter, rsa_key(3), "RS256", kid)
    assert taken(transmitter, ours, forged) == ("authentication_failed" if named else "invalid_key")


def test_a_token_without_an_id_may_be_by_a_new_key(transmitter: Transmitter) -> None:
    """After a rotation, a token without a key id makes the new keys be fetched, at a bounded rate."""
    clock = Hours()
    ours = keys(transmitter, clock, found=False)
    assert taken(transmitter, ours, signed(transmitter, rsa_key())) == ""
    transmitter.keys = [jwk(rsa_key(1), "two")]
    clock.now += AGAIN_SECONDS
    assert taken(transmitter, ours, signed(transmitter, rsa_key(1))) == ""
    assert transmitter.asked == ["/keys"] * 2
    for _ in range(50):
        with pytest.raises(Away):
            taken(transmitter, ours, signed(transmitter, rsa_key()))
    assert transmitter.asked == ["/keys"] * 2
    clock.now += AGAIN_SECONDS
    assert taken(transmitter, ours, signed(transmitter, rsa_key())) == "authentication_failed"


def test_a_token_is_tried_by_few_keys(transmitter: Transmitter) -> None:
    """Few keys are tried per token, so that a token cannot cause much computation."""
    transmitter.keys = [jwk(rsa_key(), "one") for _ in range(MOST_KEYS)]
    ours = keys(transmitter, found=False)
    assert len(list(ours.find("one", "RS256"))) == MOST_TRIED
    assert list(ours.find("one", "ES256")) == []


def test_a_key_that_is_new_is_fetched(transmitter: Transmitter) -> None:
    """After a rotation, the first token with the new key makes it be fetched; the old key is dropped."""
    clock = Hours()
    ours = keys(transmitter, clock, found=False)
    found_in(ours, "one")
    transmitter.keys = [jwk(rsa_key(1), "two")]
    clock.now += AGAIN_SECONDS
    assert found_in(ours, "two").kid == "two"
    clock.now += AGAIN_SECONDS
    with pytest.raises(Refused, match="invalid_key"):
        found_in(ours, "one")


def test_a_withdrawn_key_is_dropped_within_a_day(transmitter: Transmitter) -> None:
    """A withdrawn key is dropped within a day, even without tokens by other keys."""
    clock = Hours()
    ours = keys(transmitter, clock, found=False)
    found_in(ours, "one")
    transmitter.keys = [jwk(rsa_key(1), "two")]
    clock.now += FRESH_SECONDS - 1
    assert found_in(ours, "one").kid == "one"
    clock.now += 1
    with pytest.raises(Refused, match="invalid_key"):
        found_in(ours, "one")


def test_unknown_key_ids_do_not_multiply_key_fetches(transmitter: Transmitter) -> None:
    """Tokens with unknown keys cause at most one fetch per interval; known keys are found meanwhile."""
    clock = Hours()
    ours = keys(transmitter, clock, found=False)
    found_in(ours, "one")
    clock.now += AGAIN_SECONDS
    with pytest.raises(Refused, match="invalid_key"):
        found_in(ours, "none")
    for number in range(100):
        with pytest.raises(Away):
            found_in(ours, f"none {number}")
    assert found_in(ours, "one").kid == "one"
    assert transmitter.asked == ["/keys"] * 2


def test_keys_that_another_fetched_are_used(transmitter: Transmitter) -> None:
    """If another thread fetched the keys just before, they are used."""
    ours = keys(transmitter, found=False)
    lock = ours._lock

    class Between:
        """The lock, which another has before us."""

        def acquire(self, *, blocking: bool) -> bool:
            ours._lock = lock
            ours.fetch()
            return lock.acquire(blocking=blocking)

    ours._lock = Between()  # type: ignore[assignment]
    assert found_in(ours, "one").kid == "one"
    assert transmitter.asked == ["/keys"]


def test_a_hanging_fetch_blocks_one_thread_only(transmitter: Transmitter) -> None:
    """A hanging transmitter blocks one thread only."""
    begun, go = threading.Event(), threading.Event()

    def hang(handler: BaseHTTPRequestHandler) -> None:
        begun.set()
        go.wait(10)
        handler.send_error(500)

    transmitter.instead["/keys"] = hang
    ours = keys(transmitter, found=False)

    def find() -> None:
        with pytest.raises(Away, match="answers 500"):
            found_in(ours, "one")

    first = threading.Thread(target=find)
    first.start()
    assert begun.wait(5)
    with pytest.raises(Away, match="being fetched"):
        found_in(ours, "one")
    go.set()
    first.join()


def moved(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(302)
    handler.send_header("Location", "/elsewhere")
    handler.end_headers()


def status(code: int) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda handler: handler.send_error(code)


def text(content: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(content)

    return write


def cut_off(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"keys": []}')


def garbage(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"\x00\xff\r\n\r\n")


def closed(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


ANSWERS: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
    "not there": status(404),
    "a fault": status(500),
    "elsewhere": moved,
    "no JSON": text(b"<html>"),
    "a list": text(b"[]"),
    "keys that are none": text(b'{"keys": [1]}'),
    "no keys": text(b'{"keys": []}'),
    "keys of no use": text(b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "one"}]}'),
    "without an end": text(b'{"keys": [' + b"[" * ANSWER_BYTES),
    "cut off": cut_off,
    "no HTTP": garbage,
    "nothing": closed,
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_tokens_wait_while_the_key_set_is_invalid(
    transmitter: Transmitter, answer: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    """If the answer is no key set, or a redirect, tokens wait and none is refused."""
    transmitter.instead["/keys"] = answer
    with pytest.raises(Away):
        found_in(keys(transmitter, found=False), "one")
    assert transmitter.asked == ["/keys"]


@pytest.mark.parametrize(
    "configuration",
    [
        b'{"issuer": "https://other.example.com", "jwks_uri": "%s/keys"}',
        b'{"issuer": "%s", "jwks_uri": "http://10.0.0.1/keys"}',
        b'{"issuer": "%s", "jwks_uri": "file:///etc/passwd"}',
        b'{"issuer": "%s", "jwks_uri": "nonsense"}',
        b'{"issuer": "%s"}',
    ],
    ids=["another issuer", "plaintext", "a file", "nonsense", "none"],
)
def test_a_configuration_is_believed_for_its_own_issuer(transmitter: Transmitter, configuration: bytes) -> None:
    """SSF 1.0, section 7.2.3: a configuration must name its issuer, and point to a URL with TLS or on this machine."""
    whole = configuration.replace(b"%s", transmitter.issuer.encode())
    transmitter.instead["/.well-known/ssf-configuration"] = text(whole)
    with pytest.raises(Away):
        found_in(keys(transmitter), "one")
    assert transmitter.asked == ["/.well-known/ssf-configuration"]


def test_a_configuration_from_elsewhere_points_to_nothing_of_this_machine(
    transmitter: Transmitter, tmp_path: Path
) -> None:
    """A remote transmitter's configuration may not point to a plaintext URL on this machine."""
    with trusted_transmitter(tmp_path) as (other, authority):
        pointing = f'{{"issuer": "{other.issuer}", "jwks_uri": "{transmitter.issuer}/keys"}}'
        other.instead["/.well-known/ssf-configuration"] = text(pointing.encode())
        with pytest.raises(Away, match="is not https"):
            found_in(Keys(stream(other.issuer), Web(authority)), "one")
    assert transmitter.asked == []


def test_a_configuration_says_what_is_critical(transmitter: Transmitter) -> None:
    """The configuration can add critical subject members."""
    transmitter.critical = ["tenant"]
    ours = keys(transmitter)
    found_in(ours, "one")
    assert ours.critical == {"tenant"}


def test_an_endless_answer_is_aborted(transmitter: Transmitter) -> None:
    """An answer longer than the limit is aborted."""
    transmitter.instead["/keys"] = text(b" " * (ANSWER_BYTES + 1))
    with pytest.raises(Away, match="is longer than"):
        Web().ask(f"{transmitter.issuer}/keys", 5)


def test_the_timeout_covers_the_whole_answer(transmitter: Transmitter) -> None:
    """The timeout covers the whole answer, not each byte."""

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(100):
            handler.wfile.write(b"X: y\r\n")
            time.sleep(0.05)

    transmitter.instead["/keys"] = drip
    begun = time.monotonic()
    with pytest.raises(Away):
        Web().ask(f"{transmitter.issuer}/keys", 0.5)
    assert time.monotonic() - begun < 3


@contextmanager
def resolved(monkeypatch: pytest.MonkeyPatch, port: int) -> Iterator[None]:
    """Every name has two addresses: one that accepts no connection, and then this port."""
    with socket.socket() as dead, ExitStack() as filling:
        dead.bind(("127.0.0.1", 0))
        dead.listen(0)
        for _ in range(4):
            waiting = filling.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(dead.getsockname())
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", address)
            for address in (dead.getsockname(), ("127.0.0.1", port))
        ]
        with monkeypatch.context() as patch:
            patch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
            yield


def test_of_a_host_with_a_dead_address_the_next_is_asked(
    transmitter: Transmitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a host's first address is dead, the next one is tried within the time."""
    monkeypatch.setattr("riskd.shared_signals.web.CONNECT_SECONDS", 0.2)
    with resolved(monkeypatch, transmitter.server_port):
        assert Web().ask(f"{transmitter.issuer}/keys", 5).status == 200


def test_a_process_without_threads_does_not_blame_the_transmitter(
    transmitter: Transmitter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If no thread can be started for a request, the log says so, and the request can be sent once there is one."""
    monkeypatch.setattr(background, "QUIET_SECONDS", 0.0)
    url = f"{transmitter.issuer}/keys"
    threading.stack_size(1 << 46)  # which no machine can provide
    try:
        with pytest.raises(Away, match="there is no thread"):
            Web().ask(url, 5)
    finally:
        threading.stack_size(0)
    assert [record.msg.partition(":")[0] for record in caplog.records] == ["no_thread"]
    assert Web().ask(url, 5).status == 200


def test_a_late_connection_is_closed(transmitter: Transmitter, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is established after the timeout is closed."""

    def drip(handler: BaseHTTPRequestHandler) -> None:
        for _ in range(100):
            handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            time.sleep(0.05)

    transmitter.instead["/keys"] = drip
    with resolved(monkeypatch, transmitter.server_port):
        begun = time.monotonic()
        with pytest.raises(Away, match="did not answer in time"):
            Web().ask(f"{transmitter.issuer}/keys", 0.5)
    assert time.monotonic() - begun < 3


def without(key: dict[str, object], *names: str) -> dict[str, object]:
    return {name: value for name, value in key.items() if name not in names}


@pytest.mark.parametrize(
    ("key", "used"),
    [
        (jwk(rsa_key(), "k"), True),
        (jwk(rsa_key(), "k", alg="RS256", key_ops=["verify"], x5t="abc", exp=1), True),
        (jwk(ec.generate_private_key(ec.SECP256R1()), "k"), True),
        (jwk(ed25519.Ed25519PrivateKey.generate(), "k"), True),
        (jwk(rsa_key(2, 1024), "k"), False),
        (jwk(ec.generate_private_key(ec.SECP384R1()), "k"), False),
        (jwk(rsa_key(), "k", use="enc"), False),
        ({**jwk(rsa_key(), "k", use="enc"), "key_ops": "verify"}, False),
        (without(jwk(rsa_key(), "k", use="enc"), "key_ops"), False),
        (without(jwk(rsa_key(), "k"), "key_ops", "use"), True),
        (jwk(rsa_key(), "k", n="AQAB"), False),
        (jwk(rsa_key(), "k", n="_" * 2000), False),
        (jwk(rsa_key(), "k", n="é"), False),
        (jwk(rsa_key(), "k", n=5), False),
        (jwk(rsa_key(), "k", e=""), False),
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "k"}, False),
        ({"kty": "AKP", "kid": "k"}, False),
        ({"kty": ["RSA"]}, False),
        ({}, False),
    ],
)
def test_only_public_keys_of_use_are_used(key: dict[str, object], used: bool) -> None:
    """RSA keys of 2048 to 8192 bits, P-256 and Ed25519 are used; others, and secret ones, are ignored."""
    assert (usable(key) is not None) == used


def test_the_private_part_of_a_key_is_ignored() -> None:
    """The private part of a key is ignored: here, using it would take hours of factoring."""
    modulus = 338035584343128303932893021122137250437441973 * 2**1900 + 1
    numbers = {"n": modulus, "e": 65537, "d": pow(65537, -1, modulus - 1)}
    texts = {
        name: urlsafe_b64encode(each.to_bytes(256).lstrip(b"\0")).rstrip(b"=").decode()
        for name, each in numbers.items()
    }
    found = usable({"kty": "RSA", "kid": "k", **texts})
    assert found is not None
    assert not found.is_private


def test_of_many_keys_some_are_read(transmitter: Transmitter) -> None:
    """Of a large key set, a bounded number is read."""
    transmitter.keys = [jwk(rsa_key(), f"k{number}") for number in range(200)]
    assert keys(transmitter).fetch() == MOST_KEYS


@pytest.mark.parametrize(
    ("host", "trusted", "why"),
    [
        ("127.0.0.1", True, ""),
        ("127.0.0.1", False, "its certificate is not trusted: unable to get local issuer certificate"),
        ("10.0.0.1", True, "its certificate is not trusted: IP address mismatch"),
    ],
    ids=["right", "another authority", "another host"],
)
def test_a_transmitter_shows_who_it_is(tmp_path: Path, host: str, trusted: bool, why: str) -> None:
    """A transmitter's certificate must be for its host, by an authority that the stream or the machine trusts."""
    with trusted_transmitter(tmp_path, host) as (transmitter, authority):
        ours = Keys(stream(transmitter.issuer), Web(authority if trusted else ""))
        if not why:
            assert found_in(ours, "one").kid == "one"
            return
        with pytest.raises(Away, match=why):
            found_in(ours, "one")
        assert transmitter.asked == []
