"""Histories: what is remembered of an entity, as bounded integer counters, and the deltas that change them.

Everything is a sum, a bounded set or a union, so deltas commute and a taught delta can be taken back exactly:

- **tallies**: per table and value, how often in each period (`[first period, n, n, ...]`). Whole numbers only;
  decay happens when they are read, so that nothing is lost by being read or written in another order.
- **marks**: the newest few moments of a kind, each a tuple of floats that begins with its time.
- **sketches**: per period a 64-bit set of hashed values, for counting distinct ones (linear counting,
  Whang et al. 1990; saturates near 266).
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

from riskd.core.tallies import UNCOUNTED, Tallies, Values

HOUR: Final = 3600
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY


class Table(Struct, frozen=True):
    """How a table counts: `period` in seconds, `keep` periods, at most `capacity` values."""

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
    "subject": _learned(16),
}
"""Taught by proven attempts only. 26 weeks: older history adds little (Wiefling et al., TOPS 2022)."""

ACTIVITY_TABLES: Final = {
    "attempt": Table(period=600, keep=7, capacity=1),
    "attempt_day": Table(period=2 * HOUR, keep=13, capacity=1),
    "failure": Table(period=600, keep=7, capacity=1),
    "failure_day": Table(period=2 * HOUR, keep=13, capacity=1),
    "journey_day": Table(period=2 * HOUR, keep=13, capacity=6),
}
"""Counted at every assessment. Fine periods see an hour back, coarse ones a day."""

TABLES: Final = PROFILE_TABLES | ACTIVITY_TABLES
SKETCH: Final = Table(period=2 * HOUR, keep=13, capacity=64)
MARKS: Final = 4
"""Moments kept of each kind."""
PROFILE_SECONDS: Final = 26 * WEEK
ACTIVITY_SECONDS: Final = 26 * HOUR
SEQUENCE_SECONDS: Final = 30 * DAY
"""How long a subject's sensitive steps (recovery, profile update, payment) are remembered."""


class History(Struct, frozen=True, array_like=True):
    """What is remembered of one entity. Stores hold it encoded; readers must not change it."""

    tallies: Tallies = msgspec.field(default_factory=Tallies)
    marks: dict[str, list[tuple[int | float, ...]]] = {}
    sketches: dict[str, dict[int, int]] = {}


class Delta(Struct, frozen=True, array_like=True):
    """A change to the history under `key`, as data. `time` chooses the periods; epoch seconds.

    `counts` are (table, value, n), `marks` are (kind, mark), `seen` are (sketch, bit 0..63). With
    `undo` the marks are removed instead of added; sketches are never taken back.
    """

    key: bytes
    time: float
    expires: float
    counts: tuple[tuple[str, str, int], ...] = ()
    marks: tuple[tuple[str, tuple[float, ...]], ...] = ()
    seen: tuple[tuple[str, int], ...] = ()
    undo: bool = False


EMPTY: Final = History()
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(History)


def encode(history: History) -> bytes:
    """The stored form: MessagePack of `[{letter: {value: tally}}, {kind: marks}, {sketch: {period: set}}]`.

    Tables have the order of `LETTERS`, what is in them that in which it came.
    """
    return _ENCODER.encode(history)


def decode(stored: bytes | memoryview) -> History:
    """Back from `encode`. Raises msgspec.DecodeError on anything else."""
    return _DECODER.decode(stored)


def inverse(delta: Delta) -> Delta:
    """The delta that takes `delta` back."""
    counts = tuple((table, value, -n) for table, value, n in delta.counts)
    return Delta(delta.key, delta.time, delta.expires, counts, delta.marks, (), not delta.undo)


