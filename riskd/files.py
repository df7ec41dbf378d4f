"""Files that are there whole or not at all, and outlast the machine."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import BinaryIO, Final

DRAFT: Final = ".draft"
"""How the name of a file ends that is not yet what its name will say, and of what a dead process left of one."""


def private(path: Path) -> BinaryIO:
    """An empty file to write, for riskd's user alone. Raises OSError, as all of these."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")


def put(path: Path, content: bytes) -> None:
    """Write a file whole: whoever reads sees the old one or the new one, whenever the machine dies."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}{DRAFT}")
    with private(draft) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have what a file holds, or the names in a directory, outlast the machine."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
