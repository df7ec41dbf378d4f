"""The file of the embedded store: whether it may be trusted, and what an error of LMDB means for people."""

from __future__ import annotations

import struct
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Final

import lmdb
import msgspec
from lmdb.verify import VerifyError, verify

from riskd.core.errors import DamagedStore, InvalidStore, Problem

DATA: Final = "data.mdb"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_CHECKED: Final = "checked-since-boot"
"""File beside the data: in which of the machine's lives it was last found sound."""
_TELL: Final = 5
"""Findings told of a damaged file."""


def check_mounted(path: Path, device: int) -> None:
    """A store that is gone and its device (`st_dev`) with it was not deleted: it waits to be mounted. InvalidStore."""
    there = next(place for place in (path, *path.parents) if place.exists())
    if not (path / DATA).exists() and there.stat().st_dev != device:
        raise InvalidStore([Problem(str(path), "its file system is gone", "mount it again, or start riskd anew")])


def check_length(path: Path, pages: int, page_bytes: int) -> None:
    """To touch a page that was cut off kills the process. Pages at the end may never have been written, so a file that
    is too short for all of them is checked whole. Raises DamagedStore, VerifyError, OSError."""
    if (path / DATA).stat().st_size < pages * page_bytes:
        _verify(path)


def check_since_boot(path: Path) -> None:
    """Check the whole file, once after each start of the machine. Raises DamagedStore, VerifyError, OSError."""
    boot = _BOOT_ID.read_text() if _BOOT_ID.exists() else ""
    data, mark = path / DATA, path / _CHECKED
    mark.touch(mode=0o600)
    with mark.open("r+") as checked:
        flock(checked, LOCK_EX)
        if checked.read() == boot:
            return
        if data.exists() and data.stat().st_size:
            _verify(path)
        checked.seek(0)
        checked.truncate()
        checked.write(boot)


def _verify(path: Path) -> None:
    found: list[str] = verify(str(path))  # type: ignore[no-untyped-call]  # published without types
    if found:
        raise DamagedStore([_damaged(path, what) for what in found[:_TELL]])


DAMAGE: Final = (
    VerifyError,
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    msgspec.DecodeError,
    struct.error,
)


def cut_off(error: Exception) -> bool:
    """Whether another thread mapped the file anew, or opened another, in the middle of a transaction: it changed
    nothing."""
    return type(error) is lmdb.Error or isinstance(error, lmdb.InvalidParameterError)


def refused(path: Path, error: Exception) -> InvalidStore:
    """What to raise when a store cannot be opened. Another version of LMDB's format is no damage."""
    damaged = isinstance(error, DAMAGE) and not isinstance(error, lmdb.VersionMismatchError)
    return (DamagedStore if damaged else InvalidStore)([problem(path, error)])


def problem(path: Path, error: Exception) -> Problem:
    """What went wrong with the store at `path`, and how to mend it."""
    if isinstance(error, lmdb.MapFullError):
        return Problem(str(path), "the store is full", "raise its map_size, and let expired records be swept")
    if isinstance(error, lmdb.ReadersFullError):
        return Problem(str(path), "more readers than slots", "raise max_readers: one for each thread of each process")
    if isinstance(error, DAMAGE):
        return _damaged(path, str(error))
    return Problem(str(path), str(error), "see that the disk has room, is healthy, and lets this user write")


def _damaged(path: Path, what: str) -> Problem:
    remedy = "see `python -m lmdb verify`; bring back a copy, or move the directory away to start without histories"
    return Problem(str(path), f"damaged, or not a store: {what}", remedy)
