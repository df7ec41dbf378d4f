"""A transmitter of shared signals for tests.

It signs with real keys, publishes them, and delivers events over HTTP. It signs with PyJWT, while riskd verifies with
another library, so that the two sides are independent.
"""

from __future__ import annotations

import json
import math
import ssl
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from riskd.shared_signals.stream import Poll, Push, Stream, SubjectRule

AUDIENCE: Final = "https://riskd.example.com"
CAEP: Final = "https://schemas.openid.net/secevent/caep/event-type/"
RISC: Final = "https://schemas.openid.net/secevent/risc/event-type/"
SSF: Final = "https://schemas.openid.net/secevent/ssf/event-type/"
HIGH: Final = {"principal": "USER", "current_level": "HIGH", "risk_reason": "PASSWORD_FOUND_IN_DATA_BREACH"}
ALEX: Final = {"format": "email", "email": "alex@example.com"}
BEARER: Final = "a-token-of-the-stream"
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey


@cache
def rsa_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key by number, cached because keys are slow to generate."""
    return rsa.generate_private_key(65537, bits)


def jwk(key: PrivateKey, kid: str, **more: object) -> dict[str, object]:
    """The public key as a transmitter publishes it."""
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        found = RSAAlgorithm.to_jwk(public, as_dict=True)
    elif isinstance(public, ec.EllipticCurvePublicKey):
        found = ECAlgorithm.to_jwk(public, as_dict=True)
    else:
        found = OKPAlgorithm.to_jwk(public, as_dict=True)
    return {**found, "kid": kid, "use": "sig", **more}


def signer() -> jwt.PyJWS:
    """PyJWT with the algorithm name of RFC 9864."""
    made = jwt.PyJWS()
    made.register_algorithm("Ed25519", OKPAlgorithm())
    return made


def sign(
    claims: Mapping[str, object] | bytes,
    key: PrivateKey | bytes | None = None,
    alg: str = "RS256",
    **headers: object,
) -> str:
    """A signed token. A header of None is left out."""
    content = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    header = {"typ": "secevent+jwt", "kid": "one", **headers}
    shown = {name: value for name, value in header.items() if value is not None or name == "typ"}
    used = rsa_key() if key is None else key
    return signer().encode(content, "" if alg == "none" else used, algorithm=alg, headers=shown)


def claims(
    issuer: str, /, event: str = CAEP + "risk-level-change", content: object = HIGH, **more: object
) -> dict[str, object]:
    """The claims of a valid token. A claim of None is left out."""
    whole: dict[str, object] = {
        "iss": issuer,
        "aud": AUDIENCE,
        "iat": int(time.time()),
        "jti": uuid4().hex,
        "txn": "8675309",
        "sub_id": ALEX,
        "events": {event: content},
        **more,
    }
    return {name: value for name, value in whole.items() if value is not None}


def stream(
    issuer: str = "https://idp.example.com/123456789/",
    delivery: Poll | Push | None = None,
    *,
    subject: SubjectRule | None = None,
    jwks_uri: str = "",
    critical: tuple[str, ...] = (),
) -> Stream:
    """A stream of customers, identified by e-mail address."""
    return Stream(
        name="idp",
        issuer=issuer,
        audience=AUDIENCE,
        jwks_uri=jwks_uri,
        domain="customer",
        tenant="",
        subject=subject or SubjectRule("email", "user", (issuer,)),
        critical=critical,
        delivery=delivery or Push("/idp", "unread"),
    )


class Transmitter(ThreadingHTTPServer):
    """Publishes keys and hands out events until they are acknowledged."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.issuer = f"{'https' if tls else 'http'}://127.0.0.1:{self.server_port}"
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.keys: list[dict[str, object]] = [jwk(rsa_key(), "one")]
        self.critical: list[str] = []
        self.waiting: dict[str, str] = {}
        self.acknowledged: list[str] = []
        self.refused: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        self.questions: list[dict[str, object]] = []
        self.bearer = BEARER
        self.until = math.inf
        self.lifetime = 300
        """Lifetime in seconds of the tokens that it issues."""
        self.hold = 0.2
        """Seconds for which a long poll waits."""
        self.instead: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        """Replacement handlers by path."""
        self.changed = threading.Condition()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore receivers that disconnect."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    @property
    def endpoint(self) -> str:
        """The URL for polling."""
        return f"{self.issuer}/poll"

    def queue(self, event: str = CAEP + "risk-level-change", content: object = HIGH, **more: object) -> str:
        """Add an event to be polled, and return its jti."""
        told = claims(self.issuer, event, content, **more)
        return self.put(str(told["jti"]), sign(told))

    def put(self, jti: str, token: str) -> str:
        """Add a token to be polled."""
        with self.changed:
            self.waiting[jti] = token
            self.changed.notify_all()
        return jti

    def knows(self, shown: str) -> bool:
        """Whether the access token is valid."""
        return shown == f"Bearer {self.bearer}" and time.monotonic() < self.until

    def grant(self, shown: str, form: dict[str, list[str]]) -> tuple[dict[str, object], int]:
        """RFC 6749, section 4.4: an access token for a client with the secret."""
        known = b64decode(shown.removeprefix("Basic ")).decode()
        if known != "riskd%2F1:a-secret" or form != {"grant_type": ["client_credentials"], "scope": ["ssf.read"]}:
            return {"error": "invalid_client"}, 401
        self.bearer, self.until = uuid4().hex, time.monotonic() + self.lifetime
        return {"access_token": self.bearer, "token_type": "Bearer", "expires_in": self.lifetime}, 200

    def poll(self, question: dict[str, object]) -> dict[str, object]:
        """RFC 8936: remove what was acknowledged, and return what is left."""
        with self.changed:
            self.questions.append(question)
            for jti in _strings(question.get("ack", [])):
                self.acknowledged.append(jti)
                self.waiting.pop(jti, None)
            errors = question.get("setErrs", {})
            assert isinstance(errors, dict)
            for jti, error in errors.items():
                self.refused[jti] = error
                self.waiting.pop(jti, None)
            most = question["maxEvents"]
            assert isinstance(most, int)
            if most and not question.get("returnImmediately"):
                self.changed.wait_for(lambda: self.waiting, self.hold)
            sets = dict(list(self.waiting.items())[:most])
            return {"sets": sets, "moreAvailable": len(self.waiting) > len(sets)}


