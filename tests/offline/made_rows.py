"""Rows of a small synthetic world: an honest majority, three attack classes, late reports, and gaps."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from riskd.core.features import NAMES
from riskd.offline.rows import FRAUD, GOOD, Rows

DAY: Final = 86_400.0
BEGAN: Final = 1.7e9
ATTACKS: Final = ("stuffing", "targeted", "vpn_in_country")
_SHARES: Final = (0.85, 0.05, 0.05, 0.05)
_CHANCES: Final = {
    "new_device": (0.05, 0.95, 0.9, 0.95),
    "new_country": (0.03, 0.8, 0.02, 0.02),
    "new_asn": (0.08, 0.95, 0.3, 0.98),
    "vpn": (0.03, 0.05, 0.05, 0.95),
    "credential_failed": (0.1, 0.8, 0.1, 0.1),
}
_NORMALS: Final = {
    "address_llr": (-1.0, 3.0, 0.5, 2.5),
    "agent_llr": (-0.4, 1.5, 0.0, 0.6),
    "device_llr": (-3.0, 2.0, 2.0, 2.0),
    "hour_llr": (-1.0, 0.0, 0.0, 0.0),
    "typing_deviation": (1.0, 2.0, 2.0, 2.0),
}
_GAPS: Final = {"new_device": 0.2, "device_llr": 0.2, "typing_deviation": 0.5}


def rows(count: int = 6_000, *, seed: int = 0, days: float = 60.0, delay_days: float = 3.0) -> Rows:
    """This many rows over this many days. Fraud is reported after an exponential delay; other features are missing."""
    random = np.random.default_rng(seed)
    kind = random.choice(len(_SHARES), size=count, p=_SHARES)
    vectors = np.full((count, len(NAMES)), np.nan)

    def put(name: str, values: NDArray[np.float64]) -> None:
        gaps = random.random(count) < _GAPS.get(name, 0.0)
        vectors[:, NAMES.index(name)] = np.where(gaps, np.nan, values)

    for name, chances in _CHANCES.items():
        put(name, (random.random(count) < np.take(chances, kind)).astype(np.float64))
    for name, means in _NORMALS.items():
        put(name, random.normal(np.take(means, kind), 1.2))
    put("speed_kmh", np.where(random.random(count) < np.take((0.005, 0.3, 0.0, 0.0), kind), 3000.0, 0.0))
    put("history_depth", np.where(random.random(count) < 0.15, np.nan, random.gamma(1.2, 10.0, count)))
    times = np.sort(random.uniform(0.0, days * DAY, count)) + BEGAN
    fraud = kind > 0
    return Rows(
        names=NAMES,
        ids=np.array([f"{seed}-{number}" for number in range(count)]),
        subjects=np.array([f"{one:032x}" for one in random.integers(0, max(count // 8, 1), count).tolist()]),
        times=times,
        journeys=np.full(count, "login"),
        vectors=vectors,
        labels=np.where(fraud, FRAUD, GOOD).astype(np.int8),
        known=np.where(fraud, times + random.exponential(delay_days * DAY, count), times),
        attacks=np.where(fraud, np.take(("", *ATTACKS), kind), ""),
        segments=np.where(random.random(count) < 0.1, "traveller vpn", ""),
    )
