"""Files and directories that are there whole or not at all, and outlast the machine."""

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
"""How the name of a file ends that is not yet what its name will say, and of what a dead process left of one."""
DRAFTS: Final = ".draft-"
"""How the name of a directory begins in which something is made (`drafting`)."""
SHARED: Final = 0o666
"""Permissions of what is for others, too, as the umask allows."""


def private(path: Path) -> BinaryIO:
    """An empty file to write, for riskd's user alone. Raises OSError, as all of these."""
    return _empty(path, 0o600)


@contextmanager
def whole(path: Path, mode: int = 0o600) -> Iterator[BinaryIO]:
    """A file to write whole: whoever reads sees the old one or, at the end, the new one, whenever the machine dies.

    Of one whose writing raises nothing is left, of a process that dies one draft, which the next takes up. A file that
    is replaced keeps its owner, group and permissions, also where root does it; `mode` is for one that was not there.
    Of a link, what it leads to is replaced; what is no file, a pipe or a device, is written as it comes.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    path = Path(os.path.realpath(path))
    (draft, descriptor), placed = _draft(path, mode), False
    with os.fdopen(descriptor, "wb") as file:
        try:
            _as_before(path, descriptor)
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
    """Write a file `whole`."""
    with whole(path, mode) as file:
        file.write(content)


@contextmanager
def drafting(directory: Path) -> Iterator[Path]:
    """A directory of this process, in `directory`, in which to make what `place` then moves to where it belongs.

    It is gone at the end with what is left in it, and so is what dead processes left of theirs.
    """
    directory.mkdir(parents=True, exist_ok=True)
    # The kernel gives this back when a process dies, and while any has it nobody clears away.
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
    """Move what was made to where it belongs, once all of it outlasts the machine.

    A directory replaces none but an empty one, a file any.
    """
    for each in [*made.rglob("*"), made]:
        sync(each)
    made.rename(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have what a file holds, or the names in a directory, outlast the machine."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _clear(directory: Path) -> None:
    """Remove a directory with what is in it, copies of what was read-only too, as far as that can be done."""
    if not directory.is_symlink():
        for folder, _, _ in os.walk(directory):
            with suppress(OSError):
                Path(folder).chmod(0o700)
    shutil.rmtree(directory, ignore_errors=True)


def _draft(path: Path, mode: int) -> tuple[Path, int]:
    """An empty file in which to write what will be at `path`: the one that a dead process left, or one of that name;
    where somebody writes that at this moment, one of another. It is locked, so that nobody takes it up who lives."""
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


def _as_before(path: Path, descriptor: int) -> None:
    """Give what replaces a file to the file's owner, as far as this process may: a service must still read what root
    has written anew."""
    with suppress(OSError):
        there = path.stat()
        os.fchown(descriptor, there.st_uid, there.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(there.st_mode))


def _empty(path: Path, mode: int) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode), "wb")
