"""What became of every record, and how far an import has come."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import Struct

EXAMPLES: Final = 3
"""Places told of each reason, all different."""
_DIGEST: Final = 16


class Count(Struct):
    """How many, and a few of them: line and detail."""

    records: int = 0
    examples: list[tuple[int, str]] = []

    def add(self, line: int, detail: str) -> None:
        """One more."""
        self.records += 1
        if len(self.examples) < EXAMPLES and detail not in [told for _, told in self.examples]:
            self.examples.append((line, detail[:200]))


class Tally(Struct):
    """Every record of a file is in one of these. `used` is by what happened: an outcome, or `attempt` without one."""

    used: dict[str, int] = {}
    skipped: dict[str, Count] = {}
    unreadable: Count = msgspec.field(default_factory=Count)

    def use(self, happened: str) -> None:
        """A record changed histories, or confirmed what they hold."""
        self.used[happened] = self.used.get(happened, 0) + 1

    def skip(self, reason: str, line: int, detail: str) -> None:
        """A record was not used."""
        self.skipped.setdefault(reason, Count()).add(line, detail)

    @property
    def read(self) -> int:
        """All of them."""
        return sum(self.used.values()) + sum(count.records for count in self.skipped.values()) + self.unreadable.records


class Mark(Struct):
    """How far an import of a file has come: written with what was learned, in one transaction.

    `chain` is a digest of all records so far, so that the same file is known again, or that it has grown.
    """

    records: int = 0
    chain: bytes = b""
    tally: Tally = msgspec.field(default_factory=Tally)


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Mark)


def encode(mark: Mark) -> bytes:
    """The stored form."""
    return _ENCODER.encode(mark)


def decode(stored: bytes) -> Mark:
    """Back from `encode`. Raises msgspec.DecodeError."""
    return _DECODER.decode(stored)


def linked(chain: bytes, text: str) -> bytes:
    """The digest of everything so far and one record more."""
    return blake2b(chain + text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST).digest()
