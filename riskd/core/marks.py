"""Marks: the newest few moments of each kind that a history remembers, each a tuple of numbers that begins with its
time, in whole seconds."""

from __future__ import annotations

from typing import Final

MARKS: Final = 4
"""Moments kept of each kind."""
Mark = tuple[int | float, ...]
Marks = dict[str, list[Mark]]
"""By kind, the newest first."""
PlaceMark = tuple[int, int, int, int]
"""Seconds, thousandths of a degree of latitude and longitude, and tenths of a kilometre that these are uncertain by:
whole numbers take three to five bytes where they are stored, and floats nine."""


def add(marks: Marks, kind: str, mark: Mark) -> None:
    """Remember a moment, once. For `history.fold`, as the others that change marks."""
    kept = marks.setdefault(kind, [])
    if mark not in kept:
        kept.append(mark)
        kept.sort(reverse=True)
        del kept[MARKS:]


def remove(marks: Marks, kind: str, mark: Mark) -> None:
    """Take a moment back, if it is remembered."""
    if mark in marks.get(kind, ()):
        marks[kind].remove(mark)
        if not marks[kind]:
            del marks[kind]


def forget(marks: Marks, since: float) -> None:
    """Drop what was before `since`, of every kind."""
    for kind in [kind for kind, kept in marks.items() if kept[-1][0] < since]:
        marks[kind] = [mark for mark in marks[kind] if mark[0] >= since]
        if not marks[kind]:
            del marks[kind]


def placed(time: float, latitude: float, longitude: float, radius_km: float) -> PlaceMark:
    """The mark of having been somewhere."""
    return (int(time), round(latitude * 1000), round(longitude * 1000), round(radius_km * 10))


def where(mark: Mark) -> tuple[float, float, float]:
    """Latitude, longitude and radius in kilometres of a place's mark."""
    _, latitude, longitude, radius = mark
    return latitude / 1000, longitude / 1000, radius / 10
