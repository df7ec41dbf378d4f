"""Checks whether the file of the embedded store is sound, and turns errors of LMDB into problems with remedies."""

from __future__ import annotations

import struct
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Final

import lmdb
import msgspec
from lmdb.verify import VerifyError, verify

from riskd.adapters.lmdb_store.turn import PATIENCE_S, TURN, Turn
from riskd.core.errors import DamagedStore, InvalidStore, Problem

DATA: Final = "data.mdb"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_CHECKED: Final = "checked-since-boot"
"""File beside the data with the id of the boot in which the data was last found sound."""
_SHOWN: Final = 5
"""Most findings that are reported for a damaged file."""


def check_mounted(path: Path, device: int) -> None:
    """Raises InvalidStore if the store is missing and its path is no longer on `device` (`st_dev`).

    Then the store was not deleted, but its file system was unmounted.
    """
    existing = next(place for place in (path, *path.parents) if place.exists())
    if not (path / DATA).exists() and existing.stat().st_dev != device:
        raise InvalidStore([Problem(str(path), "its file system is not mounted", "mount it again, or restart riskd")])


def check_length(path: Path, pages: int, page_bytes: int) -> None:
    """Check the whole file if it is shorter than its pages. Raises InvalidStore, OSError.

    Reading a page that was cut off would kill the process (SIGBUS). But a short file may be sound, because pages at its
    end may never have been written.
    """
    if (path / DATA).stat().st_size < pages * page_bytes:
        _verify(path)


def check_since_boot(path: Path) -> None:
    """Check the whole file, once after each boot of the machine. Raises InvalidStore, OSError."""
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
    """Check the whole file. Raises DamagedStore, InvalidStore if it cannot tell, OSError."""
    if _findings(path) and (found := _findings_at_rest(path)):
        raise DamagedStore([_damaged(path, what) for what in found[:_SHOWN]])


def _findings_at_rest(path: Path) -> list[str]:
    """What a check finds while no process of riskd may write: pages of several moments look like damage."""
    if not (path / TURN).exists():
        return _findings(path)
    turn = Turn(path / TURN)
    if not turn.take(PATIENCE_S):
        raise InvalidStore([stuck(path)])
    try:
        return _findings(path)
    finally:
        turn.give()


def _findings(path: Path) -> list[str]:
    """What is wrong with the file. Raises OSError."""
    try:
        found: list[str] = verify(str(path))  # type: ignore[no-untyped-call]  # published without types
    except VerifyError as error:
        return [str(error)]
    return found


DAMAGE: Final = (
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    msgspec.DecodeError,
    struct.error,
)


def cut_off(error: Exception) -> bool:
    """Whether a transaction failed because another thread remapped or reopened the file. It then changed nothing."""
    return type(error) is lmdb.Error or isinstance(error, lmdb.InvalidParameterError)


def refused(path: Path, error: Exception) -> InvalidStore:
    """The error for a store that cannot be opened. Another version of LMDB's format does not count as damage."""
    damaged = isinstance(error, DAMAGE) and not isinstance(error, lmdb.VersionMismatchError)
    return (DamagedStore if damaged else InvalidStore)([problem(path, error)])


def problem(path: Path, error: Exception) -> Problem:
    """What went wrong with the store at `path`, and how to fix it."""
    if isinstance(error, lmdb.MapFullError):
        return Problem(
            str(path), "the store is full", "raise store.map_size_mb, or wait until expired records were swept"
        )
    if isinstance(error, lmdb.ReadersFullError):
        return Problem(
            str(path), "more readers than slots", "use fewer workers or threads: each reading thread takes a slot"
        )
    if isinstance(error, lmdb.MemoryError):
        return Problem(
            str(path), "no memory to map the file", "lower store.map_size_mb, or allow more address space (ulimit -v)"
        )
    if isinstance(error, DAMAGE):
        return _damaged(path, str(error))
    if "already open in this process" in str(error):
        remedy = "open one engine a process, for all its threads; close it before opening another"
        return Problem(str(path), "is open in this process already", remedy)
    if "closed/deleted/dropped" in str(error):
        return Problem(str(path), "is closed", "close it after the last call")
    what = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
    return Problem(str(path), what, "check that the disk has space and is healthy, and that this user may write")


def stuck(path: Path, seconds: float = PATIENCE_S) -> Problem:
    """Another process keeps the turn to write."""
    what = f"the write lock was not released for {max(seconds, 0):g} s"
    return Problem(str(path), what, "look for a stopped process (SIGSTOP, a debugger), or a slow disk")


def _damaged(path: Path, what: str) -> Problem:
    remedy = "see `python -m lmdb verify`; restore a copy, or move the directory away to start without histories"
    return Problem(str(path), f"damaged, or not a store: {what}", remedy)
