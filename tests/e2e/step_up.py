"""A step-up as it goes over the wire: a client, an authorization server and a resource server that asks riskd.

`python -m tests.e2e.step_up` rewrites the exchanges in docs/step-up.md. The resource server decides by the code of
that page.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import re
import secrets
import struct
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit
from urllib.request import parse_http_list, parse_keqv_list

import jwt
from google.protobuf.timestamp_pb2 import Timestamp

from riskd._proto.riskd.v1 import assessment_pb2, attempt_pb2, risk_pb2, risk_pb2_grpc
from tests.e2e.service import LONDON, PATIENCE, ROOT, serving

PAGE: Final = ROOT / "docs" / "step-up.md"
BLOCK: Final = re.compile(r"<!-- wire: (\w+) -->\n```http\n(.*?)```\n", re.DOTALL)
SHOWN: Final = ("Host", "Authorization", "Content-Type", "WWW-Authenticate", "Location")
FORM: Final = "application/x-www-form-urlencoded"
APP: Final = "https://app.example/callback"
API: Final = "Basic " + base64.b64encode(b"api:secret").decode()
"""The resource server's credentials at the authorization server."""
PASSWORD: Final = "correct horse"
SECRET: Final = b"12345678901234567890"
"""The secret of the examples in RFC 6238."""

Answer = tuple[int, dict[str, str], str]


