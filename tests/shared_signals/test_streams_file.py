"""A streams file is read as a whole, or refused with every mistake, its position and a remedy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from riskd.core.errors import Problem
from riskd.shared_signals.stream import Credentials, Poll, Push, Stream, SubjectRule
from riskd.shared_signals.streams_file import STREAM_MISTAKES, InvalidStreams, read_streams
from tests.shared_signals.transmitter import bearer_file

GOOD = """\
streams:
  okta:
    issuer: https://acme.okta.com
    audience: https://riskd.example.com
    jwks_uri: https://acme.okta.com/oauth2/v1/keys
    domain: workforce
    tenant: acme
    subject:
      format: iss_sub
      issuers: [https://acme.okta.com, https://old.okta.com]
    critical_subject_members: [tenant]
    push:
      path: /okta
      token_file: stream.token
  idp:
    issuer: https://idp.example.com
    audience: riskd
    domain: customer
    subject: {format: email, member: owner}
    poll:
      endpoint: https://idp.example.com/poll
      token_file: stream.token
      interval: 30s
    events_a_minute: 60
"""


def read(folder: Path, text: str) -> list[Stream]:
    bearer_file(folder)
    file = folder / "streams.yaml"
    file.write_text(text, encoding="utf-8")
    return read_streams(file)


def problems(folder: Path, text: str) -> list[Problem]:
    with pytest.raises(InvalidStreams) as refused:
        read(folder, text)
    return list(refused.value.problems)


def test_a_good_file_is_read(tmp_path: Path) -> None:
    """Paths of token files are relative to the streams file."""
    okta, idp = read(tmp_path, GOOD)
    assert okta == Stream(
        name="okta",
        issuer="https://acme.okta.com",
        audience="https://riskd.example.com",
        jwks_uri="https://acme.okta.com/oauth2/v1/keys",
        domain="workforce",
        tenant="acme",
        subject=SubjectRule("iss_sub", "user", ("https://acme.okta.com", "https://old.okta.com")),
        critical=("tenant",),
        delivery=Push("/okta", str(tmp_path / "stream.token")),
    )
    assert idp.subject == SubjectRule("email", "owner", ("https://idp.example.com",))
    assert idp.delivery == Poll("https://idp.example.com/poll", str(tmp_path / "stream.token"), 30)
    assert (idp.jwks_uri, idp.tenant, idp.critical) == ("", "", ())
    assert (okta.most, idp.most) == (600, 60)


def test_a_poll_may_be_given_tokens(tmp_path: Path) -> None:
    """A poll can get access tokens by OAuth, with a secret in a file."""
    oauth = "oauth: {token_endpoint: https://i.example.com/token, client_id: r, secret_file: stream.token, scope: a b}"
    head, _, tail = GOOD.rpartition("token_file: stream.token")
    (_, idp) = read(tmp_path, head + oauth + tail)
    assert isinstance(idp.delivery, Poll)
    assert idp.delivery.bearer == Credentials("https://i.example.com/token", "r", str(tmp_path / "stream.token"), "a b")


def without(line: str, by: str = "") -> str:
    assert line in GOOD
    return GOOD.replace(line, by, 1)


WRONG: dict[str, tuple[str, int, str]] = {
    "empty": ("", 1, "the file has no streams"),
    "no streams": ("streams: {}\n", 1, "the file has no streams"),
    "no YAML": ("streams: [\n", 2, "cannot be read as YAML"),
    "a list": ("- okta\n", 1, "the file must be a mapping, not a list"),
    "an unknown key": (without("    tenant:", "    tennant:"), 7, "unknown key 'tennant' in stream okta"),
    "no issuer": (without("    issuer: https://acme.okta.com\n"), 3, "'issuer' is missing in stream okta"),
    "plaintext": (
        without("issuer: https://acme", "issuer: http://acme"),
        3,
        "issuer must be https (http is allowed only on this machine)",
    ),
    "no URL": (without("issuer: https://acme.okta.com\n", "issuer: acme\n"), 3, "issuer is not a URL"),
    "a user": (
        without("https://idp.example.com/poll", "https://a:b@idp.example.com/poll"),
        21,
        "must have no user name",
    ),
    "another domain": (without("domain: workforce", "domain: staff"), 6, "unknown domain 'staff'"),
    "another format": (without("format: iss_sub", "format: did"), 9, "unknown format 'did'"),
    "issuers of nobody": (
        without("member: owner", "issuers: [https://a.example.com]"),
        19,
        "issuers is only for identifiers of the format iss_sub",
    ),
    "no delivery": (
        without("    push:\n      path: /okta\n      token_file: stream.token\n"),
        2,
        "stream okta needs one delivery method",
    ),
    "a path that is none": (without("path: /okta", "path: okta"), 13, "path 'okta' is not a path such as /okta"),
    "no token file": (
        without("token_file: stream.token", "token_file: none.token"),
        14,
        "the token file none.token cannot be read: No such file",
    ),
    "an empty token file": (
        without("token_file: stream.token", "token_file: empty.token"),
        14,
        "the token file empty.token holds no token",
    ),
    "no authority": (
        without("    tenant: acme\n", "    ca_file: none.pem\n"),
        7,
        "ca_file none.pem cannot be read: No such file",
    ),
    "an authority that is none": (
        without("    tenant: acme\n", "    ca_file: empty.token\n"),
        7,
        "ca_file empty.token holds no PEM certificate",
    ),
    "no token for a poll": (
        GOOD.rpartition("      token_file: stream.token\n")[0] + "      interval: 30s\n",
        21,
        "poll needs one way to get a token",
    ),
    "no secret": (
        GOOD.rpartition("      token_file")[0]
        + "      oauth: {token_endpoint: https://idp.example.com/token, client_id: riskd, secret_file: none}\n",
        22,
        "the token file none cannot be read",
    ),
    "a long interval": (without("interval: 30s", "interval: 2h"), 23, "interval must be between 1 and 600"),
    "no interval": (without("interval: 30s", "interval: 30"), 23, "interval must be text, not a number"),
    "no events at all": (
        without("events_a_minute: 60", "events_a_minute: 0"),
        24,
        "events_a_minute must be between 1 and 60000",
    ),
    "a name": (without("  okta:", "  Okta:"), 2, "the name of a stream 'Okta' is not lower-case letters"),
    "twice": (without("  idp:", "  okta:"), 15, "'okta' is given twice"),
}


@pytest.mark.parametrize(("text", "line", "what"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_reported_with_its_line(tmp_path: Path, text: str, line: int, what: str) -> None:
    """Each mistake gives one problem with its line."""
    (tmp_path / "empty.token").write_text("\n")
    (problem,) = problems(tmp_path, text)
    assert problem.where == str(tmp_path / "streams.yaml")
    assert what in problem.what
    assert problem.line == line


def test_two_streams_have_two_paths(tmp_path: Path) -> None:
    """Two streams cannot share a path, because a token belongs to one transmitter."""
    okta = GOOD.partition("streams:\n")[2].partition("  idp:")[0]
    twice = f"streams:\n{okta}{okta.replace('okta:', 'other:', 1)}"
    (problem,) = problems(tmp_path, twice)
    assert problem.what == "the path is already used by stream okta"


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    """All mistakes are reported at once, in the order of the file."""
    text = (
        without("format: iss_sub", "format: did").replace("interval: 30s", "interval: 2h").replace("acme.okta", "a b")
    )
    found = problems(tmp_path, text)
    assert len(found) > 3
    assert [each.line for each in found] == sorted(each.line for each in found)


def test_every_mistake_of_a_streams_file_is_tried(tmp_path: Path) -> None:
    """Every message of this reader occurs among the mistakes above."""
    tried = " ".join(what for *_, what in WRONG.values()) + " the path is already used by stream"
    starts = [re.split(r"{\w+}", words) for words in STREAM_MISTAKES.values()]
    said = [max(parts, key=len).strip() for parts in starts if any(part.strip() for part in parts)]
    assert [words for words in said if words not in tried] == []


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    """A missing file is reported by name."""
    with pytest.raises(InvalidStreams, match="No such file"):
        read_streams(tmp_path / "none.yaml")
