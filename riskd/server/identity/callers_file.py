"""Reads the callers file: TOML, a table for each caller. Every mistake is told at once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from riskd.core.errors import InvalidFile, Problem
from riskd.server.identity.callers import EVERY, FOR_ALL, KNOWN, ROLES, Caller, Callers, in_full

FILE_BYTES: Final = 1 << 20
"""Largest callers file read."""
NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_TOML: Final = "write TOML: https://toml.io/en/v1.0.0"
_KEYS: Final = ("token_sha256", "certificates", "methods", "tenants")
_NEEDED: Final = {
    "methods": f"list roles ({', '.join(ROLES)}) or methods (RiskService/Assess)",
    "tenants": 'list tenants; [""] for attempts without one, ["*"] for all',
}


class InvalidCallers(InvalidFile):
    """A callers file with mistakes; all of them are listed. Whoever was known before still is."""

    reason = "INVALID_CALLERS"


def read_callers(path: Path, *, mutual: bool) -> Callers:
    """Everybody in the file. `mutual`: clients show certificates. Raises InvalidCallers."""
    problems: list[Problem] = []
    document = _document(path)
    callers = [_caller(f"{path}: [{name}]", name, table, problems) for name, table in document.items()]
    if not callers:
        problems.append(Problem(str(path), "names nobody", "`riskd caller new NAME` prints an entry"))
    problems += _shared(path, callers)
    if not mutual:
        problems += [
            Problem(f"{path}: [{caller.name}]", "no client is asked for a certificate", "set server.tls_client_ca")
            for caller in callers
            if caller.certificates
        ]
    if problems:
        raise InvalidCallers(problems)
    return Callers(callers)


def _document(path: Path) -> dict[str, object]:
    try:
        content = path.read_bytes()
        if len(content) > FILE_BYTES:
            raise InvalidCallers([Problem(str(path), f"{len(content)} bytes are too many", f"at most {FILE_BYTES}")])
        return tomllib.loads(content.decode())
    except OSError as error:
        raise InvalidCallers([Problem(str(path), error.strerror or "cannot be read", "check server.callers")]) from None
    except UnicodeDecodeError as error:
        raise InvalidCallers([Problem(str(path), f"byte {error.start} is not UTF-8", "save it as UTF-8")]) from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidCallers([Problem(str(path), str(error), _TOML)]) from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or nested as deep
        raise InvalidCallers([Problem(str(path), f"cannot be read: {error}", _TOML)]) from None


def _caller(where: str, name: str, table: object, problems: list[Problem]) -> Caller:
    if not NAME.fullmatch(name):
        problems.append(Problem(where, "is no name", "letters in lower case, digits and -_. make one, 63 at most"))
    if not isinstance(table, dict):
        problems.append(Problem(where, "is no table", f"write [{name}], and keys below it"))
        return Caller(name=name, methods=frozenset(), tenants=frozenset())
    problems += _unknown(where, table)
    words = {key: _texts(where, key, table, problems) for key in _KEYS}
    if not words["token_sha256"] and not words["certificates"]:
        problems.append(Problem(where, "has no identity", "give token_sha256, certificates or both"))
    problems += [
        Problem(f"{where} token_sha256", f"{_shown(digest)} is no SHA-256", "64 hexadecimal digits in lower case")
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
    if caller.tenants and EVERY not in caller.tenants and any(method.startswith(FOR_ALL) for method in caller.methods):
        what = "releases decide for every tenant, and this caller is bound to some"
        problems.append(Problem(f"{where} tenants", what, 'write ["*"], or leave ReleaseService out of methods'))
    return caller


def unknown_methods(where: str, words: Sequence[str]) -> Iterator[Problem]:
    """The words that are neither a role nor a method."""
    for word in words:
        if not in_full(word):
            yield Problem(where, f"there is no {word!r}", _nearest(word))


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
        problems.append(Problem(f"{where} {key}", "is no list of texts", f'write {key} = ["..."]'))
        return ()
    return tuple(str(each) for each in given)


def _shown(digest: str) -> str:
    """Whoever writes the token itself in the place of its hash does not read it in a log as well."""
    return f"{len(digest)} characters"


def _nearest(word: str) -> str:
    names = [*ROLES, *(method.removeprefix("riskd.v1.") for method in KNOWN)]
    near = get_close_matches(word, names, 1)
    return f"did you mean {near[0]}?" if near else _NEEDED["methods"]


def _shared(path: Path, callers: list[Caller]) -> Iterator[Problem]:
    """Identities that several callers have: nobody could tell who calls."""
    for kind in ("token_sha256", "certificates"):
        holders: dict[str, list[str]] = {}
        for caller in callers:
            for identity in getattr(caller, kind):
                holders.setdefault(identity, []).append(caller.name)
        for names in holders.values():
            if len(names) > 1:
                yield Problem(
                    f"{path}: {kind}", f"one is of {', '.join(names)}", "each identity is of one caller, once"
                )
