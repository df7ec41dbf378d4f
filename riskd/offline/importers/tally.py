"""What became of every record, and how far an import has come."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

EXAMPLES: Final = 3
"""Places told of each reason, all different."""
_LONGEST: Final = 200
"""Characters of a detail."""
_DIGEST: Final = 16


class Count(Struct, frozen=True):
    """How many, and a few of them: line and detail."""

    records: int = 0
    examples: tuple[tuple[int, str], ...] = ()

    def one_more(self, line: int, detail: str) -> Count:
        """With one more, as an example if there are few and none is like it. What a terminal would obey is left out."""
        examples = self.examples
        detail = "".join([letter for letter in detail[:_LONGEST] if letter.isprintable()])
        if len(examples) < EXAMPLES and detail not in [told for _, told in examples]:
            examples = (*examples, (line, detail))
        return Count(self.records + 1, examples)


_NONE: Final = Count()


class Tally(Struct, frozen=True):
    """Every record of a file is in one of these. `used` is by what happened: an outcome, `failed`, or `attempt`."""

    used: dict[str, int] = {}
    skipped: dict[str, Count] = {}
    unreadable: Count = _NONE

    def use(self, happened: str) -> Tally:
        """With one more record that changed histories."""
        return replace(self, used={**self.used, happened: self.used.get(happened, 0) + 1})

    def skip(self, reason: str, line: int, detail: str) -> Tally:
        """With one more that was not used."""
        count = self.skipped.get(reason, _NONE).one_more(line, detail)
        return replace(self, skipped={**self.skipped, reason: count})

    def damage(self, line: int, fault: str) -> Tally:
        """With one more that could not be read."""
        return replace(self, unreadable=self.unreadable.one_more(line, fault))

    @property
    def read(self) -> int:
        """All of them."""
        return sum(self.used.values()) + sum(count.records for count in self.skipped.values()) + self.unreadable.records


class Mark(Struct, frozen=True):
    """How far an import of a file has come: written with what was learned, in one transaction.

    `chain` is a digest of all records so far, so that the same file is known again, or that it has grown.
    """

    records: int
    chain: bytes
    tally: Tally


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Mark)


def encode(mark: Mark) -> bytes:
    """The stored form."""
    return _ENCODER.encode(mark)


def decode(stored: bytes) -> Mark:
    """Back from `encode`. Raises what `UNDECODABLE` names."""
    return _DECODER.decode(stored)


def linked(chain: bytes, text: str) -> bytes:
    """The digest of everything so far and one record more."""
    return blake2b(chain + text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST).digest()
