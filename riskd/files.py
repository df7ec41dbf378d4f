"""Files that are there whole or not at all, and outlast the machine."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

DRAFT: Final = ".draft"
"""How the name of a file ends that is not yet what its name will say, and of what a dead process left of one."""


def private(path: Path) -> BinaryIO:
    """An empty file to write, for riskd's user alone. Raises OSError, as all of these."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write whole: whoever reads sees the old one or, at the end, the new one, whenever the machine dies.

    Of one whose writing raises nothing is left.
    """
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}{DRAFT}")
    try:
        with private(draft) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync(path.parent)


def put(path: Path, content: bytes) -> None:
    """Write a file `whole`."""
    with whole(path) as file:
        file.write(content)


def sync(path: Path) -> None:
    """Have what a file holds, or the names in a directory, outlast the machine."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