def fold(history: History, delta: Delta) -> None:
    """Apply one delta in place.

    Counts and sketches commute with every other delta as long as no table overflows and no period is
    older than its table keeps; an overflowing table gives up the value that was seen least recently, then
    least often. Marks are sets: adding commutes, and taking back must follow what it takes back.
    """
    for table, value, n in delta.counts:
        _count(history.tallies, table, value, int(delta.time // TABLES[table].period), n)
    for kind, mark in delta.marks:
        _mark(history.marks, kind, mark, remove=delta.undo)
    for name, bit in delta.seen:
        _see(history.sketches.setdefault(name, {}), int(delta.time // SKETCH.period), bit)


def _count(tallies: Tallies, name: str, value: str, period: int, n: int) -> None:
    if not n:
        return
    values: Values | None = getattr(tallies, name)
    if values is None:
        values = {}
        force_setattr(tallies, name, values)
    tally = values.get(value)
    if tally is None:
        _admit(values, TABLES[name].capacity, value, period, n)
        return
    at = period - tally[0] + 1
    if 0 < at < len(tally) and tally[at] + n:
        tally[at] += n
        return
    _add(tally, period, n, TABLES[name].keep)
    if len(tally) == 1:
        del values[value]
        if not values:
            force_setattr(tallies, name, None)


def _admit(values: dict[str, list[int]], capacity: int, value: str, period: int, n: int) -> None:
    """Begin to count a value. What is taken back from a full table is of a value that it gave up."""
    if len(values) >= capacity:
        if n < 0:
            return
        del values[min(values, key=lambda v: (values[v][0] + len(values[v]), sum(values[v][1:]), v))]
    values[value] = [period, n]


def _add(tally: list[int], period: int, n: int, keep: int) -> None:
    """Add to one period, drop periods that fall out of `keep`, and trim zeros at both ends."""
    offset = period - tally[0]
    length = len(tally) - 1
    if offset >= length:
        if offset - length >= keep:
            tally[:] = [period, n]
            return
        tally.extend([0] * (offset - length + 1))
    elif offset < 0:
        if length - offset > keep:
            return
        tally[1:1] = [0] * -offset
        tally[0] = period
        offset = 0
    tally[offset + 1] += n
    excess = len(tally) - 1 - keep
    if excess > 0:
        del tally[1 : 1 + excess]
        tally[0] += excess
    while len(tally) > 1 and tally[-1] == 0:
        tally.pop()
    lead = 1
    while lead < len(tally) and tally[lead] == 0:
        lead += 1
    if lead > 1:
        tally[0] += lead - 1
        del tally[1:lead]


def _mark(marks: dict[str, list[tuple[float, ...]]], kind: str, mark: tuple[float, ...], *, remove: bool) -> None:
    kept = marks.setdefault(kind, [])
    if remove:
        if mark in kept:
            kept.remove(mark)
        if not kept:
            del marks[kind]
    elif mark not in kept:
        kept.append(mark)
        kept.sort(reverse=True)
        del kept[MARKS:]


def _see(sketch: dict[int, int], period: int, bit: int) -> None:
    if period in sketch:
        sketch[period] |= 1 << bit
        return
    newest = max(sketch, default=period)
    if period <= newest - SKETCH.keep:
        return
    sketch[period] = 1 << bit
    for old in [p for p in sketch if p <= period - SKETCH.keep]:
        del sketch[old]


WEEKLY_CAP: Final = 10
"""Within one week a value earns at most this many units, however often it passes."""
OLDEST: Final = 26
"""Weeks after which a unit counts no more."""
_FADED: Final = tuple((0.0, *(2.0 ** (-week / 13) for week in range(age, -1, -1))) for age in range(OLDEST + 1))
"""Weights of a tally's entries, by its age: nothing for its first period, then half after 13 weeks."""
_MATURE: Final = (1 / 3, 2 / 3)


def units(tally: list[int] | None, now: float, cap: int = WEEKLY_CAP) -> float:
    """Decayed units of a learned value; one week counts for at most `cap`."""
    if not tally:
        return 0.0
    age = int(now // WEEK) - tally[0]
    if age < 0:
        return 0.0
    if age > OLDEST:
        tally, age = [0, *tally[1 + age - OLDEST :]], OLDEST
    total = 0.0
    for n, weight in zip(tally, _FADED[age]):  # noqa: B905 (naming `strict` costs as much as four weeks)
        if 0 < n <= cap:
            total += n * weight
        elif n > cap:
            total += cap * weight
    return total


def counted_since(tally: list[int] | None, week: int) -> int:
    """Units of a learned value from a week on, neither decayed nor capped: for what many share."""
    if not tally:
        return 0
    expired = week - tally[0]
    total = sum(tally[1 + expired :]) if expired > 0 else sum(tally) - tally[0]
    if total > 0:
        return total
    return 0


def trusted(tally: list[int] | None, now: float) -> float:
    """The poison guard: units that count as familiar.

    A value earns trust with age: a third of its units in its first week, two thirds in its second, all
    of them after that, so that one stolen pass makes nothing familiar.
    """
    if not tally:
        return 0.0
    age = int(now // WEEK) - tally[0]
    return units(tally, now) * (_MATURE[max(age, 0)] if age < 2 else 1.0)


class Window(Struct, frozen=True):
    """A stretch of time that ends now, in periods: those up to `current`, and `share` of the `oldest`."""

    oldest: int
    current: int
    share: float

    def count(self, history: History, table: str, value: str = "") -> float:
        """How many of a value fell into it."""
        tally = (getattr(history.tallies, table) or UNCOUNTED).get(value)
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
    """The last `seconds`, in the periods that `table` counts in; the oldest counts by the share that is inside."""
    period = TABLES[table].period
    since = (now - seconds) / period
    oldest = math.floor(since)
    return Window(oldest, int(now // period), oldest + 1 - since)


def distinct(history: History, sketch: str, now: float, seconds: float) -> float:
    """Estimated distinct values in the last `seconds`, rounded up to whole periods of two hours."""
    periods = history.sketches.get(sketch)
    if not periods:
        return 0.0
    oldest = int((now - seconds) // SKETCH.period)
    union = 0
    for at, mask in periods.items():
        if at >= oldest:
            union |= mask
    return cardinality(union)


def cardinality(union: int) -> float:
    """Linear counting over a 64-bit set: -64 ln(share of zeros)."""
    return _CARDINALITY[union.bit_count()]


_CARDINALITY: Final = tuple(-64.0 * math.log(max(64 - ones, 1) / 64) for ones in range(65))


PlaceMark = tuple[float, int, int, int]
"""A time, thousandths of a degree of latitude and longitude, and tenths of a kilometre that they are uncertain by:
whole numbers take three to five bytes where they are stored, and floats nine."""


def placed(time: float, latitude: float, longitude: float, radius_km: float) -> PlaceMark:
    """The mark of having been somewhere."""
    return (time, round(latitude * 1000), round(longitude * 1000), round(radius_km * 10))


def where(mark: tuple[float, ...]) -> tuple[float, float, float]:
    """Latitude, longitude and radius in kilometres of a place's mark."""
    _, latitude, longitude, radius = mark
    return latitude / 1000, longitude / 1000, radius / 10


def newest(history: History, kind: str, now: float) -> tuple[float, ...] | None:
    """The latest mark of a kind that is not after `now`."""
    for mark in history.marks.get(kind, ()):
        if mark[0] <= now:
            return mark
    return None
