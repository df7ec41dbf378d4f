"""The processes that decide by the releases of a directory, and what each says of the latest activation.

Each holds the lock on a file of its own for as long as it lives, so the dead are told from the slow. What it says
is in a second file, replaced whole.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from riskd.files import put

LOCK: Final = ".lock"
SAID: Final = ".json"


class Statement(Struct, frozen=True):
    """Keys of the activations that a process could install, has installed, and refused, with the problems."""

    prepared: str = ""
    installed: str = ""
    refused: str = ""
    problems: tuple[str, ...] = ()


class Member:
    """A process's own membership, until `leave` or its death."""

    def __init__(self, directory: Path, name: str) -> None:
        """Raises OSError."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        stem = f"{name}-{secrets.token_hex(4)}"
        self._said = directory / f"{stem}{SAID}"
        self._lock = directory / f"{stem}{LOCK}"
        draft = directory / f".{stem}"
        self._descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # Named once it is locked: whoever finds a file without a lock takes its owner for dead.
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        draft.rename(self._lock)

    def say(self, statement: Statement) -> None:
        """Replace what this process says. Raises OSError."""
        put(self._said, msgspec.json.encode(statement))

    def leave(self) -> None:
        """Not to be counted any more. Idempotent."""
        if self._descriptor >= 0:
            for path in (self._lock, self._said):
                path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1


def members(directory: Path) -> dict[str, Statement]:
    """What each living process says, by its name; of the dead, the files are removed."""
    found = {}
    for lock in sorted(directory.glob(f"*{LOCK}")):
        said = lock.with_suffix(SAID)
        if _alive(lock):
            found[lock.stem] = _read(said)
        else:
            for path in (said, lock):
                path.unlink(missing_ok=True)
    return found


def _alive(lock: Path) -> bool:
    with suppress(FileNotFoundError), lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _read(said: Path) -> Statement:
    try:
        return msgspec.json.decode(said.read_bytes(), type=Statement)
    except FileNotFoundError:
        return Statement()
