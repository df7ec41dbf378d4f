"""Writes MaxMind DB files (format 2.0) from sorted, disjoint address ranges.

Sorted input makes the search tree cheap: a new network differs from the previous one only below their common prefix, so
each node is created once and never searched for.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Mapping
from typing import BinaryIO, Final

_STRING, _UINT16, _UINT32, _MAP, _UINT64, _ARRAY = 2, 5, 6, 7, 9, 11
_BITS: Final = 128
_LEAF: Final = 1 << 31
_SEPARATOR: Final = bytes(16)
_MARKER: Final = b"\xab\xcd\xefMaxMind.com"
_POINTERS: Final = ((0, 1 << 11), (1 << 11, 1 << 19), ((1 << 11) + (1 << 19), 1 << 27))
"""For pointers with 1, 2 and 3 further bytes: the first offset that they reach, and how many offsets."""
_SHORT: Final = 4
"""Texts of at most this many bytes are repeated: a pointer would not be shorter."""


class MmdbWriter:
    """One IPv6 search tree with the IPv4 addresses at ::/96, where readers look for them.

    Store the records, add the ranges in ascending order (IPv4 addresses come first), then write the file.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._texts: dict[str, int] = {}
        self._tree = array("I", (0, 0))
        self._path = [0] * _BITS
        self._network = (0, 0)
        self._free = 0

    def store(self, record: Mapping[str, str | int]) -> int:
        """Store a record of texts and whole numbers below 2**32. Returns the number that `add` takes."""
        offset = len(self._data)
        self._data += _control(_MAP, len(record))
        for key, value in record.items():
            self._text(key)
            if isinstance(value, str):
                self._text(value)
            else:
                self._data += _uint(_UINT32, value)
        return offset

    def add(self, first: int, last: int, record: int) -> None:
        """Map the addresses from `first` to `last` (inclusive) to a record. Raises ValueError if they are out of
        order."""
        if not self._free <= first <= last < 1 << _BITS:
            raise ValueError(f"the range from {first} to {last} is empty, or not above the one before it")
        self._free = last + 1
        for start, length in _networks(first, last):
            self._insert(start, length, _LEAF | record)

    def write(self, file: BinaryIO, database_type: str, build_epoch: int) -> None:
        """Write the file. `build_epoch`: seconds since the Unix epoch."""
        nodes = len(self._tree) // 2
        data = nodes + len(_SEPARATOR) - _LEAF
        tree = array("I", [entry + data if entry & _LEAF else entry or nodes for entry in self._tree])
        if sys.byteorder == "little":
            tree.byteswap()
        metadata = {
            "binary_format_major_version": _uint(_UINT16, 2),
            "binary_format_minor_version": _uint(_UINT16, 0),
            "build_epoch": _uint(_UINT64, build_epoch),
            "database_type": _text(database_type),
            "description": _control(_MAP, 0),
            "ip_version": _uint(_UINT16, 6),
            "languages": _control(_ARRAY, 0),
            "node_count": _uint(_UINT32, nodes),
            "record_size": _uint(_UINT16, 8 * tree.itemsize),
        }
        file.write(tree.tobytes() + _SEPARATOR + self._data + _MARKER + _control(_MAP, len(metadata)))
        file.write(b"".join(_text(key) + value for key, value in metadata.items()))

    def _text(self, text: str) -> None:
        offset = self._texts.get(text)
        if offset is not None:
            self._data += _pointer(offset)
            return
        encoded = _text(text)
        if len(encoded) > _SHORT:
            self._texts[text] = len(self._data)
        self._data += encoded

    def _insert(self, start: int, length: int, leaf: int) -> None:
        tree, path = self._tree, self._path
        previous, previous_length = self._network
        common = min(_BITS - (start ^ previous).bit_length(), max(previous_length - 1, 0), length - 1)
        node = path[common]
        for depth in range(common, length - 1):
            child = len(tree) // 2
            tree[2 * node + (start >> _BITS - 1 - depth & 1)] = child
            tree.extend((0, 0))
            path[depth + 1] = node = child
        tree[2 * node + (start >> _BITS - length & 1)] = leaf
        self._network = start, length


def _networks(first: int, last: int) -> Iterator[tuple[int, int]]:
    """The fewest networks that cover a range, each as its first address and prefix length."""
    while first <= last:
        aligned = (first & -first).bit_length() - 1 if first else _BITS
        bits = min(aligned, (last - first + 1).bit_length() - 1)
        yield first, _BITS - bits
        first += 1 << bits


def _control(kind: int, size: int) -> bytes:
    head, extension = (kind << 5, b"") if kind < 8 else (0, bytes((kind - 7,)))
    if size < 29:
        return bytes((head | size,)) + extension
    if size < 285:
        return bytes((head | 29,)) + extension + (size - 29).to_bytes(1)
    return bytes((head | 30,)) + extension + (size - 285).to_bytes(2)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _control(_STRING, len(encoded)) + encoded


def _uint(kind: int, number: int) -> bytes:
    size = (number.bit_length() + 7) // 8
    return _control(kind, size) + number.to_bytes(size)


def _pointer(offset: int) -> bytes:
    for size, (base, reach) in enumerate(_POINTERS):
        if offset - base < reach:
            return (0x20 << 8 * (size + 1) | size << 8 * (size + 1) + 3 | offset - base).to_bytes(size + 2)
    return b"\x38" + offset.to_bytes(4)
