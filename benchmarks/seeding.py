"""Fills a store with histories in bulk: writes the records that sign-ins would have left, without assessing them.

A million subjects take a minute or two instead of half an hour. Processes on all cores make the records and write them
to files by the first byte of the key. They are then stored in the order of their keys.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from struct import Struct as Layout
from typing import Final

import msgspec

from benchmarks.traffic import attempt
from riskd.core import learn, signals
from riskd.core.address import parse
from riskd.core.context import Remembered
from riskd.core.history import SLOTS, WEEK, Delta, History, encode
from riskd.core.marks import MARKS
from riskd.core.rekey import merged
from riskd.core.retention import USUAL
from riskd.core.stored import Change, pack
from riskd.core.tallies import SEEN, Tallies, Values
from riskd.engine.gather import observe
from riskd.ports import Parts

SIGN_INS: Final = 3
"""Proven sign-ins of each subject: one a week, the last one a week ago."""
BATCH: Final = 2_000
_LENGTHS: Final = Layout(">BH")
_EVERY: Final = 100_000
"""Subjects between two lines of progress. From this many on, every core gets a process."""
_COMMON: Final = "common"
_Counts = tuple[tuple[str, str, int], ...]
_TAUGHT: Final = msgspec.msgpack.Decoder(tuple[list[tuple[bytes, _Counts, int]], list[tuple[bytes, int]]])


def seed(parts: Parts, subjects: int, now: float) -> None:
    """Give the customers of `traffic.attempts` histories of `SIGN_INS` in an empty store. Prints progress."""
    with tempfile.TemporaryDirectory(prefix="riskd-seed-") as directory:
        processes = (os.cpu_count() or 1) if subjects >= _EVERY else 1
        shares = [Path(directory, str(number)) for number in range(processes)]
        work = [(parts, range(number, subjects, processes), now, share) for number, share in enumerate(shares)]
        if processes == 1:
            _share(*work[0])
        else:
            _together([get_context("fork").Process(target=_share, args=each) for each in work])
        common = Path(directory, "common")
        _spill(_common(shares, now), common)
        batch: list[Change] = []
        for byte in range(256):
            found: dict[bytes, bytes] = {}
            for key, record in chain(*[_read(share / f"{byte:02x}") for share in (*shares, common)]):
                found[key] = merged(found[key], record) if key in found else record
            for key in sorted(found):
                batch.append(Change(key, None, found[key]))
                if len(batch) == BATCH:
                    assert parts.store.replace(batch)
                    batch.clear()
        assert parts.store.replace(batch)


def _together(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0


def _share(parts: Parts, subjects: range, now: float, directory: Path) -> None:
    """Write the subjects' own records to files, and a file with what the subjects taught common values."""
    taught: Counter[tuple[bytes, _Counts]] = Counter()
    seen: dict[bytes, int] = {}
    _spill(_own(parts, subjects, now, taught, seen), directory)
    lines = [(key, counts, times) for (key, counts), times in taught.items()]
    (directory / _COMMON).write_bytes(msgspec.msgpack.encode((lines, list(seen.items()))))


def _own(
    parts: Parts, subjects: range, now: float, taught: Counter[tuple[bytes, _Counts]], seen: dict[bytes, int]
) -> Iterator[tuple[bytes, bytes]]:
    """The keys and records of the subjects themselves, in no order.

    Adds to `taught` how often they taught common values, and to `seen` the sketch slots of the owners, as bits.
    """
    random, (first, last) = Random(7), _span(now)
    for number, who in enumerate(subjects, 1):
        lesson = _lesson(parts, who, random, first)
        place = lesson.subject[:8]
        for delta in learn.lesson_deltas(lesson, 1):
            if delta.key.startswith(place) or delta.key[:-1] in lesson.owners:
                yield delta.key, pack(delta.expires + last - first, encode(_repeated(delta, first)))
            else:
                taught[delta.key, delta.counts] += 1
                for _, bit in delta.seen:
                    seen[delta.key] = seen.get(delta.key, 0) | 1 << SLOTS.index(bit)
        if number % _EVERY == 0:
            print(f"  {number} of {len(subjects)} subjects with history", file=sys.stderr, flush=True)


def _common(shares: Sequence[Path], now: float) -> Iterator[tuple[bytes, bytes]]:
    """The keys and records of common values, merged over all shares."""
    first, last = _span(now)
    tallies: dict[bytes, Counter[tuple[str, str]]] = {}
    seen: dict[bytes, int] = {}
    for share in shares:
        lines, bits = _TAUGHT.decode((share / _COMMON).read_bytes())
        for key, counts, times in lines:
            tally = tallies.setdefault(key, Counter())
            for table, value, n in counts:
                tally[table, value] += n * times
        for key, union in bits:
            seen[key] = seen.get(key, 0) | union
    for key, tally in tallies.items():
        counts = tuple((table, value, n) for (table, value), n in tally.items())
        history = _repeated(Delta(key, first, math.inf, counts), first)
        if union := seen.get(key, 0):
            week = int(last // WEEK)
            history.sketches["owner"] = {slot: week for at, slot in enumerate(SLOTS) if union >> at & 1}
        yield key, pack(last + USUAL.profile, encode(history))


def _span(now: float) -> tuple[float, float]:
    """The times of every subject's first and last sign-in."""
    return now - SIGN_INS * WEEK, now - WEEK


def _lesson(parts: Parts, who: int, random: Random, when: float) -> learn.Lesson:
    """What a sign-in of a customer teaches."""
    one = attempt(who, random)
    address = parse(one.network.client_ip)
    assert address is not None
    seen = observe(parts, one, address, when)
    facts = (seen.place, seen.route, seen.agent)
    context = signals.context(one, when, seen.values, facts=facts, remembered=Remembered(), device_offset_min=None)
    return learn.lesson(one, context, seen.keys)


def _repeated(delta: Delta, first: float) -> History:
    """The history after the same delta in each of `SIGN_INS` weeks. Hour and weekday are the same each time."""
    week = int(first // WEEK)
    tables: dict[str, Values] = {}
    (account,) = (n for table, _, n in delta.counts if table == "sign_in")
    for table, value, n in delta.counts:
        own = table not in SEEN or n != account
        tables.setdefault(table, {})[value] = [week, *(n,) * SIGN_INS] if own else []
    marks = {
        kind: [(mark[0] + weeks * WEEK, *mark[1:]) for weeks in range(SIGN_INS - 1, -1, -1)][:MARKS]
        for kind, mark in delta.marks
    }
    return History(Tallies(**tables), marks)


def _spill(entries: Iterable[tuple[bytes, bytes]], directory: Path) -> None:
    """Write records to 256 files by the first byte of their keys."""
    directory.mkdir()
    with ExitStack() as opened:
        files = [opened.enter_context((directory / f"{byte:02x}").open("wb")) for byte in range(256)]
        for key, record in entries:
            files[key[0]].write(_LENGTHS.pack(len(key), len(record)) + key + record)


def _read(path: Path) -> Iterator[tuple[bytes, bytes]]:
    data, at = path.read_bytes(), 0
    while at < len(data):
        key, record = _LENGTHS.unpack_from(data, at)
        at += _LENGTHS.size
        yield data[at : at + key], data[at + key : at + key + record]
        at += key + record
