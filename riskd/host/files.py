"""Writes files and directories atomically and durably: after a crash they are complete or absent. And says why a file
cannot be used."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

DRAFT: Final = ".draft"
"""Suffix of a file that is still being written, or that a process left unfinished when it died."""
DRAFTS: Final = ".draft-"
"""Prefix of a temporary directory (`drafting`)."""
SHARED: Final = 0o666
"""Mode of files that other users may read; the umask applies."""
HIDDEN: Final = "."
"""Prefix of the names of drafts, of .git and the like, and of the directories behind Kubernetes' mounted links."""


def private(path: Path) -> BinaryIO:
    """Create or truncate a file that only riskd's user can access. Raises OSError, as all functions here do."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")


@contextmanager
def atomically(path: Path, mode: int = 0o600) -> Iterator[BinaryIO]:
    """Write a file atomically: readers see the old content until the context exits, then the new. Crash-safe.

    If the body raises, the old file stays. If the process dies, it leaves one draft, which the next writer reuses. A
    replaced file keeps its owner, group and permissions, even if root replaces it; `mode` is for a new file. Of a
    symbolic link, the target is replaced. A pipe or device is written to directly.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    path = Path(os.path.realpath(path))
    (draft, descriptor), placed = _draft(path, mode), False
    with os.fdopen(descriptor, "wb") as file:
        try:
            _copy_ownership(path, descriptor)
            yield file
            file.flush()
            os.fsync(descriptor)
            draft.replace(path)
            placed = True
        finally:
            if not placed:
                draft.unlink(missing_ok=True)
    sync(path.parent)


def put(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write `content` to a file atomically."""
    with atomically(path, mode) as file:
        file.write(content)


@contextmanager
def drafting(directory: Path) -> Iterator[Path]:
    """A temporary directory inside `directory`, in which to build what `place` then moves to its destination.

    It is removed on exit. So are the temporary directories of processes that died.
    """
    directory.mkdir(parents=True, exist_ok=True)
    # A shared lock on `directory` marks living processes. Only with an exclusive one may leftovers be removed.
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(BlockingIOError):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for abandoned in directory.glob(f"{DRAFTS}*"):
                _clear(abandoned)
        fcntl.flock(held, fcntl.LOCK_SH)
        draft = directory / f"{DRAFTS}{secrets.token_hex(8)}"
        draft.mkdir(mode=0o700)
        try:
            yield draft
        finally:
            _clear(draft)
    finally:
        os.close(held)


def place(made: Path, path: Path) -> None:
    """Sync the file or directory `made`, then rename it to `path`.

    A directory can replace only an empty directory, a file any file.
    """
    for each in [*made.rglob("*"), made]:
        sync(each)
    made.rename(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Flush a file's content, or a directory's entries, to disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def visible(directory: Path) -> Iterator[Path]:
    """The files below a directory. Follows links, and skips hidden names."""
    for folder, folders, names in os.walk(directory, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(HIDDEN)]
        yield from (Path(folder, name) for name in names if not name.startswith(HIDDEN))


def cause(error: Exception) -> str:
    """Why a file cannot be read or written, without its path, which the problem names anyway."""
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _clear(directory: Path) -> None:
    """Remove a directory tree, read-only directories included, as far as permissions allow."""
    if not directory.is_symlink():
        for folder, _, _ in os.walk(directory):
            with suppress(OSError):
                Path(folder).chmod(0o700)
    shutil.rmtree(directory, ignore_errors=True)


def _draft(path: Path, mode: int) -> tuple[Path, int]:
    """Open an empty draft of `path`, and lock it: the usual name, or a random one if a live process has that open.

    A usual draft that a dead process left is reused.
    """
    usual = path.with_name(f".{path.name}{DRAFT}")
    with suppress(OSError):
        descriptor = os.open(usual, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            there = os.fstat(descriptor)
            if os.path.samestat(there, usual.lstat()) and (there.st_uid, there.st_nlink) == (os.geteuid(), 1):
                os.ftruncate(descriptor, 0)
                return usual, descriptor
        except OSError:
            pass
        os.close(descriptor)
    another = path.with_name(f".{path.name}.{secrets.token_hex(8)}{DRAFT}")
    return another, os.open(another, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)


def _copy_ownership(path: Path, descriptor: int) -> None:
    """Copy owner, group and mode of `path`, as far as permitted: a service must be able to read what root replaced."""
    with suppress(OSError):
        there = path.stat()
        os.fchown(descriptor, there.st_uid, there.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(there.st_mode))
