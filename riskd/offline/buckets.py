"""Divides subjects into buckets by the beginning of their pseudonym, which is as good as random."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

MOST: Final = 256
"""The largest number of buckets."""


class Bucket(Struct, frozen=True):
    """Bucket number `index` (from 0) of `count` buckets."""

    index: int = 0
    count: int = 1

    def __str__(self) -> str:
        return f"bucket {self.index + 1}/{self.count}"

    def has(self, name: str) -> bool:
        """Whether a pseudonym, or the id of an assessment of that subject, falls into this bucket."""
        return self.count == 1 or bucket_of(name, self.count) == self.index


def bucket_of(name: str, count: int) -> int:
    """The number of the bucket, out of `count`, of a pseudonym in hexadecimal or of an assessment id, which begins with
    the first digits of its subject's pseudonym."""
    return int(name[:4], 16) % count
