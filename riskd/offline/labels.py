"""Labels a row by its outcomes, and says from when the label is known. Training and evaluation use this one rule.

Confirmed fraud outweighs everything else, and is known from its confirmation. Otherwise a row with a passed outcome is
good, known from the first one. A failed or abandoned challenge says neither: most attackers end there, and some owners.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from riskd.offline.outcomes import PASSED
from riskd.offline.rows import FRAUD, GOOD, UNKNOWN

CONFIRMED: Final = "confirmed_fraud"
"""The kind of outcome that labels a row as fraud."""


def labelled(
    total: int, rows: NDArray[np.intp], times: NDArray[np.float64], kinds: NDArray[np.str_]
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """The label of each of `total` rows, and when it became known (epoch seconds; infinite for `UNKNOWN`), from the
    outcomes: the row of each, its time and its kind. `outcomes.label` is the same rule without times."""
    fraud, good = np.full(total, math.inf), np.full(total, math.inf)
    for found, chosen in ((fraud, kinds == CONFIRMED), (good, np.isin(kinds, PASSED))):
        np.minimum.at(found, rows[chosen], times[chosen])
    labels = np.where(fraud < math.inf, FRAUD, np.where(good < math.inf, GOOD, UNKNOWN)).astype(np.int8)
    return labels, np.where(fraud < math.inf, fraud, good)
