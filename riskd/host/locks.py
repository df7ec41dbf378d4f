"""File locks between processes. The kernel releases a lock when its holder dies.

A process that is forked meanwhile inherits the lock. So it is released explicitly, not by closing the file alone.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_AGAIN: Final = 0.01
"""Seconds between two attempts to take the lock."""


@contextmanager
def exclusive(lock: Path, patience: float = 0.0) -> Iterator[bool]:
    """Try for `patience` seconds to take an exclusive lock on the file `lock`, which is created if absent.

    Yields whether the lock was taken; if so, it is held until the context exits. A lock file created by root is given
    to the owner of its directory, who must be able to take it, too. Raises OSError.
    """
    descriptor, process = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), os.getpid()
    try:
        if os.fstat(descriptor).st_uid == os.geteuid() == 0:
            owner = lock.parent.stat()
            with suppress(PermissionError):  # in a container, root may lack CAP_CHOWN
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
        deadline = time.monotonic() + patience
        while not (ours := _locked(descriptor)) and time.monotonic() < deadline:
            time.sleep(_AGAIN)
        yield ours
    finally:
        if os.getpid() == process:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def held(lock: Path) -> bool:
    """Whether somebody holds the lock on this file: False if there is no such file. Raises other OSErrors."""
    with suppress(FileNotFoundError), lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
