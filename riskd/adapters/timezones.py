"""Timezones: the offset of a zone from the IANA database, and the zone of a point on Earth from polygons (tzfpy)."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

import tzfpy

CACHED: Final = 8192
"""Most answers of either kind in the cache."""
_QUARTER: Final = 900
"""Seconds. Offsets change at quarters of an hour of UTC (since 1980; a few change a minute later)."""
_LAST: Final = 253_402_300_800.0
"""The end of the year 9999, the last that `datetime` supports."""


class Timezones:
    """Looks up IANA timezones. Immutable except for bounded caches, and thread-safe.

    Only known names are passed to `ZoneInfo`, which would use any other as a file path.
    """

    def __init__(self) -> None:
        self._names = frozenset(available_timezones())
        self._offset = lru_cache(CACHED)(_offset)
        self._zone = lru_cache(CACHED)(tzfpy.get_tz)
        self._zone(0.0, 0.0)

    def offset(self, name: str, time: float) -> int | None:
        """The offset of zone `name` at `time` (epoch seconds) in minutes east of UTC; None if either is invalid."""
        if name not in self._names or not 0.0 <= time < _LAST:
            return None
        return self._offset(name, int(time) // _QUARTER)

    def at(self, latitude: float, longitude: float) -> str:
        """The zone of a point (degrees, WGS 84)."""
        return self._zone(longitude, latitude)


def _offset(name: str, quarter: int) -> int | None:
    offset = datetime.fromtimestamp(quarter * _QUARTER, ZoneInfo(name)).utcoffset()
    return None if offset is None else int(offset.total_seconds() // 60)
