"""Attacks that nobody has seen: honest attempts of which some families of signals are somebody else's.

Whoever is not the owner differs from the owner in some of what a sign-in shows, and rarely in one thing alone; which
things is what a new attack is free to choose. So impostors are made of honest rows, without any attacker: one to three
families of an honest row are replaced by those of another honest row, of the same journey, in which that family is
unusual. A classifier told to tell them from honest rows learns how rarely honest people are unusual in several
ways at once (Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 14.2.4), which is what transfers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from riskd.core.features import FEATURES
from riskd.offline.operating import Floats
from riskd.offline.rows import FRAUD, GOOD, Rows

IMPOSTOR: Final = "impostor"
"""Their class of attack."""
FAMILIES: Final[dict[str, tuple[str, ...]]] = {
    "device": ("new_device", "device_llr", "device_subjects_24h", "device_attempts_1h"),
    "print": ("fingerprint_llr", "screen_llr"),
    "agent": ("agent_llr", "new_os", "new_browser", "agent_rarity", "hints_mismatch"),
    "settings": ("language_llr", "timezone_llr", "language_rarity", "timezone_rarity", "language_mismatch"),
    "where": (
        "address_llr",
        "new_country",
        "new_asn",
        "new_network",
        "country_rarity",
        "asn_rarity",
        "speed_kmh",
        "distance_last_km",
        "distance_known_km",
        "timezone_gap_h",
        "rtt_ms",
        "rtt_shortfall_km",
        "reported_gap_km",
        "hosting",
        "vpn",
        "tor",
        "proxy",
        "relay",
        "satellite",
        "shared_accounts",
        "address_accounts",
        "network_accounts",
    ),
    "rhythm": ("hour_llr", "weekday_llr"),
    "behaviour": ("typing_deviation", "form_seconds", "pointer_absent", "pasted", "form_failures"),
}
"""Features that one change of hands changes together."""
MOST: Final = 3
UNUSUAL: Final = 0.1
"""The share of honest rows of a journey that count as unusual in a family."""


def impostors(rows: Rows, count: int, seed: int) -> Rows:
    """So many impostors made of the good rows; none where no journey has enough of them."""
    random = np.random.default_rng(seed)
    good = np.flatnonzero(rows.labels == GOOD)
    donors = _donors(rows, good)
    hosts = random.choice(good, count) if len(good) else good
    vectors = rows.vectors[hosts].copy()
    names = list(FAMILIES)
    for at, host in enumerate(hosts):
        chosen = random.choice(len(names), random.integers(1, MOST + 1), replace=False)
        for family in chosen:
            pool = donors[str(rows.journeys[host])][names[family]]
            columns = _columns(rows.names, names[family])
            vectors[at, columns] = rows.vectors[random.choice(pool), columns]
    made = rows.where(hosts)
    return msgspec.structs.replace(
        made,
        ids=np.char.add("impostor ", made.ids),
        vectors=vectors,
        labels=np.full(len(hosts), FRAUD, dtype=np.int8),
        attacks=np.full(len(hosts), IMPOSTOR),
    )


def _donors(rows: Rows, good: NDArray[np.intp]) -> dict[str, dict[str, NDArray[np.intp]]]:
    """For each journey and family, positions of the good rows that are most unusual in it."""
    found: dict[str, dict[str, NDArray[np.intp]]] = {}
    for journey in np.unique(rows.journeys[good]):
        here = good[rows.journeys[good] == journey]
        found[str(journey)] = {}
        for family in FAMILIES:
            odd = _oddity(rows.vectors[np.ix_(here, _columns(rows.names, family))], rows.names, family)
            found[str(journey)][family] = here[odd >= np.quantile(odd, 1 - UNUSUAL)]
    return found


def _oddity(vectors: Floats, names: Sequence[str], family: str) -> Floats:
    """How unusual each row is: the mean rank of its features, each in the direction that is riskier.

    Features that may be either way count by how far they are from the middle; what is missing counts as the middle.
    """
    direction = {feature.name: feature.direction for feature in FEATURES}
    total = np.zeros(len(vectors))
    for column, name in enumerate(FAMILIES[family]):
        values = vectors[:, column]
        known = ~np.isnan(values)
        if known.any():
            ordered = np.sort(values[known])
            middle = (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / 2
            rank = np.where(known, middle / len(ordered) - 0.5, 0.0)
            total += rank * direction[name] if direction[name] else np.abs(rank) - 0.25
    return total


def _columns(names: Sequence[str], family: str) -> list[int]:
    return [names.index(name) for name in FAMILIES[family]]
