"""The provider of docs/identity-providers.md with its accounts, a browser that signs in to it, and an API's side."""

from __future__ import annotations

import base64
import http.client
import json
import re
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from tests.e2e.clients import pages
from tests.e2e.clients.pages import App
from tests.e2e.service import PATIENCE, ROOT
from tests.e2e.step_up import API, APP, FORM, digest_of

PAGE: Final = (ROOT / "docs" / "identity-providers.md").read_text(encoding="utf-8")
ISSUER: Final = "https://login.example"
ACCOUNTS: Final[dict[str, tuple[str, ...]]] = {"kim": ("otp",), "lee": (), "max": ("passkey",), "pat": ("otp",)}
"""The factors of accounts, by the first part of their names."""
PROOFS: Final = {"pwd": "correct horse", "otp": "123456", "passkey": "signed"}
CHROME: Final = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/153.0.0.0 Safari/537.36"
)
_CLIENTS: Final = [
    {
        "client_id": "app",
        "redirect_uris": [APP],
        "token_endpoint_auth_method": "none",
        "backchannel_logout_uri": "https://app.example/logout",
        "backchannel_logout_session_required": True,
    },
    {"client_id": "api", "client_secret": "secret", "redirect_uris": [], "response_types": [], "grant_types": []},
]


def app(folder: Path) -> App:
    """An application with the code of the page beside that of the client, and more patience."""
    made = pages.node_app(folder)
    *own, pack, auth0 = pages.blocks(PAGE, "js")
    files = {"provider.mjs": "\n".join(own), "pack.mjs": pack}
    limits = {
        "client.mjs": ((folder / "client.mjs").read_text(), "ms = 150", "ms = "),
        "auth0.cjs": (auth0, "+ 1500", "+ "),
    }
    for name, (text, limit, start) in limits.items():
        assert text.count(limit) == 1, "its deadline, which is too short for a busy machine"
        files[name] = text.replace(limit, f"{start}{PATIENCE * 1000:.0f}")
    files |= {name: (pages.HERE / name).read_text() for name in ("provide.mjs", "act.mjs")}
    for name, text in files.items():
        (folder / name).write_text(text)
    return made


@contextmanager
def provider(made: App, target: str) -> Iterator[int]:
    """The port of a running provider that asks the service at `target`."""
    given = {"target": target, "issuer": ISSUER, "clients": _CLIENTS, "accounts": ACCOUNTS, "proofs": PROOFS}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    log = made.folder / "provider.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            ["node", "provide.mjs"], env=made.environment, cwd=made.folder, stderr=errors, **pipes
        ) as process,
    ):
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(given))
            process.stdin.close()
            line = process.stdout.readline()
            assert line, log.read_text()
            yield int(line)
        finally:
            process.kill()


class Browser:
    """Follows redirects and keeps cookies, behind a proxy with TLS that notes its address.

    `mark` is the second part of the names of the accounts that it signs in to.
    """

    def __init__(self, port: int, mark: object, address: str, user_agent: str = CHROME) -> None:
        self.cookies: dict[str, str] = {}
        self._port, self._mark, self._address, self._user_agent = port, mark, address, user_agent
        self._url = self._verifier = ""

    def sign_out(self) -> None:
        """Forget all but the device."""
        self.cookies = {name: value for name, value in self.cookies.items() if name.startswith("__Host-device")}

    def authorize(self, **asked: str) -> dict[str, str]:
        """Ask for a code with PKCE: what came back to the client, or the fields of the form that is shown."""
        self._verifier = secrets.token_urlsafe(32)
        asking = {
            "response_type": "code",
            "client_id": "app",
            "redirect_uri": APP,
            "scope": "openid",
            "state": secrets.token_urlsafe(8),
            "code_challenge": digest_of(self._verifier),
            "code_challenge_method": "S256",
            **asked,
        }
        return self._follow("GET", f"{ISSUER}/auth?{urlencode(asking)}")

    def send(self, **form: str) -> dict[str, str]:
        """Send the form that is shown, as `authorize`."""
        return self._follow("POST", self._url, form)

    def resume(self) -> dict[str, str]:
        """Leave the form that is shown and go where a complete sign-in would lead."""
        return self._follow("GET", self._url.replace("/interaction/", "/auth/"))

    def enter(self, login: str, password: str) -> dict[str, str]:
        """Send the form for the password, as `authorize`."""
        return self.send(login=f"{login}-{self._mark}", password=password)

    def sign_in(self, login: str, answer: str = "", **asked: str) -> dict[str, str]:
        """Ask for a code and send what the forms ask for."""
        came = self.authorize(**asked)
        if "login" in came:
            came = self.enter(login, PROOFS["pwd"])
        return self.send(answer=answer) if answer and "answer" in came else came

    def tokens(self, code: str) -> tuple[dict[str, Any], str]:
        """The claims of the id token, and the access token."""
        form = {"grant_type": "authorization_code", "client_id": "app", "code": code, "redirect_uri": APP}
        status, _, text = self._call("POST", f"{ISSUER}/token", {**form, "code_verifier": self._verifier})
        assert status == 200, text
        told = json.loads(text)
        claims = str(told["id_token"]).split(".")[1]
        return json.loads(base64.urlsafe_b64decode(claims + "==")), str(told["access_token"])

    def claims(self, login: str, answer: str = "", **asked: str) -> dict[str, Any]:
        """Sign in, and what the id token says of how."""
        found, _ = self.tokens(self.sign_in(login, answer, **asked)["code"])
        assert found["sub"] == f"{login}-{self._mark}"
        return {name: found[name] for name in ("acr", "amr")}

    def introspect(self, token: str) -> dict[str, Any]:
        """What the provider tells the API of a token."""
        url = f"{ISSUER}/token/introspection"
        told: dict[str, Any] = json.loads(self._call("POST", url, {"token": token}, Authorization=API)[2])
        return told

    def _follow(self, method: str, url: str, form: Mapping[str, str] | None = None) -> dict[str, str]:
        for _ in range(9):
            status, location, text = self._call(method, url, form)
            if not location:
                assert status == 200, text
                self._url = url
                return dict(re.findall(r'<input name="(\w+)"(?: title="(\w+)")?', text))
            method, url, form = "GET", urljoin(url, location), None
            if url.startswith(APP):
                return dict(parse_qsl(urlsplit(url).query))
        raise AssertionError("too many redirects")

    def _call(
        self, method: str, url: str, form: Mapping[str, str] | None = None, **headers: str
    ) -> tuple[int, str, str]:
        parts = urlsplit(url)
        sent = {
            "Host": parts.netloc,
            "User-Agent": self._user_agent,
            "X-Forwarded-For": f"203.0.113.9, {self._address}",
            "X-Forwarded-Proto": "https",
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            **({"Content-Type": FORM} if form is not None else {}),
            **headers,
        }
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        try:
            body = urlencode(form) if form is not None else None
            connection.request(method, f"{parts.path}?{parts.query}", body, sent)
            reply = connection.getresponse()
            for cookie in reply.headers.get_all("Set-Cookie", []):
                (each,) = SimpleCookie(cookie).values()
                kept = each["secure"] and each["path"] == "/" and not each["domain"]
                if kept or not each.key.startswith("__Host-"):
                    self.cookies[each.key] = each.value
            return reply.status, reply.headers.get("Location", ""), reply.read().decode()
        finally:
            connection.close()
