"""The Lua scripts that run on the server. The constants of `core/history` are prepended, so they are defined once."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha1
from pathlib import Path
from typing import Final

from msgspec import Struct

from riskd.core.history import OWNERS, PROFILE_TABLES, SKETCH, TABLES, Table
from riskd.core.marks import MARKS
from riskd.core.tallies import LETTERS, RARE, SEEN


class Script(Struct, frozen=True):
    """A script, and the hash by which EVALSHA calls it."""

    text: bytes
    sha: bytes


def _script(name: str, *definitions: str) -> Script:
    source = Path(__file__).with_name(name).read_text(encoding="utf-8")
    text = "\n".join([*definitions, source]).encode()
    return Script(text, sha1(text, usedforsecurity=False).hexdigest().encode())


def _spec(table: Table) -> str:
    return f"period = {table.period}, keep = {table.keep}, capacity = {table.capacity}"


def _letters(tables: Iterable[str]) -> str:
    return f"{{{', '.join([repr(LETTERS[name]) for name in tables])}}}"


_NUMBERS: Final = (
    "local TABLES = {",
    *(f"  {name} = {{letter = '{LETTERS[name]}', {_spec(table)}}}," for name, table in TABLES.items()),
    "}",
    f"local PROFILE = {_letters(PROFILE_TABLES)}",
    f"local SEEN = {_letters(SEEN)}",
    f"local RARE = {{{', '.join(map(repr, RARE))}}}",
    f"local SKETCH, OWNERS, MARKS = {{{_spec(SKETCH)}}}, {{{_spec(OWNERS)}}}, {MARKS}",
)
WRITE: Final = _script("write.lua", *_NUMBERS)
HELD: Final = _script("held.lua")
REPLACE: Final = _script("replace.lua")
SWEEP: Final = _script("sweep.lua")
SCRIPTS: Final = (WRITE, HELD, REPLACE, SWEEP)
