"""Shared memory for metrics: one slot per series for each worker process and the monitor."""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from riskd.metrics.rule_slots import Noted
from riskd.metrics.table import METRICS

Readings = Mapping[str, Mapping[tuple[str, ...], float]]
"""Values of `live` metrics, by metric name and label values."""
_NOTE_BYTES: Final = 65536
"""Enough for the longest names of `metric.RULES` rules."""
_NOTE_HEAD: Final = struct.Struct("<II")


class Note(msgspec.Struct, frozen=True):
    """What the slots of a worker cannot say: each release and model that it has loaded, as the labels of
    `riskd_release_info`, and the rules that have the slots of `riskd_rule_hits_total`, in the order of the slots."""

    releases: tuple[tuple[str, ...], ...] = ()
    rules: tuple[Noted, ...] = ()

    def left(self) -> Note:
        """What remains of it when its worker is dead: no release, and rules that no release has."""
        return Note(rules=tuple((rule, False) for rule, _ in self.rules))


class Counts(msgspec.Struct, frozen=True):
    """What one process has counted: the values of its slots, and its note. `alive`: whether it still runs."""

    slots: Sequence[float]
    note: Note
    alive: bool = True


def _first() -> dict[str, int]:
    first, slots = dict[str, int](), 0
    for metric in METRICS:
        if metric.slots:
            first[metric.name] = slots
            slots += metric.slots
    return first


FIRST: Final = _first()
"""The first slot of each metric that has slots."""
SLOTS: Final = sum(metric.slots for metric in METRICS)
"""Slots of a process."""
_DECODER: Final = msgspec.json.Decoder(Note)


class MeterMemory:
    """Slots of all workers (the monitor's come last) and a note from each, in memory that forked children share.

    Create it before forking. It needs no locks: each worker writes only its own region, and an aligned eight-byte
    store is atomic.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.first = FIRST
        self._memory = memoryview(mmap.mmap(-1, workers * (SLOTS * 8 + _NOTE_BYTES)))

    def slots(self, worker: int) -> memoryview[float]:
        """The slots of one worker."""
        start = worker * SLOTS * 8
        slots: memoryview[float] = self._memory[start : start + SLOTS * 8].cast("d")
        return slots

    def write_note(self, worker: int, note: Note) -> None:
        """Replace a worker's note. One that is too long is ignored."""
        content = msgspec.json.encode(note)
        if len(content) <= _NOTE_BYTES - _NOTE_HEAD.size:
            head = _NOTE_HEAD.pack(len(content), zlib.crc32(content))
            start = self._note(worker)
            self._memory[start : start + len(head) + len(content)] = head + content

    def read_note(self, worker: int) -> Note | None:
        """A worker's note; None before the first, and while it is being replaced, which the checksum detects."""
        start = self._note(worker)
        size, checksum = _NOTE_HEAD.unpack_from(self._memory, start)
        start += _NOTE_HEAD.size
        content = bytes(self._memory[start : start + min(size, _NOTE_BYTES)])
        return _DECODER.decode(content) if size and zlib.crc32(content) == checksum else None

    def _note(self, worker: int) -> int:
        return self.workers * SLOTS * 8 + worker * _NOTE_BYTES
