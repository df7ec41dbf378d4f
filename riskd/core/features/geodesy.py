"""Distances on the Earth."""

from __future__ import annotations

import math
from typing import Final

EARTH_KM: Final = 6371.0088
"""Mean radius R1 (IUGG)."""


def distance_km(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Great-circle distance by the haversine formula. Arguments are degrees; NaN if one of them is not finite."""
    if not math.isfinite(latitude + other_latitude + (other_longitude - longitude)):
        return math.nan
    north, other_north = math.radians(latitude), math.radians(other_latitude)
    across = math.sin(math.radians(other_longitude - longitude) / 2)
    along = math.sin((other_north - north) / 2)
    half = along * along + math.cos(north) * math.cos(other_north) * across * across
    return 2 * EARTH_KM * math.asin(math.sqrt(min(max(half, 0.0), 1.0)))
