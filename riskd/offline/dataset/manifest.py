"""What a dataset holds: one file that names the others, replaced at once. Files that it does not name do not count."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from riskd.core.errors import UNDECODABLE, InvalidFile, Problem
from riskd.offline.buckets import MOST
from riskd.offline.dataset.target import Target

FILE: Final = "manifest.json"
TABLES: Final = ("assessments", "outcomes", "events")
BUCKETS: Final = 4
"""Of a dataset that does not say otherwise."""
FORMAT: Final = 1


class Part(Struct, frozen=True, kw_only=True):
    """One Parquet file. `first` has, for each identity domain, when the earliest of its lines was written."""

    path: str
    table: str
    date: str
    bucket: int
    rows: int
    first: dict[str, float]


class Manifest(Struct, frozen=True, kw_only=True):
    """A whole dataset. `log`: what tells its log from others; `segments`: those that are in it and still in the log;
    `erased`: erasures that were applied; `features`: every feature that a file has a column of."""

    format: int = FORMAT
    log: str = ""
    buckets: int = BUCKETS
    features: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    erased: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()

    def of(self, table: str) -> list[Part]:
        """The files of a table."""
        return [part for part in self.parts if part.table == table]


def read(target: Target) -> Manifest | None:
    """What a dataset holds; None where there is none yet. Raises InvalidFile."""
    content = target.read(FILE)
    if content is None:
        return None
    try:
        found = msgspec.json.decode(content, type=Manifest)
    except UNDECODABLE as error:
        what = f"was not written by riskd: {error}"
        raise InvalidFile([Problem(f"{target.name}/{FILE}", what, "name another directory")]) from error
    if found.format != FORMAT or not 0 < found.buckets <= MOST:
        what = f"has format {found.format} and {found.buckets} buckets; this riskd reads format {FORMAT}"
        raise InvalidFile([Problem(f"{target.name}/{FILE}", what, "use the riskd that wrote it")])
    return found


def required(target: Target) -> Manifest:
    """What a dataset holds. Raises InvalidFile, also where there is none."""
    found = read(target)
    if found is None:
        remedy = "make one: riskd log compact --to DIRECTORY"
        raise InvalidFile([Problem(target.name, "is no dataset: it has no manifest.json", remedy)])
    return found


def commit(target: Target, manifest: Manifest) -> None:
    """From now on the dataset is this. Raises InvalidFile."""
    target.replace(FILE, msgspec.json.encode(manifest))
