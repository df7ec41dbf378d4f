"""The counts of engines in other programs: each process publishes its own in a file of a directory, and each can read
those of all. So whichever process answers a scrape shows the sum.

A process counts in its own memory. Files are replaced as a whole beside the work, so that a disk that is slow, full or
failing costs no call anything, and ends no process, as it would if the file were mapped.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from riskd.core.errors import UNDECODABLE
from riskd.host.background import every
from riskd.host.files import private
from riskd.host.locks import exclusive, held
from riskd.metrics.memory import FIRST, SLOTS, Counts, MeterMemory, Note
from riskd.metrics.metric import PRESENT
from riskd.metrics.table import METRICS

SECONDS: Final = 1.0
"""Between two times that a process publishes its counts. A process that is killed loses what it counted since."""
LOCK: Final = ".lock"
COUNTS: Final = ".counts"
_LAYOUT: Final = blake2b(repr([(each.name, each.rows, each.bounds) for each in METRICS]).encode(), digest_size=4)
"""Of the slots. Files of versions of riskd with other metrics have other names."""
_LOG: Final = logging.getLogger("riskd.metrics")


class _Published(Struct, frozen=True, array_like=True):
    slots: bytes
    note: Note


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Published)


class Publisher:
    """Publishes what this process counts in `memory`. Thread-safe.

    It takes over the counts of a dead process, so that counters never fall, and there are no more files than processes
    at a time.
    """

    def __init__(self, directory: Path) -> None:
        """Raises OSError if no file can be locked in the directory."""
        self.memory = MeterMemory(1)
        self._directory = directory
        self._process = os.getpid()
        self._held = ExitStack()
        self._busy = threading.Lock()
        self._failing = self._unread = False
        self._claim(again=False)
        self._take_over()
        self.publish()

    def publish(self) -> None:
        """Publish what has changed since the last time, unless this is a fork of the process that counts. A failure is
        logged once, and tried again the next time."""
        if os.getpid() != self._process:
            return
        with self._busy:
            try:
                if self._lost():
                    self._claim(again=True)
                self._write()
                self._failing = False
            except OSError as error:
                if not self._failing:
                    _LOG.error("metrics_not_published: %s", error, extra={"fields": {"error": str(error)}})
                self._failing = True

    def published(self) -> list[Counts]:
        """The counts of all processes that publish in the directory, dead ones included; none if they cannot be read,
        because the page also has what is the program's own.

        Those of this process are up to date, but none is ahead of its file: a counter would seem to fall when another
        process answers the next scrape.
        """
        self.publish()
        locks = sorted(self._directory.glob(f"{_LAYOUT.hexdigest()}-*{LOCK}"))
        try:
            found = [counts for lock in locks if (counts := _read(lock)) is not None]
        except OSError as error:
            if not self._unread:
                _LOG.error("metrics_not_read: %s", error, extra={"fields": {"error": str(error)}})
            self._unread = True
            return []
        self._unread = False
        return found

    def close(self) -> None:
        """Publish for the last time, and leave the counts to the next process."""
        self.publish()
        self._held.close()

    def _claim(self, *, again: bool) -> None:
        """Lock the first file that no live process has. `again`: the first without counts, after somebody has deleted
        the one of this process."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._held.close()
        for number in itertools.count():
            lock = self._directory / f"{_LAYOUT.hexdigest()}-{number}{LOCK}"
            if again and lock.with_suffix(COUNTS).exists():
                continue
            with ExitStack() as tried:
                if tried.enter_context(exclusive(lock)):
                    self._lock, self._status, self._before = lock, lock.stat(), b""
                    self._held = tried.pop_all()
                    return

    def _lost(self) -> bool:
        try:
            return not os.path.samestat(self._lock.stat(), self._status)
        except FileNotFoundError:
            return True

    def _take_over(self) -> None:
        """Go on from the counts of the process that had the file before, and remove those of other versions."""
        found = _read(self._lock)
        if found is not None:
            slots = self.memory.slots(0)
            for number, value in enumerate(found.slots):
                slots[number] = value
            for metric in METRICS:
                if metric.merge in PRESENT:
                    first = FIRST[metric.name]
                    for number in range(first, first + metric.slots):
                        slots[number] = 0.0
            self.memory.write_note(0, found.note.left())
        for lock in self._directory.glob(f"*{LOCK}"):
            if not lock.name.startswith(_LAYOUT.hexdigest()) and not held(lock):
                for path in (lock.with_suffix(COUNTS), lock):
                    path.unlink(missing_ok=True)

    def _write(self) -> None:
        # The note first: read after the slots, it could give a rule the count of the rule that had its slot before.
        note = self.memory.read_note(0) or Note()
        content = _ENCODER.encode(_Published(bytes(self.memory.slots(0)), note))
        if content != self._before:
            draft = self._lock.with_suffix(".draft")
            with private(draft) as file:
                file.write(zlib.compress(content, 1))
            draft.replace(self._lock.with_suffix(COUNTS))
            self._before = content


@contextmanager
def publishing(directory: Path) -> Iterator[Publisher]:
    """A publisher, at work until the context exits. Raises OSError if no file can be locked in the directory."""
    publisher = Publisher(directory)
    try:
        with every(SECONDS, lambda _: publisher.publish(), "metrics"):
            yield publisher
    finally:
        publisher.close()


def _read(lock: Path) -> Counts | None:
    """The counts beside a lock; None if there are none, or none of this version."""
    with suppress(FileNotFoundError, zlib.error, *UNDECODABLE):
        alive, content = held(lock), lock.with_suffix(COUNTS).read_bytes()
        found = _DECODER.decode(zlib.decompress(content))
        if len(found.slots) == SLOTS * 8:
            note = found.note if alive else found.note.left()
            return Counts(memoryview(found.slots).cast("d").tolist(), note, alive)
    return None
