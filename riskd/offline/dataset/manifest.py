"""The manifest of a dataset: one file, replaced atomically, that names all others. Files that it does not name are
ignored."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import Struct

from riskd.core.errors import UNDECODABLE, InvalidFile, Problem
from riskd.core.record import Record
from riskd.offline.buckets import MOST
from riskd.offline.dataset.target import Target

FILE: Final = "manifest.json"
TABLES: Final = ("assessments", "outcomes", "events")
BUCKETS: Final = 4
"""The default number of buckets of a new dataset."""
FORMAT: Final = 1


class Part(Struct, frozen=True, kw_only=True):
    """One Parquet file. `first`: for each identity domain, when its earliest line was written (epoch seconds)."""

    path: str
    table: str
    date: str
    bucket: int
    rows: int
    first: dict[str, float]


class Manifest(Struct, frozen=True, kw_only=True):
    """A whole dataset. `log`: identifies its log; `segments`: segments that it contains and the log still has;
    `erased`: erasures that were applied; `features`: all features that some file has a column for. `unreadable`: those
    of the segments that have unreadable lines, and the `line_format` of the riskd that could not read them."""

    format: int = FORMAT
    log: str = ""
    buckets: int = BUCKETS
    features: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    unreadable: dict[str, str] = {}
    erased: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()

    def of(self, table: str) -> list[Part]:
        """The files of a table."""
        return [part for part in self.parts if part.table == table]


def line_format() -> str:
    """Identifies the lines that this version of riskd can read."""
    return blake2b(msgspec.json.encode(msgspec.json.schema(Record)), digest_size=8).hexdigest()


def read(target: Target) -> Manifest | None:
    """The manifest of a dataset; None if there is none yet. Raises InvalidFile."""
    content = target.read(FILE)
    if content is None:
        return None
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except UNDECODABLE as error:
        what = f"was not written by riskd: {error}"
        raise InvalidFile([Problem(f"{target.name}/{FILE}", what, "name another directory")]) from error
    if manifest.format != FORMAT or not 0 < manifest.buckets <= MOST:
        what = f"has format {manifest.format} and {manifest.buckets} buckets; this riskd reads format {FORMAT}"
        raise InvalidFile([Problem(f"{target.name}/{FILE}", what, "use the version of riskd that wrote it")])
    return manifest


def required(target: Target) -> Manifest:
    """The manifest of a dataset. Raises InvalidFile, also if there is none."""
    manifest = read(target)
    if manifest is None:
        remedy = "`riskd log compact --to DIRECTORY` makes one"
        raise InvalidFile([Problem(target.name, "is not a dataset: it has no manifest.json", remedy)])
    return manifest


def commit(target: Target, manifest: Manifest) -> None:
    """Replace the manifest. Raises InvalidFile."""
    target.replace(FILE, msgspec.json.encode(manifest))