def one_time_code(now: float) -> str:
    """RFC 6238: six digits for the present half minute."""
    digest = hmac.digest(SECRET, struct.pack(">Q", int(now) // 30), "sha1")
    (number,) = struct.unpack(">I", digest[digest[-1] & 15 :][:4])
    return f"{(number & 0x7FFFFFFF) % 1_000_000:06}"


def digest_of(verifier: str) -> str:
    """RFC 7636, section 4.2: S256."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def as_json(status: int, content: Mapping[str, object]) -> Answer:
    """An answer with a JSON body."""
    return status, {"Content-Type": "application/json"}, json.dumps(content)


class Wire:
    """Every exchange between the three, by name, in the form that the page shows, with ports, secrets and times
    replaced by names."""

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def call(self, name: str, method: str, url: str, body: str = "", **headers: str) -> Answer:
        """One request and its answer."""
        parts = urlsplit(url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        sent = {"Host": parts.netloc, **{key.replace("_", "-"): value for key, value in headers.items()}}
        connection = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE)
        try:
            connection.request(method, target, body or None, sent)
            reply = connection.getresponse()
            got = {key: value for key, value in reply.getheaders() if key in SHOWN}
            answer = reply.status, got, reply.read().decode()
            first, status = f"{method} {target} HTTP/1.1", f"HTTP/1.1 {reply.status} {reply.reason}"
            self.seen[name] = f"{_text(first, sent, body)}\n{_text(status, got, answer[2])}"
        finally:
            connection.close()
        return answer

    def named(self, value: str, name: str) -> str:
        """Replace this value by a name from now on."""
        self._names[value] = name
        return value

    def page(self) -> dict[str, str]:
        """The page's text of each exchange."""
        return {name: self._renamed(text) for name, text in self.seen.items()}

    def _renamed(self, text: str) -> str:
        for value in sorted(self._names, key=len, reverse=True):
            text = text.replace(value, self._names[value])
        return text


def _text(first: str, headers: Mapping[str, str], body: str) -> str:
    lines = [first, *(f"{key}: {headers[key]}" for key in SHOWN if key in headers)]
    return "\n".join(lines) + "\n" + (f"\n{body}\n" if body else "")


@contextmanager
def listening(answer: Callable[[str, dict[str, str], str, str], Answer]) -> Iterator[str]:
    """An HTTP server on a free port; `answer` gets path, query, body and the bearer token."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            status, headers, content = answer(parts.path, dict(parse_qsl(parts.query)), body, token)
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content.encode())))
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class AuthorizationServer:
    """OAuth 2.1 with one user, a password and a one-time code: authorization, token, introspection (RFC 7662)."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._codes: dict[str, tuple[str, dict[str, object]]] = {}
        self._tokens: dict[str, dict[str, object]] = {}

    def answer(self, path: str, query: dict[str, str], body: str, token: str) -> Answer:
        """Answer one request."""
        form = dict(parse_qsl(body))
        if path == "/authorize":
            return self._authorize(query, form)
        if path == "/token":
            return self._exchange(form)
        if not hmac.compare_digest(token, API):
            return 401, {"WWW-Authenticate": "Basic"}, ""
        return as_json(200, self._tokens.get(form.get("token", ""), {"active": False}))

    def _authorize(self, query: dict[str, str], form: dict[str, str]) -> Answer:
        """The person submits the sign-in form with both factors, which count as one authentication."""
        now = int(time.time())
        wanted = "mfa" in query.get("acr_values", "").split()
        if form.get("password") != PASSWORD:
            return 401, {}, ""
        if wanted and form.get("code") not in (one_time_code(now), one_time_code(now - 30)):
            return 401, {}, ""
        context: dict[str, object] = {"acr": "mfa", "amr": ["pwd", "otp"]} if wanted else {"amr": ["pwd"]}
        code = secrets.token_urlsafe(12)
        grant = {"active": True, "sub": self._subject, "sid": "s-1", "auth_time": now, **context}
        self._codes[code] = query["code_challenge"], grant
        location = f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"
        return 302, {"Location": location}, ""

    def _exchange(self, form: dict[str, str]) -> Answer:
        challenge, grant = self._codes.pop(form.get("code", ""), ("", {}))
        if not hmac.compare_digest(challenge, digest_of(form.get("code_verifier", ""))):
            return as_json(400, {"error": "invalid_grant"})
        token = secrets.token_urlsafe(12)
        self._tokens[token] = grant
        return as_json(200, {"access_token": token, "token_type": "Bearer", "expires_in": 300})


def page_code() -> dict[str, Any]:
    """The names that the page's Python blocks define."""
    names: dict[str, Any] = {
        "assessment_pb2": assessment_pb2,
        "attempt_pb2": attempt_pb2,
        "risk_pb2": risk_pb2,
        "Timestamp": Timestamp,
        "jwt": jwt,
        "time": time,
        "uuid": uuid,
    }
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    return names


class ResourceServer:
    """Payments; riskd decides who may pay, through the page's code."""

    def __init__(self, wire: Wire, authority: str, risk: risk_pb2_grpc.RiskServiceStub) -> None:
        self._wire, self._authority, self._risk = wire, authority, risk
        self._waiting: dict[str, str] = {}
        self._payment = page_code()["payment"]

    def answer(self, _path: str, _query: dict[str, str], _body: str, token: str) -> Answer:
        """Answer one request, after introspecting its token."""
        url, body = f"{self._authority}/introspect", urlencode({"token": token})
        _, _, told = self._wire.call("introspect", "POST", url, body, Authorization=API, Content_Type=FORM)
        known = json.loads(told)
        if not known["active"]:
            return 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}, ""
        self._wire.named(f'"auth_time": {known["auth_time"]}', '"auth_time": 1795608000')
        status, headers = self._payment(self._risk, known, LONDON, self._waiting, deadline=PATIENCE)
        return status, headers, ""


class Client:
    """An app that knows OAuth and nothing about riskd."""

    def __init__(self, wire: Wire, authority: str, api: str) -> None:
        self._wire, self._authority, self._api = wire, authority, api

    def sign_in(self, name: str, factors: Mapping[str, str], asked: Mapping[str, str]) -> str | None:
        """A token from the authorization server with what the challenge requires; None if refused."""
        wire, verifier = self._wire, secrets.token_urlsafe(32)
        asking = {
            "response_type": "code",
            "client_id": "app",
            "redirect_uri": APP,
            "state": wire.named(secrets.token_urlsafe(8), f"state-of-{name}"),
            "code_challenge": wire.named(digest_of(verifier), f"digest-of-{name}"),
            "code_challenge_method": "S256",
            **asked,
        }
        url = f"{self._authority}/authorize?{urlencode(asking)}"
        status, headers, _ = wire.call(f"{name}_authorize", "POST", url, urlencode(factors), Content_Type=FORM)
        if status != 302:
            return None
        back = dict(parse_qsl(urlsplit(headers["Location"]).query))
        assert back["state"] == asking["state"]
        form = {
            "grant_type": "authorization_code",
            "client_id": "app",
            "code": wire.named(back["code"], f"code-of-{name}"),
            "code_verifier": wire.named(verifier, f"verifier-of-{name}"),
        }
        reply = wire.call(f"{name}_token", "POST", f"{self._authority}/token", urlencode(form), Content_Type=FORM)
        return wire.named(str(json.loads(reply[2])["access_token"]), f"token-of-{name}")

    def pay(self, name: str, token: str) -> tuple[int, dict[str, str]]:
        """One payment, and the API's challenge if it refuses."""
        status, headers, _ = self._wire.call(name, "POST", f"{self._api}/payments", Authorization=f"Bearer {token}")
        scheme, _, rest = headers.get("WWW-Authenticate", "").partition(" ")
        told = parse_keqv_list(parse_http_list(rest)) if scheme == "Bearer" else {}
        return status, {key: told[key] for key in ("error", "acr_values", "max_age") if key in told}


@contextmanager
def stage(risk: risk_pb2_grpc.RiskServiceStub) -> Iterator[tuple[Client, Wire]]:
    """All three, with riskd behind the resource server, for a new subject."""
    wire = Wire()
    subject = wire.named(f"alex-{secrets.token_hex(4)}", "alex")
    with ExitStack() as stack:
        authority = stack.enter_context(listening(AuthorizationServer(subject).answer))
        api = stack.enter_context(listening(ResourceServer(wire, authority, risk).answer))
        wire.named(API, "Basic secret-of-api")
        wire.named(authority.removeprefix("http://"), "login.example")
        wire.named(api.removeprefix("http://"), "api.example")
        yield Client(wire, authority, api), wire


def play(client: Client, wire: Wire) -> None:
    """Sign in with a password, pay, step up when challenged, and pay again."""
    first = client.sign_in("password", {"password": PASSWORD}, {})
    assert first is not None
    status, told = client.pay("challenge", first)
    assert (status, told.pop("error")) == (401, "insufficient_user_authentication")
    code = wire.named(one_time_code(time.time()), "123456")
    second = client.sign_in("step_up", {"password": PASSWORD, "code": code}, told)
    assert second is not None
    assert client.pay("served", second) == (200, {})


def main() -> None:
    """Rewrite the page's exchanges."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as service, service.stub() as risk:
        with stage(risk) as (client, wire):
            play(client, wire)
        seen = wire.page()
        page = PAGE.read_text(encoding="utf-8")
        page = BLOCK.sub(lambda found: f"<!-- wire: {found[1]} -->\n```http\n{seen[found[1]]}```\n", page)
        PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
