"""Locks between processes, which the kernel gives back when their holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_AGAIN: Final = 0.01
"""Seconds between two tries."""


@contextmanager
def alone(lock: Path, patience: float = 0.0) -> Iterator[bool]:
    """Whether nobody else holds this lock, a file that is made if need be, after waiting for `patience` seconds at
    most; if so, nobody can until this is left. One that root makes belongs to the owner of its directory: who owns that
    must be able to hold it, too. Raises OSError.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_uid == os.geteuid() == 0:
            owner = lock.parent.stat()
            with suppress(PermissionError):  # a root that may not give away has nobody to give to
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
        deadline = time.monotonic() + patience
        while not (ours := _locked(descriptor)) and time.monotonic() < deadline:
            time.sleep(_AGAIN)
        yield ours
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
