"""Opens a store. A damaged one is set aside and replaced by a new store, with a note that its histories are due to
be rebuilt."""

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
from riskd.adapters.lmdb_store.store import LmdbStore
from riskd.adapters.lmdb_store.turn import TURN
from riskd.core.errors import UNDECODABLE, DamagedStore, InvalidStore, Problem
from riskd.host.files import cause, put

MOST: Final = 3
"""Most damaged stores that are kept. A disk that damages more of them must not be filled with them."""
_TRIES: Final = 3


class _Note(Struct, frozen=True):
    """The note. `until`: when the new store was started (epoch seconds); it has none of what was logged before.

    `damaged`: inode of the damaged data. The note is written before these are moved, and is not valid until they are.
    """

    until: float
    damaged: int


def note(path: Path) -> Path:
    """The path of the note, next to the store. It exists until the histories of the damaged store are rebuilt."""
    return path.with_name(f"{path.name}.rebuild.json")


def due_until(path: Path) -> float | None:
    """When the store at `path` replaced a damaged one (epoch seconds); None if no rebuild is due."""
    try:
        left = msgspec.json.decode(note(path).read_bytes(), type=_Note)
    except (OSError, *UNDECODABLE):
        return None
    return None if left.damaged == _inode(path / DATA) else left.until


def beside(path: Path) -> Path:
    """The directory, next to the store, in which its histories are rebuilt. It exists during a rebuild."""
    return path.with_name(f"{path.name}.rebuilding")


def settle(path: Path) -> None:
    """Delete the note, because the histories are rebuilt."""
    with suppress(FileNotFoundError):
        note(path).unlink()


def open_or_begin(path: Path, map_size: int) -> tuple[LmdbStore, DamagedStore | None]:
    """Open the store at `path`. If it is damaged, set it aside and start a new one; then also return the damage.

    If several processes find the same damage, one of them renames it to `NAME.corrupt-TIME` (UTC). Raises
    InvalidStore if it is not a damaged store of riskd, but another program's file, of another format, or not permitted.
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
    raise InvalidStore([Problem(str(path), "every new store is damaged at once", "check the disk")])


def _set_aside(path: Path, seen: int, error: DamagedStore) -> DamagedStore | None:
    """Set a damaged store aside. Returns the error with the new name, or None if another process was faster.

    `seen`: inode of the damaged data. Raises DamagedStore if the store cannot be moved.
    """
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(parent, fcntl.LOCK_EX)
        if _inode(path / DATA) != seen:
            return None
        aside = path.with_name(f"{path.name}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
        if len(list(path.parent.glob(f"{path.name}.corrupt-*"))) >= MOST:
            remedy = "check the disk, and remove the ones that are not needed"
            raise DamagedStore([*error.problems, Problem(str(path), f"there are {MOST} damaged ones already", remedy)])
        put(note(path), msgspec.json.encode(_Note(time.time(), seen)))
        path.rename(aside)
        remedy = "if store.rebuild is on, riskd rebuilds its histories from the decision log"
        return DamagedStore([*error.problems, Problem(str(path), f"set aside as {aside.name}", remedy)])
    except OSError as failure:
        raise DamagedStore([*error.problems, Problem(str(path), f"cannot be set aside: {cause(failure)}")]) from failure
    finally:
        os.close(parent)


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0
