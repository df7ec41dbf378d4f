"""Histories: what is remembered of an entity, as bounded integer counters, and the deltas that change them.

Everything is a sum, a bounded set or a union, so deltas commute, and a taught delta can be undone exactly:

- **tallies**: by table and value, how often it occurred in each period (`[first period, n, n, ...]`). The counts are
  not decayed when stored, only when read, so the order of reads and writes does not matter. In tables of `SEEN`, a
  value that came with every sign-in has the same tally as `sign_in`, and is stored as `[]`.
- **marks**: the newest few moments of a kind, each a tuple of numbers that begins with its time, in whole seconds.
- **sketches**: estimate the number of distinct values, by linear counting (Whang et al. 1990). Values hash to 52
  slots, each of which has the latest period in which it was hit. Estimates saturate near 205.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

from riskd.core import marks
from riskd.core.marks import Mark, Marks
from riskd.core.tallies import NOTHING_RARE, RARE, Tallies, Values, rare, trim

HOUR: Final = 3600
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY


class Table(Struct, frozen=True):
    """The form of a table: length of a `period` in seconds, number of periods to `keep`, and most values it holds."""

    period: int
    keep: int
    capacity: int


def _learned(capacity: int) -> Table:
    return Table(period=WEEK, keep=26, capacity=capacity)


PROFILE_TABLES: Final = {
    "sign_in": _learned(1),
    "address": _learned(16),
    "network": _learned(12),
    "asn": _learned(8),
    "country": _learned(8),
    "agent": _learned(8),
    "browser": _learned(8),
    "os": _learned(6),
    "device_class": _learned(4),
    "device": _learned(12),
    "fingerprint": _learned(8),
    "language": _learned(6),
    "timezone": _learned(6),
    "screen": _learned(8),
    "issuer": _learned(6),
    "hour": _learned(24),
    "weekday": _learned(7),
    "typing": _learned(3),
}
"""Tables that proven attempts teach. They keep 26 weeks: older history adds little (Wiefling et al., TOPS 2022)."""

ACTIVITY_TABLES: Final = {
    "attempt": Table(period=600, keep=7, capacity=1),
    "attempt_day": Table(period=2 * HOUR, keep=13, capacity=1),
    "failure": Table(period=600, keep=7, capacity=1),
    "failure_day": Table(period=2 * HOUR, keep=13, capacity=1),
    "journey_day": Table(period=2 * HOUR, keep=13, capacity=6),
}
"""Tables that count every assessment. Periods of 10 minutes cover the last hour, those of 2 hours the last day."""

TABLES: Final = PROFILE_TABLES | ACTIVITY_TABLES
SLOTS: Final = range(64, 116)
"""Slot numbers of a sketch. They do not start at 1, as Lua in Redis would then encode the map as an array."""
SKETCH: Final = Table(period=2 * HOUR, keep=13, capacity=len(SLOTS))
OWNERS: Final = Table(period=WEEK, keep=5, capacity=SKETCH.capacity)
"""The form of the sketch `owner`: accounts with proven sign-ins from an address or a network, by week."""
AHEAD: Final = 300
"""Seconds that one clock may run ahead of another, as in `validation`."""
PROFILE_SECONDS: Final = 26 * WEEK
ACTIVITY_SECONDS: Final = 26 * HOUR
SEQUENCE_SECONDS: Final = 30 * DAY
"""How long a subject's sensitive steps (recovery, profile update, payment) are remembered."""


class History(Struct, frozen=True, array_like=True):
    """What is remembered of one entity. Only `fold` may change it."""

    tallies: Tallies = msgspec.field(default_factory=Tallies)
    marks: Marks = {}
    sketches: dict[str, dict[int, int]] = {}


class Delta(Struct, frozen=True, array_like=True):
    """A change to the history under `key`, as data. `time` determines the periods; it and `expires` are epoch seconds.

    `counts` are (table, value, n), `marks` are (kind, mark), `seen` are (sketch, one of `SLOTS`). With `undo`, marks
    are removed instead of added; sketches are never undone.
    """

    key: bytes
    time: float
    expires: float
    counts: tuple[tuple[str, str, int], ...] = ()
    marks: tuple[tuple[str, Mark], ...] = ()
    seen: tuple[tuple[str, int], ...] = ()
    undo: bool = False
    keep: float = math.inf
    """Seconds to keep the history from now on. This can shorten an earlier, longer expiry; content that is older is
    dropped."""


EMPTY: Final = History()
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(History)


def encode(history: History) -> bytes:
    """The stored form: MessagePack of `[{letter: {value: tally}}, {kind: marks}, {sketch: {slot: period}}]`.

    Tables are in the order of `LETTERS`, their values in insertion order.
    """
    return _ENCODER.encode(history)


def decode(stored: bytes | memoryview) -> History:
    """The inverse of `encode`. Raises msgspec.DecodeError on anything else."""
    try:
        return _DECODER.decode(stored)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(str(error)) from error


