"""Marks: the newest moments of each kind in a history, such as places and sensitive steps, and how they change."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

MARKS: Final = 4
"""Most marks kept of each kind."""
Mark = Annotated[tuple[int | float, ...], Meta(min_length=1)]
"""A moment: its time in whole epoch seconds, then numbers whose meaning depends on the kind."""
Marks = dict[str, Annotated[list[Mark], Meta(min_length=1)]]
"""Marks by kind, the newest first."""
PlaceMark = tuple[int, int, int, int]
"""Time, latitude and longitude in thousandths of a degree, and uncertainty in tenths of a kilometre. Stored integers
take three to five bytes, floats nine."""
PLACED: Final = 4
"""How many numbers a `PlaceMark` has."""


def add(marks: Marks, kind: str, mark: Mark) -> None:
    """Add a mark, unless it is there, and drop the oldest beyond `MARKS`. Only `history.fold` may change marks."""
    moments = marks.setdefault(kind, [])
    if mark not in moments:
        moments.append(mark)
        moments.sort(reverse=True)
        del moments[MARKS:]


def remove(marks: Marks, kind: str, mark: Mark) -> None:
    """Remove a mark, if it is there."""
    if mark in marks.get(kind, ()):
        marks[kind].remove(mark)
        if not marks[kind]:
            del marks[kind]


def forget(marks: Marks, since: float) -> None:
    """Drop marks of every kind from before `since`."""
    for kind in [kind for kind, moments in marks.items() if moments[-1][0] < since]:
        marks[kind] = [mark for mark in marks[kind] if mark[0] >= since]
        if not marks[kind]:
            del marks[kind]


def placed(time: float, latitude: float, longitude: float, radius_km: float) -> PlaceMark:
    """The mark of a sign-in at a place. Degrees and kilometres."""
    return (int(time), round(latitude * 1000), round(longitude * 1000), round(radius_km * 10))


def where(mark: Mark) -> tuple[float, float, float]:
    """Latitude and longitude in degrees, and radius in kilometres, of a `PlaceMark`."""
    _, latitude, longitude, radius = mark
    return latitude / 1000, longitude / 1000, radius / 10
