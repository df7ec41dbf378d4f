"""A store that is damaged is set aside when it is opened, and another one begun in its place, with a note that its
histories are to be brought back."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from riskd.adapters.lmdb_store.file import DATA
from riskd.adapters.lmdb_store.store import TURN, LmdbStore
from riskd.core.errors import UNDECODABLE, DamagedStore, InvalidStore, Problem
from riskd.files import put

MOST: Final = 3
"""Damaged stores that are kept beside; a disk that spoils more is not to be filled with them."""
_TRIES: Final = 3


class _Note(Struct, frozen=True):
    """`until`: when the store began, epoch seconds: what the log says of before is not in it. `damaged`: inode of the
    data of the one before, for this is written before that is moved."""

    until: float
    damaged: int


def note(path: Path) -> Path:
    """File that is beside a store which took the place of a damaged one, until what that one held is back."""
    return path.with_name(f"{path.name}.rebuild.json")


def due_until(path: Path) -> float | None:
    """When the store at a path took the place of a damaged one whose histories are not back yet, epoch seconds."""
    try:
        left = msgspec.json.decode(note(path).read_bytes(), type=_Note)
    except (OSError, *UNDECODABLE):
        return None
    return None if left.damaged == _inode(path / DATA) else left.until


def beside(path: Path) -> Path:
    """Directory of what is made for a store at a path, to bring its histories back; there while it is."""
    return path.with_name(f"{path.name}.rebuilding")


def settle(path: Path) -> None:
    """The histories are back."""
    with suppress(FileNotFoundError):
        note(path).unlink()


def open_or_begin(path: Path, map_size: int) -> tuple[LmdbStore, DamagedStore | None]:
    """The store at `path`; and what was wrong with it, if it had to be set aside and a new one begun.

    Of several processes that find the same damage, one sets it aside, as `NAME.corrupt-TIME` (UTC). Raises InvalidStore
    for what is not a damaged store of riskd's own: another program's file, another format, no permission.
    """
    found: DamagedStore | None = None
    for _ in range(_TRIES):
        ours, seen = (path / TURN).exists(), _inode(path / DATA)
        try:
            return LmdbStore(path, map_size), found
        except DamagedStore as error:
            if not ours:
                raise
            found = _set_aside(path, seen, error) or found
    raise InvalidStore([Problem(str(path), "is damaged again as soon as it is begun", "look at the disk")])


def _set_aside(path: Path, seen: int, error: DamagedStore) -> DamagedStore | None:
    """The error, with the new name; None where another process was faster. Raises DamagedStore when it cannot be."""
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(parent, fcntl.LOCK_EX)
        if _inode(path / DATA) != seen:
            return None
        aside = path.with_name(f"{path.name}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
        if len(list(path.parent.glob(f"{path.name}.corrupt-*"))) >= MOST:
            remedy = "look at the disk, and remove those that nobody needs"
            raise DamagedStore([*error.problems, Problem(str(path), f"{MOST} damaged ones lie beside it", remedy)])
        put(note(path), msgspec.json.encode(_Note(time.time(), seen)))
        path.rename(aside)
        remedy = "what the decision log has of its histories comes back by itself, if store.rebuild is on"
        return DamagedStore([*error.problems, Problem(str(path), f"set aside as {aside.name}", remedy)])
    except OSError as failure:
        raise DamagedStore([*error.problems, Problem(str(path), f"cannot be set aside: {failure}")]) from failure
    finally:
        os.close(parent)


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0