def inverse(delta: Delta) -> Delta:
    """The delta that undoes `delta`, except for its sketches."""
    counts = tuple((table, value, -n) for table, value, n in delta.counts)
    return Delta(delta.key, delta.time, delta.expires, counts, delta.marks, (), not delta.undo, delta.keep)


def fold(history: History, delta: Delta) -> None:
    """Apply one delta in place.

    Deltas commute as long as no table overflows and nothing is older than its table or a delta keeps. An undo must
    come after what it undoes. It subtracts from the same value and period, but never below zero, as what it undoes
    may have expired or been evicted by then.

    Marks and, in profiles, whole weeks from before `delta.time - delta.keep` are dropped; in activity, if the delta
    counts, the counts of `RARE` that are older than their tables keep. (The other tables drop theirs when they count.)

    A new value in a full table evicts another one: first one that is dead (last used longer before the new value than
    the table keeps), then one used in a single period, then one used in several. Among equals the least recently used
    goes first, then the rarest, then the first in the byte order of UTF-8.
    """
    tallies, counts = history.tallies, delta.counts
    separate = tallies.sign_in is not None and tallies.seen()
    if separate:
        tallies.separate()
    for table, value, n in counts:
        _count(tallies, table, value, int(delta.time // TABLES[table].period), n)
    change = marks.remove if delta.undo else marks.add
    for kind, mark in delta.marks:
        change(history.marks, kind, mark)
    if history.marks and not delta.undo:
        marks.forget(history.marks, delta.time - delta.keep)
    if delta.keep < math.inf and not delta.undo:
        if tallies.sign_in is not None:
            tallies.forget(PROFILE_TABLES, int((delta.time - delta.keep) // WEEK))
        elif counts and rare(tallies) != NOTHING_RARE:
            lapse(tallies, delta.time)
    if tallies.sign_in is not None and (separate or len(counts) > 1):
        tallies.unite()
    for name, slot_hit in delta.seen:
        _hit(history.sketches.setdefault(name, {}), sketch(name), delta.time, slot_hit)


def lapse(tallies: Tallies, time: float) -> None:
    """Drop the counts of `RARE` that are older at this time than their tables keep."""
    for name, values in zip(RARE, rare(tallies), strict=True):
        if values:
            tallies.forget((name,), int(time // TABLES[name].period) - TABLES[name].keep + 1)


def _count(tallies: Tallies, name: str, value: str, period: int, n: int) -> None:
    """Add `n`, which may be negative, to a value's count in a period. No count falls below zero."""
    values: Values = getattr(tallies, name) or {}
    tally = values.get(value)
    if tally is None:
        if n > 0:
            _admit(values, TABLES[name], value, period, n)
            force_setattr(tallies, name, values)
        return
    at = period - tally[0] + 1
    if 0 < at < len(tally):
        tally[at] += n
        if tally[at] > 0:
            return
        tally[at] = 0
    elif n > 0:
        _extend(tally, period, n, TABLES[name].keep)
    trim(tally)
    if len(tally) == 1:
        del values[value]
        if not values:
            force_setattr(tallies, name, None)


def _admit(values: dict[str, list[int]], table: Table, value: str, period: int, n: int) -> None:
    """Add a value to a table, and evict another if it is full."""
    if len(values) >= table.capacity:
        del values[min(values, key=lambda old: (*_priority(values[old], period - table.keep), old))]
    values[value] = [period, n]


def _priority(tally: list[int], dead: int) -> tuple[bool, bool, int, int]:
    """The eviction priority of a value: the lowest goes first. `dead` is the newest period that the table drops.

    Ties are broken by comparing strings: by code points, which is also the byte order of UTF-8.
    """
    last, counts = tally[0] + len(tally) - 2, tally[1:]
    return last > dead, counts.count(0) < len(counts) - 1, last, sum(counts)


def _extend(tally: list[int], period: int, n: int, keep: int) -> None:
    """Add `n` in a period outside the tally, and drop periods that are then older than `keep`."""
    offset = period - tally[0]
    length = len(tally) - 1
    if offset >= length + keep:
        tally[:] = [period, n]
    elif offset >= length:
        tally += [0] * (offset - length)
        tally.append(n)
        excess = max(len(tally) - 1 - keep, 0)
        del tally[1 : 1 + excess]
        tally[0] += excess
    elif length - offset <= keep:
        tally[:1] = [period, n, *[0] * (-offset - 1)]


def sketch(name: str) -> Table:
    """The form of the sketch with this name."""
    return OWNERS if name == "owner" else SKETCH


def _hit(last: dict[int, int], table: Table, time: float, slot: int) -> None:
    """Note in a sketch that a slot was hit, and drop slots last hit longer ago than it keeps."""
    period = int(time // table.period)
    if not last or last.get(slot) == period:
        last[slot] = period
        return
    newest = max(last.values())
    if last.get(slot, newest - table.keep) < period:
        last[slot] = period
    if period > newest and min(last.values()) <= (oldest := period - table.keep):
        for old in [old for old, at in last.items() if at <= oldest]:
            del last[old]


WEEKLY_CAP: Final = 10
"""Most units that a value can earn in one week."""
OLDEST: Final = 26
"""Weeks after which units no longer count."""
_DECAY: Final = tuple((0.0, *(2.0 ** (-week / 13) for week in range(age, -1, -1))) for age in range(OLDEST + 1))
"""By age of a tally in weeks, the weights of its entries: 0 for `first period`, then decaying by half in 13 weeks."""
_MATURITY: Final = (1 / 3, 2 / 3)
"""Share of a value's units that count in its first and in its second week."""


def units(tally: list[int] | None, now: float, cap: int = WEEKLY_CAP) -> float:
    """The decayed units of a learned value; each week counts for at most `cap`."""
    if not tally:
        return 0.0
    age = int(now // WEEK) - tally[0]
    if age < 0:
        return 0.0
    if age > OLDEST:
        tally, age = [0, *tally[1 + age - OLDEST :]], OLDEST
    total = 0.0
    for n, weight in zip(tally, _DECAY[age]):  # noqa: B905 (naming `strict` costs as much as four weeks)
        if 0 < n <= cap:
            total += n * weight
        elif n > cap:
            total += cap * weight
    return total


def counted_since(values: Values | None, value: str, week: int) -> int:
    """The units of a learned value since `week`, neither decayed nor capped: for records that many subjects share.
    `values`: the tallies of its table."""
    tally = values.get(value) if values else None
    if not tally:
        return 0
    first = tally[0]
    return sum(tally) - first if first >= week else sum(tally[1 + week - first :])


def trusted(tally: list[int] | None, now: float) -> float:
    """The units of a value that count as familiar, a guard against poisoning.

    A value earns trust with age: a third of its units count in its first week, two thirds in its second, all of them
    from then on. So a single sign-in by an attacker makes nothing familiar.
    """
    if not tally:
        return 0.0
    age = int(now // WEEK) - tally[0]
    return units(tally, now) * (_MATURITY[max(age, 0)] if age < 2 else 1.0)


class Window(Struct, frozen=True):
    """A stretch of time up to now, in periods: from `oldest`, of which only `share` (0..1) counts, to `current`."""

    oldest: int
    current: int
    share: float

    def count(self, values: Values | None, value: str = "") -> float:
        """How often a value of a table occurred in it. `values`: the tallies of the table."""
        tally = values.get(value) if values else None
        if not tally:
            return 0.0
        first, current = tally[0], self.current
        if first > current:
            return 0.0
        at = self.oldest - first + 1
        if at < 1:
            total: float = sum(tally[1 : current - first + 2])
        elif at < len(tally):
            total = sum(tally[at + 1 : current - first + 2]) + tally[at] * self.share
        else:
            return 0.0
        return total if total > 0 else 0.0


def window(table: str, now: float, seconds: float) -> Window:
    """The last `seconds`, in periods of `table`."""
    period = TABLES[table].period
    since = (now - seconds) / period
    oldest = math.floor(since)
    return Window(oldest, int(now // period), oldest + 1 - since)


def distinct(history: History, sketch: str, now: float, seconds: float) -> float:
    """The estimated number of distinct values in the last `seconds`, rounded up to whole periods of two hours."""
    last = history.sketches.get(sketch)
    if not last:
        return 0.0
    oldest = int((now - seconds) // SKETCH.period)
    return cardinality(sum(map(oldest.__le__, last.values())))


def owners(history: History, now: float) -> float:
    """The estimated number of accounts with a proven sign-in from this address or network in the last five weeks."""
    last = history.sketches.get("owner")
    if not last:
        return 0.0
    oldest = int(now // WEEK) - OWNERS.keep
    return cardinality(sum(map(oldest.__lt__, last.values())))


def cardinality(taken: int) -> float:
    """Linear counting over m slots, of which `taken` were hit: -m ln(share of slots not hit)."""
    return _CARDINALITY[taken]


_M: Final = len(SLOTS)
_CARDINALITY: Final = tuple(0.0 - _M * math.log(max(_M - taken, 1) / _M) for taken in range(_M + 1))


def slot(pseudonym: bytes) -> int:
    """The slot that a value hashes to, by the first two bytes of its pseudonym."""
    return SLOTS[(pseudonym[0] << 8 | pseudonym[1]) % _M]


def newest(history: History, kind: str, now: float) -> Mark | None:
    """The latest mark of a kind that is at most `AHEAD` seconds after `now`."""
    for mark in history.marks.get(kind, ()):
        if mark[0] <= now + AHEAD:
            return mark
    return None


def lately(history: History, kind: str, now: float, seconds: float) -> float:
    """How many marks of a kind are younger than `seconds`, and at most `AHEAD` seconds after `now`."""
    marks = history.marks.get(kind)
    return float(sum([now - seconds < mark[0] <= now + AHEAD for mark in marks])) if marks else 0.0


def last_visit(history: History, now: float) -> float | None:
    """Time of the subject's last proven sign-in, None if unknown. Each sets a mark `place`, or else `visit`."""
    latest = max(newest(history, "place", now) or (), newest(history, "visit", now) or ())
    return latest[0] if latest else None
