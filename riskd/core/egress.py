"""Trusted networks: addresses that many share and that say nothing of who is behind them, such as an employer's egress.

What such an address says is taken out of the picture before the score and the rules see it, what speaks for the
attempt as well as what speaks against it. Nothing else changes: not the floor, the bands or the gaps, nor what is
known of the person, the device or the credential.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from riskd.core.context import Context, Missing
from riskd.core.features import FEATURES, Feature

_OTHERS: Final = ("new_network", "shared_accounts", "forwarded_hops", "forwarded_mismatch")


def _of_address(feature: Feature) -> bool:
    by_source = not {"place", "route"}.isdisjoint(feature.sources)
    return by_source or feature.name.startswith(("address_", "network_")) or feature.name in _OTHERS


ADDRESS: Final = tuple(column for column, feature in enumerate(FEATURES) if _of_address(feature))
"""Columns of the features that an address makes: its place, its operator, its past and its traffic."""
_PLACE, _ROUTE = Missing("place", "trusted_network"), Missing("route", "trusted_network")


def disregarded(features: Sequence[float], context: Context) -> tuple[list[float], Context]:
    """The features and facts with what the address says unknown. Its gaps stay what they were."""
    without = list(features)
    for column in ADDRESS:
        without[column] = math.nan
    return without, replace(context, place=_PLACE, route=_ROUTE, stale=())