class _Handler(BaseHTTPRequestHandler):
    server: Transmitter

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers["Content-Length"])))

    def _serve(self, body: bytes) -> None:
        transmitter = self.server
        transmitter.asked.append(self.path)
        if instead := transmitter.instead.get(self.path):
            instead(self)
        elif self.path == "/.well-known/ssf-configuration":
            self.answer(
                {
                    "issuer": transmitter.issuer,
                    "jwks_uri": f"{transmitter.issuer}/keys",
                    "critical_subject_members": transmitter.critical,
                    "spec_version": "1_0",
                }
            )
        elif self.path == "/keys":
            self.answer({"keys": transmitter.keys})
        elif self.path == "/token":
            self.answer(*transmitter.grant(self.headers["Authorization"], parse_qs(body.decode())))
        elif self.path == "/poll" and transmitter.knows(self.headers["Authorization"]):
            question = json.loads(body)
            if question.get("setErrs") and self.headers["Content-Language"] is None:  # RFC 8936, section 2.6
                self.answer({"error": "in what language?"}, 400)
            else:
                self.answer(transmitter.poll(question))
        else:
            self.answer({"error": "no"}, 401 if self.path == "/poll" else 404)

    def answer(self, content: object, status: int = 200) -> None:
        """Answer with JSON."""
        body = json.dumps(content).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing."""


def _strings(value: object) -> list[str]:
    assert isinstance(value, list)
    return value


@contextmanager
def transmitting(tls: ssl.SSLContext | None = None) -> Iterator[Transmitter]:
    """A running transmitter."""
    with Transmitter(tls) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def bearer_file(folder: Path, token: str = BEARER) -> str:
    """A file with a stream's token."""
    path = folder / "stream.token"
    path.write_text(f"{token}\n", encoding="ascii")
    return str(path)
