"""Reads the callers file, a TOML file with a table for each caller. Reports all mistakes at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from riskd.config import read_toml
from riskd.core.errors import InvalidFile, Problem
from riskd.server.identity.callers import ALL_TENANTS_SERVICE, EVERY_TENANT, KNOWN, ROLES, Caller, Callers, in_full

FILE_BYTES: Final = 4 << 20
"""Largest callers file read."""
NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_KEYS: Final = ("token_sha256", "certificates", "methods", "tenants")
_NEEDED: Final = {
    "methods": f"list roles ({', '.join(ROLES)}) or methods (RiskService/Assess)",
    "tenants": 'list tenants; [""] for attempts without one, ["*"] for all',
}


class InvalidCallers(InvalidFile):
    """A callers file with mistakes, all of which are listed. The callers of the previous version stay in use."""

    reason = "INVALID_CALLERS"


def read_callers(path: Path, *, mutual: bool) -> Callers:
    """The callers in the file. `mutual`: the server asks clients for certificates. Raises InvalidCallers."""
    problems: list[Problem] = []
    try:
        document, _ = read_toml(path, FILE_BYTES, "check server.callers")
    except InvalidFile as error:
        raise InvalidCallers(error.problems) from None
    callers = [_caller(f"{path}: [{name}]", name, table, problems) for name, table in document.items()]
    if not callers:
        problems.append(Problem(str(path), "has no callers", "`riskd caller new NAME` prints an entry"))
    problems += _shared(path, callers)
    if not mutual:
        problems += [
            Problem(f"{path}: [{caller.name}]", "clients are not asked for certificates", "set server.tls_client_ca")
            for caller in callers
            if caller.certificates
        ]
    if problems:
        raise InvalidCallers(problems)
    return Callers(callers)


def _caller(where: str, name: str, table: object, problems: list[Problem]) -> Caller:
    if not NAME.fullmatch(name):
        problems.append(
            Problem(where, "is not a valid name", "use at most 63 of a-z, 0-9, `-`, `_` and `.`; begin with a-z or 0-9")
        )
    if not isinstance(table, dict):
        problems.append(Problem(where, "is not a table", f"write [{name}], and its keys below"))
        return Caller(name=name, methods=frozenset(), tenants=frozenset())
    problems += _unknown(where, table)
    words = {key: _texts(where, key, table, problems) for key in _KEYS}
    if not words["token_sha256"] and not words["certificates"]:
        problems.append(Problem(where, "has no identity", "give token_sha256, certificates or both"))
    problems += [
        Problem(
            f"{where} token_sha256", f"{_redacted(digest)} is not a SHA-256", "use 64 lower-case hexadecimal digits"
        )
        for digest in words["token_sha256"]
        if not _SHA256.fullmatch(digest)
    ]
    problems += unknown_methods(f"{where} methods", words["methods"])
    caller = Caller(
        name=name,
        methods=frozenset(method for word in words["methods"] for method in in_full(word)),
        tenants=frozenset(words["tenants"]),
        token_sha256=words["token_sha256"],
        certificates=words["certificates"],
    )
    needs_all = any(method.startswith(ALL_TENANTS_SERVICE) for method in caller.methods)
    if needs_all and caller.tenants and EVERY_TENANT not in caller.tenants:
        what = "ReleaseService acts for every tenant, and this caller may act only for some"
        problems.append(Problem(f"{where} tenants", what, 'write ["*"], or leave ReleaseService out of methods'))
    return caller


def unknown_methods(where: str, words: Sequence[str]) -> Iterator[Problem]:
    """A problem for each word that is neither a role nor a method."""
    for word in words:
        if not in_full(word):
            yield Problem(where, f"{word!r} is neither a role nor a method", _nearest(word))


def _unknown(where: str, table: Mapping[str, object]) -> Iterator[Problem]:
    for key in table:
        if key not in _KEYS:
            near = get_close_matches(key, _KEYS, 1)
            yield Problem(
                where, f"there is no key {key!r}", f"did you mean {near[0]}?" if near else f"keys: {', '.join(_KEYS)}"
            )


def _texts(where: str, key: str, table: Mapping[str, object], problems: list[Problem]) -> tuple[str, ...]:
    given = table.get(key)
    if given is None or given == []:
        if key in _NEEDED:
            problems.append(Problem(f"{where} {key}", "is missing", _NEEDED[key]))
        return ()
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        problems.append(Problem(f"{where} {key}", "is not a list of strings", f'write {key} = ["..."]'))
        return ()
    return tuple(str(each) for each in given)


def _redacted(digest: str) -> str:
    """Only the length: it may be the token itself, written here by mistake, and errors are logged."""
    return f"a text of {len(digest)} characters"


def _nearest(word: str) -> str:
    names = [*ROLES, *(method.removeprefix("riskd.v1.") for method in KNOWN)]
    near = get_close_matches(word, names, 1)
    return f"did you mean {near[0]}?" if near else _NEEDED["methods"]


def _shared(path: Path, callers: list[Caller]) -> Iterator[Problem]:
    """A problem for each identity that several callers share, because it would not identify a caller."""
    for kind in ("token_sha256", "certificates"):
        holders: dict[str, list[str]] = {}
        for caller in callers:
            for identity in getattr(caller, kind):
                holders.setdefault(identity, []).append(caller.name)
        for names in holders.values():
            if len(names) > 1:
                yield Problem(
                    f"{path}: {kind}", f"one is shared by {', '.join(names)}", "give each caller identities of its own"
                )
