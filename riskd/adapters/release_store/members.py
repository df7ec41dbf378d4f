"""The member processes, which decide by the releases of a directory, and the statement of each on an activation.

A member locks a file of its own for as long as it lives, so dead members can be told from slow ones. Its statement is
in a second file, which is replaced atomically.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from riskd.host.files import put
from riskd.host.locks import held

LOCK: Final = ".lock"
STATEMENT: Final = ".json"


class Statement(Struct, frozen=True):
    """The keys of the activations that a process is ready to install, has installed, and refuses with `problems`."""

    prepared: str = ""
    installed: str = ""
    refused: str = ""
    problems: tuple[str, ...] = ()


class Member:
    """The membership of the current process, until `leave` or its death."""

    def __init__(self, directory: Path, name: str) -> None:
        """Raises OSError."""
        self._stem = f"{name}-{secrets.token_hex(4)}"
        self._statement = directory / f"{self._stem}{STATEMENT}"
        self._lock = directory / f"{self._stem}{LOCK}"
        self._descriptor = -1
        self._join()

    def lost(self) -> bool:
        """Whether its lock is gone, because somebody deleted the directory."""
        try:
            self._lock.lstat()
        except FileNotFoundError:
            return True
        except OSError:
            pass
        return False

    def publish(self, statement: Statement) -> None:
        """Replace this process's statement, and lock a file again if that is gone. Raises OSError."""
        if self.lost():
            self._join()
        put(self._statement, msgspec.json.encode(statement))

    def leave(self) -> None:
        """End the membership. Idempotent."""
        if self._descriptor >= 0:
            for path in (self._lock, self._statement):
                path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1

    def _join(self) -> None:
        self._lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._lock.with_name(f".{self._stem}")
        before, self._descriptor = self._descriptor, -1
        if before >= 0:
            os.close(before)
        self._descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # Renamed after it was locked: `members` takes the owner of an unlocked file for dead.
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        draft.rename(self._lock)


def members(directory: Path) -> dict[str, Statement]:
    """The statement of each live process, by name. Removes the files of dead ones."""
    found = {}
    for lock in sorted(directory.glob(f"*{LOCK}")):
        statement = lock.with_suffix(STATEMENT)
        if held(lock):
            found[lock.stem] = _read(statement)
        else:
            for path in (statement, lock):
                path.unlink(missing_ok=True)
    return found


def _read(path: Path) -> Statement:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Statement)
    except FileNotFoundError:
        return Statement()
