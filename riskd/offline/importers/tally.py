"""Counts what became of every record, and stores how far an import has come."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

EXAMPLES: Final = 3
"""How many different examples are kept for each reason."""
_LONGEST: Final = 200
"""The longest detail, in characters."""
_DIGEST: Final = 16


class Count(Struct, frozen=True):
    """A number of records, and a few examples: line and detail."""

    records: int = 0
    examples: tuple[tuple[int, str], ...] = ()

    def one_more(self, line: int, detail: str) -> Count:
        """Count one more record; it becomes an example if there is room and none is like it. Control characters are
        dropped."""
        examples = self.examples
        detail = "".join([letter for letter in detail[:_LONGEST] if letter.isprintable()])
        if len(examples) < EXAMPLES and detail not in [told for _, told in examples]:
            examples = (*examples, (line, detail))
        return Count(self.records + 1, examples)


_NONE: Final = Count()


class Tally(Struct, frozen=True):
    """What became of the records of a file; each is counted once. `used`: by outcome, `failed` or `attempt`."""

    used: dict[str, int] = {}
    skipped: dict[str, Count] = {}
    unreadable: Count = _NONE

    def use(self, happened: str) -> Tally:
        """Count one more record that changed histories."""
        return replace(self, used={**self.used, happened: self.used.get(happened, 0) + 1})

    def skip(self, reason: str, line: int, detail: str) -> Tally:
        """Count one more record that was skipped."""
        count = self.skipped.get(reason, _NONE).one_more(line, detail)
        return replace(self, skipped={**self.skipped, reason: count})

    def damage(self, line: int, fault: str) -> Tally:
        """Count one more record that could not be read."""
        return replace(self, unreadable=self.unreadable.one_more(line, fault))

    @property
    def read(self) -> int:
        """The number of all records."""
        return sum(self.used.values()) + sum(count.records for count in self.skipped.values()) + self.unreadable.records


class Bookmark(Struct, frozen=True):
    """How far the import of a file has come. It is written in one transaction with what was learned.

    `chain`: a digest of all records so far. It tells whether a file is the same, or has grown.
    """

    records: int
    chain: bytes
    tally: Tally


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Bookmark)


def encode(bookmark: Bookmark) -> bytes:
    """The stored form."""
    return _ENCODER.encode(bookmark)


def decode(stored: bytes) -> Bookmark:
    """The reverse of `encode`. Raises the errors in `UNDECODABLE`."""
    return _DECODER.decode(stored)


def linked(chain: bytes, text: str) -> bytes:
    """The digest of everything so far and one more record."""
    return blake2b(chain + text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST).digest()
