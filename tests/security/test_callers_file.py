"""The callers file: which mistakes are refused with which remedy, and how callers are looked up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from riskd.cli.main import main
from riskd.server.identity.callers import (
    KNOWN,
    ROLES,
    TOKEN_BYTES,
    Callers,
    UnknownCaller,
    in_full,
    new_token,
    token_hash,
)
from riskd.server.identity.callers_file import FILE_BYTES, InvalidCallers, read_callers

DIGEST = "ab" * 32
GOOD = f'token_sha256 = ["{DIGEST}"]\nmethods = ["assessor"]\ntenants = ["acme"]\n'
MISTAKES: dict[str, tuple[str, str]] = {
    "not TOML": ("[web\n", "callers.toml:1:5: Expected ']' at the end of a table declaration (write TOML"),
    "nested too deeply": (f"web = {'[' * 2000}{']' * 2000}\n", "cannot be read: maximum recursion depth"),
    "a number too long": (f"web = {'9' * 5000}\n", "cannot be read: Exceeds the limit"),
    "no callers": ("", "has no callers (`riskd caller new NAME` prints an entry)"),
    "no table": ("web = 1\n", "[web]: is not a table (write [web], and its keys below)"),
    "no name": (f"[Web]\n{GOOD}", "[Web]: is not a valid name (use at most 63 of a-z"),
    "unknown key": (f"[web]\n{GOOD}tenant = []\n", "[web]: there is no key 'tenant' (did you mean tenants?)"),
    "no identity": ('[web]\nmethods = ["assessor"]\ntenants = [""]\n', "[web]: has no identity (give token_sha256"),
    "a token in place of its hash": (
        f"[web]\n{GOOD}".replace(DIGEST, "riskd_secret"),
        "[web] token_sha256: a text of 12 characters is not a SHA-256 (use 64 lower-case",
    ),
    "no methods": (f'[web]\ntoken_sha256 = ["{DIGEST}"]\ntenants = [""]\n', "[web] methods: is missing (list roles"),
    "no tenants": (f'[web]\ntoken_sha256 = ["{DIGEST}"]\nmethods = ["assessor"]\n', "[web] tenants: is missing"),
    "an empty list": (f"[web]\n{GOOD}".replace('["acme"]', "[]"), "[web] tenants: is missing"),
    "a misspelt role": (
        f"[web]\n{GOOD}".replace("assessor", "asessor"),
        "'asessor' is neither a role nor a method (did you mean assessor?)",
    ),
    "no list": (
        f"[web]\n{GOOD}".replace('["acme"]', '"acme"'),
        "[web] tenants: is not a list of strings (write tenants = ",
    ),
    "a number among texts": (
        f"[web]\n{GOOD}".replace('["acme"]', '["acme", 1]'),
        '[web] tenants: is not a list of strings (write tenants = ["..."])',
    ),
    "too large": ("#" * (FILE_BYTES + 1), f"bytes (keep it to at most {FILE_BYTES})"),
    "releases for some tenants": (
        f"[web]\n{GOOD}".replace("assessor", "releaser"),
        '[web] tenants: ReleaseService acts for every tenant, and this caller may act only for some (write ["*"]',
    ),
    "a token shared by two callers": (
        f"[web]\n{GOOD}[app]\n{GOOD}",
        "token_sha256: one is shared by web, app (give each caller",
    ),
    "certificates without a client CA": (
        f'[web]\n{GOOD}certificates = ["web.example.org"]\n',
        "[web]: clients are not asked for certificates (set server.tls_client_ca)",
    ),
}


def put(folder: Path, text: str) -> Path:
    path = folder / "callers.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("case", MISTAKES)
def test_each_mistake_is_reported_with_its_remedy(case: str, tmp_path: Path) -> None:
    """The error says where the mistake is, what it is and how to fix it, and never quotes a token."""
    text, told = MISTAKES[case]
    with pytest.raises(InvalidCallers) as caught:
        read_callers(put(tmp_path, text), mutual=False)
    (problem,) = caught.value.problems
    assert told in str(problem)
    assert "riskd_secret" not in str(problem)


def test_no_more_of_a_file_is_read_than_callers_may_take(tmp_path: Path) -> None:
    """A file of any size, named by mistake, is refused without filling the memory."""
    file = tmp_path / "callers.toml"
    with file.open("wb") as opened:
        opened.truncate(1 << 40)
    with pytest.raises(InvalidCallers, match="has more than"):
        read_callers(file, mutual=False)


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    """All mistakes of a file are reported at once."""
    with pytest.raises(InvalidCallers) as caught:
        read_callers(put(tmp_path, f"[Web]\n{GOOD}".replace("assessor", "x") + "[b]\n"), mutual=False)
    assert len(caught.value.problems) == 5


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    """A file that is missing or not text is reported as a problem of the setting, without a crash."""
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(InvalidCallers, match=r"check server\.callers"):
            read_callers(path, mutual=False)
    (tmp_path / "raw").write_bytes(b"\xff")
    with pytest.raises(InvalidCallers, match="not UTF-8"):
        read_callers(tmp_path / "raw", mutual=False)


def test_roles_are_lists_of_methods_and_privacy_and_releases_are_apart() -> None:
    """Roles consist of existing methods and cover all of them; roles that assess or report outcomes cannot administer
    subjects or releases."""
    assert all(in_full(role) for role in ROLES)
    assert {method for role in ROLES for method in in_full(role)} == set(KNOWN)
    everyday = {method for role in ("assessor", "outcome_reporter", "batch") for method in in_full(role)}
    assert all(method.startswith("riskd.v1.RiskService/") for method in everyday)
    assert in_full("riskd.v1.RiskService/Assess") == in_full("RiskService/Assess") == in_full("assessor")
    assert in_full("RiskService/Nothing") == ()


def test_tokens_are_random_and_only_their_hash_is_kept(tmp_path: Path) -> None:
    """A token has 256 random bits, and the file holds only its hash."""
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) >= len("riskd_") + TOKEN_BYTES * 4 // 3 for token in tokens)
    token = tokens.pop()
    callers = read_callers(put(tmp_path, f"[web]\n{GOOD}".replace(DIGEST, token_hash(token))), mutual=False)
    assert callers.by_token(token).name == "web"
    for wrong in ("", token[:-1], token + "x", token_hash(token), token.upper()):
        with pytest.raises(UnknownCaller) as caught:
            callers.by_token(wrong)
        assert not wrong or wrong not in str(caught.value)


def test_a_certificate_that_matches_two_callers_identifies_neither(tmp_path: Path) -> None:
    """A certificate whose names match several callers is refused."""
    names = "".join(
        f'[{name}]\ncertificates = ["{name}.example.org", "CN={name}"]\nmethods = ["assessor"]\ntenants = [""]\n'
        for name in "ab"
    )
    callers: Callers = read_callers(put(tmp_path, names), mutual=True)
    assert callers.by_certificate(["other", "a.example.org"]).name == "a"
    assert callers.by_certificate(["CN=b", "b.example.org"]).name == "b"
    for shown, why in (([], "no caller"), (["c.example.org"], "no caller"), (["a.example.org", "CN=b"], "several")):
        with pytest.raises(UnknownCaller, match=why):
            callers.by_certificate(shown)


def test_a_releaser_is_of_every_tenant(tmp_path: Path) -> None:
    """A releaser must have the tenants `*`; other callers may have one or several tenants."""
    text = f"[ops]\n{GOOD}".replace("assessor", "releaser").replace('"acme"', '"*"')
    text += f"[web]\n{GOOD}".replace('"acme"', '"acme", ""').replace(DIGEST, "cd" * 32)
    ops, web = read_callers(put(tmp_path, text), mutual=False).all

    assert (ops.methods, ops.tenants) == (frozenset(in_full("releaser")), frozenset("*"))
    assert (web.methods, web.tenants) == (frozenset(in_full("assessor")), frozenset(("acme", "")))


def test_the_command_line_makes_and_checks_entries(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`riskd caller new` prints a token and an entry; `riskd caller list` accepts the entry, which matches the
    token."""
    assert main(["caller", "new", "web", "--method", "assessor", "--tenant", "acme", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert main(["caller", "new", "app", "--tenant", "Zürich 🏔"]) == 0
    shown = capsys.readouterr().out
    token = shown.splitlines()[0].rpartition(" ")[2]
    entry = made["entry"]["web"]
    text = "[web]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in entry.items())
    file = put(tmp_path, text + shown[shown.index("[app]") :])
    callers = read_callers(file, mutual=False)
    assert callers.by_token(made["token"]).name == "web"
    assert callers.by_token(token).name == "app"
    assert main(["caller", "list", str(file), "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert (known["web"]["tenants"], known["app"]["tenants"]) == (["acme"], ["Zürich 🏔"])
    assert main(["caller", "list", str(file)]) == 0
    assert "RiskService/Assess" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["new", "Web"], ["new", "web", "--method", "nothing"], ["list"], ["list", "nowhere.toml"]]
)
def test_the_command_line_refuses_what_the_file_would_refuse(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad input exits with 2, gives a remedy and prints no token."""
    assert main(["caller", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("riskd: ")
