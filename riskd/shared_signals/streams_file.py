"""Reads the streams file: YAML with an entry for each stream. All mistakes are reported at once, with line and
column."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from riskd.adapters.policy_file.document import MISTAKES, Document, Node
from riskd.core.attempt import DOMAINS
from riskd.core.errors import InvalidFile
from riskd.shared_signals.bearer import tokens_in
from riskd.shared_signals.stream import FORMATS, Credentials, Poll, Push, Stream, SubjectRule
from riskd.shared_signals.web import url_problem

STREAM_KEYS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "file": (("streams",), ()),
    "stream": (
        ("issuer", "audience", "domain", "subject"),
        ("jwks_uri", "ca_file", "tenant", "critical_subject_members", "events_a_minute", "poll", "push"),
    ),
    "subject": (("format",), ("member", "issuers")),
    "poll": (("endpoint",), ("token_file", "oauth", "interval")),
    "oauth": (("token_endpoint", "client_id", "secret_file"), ("scope",)),
    "push": (("path", "token_file"), ()),
}
"""Required and optional keys of each kind of mapping."""
STREAM_MISTAKES: Final = {
    "empty": "the file has no streams",
    "bad_url": "{what} {why}",
    "no_authority": "ca_file {file} {why}",
    "no_token": "the token file {file} {why}",
    "one_delivery": "stream {name} needs one delivery method",
    "one_bearer": "poll needs one way to get a token",
    "same_path": "the path is already used by stream {other}",
    "issuers_of_nobody": "issuers is only for identifiers of the format iss_sub",
}
"""The mistakes that only a streams file can have, besides those of any riskd YAML file, and their wording."""
MOST_STREAMS: Final = 64
SHORTEST, LONGEST = 1, 600
"""Bounds of the polling interval, seconds."""
DEFAULT_INTERVAL: Final = 10
MOST_EVENTS: Final = 60_000
"""The largest value of `events_a_minute`."""
_NAME: Final = r"[a-z0-9][a-z0-9_.-]{0,62}"
_MEMBER: Final = r"[A-Za-z0-9_-]{1,64}"
_TEXT: Final = r"[^\s\x00-\x1f]{1,256}"
_PATH: Final = r"/[A-Za-z0-9/_.~-]{1,200}"


class InvalidStreams(InvalidFile):
    """A streams file with mistakes; all of them are listed."""


def read_streams(path: Path) -> list[Stream]:
    """Every stream of the file. Token files are read; nothing is fetched. Raises InvalidStreams."""
    document = Document.of(path, {**MISTAKES, **STREAM_MISTAKES})
    streams = _StreamReader(document, path.parent).streams()
    if not document.problems:
        return streams
    raise InvalidStreams(document.sorted_problems())


class _StreamReader:
    def __init__(self, document: Document, beside: Path) -> None:
        self.document = document
        self._beside = beside
        self._paths: dict[str, str] = {}

    def streams(self) -> list[Stream]:
        """The streams that could be read: not all of them if there are problems."""
        document = self.document
        top = self._fields(document.root(), "file", "the file")
        entries = document.entries(top.get("streams"), "streams")
        if "streams" in top and not entries and not document.problems:
            document.wrong(top["streams"], "empty", "write one: docs/shared-signals.md")
        if len(entries) > MOST_STREAMS:
            document.wrong(top["streams"], "too_many", limit=MOST_STREAMS, what="streams")
        streams = []
        for name, key_node, node in entries:
            document.text(key_node, "the name of a stream", _NAME, "lower-case letters, digits and -_.")
            stream = self._stream(name, key_node, node)
            if stream is not None:
                streams.append(stream)
        return streams

    def _fields(self, node: Node | None, kind: str, what: str) -> dict[str, Node]:
        return self.document.fields(node, what, *STREAM_KEYS[kind])

    def _stream(self, name: str, key_node: Node, node: Node) -> Stream | None:
        document = self.document
        fields = self._fields(node, "stream", f"stream {name}")
        issuer = self._url(fields.get("issuer"), "issuer")
        audience = document.text(fields.get("audience"), "audience", _TEXT, "text without spaces, 256 characters")
        domain = document.choice(fields.get("domain"), "domain", DOMAINS)
        subject = self._subject(fields.get("subject"), issuer or "")
        delivery = self._delivery(name, key_node, fields)
        critical = document.texts(
            fields.get("critical_subject_members"), "critical_subject_members", _MEMBER, "the name of a member"
        )
        jwks_uri = self._url(fields.get("jwks_uri"), "jwks_uri")
        authority = self._authority(fields.get("ca_file"))
        most = document.number(fields.get("events_a_minute"), "events_a_minute", 1, MOST_EVENTS)
        tenant = document.text(fields.get("tenant"), "tenant", r".{0,64}", "at most 64 characters")
        if issuer is None or audience is None or domain is None or subject is None or delivery is None:
            return None
        return Stream(
            name=name,
            issuer=issuer,
            audience=audience,
            jwks_uri=jwks_uri or "",
            domain=domain,
            tenant=tenant or "",
            subject=subject,
            critical=critical,
            delivery=delivery,
            ca_file=authority or "",
            **({} if most is None else {"most": int(most)}),
        )

    def _subject(self, node: Node | None, issuer: str) -> SubjectRule | None:
        document = self.document
        fields = self._fields(node, "subject", "subject")
        form = document.choice(fields.get("format"), "format", tuple(FORMATS))
        member = document.text(fields.get("member"), "member", _MEMBER, "the name of a member")
        issuers = document.texts(fields.get("issuers"), "issuers", _TEXT, "an issuer")
        if "issuers" in fields and form not in (None, "iss_sub"):
            document.wrong(fields["issuers"], "issuers_of_nobody", "remove it")
        return None if form is None else SubjectRule(form, member or "user", issuers or (issuer,))

    def _delivery(self, name: str, key_node: Node, fields: Mapping[str, Node]) -> Poll | Push | None:
        document = self.document
        if ("poll" in fields) == ("push" in fields):
            document.wrong(key_node, "one_delivery", "give either poll or push", name=name)
        poll, push = fields.get("poll"), fields.get("push")
        if poll is not None:
            within = self._fields(poll, "poll", "poll")
            endpoint = self._url(within.get("endpoint"), "endpoint")
            interval = document.seconds(within.get("interval"), "interval")
            if interval is not None and not SHORTEST <= interval <= LONGEST:
                document.wrong(within["interval"], "out_of_range", what="interval", low=SHORTEST, high=LONGEST)
            bearer = self._bearer(poll, within)
            if endpoint is not None and bearer is not None:
                return Poll(endpoint, bearer, interval or DEFAULT_INTERVAL)
        if push is not None:
            within = self._fields(push, "push", "push")
            path = document.text(within.get("path"), "path", _PATH, "a path such as /okta")
            file = self._token(within.get("token_file"))
            if path is not None and self._paths.setdefault(path, name) != name:
                document.wrong(within["path"], "same_path", "choose another", other=self._paths[path])
            if path is not None and file is not None:
                return Push(path, file)
        return None

    def _bearer(self, node: Node, within: Mapping[str, Node]) -> str | Credentials | None:
        document = self.document
        if ("token_file" in within) == ("oauth" in within):
            document.wrong(node, "one_bearer", "give either token_file or oauth")
        if "oauth" not in within:
            return self._token(within.get("token_file"))
        fields = self._fields(within["oauth"], "oauth", "oauth")
        endpoint = self._url(fields.get("token_endpoint"), "token_endpoint")
        client = document.text(fields.get("client_id"), "client_id", _TEXT, "text without spaces, 256 characters")
        scope = document.text(fields.get("scope"), "scope", r"[!-~ ]{1,256}", "scopes of OAuth")
        file = self._token(fields.get("secret_file"), "secret_file")
        if endpoint is None or client is None or file is None:
            return None
        return Credentials(endpoint, client, file, scope or "")

    def _url(self, node: Node | None, what: str) -> str | None:
        url = self.document.text(node, what, _TEXT, "a URL")
        if node is None or url is None:
            return None
        if why := url_problem(url):
            self.document.wrong(node, "bad_url", "write https://HOST/PATH", what=what, why=why)
            return None
        return url

    def _token(self, node: Node | None, what: str = "token_file") -> str | None:
        """The path of a file that holds a token, relative to the directory of the streams file; None if it holds
        none."""
        name = self.document.text(node, what, r"(?s).{1,1000}", "a path")
        if node is None or name is None:
            return None
        file = str(self._beside / name)
        try:
            tokens_in(file)
        except OSError as error:
            self._no_token(node, name, f"cannot be read: {error.strerror}")
        except ValueError as error:
            self._no_token(node, name, str(error))
        else:
            return file
        return None

    def _authority(self, node: Node | None) -> str | None:
        """The path of a file of certificate authorities, likewise."""
        name = self.document.text(node, "ca_file", r"(?s).{1,1000}", "a path")
        if node is None or name is None:
            return None
        file = str(self._beside / name)
        try:
            ssl.create_default_context(cafile=file)
        except OSError as error:
            # If the file exists, OpenSSL says no more than that it holds no certificate.
            none = isinstance(error, ssl.SSLError)
            why = "holds no PEM certificate" if none else f"cannot be read: {error.strerror}"
            remedy = "name the PEM certificate of the authority that signed the transmitter's"
            self.document.wrong(node, "no_authority", remedy, file=name, why=why)
            return None
        return file

    def _no_token(self, node: Node, name: str, why: str) -> None:
        self.document.wrong(node, "no_token", "write the token into it, and nothing else", file=name, why=why)
