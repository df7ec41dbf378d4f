"""The memory of the metrics: a slot for each series of each process of a service that counts, shared by all."""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Mapping
from typing import Final

from riskd.metrics import METRICS

Readings = Mapping[str, Mapping[tuple[str, ...], float]]
"""Values of `live` metrics: name to label values to value."""
_NOTE_BYTES: Final = 8192
_NOTE_HEAD: Final = struct.Struct("<II")


class MeterMemory:
    """Slots of all workers, the monitor last, and a short text from each, in anonymous memory that forked children
    share.

    Make it before forking. A worker writes its own region alone, so there is nothing to lock between
    processes; an aligned eight-byte store is seen whole or not at all.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.first: dict[str, int] = {}
        slots = 0
        for metric in METRICS:
            if metric.merge != "live":
                self.first[metric.name] = slots
                slots += metric.width * len(metric.rows)
        self._slots = slots
        self._memory = memoryview(mmap.mmap(-1, workers * (slots * 8 + _NOTE_BYTES)))

    def slots(self, worker: int) -> memoryview[float]:
        """The slots of one worker."""
        start = worker * self._slots * 8
        slots: memoryview[float] = self._memory[start : start + self._slots * 8].cast("d")
        return slots

    def write_note(self, worker: int, text: str) -> None:
        """Replace a worker's text; one that is too long is left out."""
        content = text.encode()
        if len(content) <= _NOTE_BYTES - _NOTE_HEAD.size:
            head = _NOTE_HEAD.pack(len(content), zlib.crc32(content))
            start = self._note(worker)
            self._memory[start : start + len(head) + len(content)] = head + content

    def read_note(self, worker: int) -> str:
        """A worker's text; empty while it is being replaced, which the checksum tells."""
        start = self._note(worker)
        size, checksum = _NOTE_HEAD.unpack_from(self._memory, start)
        start += _NOTE_HEAD.size
        content = bytes(self._memory[start : start + min(size, _NOTE_BYTES)])
        return content.decode() if zlib.crc32(content) == checksum else ""

    def _note(self, worker: int) -> int:
        return self.workers * self._slots * 8 + worker * _NOTE_BYTES
