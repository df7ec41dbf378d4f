"""Histories in bulk: the records that the outcomes of everybody's sign-ins would have written, without living them.

A million subjects take a minute or two instead of half an hour. Every record is made once, spilled to a file by the
first byte of its key, and put in the order of the keys.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from struct import Struct as Layout
from typing import Final

from benchmarks.traffic import attempt
from riskd.core import learn, signals
from riskd.core.address import parse
from riskd.core.context import Remembered
from riskd.core.history import MARKS, OWNERS, WEEK, Delta, History, encode
from riskd.core.stored import Change, pack
from riskd.core.tallies import SEEN, Tallies, Values
from riskd.engine import Parts, observe

SIGN_INS: Final = 3
"""Proven sign-ins of each subject: one a week, the last a week ago."""
BATCH: Final = 2_000
_LENGTHS: Final = Layout(">BH")
_EVERY: Final = 100_000


def seed(parts: Parts, subjects: int, now: float) -> None:
    """Give the customers of `traffic.attempts` a history of `SIGN_INS`, in an empty store. Shows its progress."""
    with tempfile.TemporaryDirectory(prefix="riskd-seed-") as directory:
        spilled = _spill(records(parts, subjects, now), Path(directory))
        batch: list[Change] = []
        for path in spilled:
            for key, record in sorted(_read(path)):
                batch.append(Change(key, None, record))
                if len(batch) == BATCH:
                    assert parts.store.replace(batch)
                    batch.clear()
        assert parts.store.replace(batch)


def records(parts: Parts, subjects: int, now: float) -> Iterator[tuple[bytes, bytes]]:
    """Keys and records, in no order, each key once."""
    random, shared = Random(7), Counter[tuple[bytes, tuple[tuple[str, str, int], ...]]]()
    seen: dict[tuple[bytes, str], int] = {}
    first, last = now - SIGN_INS * WEEK, now - WEEK
    expires = 0.0
    for who in range(subjects):
        lesson = _lesson(parts, who, random, first)
        place = lesson.subject[:8]
        for delta in learn.taught(lesson, 1):
            expires = delta.expires + last - first
            if delta.key.startswith(place) or delta.key[:-1] in lesson.owners:
                yield delta.key, pack(expires, encode(_repeated(delta, first)))
            else:
                shared[delta.key, delta.counts] += 1
                for sketch, bit in delta.seen:
                    seen[delta.key, sketch] = seen.get((delta.key, sketch), 0) | 1 << bit
        if who % _EVERY == _EVERY - 1:
            print(f"  {who + 1} subjects with history", file=sys.stderr, flush=True)
    tallies: dict[bytes, Counter[tuple[str, str]]] = {}
    for (key, counts), times in shared.items():
        tally = tallies.setdefault(key, Counter())
        for table, value, n in counts:
            tally[table, value] += n * times
    for key, tally in tallies.items():
        counts = tuple((table, value, n) for (table, value), n in tally.items())
        history = _repeated(Delta(key, first, expires, counts), first)
        if union := seen.get((key, "owner")):
            week = int(last // WEEK)
            history.sketches["owner"] = {slot: week for slot in range(OWNERS.capacity) if union >> slot & 1}
        yield key, pack(expires, encode(history))


def _lesson(parts: Parts, who: int, random: Random, when: float) -> learn.Lesson:
    """What one sign-in of a customer teaches."""
    one = attempt(who, random)
    address = parse(one.network.client_ip)
    assert address is not None
    seen = observe(parts, one, address, when)
    facts = (seen.place, seen.route, seen.agent)
    context = signals.context(one, when, seen.values, facts=facts, remembered=Remembered(), device_offset_min=None)
    return learn.lesson(one, context, seen.keys)


def _repeated(delta: Delta, first: float) -> History:
    """What remains of a delta that comes every week for `SIGN_INS` weeks: hour and weekday are the same each time."""
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


def _spill(entries: Iterable[tuple[bytes, bytes]], directory: Path) -> list[Path]:
    """Records into 256 files, by the first byte of their keys."""
    paths = [directory / f"{byte:02x}" for byte in range(256)]
    with ExitStack() as opened:
        files = [opened.enter_context(path.open("wb")) for path in paths]
        for key, record in entries:
            files[key[0]].write(_LENGTHS.pack(len(key), len(record)) + key + record)
    return paths


def _read(path: Path) -> Iterator[tuple[bytes, bytes]]:
    data, at = path.read_bytes(), 0
    while at < len(data):
        key, record = _LENGTHS.unpack_from(data, at)
        at += _LENGTHS.size
        yield data[at : at + key], data[at + key : at + key + record]
        at += key + record
