"""Shared memory for metrics: one slot per series for each worker process and the monitor."""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Mapping
from typing import Final

from riskd.metrics import METRICS

Readings = Mapping[str, Mapping[tuple[str, ...], float]]
"""Values of `live` metrics, by metric name and label values."""
_NOTE_BYTES: Final = 8192
_NOTE_HEAD: Final = struct.Struct("<II")


class MeterMemory:
    """Slots of all workers (the monitor's come last) and a short note from each, in memory that forked children share.

    Create it before forking. It needs no locks: each worker writes only its own region, and an aligned eight-byte
    store is atomic.
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
        """Replace a worker's note. A text that is too long is ignored."""
        content = text.encode()
        if len(content) <= _NOTE_BYTES - _NOTE_HEAD.size:
            head = _NOTE_HEAD.pack(len(content), zlib.crc32(content))
            start = self._note(worker)
            self._memory[start : start + len(head) + len(content)] = head + content

    def read_note(self, worker: int) -> str:
        """A worker's note; empty while it is being replaced, which the checksum detects."""
        start = self._note(worker)
        size, checksum = _NOTE_HEAD.unpack_from(self._memory, start)
        start += _NOTE_HEAD.size
        content = bytes(self._memory[start : start + min(size, _NOTE_BYTES)])
        return content.decode() if zlib.crc32(content) == checksum else ""

    def _note(self, worker: int) -> int:
        return self.workers * self._slots * 8 + worker * _NOTE_BYTES
