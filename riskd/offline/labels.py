"""What outcomes make of a row, and from when on: the one rule by which models are trained and judged.

Confirmed fraud outweighs everything else, and is known when it was confirmed. Otherwise whoever passed is good, known
from the first pass on. A challenge failed or abandoned says neither: most attackers end there, and some owners.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from riskd.offline.outcomes import PASSED
from riskd.offline.rows import FRAUD, GOOD, UNKNOWN

CONFIRMED: Final = "confirmed_fraud"
"""The kind of outcome that makes a row fraud."""


def label(told: Iterable[tuple[float, str]]) -> tuple[int, float]:
    """Label, and the time from which on it is known (epoch seconds; infinite for `UNKNOWN`), of `(time, kind)` pairs.

    The same rule as `outcomes.label`, which knows no times.
    """
    fraud = good = math.inf
    for time, kind in told:
        if kind == CONFIRMED:
            fraud = min(fraud, time)
        elif kind in PASSED:
            good = min(good, time)
    if fraud < math.inf:
        return FRAUD, fraud
    return (GOOD, good) if good < math.inf else (UNKNOWN, math.inf)


def labelled(
    total: int, rows: NDArray[np.intp], times: NDArray[np.float64], kinds: NDArray[np.str_]
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """`label` of `total` rows at once, out of outcomes: the row that each is of, its time and its kind."""
    fraud, good = np.full(total, math.inf), np.full(total, math.inf)
    for found, chosen in ((fraud, kinds == CONFIRMED), (good, np.isin(kinds, PASSED))):
        np.minimum.at(found, rows[chosen], times[chosen])
    labels = np.where(fraud < math.inf, FRAUD, np.where(good < math.inf, GOOD, UNKNOWN)).astype(np.int8)
    return labels, np.where(fraud < math.inf, fraud, good)
