"""Motion: how far and how fast the subject must have travelled, less the uncertainty of both places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from riskd.core.attempt import Attempt
from riskd.core.context import Context, Missing, Place, Route
from riskd.core.features.feature import Feature
from riskd.core.features.geodesy import distance_km
from riskd.core.features.past import Past
from riskd.core.features.sharing import CROWD
from riskd.core.history import HOUR
from riskd.core.marks import PLACED, where

LEAST_HOURS: Final = 1 / 6
"""Shorter intervals count as ten minutes, so that a tiny interval does not give a huge speed."""

FEATURES: Final = (
    Feature(
        name="speed_kmh",
        group="motion",
        unit="km/h",
        direction=1,
        reason="IMPOSSIBLE_TRAVEL",
        why="the highest speed of travel from any of the last four proven places, over the distance beyond both "
        "uncertainty radii and at least ten minutes; missing behind anonymisers and satellites, and for a crowded "
        "address in a country of the account",
        text="Nobody could have travelled here so fast from where the account was last used.",
        sources=("history", "place"),
        reads=("subject", "address"),
    ),
    Feature(
        name="distance_last_km",
        group="motion",
        unit="km",
        direction=1,
        reason="FAR_FROM_LAST_PLACE",
        why="distance beyond both uncertainty radii from the place that `speed_kmh` is measured from",
        text="This is far from where the account was last used.",
        sources=("history", "place"),
        reads=("subject", "address"),
    ),
    Feature(
        name="distance_known_km",
        group="motion",
        unit="km",
        direction=1,
        reason="FAR_FROM_KNOWN_PLACES",
        why="distance beyond both uncertainty radii from the second nearest of the last four proven places, or the "
        "only one: one visit is not a habit",
        text="This is far from every place where the account was used recently.",
        sources=("history", "place"),
        reads=("subject", "address"),
    ),
)
_NONE: Final = (math.nan,) * len(FEATURES)


def compute(_attempt: Attempt, context: Context, past: Past | None) -> Sequence[float]:
    """The values of `FEATURES`."""
    remembered, place, route, now = context.remembered, context.place, context.route, context.now
    if isinstance(remembered, Missing) or not isinstance(place, Place):
        return _NONE
    profile = remembered.subject.profile
    marks = profile.marks.get("place")
    if not marks or (isinstance(route, Route) and route.anonymizer):
        return _NONE
    if past and past.at_address >= CROWD and past.settled.get("country"):
        return _NONE
    known: dict[tuple[float, ...], float] = {}
    distances, speed, began = [], -1.0, 0.0
    for mark in marks:
        if mark[0] > now:
            continue
        distance = known.get(mark[1:])
        if distance is None:  # marks are newest first, and the newest of a place gives the highest speed
            if len(mark) != PLACED:  # the record is damaged
                continue
            distance = known[mark[1:]] = _beyond(place, mark)
            fast = distance / max((now - mark[0]) / HOUR, LEAST_HOURS)
            if fast > speed:
                speed, began = fast, distance
        distances.append(distance)
    if not distances:
        return _NONE
    distances.sort()
    return (speed, began, distances[1] if len(distances) > 1 else distances[0])


def _beyond(place: Place, mark: tuple[float, ...]) -> float:
    """The distance in kilometres beyond the uncertainty radii of both places."""
    latitude, longitude, radius_km = where(mark)
    return max(distance_km(place.latitude, place.longitude, latitude, longitude) - place.radius_km - radius_km, 0.0)
