"""Discards what the address says if it is in a trusted network, such as an employer's egress.

Many people share such an address, so it says nothing about who is behind it. Its features and facts, for and against
the attempt, are made unknown before the score and the rules see them. Everything else stays: the floor, the bands
and the gaps, and what is known about the person, the device and the credential. Its place is not learned as one of the
person's either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from riskd.core.context import Context, Missing
from riskd.core.features import FEATURES, NAMES

ADDRESS: Final = tuple(
    column
    for column, feature in enumerate(FEATURES)
    if feature.of_address or not {"place", "route"}.isdisjoint(feature.sources)
)
"""Columns of the features that depend on the address: on its place, its operator, its past or its traffic."""
_ALWAYS_KNOWN: Final = NAMES.index("forwarded_hops")
"""A column of `ADDRESS` that is missing only if it was discarded."""
_PLACE, _ROUTE = Missing("place", "trusted_network"), Missing("route", "trusted_network")


def disregarded(features: Sequence[float], context: Context) -> tuple[list[float], Context]:
    """The features and the context with everything that depends on the address missing. `context.missing` is kept."""
    without = list(features)
    for column in ADDRESS:
        without[column] = math.nan
    return without, replace(context, place=_PLACE, route=_ROUTE, stale=())


def was_disregarded(recorded: Sequence[float | None]) -> bool:
    """Whether a recorded vector lacks what the address says because of a trusted network. False for a vector of other
    features than today's."""
    return len(recorded) == len(NAMES) and recorded[_ALWAYS_KNOWN] is None
