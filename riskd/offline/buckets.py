"""Buckets: who is in which share of all subjects, by the beginning of the pseudonym, which is as good as random."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

MOST: Final = 256
"""Buckets at most."""


class Share(Struct, frozen=True):
    """Bucket `index`, from 0, of `count`."""

    index: int = 0
    count: int = 1

    def has(self, name: str) -> bool:
        """Whether a pseudonym, or an assessment id of its subject, is in it."""
        return self.count == 1 or bucket(name, self.count) == self.index


def bucket(name: str, count: int) -> int:
    """The bucket, out of so many, of a pseudonym in hexadecimal, or of an assessment id, which begins as its subject's
    pseudonym does."""
    return int(name[:4], 16) % count
