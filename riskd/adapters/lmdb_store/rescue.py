"""A store that is damaged is set aside when it is opened, and another one begun in its place."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from riskd.adapters.lmdb_store.file import DATA
from riskd.adapters.lmdb_store.store import TURN, LmdbStore
from riskd.core.errors import DamagedStore, InvalidStore, Problem

MOST: Final = 3
"""Damaged stores that are kept beside; a disk that spoils more is not to be filled with them."""
_TRIES: Final = 3


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
        path.rename(aside)
        return DamagedStore(
            [*error.problems, Problem(str(path), f"set aside as {aside.name}", "bring back a copy, or riskd import")]
        )
    except OSError as failure:
        raise DamagedStore([*error.problems, Problem(str(path), f"cannot be set aside: {failure}")]) from failure
    finally:
        os.close(parent)


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0
