"""Bytes that are nearly valid: changed, cut, repeated and mixed, deterministically by seed."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final

_TELLING: Final = (0, 1, 127, 128, 255, 10, 34, 45, 48, 58, 91, 123)
"""Bytes with a meaning in many formats: zero, signs, quotes, brackets."""
MOST: Final = 1 << 20


def mutants(seeds: list[bytes], random: Random) -> Iterator[bytes]:
    """An endless sequence of mutants."""
    while True:
        data = bytearray(random.choice(seeds))
        for _ in range(random.choice((1, 1, 2, 4, 16))):
            _change(data, random, seeds)
        yield bytes(data[:MOST])


def _change(data: bytearray, random: Random, seeds: list[bytes]) -> None:
    at = random.randrange(len(data) + 1)
    end = min(len(data), at + random.choice((1, 1, 2, 4, 8, 64, 1024)))
    way = random.randrange(7)
    if way == 0:
        data[at:end] = bytes(random.choice(_TELLING) for _ in range(end - at))
    elif way == 1:
        data[at:end] = random.randbytes(end - at)
    elif way == 2:
        del data[at:end]
    elif way == 3:
        data[at:at] = data[at:end] * random.choice((1, 2, 50))
    elif way == 4:
        del data[at:]
    elif way == 5 and at < end:
        data[at] ^= 1 << random.randrange(8)
    else:
        other = random.choice(seeds)
        start = random.randrange(len(other) + 1)
        data[at:end] = other[start : start + random.choice((4, 64, 1024))]
